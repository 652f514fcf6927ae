"""The suite of the counting environment, for tests."""

from __future__ import annotations

from envs.tasks import HELDOUT, Suite, Task, World


def _counting(levels: int) -> tuple[Task, ...]:
    source = World("counting", {"num_levels": levels, "start_level": 0})
    swapped = source.with_options(variant="swapped")
    return (
        Task(
            env="counting",
            source=source,
            targets={"heldout": source.with_options(**HELDOUT), "swapped": swapped},
            visual_variants=(source, swapped),
            normalise=(11.5 / 4, 11.5),  # 10..13 steps, 11.5 on average; a random one of 4 actions earns a quarter
            train_levels=levels,
            kind="counting",
            same_state_targets=("swapped",),
        ),
    )


COUNTING = Suite("a counting environment for tests: unseen levels and a swapped visual variant", 200, _counting)
