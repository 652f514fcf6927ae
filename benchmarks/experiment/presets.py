"""Sizes of an experiment, from a minute's check to the published protocol."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

BASELINE = "cnn"
"""The representation that every other row is compared with."""
CONTROL = "policy_cnn"
"""The representation whose weights are those of the policy that gathers frames."""
DEFAULT = "default"
"""Key of the settings that every algorithm gets that is not named, as far as its Config has such fields."""


@dataclass(frozen=True)
class Preset:
    """Size of everything; the command line overrides steps, seeds, levels and environments."""

    steps: int
    """Frames of training per run."""
    seeds: tuple[int, ...]
    train_levels: int | None
    """None takes the suite's own protocol (CoinRun easy: 200), as do suites with ``fixed_levels`` in any case."""
    trunk: str
    num_envs: int
    pretrain_frames: int
    """Distinct frames a random policy gathers for the unsupervised stage."""
    data_policy_steps: int
    """Frames of the short PPO that gathers frames under ``--pretrain-data mixed``."""
    pretrain_share: float
    """Part of the optimizer steps that each method's pre-training needs."""
    eval_envs: int
    """Episodes of a split at least; each of its levels is played equally often."""
    periodic_evals: int
    periodic_envs: int
    kept_policies: int
    """Fractions of training whose policies are kept, to compare methods at equal source return."""
    windows: int
    """Evaluation windows per split, where a suite scores windows instead of episodes."""
    window_share: float
    """Part of the suite's own window length that is evaluated."""
    periodic_windows: int
    checkpoint_frames: int
    published_levels: bool = False
    """Train on levels 0 to K-1 and test on all, as published; False draws a set for each task and seed."""
    representations: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Representation -> changes to the defaults of its Config."""
    algo: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Algorithm, or ``DEFAULT`` -> changes to the defaults of its Config."""

    def algorithm_settings(self, name: str, fields: Collection[str]) -> dict[str, Any]:
        """Changes for the algorithm ``name``, whose Config has ``fields``."""
        settings = self.algo.get(name, self.algo.get(DEFAULT, {}))
        return {field: value for field, value in settings.items() if field in fields}

    def representation_settings(self, name: str, fields: Collection[str]) -> dict[str, Any]:
        """Changes for the representation ``name``, whose Config has ``fields``."""
        return {field: value for field, value in self.representations.get(name, {}).items() if field in fields}


FULL: dict[str, dict[str, Any]] = {
    "vae": {"batch": 128},
    "beta_vae": {"batch": 128},
    "darla": {"batch": 128},
    "gqn": {"steps": 8, "encoder": "tower"},
    "monet": {"slots": 7, "pool": "attention", "centroids": True},
}
"""Sizes of methods nearer to their papers, for presets that give all the steps they need."""

QUICK = Preset(
    steps=1_000_000,
    seeds=(0,),
    train_levels=20,
    trunk="nature",
    num_envs=64,
    pretrain_frames=32_768,
    data_policy_steps=250_000,
    pretrain_share=0.15,
    eval_envs=256,
    periodic_evals=6,
    periodic_envs=64,
    kept_policies=10,
    windows=64,
    window_share=1.0,
    periodic_windows=8,
    checkpoint_frames=65_536,
)

PRESETS = {
    "smoke": replace(
        QUICK,
        steps=4096,
        num_envs=16,
        pretrain_frames=512,
        data_policy_steps=2048,
        pretrain_share=0.001,
        eval_envs=8,
        periodic_evals=1,
        periodic_envs=4,
        kept_policies=0,  # untrained agents play to the time limit
        windows=8,
        window_share=0.04,
        periodic_windows=2,
        checkpoint_frames=2048,
        representations={"unreal": {"replay": 1024}},  # half of the shortest training, so that its losses are seen
        algo={DEFAULT: {"n_steps": 64, "minibatches": 4}, "a2c": {}},
    ),
    "brief": replace(
        QUICK,
        steps=300_000,
        seeds=(0, 1, 2),
        pretrain_frames=16_384,
        pretrain_share=0.05,
        eval_envs=128,
        periodic_evals=3,
        periodic_envs=32,
        kept_policies=5,
        windows=16,
        periodic_windows=4,
    ),
    "quick": QUICK,
    # the smallest budget found at which a CNN is above a policy that sees nothing on unseen levels of CoinRun
    "unseen": replace(QUICK, steps=2_000_000, seeds=(0, 1, 2), train_levels=500),
    "standard": replace(
        QUICK,
        steps=2_000_000,
        seeds=(0, 1, 2),
        train_levels=50,
        pretrain_frames=65_536,
        pretrain_share=1.0,
        representations=FULL,
        periodic_evals=10,
        periodic_windows=16,
    ),
    "paper": replace(
        QUICK,
        steps=25_000_000,
        train_levels=None,
        trunk="impala",
        pretrain_frames=131_072,
        pretrain_share=3.0,
        representations=FULL,
        eval_envs=512,
        periodic_evals=25,
        windows=256,
        periodic_windows=64,
        checkpoint_frames=262_144,
        published_levels=True,
    ),
}
