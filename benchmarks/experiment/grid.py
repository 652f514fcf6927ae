"""Runs of a command, each brought to its end by one process: by this one, or by another that has the same grid.

A run that another process trains is left to it, and tried once more when the others are done. A run that is damaged or
fails leaves its reason in the run's folder and stops no other. All of it is told at the end, and by the exit status.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cli import is_disk_full
from benchmarks.experiment.arguments import ExperimentArgs
from envs.registry import UsageError

if TYPE_CHECKING:
    from agents.parallel.distributed import Ranks
    from agents.runs.config import RunConfig
    from agents.runs.run_dir import RunDir
    from agents.runs.validate import PartsStore

FINISHED, FAILED, BUSY, PREEMPTED = 0, 1, 3, 75
"""Exit statuses: every run is finished; a run failed or is damaged; none failed, but other processes still train some;
the command was asked to stop and saved everything (EX_TEMPFAIL)."""


@dataclass
class Tally:
    """Outcomes of a command's runs."""

    finished: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    """Runs that another process holds."""
    failed: dict[str, str] = field(default_factory=dict)
    """Run -> why it failed, in one line."""

    @property
    def status(self) -> int:
        """Exit status of the command."""
        return FAILED if self.failed else BUSY if self.busy else FINISHED

    def text(self) -> str:
        """Account of the runs that are not finished; empty where all are."""
        total = len(self.finished) + len(self.busy) + len(self.failed)
        lines = [f"{len(self.finished)} of {total} runs are finished"] if self.busy or self.failed else []
        lines += [f"  another process trains {name}" for name in self.busy]
        lines += [f"  failed: {name}: {reason}" for name, reason in self.failed.items()]
        return "\n".join(lines)


def run_all(
    args: ExperimentArgs,
    out: Path,
    configs: Sequence[RunConfig],
    store: PartsStore,
    ranks: Ranks,
    summary: Callable[[Path], str],
) -> Tally:
    """Bring all runs to their end that no other process holds.

    Args:
        summary: a finished run's folder -> one line about it.

    Raises:
        Preempted: the command was asked to stop; everything is in the run's checkpoint.
        OSError: the disk is full.
    """
    from agents.runs.config import run_id
    from agents.runs.run_dir import Busy

    tally, waiting = Tally(), list(enumerate(configs, 1))
    for _ in range(2):
        busy = []
        for number, config in waiting:
            name = run_id(config)
            try:
                _bring_to_end(args, out, config, f"[{number}/{len(configs)}] {name}", store, ranks, summary)
                tally.finished.append(name)
            except Busy:
                busy.append((number, config))
                store.drop(config)
            except _Failed as failure:
                tally.failed[name] = str(failure)
                store.drop(config)
                print(f"[{number}/{len(configs)}] {name} failed: {failure}", file=sys.stderr, flush=True)
        waiting = busy
    tally.busy = [run_id(config) for _, config in waiting]
    return tally


class _Failed(Exception):
    """One run failed; the message says why in a line."""


def _bring_to_end(
    args: ExperimentArgs,
    out: Path,
    config: RunConfig,
    title: str,
    store: PartsStore,
    ranks: Ranks,
    summary: Callable[[Path], str],
) -> None:
    from agents.runs.callback import Preempted
    from agents.runs.run_dir import Busy, RunDir

    try:
        run = RunDir(out, config, ranks, args.rerun)
    except Busy:
        raise
    except UsageError as error:
        raise _Failed(str(error)) from None
    try:
        if finish_run(args, run, config, title, store, ranks):
            print(ranks.on_rank_zero(lambda: summary(run.path)), flush=True)
    except Preempted:
        print(f"stopped; all of {run.id} up to its last rollout is saved. The same command continues.")
        raise
    except Exception as error:
        if ranks.count > 1 or is_disk_full(error):  # other ranks wait for this one, which must end for them to
            raise
        if not isinstance(error, UsageError):
            traceback.print_exc()
        reason = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())
        run.write_failure(reason)
        raise _Failed(reason) from None
    finally:
        run.close()


def finish_run(
    args: ExperimentArgs, run: RunDir, config: RunConfig, title: str, store: PartsStore, ranks: Ranks
) -> bool:
    """Bring one run to its end; False if it already was finished."""
    from agents.runs.progress import Bar
    from agents.runs.trackers import open_tracker
    from agents.runs.train import train
    from benchmarks.reporting.runs import read
    from benchmarks.tracking.figures import final_figures, run_facts

    if ranks.on_rank_zero(lambda: finished_before(run, config, title)):
        store.drop(config)
        return False
    facts = {**run.config, **run_facts(config)}
    tracker = open_tracker(args.log if run.writes else "none", facts, run.id, run.path)
    try:
        train(store.take(config), run, tracker, Bar(title), args.device, ranks, args.cache)
        if tracker.sink is not None:
            tracker.summary(final_figures(read(run.path)))
    finally:
        tracker.finish()
    ranks.on_rank_zero(lambda: require_whole(run))
    return True


def require_whole(run: RunDir) -> None:
    """UsageError for a run that is at its end and whose results cannot be read all the same.

    An evaluation writes none of the records of training again.
    """
    from benchmarks.reporting.runs import read

    kept = read(run.path)
    if kept.state != "finished":
        raise UsageError(f"run {run.path} is damaged ({kept.reason}); remove that folder")


def finished_before(run: RunDir, config: RunConfig, title: str) -> bool:
    """True for a run that is finished and whole; one whose results are damaged is evaluated again.

    Raises:
        UsageError: its results are damaged, and its checkpoint is gone.
    """
    from agents.runs import crossed
    from agents.runs.changes import changed_code
    from benchmarks.reporting.runs import read

    if not run.done:
        return False
    kept = read(run.path)
    if kept.state == "finished":
        changes = changed_code(run.path, config)
        other = f", with other code: {'; '.join(changes)}. --rerun runs it again" if changes else ""
        print(f"{title}: finished before{other}", flush=True)
        return True
    if not any((run.checkpoints / "train").glob("*.json")):
        raise UsageError(f"run {run.path} is damaged ({kept.reason}) and has no checkpoint; remove that folder")
    print(f"{title}: finished before, but damaged ({kept.reason}): evaluated again from its checkpoint", flush=True)
    (run.path / crossed.FILE).unlink(missing_ok=True)  # played again when the runs are done
    run.unmark_done()
    return False
