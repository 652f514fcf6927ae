"""Commands that run the tests of the claims, with the one setting that is chosen before them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from benchmarks.experiment import claims as registered

if TYPE_CHECKING:
    from agents.runs.config import RunConfig
    from agents.runs.validate import PartsStore
    from benchmarks.experiment.arguments import ExperimentArgs


def chosen_beta(runs: Path) -> tuple[float, str]:
    """DARLA's beta and how it was chosen, in words.

    Of ``BETAS`` that whose one run has the highest last return on validation levels; the smaller one where several do.
    The first of them before all have been run. No test split is read.
    """
    from benchmarks.reporting.runs import load

    betas, folder = registered.BETAS, runs / registered.BETA_RUNS
    rule = (
        f"DARLA's beta is that of {', '.join(f'{beta:g}' for beta in betas)} with the highest last return on "
        f"validation levels in {folder} (seed {registered.BETA_SEED}; the smallest of equals)"
    )
    returns = {}
    if (folder / "runs").is_dir():
        for run in load(folder):
            if run.state == "finished" and run.final_validation is not None:
                returns[run.config["repr_settings"]["beta"]] = run.final_validation
    if not all(beta in returns for beta in betas):
        return betas[0], f"{rule}: not chosen yet, {betas[0]:g} until then"
    best = max(betas, key=lambda beta: (returns[beta], -beta))
    words = ", ".join(f"{returns[beta]:.3g}" for beta in betas)
    return best, f"{rule}: {best:g}, of returns {words}"


def command_lines(runs: Path) -> dict[str, list[str]]:
    """Experiment -> the commands that run it."""
    return {
        name: [f"python -m benchmarks.{arguments} --out {runs / name}" for arguments in commands_]
        for name, commands_ in registered.experiments(chosen_beta(runs)[0]).items()
    }


def commands(runs: Path) -> str:
    """Every command, with its runs that no command of its directory before it has, and the time they take here."""
    from agents.runs.validate import PartsStore
    from benchmarks.experiment.estimate import estimate_seconds
    from benchmarks.experiment.execute import in_words

    lines, total, seen = [], 0.0, set()
    for name, command in ((name, line) for name, lines_ in command_lines(runs).items() for line in lines_):
        store = PartsStore()
        configs = [config for config in planned(command, store) if (name, repr(config)) not in seen]
        seen |= {(name, repr(config)) for config in configs}
        seconds = estimate_seconds(configs, store.representative)
        total += seconds
        lines += [command, f"    # {len(configs)} runs, about {in_words(seconds)}"]
    return "\n".join([chosen_beta(runs)[1], "", *lines, "", f"{in_words(total)} in all, if none is finished yet"])


def planned(command: str, store: PartsStore) -> list[RunConfig]:
    """Runs of a command line ``python -m benchmarks.NAME ...``; UsageError for what cannot be run here."""
    from benchmarks import explore, transfer
    from benchmarks.experiment.execute import runnable, with_equal_budgets

    module, *words = command.removeprefix("python -m benchmarks.").split()
    if module == "explore":
        exploring = tyro.cli(explore.Args, args=words)
        args: ExperimentArgs = exploring
        configs = explore.plan(exploring)
    else:
        args = transferring = tyro.cli(transfer.Args, args=words)
        configs = transfer.plan(transferring)
    return with_equal_budgets(args, runnable(configs, store.validate(configs)), store)
