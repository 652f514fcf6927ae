"""CoinRun with its themes split in two: the same physics and levels in themes that training never showed.

A level of CoinRun (hard) has one of 6 grounds, 5 agents and 62 backgrounds. Here each episode's themes are patched into
Procgen's state as it begins. A hash of the level draws them from an allowed subset, so a level keeps its themes::

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
"""Number of each, counted from the first, that are for training; the others are held out."""
SUBSETS = ("train", "heldout", "all")


@dataclass(frozen=True)
class Themes:
    """Allowed themes: "train", "heldout" or "all" of each kind."""

    grounds: str = "train"
    """Dirt, grass, planet | sand, snow, stone."""
    agents: str = "train"
    """Beige, blue, green | pink, yellow."""
    backgrounds: str = "train"
    """0..30 | 31..61."""

    def __post_init__(self) -> None:
        for name in ("grounds", "agents", "backgrounds"):
            if (subset := getattr(self, name)) not in SUBSETS:
                raise UsageError(
                    f"coinrun-themes: {name}={subset!r} is not known{did_you_mean(subset, SUBSETS)} Known: "
                    f"{', '.join(SUBSETS)}"
                )

    def draw(self, levels: Array) -> dict[str, Array]:
        """Themes of levels (N,): wall_theme, agent_theme and background_index, (N,) each."""
        subsets = (self.grounds, self.agents, self.backgrounds)
        drawn: dict[str, Array] = {}
        for tag, ((name, count), subset) in enumerate(zip(THEMES.items(), subsets, strict=True)):
            first = SPLITS[name] if subset == "heldout" else 0
            after = SPLITS[name] if subset == "train" else count
            drawn[name] = first + below(counter_hash(levels, tag), after - first)
        return drawn


class CoinRunThemesVectorEnv(ProcgenVectorEnv):
    """CoinRun with a subset of its themes. Observations (N, 64, 64, 3) uint8; all else as ProcgenVectorEnv.

    Args:
        num_envs: number of envs.
        themes: "train", "heldout" or "all" of grounds, agents and backgrounds alike.
        grounds: the same for the grounds alone; None takes ``themes``.
        agents: the same for the agents.
        backgrounds: the same for the backgrounds.
        distribution_mode: "hard", or "easy": easier levels, which in ProcgenVectorEnv have one theme.
        num_levels: 500 is the hard protocol's.
        options: other arguments of ProcgenVectorEnv: seed, start_level, debug_mode (2 no pits, 4 no crates, 8 flat, 14
            all three), max_episode_steps, ...

    Raises:
        UsageError: an unknown subset, or an option that would hide or forbid the patch.
    """

    name: ClassVar[str] = "coinrun-themes"
    variants: ClassVar[dict[str, dict[str, Any]]] = {subset: {"themes": subset} for subset in SUBSETS} | {
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
        if themes not in SUBSETS:
            raise UsageError(
                f"coinrun-themes: themes={themes!r} is not known{did_you_mean(themes, SUBSETS)} Known: "
                f"{', '.join(SUBSETS)}"
            )
        self.themes = Themes(grounds or themes, agents or themes, backgrounds or themes)
        if options.pop("game", "coinrun") != "coinrun":
            raise UsageError("coinrun-themes: the game is coinrun; leave game out")
        for name in ("restrict_themes", "use_generated_assets", "use_sequential_levels"):
            if options.get(name):
                raise UsageError(f"coinrun-themes: {name}=True leaves no themes to choose; leave it out")
        super().__init__(num_envs, "coinrun", distribution_mode=distribution_mode, num_levels=num_levels, **options)

    def _opened(self, rows: Array, frames: Array) -> Array:
        levels = self.levels()[rows]
        drawn = self.themes.draw(levels)
        for position, row in enumerate(rows.tolist()):
            changes = {name: int(value[position]) for name, value in drawn.items()}
            self.engine.set_state(row, patch(self.engine.state(row), int(levels[position]), **changes))
        return self.engine.frames()

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), **vars(self.themes)}


class CoinRunThemesEnv(ProcgenEnv):
    """One env for ``gymnasium.make("Procgen/CoinRunThemes-v0", themes="heldout")``; see CoinRunThemesVectorEnv."""

    def __init__(self, *, render_mode: str | None = None, **options: Any):
        self._hold(CoinRunThemesVectorEnv(1, render_mode=render_mode, **options))
