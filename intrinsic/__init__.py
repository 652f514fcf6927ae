"""Intrinsic-motivation bonuses: each turns Steps into a reward of its own, added before advantages are estimated.

Read in this order: ``base`` (the contract), ``scale`` (the running scale every bonus is divided by), then one file a
bonus. ``BONUSES`` maps names to classes; third parties add to it through the entry-point group ``rl_transfer.bonuses``.
"""

from envs.registry import Registry

BONUSES = Registry("bonus", "rl_transfer.bonuses", {})
