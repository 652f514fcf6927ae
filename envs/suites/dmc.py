"""The suite of DeepMind Control from pixels: the same physics in other colours and before other backgrounds."""

from __future__ import annotations

from envs.tasks import HELDOUT, Suite, Task, World, with_heldout

TASKS = ("cartpole-swingup", "cartpole-balance", "ball_in_cup-catch", "pendulum-swingup")


def _dmc(levels: int) -> tuple[Task, ...]:
    """A task for each of ``TASKS``, trained in dm_control's colours. Returns lie in 0..1000."""
    return tuple(_task(name, levels) for name in TASKS)


def _task(name: str, levels: int) -> Task:
    source = World("dmc", {"task": name, "num_levels": levels, "start_level": 0})
    variants = {
        "colours": source.with_options(colours="level"),
        "backgrounds": source.with_options(background="level"),
        "both": source.with_options(colours="level", background="level"),
    }
    return Task(
        env=name,
        source=source,
        targets={"heldout": source.with_options(**HELDOUT), **with_heldout(variants)},
        visual_variants=(source, *variants.values()),
        normalise=(0, 1000),
        train_levels=levels,
        kind="dmc",
        motion=3,
        same_state_targets=tuple(variants),
    )


DMC = Suite("DeepMind Control from pixels: other colours, other backgrounds (extra dmc)", 200, _dmc)
