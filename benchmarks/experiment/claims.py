"""Claims of papers, each with the test that decides it: written down before the first full run of its test.

A claim names two rows of an experiment and one primary measure, of the first row minus the second. Its verdict follows
from the 95% interval of that difference and the smallest effect of interest alone (``benchmarks.claims``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Measure = Literal["return", "smaller gap", "return kept at equal source return", "area under the curve", "success area"]
"""Of a row, so that more is better: return on ``split``; minus the gap there; minus the gap where the source return is
``source_return``; mean training return over training; mean success over training (``benchmarks.explore``)."""
Row = Mapping[str, Any]
"""Settings that choose one row of a task, by dotted name, as in config.json."""
Control = Row | Literal["equal budget", "equal RL steps"]
"""A row, or the CNN of as many environment steps in all, or of as many steps of RL."""


@dataclass(frozen=True)
class Claim:
    """One claim and its test."""

    name: str
    statement: str
    source: str
    """Paper, by authors and year."""
    experiment: str
    """Key of ``EXPERIMENTS``; claims that share rows share it."""
    task: str
    row: Row
    control: Control
    measure: Measure
    effect: float
    """Smallest difference of interest, in units of the measure."""
    spread: float
    """Standard deviation over seeds of the difference that was expected when the claim was written down."""
    seeds: int
    split: str = "heldout"
    source_return: float = 0.0
    """Normalised return on training levels at which rows are compared, where the measure asks for one."""


_SPRITES = "transfer --suite sprites --pretrain-on all --seeds 0 1 2 3 4"
_DOORKEY = "transfer --suite minigrid --tasks minigrid-doorkey --steps 300000 --seeds 0 1 2 3 4"
_LEVELS = "transfer --suite coinrun --train-levels 200 --seeds 0 1 2 3 4"
_HARD = "explore --tasks multiroom-n4-s5 keycorridor-s3r3 --steps 300000 --seeds 0 1 2 3 4"
EXPERIMENTS: dict[str, tuple[str, ...]] = {
    "darla": (
        f"{_SPRITES} --repr darla random --equal-budget --both-starts",
        f"{_SPRITES} --repr darla --set darla.beta=0.001 --no-baseline",
        f"{_SPRITES} --repr darla --set darla.features=denoiser --no-baseline",
    ),
    "contrastive": (
        f"{_LEVELS} --repr curl drac --mode online",
        f"{_LEVELS} --repr atc --equal-budget",
    ),
    "unreal": (
        f"{_DOORKEY} --repr unreal",
        f"{_DOORKEY} --repr unreal --no-baseline --set unreal.value_replay=False unreal.reward_prediction=False",
        f"{_DOORKEY} --repr unreal --no-baseline --set unreal.value_replay=False unreal.pixel_control=False",
        f"{_DOORKEY} --repr unreal --no-baseline --set unreal.pixel_control=False unreal.reward_prediction=False",
        f"{_DOORKEY} --repr cpc --mode online --algo a2c",
    ),
    "bonuses": (f"{_HARD} --bonus icm:0.5 rnd:0.5 prediction_gain:0.5 disagreement:0.5",),
    "levels": ("transfer --suite coinrun --repr cnn --train-levels 20 50 200 1000 5000 --seeds 0 1 2",),
    "scenes": (
        "transfer --suite rooms-moving --repr gqn --equal-budget --both-starts --seeds 0 1 2",
        "transfer --suite sprites --repr monet --equal-budget --both-starts --seeds 0 1 2",
    ),
}
"""Experiment -> arguments of ``python -m benchmarks...``, in the order in which they are worth running."""

_DARLA = {"repr": "darla", "repr_settings.beta": 0.1, "repr_settings.features": "vae"}
_UNREAL_PARTS = ("pixel_control", "reward_prediction", "value_replay")


def _unreal(*parts: str) -> Row:
    """Row of UNREAL with these of its tasks alone."""
    return {"repr": "unreal"} | {f"repr_settings.{part}": part in parts for part in _UNREAL_PARTS}


def _darla_claims() -> list[Claim]:
    paper = "Higgins et al. 2017 (DARLA)"
    looks = [
        Claim(
            f"darla-{look}",
            f"DARLA keeps more of its return in sprites of unseen {what} than a CNN does, at equal source return",
            *(paper, "darla", "sprites", _DARLA, "equal budget", "return kept at equal source return"),
            *(0.1, 0.1, 5, f"{look}/heldout", 0.5),
        )
        for look, what in (("combinations", "combinations"), ("gradient", "shading"), ("noise", "noise"))
    ]
    controls = [
        Claim(
            f"darla-against-{name}",
            f"DARLA gets more on unseen combinations than {what}",
            *(paper, "darla", "sprites", _DARLA, row, "return", 0.1, 0.1, 5, "combinations/heldout"),
        )
        for name, what, row in (
            ("entangled", "the same network with beta 0.001", {**_DARLA, "repr_settings.beta": 0.001}),
            ("denoiser", "its denoiser alone", {**_DARLA, "repr_settings.features": "denoiser"}),
            ("random", "random features", {"repr": "random"}),
        )
    ]
    return [*looks, *controls]


def _contrastive_claims() -> list[Claim]:
    papers = {"atc": "Stooke et al. 2020 (ATC)", "curl": "Laskin et al. 2020 (CURL)", "drac": "Raileanu et al. 2020"}
    return [
        Claim(
            f"{name}-unseen-levels",
            f"{name.upper()} gets a higher return on unseen CoinRun levels than a CNN of equal total cost",
            *(source, "contrastive", "coinrun-easy", {"repr": name}, "equal budget", "return", 0.5, 0.4, 5),
        )
        for name, source in papers.items()
    ]


def _unreal_claims() -> list[Claim]:
    tasks = {"all of UNREAL": _UNREAL_PARTS, **{part.replace("_", " "): (part,) for part in _UNREAL_PARTS}}
    claims = [
        Claim(
            f"{words.replace(' ', '-').lower()}-sooner",
            f"PPO with {words}{' alone' * (len(parts) == 1)} learns DoorKey sooner",
            *("Jaderberg et al. 2016 (UNREAL)", "unreal", "minigrid-doorkey", _unreal(*parts), "equal budget"),
            *("area under the curve", 0.05, 0.05, 5),
        )
        for words, parts in tasks.items()
    ]
    cpc = Claim(
        "cpc-sooner",
        "A2C with CPC beside it learns DoorKey sooner than A2C",
        *("van den Oord et al. 2018 (CPC)", "unreal", "minigrid-doorkey", {"repr": "cpc", "algo": "a2c"}),
        *("equal budget", "area under the curve", 0.05, 0.05, 5),
    )
    return [*claims, cpc]


def _bonus_claims() -> list[Claim]:
    papers = {
        "icm": "Pathak et al. 2017",
        "rnd": "Burda et al. 2018",
        "prediction_gain": "Bellemare et al. 2016",
        "disagreement": "Pathak et al. 2019",
    }
    return [
        Claim(
            f"{name.replace('_', '-')}-{task}",
            f"{name} finds the goal of {task} sooner than a constant bonus on first visits",
            *(source, "bonuses", task, {"bonus": f"{name}:0.5"}, {"bonus": "constant:0.5"}, "success area"),
            *(0.1, 0.1, 5),
        )
        for task in ("multiroom-n4-s5", "keycorridor-s3r3")
        for name, source in papers.items()
    ]


CLAIMS: tuple[Claim, ...] = (
    *_darla_claims(),
    *_contrastive_claims(),
    *_unreal_claims(),
    *_bonus_claims(),
    Claim(
        "gap-falls-with-levels",
        "The generalisation gap of a CNN is smaller with 5,000 training levels than with 20",
        *("Cobbe et al. 2019", "levels", "coinrun-easy", {"repr": "cnn", "train_levels": 5000}),
        *({"repr": "cnn", "train_levels": 20}, "smaller gap", 1.0, 0.8, 3),
    ),
    Claim(
        "gqn-sooner",
        "An agent on GQN's code of the scene learns sooner than one on pixels, under a moving camera",
        *("Eslami et al. 2018 (GQN)", "scenes", "rooms-moving", {"repr": "gqn"}, "equal RL steps"),
        *("area under the curve", 0.1, 0.1, 3),
    ),
    Claim(
        "monet-more-objects",
        "An agent on MONet's slots gets more where objects are added than a CNN of equal total cost",
        *("Burgess et al. 2019 (MONet)", "scenes", "sprites", {"repr": "monet"}, "equal budget", "return"),
        *(0.1, 0.1, 3, "two-distractors/heldout"),
    ),
)
UNDECIDED: tuple[str, ...] = (
    "DARLA on the themes of CoinRun (--suite coinrun-themes --pretrain-on all)",
    "CURL, ATC and DrAC on further games",
    "bonuses without first visits only (--set ppo.bonus_once=False), and before a noisy TV",
    "UNREAL and CPC with a GRU (--memory gru)",
    "skills of DIAYN and VIC on held-out states, and as options for a task",
)
"""What no test above decides."""
