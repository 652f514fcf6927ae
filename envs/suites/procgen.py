"""Suites of Procgen: CoinRun's visual variants, themes and layouts, all 16 games, the maze."""

from __future__ import annotations

from envs.procgen.games import GAMES
from envs.tasks import HELDOUT, Suite, Task, World, only_heldout, with_heldout

SHIFTS = ("hue", "noise", "blur", "gamma", "invert", "channels")
"""Shifts of ``envs.wrappers.visual_shifts``, at their middle strength."""
LAYOUTS = {"no-pits": 2, "no-crates": 4, "flat": 8, "flat+no-pits+no-crates": 14}
"""CoinRun's ``debug_mode``. It changes the layout behind a seed, so training seeds would show other levels."""


def _easy(game: str, levels: int) -> World:
    return World("procgen", {"game": game, "distribution_mode": "easy", "num_levels": levels, "start_level": 0})


def _coinrun(levels: int) -> tuple[Task, ...]:
    source = _easy("coinrun", levels)
    variants = {
        "no-backgrounds": source.with_options(use_backgrounds=False),
        "monochrome": source.with_options(use_monochrome_assets=True),
        "no-backgrounds+monochrome": source.with_options(use_backgrounds=False, use_monochrome_assets=True),
    }
    return (
        Task(
            env="coinrun-easy",
            source=source,
            targets={"heldout": source.with_options(**HELDOUT), **variants},
            visual_variants=(source, *variants.values()),
            normalise=GAMES["coinrun"].easy,
            train_levels=levels,
            kind="procgen",
            same_state_targets=tuple(variants),
        ),
    )


def _coinrun_visual(levels: int) -> tuple[Task, ...]:
    """The source is plain: black background, first theme of everything. Hard mode, as easy has a single theme."""
    source = World(
        "procgen",
        {
            "game": "coinrun",
            "distribution_mode": "hard",
            "num_levels": levels,
            "start_level": 0,
            "use_backgrounds": False,
            "restrict_themes": True,
        },
    )
    themes = {"use_backgrounds": True, "restrict_themes": False}
    variants = {
        "backgrounds": source.with_options(use_backgrounds=True),
        "themes": source.with_options(restrict_themes=False),
        "backgrounds+themes": source.with_options(**themes),
        "monochrome": source.with_options(use_monochrome_assets=True),
        "monochrome+colours": source.with_options(use_monochrome_assets=True, **themes),
    }
    layouts = {
        "generated": source.with_options(use_generated_assets=True, **themes),
        **{name: source.with_options(debug_mode=mode) for name, mode in LAYOUTS.items()},
        "easy": source.with_options(distribution_mode="easy"),
    }
    return (
        Task(
            env="coinrun-hard",
            source=source,
            targets={"heldout": source.with_options(**HELDOUT), **with_heldout(variants), **only_heldout(layouts)},
            visual_variants=(source, *variants.values()),
            normalise=GAMES["coinrun"].hard,
            train_levels=levels,
            kind="procgen",
            same_state_targets=tuple(variants),
        ),
    )


def _coinrun_shifts(levels: int) -> tuple[Task, ...]:
    """The source is CoinRun as it is; targets show its frames shifted."""
    source = _easy("coinrun", levels)
    variants = {name: World("shifted", {"env_name": "procgen", "shift": name, **source.options}) for name in SHIFTS}
    return (
        Task(
            env="coinrun-shifts",
            source=source,
            targets={"heldout": source.with_options(**HELDOUT), **with_heldout(variants)},
            visual_variants=(source, *variants.values()),
            normalise=GAMES["coinrun"].easy,
            train_levels=levels,
            kind="procgen",
            same_state_targets=tuple(variants),
        ),
    )


def _coinrun_themes(levels: int) -> tuple[Task, ...]:
    """Grounds, agents and backgrounds are split: half of them are never shown in training."""
    source = World("coinrun-themes", {"themes": "train", "num_levels": levels, "start_level": 0})
    variants = {kind: source.with_options(**{kind: "heldout"}) for kind in ("grounds", "agents", "backgrounds")}
    variants["themes"] = source.with_options(themes="heldout")
    layouts = {name: source.with_options(debug_mode=mode) for name, mode in LAYOUTS.items()}
    return (
        Task(
            env="coinrun-themes",
            source=source,
            targets={
                "heldout": source.with_options(**HELDOUT),
                **variants,
                **only_heldout({"themes": variants["themes"], **layouts}),
            },
            visual_variants=(source,),
            normalise=GAMES["coinrun"].hard,
            train_levels=levels,
            kind="procgen",
            same_state_targets=tuple(variants),
        ),
    )


def _coinrun_coin(levels: int) -> tuple[Task, ...]:
    """The coin is at the end of every training level, as ever; targets have it elsewhere."""
    return (_coin_task("coinrun-coin", levels, "end", "random"),)


def _coinrun_coin_random(levels: int) -> tuple[Task, ...]:
    """The other direction: the coin is anywhere in training, so that running to the end is not enough."""
    return (_coin_task("coinrun-coin-random", levels, "random", "end"),)


def _coin_task(name: str, levels: int, coin: str, other: str) -> Task:
    options = {"distribution_mode": "easy", "num_levels": levels, "start_level": 0}
    source = World("coinrun-coin", {"coin": coin, **options})
    moved = with_heldout({f"coin-{other}": source.with_options(coin=other)})
    return Task(
        env=name,
        source=source,
        targets={"heldout": source.with_options(**HELDOUT), **moved},
        visual_variants=(source,),
        normalise=GAMES["coinrun"].easy,
        train_levels=levels,
        kind="procgen",
    )


def _procgen16(levels: int) -> tuple[Task, ...]:
    tasks = []
    for name, game in GAMES.items():
        source = _easy(name, levels)
        targets = {"heldout": source.with_options(**HELDOUT)}
        tasks.append(Task(f"{name}-easy", source, targets, (source,), game.easy, levels, kind="procgen"))
    return tuple(tasks)


def _procgen_maze(levels: int) -> tuple[Task, ...]:
    return tuple(task for task in _procgen16(levels) if task.env == "maze-easy")


COINRUN = Suite("CoinRun easy: unseen levels, and three visual variants of the training levels", 200, _coinrun)
COINRUN_VISUAL = Suite(
    "CoinRun hard, plain: visual variants x (training, unseen) levels, and other layouts", 500, _coinrun_visual
)
COINRUN_SHIFTS = Suite("CoinRun easy: hue, noise, blur, gamma, ... x (training, unseen) levels", 200, _coinrun_shifts)
COINRUN_THEMES = Suite(
    "CoinRun hard, half of all grounds, agents and backgrounds: the unseen half, and other layouts",
    500,
    _coinrun_themes,
)
COINRUN_COIN = Suite("CoinRun easy, the coin at the end: levels that have it elsewhere", 200, _coinrun_coin)
COINRUN_COIN_RANDOM = Suite("CoinRun easy, the coin anywhere: unseen levels, and at the end", 200, _coinrun_coin_random)
PROCGEN16 = Suite("all 16 Procgen games, easy: unseen levels", 200, _procgen16)
PROCGEN_MAZE = Suite("Procgen's maze, easy, for bonuses: unseen levels", 200, _procgen_maze)
