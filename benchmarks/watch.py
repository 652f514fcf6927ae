"""A trained agent at work, as a file to look at; needs no screen.

    python -m benchmarks.watch runs/coinrun-quick/runs/RUN
    python -m benchmarks.watch runs/coinrun-quick/runs/RUN --split train heldout --episodes 3 --out both.webp
    python -m benchmarks.watch runs/coinrun-quick/runs/RUN --variants --out looks.webp
    python -m benchmarks.watch runs/coinrun-quick/runs/RUN --level 1199000003 --greedy --out level.gif
    python -m benchmarks.watch saved --out agent.mp4

DIR is the folder of a run, finished or still training (its newest checkpoint plays, and it is not disturbed), an
experiment directory with a single run, a kept policy, or what ``agent.save`` wrote. Sampled actions are those of the
final evaluation: the first repetition of a level is the very episode that eval.csv has.

With several splits their episodes are shown side by side. With --variants it shows the states of training
levels in every visual variant, too, framed red where the likeliest effect is another one there.

The ending of --out says what is written: .html (one page with a player), .webp or .gif (animated), .mp4 (with the extra
'video'), .png (a contact sheet).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from benchmarks import cli
from benchmarks.cli import Device
from envs.registry import UsageError

if TYPE_CHECKING:
    from agents.runs.evaluate import Visits
    from agents.runs.load import TrainedAgent
    from benchmarks.recording.episode import Episode

TRAIN = "train"
ENDINGS = (".html", ".webp", ".gif", ".mp4", ".png")


@dataclass(frozen=True)
class Args:
    """Play episodes of a trained agent and write what is seen to a file."""

    agent: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder of a run, finished or still training; an experiment directory with one run; what agent.save wrote."""
    split: tuple[str, ...] = (TRAIN,)
    """Splits to play, validation among them."""
    variants: bool = False
    """Beside the split "train" show the same states in every visual variant."""
    level: int | None = None
    """Level to play. Default: the first levels of the split."""
    episodes: int = 1
    """Episodes of each split: repetitions of --level, or of as many levels one each."""
    greedy: bool = False
    """Take the likeliest actions; else actions are sampled."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("watch.html")
    """File to write: .html, .webp, .gif, .mp4 or .png."""
    device: Device = "cpu"
    """Where the policy is run."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(watch, Args, argv)


def watch(args: Args) -> str:
    """Play, write the file, and return a line for each episode.

    Raises:
        UsageError: a file of an unknown kind, no agent, or no such split or level.
    """
    check(args)
    from agents.runs.build import resolve_device
    from agents.runs.load import load_agent

    agent = load_agent(args.agent, resolve_device(args.device))
    visits = {split: chosen_visits(agent, args, split) for split in dict.fromkeys(args.split)}
    names = variants_of(agent, args)
    episodes = {split: play(agent, args, split, chosen, names) for split, chosen in visits.items()}
    cli.write_file(args.out, content(agent, args, episodes))
    lines = [line(split, episode) for split, group in episodes.items() for episode in group]
    return "\n".join([*lines, f"{agent.path.name}: {args.out} ({args.out.stat().st_size / 1000:,.0f} KB)"])


def check(args: Args) -> None:
    """UsageError for values that no agent can be watched with."""
    if args.out.suffix.lower() not in ENDINGS:
        raise UsageError(f"--out {args.out}: name a file that ends in {', '.join(ENDINGS)}")
    if args.out.is_dir():
        raise UsageError(f"--out {args.out} is a directory; name a file")
    if not args.split:
        raise UsageError("--split: name at least one")
    if args.variants and TRAIN not in args.split:
        raise UsageError(f"--variants shows states of split '{TRAIN}', which --split leaves out; name it there")
    if args.episodes < 1:
        raise UsageError(f"--episodes {args.episodes}: give a whole number of at least 1")
    from benchmarks.recording import films

    films.check(args.out)


def chosen_visits(agent: TrainedAgent, args: Args, split: str) -> Visits:
    """Levels and repetitions of a split that the command asks for.

    Raises:
        UsageError: the agent has no such split, or the split no such level.
    """
    from agents.runs.evaluate import NUM_ENVS, equal_visits
    from agents.runs.splits import played_levels
    from envs.tasks import levels_of

    if not agent.worlds:
        raise UsageError(f"{agent.path} was trained in an environment of your own, which this command cannot make")
    if split not in agent.worlds:
        raise UsageError(f"--split {split}: {agent.path} has no such split; it has: {', '.join(agent.worlds)}")
    world = agent.worlds[split]
    levels = levels_of(world)
    if levels is None:
        start, count = 0, NUM_ENVS
    else:
        start, count = levels.start, levels.count
    if args.level is not None:
        if not start <= args.level < start + count:
            raise UsageError(f"--level {args.level}: levels of split '{split}' go from {start} to {start + count - 1}")
        return equal_visits([args.level], args.episodes)
    if agent.config is not None:
        first = played_levels(agent.config, world, args.episodes)
    else:
        first = range(start, start + min(count, args.episodes))
    return equal_visits(first, args.episodes)


def variants_of(agent: TrainedAgent, args: Args) -> tuple[str, ...]:
    """Visual variants to show; UsageError where they are asked for, and the task has none of the same states."""
    from agents.runs.build import find_task

    if not args.variants:
        return ()
    names = () if agent.config is None else find_task(agent.config).same_state_targets
    if not names:
        raise UsageError(f"--variants: the task of {agent.path} has no variant of the same states; leave it out")
    return names


def play(agent: TrainedAgent, args: Args, split: str, visits: Visits, variants: tuple[str, ...]) -> list[Episode]:
    """Play the episodes of a split under a progress bar."""
    from agents.runs.progress import Bar
    from benchmarks.recording.bonus import load_bonus
    from benchmarks.recording.episode import play_episodes

    config, bar, steps = agent.config, Bar("watch:"), 0
    bar.stage(split, len(visits), 0)

    def show_progress(active: int, ended: int) -> None:
        nonlocal steps
        steps += active
        bar.update(ended, f"{steps:,} steps")

    try:
        return play_episodes(
            agent.policy,
            agent.worlds[split],
            visits,
            variants={name: agent.worlds[name] for name in variants} if split == TRAIN else {},
            bonus=None if config is None else load_bonus(agent.path, config),
            greedy=args.greedy,
            window=0 if config is None else config.window,
            watch=show_progress,
        )
    finally:
        bar.close()


def content(agent: TrainedAgent, args: Args, episodes: dict[str, list[Episode]]) -> bytes:
    """The file that --out names."""
    from benchmarks.recording import films, page

    ending = args.out.suffix.lower()
    if ending == ".html":
        return page.page(agent.path.name, page_text(args, episodes), episodes, agent.policy.distribution).encode()
    shown = [[films.with_variants(episode) for episode in group] for group in episodes.values()]
    if ending == ".png":
        return films.contact_sheet([frames for group in shown for frames in group], args.out)
    return films.WRITERS[ending]([films.side_by_side(frames) for frames in zip(*shown, strict=False)], args.out)


def page_text(args: Args, episodes: dict[str, list[Episode]]) -> str:
    """Sentence above the player of a page."""
    count = max(map(len, episodes.values()))
    several = "s" * (count > 1)
    levels = f"level {args.level}" if args.level is not None else f"the first level{several}"
    return f"{count} episode{several} on {levels} of {' and '.join(episodes)}."


def line(split: str, episode: Episode) -> str:
    """Outcome of an episode in words."""
    actions = "likeliest actions" if episode.greedy else "sampled actions"
    cut = f" (the first {len(episode.frames):,} are shown)" if episode.cut else ""
    return (
        f"{split}, level {episode.level}, repetition {episode.repeat}, {actions}: return {episode.total:.4g} in "
        f"{episode.length:,} steps{cut}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
