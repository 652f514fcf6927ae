"""The baseline on an equal total of environment steps: those of pre-training count, too.

A representation that was fitted on frames has cost the steps that gathered them. The end-to-end network may spend the
same number on RL, rounded up to a whole rollout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.experiment.plan import needs_controls
from benchmarks.experiment.presets import BASELINE

if TYPE_CHECKING:
    from agents.runs.config import RunConfig
    from agents.runs.validate import PartsStore


def equal_budget_runs(configs: Sequence[RunConfig], store: PartsStore) -> list[RunConfig]:
    """Runs of each baseline to add, one for each task, level set, seed and total of environment steps.

    Args:
        configs: the planned runs, the baseline's own among them.
        store: gives the parts of a run, which know how its frames are gathered.
    """
    baselines: dict[tuple[object, ...], list[RunConfig]] = {}
    for config in configs:
        if config.repr == BASELINE and config.bonus == "none" and not config.start_from_policy:
            baselines.setdefault(_setting(config), []).append(config)
    added = {}
    for config in configs:
        if not config.pretrain_frames or config.repr == BASELINE:
            continue
        trained = whole_rollouts(config.steps, config)  # a run ends with a whole rollout
        for baseline in baselines.get(_setting(config), ()):
            extra = pretraining_steps_of(config, store) - pretraining_steps_of(baseline, store)
            steps = whole_rollouts(trained + max(0, extra), baseline)
            longer = dataclasses.replace(baseline, steps=steps)
            added[repr(longer)] = longer
    return list(added.values())


def whole_rollouts(steps: int, config: RunConfig) -> int:
    """``steps`` rounded up to a whole number of the run's rollouts."""
    rollout = config.num_envs * int(config.algo_settings.get("n_steps", 1))
    return -(-steps // rollout) * rollout


def pretraining_steps_of(config: RunConfig, store: PartsStore) -> int:
    """Environment steps that gather the frames of a run's pre-training."""
    from agents.runs.build import pretraining_worlds
    from agents.runs.data_policy import num_behaviours, uses_data_policy
    from representations.collect import collection_steps

    parts = store.representative(config)
    sources = len(pretraining_worlds(config, parts.task)) * num_behaviours(config)
    window, views = parts.representation.window, parts.representation.views
    gathered = collection_steps(config.pretrain_frames, window, views, sources) if config.pretrain_frames else 0
    return gathered + (data_policy_steps(config) if uses_data_policy(config) else 0)


def data_policy_steps(config: RunConfig) -> int:
    """Environment steps of the data policy of a run."""
    from agents.runs.data_policy import data_policy_config, named_run, total_env_steps

    named = named_run(config)
    if named is not None:
        return total_env_steps(named)
    short = data_policy_config(config)
    return whole_rollouts(short.steps, short)


def with_level_switch_steps(configs: Sequence[RunConfig], store: PartsStore) -> list[RunConfig]:
    """The runs, those that start from a data policy as long in all as each row that must beat them.

    Their first steps are the data policy's, on the levels of pre-training.
    """
    planned: dict[str, RunConfig] = {}
    for config in configs:
        rows = [config]
        if config.start_from_policy:
            others = [other for other in configs if needs_controls(other) and _setting(other) == _setting(config)]
            totals = {whole_rollouts(other.steps, other) + pretraining_steps_of(other, store) for other in others}
            own = pretraining_steps_of(config, store)
            lengths = {max(whole_rollouts(total - own, config), 1) for total in totals}
            rows = [dataclasses.replace(config, steps=steps) for steps in sorted(lengths)]
        planned |= {repr(row): row for row in rows}
    return list(planned.values())


def _setting(config: RunConfig) -> tuple[object, ...]:
    return config.suite, config.env, config.train_levels, config.level_set, config.seed, config.algo, config.num_envs
