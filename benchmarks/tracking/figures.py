"""Final figures of a run, and facts about it, as trackers tabulate them: the same names for every suite.

``result/...`` are what runs are compared by, whatever the splits of their task; ``final/SPLIT/...`` stand for each
split; ``cost/...`` are whole costs, pre-training included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmarks.reporting.labels import agent_of, target_split

if TYPE_CHECKING:
    from agents.runs.config import RunConfig
    from benchmarks.reporting.runs import Run

DIGITS = 4
"""Hexadecimal digits that tell rows apart whose words are the same."""


def run_facts(config: RunConfig) -> dict[str, Any]:
    """Facts shown beside a run's configuration.

    "row" names all runs that differ in nothing but their seed and its levels, and no other: what is grouped by it
    averages over seeds. "method" is shorter, and shared by rows of other settings, tasks and numbers of levels.
    """
    import dataclasses

    from agents.runs.config import row_of

    digest = hashlib.sha256(row_of(config).encode()).hexdigest()[:DIGITS]
    method = method_words(dataclasses.asdict(config))
    return {
        "method": method,
        "row": f"{method}, {config.env}, {config.train_levels} levels, {digest}",
        "held_out_split": target_split(config.splits),
    }


def method_words(config: Mapping[str, Any]) -> str:
    """Representation and bonuses, then mode, algorithm and memory in parentheses."""
    algo, memory, last_step = agent_of(dict(config))
    names = [config["repr"], *(config["bonus"].split() if config["bonus"] != "none" else [])]
    words = [config["mode"], algo, *([memory] if memory != "none" else []), *(["last step"] if last_step else [])]
    return f"{' + '.join(names)} ({', '.join(words)})"


def final_figures(run: Run) -> dict[str, float]:
    """Figures of a finished run by name; none of another.

    Returns in units of the environment, costs in environment steps and seconds; ``result/fall`` is best minus last
    validation return of a run that fell, 0 for others. What a run has not is left out, as the gap of a task without
    targets.
    """
    if run.state != "finished":
        return {}
    figures = {name: value for record in run.metrics for name, value in record.items() if name.startswith("final/")}
    figures |= {f"final/{split}/greedy_return": returns.mean() for split, returns in run.greedy.items()}
    target = target_split(run.config["splits"])
    figures["result/train_return"] = run.returns["train"].mean()
    if target != "train":
        figures["result/held_out_return"] = run.returns[target].mean()
        figures["result/gap"] = figures["result/train_return"] - figures["result/held_out_return"]
    figures["result/fall"] = run.fall
    if run.final_validation is not None:
        figures["result/validation_return"] = run.final_validation
    for kind, stages in (("env_steps", run.env_steps), ("seconds", run.seconds)):
        figures |= {f"cost/{stage}_{kind}": float(value) for stage, value in stages.items()}
        figures[f"cost/{kind}"] = float(sum(stages.values()))
    if "frames_per_second" in run.source:
        figures["cost/frames_per_second"] = float(run.source["frames_per_second"])
    return {name: float(value) for name, value in figures.items()}
