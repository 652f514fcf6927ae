"""Procgen's games and options as data. Procgen's C++ ends the whole process on a bad value, so it never gets one.

Sources: Cobbe et al. 2020 (arXiv 1912.01588) for the games; openai/procgen 0.10.7 for time limits and modes;
openai/train-procgen for the normalising constants. Nothing here imports procgen, numpy or torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from envs.registry import UsageError, check_int, did_you_mean

LARGEST_SEED = 2**31 - 1
"""Level seeds are int32."""


@dataclass(frozen=True)
class Game:
    """Constants of one game."""

    title: str
    """The name in ids such as ``Procgen/CoinRun-v0``."""
    easy: tuple[float, float]
    """(Rmin, Rmax) of the normalised return (R - Rmin) / (Rmax - Rmin), mode easy."""
    hard: tuple[float, float]
    """The same, mode hard."""
    modes: tuple[str, ...] = ()
    """Distribution modes beside easy and hard."""
    time_limit: int = 1000
    """Steps after which the game itself cuts the episode, but for jumper in mode memory (2000)."""


GAMES: dict[str, Game] = {
    "bigfish": Game("BigFish", (1, 40), (0, 40), time_limit=6000),
    "bossfight": Game("BossFight", (0.5, 13), (0.5, 13), time_limit=4000),
    "caveflyer": Game("CaveFlyer", (3.5, 12), (2, 13.4), ("memory", "exploration")),
    "chaser": Game("Chaser", (0.5, 13), (0.5, 14.2), ("extreme",)),
    "climber": Game("Climber", (2, 12.6), (1, 12.6), ("exploration",)),
    "coinrun": Game("CoinRun", (5, 10), (5, 10), ("exploration",)),
    "dodgeball": Game("Dodgeball", (1.5, 19), (1.5, 19), ("extreme", "memory")),
    "fruitbot": Game("FruitBot", (-1.5, 32.4), (-0.5, 27.2)),
    "heist": Game("Heist", (3.5, 10), (2, 10), ("memory", "exploration")),
    "jumper": Game("Jumper", (1, 10), (1, 10), ("memory", "exploration")),
    "leaper": Game("Leaper", (1.5, 10), (1.5, 10), ("extreme", "exploration"), time_limit=500),
    "maze": Game("Maze", (5, 10), (4, 10), ("memory", "exploration"), time_limit=500),
    "miner": Game("Miner", (1.5, 13), (1.5, 20), ("memory",)),
    "ninja": Game("Ninja", (3.5, 10), (2, 10), ("exploration",)),
    "plunder": Game("Plunder", (4.5, 30), (3, 30), time_limit=4000),
    "starpilot": Game("StarPilot", (2.5, 64), (1.5, 35), ("extreme",)),
}


@dataclass(frozen=True)
class Options:
    """Options of one Procgen vector env, checked. All envs share them; defaults are Procgen's easy protocol."""

    game: str = "coinrun"
    """One of ``GAMES``."""
    distribution_mode: str = "easy"
    """easy or hard for all; extreme, memory, exploration for some games."""
    num_levels: int = 200
    """Levels are drawn uniformly from seeds [start_level, start_level + num_levels). 200 is the easy protocol's."""
    start_level: int = 0
    """First level seed."""
    use_backgrounds: bool = True
    """False: black background; layouts and dynamics unchanged."""
    restrict_themes: bool = False
    """True: agent, ground, crates and enemies always in their first theme; backgrounds unaffected."""
    use_monochrome_assets: bool = False
    """True: every sprite a flat rectangle, its colour a function of type and theme."""
    use_generated_assets: bool = False
    """True: random textures. They use up level randomness, so a seed's layout changes; the state cannot be read."""
    paint_vel_info: bool = False
    """True: velocity as two grey squares, top left."""
    center_agent: bool = True
    """False: the whole level in the frame."""
    use_sequential_levels: bool = False
    """True: a solved level goes on to seed + 997 in the same episode, so levels leave [start, start + num)."""
    debug_mode: int = 0
    """CoinRun only, a sum of 2 = no pits, 4 = no crates, 8 = flat ground (1 has no effect)."""

    def __post_init__(self) -> None:
        if self.game not in GAMES:
            raise UsageError(
                f"procgen: unknown game '{self.game}'{did_you_mean(self.game, GAMES)} Known: {', '.join(GAMES)}"
            )
        modes = ("easy", "hard", *GAMES[self.game].modes)
        if self.distribution_mode not in modes:
            raise UsageError(
                f"procgen: {self.game} has no distribution_mode '{self.distribution_mode}'; it has {', '.join(modes)}"
            )
        self._check_levels()
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "bool" and not isinstance(value, bool):
                raise UsageError(f"procgen: {field.name}={value!r} is not a bool; give True or False")
        flags = check_int(
            "procgen", "debug_mode", self.debug_mode, 0, 15, "a sum of 2 (no pits), 4 (no crates), 8 (flat ground)"
        )
        if flags and self.game != "coinrun":
            raise UsageError(f"procgen: debug_mode={flags} acts in coinrun only; leave it at 0 for {self.game}")

    def _check_levels(self) -> None:
        if self.num_levels == 0 and not isinstance(self.num_levels, bool):
            raise UsageError(
                "procgen: num_levels=0 means every level, training levels included; for unseen levels give a range, "
                "as num_levels=100000 with start_level=1000000"
            )
        count = check_int("procgen", "num_levels", self.num_levels, 1, LARGEST_SEED, "give the number of levels")
        start = check_int("procgen", "start_level", self.start_level, 0, LARGEST_SEED, "give the first level seed")
        if start + count > LARGEST_SEED:
            raise UsageError(
                f"procgen: levels [{start}, {start + count}) pass the largest seed {LARGEST_SEED}; lower start_level"
            )
        if self.distribution_mode == "exploration" and (count, start) != (1, 0):
            raise UsageError(
                "procgen: distribution_mode=exploration has one fixed level; give num_levels=1 and start_level=0"
            )

    @classmethod
    def check(cls, options: dict[str, Any]) -> Options:
        """Options from a dict; UsageError names an unknown key or a bad value."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise UsageError(
                    f"procgen: unknown option '{name}'{did_you_mean(name, known)} Known: {', '.join(known)}"
                )
        return cls(**options)

    @property
    def time_limit(self) -> int:
        """Steps after which the game itself cuts an episode."""
        return 2000 if (self.game, self.distribution_mode) == ("jumper", "memory") else GAMES[self.game].time_limit

    def gym3(self) -> dict[str, Any]:
        """Keyword arguments of ``ProcgenGym3Env``."""
        keywords = asdict(self)
        keywords["env_name"] = keywords.pop("game")
        for name in ("num_levels", "start_level", "debug_mode"):
            keywords[name] = int(keywords[name])
        if self.distribution_mode == "exploration":
            del keywords["num_levels"], keywords["start_level"]  # procgen sets both itself and refuses them
        return keywords
