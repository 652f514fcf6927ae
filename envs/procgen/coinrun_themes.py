"""CoinRun with its themes split in two: the same physics and the same levels under looks that training never showed.

A level of CoinRun (hard) has one of 6 grounds, 5 agents and 62 backgrounds. Here each episode's themes are patched into
Procgen's state as it begins, drawn from an allowed part by a hash of the level, so a level looks the same each time::

                train                     heldout
    grounds     dirt, grass, planet       sand, snow, stone
    agents      beige, blue, green        pink, yellow
    backgrounds 0..30                     31..61

Everything else is ``ProcgenVectorEnv``: rewards, ends, level order and motion are those of the unpatched game (by
test). Cost: about 0.4 ms an episode. Crates and enemies keep the themes that Procgen drew.
Source of the states and their themes: openai/procgen 0.10.7 (Cobbe et al. 2020); the split is our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from envs.counter_rng import below, counter_hash
from envs.procgen.env import ProcgenEnv, ProcgenVectorEnv
from envs.procgen.state import THEMES, patch
from envs.registry import UsageError, did_you_mean
from envs.spaces import Array

SPLITS = {"wall_theme": 3, "agent_theme": 3, "background_index": 31}
"""How many of each come first and are for training; the others are held out."""
PARTS = ("train", "heldout", "all")


@dataclass(frozen=True)
class Themes:
    """Which themes may be shown: "train", "heldout" or "all" of each kind."""

    grounds: str = "train"
    """Dirt, grass, planet | sand, snow, stone."""
    agents: str = "train"
    """Beige, blue, green | pink, yellow."""
    backgrounds: str = "train"
    """0..30 | 31..61."""

    def __post_init__(self) -> None:
        for name in ("grounds", "agents", "backgrounds"):
            if (part := getattr(self, name)) not in PARTS:
                raise UsageError(
                    f"coinrun-themes: {name}={part!r} is not known{did_you_mean(part, PARTS)} Known: {', '.join(PARTS)}"
                )

    def draw(self, levels: Array) -> dict[str, Array]:
        """For levels (N,): wall_theme, agent_theme and background_index, (N,) each."""
        parts = (self.grounds, self.agents, self.backgrounds)
        drawn = {}
        for tag, ((name, count), part) in enumerate(zip(THEMES.items(), parts, strict=True)):
            first = SPLITS[name] if part == "heldout" else 0
            after = SPLITS[name] if part == "train" else count
            drawn[name] = first + below(counter_hash(levels, tag), after - first)
        return drawn


class CoinRunThemesVectorEnv(ProcgenVectorEnv):
    """CoinRun whose episodes show only some themes. Observations (N, 64, 64, 3) uint8; all else as ProcgenVectorEnv.

    Args:
        num_envs: number of envs.
        themes: "train", "heldout" or "all" of grounds, agents and backgrounds alike.
        grounds: the same for the grounds alone; None takes ``themes``.
        agents: the same for the agents.
        backgrounds: the same for the backgrounds.
        distribution_mode: "hard", or "easy": easier levels, which without this world have one theme.
        num_levels: 500 is the hard protocol's.
        options: other arguments of ProcgenVectorEnv: seed, start_level, debug_mode (2 no pits, 4 no crates, 8 flat, 14
            all three), max_episode_steps, ...

    Raises:
        UsageError: an unknown part, or an option that would hide or forbid the patch.
    """

    name: ClassVar[str] = "coinrun-themes"
    variants: ClassVar[dict[str, dict[str, Any]]] = {part: {"themes": part} for part in PARTS} | {
        f"heldout-{kind}": {kind: "heldout"} for kind in ("grounds", "agents", "backgrounds")
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        themes: str = "train",
        grounds: str | None = None,
        agents: str | None = None,
        backgrounds: str | None = None,
        distribution_mode: str = "hard",
        num_levels: int = 500,
        **options: Any,
    ):
        if themes not in PARTS:
            raise UsageError(
                f"coinrun-themes: themes={themes!r} is not known{did_you_mean(themes, PARTS)} Known: {', '.join(PARTS)}"
            )
        self.themes = Themes(grounds or themes, agents or themes, backgrounds or themes)
        if options.pop("game", "coinrun") != "coinrun":
            raise UsageError("coinrun-themes: this world is coinrun; leave game out")
        for name in ("restrict_themes", "use_generated_assets", "use_sequential_levels"):
            if options.get(name):
                raise UsageError(f"coinrun-themes: {name}=True leaves no themes to choose; leave it out")
        super().__init__(num_envs, "coinrun", distribution_mode=distribution_mode, num_levels=num_levels, **options)

    def _opened(self, rows: Array, frames: Array) -> Array:
        levels = self._levels()["level_seed"][rows]
        drawn = self.themes.draw(levels)
        for place, row in enumerate(rows.tolist()):
            changes = {name: int(value[place]) for name, value in drawn.items()}
            self._put(self._world, row, patch(self._get(self._world, row), int(levels[place]), **changes))
        return self._world.observe()[1]["rgb"]

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), **vars(self.themes)}


class CoinRunThemesEnv(ProcgenEnv):
    """One env for ``gymnasium.make("Procgen/CoinRunThemes-v0", themes="heldout")``; see CoinRunThemesVectorEnv."""

    def __init__(self, *, render_mode: str | None = None, **options: Any):
        self._hold(CoinRunThemesVectorEnv(1, render_mode=render_mode, **options))
