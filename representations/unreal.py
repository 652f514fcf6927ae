"""UNREAL (Jaderberg et al. 2017, "Reinforcement learning with unsupervised auxiliary tasks").

    loss = c_PC sum_cells (R^c_t - Q^c(s_t, a_t))^2 + c_RP CE(sign r_t | s_{t-2}, s_{t-1}, s_t) + c_VR (R_t - V(s_t))^2

means over steps, drawn from History (replay) once it is full, each switched by its own field.

* Pixel control: the frame is cut into cells of 4x4 pixels; a cell's pseudo-reward is the mean absolute change of its
  pixels (0..1), R^c the n-step return of it, discount 0.9, bootstrapped by max_a Q^c. Q = V + A - mean_a A, by a dense
  layer and two transposed convolutions. It stops at episode ends; the step there, whose change is unknown, is left out.
* Reward prediction: from three frames, whether the reward of the step taken in the last of them is 0, positive or
  negative. Half of the clips end in a reward, half do not; where one kind is missing, all are of the other.
* Value replay: the policy's value, regressed on n-step returns of the shaped reward of that time (normalised and with
  bonuses, as the value is), with the agent's discount, bootstrapped by the present value.

``encode`` returns the trunk's rectified dense layer, the network of ``cnn``; with all three off it is ``cnn``, bit for
bit.

Not as published: the agent's memory. In the paper an LSTM stands before both pixel control and the replayed value. Here
the policy owns the GRU of ``--memory gru``, and the method, built before it, does not know of it: value replay alone
reads its outputs, from an empty state at the start of each window, and pixel control reads the features before it, as
reward prediction does in print. Differs also: last action and reward are inputs only where ``--last-step`` asks for it;
PPO or A2C in place of A3C; pixel control and value replay share their windows; at 64x64 the 16x16 cells cover the whole
frame (80x80 of 84x84 there).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from envs.action_codes import ActionCodes
from envs.history import History
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Steps, flatten
from representations.base import Config, Heads, Loss, Unfit
from representations.cnn import Trunked
from representations.feature_metrics import feature_std
from representations.nets.images import pixels

CELL = 4
"""Side of a cell, pixels."""
FEWEST_CELLS = 3
"""Cells of a side that its transposed convolution can make; images of symbols have fewer."""
CLIP = 3
"""Frames from which a reward is predicted."""

MOST_ACTIONS = 256
"""Different actions that pixel control has values for; those of several whole numbers are counted out."""


@dataclass(frozen=True)
class UnrealConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    pixel_control: bool = True
    """Add the pixel-control loss."""
    reward_prediction: bool = True
    """Add the reward-prediction loss."""
    value_replay: bool = True
    """Add the value loss on older steps."""
    pixel_control_coef: float = 0.05
    """c_PC; the paper draws it from 0.01 to 0.1 on Labyrinth, 1e-4 to 1e-2 on Atari."""
    reward_prediction_coef: float = 1.0
    """c_RP; the paper's."""
    value_replay_coef: float = 1.0
    """c_VR; the paper's."""
    pixel_gamma: float = 0.9
    """Discount of pixel control; the paper's."""
    length: int = 20
    """Steps in a window; the paper's."""
    clips: int = 64
    """Clips in a reward-prediction batch."""
    replay: int = 32_000
    """Frames of all environments together to draw from, the rollout included, and that must be there before the first
    draw: 2,000 steps of 16 streams, the paper's; at most 32,768. Two rollouts of PPO's 256 steps of 64 streams."""

    def __post_init__(self) -> None:
        self.at_least(length=1, clips=1, replay=1, pixel_gamma=0)
        self.at_least(pixel_control_coef=0, reward_prediction_coef=0, value_replay_coef=0)
        if self.replay > 32_768:
            raise ValueError(f"replay={self.replay}: History keeps at most 32768 frames for replay")


class PixelControl(nn.Module):
    """Dueling head: Q of every cell and action, h = H / 4 and w = W / 4 cells a side."""

    def __init__(self, features_dim: int, num_actions: int, cells: tuple[int, int]):
        super().__init__()
        self.cells = cells
        self.grid = tuple(-(-(side - 2) // 2) for side in cells)  # k4 s2 makes 2 n + 2 of n
        self.dense = nn.Linear(features_dim, 32 * self.grid[0] * self.grid[1])
        self.value, self.advantage = nn.ConvTranspose2d(32, 1, 4, 2), nn.ConvTranspose2d(32, num_actions, 4, 2)

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B A h w"]:
        x = F.relu(self.dense(features)).unflatten(1, (32, *self.grid))
        value, advantage = self.value(x), self.advantage(x)
        q: Tensor = (value + advantage - advantage.mean(1, keepdim=True)).float()
        return q[:, :, : self.cells[0], : self.cells[1]]


class Unreal(Trunked):
    """See the module docstring."""

    Config = UnrealConfig
    modes = ("online",)
    needs_pretraining = False

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        config = self.config
        if config.pixel_control:
            self.codes = ActionCodes(spec.action_space)
            if not 0 < self.codes.count <= MOST_ACTIONS:
                raise UsageError(
                    f"unreal.pixel_control has a value for each of at most {MOST_ACTIONS} actions, which "
                    f"{spec.action_space} has not; take --set unreal.pixel_control=False"
                )
            cells = (spec.image_shape[1] // CELL, spec.image_shape[2] // CELL)
            if min(cells) < FEWEST_CELLS:
                raise Unfit(
                    f"unreal.pixel_control cuts frames into cells of {CELL} pixels, {FEWEST_CELLS} a side at least; "
                    f"this environment's are {spec.image_shape[1]}x{spec.image_shape[2]}; take --set "
                    "unreal.pixel_control=False"
                )
            self.control = PixelControl(self.features_dim, self.codes.count, cells)
        if config.reward_prediction:
            self.reward = nn.Sequential(nn.Linear(CLIP * self.trunk.flat_dim, 128), nn.ReLU(), nn.Linear(128, 3))

    @property
    def has_loss(self) -> bool:
        return bool(self.config.pixel_control or self.config.reward_prediction or self.config.value_replay)

    @property
    def window(self) -> int:
        return max(int(self.config.length) + 1, CLIP)

    @property
    def replay_frames(self) -> int:
        return int(self.config.replay)

    def auxiliary(self, history: History, streams: int, heads: Heads, generator: torch.Generator) -> Loss:
        """Sum of the tasks that are on."""
        config = self.config
        total: Tensor = torch.zeros((), device=generator.device)
        metrics: dict[str, Tensor] = {}
        if config.pixel_control or config.value_replay:
            steps = history.windows(streams, config.length + 1, generator)
            obs = flatten(steps.obs)
            features = self.encode(obs)[0]
            metrics["feature_std"] = feature_std(features)
            if config.pixel_control:
                metrics["pixel_control"] = loss = self.pixel_control_loss(steps, features)
                total = total + config.pixel_control_coef * loss
            if config.value_replay:
                metrics["value_replay"] = loss = self.value_replay_loss(steps, heads(features, obs, steps.first)[1])
                total = total + config.value_replay_coef * loss
        if config.reward_prediction:
            clips = draw_clips(history, config.clips, generator)
            metrics["reward_prediction"] = loss = self.reward_prediction_loss(clips)
            metrics["rewarded_clips"] = (clips.reward[-1] != 0).float().mean()
            total = total + config.reward_prediction_coef * loss
        return total, {name: value.detach() for name, value in metrics.items()}

    def pixel_control_loss(self, steps: Steps, features: Float[Tensor, "TB D"]) -> Float[Tensor, ""]:
        """Sum over cells of squared errors, mean over the steps but the last, which only bootstraps."""
        T, B = steps.shape
        q = self.control(features).unflatten(0, (T, B))
        change = pixel_change(steps.obs["image"], self.spec.channels)
        done = steps.done[:-1]
        reward = change.masked_fill(done[:, :, None, None], 0)
        target = n_step_returns(reward, done, q[-1].detach().amax(1), self.config.pixel_gamma)
        number = self.codes.number(steps.action[:-1])
        action = number[:, :, None, None, None].expand(-1, -1, 1, *q.shape[3:])
        error: Tensor = (target - q[:-1].gather(2, action).squeeze(2)).square().sum((2, 3))
        return error.masked_fill(done, 0).sum() / (~done).sum().clamp(min=1)

    def value_replay_loss(self, steps: Steps, value: Float[Tensor, " TB"]) -> Float[Tensor, ""]:
        """Squared error, mean over the steps but the last."""
        assert steps.shaped_reward is not None
        value = value.unflatten(0, steps.shape).float()
        # The shaped reward of a step cut off by a time limit holds its bootstrap already, so every end is an end here.
        target = n_step_returns(steps.shaped_reward[:-1], steps.done[:-1], value[-1].detach(), self.spec.discount)
        return (target - value[:-1]).square().mean()

    def reward_prediction_loss(self, clips: Steps) -> Float[Tensor, ""]:
        """Cross-entropy in nats; classes 0: no reward, 1: positive, 2: negative."""
        T, B = clips.shape
        frames = self.trunk.flat(flatten(clips.obs)["image"]).unflatten(0, (T, B)).transpose(0, 1).flatten(1)
        reward = clips.reward[-1]
        sign = (reward > 0).long() + 2 * (reward < 0).long()
        return F.cross_entropy(self.reward(frames).float(), sign)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        """UsageError: the batches come from ``auxiliary``."""
        raise UsageError("unreal draws its own batches from History; call auxiliary(history, ...)")


def pixel_change(image: UInt8[Tensor, "T B C H W"], channels: int) -> Float[Tensor, "T-1 B h w"]:
    """Mean absolute change of each 4x4 cell from frame to frame, in 0..1; h = H // 4, w = W // 4.

    Of stacked frames the newest counts, the last ``channels``. Pixels beyond the last whole cell are left out.
    """
    x = pixels(image[:, :, -channels:].flatten(0, 1)).float().unflatten(0, image.shape[:2])
    change = (x[1:] - x[:-1]).abs().mean(2)
    return F.avg_pool2d(change, CELL)


def n_step_returns(
    reward: Float[Tensor, "T B *cells"], done: Bool[Tensor, "T B"], bootstrap: Float[Tensor, " B *cells"], gamma: float
) -> Float[Tensor, "T B *cells"]:
    """Returns R_t = r_t + gamma (1 - done_t) R_{t+1}, R_T = ``bootstrap``."""
    alive = gamma * (~done).to(bootstrap.dtype)
    alive = alive.view(*done.shape, *(1,) * (reward.dim() - 2))
    returns, following = torch.empty_like(reward), bootstrap
    for t in range(len(reward) - 1, -1, -1):
        following = returns[t] = reward[t] + alive[t] * following
    return returns


def draw_clips(history: History, count: int, generator: torch.Generator) -> Steps:
    """Clips (3, count) of one episode each; a fair coin decides whether a clip ends in a reward.

    Raises:
        UsageError: no episode in ``history`` has three steps.
    """
    reward, done = history.column("reward"), history.column("terminated") | history.column("truncated")
    unbroken = ~(done[:-2] | done[1:-1])
    rewarded = reward[CLIP - 1 :] != 0
    kinds = [(unbroken & rewarded).nonzero(), (unbroken & ~rewarded).nonzero()]
    kinds = [kind for kind in kinds if len(kind)]
    if not kinds:
        raise UsageError("reward prediction found no three steps of one episode in History; episodes are too short")
    device = generator.device
    which = torch.randint(2, (count,), generator=generator, device=device) % len(kinds)
    quantile = torch.rand(count, generator=generator, device=device)
    drawn = torch.stack([kind[(quantile * len(kind)).long().clamp(max=len(kind) - 1)] for kind in kinds])
    start, stream = drawn[which, torch.arange(count, device=device)].T
    return history.sequences(start, stream, CLIP)
