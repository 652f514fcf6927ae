"""An agent's parts as plain data in its checkpoints, and a policy for use built from them.

Training needs the same agent again: its environments, bonuses, buffers. Use needs the policy alone, for any number of
environments. So ``save`` writes down how the policy was built: spaces, representation with its wrappers, heads, and the
environment where it is one of this toolkit's. Classes are named by registry name or as "package.module:Class".
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch

from agents.config import find_context_source
from agents.policy import Policy
from agents.saving import one_line
from envs.registry import Registry, UsageError
from envs.spaces import Array, EnvSpec, Space, keyed_space
from envs.tasks import World
from envs.wrappers.sb3 import Sb3VecEnv
from intrinsic import BONUSES
from intrinsic.base import IntrinsicBonus
from representations import REPRESENTATIONS
from representations.base import Representation
from representations.standardise import Standardised
from representations.wrappers import AppendVectors, FeatureStack, RepresentationWrapper

if TYPE_CHECKING:
    from agents.on_policy import OnPolicyAlgorithm

Plain = dict[str, Any]


class Description:
    """Component of a checkpoint that is only written: how to build the agent's policy."""

    def __init__(self, agent: OnPolicyAlgorithm):
        self.agent = agent

    def state_dict(self) -> Plain:
        agent, policy = self.agent, self.agent.policy
        context = find_context_source(list(agent.bonuses.values()))
        source = None if context is None else {**_built(BONUSES, context), "spec": _spec(context.spec)}
        return {
            "algorithm": f"{type(agent).__module__}:{type(agent).__qualname__}",
            "observation_space": describe_space(policy.observation_space),
            "action_space": describe_space(policy.action_space),
            "representation": _layers(policy.representation),
            "spec": _spec(policy.representation.spec),
            "mode": policy.mode,
            "precision": policy.precision,
            "bonus_head": policy.bonus_net is not None,
            "context": source,
            "memory": agent.config.memory_units,
            "world": _world(agent.env),
        }


def build_policy(state: Mapping[str, Any], path: Path, representation: Representation | None = None) -> Policy:
    """The policy of a checkpoint that ``save`` wrote, in eval mode.

    Args:
        state: the checkpoint, by component.
        representation: in place of the one described, for a class that cannot be built from its settings.

    Raises:
        UsageError: the checkpoint does not say how its policy was built, or its classes are not here as they were.
    """
    if "agent" not in state:
        raise UsageError(f"{path} does not say how its policy was built; build the agent as before and restore it")
    described = state["agent"]
    try:
        with torch.random.fork_rng(devices=[]):
            spec = read_spec(described["spec"])
            policy = Policy(
                read_space(described["observation_space"]),
                read_space(described["action_space"]),
                representation or _build_layers(described["representation"], spec),
                described["mode"],
                described["precision"],
                described["bonus_head"],
                _build_context(described["context"]),
                described["memory"],
            )
        weights = state["policy"]["module"]
        if any(value.dtype != weights[name].dtype for name, value in policy.state_dict().items() if name in weights):
            raise TypeError("it would compute in another type of numbers")
        policy.load_state_dict(weights)
    except (RuntimeError, TypeError, KeyError, AttributeError, ImportError, ValueError) as error:
        raise UsageError(
            f"the policy of {path} cannot be built from what was saved ({one_line(error)}); give its representation: "
            "load_agent(path, representation=...)"
        ) from None
    policy.set_training_mode(False)
    return policy


def world_of(state: Mapping[str, Any]) -> World | None:
    """The environment that an agent was trained in; None for one that this toolkit did not make."""
    world = state.get("agent", {}).get("world")
    return None if world is None else World(**world)


# spaces ---------------------------------------------------------------------------------------------------------------


def describe_space(space: Space | None) -> Plain | None:
    """A space as plain data and arrays; None for a kind that policies do not know."""
    if isinstance(space, gym.spaces.Dict):
        return {"kind": "Dict", "spaces": {key: describe_space(inner) for key, inner in space.spaces.items()}}
    if isinstance(space, gym.spaces.Box):
        bounds = {name: _bound(getattr(space, name)) for name in ("low", "high")}
        return {"kind": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
    if isinstance(space, gym.spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, gym.spaces.MultiDiscrete):
        return {"kind": "MultiDiscrete", "nvec": space.nvec, "start": space.start}
    if isinstance(space, gym.spaces.MultiBinary):
        return {"kind": "MultiBinary", "n": space.n}
    return None


def read_space(plain: Plain) -> Space:
    """Inverse of ``describe_space``."""
    kind, values = plain["kind"], {name: value for name, value in plain.items() if name != "kind"}
    if kind == "Dict":
        return gym.spaces.Dict({key: read_space(inner) for key, inner in values["spaces"].items()})
    if kind == "Box":
        shape, dtype = tuple(values["shape"]), np.dtype(values["dtype"])
        low, high = (np.resize(values[name], shape).astype(dtype) for name in ("low", "high"))
        return gym.spaces.Box(low, high, dtype=dtype.type)
    if kind == "MultiDiscrete":
        return gym.spaces.MultiDiscrete(values["nvec"], start=values["start"])
    kinds: dict[str, type[Space]] = {"Discrete": gym.spaces.Discrete, "MultiBinary": gym.spaces.MultiBinary}
    return kinds[kind](**values)


def _bound(values: Array) -> Array:
    """One number where all are alike."""
    same = values.size > 0 and bool((values == values.flat[0]).all())
    return values.reshape(-1)[:1].copy() if same else values


def _spec(spec: EnvSpec) -> Plain:
    spaces = {"space": describe_space(spec.space), "action_space": describe_space(spec.action_space)}
    return {**spaces, "discount": spec.discount, "frames": spec.frames}


def read_spec(plain: Plain) -> EnvSpec:
    """The facts that a representation or a bonus was built for."""
    acts = plain["action_space"]
    space = keyed_space(read_space(plain["space"]))
    return EnvSpec(space, None if acts is None else read_space(acts), plain["discount"], plain["frames"])


# classes --------------------------------------------------------------------------------------------------------------


def _built(registry: Registry, component: Any) -> Plain:
    """Class and settings of a representation or a bonus; settings None where they are no plain data."""
    cls = type(component)
    place = f"{cls.__module__}:{cls.__qualname__}"
    name = next((name for name, known in registry.places.items() if known == place), place)
    config = component.config
    settings = dataclasses.asdict(config) if dataclasses.is_dataclass(config) and not isinstance(config, type) else None
    return {"class": name, "settings": settings if _is_plain(settings) else None}


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _layers(representation: Representation) -> list[Plain]:
    """The wrappers of a representation, outermost first, and then the method."""
    layers: list[Plain] = []
    while isinstance(representation, RepresentationWrapper):
        if isinstance(representation, FeatureStack):
            options: Plain = {"frames": representation.frames, "stacked": representation.stacked}
        else:
            options = {"vectors": representation.vectors} if isinstance(representation, AppendVectors) else {}
        layers.append({"wrapper": type(representation).__name__, "options": options})
        representation = representation.inner
    return [*layers, _built(REPRESENTATIONS, representation)]


def _build_layers(layers: list[Plain], spec: EnvSpec) -> Representation:
    wrappers = {cls.__name__: cls for cls in (FeatureStack, AppendVectors, Standardised)}
    *outer, method = layers
    representation: Representation = _build(REPRESENTATIONS, method, spec, Representation)
    for layer in reversed(outer):
        representation = wrappers[layer["wrapper"]](representation, **layer["options"])
    return representation


def _build_context(plain: Plain | None) -> IntrinsicBonus | None:
    if plain is None:
        return None
    bonus: IntrinsicBonus = _build(BONUSES, plain, read_spec(plain["spec"]), IntrinsicBonus)
    return bonus


def _build(registry: Registry, plain: Plain, spec: EnvSpec, base: type) -> Any:
    cls: Any = registry.resolve(plain["class"])
    fits = isinstance(cls, type) and issubclass(cls, base)
    if not fits:
        raise TypeError(f"{plain['class']} is no {base.__name__}")
    if plain["settings"] is None:
        raise TypeError(f"the settings of {plain['class']} are no plain data")
    return cls(spec, cls.Config(**plain["settings"]))


def _world(env: Any) -> Plain | None:
    """The environment by name and options, where ``World.make`` made it and nothing was wrapped around."""
    world = vars(env.vector_env).get("made_by") if isinstance(env, Sb3VecEnv) else None
    plain = None if world is None else {field.name: getattr(world, field.name) for field in dataclasses.fields(world)}
    return plain if _is_plain(plain) else None
