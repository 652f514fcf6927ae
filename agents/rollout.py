"""Acting: T steps, each frame encoded once and kept in History with what was done and what came of it.

A truncated step has gamma V(final frame) in ``bootstrap``, unless timeout_is_terminal. Where the world cannot show its
final frame, ``terminal_observation`` is the frame before it, and V of that one is taken.

A frozen representation is encoded here and never again: updates read the kept features.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from agents.config import Config, skilled_one
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.parallel.threads import must_run_serially
from agents.policy import Policy, Precision, keyed_space, log_probabilities
from envs.history import FEATURES, History
from envs.registry import UsageError
from envs.rng_streams import Streams, stream_seed
from envs.steps import Obs
from intrinsic.base import IntrinsicBonus
from representations.base import Mode, Representation, State, check_mode
from representations.malloc import keep_freed_memory

MICRO_BATCH = 256


class Rollout(OnPolicyAlgorithm):
    """What acts, with its storage; ``agents.rewards`` adds what steps are worth, ``OnPolicy`` the update.

    Args:
        env: VecEnv with Discrete actions, images (C, H, W) uint8 or a Dict of keys.
        representation: built by the caller, pre-trained where its mode asks for it.
        config: of the subclass; None takes its defaults.
        mode: "frozen", "finetune" or "online"; None takes the representation's default.
        seed: of this agent's own random streams; the environment is seeded by who makes it.
        precision: "bfloat16" autocasts representation and hidden layers.
        bonuses: intrinsic rewards, at most one of each class, built for ``agents.config.bonus_spec``.
        ranks: the processes that train this agent; ``env`` holds this one's share of the environments.
        compiled: have torch compile the representation for the batch sizes of rollout and update.
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
        name = representation.name
        self.mode: Mode = check_mode(name, type(representation), mode or "auto")
        self.representation, self.precision, self.compiled = representation, precision, compiled
        self.aux_coef = representation.aux_coef if config.aux_coef is None else config.aux_coef
        self.auxiliary = self.mode == "online" and representation.has_loss and self.aux_coef > 0
        self.ranks = ranks
        self.bonuses = {bonus.name: bonus for bonus in bonuses}
        if bonuses:
            ranks.require_single_process("bonuses")
        if len(self.bonuses) < len(bonuses):
            raise UsageError(f"two bonuses of one class among {[bonus.name for bonus in bonuses]}; give one of each")
        self._skilled = skilled_one(bonuses)
        super().__init__(
            policy=Policy,  # type: ignore[arg-type]
            env=env,
            learning_rate=config.learning_rate,
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
        self.total_envs, self.first_env = self.n_envs * ranks.count, self.n_envs * ranks.index
        """N, the environments of all ranks, and the number of this one's first among them."""
        config.check(self.total_envs)
        self._setup_model()

    @abstractmethod
    def make_optimizer(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The one optimizer of everything the policy trains."""

    @abstractmethod
    def _pay(self) -> None:
        """Once a rollout is complete: what its steps are worth."""

    # set-up -----------------------------------------------------------------------------------------------------------

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        if self.device.type == "cpu":
            keep_freed_memory()
        config, space = self.config, keyed_space(self.observation_space)
        self.streams = Streams(self.seed or 0, self.device)
        with torch.random.fork_rng(devices=[]):  # heads are drawn on the CPU, whatever the device
            torch.manual_seed(stream_seed(self.seed or 0, "init"))
            policy = Policy(
                self.observation_space,
                self.action_space,
                self.representation,
                self.mode,
                self.precision,
                config.bonus_head and bool(self.bonuses),
                self._skilled,
            )
        self.policy = policy.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.policy.generator = self.streams["evaluation"]
        self.policy.optimizer = self.make_optimizer(self.policy.trainable())
        self.frozen = self.mode == "frozen"
        self.micro_batch = config.micro_batch or (sys.maxsize if self.device.type == "cuda" else MICRO_BATCH)
        if self.compiled:
            minibatch = config.n_steps * self.n_envs // config.minibatches
            self.policy.compile_for(self.n_envs, min(minibatch, self.micro_batch))
        self.num_threads = 1 if must_run_serially(self.policy) else self.policy.num_threads
        self.history = History(
            space,
            config.n_steps,
            self.n_envs,
            frames=not self.frozen or any(key != FEATURES for bonus in self.bonuses.values() for key in bonus.keys),
            features_dim=self.representation.features_dim if self.frozen else 0,
            extra=self._older_steps() if self.auxiliary else 0,
            device=self.device,
        )
        self.rollout_buffer = self.history  # type: ignore[assignment]  # SB3's learn passes it to collect_rollouts
        self._setup_storage()
        self._collapsed = False
        self._forget_streams()

    def _older_steps(self) -> int:
        """Steps before the rollout that the auxiliary loss draws from."""
        wanted = max(self.representation.window, -(-self.representation.memory // self.total_envs))
        return max(0, wanted - self.config.n_steps)

    def _setup_storage(self) -> None:
        """What the rollout keeps beside History, in the dtype of the heads."""
        shape = (self.n_steps, self.n_envs)
        dtype = self.policy.dtype
        self.values = torch.zeros(shape[0] + 1, shape[1], dtype=dtype, device=self.device)
        self.bonus_values = torch.zeros_like(self.values) if self.policy.bonus_net is not None else None
        wide = self.policy.context_dim
        self.contexts = torch.zeros(*shape, wide, device=self.device) if wide else None
        """What the policy was shown beside each observation (T, N, K)."""
        self.log_probs = torch.zeros(shape, dtype=dtype, device=self.device)
        self.bootstrap = torch.zeros(shape, dtype=dtype, device=self.device)
        carried = () if self.frozen else self.representation.initial_state(self.n_envs)
        self.states = tuple(torch.zeros(shape[0], *part.shape, device=self.device) for part in carried)
        """What the representation carried into each step (T, N, ...): an update encodes from there, one step back."""

    def _forget_streams(self) -> None:
        """Nothing is known of the environments' past."""
        self.history.clear()
        self._state: State = self.policy.initial_state(self.n_envs)
        self._seen: tuple[Tensor, State] | None = None  # a frozen encoding of _last_obs, made for its value

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        before = self._last_obs
        result = super()._setup_learn(*args, **kwargs)
        if self._last_obs is not before:
            self._forget_streams()
        return result

    def set_random_seed(self, seed: int | None = None) -> None:
        """Start this agent's named random streams anew; global generators are never used."""
        self.streams = Streams(seed or 0, self.device)
        self.policy.generator = self.streams["evaluation"]

    # rollout ----------------------------------------------------------------------------------------------------------

    def collect_rollouts(self, env: VecEnv, callback: BaseCallback, rollout_buffer: Any, n_rollout_steps: int) -> bool:
        """T steps into History, then what they are worth; False where a callback asked to stop.

        Several ranks can only stop together, at the end of a rollout.
        """
        stop = False
        assert self._last_obs is not None, "learn() resets the environment first"
        callback.on_rollout_start()  # first: a callback may evaluate, or save what lies between two rollouts
        self.policy.set_training_mode(False)
        self.history.begin()
        self.bootstrap.zero_()
        for t in range(n_rollout_steps):
            actions, state = self._act(t)
            new_obs, rewards, dones, infos = env.step(actions.cpu().numpy())
            self.num_timesteps += self.total_envs
            callback.update_locals(locals())
            stop = not callback.on_step() or stop
            if stop and self.ranks.count == 1:
                return False
            with torch.no_grad():
                self._store(t, actions, rewards, dones, infos, state)
            self._state, self._seen = state, None
            self._last_obs, self._last_episode_starts = new_obs, dones  # type: ignore[assignment]
        with torch.no_grad():
            features, state, _ = self._look(n_rollout_steps, self._state)
            # Copied, as where a matrix begins in memory decides how its products round.
            self._seen = (features.clone(), tuple(carried.clone() for carried in state)) if self.frozen else None
            self._pay()
        callback.update_locals(locals())
        callback.on_rollout_end()
        return not self.ranks.any(stop)

    @torch.no_grad()
    def _act(self, t: int) -> tuple[Tensor, State]:
        """Actions in step t and the state after its observations; noise is drawn for all ranks' environments."""
        noise, state = self.policy.noise(self.total_envs, self.streams["policy"]), self._state
        contexts = self.policy.contexts(self.n_envs, self.streams["context"])
        if contexts is not None:  # for the episodes that begin
            first = torch.from_numpy(np.asarray(self._last_episode_starts, dtype=bool)).to(self.device)
            state = self.policy.renew(state, first, contexts)
        for kept, carried in zip(self.states, state, strict=False):
            kept[t].copy_(carried)
        if self.contexts is not None:
            self.contexts[t].copy_(state[-1])
        _, state, logits = self._look(t, state)
        log_pi = log_probabilities(logits)
        actions = self.policy.draw(log_pi, noise[self.first_env : self.first_env + self.n_envs])
        torch.gather(log_pi, 1, actions.unsqueeze(1), out=self.log_probs[t].unsqueeze(1))
        return actions, state

    def _look(self, t: int, state: State) -> tuple[Tensor, State, Tensor]:
        """Keep the newest observations as those of step t: features (N, D), the state after them, logits (N, A)."""
        first = torch.from_numpy(np.asarray(self._last_episode_starts, dtype=bool))
        obs = self.history.add_obs(self.policy.tensors(self._last_obs), first)  # type: ignore[arg-type]
        if self._seen is None:
            features, state, judged = self.policy.look(obs, state, first.to(self.device))
        else:  # the heads have learnt since
            features, after = self._seen
            # encoded before this episode's context was drawn
            state = (*after[:-1], state[-1]) if self.policy.context_dim else after
            judged = self.policy.all_heads(features, self.policy.context(state))
        if self.frozen:
            self.history.add_features(features)
        logits, self.values[t], bonus_values = judged
        if self.bonus_values is not None and bonus_values is not None:
            self.bonus_values[t] = bonus_values
        return features, state, logits

    def _store(
        self, t: int, actions: Tensor, rewards: np.ndarray, dones: np.ndarray, infos: list[dict[str, Any]], state: State
    ) -> None:
        """Complete step t; only finished environments are looked at one by one."""
        truncated = np.zeros(self.n_envs, dtype=bool)
        finals: dict[int, Obs] = {}
        finished = np.flatnonzero(dones)
        if len(finished):
            self._update_info_buffer([infos[i] for i in finished], dones[finished])
            truncated[finished] = [infos[i].get("TimeLimit.truncated", False) for i in finished]
            finals = self._finals(t, finished, truncated, infos, state)
        done = torch.from_numpy(dones)
        cut = torch.from_numpy(truncated)
        self.history.add_step(actions, torch.from_numpy(rewards), done & ~cut, cut, finals)

    def _finals(
        self, t: int, finished: np.ndarray, truncated: np.ndarray, infos: list[dict[str, Any]], state: State
    ) -> dict[int, Obs]:
        """True last frames by stream; on the way, gamma V(last frame) of truncated steps into ``bootstrap``."""
        known = [i for i in finished if infos[i].get("terminal_observation") is not None]
        bootstrapped = [i for i in known if truncated[i] and not self.config.timeout_is_terminal]
        wants = self.history.frames or bool(self.bonuses)
        true = [i for i in known if wants and not infos[i].get("terminal_observation_is_previous", False)]
        wanted = sorted({*bootstrapped, *true})
        if not wanted:
            return {}
        each = [self.policy.tensors(infos[i]["terminal_observation"]) for i in wanted]
        finals = {key: torch.stack([one[key] for one in each]).to(self.device) for key in each[0]}
        if bootstrapped or self.frozen:
            rows = torch.as_tensor(wanted, device=self.device)
            carried = tuple(part[rows] for part in state)
            features, _ = self.policy.encode(finals, carried, torch.zeros_like(rows, dtype=torch.bool))
            if self.frozen:
                finals[FEATURES] = features
            value = self.policy.heads(features, self.policy.context(carried))[1]
            for place, i in enumerate(wanted):
                if i in bootstrapped:
                    self.bootstrap[t, i] = self.gamma * value[place]
        return {i: {key: final[place] for key, final in finals.items()} for place, i in enumerate(wanted) if i in true}
