"""Random streams with names: switching one thing on never shifts the draws of another.

``Streams(seed)["policy"]`` is a torch generator whose start depends on the seed and the name alone. Streams in use
here: policy, minibatches, auxiliary, bonus, init, pretraining, collection, evaluation. Environments take integers
from ``stream_seed``.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on nothing but ``seed`` and the names."""
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def spawn(generator: torch.Generator, count: int) -> list[torch.Generator]:
    """``count`` generators, each with a start drawn from this one: the order in which they draw changes nothing.

    A count of 1 gives the generator itself.
    """
    if count == 1:
        return [generator]
    seeds = torch.randint(2**63 - 1, (count,), generator=generator, device=generator.device).tolist()
    return [torch.Generator(generator.device).manual_seed(seed) for seed in seeds]


def set_state(generator: torch.Generator, state: torch.Tensor) -> None:
    """Let a generator go on from a state; from that of another kind of device, on a start that follows from it."""
    if state.numel() == generator.get_state().numel():
        generator.set_state(state)
    else:
        generator.manual_seed(stream_seed(0, hashlib.sha256(state.numpy().tobytes()).hexdigest()))


class Streams:
    """Torch generators by name, made on first use; ``state_dict`` holds those that were used."""

    def __init__(self, seed: int, device: torch.device | str = "cpu"):
        self.seed = int(seed)
        self.device = torch.device(device)
        self._generators: dict[str, torch.Generator] = {}

    def __getitem__(self, name: str) -> torch.Generator:
        if name not in self._generators:
            generator = torch.Generator(self.device)
            generator.manual_seed(stream_seed(self.seed, name))
            self._generators[name] = generator
        return self._generators[name]

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self.seed, "states": {name: g.get_state() for name, g in self._generators.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seed = state["seed"]
        self._generators.clear()
        for name, value in state["states"].items():
            set_state(self[name], value)
