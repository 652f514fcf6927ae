"""Suites of rooms: unseen rooms, two distractors, unseen pairs of shape and hue, other cameras."""

from __future__ import annotations

from envs.tasks import HELDOUT, Suite, Task, World


def _task(levels: int, camera: str) -> tuple[Task, ...]:
    """Trained with one distractor."""
    source = World("rooms", {"camera": camera, "num_levels": levels, "start_level": 0})
    targets = {
        "heldout": source.with_options(**HELDOUT),
        "two-distractors/heldout": source.with_options(distractors=2, **HELDOUT),
        "combinations/heldout": source.with_options(combinations="heldout", **HELDOUT),
    }
    targets |= {
        other: source.with_options(camera=other) for other in ("fixed", "moving", "first_person") if other != camera
    }
    name = "rooms" if camera == "fixed" else f"rooms-{camera}"
    return (Task(name, source, targets, (source,), (0, 1), levels, kind="rooms", share=0.5),)


def _rooms(levels: int) -> tuple[Task, ...]:
    return _task(levels, "fixed")


def _rooms_moving(levels: int) -> tuple[Task, ...]:
    return _task(levels, "moving")


LEVELS = 100_000
"""Training levels: so many that no room is learnt by heart."""
ROOMS = Suite(
    "walk to a named colour, fixed camera: unseen rooms, more distractors, pairs and cameras", LEVELS, _rooms, True
)
ROOMS_MOVING = Suite("the same under a moving camera", LEVELS, _rooms_moving, True)
