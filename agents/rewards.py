"""Rewards, advantages and returns of a finished rollout.

With normalise_reward the environment's reward r_t becomes  clip(r_t / s_t, +-10), s_t the running std of the
0.99-discounted reward sum up to and with step t. Each bonus scores the whole rollout:  b_t = sum of coefficient *
raw_t / s, s the running std of its discounted sum. With bonus_once a step that arrives where its episode has been
before has raw_t = 0 (bonuses with skills excepted). The shaped reward is  extrinsic * r_t + b_t, plus
gamma V(final frame) at a truncated step (``agents.rollout``). Then, on the shaped reward,

    delta_t = r_t + gamma V_{t+1} (1 - done_t) - V_t
    A_t = delta_t + gamma lambda (1 - done_t) A_{t+1},   R_t = A_t + V_t

With bonus_head the bonuses are a stream of their own (Burda et al. 2018, RND): b_t has its own value head and
bonus_gamma, runs on through the ends of episodes unless bonus_episodic, and its advantage is added to A_t.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agents.config import Config
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.rollout import RolloutData
from envs.rng_streams import Streams, stream_seed
from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic.base import IntrinsicBonus
from intrinsic.normalise import DiscountedReturnStd
from intrinsic.state_hash import FirstVisits

REWARD_CLIP = 10.0  # of the normalised reward; baselines' VecNormalize


@dataclass(frozen=True)
class Targets:
    """Training targets of the policy and its values; T steps of N environments."""

    reward: Float[Tensor, "T N"]
    """Shaped reward: normalised, with bootstraps, and with bonuses unless they have a head of their own."""
    advantage: Float[Tensor, "T N"]
    """A_t, that of the bonuses' own stream included."""
    returns: Float[Tensor, "T N"]
    """R_t of the shaped reward, target of the value."""
    bonus_returns: Float[Tensor, "T N"] | None
    """R_t of the bonuses, target of their own head, where there is one."""


def gae(
    reward: Float[Tensor, "T N"], value: Float[Tensor, "T+1 N"], done: Bool[Tensor, "T N"], gamma: float, lam: float
) -> tuple[Float[Tensor, "T N"], Float[Tensor, "T N"]]:
    """Generalised advantage estimation (Schulman et al. 2016): advantages and lambda-returns."""
    alive = 1.0 - done.to(value.dtype)
    delta = reward + gamma * value[1:] * alive - value[:-1]
    decay = gamma * lam * alive
    advantage = torch.empty_like(delta)
    following = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        torch.addcmul(delta[t], decay[t], following, out=advantage[t])
        following = advantage[t]
    return advantage, advantage + value[:-1]


def make_first_visits(spec: EnvSpec, stored: Collection[str], seed: int) -> FirstVisits:
    """Finder of first visits in an episode, by the stored observations of ``spec``; the seed draws its hash."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "init", "visits"))
        kept = {key: box for key, box in spec.space.spaces.items() if key in stored}
        return FirstVisits(replace(spec, space=gym.spaces.Dict(kept)))


class RewardPipeline:
    """Normalisation, bonuses and advantages; holds the running scales.

    Attributes:
        metrics: of the newest rollout's rewards, by name.
        first_reward: frames until the environment first gave more than 0; 0 while it has not.

    Args:
        config: settings of the agent.
        bonuses: by name, on the agent's device.
        n_envs: N, environments of this rank.
        visits: finds first visits of an episode, for ``bonus_once``; None: every step counts.
        ranks: processes that train the agent; the reward's scale is that of all their environments.
        check_bonus: looks at the raw scores (T, N) of a bonus, by its name and with its settings, before they are used.
    """

    def __init__(
        self,
        config: Config,
        bonuses: Mapping[str, IntrinsicBonus],
        n_envs: int,
        visits: FirstVisits | None = None,
        ranks: Ranks = SINGLE_PROCESS,
        check_bonus: Callable[[str, Tensor, Any], None] = lambda name, raw, config: None,
    ):
        self.check_bonus = check_bonus
        self.config, self.bonuses, self.visits, self.ranks = config, dict(bonuses), visits, ranks
        self.total_envs = n_envs * ranks.count
        self.reward_scale = DiscountedReturnStd(self.total_envs) if config.normalise_reward else None
        self.bonus_scales = {name: DiscountedReturnStd(n_envs, config.bonus_gamma, prior=False) for name in bonuses}
        self.metrics: dict[str, float] = {}
        self.first_reward = 0

    @torch.no_grad()
    def compute(self, steps: Steps, data: RolloutData, num_timesteps: int) -> Targets:
        """Targets of a finished rollout, after whose last step ``num_timesteps`` frames have been seen in all."""
        config, self.metrics = self.config, {}
        self._date_first_reward(steps.reward, num_timesteps)
        reward = config.extrinsic * self._normalised(steps).to(data.values.dtype) + data.bootstrap
        bonus = torch.zeros_like(reward)
        first_visit = None if self.visits is None else self.visits(steps)
        for name, source in self.bonuses.items():
            bonus += self._scaled_bonus(name, source, steps, None if source.context_dim else first_visit)
        if data.bonus_values is None:
            reward += bonus
        advantage, returns = gae(reward, data.values, steps.done, config.gamma, config.gae_lambda)
        bonus_returns = None
        if data.bonus_values is not None:
            done = steps.done & config.bonus_episodic
            bonus_advantage, bonus_returns = gae(bonus, data.bonus_values, done, config.bonus_gamma, config.gae_lambda)
            advantage += bonus_advantage
        return Targets(reward, advantage, returns, bonus_returns)

    def learn(self, steps: Steps, streams: Streams) -> dict[str, float]:
        """Let the bonuses learn from a rollout, after ``compute`` has scored it; their metrics."""
        if self.visits is not None:
            self.visits.remember(steps)
        metrics: dict[str, float] = {}
        for name, bonus in self.bonuses.items():
            learnt = bonus.update(steps, streams[f"bonus/{name}"])
            metrics |= {f"bonus/{name}/{metric}": value for metric, value in learnt.items()}
        return metrics

    def components(self) -> dict[str, Any]:
        """Everything with state, by name, for ``agents.checkpoint``."""
        components: dict[str, Any] = {}
        if self.reward_scale is not None:
            components["reward_scale"] = self.reward_scale
        if self.visits is not None:
            components["visits"] = self.visits
        for name, bonus in self.bonuses.items():
            components[f"bonus/{name}"] = bonus
            components[f"bonus_scale/{name}"] = self.bonus_scales[name]
        return components

    def _date_first_reward(self, reward: Float[Tensor, "T N"], num_timesteps: int) -> None:
        rewarded = self.ranks.gather_streams(reward) > 0
        if not self.first_reward and bool(rewarded.any()):
            t = int(rewarded.any(1).int().argmax())
            self.first_reward = num_timesteps - (len(reward) - 1 - t) * self.total_envs

    def _scaled_bonus(
        self, name: str, bonus: IntrinsicBonus, steps: Steps, first_visit: Bool[Tensor, "T N"] | None
    ) -> Float[Tensor, "T N"]:
        """A bonus as it is added to the reward; only at first visits, if those are given."""
        raw, scale = bonus.compute(steps), self.bonus_scales[name]
        self.check_bonus(name, raw, bonus.config)
        if first_visit is not None:
            raw = raw * first_visit
        scale.update(raw.cpu())
        scaled = bonus.coefficient * raw / scale.std
        self.metrics |= {
            f"bonus/{name}/raw": float(raw.mean()),
            f"bonus/{name}/scale": scale.std,
            f"bonus/{name}/scaled": float(scaled.mean()),
        }
        return scaled

    def _normalised(self, steps: Steps) -> Float[Tensor, "T N"]:
        """The environment's reward, divided step by step, as published: by what is known up to and with its step."""
        if self.reward_scale is None:
            return steps.reward
        reward, done = self.ranks.gather_streams(steps.reward).cpu(), self.ranks.gather_streams(steps.done).cpu()
        divisor = torch.empty(len(reward), 1)
        for t in range(len(reward)):
            self.reward_scale.update(reward[t : t + 1], done[t : t + 1])
            divisor[t] = self.reward_scale.std
        return (steps.reward.cpu() / divisor).clamp_(-REWARD_CLIP, REWARD_CLIP).to(steps.reward.device)
