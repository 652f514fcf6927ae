"""In what order the parts of the environments are looked at and stepped: one is looked at while the others step.

With parts A and B (``envs.halves``):  look at A, step A, look at B, step B; then, again and again, wait for A, look at
A, step A, wait for B, look at B, step B. Any other env is one part, and steps while nobody looks. What is drawn for a
step is drawn for all parts at once, before the first of them acts: to the bit what is drawn where all act at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from envs.halves import Halves, Whole, joined
from representations.base import State

D = TypeVar("D")


@dataclass
class Part:
    """Environments that step together, and where they stand."""

    rows: slice
    obs: Any
    first: np.ndarray
    """Whether ``obs`` begins an episode."""
    state: State
    """After ``obs`` once that was looked at, before it until then."""
    seen: tuple[Tensor, State] | None
    """A frozen encoding of ``obs``, where there is one."""
    actions: Tensor = field(init=False)


class Step(NamedTuple):
    """A step of some environments: what was done, the state after the look that led to it, what came of it."""

    actions: Tensor
    state: State
    obs: Any
    rewards: np.ndarray
    dones: np.ndarray
    infos: list[dict[str, Any]]


def in_turn(
    worlds: Halves | Whole,
    parts: Sequence[Part],
    count: int,
    draw: Callable[[], D],
    act: Callable[[int, Part, D], Tensor],
) -> Iterator[Step]:
    """``count`` steps, each as soon as all parts have made it; all but the last part are in the next one by then.

    ``act(t, part, drawn)`` gives a part's actions in step t and moves its state on; ``draw()`` is once a step.
    """
    made: list[Step] = []
    for t in range(count + 1):
        for number, part in enumerate(parts):
            if t:
                made.append(step := Step(part.actions, part.state, *worlds.receive(number)))
                part.obs, part.first, part.seen = step.obs, step.dones, None
                if len(made) == len(parts):
                    yield _joined(made)
                    made.clear()
            if t < count:
                if number == 0:
                    drawn = draw()
                part.actions = act(t, part, drawn)
                worlds.send(number, part.actions.cpu().numpy())


def _joined(parts: Sequence[Step]) -> Step:
    """A step of several parts as one of all environments; of one part, that one itself."""
    if len(parts) == 1:
        return parts[0]
    actions, state = torch.cat([part.actions for part in parts]), joined_state([part.state for part in parts])
    return Step(actions, state, *joined([part[2:] for part in parts]))


def joined_state(parts: Sequence[State]) -> State:
    """States of several parts as one of all environments; of one part, that one itself."""
    return parts[0] if len(parts) == 1 else tuple(torch.cat(each) for each in zip(*parts, strict=True))
