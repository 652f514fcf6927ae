"""Policy: a representation, hidden layers, and two linear heads.

    features = representation.encode(obs, state, first)        (B, D)
    h        = hidden(features)                                (B, D') the representation's neck, where it has one
                                                               (attention over slots), relu layers of sizes ``hidden``
    logits   = action_net(h), value = value_net(h)             (B, A), (B,)

It is a stable-baselines3 ``BasePolicy`` and not an ``ActorCriticPolicy``: that one re-draws every weight below it
(``ortho_init``) after it was built, and loaded encoder weights would be lost.

Precision "bfloat16" runs the representation, its own loss and the hidden layers under autocast; the two heads are
float32 always, because a value of 8 has a resolution of 1/16 in bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from envs.registry import UsageError
from envs.steps import Obs
from representations.base import Mode, Representation, State

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def keyed_space(space: gym.Space) -> gym.spaces.Dict:
    """The space by key; a bare Box is the key "image"."""
    return space if isinstance(space, gym.spaces.Dict) else gym.spaces.Dict({"image": space})


def log_probabilities(logits: Tensor) -> Tensor:
    """Logits (B, A) -> log pi (B, A), the way torch.distributions.Categorical does it."""
    return logits - logits.logsumexp(-1, keepdim=True)


class Policy(BasePolicy):
    """Acts on the features of one representation; see the module docstring.

    Args:
        observation_space: Box (C, H, W) uint8 or a Dict of keys.
        action_space: Discrete; anything else is a UsageError.
        representation: built and, where needed, pre-trained; its weights are taken as they are.
        mode: "frozen" keeps the representation without gradient and in eval mode whatever the policy's own mode is.
        precision: see the module docstring.
    """

    def __init__(
        self,
        observation_space: gym.Space,
        action_space: gym.Space,
        representation: Representation,
        mode: Mode = "online",
        precision: Precision = "float32",
    ):
        if not isinstance(action_space, gym.spaces.Discrete):
            raise UsageError(f"action space {action_space}: policies here choose among Discrete actions only")
        if precision not in PRECISIONS:
            raise UsageError(f"precision '{precision}'; known: {', '.join(PRECISIONS)}")
        super().__init__(observation_space, action_space)
        self.representation, self.mode, self.precision = representation, mode, precision
        neck = representation.neck()
        layers: list[nn.Module] = [] if neck is None else [neck]
        width: int = representation.features_dim if neck is None else neck.width  # type: ignore[assignment]
        # Linear heads alone on features that never move would judge the heads, not the features.
        sizes = representation.hidden or (Representation.hidden if mode == "frozen" else ())
        for size in sizes:
            layers += [_orthogonal(nn.Linear(width, size), math.sqrt(2)), nn.ReLU(inplace=True)]
            width = size
        self.hidden = nn.Sequential(*layers)
        self.action_net = _orthogonal(nn.Linear(width, int(action_space.n)), 0.01)
        self.value_net = _orthogonal(nn.Linear(width, 1), 1.0)
        self.generator: torch.Generator | None = None
        """Draws the actions of ``predict``; None: torch's global generator."""
        if mode == "frozen":
            representation.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Policy:
        """As in torch, but a frozen representation stays in eval mode: its BatchNorm must not wake."""
        super().train(mode)
        if self.mode == "frozen":
            self.representation.eval()
        return self

    @property
    def dtype(self) -> torch.dtype:
        """Of logits and values."""
        return self.value_net.weight.dtype

    def trainable(self) -> list[nn.Parameter]:
        """What the one optimizer moves: everything that takes a gradient, so nothing of a frozen representation."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def encode(self, obs: Obs, state: State = (), first: Tensor | None = None) -> tuple[Tensor, State]:
        """Observations (B, ...) -> features (B, D) and the representation's next state."""
        with self.autocast():
            features, state = self.representation.encode(obs, state, first)
        return features.to(self.dtype), state

    def heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, D) -> logits (B, A) and values (B,)."""
        with self.autocast():
            hidden = self.hidden(features)
        with torch.autocast(self.device.type, enabled=False):
            hidden = hidden.to(self.dtype)
            return self.action_net(hidden), self.value_net(hidden).squeeze(-1)

    def draw(self, log_pi: Tensor, generator: torch.Generator | None) -> Tensor:
        """One action (B,) from log pi (B, A); what ``Categorical.sample`` draws from the same generator state."""
        return torch.multinomial(log_pi.softmax(-1), 1, True, generator=generator).squeeze(-1)

    def tensors(self, observation: np.ndarray | Mapping[str, np.ndarray]) -> Obs:
        """What a VecEnv gives -> tensors by key, without a copy: a CHW view of HWC memory stays one."""
        keyed = observation if isinstance(observation, Mapping) else {"image": observation}
        return {key: torch.from_numpy(value) for key, value in keyed.items()}

    def _choose(
        self, obs: Tensor | Mapping[str, Tensor], state: State, first: Tensor | None, deterministic: bool
    ) -> tuple[Tensor, State]:
        features, state = self.encode(dict(obs) if isinstance(obs, Mapping) else {"image": obs}, state, first)
        log_pi = log_probabilities(self.heads(features)[0])
        return log_pi.argmax(-1) if deterministic else self.draw(log_pi, self.generator), state

    def _predict(self, observation: Tensor | Mapping[str, Tensor], deterministic: bool = False) -> Tensor:
        some = next(iter(observation.values())) if isinstance(observation, Mapping) else observation
        first = torch.ones(some.shape[0], dtype=torch.bool, device=self.device)
        return self._choose(observation, self.initial_state(some.shape[0]), first, deterministic)[0]

    def initial_state(self, batch: int) -> State:
        """The representation's state before any frame, on the policy's device."""
        return tuple(part.to(self.device) for part in self.representation.initial_state(batch))

    @torch.no_grad()
    def predict(
        self,
        observation: np.ndarray | Mapping[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Actions for one observation or a batch; ``state`` is what the previous call gave, None at the start.

        ``episode_start`` (B,) bool marks the streams whose representation state begins anew.
        """
        self.set_training_mode(False)
        tensors, vectorised = self.obs_to_tensor(observation)  # type: ignore[arg-type]
        batch = (next(iter(tensors.values())) if isinstance(tensors, Mapping) else tensors).shape[0]
        if state is None:
            carried, episode_start = self.initial_state(batch), np.ones(batch, dtype=bool)
        else:
            carried = tuple(torch.as_tensor(part, device=self.device) for part in state)
        first = torch.zeros(batch, dtype=torch.bool, device=self.device)
        if episode_start is not None:
            first.copy_(torch.as_tensor(episode_start))
        chosen, carried = self._choose(tensors, carried, first, deterministic)
        actions = chosen.cpu().numpy()
        return actions if vectorised else actions[0], tuple(part.cpu().numpy() for part in carried) or None


def _orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
