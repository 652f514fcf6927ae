"""History, the one storage of what happened: the newest part is the rollout, the older part is replay.

A ring of blocks, one block a rollout. A block holds T+1 rows of N streams: rows 0..T-1 are the steps, row T shows what
followed the last of them, so a rollout never wraps and is always a view. Frames lie there once, uint8, in the memory
order (H, W, C): a CHW view of it is channels-last for free, in the rollout and in every minibatch. The true final
frames of episodes, which the next row cannot hold, are kept apart, by place.

With a frozen representation the rows hold its features (N, D) under the key "features" instead of frames, or beside
them where a bonus reads frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from envs.packing import pack, unpack
from envs.registry import UsageError
from envs.spaces import FEATURES, is_image
from envs.steps import Obs, Steps

_STEP_FIELDS = ("action", "reward", "shaped_reward", "terminated", "truncated", "next_valid", "first")


class History:
    """Storage of T-step rollouts of N streams; write one step at a time, between ``begin`` and the T-th ``add_step``.

    A flat place is ``row * N + stream``; ``minibatch`` takes places relative to the newest rollout, t * N + stream.

    Attributes:
        held: True where the newest rollout is still to be learnt from, complete or not: a checkpoint then holds it.

    Args:
        space: observation space by key, images (C, H, W) uint8.
        n_steps: T, steps of one rollout.
        n_envs: N, streams.
        frames: keep observations; False where only features are wanted.
        features_dim: D > 0 keeps features (float32) beside or instead of frames.
        extra: older steps that must survive a new rollout; rounded up to whole rollouts.
        action_shape: of one action.
        action_dtype: of actions.
    """

    def __init__(
        self,
        space: gym.spaces.Dict,
        n_steps: int,
        n_envs: int,
        *,
        frames: bool = True,
        features_dim: int = 0,
        extra: int = 0,
        action_shape: tuple[int, ...] = (),
        action_dtype: torch.dtype = torch.int64,
        device: torch.device | str = "cpu",
    ):
        self.n_steps, self.n_envs, self.device = n_steps, n_envs, torch.device(device)
        self.blocks = 1 + -(-extra // n_steps)
        shape = (self.blocks * (n_steps + 1), n_envs)
        self._raw: dict[str, Tensor] = {}  # in memory order: images (rows, N, H, W, C)
        self._images = {key for key, box in space.spaces.items() if is_image(box)}
        for key, box in space.spaces.items() if frames else ():
            size = box.shape or ()
            if key in self._images:
                size = (*size[1:], size[0])
            dtype = torch.from_numpy(np.zeros((), box.dtype)).dtype
            self._raw[key] = torch.zeros(*shape, *size, dtype=dtype, device=device)
        if features_dim:
            self._raw[FEATURES] = torch.zeros(*shape, features_dim, device=device)
        self.frames = frames
        self._staging: dict[str, Tensor] = {}
        self.action = torch.zeros(*shape, *action_shape, dtype=action_dtype, device=device)
        self.reward, self.shaped_reward = torch.zeros(shape, device=device), torch.zeros(shape, device=device)
        self.terminated, self.truncated, self.next_valid, self.first = (
            torch.zeros(shape, dtype=torch.bool, device=device) for _ in range(4)
        )
        self.clear()

    def clear(self) -> None:
        """Forget everything: the streams were broken off (an environment was reset from outside)."""
        self._block, self._complete, self._t, self.held = -1, 0, self.n_steps, False
        self._finals: dict[int, Obs] = {}

    # writing ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Open a new rollout over the oldest one. One that was broken off makes all older ones unconnected."""
        if self._t < self.n_steps:
            self.clear()
        self._block = (self._block + 1) % self.blocks
        self._complete = min(self._complete, self.blocks - 1)
        self._t = 0
        low, high = self._places(self._block)
        self._finals = {place: final for place, final in self._finals.items() if not low <= place < high}

    def add_obs(self, obs: Mapping[str, Tensor], first: Bool[Tensor, " N"]) -> Obs:
        """Put the newest observations (N, ...) into the next row; returns them as stored, on the device."""
        row = self._next_row()
        self.first[row].copy_(first)
        if not self.frames:
            # One memory order whatever the environment gives: convolutions round differently in another.
            order = {key: torch.channels_last if key in self._images else torch.contiguous_format for key in obs}
            return {key: value.to(self.device).contiguous(memory_format=order[key]) for key, value in obs.items()}
        stored = {key: self._view(key)[row] for key in obs}
        for key, value in obs.items():
            if self.device.type == "cuda":
                value = self._staged(key, value)
            stored[key].copy_(value, non_blocking=True)
        return stored

    def _staged(self, key: str, value: Tensor) -> Tensor:
        """The observation in page-locked memory, from where a GPU fetches it while the CPU goes on.

        It is overwritten a step later, when the actions have come back, and so the copy has been made.
        """
        if key not in self._staging:
            pinned = self.device.type == "cuda"
            self._staging[key] = torch.empty_like(self._view(key)[0], device="cpu", pin_memory=pinned)
        return self._staging[key].copy_(value)

    def add_features(self, features: Float[Tensor, "N D"]) -> None:
        """Put features of the newest observations beside them."""
        self._raw[FEATURES][self._next_row()].copy_(features)

    def add_step(
        self,
        action: Shaped[Tensor, "N ..."],
        reward: Float[Tensor, " N"],
        terminated: Bool[Tensor, " N"],
        truncated: Bool[Tensor, " N"],
        finals: Mapping[int, Mapping[str, Tensor]],
    ) -> None:
        """Complete the newest row: the actions taken there and their results.

        ``finals`` maps a stream to its true final observation, every kept key. A stream that ended and is not in it
        gets ``next_valid`` False.
        """
        row = self._next_row()
        self.action[row].copy_(action)
        self.reward[row].copy_(reward)
        self.terminated[row].copy_(terminated)
        self.truncated[row].copy_(truncated)
        torch.logical_not(self.terminated[row] | self.truncated[row], out=self.next_valid[row])
        for stream, final in finals.items():
            self._finals[row * self.n_envs + stream] = {key: final[key].to(self.device) for key in self._raw}
            self.next_valid[row, stream] = True
        self._t += 1
        if self._t == self.n_steps:
            self._complete += 1

    def add_rewards(self, shaped_reward: Float[Tensor, "T N"]) -> None:
        """Store the reward that the agent is trained on: normalised, with bonuses and bootstraps."""
        start = self._block * (self.n_steps + 1)
        self.shaped_reward[start : start + self.n_steps].copy_(shaped_reward)

    @property
    def is_open(self) -> bool:
        """True within a rollout, and while the newest one is ``held``."""
        return self.held or self._t < self.n_steps

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the observations that are kept."""
        return tuple(self._raw)

    # reading ------------------------------------------------------------------------------------------------------

    @property
    def length(self) -> int:
        """Connected steps that can be drawn from, rollout included."""
        return self._complete * self.n_steps

    def rollout(self) -> Steps:
        """The newest rollout (T, N), views only."""
        start = self._block * (self.n_steps + 1)
        rows = slice(start, start + self.n_steps)
        places = torch.arange(start * self.n_envs, (start + self.n_steps) * self.n_envs, device=self.device)
        return Steps(
            obs={key: self._view(key)[rows] for key in self._raw},
            make_next_obs=lambda: self._following(places.view(self.n_steps, self.n_envs)),
            **{name: getattr(self, name)[rows] for name in _STEP_FIELDS},
        )

    def minibatch(self, indices: Int[Tensor, " B"], keys: Iterable[str] | None = None) -> Steps:
        """Steps (1, B) of the newest rollout at ``indices`` (B,) = t * N + stream, observations ``keys`` or all."""
        return self._steps(indices.unsqueeze(0) + self._places(self._block)[0], keys)

    def windows(self, streams: int, length: int, generator: torch.Generator) -> Steps:
        """``streams`` windows of ``length`` consecutive steps, uniform over start and stream: (length, streams).

        A window runs through episode ends; ``first`` and ``done`` mark them.

        Raises:
            UsageError: fewer steps are kept.
        """
        if length > self.length:
            raise UsageError(f"windows of {length} steps from a history of {self.length}; ask for more `extra` steps")
        start = torch.randint(self.length - length + 1, (streams,), generator=generator, device=self.device)
        stream = torch.randint(self.n_envs, (streams,), generator=generator, device=self.device)
        return self.sequences(start, stream, length)

    def column(self, name: str) -> Tensor:
        """One field of every connected step, oldest first: (length, N), in the order that ``sequences`` counts."""
        steps = torch.arange(self.length, device=self.device)
        values: Tensor = getattr(self, name)[self._rows_of(steps)]
        return values

    def sequences(self, start: Int[Tensor, " B"], stream: Int[Tensor, " B"], length: int) -> Steps:
        """Consecutive steps (length, B) from step ``start`` of ``stream``; step 0 is the oldest kept one."""
        step = start + torch.arange(length, device=self.device).unsqueeze(1)
        return self._steps(self._rows_of(step) * self.n_envs + stream)

    # checkpoint ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """State of the rollouts that the next one will not overwrite: none where no ``extra`` was asked for.

        Within a rollout, or while it is ``held``, also that one, under "open". Images are packed (``pack``).
        """
        state = {"block": self._block, **self._saved([self._places(block) for block in self._surviving()])}
        if self.is_open:
            low, high = self._places(self._block)
            filled = high if self._t == self.n_steps else low + self._t * self.n_envs
            state["open"] = {"steps": self._t, **self._saved([(low, filled)])}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.clear()
        newest, self._block, self._complete = state.get("open"), state["block"], len(state["rows"]["first"])
        if newest is not None:
            self._t, self.held = newest["steps"], True
            self._complete += self._t == self.n_steps
            self._restore(newest, [self._block])
        self._restore(state, self._surviving())

    def _saved(self, spans: list[tuple[int, int]]) -> dict[str, Any]:
        """Rows and final frames of the places in each span."""
        storage = {name: getattr(self, name) for name in _STEP_FIELDS} | self._raw
        return {
            "rows": {
                name: [
                    pack(value[low // self.n_envs : high // self.n_envs])
                    if name in self._images
                    else value.flatten(0, 1)[low:high]
                    for low, high in spans
                ]
                for name, value in storage.items()
            },
            "finals": [
                [place, dict(final)]
                for place, final in self._finals.items()
                if any(low <= place < high for low, high in spans)
            ],
        }

    def _restore(self, state: dict[str, Any], blocks: list[int]) -> None:
        """Write back the rows that ``_saved`` took from the beginning of each block."""
        for name, saved in state["rows"].items():
            target = self._raw[name] if name in self._raw else getattr(self, name)
            for block, rows, first in zip(blocks, saved, state["rows"]["first"], strict=True):
                low = self._places(block)[0]
                span = slice(low, low + len(first))
                if name in self._images and torch.as_tensor(rows).dim() == 1:
                    unpack(rows, target[span.start // self.n_envs : span.stop // self.n_envs])
                else:  # images, too, in checkpoints of before they were packed
                    target.flatten(0, 1)[span].copy_(torch.as_tensor(rows))
        for place, final in state["finals"]:
            self._finals[int(place)] = {key: torch.as_tensor(value).to(self.device) for key, value in final.items()}

    # places -------------------------------------------------------------------------------------------------------

    def _next_row(self) -> int:
        """The row of the step to be completed next; row T once the rollout is complete."""
        return self._block * (self.n_steps + 1) + self._t

    def _rows_of(self, step: Tensor) -> Tensor:
        """Rows of steps counted from the oldest connected one."""
        oldest = self._block + 1 - self._complete
        block = (oldest + torch.div(step, self.n_steps, rounding_mode="floor")) % self.blocks
        return block * (self.n_steps + 1) + step % self.n_steps

    def _places(self, block: int) -> tuple[int, int]:
        size = (self.n_steps + 1) * self.n_envs
        return block * size, (block + 1) * size

    def _surviving(self) -> list[int]:
        newest, complete = self._block, self._complete
        if self.is_open:
            newest, complete = newest - 1, complete - (self._t == self.n_steps)
        return [(newest - age) % self.blocks for age in range(min(complete, self.blocks - 1))]

    def _view(self, key: str) -> Tensor:
        raw = self._raw[key]
        return raw.permute(0, 1, 4, 2, 3) if key in self._images else raw

    def _take(self, key: str, places: Tensor) -> Tensor:
        raw = self._raw[key]
        rows = raw.flatten(0, 1).index_select(0, places.flatten()).view(*places.shape, *raw.shape[2:])
        return rows.permute(0, 1, 4, 2, 3) if key in self._images else rows

    def _steps(self, places: Tensor, keys: Iterable[str] | None = None) -> Steps:
        return Steps(
            obs={key: self._take(key, places) for key in (self._raw if keys is None else keys)},
            make_next_obs=lambda: self._following(places),
            **{name: getattr(self, name).flatten(0, 1)[places] for name in _STEP_FIELDS},
        )

    def _following(self, places: Tensor) -> Obs:
        """Observations that followed: the next row; at an episode's end its final frame, if unknown the one before."""
        done = (self.terminated | self.truncated).flatten()[places]
        source = torch.where(done, places, places + self.n_envs)
        obs = {key: self._take(key, source) for key in self._raw}
        for t, b in done.nonzero().tolist():
            for key, value in self._finals.get(int(places[t, b]), {}).items():
                obs[key][t, b] = value
        return obs
