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


class Lockstep:
    """Variants of an environment that are stepped with the actions taken in it, so that each shows its very states.

    The policy acts under the same context in each, whatever it carries.

    Args:
        run: the environment that the actions are taken in; it has begun nothing yet.
        variants: what makes each variant, by name.
    """

    def __init__(self, run: EvaluationEnv, variants: Mapping[str, MakeEnv]):
        self.distribution, self.effects = run.policy.distribution, action_effects(run.env, run.policy)
        self.envs: dict[str, EvaluationEnv] = {}
        with ExitStack() as stack:  # closes those that were made where another cannot be
            for name, make in variants.items():
                self.envs[name] = EvaluationEnv(run.policy, make(run.env.num_envs))
                stack.callback(self.envs[name].close)
            stack.pop_all()

    def begin(self, rows: Array, levels: Array, repeats: Array) -> None:
        """Begin visits (K,) in the envs ``rows`` (K,) of every variant."""
        for env in self.envs.values():
            env.begin(rows, levels, repeats)

    def compare(self, parameters: torch.Tensor, active: Array) -> dict[str, tuple[Array, Array]]:
        """Variant -> whether the likeliest effect is the same (A,), and the total variation (A,); once per step.

        Args:
            parameters: (A, P) of the distributions that actions were drawn from in the environments ``active`` (A,).
        """
        merged, comparisons = self.distribution.merged(parameters, self.effects), {}
        for name, env in self.envs.items():
            other = self.distribution.merged(env.action_parameters(active), self.effects)
            same = self.distribution.same_mode(merged, other).cpu().numpy()
            comparisons[name] = same, self.distribution.total_variation(other, merged).cpu().numpy()
        return comparisons

    def step(self, actions: Array, active: Array, outcome: tuple[Array, Array]) -> None:
        """Step every variant with the actions (N, ...) that had ``outcome``, rewards and ends (N,).

        Raises:
            UsageError: a variant whose rewards or ends differ in ``active``: it changes more than pixels.
        """
        for name, env in self.envs.items():
            theirs = env.step(actions)
            if not all(np.array_equal(own[active], other[active]) for own, other in zip(outcome, theirs, strict=True)):
                raise UsageError(f"'{name}' rewards or ends otherwise than the source: it is no visual variant")

    def close(self) -> None:
        for env in self.envs.values():
            env.close()


@torch.no_grad()
def compare_actions(
    policy: Policy, source: MakeEnv, variants: Mapping[str, MakeEnv], visits: Visits, steps: int
) -> dict[str, Agreement]:
    """Act in ``source`` with sampled actions from every visit, and show the states in every variant.

    Raises:
        UsageError: a variant whose rewards or ends differ: it changes more than pixels.
    """
    count = len(visits)
    everyone = np.arange(count)
    same, distance = ({name: np.zeros(count) for name in variants} for _ in range(2))
    with closing(EvaluationEnv(policy, source(count))) as run, closing(Lockstep(run, variants)) as lockstep:
        run.begin(everyone, visits.levels, visits.repeats)
        lockstep.begin(everyone, visits.levels, visits.repeats)
        for _ in range(steps):
            compared = lockstep.compare(run.act(everyone).parameters, everyone)
            for name, (same_effect, total_variation) in compared.items():
                same[name] += same_effect
                distance[name] += total_variation
            lockstep.step(run.actions, everyone, run.step(run.actions))
    return {name: Agreement(visits.levels, same[name] / steps, distance[name] / steps, steps) for name in variants}


def action_effects(env: gym.vector.VectorEnv, policy: Policy) -> torch.Tensor | None:
    """Number of the effect of each Discrete action (A,): what the environment says, or one of its own for each.

    None for actions of several numbers.
    """
    if policy.distribution.shape:
        return None
    effects = getattr(env, "action_effects", None)
    return torch.arange(policy.distribution.noise_size) if effects is None else torch.as_tensor(effects)
