"""Learning agents: stable-baselines3 algorithms whose rollout and update have room for representations and bonuses.

Read in this order: ``policy`` (a representation with heads on top), ``config`` (settings), ``rollout`` (acting),
``paying`` (bonuses, advantages), ``on_policy`` (the update PPO and A2C share), ``ppo`` and ``a2c`` (one update rule
each); then ``lanes`` (parts of a batch side by side), ``ranks``
(several processes that train one agent), ``checkpoint`` (saving without pickle), ``evaluate`` (first episodes of each
environment), ``coverage`` (how much of a world was seen), ``run_dir`` (one run's directory), ``progress``, ``build``
(what a run is made of) and ``train`` (its stages, from pre-training to pictures). ``ALGORITHMS`` maps names to classes;
third parties add to it through the entry-point group ``rl_transfer.algorithms``.
"""

from envs.registry import Registry

ALGORITHMS = Registry("algorithm", "rl_transfer.algorithms", {"ppo": "agents.ppo:PPO", "a2c": "agents.a2c:A2C"})
