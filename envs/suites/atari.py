"""The suite of Atari Breakout: the cartridge's own games as targets."""

from __future__ import annotations

from envs.tasks import HELDOUT, Suite, Task, World

WINDOW = 500
"""Steps of a scored window, 2,000 frames: the emulator is a hundred times slower than our own Breakout."""
MODES = {
    4: "steerable",
    8: "catch",
    12: "invisible",
    32: "breakthru",
    36: "breakthru-steerable",
    44: "breakthru-invisible",
}


def _atari_breakout(levels: int) -> tuple[Task, ...]:
    """The plain game; the cartridge's other games and the small paddle. In the timed modes reward is time alone."""
    source = World("atari-breakout", {"num_levels": levels, "start_level": 0})
    targets = {"heldout": source.with_options(**HELDOUT), "hard": source.with_options(difficulty=1)}
    for mode, name in MODES.items():
        targets |= {name: source.with_options(mode=mode), f"{name}-hard": source.with_options(mode=mode, difficulty=1)}
    return (
        Task(
            env="atari-breakout",
            source=source,
            targets=targets,
            visual_variants=(source,),
            normalise=None,
            train_levels=levels,
            kind="atari",
            motion=4,
            window=WINDOW,
            share=0.5,
        ),
    )


ATARI_BREAKOUT = Suite(
    "Atari Breakout: the cartridge's other games, the small paddle (extra atari)", 200, _atari_breakout
)
