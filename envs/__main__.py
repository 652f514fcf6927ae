"""List environments and suites, draw contact sheets, and score simple policies.

python -m envs                              list environments and suites
python -m envs --show breakout              contact sheet of an environment's variants, or of a suite's splits (PNG)
python -m envs --score breakout             reference scores of a suite: random and scripted policies
python -m envs --thumbnails DIR             a strip of frames for every suite, one a split (PNG)
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from envs import ENVIRONMENTS
from envs.registry import UsageError, did_you_mean
from envs.suites import SUITES, build, descriptions
from envs.tasks import World

MOST_THUMBNAILS = 6


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m envs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--show",
        metavar="NAME",
        help="an environment, environment/variant or suite, your own as package.module:NAME or env:ID: write a contact "
        "sheet",
    )
    parser.add_argument("--thumbnails", type=Path, metavar="DIR", help="write a strip of frames for every suite")
    parser.add_argument("--score", metavar="SUITE", help="a suite: print reference scores")
    parser.add_argument("--save", action="store_true", help="with --score: keep the rows in envs/reference_scores.csv")
    parser.add_argument("--policy", choices=("random", "scripted", "both"), default="both")
    parser.add_argument("--count", type=int, default=64, help="episodes or windows of each score (default 64)")
    parser.add_argument("--levels", metavar="START+COUNT", help="with --score: training levels (default: published)")
    parser.add_argument("--seed", type=int, default=0, help="of --show and --thumbnails")
    parser.add_argument("--out", type=Path, help="file of the contact sheet (default NAME.png)")
    args = parser.parse_args(argv)
    try:
        if args.show:
            print(show(args.show, args.out, args.seed))
        elif args.thumbnails:
            print(thumbnails(args.thumbnails, args.seed))
        elif args.score:
            print(scores(args.score, args.policy, args.count, args.levels, args.save))
        else:
            print(listing())
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def listing() -> str:
    """Environments with keys, sizes, actions and variants, then suites."""
    from envs.spaces import keyed_space

    sections = ["ENVIRONMENTS"]
    for name in ENVIRONMENTS:
        try:
            cls = ENVIRONMENTS.resolve(name)
            env = cls(1)
        except UsageError as error:
            sections.append(f"{name}\n    not here: {error}")
            continue
        about = str(sys.modules[cls.__module__].__doc__).strip().splitlines()[0]
        spaces = keyed_space(env.single_observation_space).spaces
        keys = ", ".join(f"{key} {box.dtype} {box.shape}" for key, box in spaces.items())
        actions = env.single_action_space
        acts = f"{actions.n} actions" if hasattr(actions, "n") else f"actions {actions}"
        lines = [name, f"    {about}", f"    observes {keys}; {acts}"]
        if variants := getattr(cls, "variants", {}):
            listed = textwrap.fill(f"variants: {', '.join(variants)}", 116, subsequent_indent=" " * 10)
            lines.append(textwrap.indent(listed, "    "))
        sections.append("\n".join(lines))
        env.close()
    about_suites = descriptions()
    width = max(map(len, about_suites))
    sections += ["SUITES (--suite NAME in benchmarks.transfer)"]
    sections.append("\n".join(f"{name:<{width}}  {about}" for name, about in about_suites.items()))
    return "\n\n".join(sections)


def rows_of(name: str) -> dict[str, World]:
    """Rows of the contact sheet ``name``.

    Raises:
        UsageError: neither an environment, an environment's variant nor a suite.
    """
    if (name in SUITES or ":" in name) and name not in ENVIRONMENTS:
        tasks = build(name)
        return {
            f"{task.env} {split}" if len(tasks) > 1 else split: world
            for task in tasks
            for split, world in task.splits().items()
        }
    env_name, _, variant = name.partition("/")
    if env_name not in ENVIRONMENTS:
        known = sorted({*ENVIRONMENTS, *SUITES})
        raise UsageError(
            f"--show '{name}': no such environment or suite{did_you_mean(name, known)} Known: {', '.join(known)}"
        )
    variants = getattr(ENVIRONMENTS.resolve(env_name), "variants", {}) or {"default": {}}
    if variant and variant not in variants:
        raise UsageError(
            f"--show '{name}': {env_name} has no such variant{did_you_mean(variant, variants)} Known: "
            f"{', '.join(variants)}"
        )
    return {key: World(env_name, options) for key, options in variants.items() if variant in ("", key)}


def show(name: str, out: Path | None, seed: int) -> str:
    """Write the contact sheet; the path it went to."""
    from envs.contact_sheet import sheet

    worlds = rows_of(name)
    path = out or Path(f"{name.replace('/', '-')}.png")
    try:
        sheet(worlds, seed).save(path)
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error.strerror}); name another file with --out") from None
    return f"{path}: {len(worlds)} rows ({', '.join(worlds)})"


def thumbnails(folder: Path, seed: int) -> str:
    """Write DIR/<suite>.png for every suite: frames of up to MOST_THUMBNAILS splits, or of as many tasks' sources."""
    from envs.contact_sheet import thumbnail

    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for name in SUITES:
        tasks = build(name)
        worlds = tasks[0].splits() if len(tasks) == 1 else {task.env: task.source for task in tasks}
        shown = dict(list(worlds.items())[:MOST_THUMBNAILS])
        try:
            thumbnail(shown, seed).save(folder / f"{name}.png")
        except UsageError as error:
            lines.append(f"{name}: left out ({error})")
            continue
        lines.append(f"{folder / name}.png: {', '.join(shown)}")
    return "\n".join(lines)


def scores(name: str, policy: str, count: int, levels: str | None, save_rows: bool) -> str:
    """Reference scores of a suite as text, one line a split and policy."""
    from envs.level_sets import LevelRange
    from envs.reference_scores import POLICIES, save, score

    if count < 2:
        raise UsageError(f"--count {count}: give at least 2, a spread needs two")
    training = LevelRange.parse(levels) if levels else None
    if training and save_rows:
        raise UsageError("--save keeps scores on the published levels; leave --levels out")
    command = f"python -m envs --score {name} --count {count}" + (f" --levels {levels}" if levels else "")
    rows = []
    for task in build(name, training.count if training else None):
        if training:
            task = task.on_levels(training)
        for candidate in (known for known in POLICIES if policy in (known, "both")):
            try:
                rows += score(task, candidate, count, command)
            except UsageError:
                if policy != "both":
                    raise
    if save_rows:
        save(rows)
    width = max(len(row.split) for row in rows)
    return "\n".join(
        f"{row.env}  {row.split:<{width}}  {row.policy:<8}  {row.mean:8.2f} +- {row.std:.2f} over {row.count}"
        + (f" on levels {row.levels}" if row.levels else "")
        for row in rows
    )


if __name__ == "__main__":
    raise SystemExit(main())
