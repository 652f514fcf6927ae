"""Suites of Breakout: rules, visual variants, physics, layouts, and a sparse one for bonuses."""

from __future__ import annotations

from dataclasses import replace

from envs.tasks import HELDOUT, Suite, Task, World

WINDOW = 2500
"""Frames of a scored window (Kansky et al. 2017), and the limit of an episode."""
SERVES = "serves"
"""Split of the source on levels that no agent trains on, where a level decides nothing but the paddle's start and the
serve: the same game again, and so no test of generalisation."""


def _task(
    levels: int,
    source_variant: str,
    targets: dict[str, str],
    also_heldout: tuple[str, ...] = (),
    *,
    unseen: str = "heldout",
) -> Task:
    """Train on one variant, test on ``targets``, split -> variant; on ``also_heldout`` on unseen levels, too.

    Args:
        unseen: name of the split of the source on unseen levels; ``SERVES`` where levels differ by the serve alone.
    """
    source = World(
        "breakout",
        {
            "variant": source_variant,
            "num_levels": levels,
            "start_level": 0,
            "ball_px": 2,
            "max_episode_steps": WINDOW,
        },
    )
    variants = {split: source.with_options(variant=variant) for split, variant in targets.items()}
    other_levels = {unseen: source.with_options(**HELDOUT)}
    splits = {} if unseen == SERVES else other_levels
    for split, world in variants.items():
        splits[split] = world
        if split in also_heldout:
            splits[f"{split}/heldout"] = world.with_options(**HELDOUT)
    return Task(
        env="breakout",
        source=source,
        targets={**splits, **other_levels},
        visual_variants=(source, *variants.values()),
        normalise=None,
        train_levels=levels,
        kind="breakout",
        motion=4,
        window=WINDOW,
        share=0.5,
    )


def _splits(*variants: str) -> dict[str, str]:
    """Split -> variant for splits named after their variant."""
    return {variant.replace("_", "-"): variant for variant in variants}


def _breakout(levels: int) -> tuple[Task, ...]:
    rules = _splits("middle_wall", "half_negative", "offset_paddle", "random_target", "juggling", "moving_obstacles")
    return (_task(levels, "standard", rules, unseen=SERVES),)


def _breakout_visual(levels: int) -> tuple[Task, ...]:
    """The source shows a background by level, so that unseen levels are unseen backgrounds."""
    same_effects = {"plain": "standard", **_splits("recolor", "distractor", "invert", "gray")}
    targets = {**same_effects, **_splits("flip_x", "flip_y")}  # in a mirror other actions may well be meant
    task = _task(levels, "background", targets, ("recolor", "distractor"))
    return (replace(task, env="breakout-visual", same_state_targets=tuple(same_effects)),)


def _breakout_physics(levels: int) -> tuple[Task, ...]:
    targets = _splits("fast_ball", "narrow_paddle", "wide_paddle", "widest_paddle", "gravity", "noise", "sticky")
    return (replace(_task(levels, "standard", targets, unseen=SERVES), env="breakout-physics"),)


def _breakout_layout(levels: int) -> tuple[Task, ...]:
    """The source has a layout by level, so that unseen levels are unseen layouts."""
    targets = {"full": "standard", **_splits("strong", "row_value", "middle_wall", "moving_obstacles")}
    return (replace(_task(levels, "bricks", targets), env="breakout-layout"),)


def _breakout_sparse(levels: int) -> tuple[Task, ...]:
    """First episodes are scored, not windows: whether an agent finds the rewarded bricks at all."""
    task = _task(levels, "sparse", {}, unseen=SERVES)
    return (replace(task, env="breakout-sparse", window=0, share=1.0),)


BREAKOUT = Suite("Breakout: six variants of its rules (Schema Networks' and a seventh)", 200, _breakout)
BREAKOUT_VISUAL = Suite("Breakout with backgrounds: unseen ones, and other visual variants", 200, _breakout_visual)
BREAKOUT_PHYSICS = Suite("Breakout: other speeds, paddles, gravity and noise", 200, _breakout_physics)
BREAKOUT_LAYOUT = Suite("Breakout with layouts by level: unseen ones, other bricks", 200, _breakout_layout)
BREAKOUT_SPARSE = Suite("Breakout, for bonuses: reward in the two top rows alone", 200, _breakout_sparse)
