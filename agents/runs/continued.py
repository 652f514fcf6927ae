"""Runs that go on where another run ended: the same run with more frames, or another one from its weights.

A continued run is a run of its own. It begins with its parent's checkpoint, records and costs, so without a schedule
over all of training it ends with the weights of a run that was as long from the start. A schedule, such as an annealed
learning rate, follows the new length and goes back accordingly.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from agents import checkpoint
from agents.runs.build import EnvSpecs, RunParts, find_task, policy_world
from agents.runs.bundles.opening import opened
from agents.runs.config import RunConfig, read_config, run_id
from agents.runs.kept_policies import policy_file
from agents.runs.run_dir import RunDir
from envs.registry import UsageError

RESULTS = ("added_evaluations", "best_validation", "env_steps", "final_validation", "frames_per_second")
"""Facts of source.json that a run's own end writes, beside its seconds."""
COPIED = ("metrics.jsonl", "validation.csv")


def parent_of(config: RunConfig) -> RunConfig | None:
    """The run that ``config`` continues; None for one that begins at frame 0."""
    if not config.continued:
        return None
    return dataclasses.replace(config, steps=config.continued[-1], continued=tuple(config.continued[:-1]))


def begin_as_parent(run: RunDir, config: RunConfig) -> None:
    """Give the folder of a continued run what its parent left; nothing where that was done, or there is no parent.

    Raises:
        UsageError: the parent is not finished in this experiment directory.
    """
    parent_config = parent_of(config)
    begun = run.checkpoints / "train"
    if parent_config is None or begun.exists():
        return
    parent = run.experiment / "runs" / run_id(parent_config)
    if not (parent / "done").exists():
        raise UsageError(
            f"{run.id} goes on from {parent.name}, which is not finished in {run.experiment}; give the --out that "
            "holds it, or bring it to its end there"
        )
    facts = json.loads((parent / "source.json").read_text(encoding="utf-8"))
    gone = {name for name in facts if name in RESULTS or name.endswith("_seconds")} | {"command"}
    kept = {name: value for name, value in facts.items() if name not in gone}
    origin = {"run": parent.name, "steps": parent_config.steps, "commit": facts.get("commit", "")}
    run.write_source(**kept, parent=origin, continued_after_evaluation=True)
    for name in COPIED:
        if (parent / name).exists():
            shutil.copyfile(parent / name, run.path / name)  # into the same file, which stays open for records
    _copy_policies(parent, parent_config.steps, run.path, config)
    aside = run.checkpoints / f".train.{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(parent / "checkpoint" / "train", aside)
    aside.rename(begun)  # last: it says that all the rest is there


def _copy_policies(parent: Path, steps: int, run: Path, config: RunConfig) -> None:
    """Policies that the parent kept at frames where this run keeps one, too."""
    count = config.kept_policies
    for number in range(1, count + 1):
        theirs, rest = divmod(number * config.steps, steps)
        source, target = policy_file(parent, theirs, count), policy_file(run, number, count)
        if not rest and source.exists():
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)


# weights of another run -----------------------------------------------------------------------------------------------


def initial_run(config: RunConfig) -> Path:
    """Folder of the finished run whose weights ``config`` begins with.

    The command names that folder, or an experiment directory that holds one such run for each seed.

    Raises:
        UsageError: no finished run is there, or several are.
    """
    return finished_run(
        Path(config.init_from),
        f"--init-from {config.init_from}",
        lambda run: _is_like(run, config),
        f"of {config.repr} with seed {config.seed}; name one run's folder, or a directory with one for each seed",
    )


def finished_run(path: Path, words: str, fits: Callable[[Path], bool], wanted: str) -> Path:
    """The finished run whose folder ``path`` is, or the one that fits in an experiment directory or a bundle.

    Args:
        words: the option that names it.
        wanted: runs that fit, and what to do where there is not one, for the message.

    Raises:
        UsageError: no finished run is there, or several are.
    """
    path = opened(path)
    if (path / "runs").is_dir():
        runs = [done.parent for done in sorted(path.glob("runs/*/done")) if fits(done.parent)]
        if len(runs) != 1:
            raise UsageError(f"{words}: it holds {len(runs)} finished runs {wanted}")
        return runs[0]
    if not (path / "done").exists():
        raise UsageError(f"{words}: no finished run there; name a folder DIR/runs/<id>")
    return path


def _is_like(run: Path, config: RunConfig) -> bool:
    other = read_config(run)
    return (other.repr, other.seed) == (config.repr, config.seed)


def check_initial(parts: RunParts, config: RunConfig, specs: EnvSpecs) -> None:
    """UsageError where a run could not take the weights that it is to begin with; ``parts`` are of one like it."""
    run = initial_run(config)
    other = read_config(run)
    theirs, ours = (specs.of(policy_world(c, task)) for c, task in ((other, find_task(other)), (config, parts.task)))
    for what, then, now in (
        ("sees", theirs.space, ours.space),
        ("has actions", theirs.action_space, ours.action_space),
    ):
        if then != now:
            raise UsageError(
                f"--init-from {run}: that run {what} {then}, and this one {now}; name a run of equal spaces"
            )
    newest = checkpoint.read(run / "checkpoint" / "train")
    weights = {} if newest is None else newest[1]["policy"]["module"]
    prefix = "representation."
    saved = {name.removeprefix(prefix): value.shape for name, value in weights.items() if name.startswith(prefix)}
    built = {name: value.shape for name, value in parts.representation.state_dict().items()}
    differing = sorted(name for name in saved.keys() | built.keys() if saved.get(name) != built.get(name))
    memory = tuple(c.algo_settings.get("memory", "none") for c in (other, config))
    if differing or memory[0] != memory[1]:
        what = (
            f"its {other.repr} ({other.mode}) differs in {differing[0]}" if differing else f"its memory is {memory[0]}"
        )
        raise UsageError(
            f"--init-from {run}: another network than {config.repr} ({config.mode}): {what}; give the --repr, --mode, "
            "--memory and --set that it was trained with"
        )
