"""Suites of MiniGrid: mazes as frames; as symbols a ladder of sparse rewards, memory, four rooms with a noisy TV."""

from __future__ import annotations

from dataclasses import replace

from envs.tasks import HELDOUT, Suite, Task, World, only_heldout, with_heldout


def _minigrid(levels: int) -> tuple[Task, ...]:
    """Three pairs of rungs of the ladder of sparse rewards: unseen mazes, other colours, the next larger mazes."""
    rungs = {
        "empty": ("Empty-Random-6x6-v0", "Empty-8x8-v0"),
        "doorkey": ("DoorKey-5x5-v0", "DoorKey-8x8-v0"),
        "multiroom": ("MultiRoom-N2-S4-v0", "MultiRoom-N4-S5-v1"),
    }
    return tuple(_frames(f"minigrid-{name}", levels, *pair) for name, pair in rungs.items())


def _frames(name: str, levels: int, small: str, large: str) -> Task:
    source = World("minigrid", {"env_id": f"MiniGrid-{small}", "num_levels": levels, "start_level": 0})
    colours = source.with_options(palette="swapped")
    larger = source.with_options(env_id=f"MiniGrid-{large}")
    return Task(
        env=name,
        source=source,
        targets={
            "heldout": source.with_options(**HELDOUT),
            **with_heldout({"colours": colours}),
            **only_heldout({"larger": larger}),
        },
        visual_variants=(source, colours),
        normalise=(0, 1),
        train_levels=levels,
        kind="minigrid",
        share=0.5,
        same_state_targets=("colours",),
    )


def _symbols(name: str, world: World, levels: int, normalise: tuple[float, float] | None, kind: str) -> Task:
    source = world.with_options(view="symbolic", num_levels=levels, start_level=0)
    return Task(name, source, {"heldout": source.with_options(**HELDOUT)}, (source,), normalise, levels, kind=kind)


def _minigrid_ladder(levels: int) -> tuple[Task, ...]:
    """Five rungs as symbols, each on its own levels: how far a bonus gets where reward is rare."""
    rungs = {
        "doorkey-8x8": "DoorKey-8x8-v0",
        "multiroom-n2-s4": "MultiRoom-N2-S4-v0",
        "multiroom-n4-s5": "MultiRoom-N4-S5-v1",
        "keycorridor-s3r3": "KeyCorridorS3R3-v0",
        "keycorridor-s4r3": "KeyCorridorS4R3-v0",
    }
    return tuple(
        _symbols(name, World("minigrid", {"env_id": f"MiniGrid-{env_id}"}), levels, (0, 1), "minigrid-symbolic")
        for name, env_id in rungs.items()
    )


def _minigrid_memory(levels: int) -> tuple[Task, ...]:
    """An object at the start says which end of a fork is right.

    In S11 it is out of sight from the fork and the way there shows nothing of it, so a policy without memory is right
    half of the time at best. In S7 it is in sight from the fork, and such a policy learns to let the way it faces
    remember for it: that task is the control.
    """
    tasks = []
    for size, larger in (("S7", "S11"), ("S11", "S13Random")):
        world = World("minigrid", {"env_id": f"MiniGrid-Memory{size}-v0", "actions": "navigate"})
        task = _symbols(f"memory-{size.lower()}", world, levels, (0, 1), "minigrid-symbolic")
        wider = task.source.with_options(env_id=f"MiniGrid-Memory{larger}-v0")
        tasks.append(replace(task, targets={**task.targets, **only_heldout({"larger": wider})}))
    return tuple(tasks)


def _noisy_tv(levels: int) -> tuple[Task, ...]:
    """No reward at all: where a bonus leads an agent, by what the TV shows."""
    shows = {"noisy-tv": "noise", "still-tv": "still", "remote-tv": "remote"}
    return tuple(_symbols(name, World("noisy-tv", {"tv": tv}), levels, None, "noisy-tv") for name, tv in shows.items())


MINIGRID = Suite("MiniGrid's ladder of sparse rewards: unseen mazes, other colours", 200, _minigrid)
MINIGRID_LADDER = Suite("MiniGrid as symbols, for bonuses: five rungs of rare reward", 10_000, _minigrid_ladder, True)
MINIGRID_MEMORY = Suite("MiniGrid as symbols: remember an object to choose at a fork", 10_000, _minigrid_memory, True)
NOISY_TV = Suite("four rooms without reward and a TV, for bonuses: noise, still, remote", 10_000, _noisy_tv, True)
