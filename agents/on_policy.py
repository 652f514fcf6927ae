"""On-policy learning around a representation: what PPO and A2C share.

A subclass of stable-baselines3's on-policy algorithm: ``learn``, callbacks, loggers, ``predict``, ``evaluate_policy``
and ``EvalCallback`` are its own. Rollout and update are ours, because its have no place for a bonus or an auxiliary
loss. An agent has

* a ``RolloutCollector`` (``agents.rollout``), which acts and stores,
* a ``RewardPipeline`` (``agents.rewards``), which makes the ``Targets`` of a finished rollout,
* losses (``agents.losses``) and a ``GradientStep`` (``agents.gradients``), which update the policy.

Several processes (``agents.parallel.distributed``) share the samples of each minibatch; gradients are summed before
they are clipped.
"""

from __future__ import annotations

import sys
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from stable_baselines3.common import on_policy_algorithm as sb3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import safe_mean
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from agents import ALGORITHMS, checkpoint, saving
from agents.actions import make_distribution
from agents.config import Config, bonus_spec, find_context_source
from agents.description import Description
from agents.env_state import EnvState
from agents.finite import FiniteChecks
from agents.gradients import GradientStep
from agents.losses import ActorCriticLoss, AuxiliaryLoss, add_feature_metrics
from agents.metrics import FeatureWarnings, MetricMeans, explained_variance
from agents.minibatches import WATCHED, minibatches
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.policy import Policy, Precision
from agents.rewards import RewardPipeline, Targets, make_first_visits
from agents.rollout import Observation, RolloutCollector, make_history
from envs.finite import require_finite_weights
from envs.registry import UsageError
from envs.rng_streams import Streams, stream_seed
from envs.spaces import FEATURES, Array
from envs.steps import Steps
from envs.wrappers.sb3 import as_agents_take
from intrinsic.base import IntrinsicBonus
from representations.base import Mode, Representation, check_mode
from representations.malloc import keep_freed_memory
from representations.threads import must_run_serially

MICRO_BATCH = 256
"""Samples per forward pass on a CPU, whose caches hold no more."""


PLASTICITY_FRAMES = 32_768
"""Frames between two measurements of dead units and effective rank: then these take under 1% of the time."""


class OnPolicyAlgorithm(sb3.OnPolicyAlgorithm):
    """Base of PPO and A2C. A subclass gives ``Config``, ``make_optimizer``, ``policy_loss`` and ``value_loss``.

    Attributes:
        metrics: of the newest iteration, by name.
        steps, targets: the newest rollout (T, N) and what it is trained on; ``steps`` is None after the update, as it
            may hold a copy of every next frame.

    Args:
        env: VecEnv with Discrete, Box, MultiDiscrete or MultiBinary actions; images (C, H, W) uint8, a vector, or a
            Dict of keys.
        representation: built by the caller, pre-trained where its mode asks for it.
        config: of the subclass; None takes its defaults.
        mode: "frozen", "finetune" or "online"; None takes the representation's default.
        seed: of this agent's own random streams; the environment is seeded where it is made.
        precision: "bfloat16" autocasts representation and hidden layers.
        bonuses: intrinsic rewards, at most one of each class, built for ``bonus_spec``.
        ranks: the processes that train this agent; ``env`` holds the environments of this one.
        compiled: have torch compile the representation for the batch sizes of rollout and update.

    Raises:
        UsageError: settings, mode, action space or bonuses that cannot work.
    """

    Config: ClassVar[type[Config]] = Config
    policy: Policy  # type: ignore[assignment]

    def __init__(
        self,
        env: VecEnv,
        representation: Representation,
        config: Any = None,
        *,
        mode: str | None = None,
        seed: int = 0,
        precision: Precision = "float32",
        bonuses: Sequence[IntrinsicBonus] = (),
        ranks: Ranks = SINGLE_PROCESS,
        compiled: bool = False,
        device: torch.device | str = "cpu",
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
    ):
        self.config = config = self.Config() if config is None else config
        self.mode: Mode = check_mode(representation.name, representation, mode or "auto")
        self.representation, self.precision, self.compiled, self.ranks = representation, precision, compiled, ranks
        self.bonuses = {bonus.name: bonus for bonus in bonuses}
        if bonuses:
            ranks.require_single_process("bonuses")
        if len(self.bonuses) < len(bonuses):
            raise UsageError(f"two bonuses of one class among {[bonus.name for bonus in bonuses]}; give one of each")
        make_distribution(env.action_space)  # first: it says better than SB3 what is wrong with a space
        super().__init__(
            policy=Policy,  # type: ignore[arg-type]
            env=env,
            learning_rate=config.step_size,
            n_steps=config.n_steps,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            ent_coef=config.entropy_coef,
            vf_coef=config.value_coef,
            max_grad_norm=config.max_grad_norm,
            use_sde=False,
            sde_sample_freq=-1,
            stats_window_size=-(-stats_window_size // ranks.count),
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self.total_envs = self.n_envs * ranks.count
        """N, the environments of all ranks."""
        config.check(self.total_envs)
        self._setup_model()

    @abstractmethod
    def make_optimizer(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The one optimizer of everything the policy trains."""

    @abstractmethod
    def policy_loss(
        self, log_prob: Float[Tensor, " B"], old_log_prob: Float[Tensor, " B"], advantage: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Loss of each sample from log pi(a|s) now and when acting, and the advantage."""

    @abstractmethod
    def value_loss(
        self, value: Float[Tensor, " B"], old_value: Float[Tensor, " B"], returns: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Loss of each sample from the values now and when acting, and the lambda-return."""

    def stops_early(self, metrics: MetricMeans) -> bool:
        """True where no further pass over the rollout shall begin, by the metrics of those made."""
        return False

    # set-up -----------------------------------------------------------------------------------------------------------

    @staticmethod
    def _wrap_env(env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """``env`` as a VecEnv whose observations agents read; terminal ones go through the same conversion."""
        if not isinstance(env, VecEnv):
            env = sb3.OnPolicyAlgorithm._wrap_env(env, verbose, monitor_wrapper)
        return as_agents_take(env)

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        if self.device.type == "cpu":
            keep_freed_memory()
        config, ranks = self.config, self.ranks
        self.streams = Streams(self.seed or 0, self.device)
        self.policy = self._make_policy()
        self.policy.generator = self.streams["evaluation"]
        self.policy.optimizer = self.make_optimizer(self.policy.trainable())
        self.frozen = self.mode == "frozen"
        aux_coef = self.representation.aux_coef if config.aux_coef is None else config.aux_coef
        auxiliary = self.mode == "online" and self.representation.has_loss and aux_coef > 0
        micro_batch = config.micro_batch or (sys.maxsize if self.device.type == "cuda" else MICRO_BATCH)
        if self.compiled:
            minibatch, steps = config.n_steps * self.n_envs // config.minibatches, config.sequence_steps
            self.policy.compile_for(self.n_envs, max(1, min(minibatch, micro_batch) // steps) * steps)
        bonus_frames = any(key != FEATURES for bonus in self.bonuses.values() for key in bonus.keys)
        self.history = make_history(self.policy, config, self.n_envs, self.total_envs, bonus_frames, auxiliary)
        self.rollout_buffer = self.history  # type: ignore[assignment]  # SB3's learn passes it to collect_rollouts
        self.collector = RolloutCollector(self.policy, self.history, config, self.streams, bool(self.bonuses), ranks)
        for bonus in self.bonuses.values():
            bonus.to(self.device)
        visits = None
        if config.bonus_once and self.bonuses:
            assert self.env is not None
            spec = bonus_spec(self.env, self.representation, self.mode, self.gamma)
            visits = make_first_visits(spec, self.history.keys, self.seed or 0).to(self.device)
        name, first_env = ALGORITHMS.name_of(type(self)), ranks.index * self.n_envs
        self.finite = FiniteChecks(self.representation, name, first_env, self.total_envs)
        self.reward_pipeline = RewardPipeline(config, self.bonuses, self.n_envs, visits, ranks, self.finite.check_bonus)
        self.auxiliary_loss = (
            AuxiliaryLoss(
                self.policy, self.history, lambda: self.collector.data, config.window_streams, self.streams, ranks
            )
            if auxiliary
            else None
        )
        self.gradient_step = GradientStep(
            self.policy,
            max_grad_norm=self.max_grad_norm,
            aux_coef=aux_coef,
            micro_batch=sys.maxsize if self.frozen else micro_batch,  # heads alone are small
            threads=1 if must_run_serially(self.policy) else self.policy.num_threads,
            ranks=ranks,
        )
        self.steps: Steps | None = None
        self.targets: Targets | None = None
        self.metrics: dict[str, float] = {}
        self._feature_warnings = FeatureWarnings(self.representation)
        self.collector.forget()

    def _make_policy(self) -> Policy:
        with torch.random.fork_rng(devices=[]):  # heads are drawn on the CPU, whatever the device
            torch.manual_seed(stream_seed(self.seed or 0, "init"))
            policy = Policy(
                self.observation_space,
                self.action_space,
                self.representation,
                self.mode,
                self.precision,
                self.config.bonus_head and bool(self.bonuses),
                find_context_source(list(self.bonuses.values())),
                self.config.memory_units,
            )
        return policy.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        before = self._last_obs
        result = super()._setup_learn(*args, **kwargs)
        if self._last_obs is not before:
            self.collector.forget()
        if self.auxiliary_loss is not None:
            self.auxiliary_loss.warn_if_never_ready(self._total_timesteps)
        return result

    def set_random_seed(self, seed: int | None = None) -> None:
        """Start this agent's named random streams anew; global generators are never used."""
        self.streams.load_state_dict({"seed": seed or 0, "states": {}})
        self.policy.generator = self.streams["evaluation"]

    # one iteration ----------------------------------------------------------------------------------------------------

    def collect_rollouts(self, env: VecEnv, callback: BaseCallback, rollout_buffer: Any, n_rollout_steps: int) -> bool:
        """Collect T steps and make their targets, or the rest of a rollout; False where a callback asked to stop.

        ``on_step`` comes when its step is stored, so a callback may save, and a stopped rollout goes on later. Several
        ranks can only stop together, at the end of a rollout.
        """
        stop, collector = False, self.collector
        assert self._last_obs is not None, "learn() resets the environment first"
        callback.on_rollout_start()
        self.policy.set_training_mode(False)
        if not collector.is_open:
            self.steps = None
            collector.begin()
        while collector.steps_taken < n_rollout_steps:
            actions, new_obs, rewards, dones, infos = self._step(env)
            callback.update_locals(locals())
            stop = not callback.on_step() or stop
            if stop and self.ranks.count == 1:
                return False
        if self.steps is None:
            with self._new_episodes_after_errors():
                self._finish_rollout()
        callback.update_locals(locals())
        callback.on_rollout_end()
        stop = self.ranks.any(stop)
        if not stop:
            collector.close()
        return not stop

    @contextmanager
    def _new_episodes_after_errors(self) -> Iterator[None]:
        """After an exception within, half a step or half a rollout is no state to go on from."""
        try:
            yield
        except BaseException:
            self._last_obs = None  # learn() resets the environment
            self.collector.forget()
            raise

    def _finish_rollout(self) -> None:
        """Make the steps and targets of T collected steps."""
        # A value is taken of what follows the last step, too.
        self.finite.check_observation(self._last_obs, self.num_timesteps)
        self.steps = self.collector.finish(self._last_obs)  # type: ignore[arg-type]
        self.finite.check_rollout(self.steps, self.collector.data, self.num_timesteps)
        self.targets = self.reward_pipeline.compute(self.steps, self.collector.data, self.num_timesteps)
        self.history.add_rewards(self.targets.reward)

    def _step(self, env: VecEnv) -> tuple[Array, Observation, Array, Array, list[dict[str, Any]]]:
        """Act in all environments and store the step.

        Returns:
            actions, the observations that followed, rewards, dones and infos.
        """
        with self._new_episodes_after_errors():
            self.finite.check_observation(self._last_obs, self.num_timesteps)
            actions = self.collector.act(self._last_obs)  # type: ignore[arg-type]
            new_obs, rewards, dones, infos = env.step(actions)
            self.num_timesteps += self.total_envs
            if dones.any():
                self._update_info_buffer([infos[i] for i in dones.nonzero()[0]], dones[dones])
            self.collector.add(rewards, dones, infos)
            self._last_obs, self._last_episode_starts = new_obs, dones  # type: ignore[assignment]
        return actions, new_obs, rewards, dones, infos  # type: ignore[return-value]

    def train(self) -> None:
        """Update the policy by epochs of minibatches over the rollout, then the bonuses."""
        assert self.steps is not None
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        self.representation.set_progress(1 - self._current_progress_remaining)
        means, loss = MetricMeans(), self.actor_critic_loss()
        if self.frozen:  # features stay as they are while the heads learn
            add_feature_metrics(self.steps.obs[FEATURES].flatten(0, 1), 1.0, means)
        for _ in range(self.config.epochs):
            for indices, samples in minibatches(self.config, self.total_envs, self.streams, self.device):
                self.update(indices, loss, means, samples)
            self._n_updates += 1
            if self.stops_early(means):
                break
        self.ranks.broadcast(self.policy.buffers())
        if self._plasticity_is_due:
            self.policy.set_training_mode(False)
            loss.add_plasticity_metrics(means)
        self.metrics = {
            **self.reward_pipeline.metrics,
            **means.compute(self.ranks),
            "train/explained_variance": self._explained_variance(),
        }
        self.finite.check_update(self.metrics, self.num_timesteps)
        frames = min(WATCHED, self.n_steps * self.n_envs)
        self._feature_warnings.check(self.metrics, frames, f"after {self.num_timesteps:,} frames")
        self.metrics |= self.reward_pipeline.learn(self.steps, self.streams)
        self.finite.check_update(self.metrics, self.num_timesteps)
        self.steps = None
        for name, value in self.metrics.items():
            self.logger.record(name, value)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def actor_critic_loss(self) -> ActorCriticLoss:
        """The RL loss of the newest rollout."""
        assert self.targets is not None
        return ActorCriticLoss(
            self.policy,
            self.history,
            self.collector.data,
            self.targets,
            self.config,
            self.policy_loss,
            self.value_loss,
            self.ranks,
        )

    def update(
        self,
        indices: Int[Tensor, " B"],
        loss: ActorCriticLoss,
        metrics: MetricMeans,
        samples: Int[Tensor, " A"] | None = None,
    ) -> None:
        """One optimizer step on a minibatch of the rollout, over all environments.

        Args:
            indices: first samples t * N + i of its sequences.
            samples: those of the auxiliary loss; None: the same.
        """
        step, auxiliary = self.gradient_step, None
        if self.auxiliary_loss is not None and self.auxiliary_loss.ready:
            samples = indices if samples is None else samples
            auxiliary = self.auxiliary_loss.micro_batches(samples, step.micro_batch)
        step.step(loss.micro_batches(indices, step.chunk_size), auxiliary, metrics)
        if not self.frozen:
            self.representation.after_step()

    @property
    def _plasticity_is_due(self) -> bool:
        """At the first rollout, and at each that completes another ``PLASTICITY_FRAMES``."""
        rollout = self.n_steps * self.total_envs
        before = self.num_timesteps - rollout
        return before <= 0 or before // PLASTICITY_FRAMES < self.num_timesteps // PLASTICITY_FRAMES

    def _explained_variance(self) -> float:
        assert self.targets is not None
        returns, values = self.targets.returns, self.collector.data.values[:-1]
        return explained_variance(self.ranks.gather_streams(returns), self.ranks.gather_streams(values))

    @property
    def first_reward(self) -> int:
        """Frames until the environment first gave more than 0; 0 while it has not."""
        return self.reward_pipeline.first_reward

    def dump_logs(self, iteration: int = 0) -> None:
        """Log the charts that every run has; episode returns are the environment's own."""
        seconds = max((time.time_ns() - self.start_time) / 1e9, sys.float_info.epsilon)
        episodes = self.ranks.all_gather(list(self.ep_info_buffer or ()))
        if episodes:
            self.logger.record("train/return", safe_mean([episode["r"] for episode in episodes]))
            self.logger.record("train/episode_length", safe_mean([episode["l"] for episode in episodes]))
        frames = self.num_timesteps - self._num_timesteps_at_start
        self.logger.record("time/frames_per_second", frames / seconds)
        super().dump_logs(iteration)

    # checkpoints ------------------------------------------------------------------------------------------------------

    @property
    def exact_env(self) -> bool:
        """The environment and all wrappers around it give their state and take it back.

        Without, a restored agent begins new episodes.
        """
        assert self.env is not None
        return EnvState(self.env).exact

    def components(self) -> dict[str, Any]:
        """Everything with state, by name, for ``agents.checkpoint``; the policy brings its optimizer along.

        Loaded into a fresh agent built by the same call, ``learn(..., reset_num_timesteps=False)`` goes on bit for bit,
        if the environment gives its state. They may be taken in any callback, and after ``learn``.
        """
        return saving.components(self)

    def save(self, path: Any, exclude: Any = None, include: Any = None) -> None:
        """Write a checkpoint into the directory ``path``, where stable-baselines3 would pickle into a file.

        At any moment: within a rollout, as in ``on_step``, the checkpoint holds the rollout as far as it has come.
        """
        if exclude or include:
            raise UsageError("save(exclude=, include=): a checkpoint here always holds all components")
        require_finite_weights(self.policy, f"after {self.num_timesteps:,} frames")
        self.ranks.assert_in_sync(self.policy.parameters(), f"weights after {self.num_timesteps:,} frames")
        components = {**self.components(), "agent": Description(self)}
        checkpoint.save(Path(path), self.num_timesteps, components, self.ranks)

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Any:
        """Refuse: nothing here rebuilds objects from a file."""
        raise UsageError(
            f"{cls.__name__}.load: build the agent as before, then call its restore(path) to train on; for use take "
            "agents.runs.load.load_agent(path)"
        )

    def restore(self, path: Any, weights_only: bool = False) -> None:
        """Go on from the newest checkpoint in the directory ``path``, or in a run's folder.

        Args:
            weights_only: take the policy's weights alone, of an agent of any number of environments.

        Raises:
            UsageError: no whole checkpoint is there, or it is of another agent.
        """
        restore = saving.restore_weights if weights_only else saving.restore
        restore(self, Path(path))
