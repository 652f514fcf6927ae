"""Settings looked for by optuna (extra ``search``), on validation levels alone, for each representation equally often.

    [search]
    trials = 20                                                    # of each representation, and of the baseline
    "ppo.learning_rate" = { low = 1e-5, high = 1e-3, log = true }
    "darla.beta" = [1, 4, 16]                                      # for rows that have the module

A trial's score is the mean of its runs' last validation returns. The first trial of each representation has the
settings that it has anyway, so the best is never below these on validation levels. Trials and runs are kept in
``out``/search: the same command again goes on, with the trials that were not finished first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cli import write_file
from benchmarks.sweeping.grid_file import GridFile
from benchmarks.sweeping.methods import FOLDER, Method, best_file, best_text, check_task, methods_of, score_of
from envs.registry import UsageError

if TYPE_CHECKING:
    from agents.runs.validate import PartsStore
    from benchmarks.sweeping.cells import Cell
    from benchmarks.sweeping.run import Command

JOURNAL = "trials.log"
USUAL = "usual"
"""Mark of the trial of the settings that a method has anyway."""
Trial = tuple[Method, Any, int, "list[Cell]"]
"""Method, its study, number of the trial, its cells."""


def search(grid: GridFile, command: Command, backend: str, jobs: int | None, dry_run: bool) -> int:
    """Run the trials that are left, then write the best settings; returns a status of ``experiment.grid``.

    Raises:
        UsageError: optuna is not installed, or the grid cannot be searched.
    """
    from agents.runs.run_dir import open_experiment
    from agents.runs.source import command_line
    from agents.runs.validate import PartsStore
    from benchmarks.experiment.grid import FAILED, PREEMPTED
    from benchmarks.sweeping.loop import Stopped
    from benchmarks.sweeping.run import announcement, bring_to_end, opened

    require_optuna()
    store, methods = PartsStore(), methods_of(grid, command.args, command.plan, command_line())
    first = [cell for method in methods for cell in method.cells(0, {}, store)]
    check_task([cell.config for cell in first])
    print(announcement(first, jobs, store))
    print("each method's first trial; in all " + ", ".join(f"{method.trials} of {method.name}" for method in methods))
    if dry_run:
        return 0
    open_experiment(grid.out)
    open_experiment(grid.out / FOLDER)
    studies = [(method, open_study(method, grid.out / FOLDER / JOURNAL, store)) for method in methods]
    failed = False
    with opened(backend, grid, jobs) as place:
        room = -(-(jobs or 1) // max(1, len(first)))
        while trials := [trial for method, study in studies for trial in proposed(method, study, room)]:
            try:
                bring_to_end([cell for *_, cells in trials for cell in cells], place, final=False)
            except Stopped:
                print("stopped; all cells are saved. The same command continues.")
                return PREEMPTED
            failed |= not all([settle(*trial) for trial in trials])
    print(conclude(studies, grid))
    return FAILED if failed else 0


def require_optuna() -> None:
    """UsageError where optuna is not installed."""
    try:
        import optuna
    except ImportError:
        raise UsageError("--search optuna needs optuna; pip install -e '.[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(method: Method, journal: Path, store: PartsStore) -> Any:
    """The method's study, as far as an earlier command brought it; its first trial has the usual settings."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.create_study(storage=storage, study_name=method.name, direction="maximize", load_if_exists=True)
    if not study.trials and (usual := method.defaults(store)):
        study.enqueue_trial(usual, user_attrs={USUAL: True})
    return study


def proposed(method: Method, study: Any, room: int) -> list[Trial]:
    """The next trials of a method: those that were begun and not scored, then new ones, while there is room."""
    import optuna

    from agents.runs.validate import PartsStore

    state = optuna.trial.TrialState
    begun = study.get_trials(deepcopy=False, states=[state.RUNNING])
    left = method.trials - len(study.get_trials(deepcopy=False, states=[state.COMPLETE, state.FAIL]))
    trials = [(trial.number, dict(trial.params)) for trial in begun[: max(left, 0)]]
    distributions = {name: span.distribution() for name, span in method.ranges.items()}
    while len(trials) < min(room, left):
        # drawn anew for each trial, so that a search that was stopped proposes what it would have proposed
        study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
        asked = study.ask(fixed_distributions=distributions)
        trials.append((asked.number, dict(asked.params)))
    return [(method, study, number, method.cells(number, settings, PartsStore())) for number, settings in trials]


def settle(method: Method, study: Any, number: int, cells: Sequence[Cell]) -> bool:
    """Score a trial and say so; False where one of its runs failed."""
    import optuna

    score, settings = score_of(cells), study.trials[number].params
    words = " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in settings.items()
    )
    if score is None:
        study.tell(number, state=optuna.trial.TrialState.FAIL)
    else:
        study.tell(number, score)
    result = "failed" if score is None else f"validation return {score:.4g}"
    print(f"{method.name}, trial {number + 1} of {method.trials}: {result} {words}".rstrip(), flush=True)
    return score is not None


def conclude(studies: Sequence[tuple[Method, Any]], grid: GridFile) -> str:
    """Write each method's best settings; returns the text to print: files, and the commands that use them."""
    import optuna

    lines = []
    for method, study in studies:
        complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
        if not complete:
            lines.append(f"{method.name}: no trial was scored")
            continue
        best = max(complete, key=lambda trial: (trial.value, -trial.number))
        usual = next((trial.value for trial in complete if USUAL in trial.user_attrs), None)
        file = best_file(method, grid.out)
        write_file(file, best_text(method, best.value, best.params, usual, len(complete)).encode())
        lines.append(f"{method.name}: validation return {best.value:.4g}, best of {len(complete)}: {file}")
        options = " ".join(
            f"--{name.replace('_', '-')} {grid.options[name][0]}"
            for name in ("suite", "preset")
            if name in grid.options
        )
        lines.append(
            f"    python -m benchmarks.transfer {options} --repr {method.name} --no-baseline --settings {file}".replace(
                "  ", " "
            )
        )
    lines.append(
        "Scores are of validation levels, and the best of several is above what its settings are worth: these commands "
        "measure that, on held-out levels, best with other seeds."
    )
    return "\n".join(lines)
