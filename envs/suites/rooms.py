"""Suites of rooms: unseen rooms, two distractors, unseen pairs of shape and hue, other cameras.

The size of the task is chosen by trials of the plain CNN on ``rooms``, PPO at preset ``quick``, 64 frames a rollout
and env, one seed each. Returns in training, means around 100,000, 200,000 and 300,000 frames:

    hues  step    gamma                                                          100k  200k  300k
    6     turns   0.99   two or three objects, -1 for a wrong one, far camera    0     no learning within 1M frames
    3     0.3 m   0.99   one distractor, -0.75, nearer camera, scaled goal       0.20  0.39  0.43
    3     0.45 m  0.95                                                           0.32  0.46  0.61  validation: 0.97
    4     0.45 m  0.95                                                           0.24  0.37  0.44

Three hues are too easy for the budget; the suite has four. With three, a policy that sees nothing gets 0.07, one
that reads the true factors 0.99. Each is a run of ``benchmarks.transfer --suite rooms --preset quick`` on a working
copy between commits 10cfda7 and 997ec06.
"""

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
    "walk to a named colour, fixed camera: unseen rooms, more distractors, pairs and cameras",
    LEVELS,
    _rooms,
    True,
    LEVELS,
)
ROOMS_MOVING = Suite("the same under a moving camera", LEVELS, _rooms_moving, True, LEVELS)
