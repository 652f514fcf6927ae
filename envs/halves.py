"""Worlds side by side behind one ``VecEnv``, each stepped in a thread of its own: one steps while another is looked at.

Made for a GPU: the processor steps the worlds of one part (numpy and C++ let other threads run) while the GPU encodes
what the other part showed. ``step`` steps all parts at once; ``send`` and ``receive`` one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from envs.registry import UsageError
from envs.rng_streams import stream_seed
from envs.wrappers.sb3 import Sb3VecEnv

if TYPE_CHECKING:
    from envs.tasks import World

Array = np.ndarray
Received = tuple[Any, Array, Array, list[dict[str, Any]]]
"""Observations, rewards, dones, infos of some envs."""


class Halves(VecEnv):
    """Several equal parts, one after another; each an ``Sb3VecEnv``, which keeps its contract.

    Args:
        parts: at least two, of as many envs each and with the same spaces.

    Raises:
        UsageError: parts that differ.
    """

    def __init__(self, parts: Sequence[Sb3VecEnv]):
        kinds = [(part.num_envs, part.observation_space, part.action_space) for part in parts]
        if len(parts) < 2 or any(kind != kinds[0] for kind in kinds):
            raise UsageError(f"parts of {[kind[0] for kind in kinds]} environments: give two or more that are alike")
        self.parts, size = list(parts), parts[0].num_envs
        self.rows = [slice(k * size, (k + 1) * size) for k in range(len(parts))]
        """Which of all envs are in each part."""
        self._threads = [ThreadPoolExecutor(1, f"part {k}") for k in range(len(parts))]
        self._sent: dict[int, Future[tuple[Received, dict[str, Any]]]] = {}
        self._told: list[dict[str, Any]] = [{} for _ in parts]
        super().__init__(size * len(parts), parts[0].observation_space, parts[0].action_space)

    @classmethod
    def of(cls, world: World, seed: int, share: range) -> Halves:
        """``world`` in two halves: the envs ``share`` of those of one seed, as far as the world draws by counter.

        Raises:
            UsageError: they cannot be halved.
        """
        return cls([Sb3VecEnv(world.make(len(half), seed, half.start)) for half in halved(share)])

    @property
    def world(self) -> Any:
        """The first part's; the others are of the same kind."""
        return self.parts[0].world

    @property
    def told(self) -> dict[str, Any]:
        """What the worlds told of the steps received last, all envs at once; only what every part told."""
        first, *others = self._told
        shared = [key for key in first if all(key in other for other in others)]
        return {
            key: np.concatenate([told[key] for told in self._told]) for key in shared if isinstance(first[key], Array)
        }

    # one part ---------------------------------------------------------------------------------------------------------

    def send(self, part: int, actions: Array) -> None:
        """Start a step of one part, with its own actions."""
        if part in self._sent:
            raise RuntimeError(f"part {part} is in a step: receive it first")
        self._sent[part] = self._threads[part].submit(_step, self.parts[part], actions)

    def receive(self, part: int) -> Received:
        """Wait for the end of the step that was sent; raises what it raised."""
        received, self._told[part] = self._sent.pop(part).result()
        return received

    def settle(self) -> bool:
        """Wait for the steps that were sent and not received, and drop them; whether there were any."""
        sent = list(self._sent.values())
        self._sent.clear()
        wait(sent)
        return bool(sent)

    # all of them ------------------------------------------------------------------------------------------------------

    def reset(self) -> Any:
        """New episodes in all envs. A seed of ``seed(s)`` is the parts' as ``World.make`` hands it out."""
        self.settle()
        seed, seen = self._seeds[0], []
        for part, rows in zip(self.parts, self.rows, strict=True):
            if seed is not None:
                by_counter = rows.start == 0 or getattr(part.world, "first", 0) > 0
                part.seed(seed if by_counter else stream_seed(seed, "from", rows.start))
            part.set_options(self._options[rows])
            seen.append(part.reset())
        self._reset_seeds()
        self._reset_options()
        self._told = [{} for _ in self.parts]
        self.reset_infos = [info for part in self.parts for info in part.reset_infos]
        return _joined_obs(seen)

    def step_async(self, actions: Array) -> None:
        for part, rows in enumerate(self.rows):
            self.send(part, actions[rows])

    def step_wait(self) -> Received:
        try:
            return joined([self.receive(part) for part in range(len(self.parts))])
        finally:
            self.settle()

    def state_dict(self) -> dict[str, Any]:
        """States of the parts. UsageError where their world has no exact state, or while one is in a step."""
        if self._sent:
            raise UsageError("worlds are saved between steps, not within one: receive what was sent first")
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict()`` of an equal one."""
        self.settle()
        for part, kept in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(kept)

    def close(self) -> None:
        self.settle()
        for part, thread in zip(self.parts, self._threads, strict=True):
            thread.shutdown()
            part.close()

    # -- the rest of SB3's interface; what is in a step is let to its end first --------------------------------------

    def _each(self, indices: int | Iterable[int] | None, ask: Callable[[Sb3VecEnv, list[int]], list[Any]]) -> list[Any]:
        """What each part says of its envs among ``indices``, in their order."""
        wait(list(self._sent.values()))
        wanted, found = list(self._get_indices(indices)), dict[int, Any]()
        for part, rows in zip(self.parts, self.rows, strict=True):
            own = [i for i in wanted if rows.start <= i < rows.stop]
            if own:
                found.update(zip(own, ask(part, [i - rows.start for i in own]), strict=True))
        return [found[i] for i in wanted]

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """The attribute of each env's world."""
        return self._each(indices, lambda part, own: part.get_attr(attr_name, own))

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Set the worlds' attribute; ``indices`` must be None."""
        wait(list(self._sent.values()))
        for part in self.parts:
            part.set_attr(attr_name, value, indices)

    def env_method(
        self, method_name: str, *method_args: Any, indices: int | Iterable[int] | None = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call the method once a world; its result, once an env."""
        return self._each(
            indices, lambda part, own: part.env_method(method_name, *method_args, indices=own, **method_kwargs)
        )

    def env_is_wrapped(self, wrapper_class: type, indices: int | Iterable[int] | None = None) -> list[bool]:
        """True for SB3's monitors, whose statistics the parts keep."""
        return self._each(indices, lambda part, own: part.env_is_wrapped(wrapper_class, own))

    def get_images(self) -> Sequence[Array | None]:
        """The worlds' rendered frames; None where they were made without a render mode."""
        wait(list(self._sent.values()))
        return [frame for part in self.parts for frame in part.get_images()]


class Whole:
    """Any ``VecEnv`` as its only part: it steps when it is received."""

    def __init__(self, env: VecEnv):
        self.env, self.rows = env, [slice(0, env.num_envs)]

    def send(self, part: int, actions: Array) -> None:
        self._actions = actions

    def receive(self, part: int) -> Received:
        return self.env.step(self._actions)  # type: ignore[return-value]  # a Dict's observations are a dict

    def settle(self) -> bool:
        return False


def parts_of(env: VecEnv) -> Halves | Whole:
    """The environments as what steps by parts."""
    return env if isinstance(env, Halves) else Whole(env)


def halved(share: range) -> tuple[range, range]:
    """The two halves of a process's environments. UsageError where it has an odd number of them."""
    if len(share) % 2 or not share:
        raise UsageError(
            f"--overlap steps two halves of the environments in turn, and a process has {len(share)} of them; "
            "give an even --num-envs for each"
        )
    middle = len(share) // 2
    return share[:middle], share[middle:]


def joined(parts: Sequence[Received]) -> Received:
    """One step of several parts as that of all their envs."""
    obs, rewards, dones, infos = zip(*parts, strict=True)
    return _joined_obs(obs), np.concatenate(rewards), np.concatenate(dones), [info for part in infos for info in part]


def _joined_obs(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return np.concatenate(parts)


def _step(part: Sb3VecEnv, actions: Array) -> tuple[Received, dict[str, Any]]:
    return part.step(actions), part.told  # type: ignore[return-value]  # a Dict's observations are a dict
