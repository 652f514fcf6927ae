"""Agent settings in which a run differs from its preset: what holds for the preset need not hold for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.experiment import tuned
from benchmarks.experiment.presets import PRESETS
from envs.registry import UsageError
from envs.suites import build

OF_MEMORY = frozenset({"memory", "memory_size"})
"""Settings that belong to the kind of agent, not to its preset."""


def changed_settings(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names, as ``--set`` and options write them, of what a run's agent has otherwise than preset and task give it.

    A run made before a setting existed does not name it: it had what became the default.

    A suite or algorithm that is not at hand counts as changed.

    Args:
        config: of a run with one of the toolkit's presets.
    """
    from agents import ALGORITHMS

    preset, algo = PRESETS[config["preset"]], str(config["algo"])
    try:
        tasks = build(config["suite"], config["train_levels"])
        (kind,) = {task.kind for task in tasks if task.env == config["env"]} or {""}
        algorithm = ALGORITHMS.resolve(algo).Config
    except UsageError:
        return ("suite or algorithm",)
    usual = vars(algorithm()) | tuned.algorithm_settings(kind, algo, algorithm)
    usual |= preset.algorithm_settings(algo, usual.keys())
    settings: Mapping[str, Any] = config["algo_settings"]
    changed = {name for name, value in settings.items() if name not in OF_MEMORY and usual.get(name) != value}
    environments = {"num_envs"} if config.get("num_envs", preset.num_envs) != preset.num_envs else set()
    return tuple(sorted(f"{algo}.{name}" for name in changed) + sorted(environments))
