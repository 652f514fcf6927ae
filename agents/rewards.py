"""Being paid: what the steps of a finished rollout are worth.

A step pays  r_t  (the world's), or with normalise_reward  clip(r_t / s_t, +-10), s_t the running std of the
0.99-discounted reward sum up to and with step t. Each bonus scores the whole rollout:  b_t = sum of coefficient *
raw_t / s, s the running std of its discounted sum. With bonus_once a step that arrives where its episode has been
before has raw_t = 0 (bonuses with skills excepted). The agent is paid  extrinsic * r_t + b_t, and gamma V(final frame)
on top at a truncated step (``agents.rollout``). Then

    delta_t = r_t + gamma V_{t+1} (1 - done_t) - V_t
    A_t = delta_t + gamma lambda (1 - done_t) A_{t+1},   R_t = A_t + V_t

With bonus_head the bonuses are a stream of their own (Burda et al. 2018, RND): b_t has its own value head and
bonus_gamma, runs on through the ends of episodes unless bonus_episodic, and its advantage is added to A_t.
"""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import torch
from torch import Tensor

from agents.config import bonus_spec
from agents.rollout import Rollout
from envs.rng_streams import stream_seed
from envs.steps import Steps
from intrinsic.base import IntrinsicBonus
from intrinsic.normalise import DiscountedReturnStd
from intrinsic.state_hash import FirstVisits

REWARD_CLIP = 10.0  # of the normalised reward; baselines' VecNormalize


def gae(reward: Tensor, value: Tensor, done: Tensor, gamma: float, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """Advantages and lambda-returns (T, N) from rewards and dones (T, N) and values (T+1, N)."""
    alive = 1.0 - done.to(value.dtype)
    delta = reward + gamma * value[1:] * alive - value[:-1]
    decay = gamma * gae_lambda * alive
    advantage = torch.empty_like(delta)
    carried = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        torch.addcmul(delta[t], decay[t], carried, out=advantage[t])
        carried = advantage[t]
    return advantage, advantage + value[:-1]


class Paid(Rollout):
    """A rollout that is paid for; arguments as in ``Rollout``. ``OnPolicy`` adds the update."""

    def _setup_model(self) -> None:
        super()._setup_model()
        config = self.config
        self.reward_scale = DiscountedReturnStd(self.total_envs) if config.normalise_reward else None
        self.bonus_scales = {
            name: DiscountedReturnStd(self.n_envs, config.bonus_gamma, prior=False) for name in self.bonuses
        }
        for bonus in self.bonuses.values():
            bonus.to(self.device)
        self.visits = self._first_visits() if config.bonus_once and self.bonuses else None
        self.metrics: dict[str, float] = {}
        """Charts of the newest iteration, by name."""
        self.first_reward = 0
        """Frames until the world first paid more than 0; 0 while it has not."""

    def _first_visits(self) -> FirstVisits:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(self.seed or 0, "init", "visits"))
            assert self.env is not None
            spec = bonus_spec(self.env, self.representation, self.mode, self.gamma)
            kept = {key: box for key, box in spec.space.spaces.items() if key in self.history.keys}
            return FirstVisits(replace(spec, space=gym.spaces.Dict(kept))).to(self.device)

    def _pay(self) -> None:
        """Rewards as the agent is really paid, bonuses included; advantages and returns of those."""
        self._rollout = steps = replace(self.history.rollout(), context=self.contexts)
        self.metrics = {}
        paying = self.ranks.gather_streams(steps.reward) > 0
        if not self.first_reward and bool(paying.any()):
            first = int(paying.any(1).int().argmax())
            self.first_reward = self.num_timesteps - (self.n_steps - 1 - first) * self.total_envs
        reward = self._normalised(steps) if self.reward_scale is not None else steps.reward
        self.paid = self.config.extrinsic * reward.to(self.values.dtype) + self.bootstrap
        bonus = torch.zeros_like(self.paid)
        fresh = None if self.visits is None else self.visits(steps)
        for name, each in self.bonuses.items():
            bonus += self._scaled(name, each, steps, None if each.context_dim else fresh)
        if self.bonus_values is None:
            self.paid += bonus
        self.history.add_rewards(self.paid)
        self.advantages, self.returns = gae(self.paid, self.values, steps.done, self.gamma, self.gae_lambda)
        if self.bonus_values is not None:
            ended = steps.done & self.config.bonus_episodic
            gamma = self.config.bonus_gamma
            advantages, self.bonus_returns = gae(bonus, self.bonus_values, ended, gamma, self.gae_lambda)
            self.advantages += advantages
        self.every_advantage = self.ranks.gather_streams(self.advantages).flatten()

    def _scaled(self, name: str, bonus: IntrinsicBonus, steps: Steps, fresh: Tensor | None) -> Tensor:
        """What a bonus adds to the reward (T, N); only where ``fresh`` (T, N), if that is given."""
        raw, scale = bonus.compute(steps), self.bonus_scales[name]
        if fresh is not None:
            raw = raw * fresh
        scale.update(raw.cpu())
        paid = bonus.coefficient * raw / scale.std
        self.metrics |= {
            f"bonus/{name}/raw": float(raw.mean()),
            f"bonus/{name}/scale": scale.std,
            f"bonus/{name}/paid": float(paid.mean()),
        }
        return paid

    def _normalised(self, steps: Steps) -> Tensor:
        """Step by step, as published: a reward is divided by what was known up to and with its own step."""
        assert self.reward_scale is not None
        reward, done = self.ranks.gather_streams(steps.reward).cpu(), self.ranks.gather_streams(steps.done).cpu()
        divisor = torch.empty(len(reward), 1)
        for t in range(len(reward)):
            self.reward_scale.update(reward[t : t + 1], done[t : t + 1])
            divisor[t] = self.reward_scale.std
        return (steps.reward.cpu() / divisor).clamp_(-REWARD_CLIP, REWARD_CLIP).to(self.device)
