"""Distribution of an action space, chosen in one place.

    Discrete       ``Categorical``       ``agents.distributions``
    Box            ``Gaussian``          ``agents.joint_actions``
    MultiDiscrete  ``MultiCategorical``
    MultiBinary    ``Bernoulli``

All are stable-baselines3's own, to rounding. Another kind is a subclass of ``ActionDistribution`` and a line in
``make_distribution``; storage, acting, losses and evaluation follow it.
"""

from __future__ import annotations

from agents.distributions import ActionDistribution, Categorical
from agents.joint_actions import Bernoulli, Gaussian, MultiCategorical
from envs.action_codes import ActionCodes
from envs.spaces import Space


def make_distribution(action_space: Space) -> ActionDistribution:
    """The distribution for an action space.

    Raises:
        UsageError: no distribution is written for it, or a Box has no bounds.
    """
    codes = ActionCodes(action_space)
    if codes.is_box:
        return Gaussian(codes)
    if codes.is_binary:
        return Bernoulli(codes)
    return MultiCategorical(codes) if codes.shape else Categorical(codes.count, codes)
