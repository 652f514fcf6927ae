"""Suites: named tasks, each a source world to train on and target worlds to test on without training. Data only.

Levels: training plays seeds [0, K), held-out targets play [1 000 000, 1 100 000), so they are disjoint for every K that
``build`` accepts. A target named after a look or a rule alone shows it on the *training* levels; ``<name>/heldout``
shows it on held-out levels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from envs.procgen.games import GAMES, did_you_mean
from envs.registry import UsageError
from envs.tasks import HELDOUT, HELDOUT_START, Suite, Task, World


def _coinrun(levels: int) -> tuple[Task, ...]:
    source = World("procgen", {"game": "coinrun", "distribution_mode": "easy", "num_levels": levels, "start_level": 0})
    looks = {
        "no-backgrounds": source.with_options(use_backgrounds=False),
        "monochrome": source.with_options(use_monochrome_assets=True),
        "no-backgrounds+monochrome": source.with_options(use_backgrounds=False, use_monochrome_assets=True),
    }
    targets = {"heldout": source.with_options(**HELDOUT), **looks}
    return (
        Task(
            "coinrun-easy",
            source,
            targets,
            (source, *looks.values()),
            GAMES["coinrun"].easy,
            levels,
            same_state_targets=tuple(looks),
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
    looks = {
        "backgrounds": source.with_options(use_backgrounds=True),
        "themes": source.with_options(restrict_themes=False),
        "backgrounds+themes": source.with_options(use_backgrounds=True, restrict_themes=False),
        "monochrome": source.with_options(use_monochrome_assets=True),
        "monochrome+colours": source.with_options(
            use_monochrome_assets=True, use_backgrounds=True, restrict_themes=False
        ),
    }
    # these change the layout behind a seed, so on training seeds they would not show training levels
    layouts = {
        "generated": source.with_options(use_generated_assets=True, use_backgrounds=True, restrict_themes=False),
        "no-pits": source.with_options(debug_mode=2),
        "no-crates": source.with_options(debug_mode=4),
        "flat": source.with_options(debug_mode=8),
        "flat+no-pits+no-crates": source.with_options(debug_mode=14),
        "easy": source.with_options(distribution_mode="easy"),
    }
    targets = {"heldout": source.with_options(**HELDOUT)}
    for name, world in looks.items():
        targets |= {name: world, f"{name}/heldout": world.with_options(**HELDOUT)}
    targets |= {f"{name}/heldout": world.with_options(**HELDOUT) for name, world in layouts.items()}
    return (
        Task(
            "coinrun-hard",
            source,
            targets,
            (source, *looks.values()),
            GAMES["coinrun"].hard,
            levels,
            same_state_targets=tuple(looks),
        ),
    )


def _procgen16(levels: int) -> tuple[Task, ...]:
    tasks = []
    for name, game in GAMES.items():
        source = World("procgen", {"game": name, "distribution_mode": "easy", "num_levels": levels, "start_level": 0})
        tasks.append(
            Task(f"{name}-easy", source, {"heldout": source.with_options(**HELDOUT)}, (source,), game.easy, levels)
        )
    return tuple(tasks)


def _counting(levels: int) -> tuple[Task, ...]:
    source = World("counting", {"num_levels": levels, "start_level": 0})
    swapped = source.with_options(look="swapped")
    # 10..13 steps, 11.5 on average; a random one of 4 actions earns a quarter of them
    normalise = (11.5 / 4, 11.5)
    targets = {"heldout": source.with_options(**HELDOUT), "swapped": swapped}
    return (Task("counting", source, targets, (source, swapped), normalise, levels, same_state_targets=("swapped",)),)


SHORT_SIGHTED = {"ppo": {"gamma": 0.99, "n_steps": 128}, "a2c": {"gamma": 0.99}}
"""What is earned comes within some 100 steps; Procgen's gamma of 0.999 learns Breakout several times slower."""
BREAKOUT_WINDOW = 2500
"""Frames of a scored window (Kansky et al. 2017), and the limit of an episode."""


def _breakout_task(levels: int, source_variant: str, targets: dict[str, str], both_halves: tuple[str, ...]) -> Task:
    """Train on one variant, play others: split -> variant; those of ``both_halves`` on unseen levels, too."""
    source = World(
        "breakout",
        {
            "variant": source_variant,
            "num_levels": levels,
            "start_level": 0,
            "ball_px": 2,
            "max_episode_steps": BREAKOUT_WINDOW,
        },
    )
    worlds = {split: source.with_options(variant=variant) for split, variant in targets.items()}
    splits = {"heldout": source.with_options(**HELDOUT)}
    for split, world in worlds.items():
        splits[split] = world
        if split in both_halves:
            splits[f"{split}/heldout"] = world.with_options(**HELDOUT)
    return Task(
        "breakout",
        source,
        splits,
        (source, *worlds.values()),
        None,
        levels,
        motion=4,
        window=BREAKOUT_WINDOW,
        share=0.5,
        settings=SHORT_SIGHTED | {"beta_vae": {"beta": 0.1, "learning_rate": 1e-3}},  # beta 4 drops a ball of 4 pixels
    )


def _variants(*names: str) -> dict[str, str]:
    return {name.replace("_", "-"): name for name in names}


def _breakout(levels: int) -> tuple[Task, ...]:
    targets = _variants(
        *("middle_wall", "half_negative", "offset_paddle", "random_target", "juggling", "moving_obstacles")
    )
    return (_breakout_task(levels, "standard", targets, ()),)


def _breakout_visual(levels: int) -> tuple[Task, ...]:
    """The source shows a background by level, so that unseen levels are unseen backgrounds."""
    targets = {"plain": "standard", **_variants("recolor", "distractor", "invert", "gray", "flip_x", "flip_y")}
    task = _breakout_task(levels, "background", targets, ("recolor", "distractor"))
    return (replace(task, env="breakout-visual"),)


def _breakout_physics(levels: int) -> tuple[Task, ...]:
    targets = _variants(
        *("fast_ball", "narrow_paddle", "wide_paddle", "widest_paddle", "gravity", "noise", "sticky"),
    )
    return (replace(_breakout_task(levels, "standard", targets, ()), env="breakout-physics"),)


def _breakout_layout(levels: int) -> tuple[Task, ...]:
    """The source has a layout by level, so that unseen levels are unseen layouts."""
    targets = {"full": "standard", **_variants("strong", "row_value", "middle_wall", "moving_obstacles")}
    return (replace(_breakout_task(levels, "bricks", targets, ()), env="breakout-layout"),)


def _coinrun_themes(levels: int) -> tuple[Task, ...]:
    """Grounds, agents and backgrounds are split: half of them are never shown in training."""
    source = World("coinrun-themes", {"themes": "train", "num_levels": levels, "start_level": 0})
    looks = {f"{kind}": source.with_options(**{kind: "heldout"}) for kind in ("grounds", "agents", "backgrounds")}
    looks["themes"] = source.with_options(themes="heldout")
    targets = {
        "heldout": source.with_options(**HELDOUT),
        **looks,
        "themes/heldout": looks["themes"].with_options(**HELDOUT),
    }
    layouts = {"no-pits": 2, "no-crates": 4, "flat": 8, "flat+no-pits+no-crates": 14}
    targets |= {f"{name}/heldout": source.with_options(debug_mode=mode, **HELDOUT) for name, mode in layouts.items()}
    return (
        Task(
            "coinrun-themes", source, targets, (source,), GAMES["coinrun"].hard, levels, same_state_targets=tuple(looks)
        ),
    )


def _minigrid(levels: int) -> tuple[Task, ...]:
    """Three pairs of rungs of the ladder of sparse rewards: unseen mazes, other colours, the next larger mazes."""
    rungs = {
        "empty": ("Empty-Random-6x6-v0", "Empty-8x8-v0"),
        "doorkey": ("DoorKey-5x5-v0", "DoorKey-8x8-v0"),
        "multiroom": ("MultiRoom-N2-S4-v0", "MultiRoom-N4-S5-v1"),
    }
    tasks = []
    for name, (small, large) in rungs.items():
        source = World("minigrid", {"env_id": f"MiniGrid-{small}", "num_levels": levels, "start_level": 0})
        colours = source.with_options(palette="swapped")
        targets = {
            "heldout": source.with_options(**HELDOUT),
            "colours": colours,
            "colours/heldout": colours.with_options(**HELDOUT),
            "larger/heldout": source.with_options(env_id=f"MiniGrid-{large}", **HELDOUT),
        }
        tasks.append(
            Task(
                f"minigrid-{name}",
                source,
                targets,
                (source, colours),
                (0, 1),
                levels,
                share=0.5,
                settings=SHORT_SIGHTED,
                same_state_targets=("colours",),
            )
        )
    return tuple(tasks)


def _rooms_task(levels: int, camera: str) -> tuple[Task, ...]:
    """Unseen rooms, unseen pairs of shape and hue, and the other two cameras."""
    source = World("rooms", {"camera": camera, "num_levels": levels, "start_level": 0})
    targets = {
        "heldout": source.with_options(**HELDOUT),
        "combinations/heldout": source.with_options(combinations="heldout", **HELDOUT),
    }
    targets |= {
        other: source.with_options(camera=other) for other in ("fixed", "moving", "first_person") if other != camera
    }
    name = "rooms" if camera == "fixed" else f"rooms-{camera}"
    return (Task(name, source, targets, (source,), (0, 1), levels, share=0.5, settings=SHORT_SIGHTED),)


def _rooms(levels: int) -> tuple[Task, ...]:
    return _rooms_task(levels, "fixed")


def _rooms_moving(levels: int) -> tuple[Task, ...]:
    return _rooms_task(levels, "moving")


def _sprites(levels: int) -> tuple[Task, ...]:
    """Trained with one distractor; more of them, unseen pairs of shape and colour, other backgrounds and sizes."""
    source = World("sprites", {"num_levels": levels, "start_level": 0})
    changes: dict[str, dict[str, Any]] = {
        "two-distractors": {"distractors": 2},
        "three-distractors": {"distractors": 3},
        "combinations": {"combinations": "heldout"},
        "gradient": {"background": "gradient"},
        "noise": {"background": "noise"},
        "small": {"radius": 4.5},
    }
    worlds = {name: source.with_options(**change) for name, change in changes.items()}
    targets = {"heldout": source.with_options(**HELDOUT)} | {
        f"{n}/heldout": w.with_options(**HELDOUT) for n, w in worlds.items()
    }
    looks = (source, worlds["gradient"], worlds["noise"])
    return (Task("sprites", source, targets, looks, (0, 1), levels, share=0.5, settings=SHORT_SIGHTED),)


ATARI_WINDOW = 500
"""Steps of a scored window, 2,000 frames: the emulator is a hundred times slower than our own Breakout."""


def _atari_breakout(levels: int) -> tuple[Task, ...]:
    """The plain game; the cartridge's other games and the small paddle. The timed modes pay for time alone."""
    source = World("atari-breakout", {"num_levels": levels, "start_level": 0})
    targets = {"heldout": source.with_options(**HELDOUT), "hard": source.with_options(difficulty=1)}
    names = {
        4: "steerable",
        8: "catch",
        12: "invisible",
        32: "breakthru",
        36: "breakthru-steerable",
        44: "breakthru-invisible",
    }
    for mode, name in names.items():
        targets |= {name: source.with_options(mode=mode), f"{name}-hard": source.with_options(mode=mode, difficulty=1)}
    return (
        Task(
            "atari-breakout",
            source,
            targets,
            (source,),
            None,
            levels,
            motion=4,
            window=ATARI_WINDOW,
            share=0.5,
            settings=SHORT_SIGHTED,
        ),
    )


def _minigrid_ladder(levels: int) -> tuple[Task, ...]:
    """Four rungs as symbols, each on its own levels: how far a bonus gets where reward is rare."""
    rungs = {
        "doorkey-8x8": "DoorKey-8x8-v0",
        "multiroom-n2-s4": "MultiRoom-N2-S4-v0",
        "multiroom-n4-s5": "MultiRoom-N4-S5-v1",
        "keycorridor-s3r3": "KeyCorridorS3R3-v0",
    }
    worlds = {name: World("minigrid", {"env_id": f"MiniGrid-{env_id}"}) for name, env_id in rungs.items()}
    # Levels come new: what is rare over all of them is soon an episode's own first room, unless that pays but once.
    once = {algo: {**settings, "bonus_once": True} for algo, settings in SHORT_SIGHTED.items()}
    tasks = (_symbols(name, world, levels, (0, 1)) for name, world in worlds.items())
    return tuple(replace(task, settings=once) for task in tasks)


def _symbols(name: str, world: World, levels: int, normalise: tuple[float, float] | None) -> Task:
    source = world.with_options(view="symbolic", num_levels=levels, start_level=0)
    targets = {"heldout": source.with_options(**HELDOUT)}
    return Task(name, source, targets, (source,), normalise, levels, settings=SHORT_SIGHTED, trunk="symbols")


def _breakout_sparse(levels: int) -> tuple[Task, ...]:
    """First episodes are scored, not windows: whether one finds the bricks that pay at all."""
    return (replace(_breakout_task(levels, "sparse", {}, ()), env="breakout-sparse", window=0, share=1.0),)


def _procgen_maze(levels: int) -> tuple[Task, ...]:
    return tuple(task for task in _procgen16(levels) if task.env == "maze-easy")


def _noisy_tv(levels: int) -> tuple[Task, ...]:
    """No reward at all: what a bonus makes an agent look at, by what the TV shows."""
    shows = {"noisy-tv": "noise", "still-tv": "still", "remote-tv": "remote"}
    return tuple(_symbols(name, World("noisy-tv", {"tv": tv}), levels, None) for name, tv in shows.items())


SUITES: dict[str, Suite] = {
    "coinrun": Suite("CoinRun easy: unseen levels, and three other looks of the training levels", 200, _coinrun),
    "coinrun-visual": Suite(
        "CoinRun hard, plain: looks x (training, unseen) levels, and other layouts", 500, _coinrun_visual
    ),
    "procgen16": Suite("all 16 Procgen games, easy: unseen levels", 200, _procgen16),
    "coinrun-themes": Suite(
        "CoinRun hard, half of all grounds, agents and backgrounds: the unseen half, and other layouts",
        500,
        _coinrun_themes,
    ),
    "breakout": Suite("Breakout: six variants of its rules (Schema Networks' and a seventh)", 200, _breakout),
    "breakout-visual": Suite("Breakout with backgrounds: unseen ones, and other looks", 200, _breakout_visual),
    "breakout-physics": Suite("Breakout: other speeds, paddles, gravity and noise", 200, _breakout_physics),
    "breakout-layout": Suite("Breakout with layouts by level: unseen ones, other bricks", 200, _breakout_layout),
    "atari-breakout": Suite(
        "Atari Breakout: the cartridge's other games, the small paddle (extra atari)", 200, _atari_breakout
    ),
    "minigrid": Suite("MiniGrid's ladder of sparse rewards: unseen mazes, other colours", 200, _minigrid),
    "minigrid-ladder": Suite("MiniGrid as symbols, for bonuses: four rungs of rare reward", 10_000, _minigrid_ladder),
    "breakout-sparse": Suite("Breakout, for bonuses: the two top rows alone pay", 200, _breakout_sparse),
    "procgen-maze": Suite("Procgen's maze, easy, for bonuses: unseen levels", 200, _procgen_maze),
    "noisy-tv": Suite("four rooms without reward and a TV, for bonuses: noise, still, remote", 10_000, _noisy_tv),
    "rooms": Suite("walk to a named colour, fixed camera: unseen rooms, pairs and cameras", 200, _rooms),
    "rooms-moving": Suite("the same under a moving camera", 200, _rooms_moving),
    "sprites": Suite("one target among distractors: more of them, unseen pairs, other looks", 200, _sprites),
    "counting": Suite("a counting world for tests: unseen levels and a swapped look", 200, _counting),
}


def build(suite_name: str, train_levels: int | None = None) -> tuple[Task, ...]:
    """The tasks of a suite with K training levels; None takes the suite's own K.

    Raises:
        UsageError: unknown suite, or K that leaves [1, 1 000 000), where held-out levels begin.
    """
    if suite_name not in SUITES:
        raise UsageError(f"unknown suite '{suite_name}'{did_you_mean(suite_name, SUITES)} Known: {', '.join(SUITES)}")
    suite = SUITES[suite_name]
    levels = suite.train_levels if train_levels is None else train_levels
    if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels < HELDOUT_START:
        raise UsageError(
            f"suite '{suite_name}': train_levels={levels!r} must be an integer in [1, {HELDOUT_START}), below the "
            "held-out levels"
        )
    return suite.tasks(levels)
