"""Agreement of a policy's actions between the source and a visual variant, on the same states.

Several keys can have the same effect: in CoinRun the six letter keys are no key at all. So probabilities are summed
over actions of equal effect first (``action_effects`` of the environment); else the likeliest key jumps among equals.

Actions of several numbers agree where all of them do; those of a Box by a standard deviation of the policy
(``agents.joint_actions``).

    agreement       = mean over states of [argmax_e pi(e) = argmax_e pi'(e)]
    total variation = mean over states of 1/2 sum_e |pi(e) - pi'(e)|
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch

from agents.policy import Policy
from agents.runs.evaluate import EvaluationEnv, MakeEnv, Visits
from envs.registry import UsageError
from envs.spaces import Array


@dataclass(frozen=True)
class Agreement:
    """Agreement level by level, each array (L,)."""

    levels: Array
    effect: Array
    """Fraction of a level's states in which the likeliest effect is the same."""
    total_variation: Array
    """0 for equal distributions, 1 for disjoint ones; mean over the level's states."""
    states: int
    """States compared on each level."""


@torch.no_grad()
def compare_actions(
    policy: Policy, source: MakeEnv, variants: Mapping[str, MakeEnv], visits: Visits, steps: int
) -> dict[str, Agreement]:
    """Act in ``source`` with sampled actions from every visit, and show the states in every variant.

    Every variant is stepped with the same actions, so each step shows the same state under each of them, under the same
    context, whatever the policy carries.

    Raises:
        UsageError: a variant whose rewards or ends differ: it changes more than pixels.
    """
    count = len(visits)
    everyone = np.arange(count)
    same, distance = ({name: np.zeros(count) for name in variants} for _ in range(2))
    with ExitStack() as stack:
        run, *others = (
            stack.enter_context(closing(EvaluationEnv(policy, make(count)))) for make in (source, *variants.values())
        )
        for env in (run, *others):
            env.begin(everyone, visits.levels, visits.repeats)
        distribution, effects = policy.distribution, action_effects(run.env, policy)
        for _ in range(steps):
            parameters = distribution.merged(run.act(everyone).parameters, effects)
            outcome = run.step(run.actions)
            for name, other in zip(variants, others, strict=True):
                variant_parameters = distribution.merged(other.action_parameters(everyone), effects)
                same_mode = distribution.same_mode(parameters, variant_parameters)
                same[name] += same_mode.float().cpu().numpy()
                distance[name] += distribution.total_variation(variant_parameters, parameters).cpu().numpy()
                if not all(map(np.array_equal, outcome, other.step(run.actions))):
                    raise UsageError(f"'{name}' rewards or ends otherwise than the source: it is no visual variant")
    return {name: Agreement(visits.levels, same[name] / steps, distance[name] / steps, steps) for name in variants}


def action_effects(env: gym.vector.VectorEnv, policy: Policy) -> torch.Tensor | None:
    """Number of the effect of each Discrete action (A,): what the environment says, or one of its own for each.

    None for actions of several numbers.
    """
    if policy.distribution.shape:
        return None
    effects = getattr(env, "action_effects", None)
    return torch.arange(policy.distribution.noise_size) if effects is None else torch.as_tensor(effects)
