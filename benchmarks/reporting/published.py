"""Published returns: Procgen in easy mode, Breakout and its variants.

Every number was read in the paper named with it, except Breakout's, which came second-hand and say so. They are
means of the final policy's undiscounted return; a standard deviation of Procgen's is over training runs. Compare
differences inside one study, not numbers across studies: PPO itself scores 3.7, 4.3 and 1.5 on BigFish in the three
studies below, which share this protocol by name.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.reporting.layout import frames


@dataclass(frozen=True)
class Protocol:
    """Training and test conditions of published agents."""

    about: str
    levels: int
    """Training levels; 0 where the study has none."""
    steps: int
    """Frames of training."""
    seeds: str
    """Runs of each study, in words."""
    fewest_seeds: int
    trunk: str = ""
    """Our name of their network; '' where we have none like it."""
    precision: str = "float32"


PROCGEN = Protocol(
    "Procgen easy, 200 training levels, 25M frames, tested on the full level distribution",
    levels=200,
    steps=25_000_000,
    seeds="5 to 10",
    fewest_seeds=5,
    trunk="impala",
)
BREAKOUT = Protocol(
    "Breakout of 94x117 pixels, trained on the standard game (A3C 200k frames, the best 2 of 5 runs; Schema Networks "
    "100k frames of a smaller one), then evaluated without learning on each variant; score of 2500 frames",
    levels=0,
    steps=200_000,
    seeds="5",
    fewest_seeds=5,
)


@dataclass(frozen=True)
class Study:
    """One table of one paper."""

    citation: str
    protocol: Protocol


STUDIES = {
    "PLR": Study(
        "Jiang, Grefenstette, Rocktäschel 2021, Prioritized Level Replay (ICML), table 2; mean ± sd of 10 runs", PROCGEN
    ),
    "CLOP test": Study(
        "Bertoin, Rachelson 2022, Local Feature Swapping for Generalization in RL (ICLR), table 2", PROCGEN
    ),
    "CLOP": Study("Bertoin, Rachelson 2022, Local Feature Swapping for Generalization in RL (ICLR), table 3", PROCGEN),
    "Schema": Study(
        "Kansky et al. 2017, Schema Networks (ICML), table 1; mean ± sd; second-hand, not checked in the paper",
        BREAKOUT,
    ),
    "Cetin": Study(
        "Cetin, Chamberlain, Bronstein, Hunt 2023, Hyperbolic Deep RL (ICLR), table 1; mean of 5 runs", PROCGEN
    ),
}


@dataclass(frozen=True)
class Row:
    """One method on one game in one study."""

    env: str
    """Name of the task of ours that plays the same game and mode."""
    method: str
    source: str
    """Key of STUDIES."""
    train: float | None
    """Mean return on the training levels; None where the study prints none."""
    test: float
    """Mean return on the split."""
    train_std: float | None = None
    test_std: float | None = None
    gap: float | None = None
    """Train minus test as printed (a mean over runs: rounding may differ from the two means); else their difference."""
    split: str = "heldout"
    """Split of ours that it is compared with."""


# Test return of PPO (table 2 of PLR), then PPO train and test with the gap as printed (table 3 of CLOP), then PPO train
# and test of Cetin et al.: game, mean, sd | train, sd, test, sd, gap | train, test.
_PPO = """
bigfish    3.7 1.2 | 18.1 4.0  4.3 1.2 13.9 |  3.71  1.46
bossfight  7.7 0.4 | 10.3 0.6  9.1 0.1  1.4 |  8.18  7.04
caveflyer  5.4 0.8 |  7.8 1.4  5.5 0.4  2.4 |  7.01  5.86
chaser     5.2 0.7 |  8.0 1.2  6.9 0.8  1.5 |  6.58  5.89
climber    5.9 0.8 | 10.2 0.4  6.3 0.4  4.0 |  8.66  5.11
coinrun    8.6 0.4 | 10.0 0.0  9.0 0.1  1.1 |  9.50  8.25
dodgeball  1.7 0.2 | 10.8 1.7  3.3 0.4  7.5 |  5.07  1.87
fruitbot  27.3 0.9 | 31.5 0.5 28.5 0.2  3.3 | 30.10 26.33
heist      2.8 0.9 |  8.8 0.3  2.7 0.2  6.3 |  7.42  2.92
jumper     5.7 0.4 |  8.9 0.4  5.4 0.1  3.8 |  8.86  6.14
leaper     4.2 1.3 |  7.1 1.6  6.5 1.1  0.7 |  4.86  4.36
maze       5.5 0.4 |  9.9 0.1  5.1 0.2  4.9 |  9.25  6.50
miner      8.7 0.7 | 12.7 0.2  8.4 0.4  4.7 | 12.95  9.28
ninja      6.0 0.4 |  9.6 0.3  6.5 0.1  3.2 |  7.62  6.50
plunder    5.1 0.6 |  8.9 1.7  6.1 0.8  2.8 |  6.92  6.06
starpilot 26.8 1.5 | 44.7 2.4 36.1 1.6 10.5 | 30.50 26.57
"""


def _ppo() -> tuple[Row, ...]:
    rows = []
    for line in _PPO.strip().splitlines():
        name, *numbers = line.replace("|", " ").split()
        plr, plr_std, train, train_std, test, test_std, gap, cetin_train, cetin_test = map(float, numbers)
        env = f"{name}-easy"
        rows += [
            Row(env, "PPO", "CLOP", train, test, train_std, test_std, gap),
            Row(env, "PPO", "Cetin", cetin_train, cetin_test),
            Row(env, "PPO", "PLR", None, plr, None, plr_std),
        ]
    return tuple(rows)


def _coinrun() -> tuple[Row, ...]:
    env = "coinrun-easy"
    tested = (
        ("TSCL", "PLR", 9.2, 0.2),
        ("mixreg", "PLR", 8.6, 0.3),
        ("UCB-DrAC", "PLR", 8.6, 0.4),
        ("PLR", "PLR", 8.8, 0.5),
        ("UCB-DrAC + PLR", "PLR", 9.0, 0.4),
        ("RAD", "CLOP test", 9.0, 0.8),
        ("IDAAC", "CLOP test", 9.4, 0.1),
        ("CLOP", "CLOP test", 9.1, 0.1),
    )
    return (
        Row(env, "PPO + crop augmentation", "Cetin", 8.40, 9.00),
        Row(env, "PPO + S-RYM, 256 features", "Cetin", 9.30, 8.40),
        Row(env, "PPO + S-RYM, 32 features", "Cetin", 9.70, 9.20),
        *(Row(env, method, source, None, test, None, std) for method, source, test, std in tested),
    )


# Split, then mean and sd of A3C on the image, A3C on image and entities, Schema Networks.
_SCHEMA = """
offset-paddle    0.60 20.05 |  11.10 17.44 | 41.42  6.29
middle-wall      9.55 17.44 |   8.00 14.61 | 35.22 12.23
random-target    6.83  5.02 |   6.88  6.19 | 21.38  5.02
juggling       -39.35 14.57 | -17.52 17.39 | -0.11  0.34
"""


def _breakout() -> tuple[Row, ...]:
    rows = []
    for line in _SCHEMA.strip().splitlines():
        split, *numbers = line.replace("|", " ").split()
        values = [float(number) for number in numbers]
        for method, place in (("A3C, image", 0), ("A3C, image and entities", 2), ("Schema Networks", 4)):
            train = (36.33, 6.17) if place == 4 else (None, None)
            rows.append(
                Row("breakout", method, "Schema", train[0], values[place], train[1], values[place + 1], split=split)
            )
    return tuple(rows)


ROWS = (*_ppo(), *_coinrun(), *_breakout())


def rows(env: str) -> tuple[Row, ...]:
    """Published rows for a task of ours, as 'coinrun-easy'; empty where there are none."""
    return tuple(row for row in ROWS if row.env == env)


def gap(row: Row) -> float | None:
    """Train minus test: as printed, else the difference of the printed means."""
    if row.gap is not None or row.train is None:
        return row.gap
    return round(row.train - row.test, 2)


def protocol(env: str) -> Protocol:
    """Protocol of the published rows of a task of ours, which must have some; they share one."""
    return STUDIES[rows(env)[0].source].protocol


@dataclass(frozen=True)
class Conditions:
    """Conditions of a cell of ours, as far as the published rows depend on it."""

    levels: int
    steps: int
    seeds: int
    trunk: str
    precision: str


def differences(env: str, here: Conditions) -> str:
    """Departures of a cell of ours from the published protocol, in words; empty where there are none."""
    theirs = protocol(env)
    words = []
    if theirs.levels and here.levels != theirs.levels:
        words.append(f"{here.levels:,} training levels here, {theirs.levels} there")
    if here.steps != theirs.steps:
        words.append(f"{frames(here.steps)} frames here, {frames(theirs.steps)} there")
    if here.seeds < theirs.fewest_seeds:
        words.append(f"{here.seeds} seed{'s' * (here.seeds > 1)} here, {theirs.seeds} there")
    if theirs.trunk and here.trunk != theirs.trunk:
        words.append(f"trunk {here.trunk} here, {theirs.trunk} there")
    if here.precision not in ("", theirs.precision):
        words.append(f"{here.precision} here, {theirs.precision} there")
    return "; ".join(words)
