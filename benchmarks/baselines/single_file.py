"""PPO on images as single-file implementations write it, to time ours against.

Written after the habits of CleanRL's image files (Huang et al. 2022), in our own words: one float32 buffer of NCHW
frames (0..255) on the networks' device, both heads on one trunk, one clip of the joint gradient, Adam with 1e-5.

    done_t         the episode ended at step t; a time limit counts as an end
    delta_t = r_t + gamma V_{t+1} (1 - done_t) - V_t
    A_t     = delta_t + gamma lambda (1 - done_t) A_{t+1},   R_t = A_t + V_t
    L       = E[max(-A rho, -A clip(rho, 1-e, 1+e))] + value_coef * value loss - entropy_coef * H
    value loss = 0.5 E[max((V - R)^2, (V_clip - R)^2)], or 0.5 E[(V - R)^2] without value_clip

Differs from CleanRL: draws minibatches by torch, gives the last minibatch no statistics to print but the KL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

REWARD_GAMMA, REWARD_CLIP = 0.99, 10.0  # of the running sum that rewards are divided by; baselines' VecNormalize


@dataclass(frozen=True)
class Settings:
    """Names and defaults as in ``agents.ppo``."""

    learning_rate: float = 5e-4
    n_steps: int = 256
    epochs: int = 3
    minibatches: int = 8
    gamma: float = 0.999
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    value_clip: float | None = 0.2
    entropy_coef: float = 0.01
    value_coef: float = 0.5
    max_grad_norm: float = 0.5
    adam_epsilon: float = 1e-5
    normalise_reward: bool = True


class Agent(nn.Module):
    """A trunk of frames in [0, 1] with two linear heads."""

    def __init__(self, trunk: nn.Module, width: int, actions: int):
        super().__init__()
        self.trunk = trunk
        self.actor = _orthogonal(nn.Linear(width, actions), 0.01)
        self.critic = _orthogonal(nn.Linear(width, 1), 1.0)

    def forward(self, frames: Tensor) -> tuple[Categorical, Tensor]:
        """Frames (B, C, H, W) in 0..255 -> distribution of actions and values (B,)."""
        hidden = self.trunk(frames / 255.0)
        return Categorical(logits=self.actor(hidden)), self.critic(hidden).flatten()


def _orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def advantages_of(
    rewards: Tensor, values: Tensor, starts: Tensor, last_value: Tensor, last_start: Tensor, gamma: float, lam: float
) -> Tensor:
    """A (T, N) from rewards and values (T, N); ``starts[t]`` (N,) is 1 where observation t opens an episode."""
    steps = len(rewards)
    advantages = torch.zeros_like(rewards)
    carried = torch.zeros_like(last_value)
    for t in reversed(range(steps)):
        continues = 1.0 - (last_start if t == steps - 1 else starts[t + 1])
        following = last_value if t == steps - 1 else values[t + 1]
        delta = rewards[t] + gamma * following * continues - values[t]
        carried = delta + gamma * lam * continues * carried
        advantages[t] = carried
    return advantages


class RunningReward:
    """Rewards over the running standard deviation of their discounted sum, clipped."""

    def __init__(self, num_envs: int):
        self.sums = np.zeros(num_envs)
        self.mean, self.variance, self.count = 0.0, 1.0, 1e-4

    def __call__(self, reward: np.ndarray, done: np.ndarray) -> np.ndarray:
        self.sums = self.sums * REWARD_GAMMA + reward
        mean, variance, count = self.sums.mean(), self.sums.var(), len(self.sums)
        delta, total = mean - self.mean, self.count + count
        squares = self.variance * self.count + variance * count + delta**2 * self.count * count / total
        self.mean, self.variance, self.count = self.mean + delta * count / total, squares / total, total
        self.sums[done] = 0.0
        return np.clip(reward / math.sqrt(self.variance + 1e-8), -REWARD_CLIP, REWARD_CLIP)


class SingleFile:
    """The loop, an iteration at a time.

    Args:
        envs: a Gymnasium vector env (same-step autoreset) of uint8 images (N, H, W, C), or a dict with "image".
        agent: the network that acts and learns.
        settings: hyperparameters; T * N must divide by ``minibatches``.
        seed: of the minibatches; actions are drawn from torch's global generator.
    """

    def __init__(self, envs: Any, agent: Agent, settings: Settings, seed: int = 0):
        self.envs, self.agent, self.settings = envs, agent, settings
        self.device = agent.actor.weight.device
        self.optimizer = torch.optim.Adam(agent.parameters(), lr=settings.learning_rate, eps=settings.adam_epsilon)
        self.generator = torch.Generator().manual_seed(seed)
        self.scale = RunningReward(envs.num_envs) if settings.normalise_reward else None
        self.frame = self._tensor(envs.reset()[0])
        size = (settings.n_steps, envs.num_envs)
        self.obs = torch.zeros((*size, *self.frame.shape[1:]), device=self.device)
        self.actions = torch.zeros(size, dtype=torch.int64, device=self.device)
        self.log_probs, self.rewards, self.starts, self.values = (
            torch.zeros(size, device=self.device) for _ in range(4)
        )
        self.start = torch.ones(envs.num_envs, device=self.device)
        self.mean_reward = 0.0
        """Mean reward of a step of the newest rollout, unscaled."""

    def _tensor(self, observation: Any) -> Tensor:
        """(N, H, W, C) uint8 -> (N, C, H, W) float32."""
        image = observation["image"] if isinstance(observation, dict) else observation
        return torch.tensor(image, dtype=torch.float32, device=self.device).permute(0, 3, 1, 2).contiguous()

    def iterate(self) -> None:
        """One rollout, its advantages, and the epochs on it."""
        total_reward = 0.0
        for t in range(self.settings.n_steps):
            self.obs[t], self.starts[t] = self.frame, self.start
            with torch.no_grad():
                policy, self.values[t] = self.agent(self.frame)
            action = policy.sample()
            self.actions[t], self.log_probs[t] = action, policy.log_prob(action)
            observation, reward, terminated, truncated, _ = self.envs.step(action.cpu().numpy())
            done = terminated | truncated
            total_reward += float(np.mean(reward))
            self.rewards[t] = torch.as_tensor(reward if self.scale is None else self.scale(reward, done))
            self.frame = self._tensor(observation)
            self.start = torch.as_tensor(done, dtype=torch.float32, device=self.device)
        self.mean_reward = total_reward / self.settings.n_steps
        with torch.no_grad():
            last_value = self.agent(self.frame)[1]
        gamma, lam = self.settings.gamma, self.settings.gae_lambda
        advantages = advantages_of(self.rewards, self.values, self.starts, last_value, self.start, gamma, lam)
        self.learn(advantages, advantages + self.values)

    def learn(self, advantages: Tensor, returns: Tensor) -> None:
        """Epochs of permuted minibatches over the flattened rollout."""
        flat = [column.flatten(0, 1) for column in (self.obs, self.actions, self.log_probs, self.values)]
        flat += [advantages.flatten(), returns.flatten()]
        total = self.actions.numel()
        for _ in range(self.settings.epochs):
            order = torch.randperm(total, generator=self.generator)
            for chosen in order.split(total // self.settings.minibatches):
                self.step(*(column[chosen] for column in flat))

    def step(
        self,
        obs: Tensor,
        actions: Tensor,
        old_log_probs: Tensor,
        old_values: Tensor,
        advantages: Tensor,
        returns: Tensor,
    ) -> None:
        """One optimizer step on a minibatch."""
        settings, e = self.settings, self.settings.clip_range
        policy, values = self.agent(obs)
        log_ratio = policy.log_prob(actions) - old_log_probs
        ratio = log_ratio.exp()
        with torch.no_grad():
            self.kl = ((ratio - 1) - log_ratio).mean().item()
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        policy_loss = torch.max(-advantages * ratio, -advantages * ratio.clamp(1 - e, 1 + e)).mean()
        errors = (values - returns).square()
        if settings.value_clip is not None:
            clipped = old_values + (values - old_values).clamp(-settings.value_clip, settings.value_clip)
            errors = torch.max(errors, (clipped - returns).square())
        entropy = policy.entropy().mean()
        loss = policy_loss - settings.entropy_coef * entropy + settings.value_coef * 0.5 * errors.mean()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.agent.parameters(), settings.max_grad_norm)
        self.optimizer.step()
