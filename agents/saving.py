"""State of an agent as components of a checkpoint: saved at any moment, restored to go on, or for its weights alone.

Within a rollout a checkpoint holds the rollout as far as it has come. An agent restored from it takes the next step and
goes on bit for bit.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents import checkpoint
from agents.env_state import EnvState
from agents.rewards import Targets
from envs.registry import UsageError

if TYPE_CHECKING:
    from agents.on_policy import OnPolicyAlgorithm

OPTIONAL = ("reward_scale", "visits", "bonus/", "bonus_scale/")
"""Components that only some agents have, or the beginning of their names."""


def components(agent: OnPolicyAlgorithm) -> dict[str, Any]:
    """Everything with state, by name, for ``agents.checkpoint``; the policy brings its optimizer along."""
    per_rank = functools.partial(checkpoint.PerRank, ranks=agent.ranks)
    parts: dict[str, Any] = {
        "policy": agent.policy,
        "streams": per_rank(agent.streams),
        "history": per_rank(agent.history),
        "position": per_rank(Position(agent)),
        **agent.reward_pipeline.components(),
    }
    if agent.env is not None and (env_state := EnvState(agent.env)).saves:
        parts["env"] = per_rank(env_state)
    return parts


def checkpoint_folder(path: Path) -> Path:
    """Folder of checkpoints that ``path`` names: itself, a run's folder, or a path whose .zip was left out."""
    candidates = (path / "checkpoint" / "train", path, path.with_name(f"{path.name}.zip"))
    for folder in candidates:
        if any(folder.glob("[0-9]*.json")):
            return folder
    if path.is_file():
        raise UsageError(f"{path} is a file; a checkpoint here is a folder, as save(path) writes it")
    raise UsageError(f"no checkpoint in {path}; name a folder that save(path) wrote, or a run's DIR/runs/<id>")


def read(path: Path) -> dict[str, Any]:
    """State by component of the newest whole checkpoint that ``path`` names."""
    newest = checkpoint.read(checkpoint_folder(path))
    assert newest is not None, "the folder holds one"
    return newest[1]


def restore(agent: OnPolicyAlgorithm, path: Path) -> None:
    """Go on from a checkpoint, and say so where that is not exact.

    Raises:
        UsageError: it is of another agent; this one is then unfit for use.
    """
    state, parts = read(path), components(agent)
    check_envs(agent, state, path)
    if agent.env is not None and (inexact := EnvState(agent.env).inexact):
        print(f"{inexact} cannot save its state: new episodes begin, and what follows is not exact")
    others = [name for name in state if name not in parts and name.startswith(OPTIONAL)]
    if differing := sorted([*(set(parts) - set(state)), *others]):
        raise UsageError(
            f"checkpoint {path} holds other components than this agent has: {', '.join(differing)}; build the agent as "
            "the saved one was, or take its policy alone: restore(path, weights_only=True)"
        )
    for name, component in parts.items():
        restore_component(component, state[name], f"{name} of {path}")


def restore_weights(agent: OnPolicyAlgorithm, path: Path) -> None:
    """Take the policy's weights of a checkpoint, whatever the number of environments it was trained with."""
    weights = read(path)["policy"]["module"]
    try:
        agent.policy.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(
            f"policy of {path} is another network ({one_line(error)}); build the agent as it was"
        ) from None


def restore_component(component: Any, state: Any, name: str) -> None:
    """``checkpoint.restore``; UsageError where the state is of another object."""
    try:
        checkpoint.restore(component, state)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{name} does not fit this agent ({one_line(error)}); build it as the saved one was") from None


def check_envs(agent: OnPolicyAlgorithm, state: Mapping[str, Any], path: Path) -> None:
    """UsageError where a checkpoint is of another number of environments."""
    position = state["position"]
    saved = sum(len(one["runner"]["episode_start"]) for one in position.get("ranks", [position]))
    if saved != agent.total_envs:
        raise UsageError(
            f"checkpoint {path} was saved with {saved} environments, and this agent has {agent.total_envs}: build it "
            f"with {saved} to train on, or take its policy alone: restore(path, weights_only=True), or load_agent(path)"
        )


def one_line(error: Exception) -> str:
    """The beginning of an error's text, in one line."""
    return " ".join(str(error).split())[:200]


class Position:
    """Position of training, as a component: counts, the newest observations, the runner's state, recent episodes.

    Within a rollout also what has been collected, and its targets once they are computed.
    """

    COUNTS = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining")

    def __init__(self, agent: OnPolicyAlgorithm):
        self.agent = agent

    def state_dict(self) -> dict[str, Any]:
        agent = self.agent
        obs = agent._last_obs
        state = {
            **{name: getattr(agent, name) for name in self.COUNTS},
            "first_reward": agent.reward_pipeline.first_reward,
            "last_obs": {key: value.copy() for key, value in obs.items()} if isinstance(obs, Mapping) else obs,
            "runner": agent.collector.runner.state_dict(),
            "episodes": [{key: float(value) for key, value in e.items()} for e in agent.ep_info_buffer or ()],
            "successes": [float(success) for success in agent.ep_success_buffer or ()],
        }
        if agent.collector.is_open:
            state["rollout"] = agent.collector.state_dict()
            if agent.steps is not None and agent.targets is not None:
                state["targets"] = dict(vars(agent.targets))
                state["metrics"] = dict(agent.reward_pipeline.metrics)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        agent = self.agent
        for name in self.COUNTS:
            setattr(agent, name, state[name])
        agent.reward_pipeline.first_reward = state["first_reward"]
        agent.collector.runner.load_state_dict(state["runner"])
        agent._last_obs = state["last_obs"] if agent.exact_env else None  # None: learn() resets the environment
        agent._last_episode_starts = agent.collector.runner.episode_start.cpu().numpy()
        agent.policy.generator = agent.streams["evaluation"]  # the streams, loaded before, are new objects
        window = agent._stats_window_size
        agent.ep_info_buffer = deque(state["episodes"], maxlen=window)
        agent.ep_success_buffer = deque(state["successes"], maxlen=window)
        agent.collector.load_state_dict(state.get("rollout", {}))
        agent.steps = agent.targets = None
        if "targets" in state:
            tensors: dict[str, Any] = {
                name: None if value is None else value.to(agent.device) for name, value in state["targets"].items()
            }
            agent.steps, agent.targets = agent.collector.rollout(), Targets(**tensors)
            agent.reward_pipeline.metrics = dict(state["metrics"])
