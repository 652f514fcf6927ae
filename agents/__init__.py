"""Learning agents: stable-baselines3 algorithms whose rollout and update have room for representations and bonuses.

In reading order, one batch from acting to the optimizer's step:

* ``config``      settings that the algorithms share, and the environment as bonuses see it
* ``distributions`` what a policy's outputs mean: log-probabilities, entropy, draws; Discrete actions
* ``joint_actions`` the same for actions of several numbers: Box, MultiDiscrete, MultiBinary
* ``actions``     the distribution of an action space
* ``memory``      a GRU between features and heads
* ``policy``      a representation with heads on top, and memory between them
* ``runner``      all acting: forward passes, carried state, draws
* ``rollout``     T steps of all environments, collected and stored
* ``rewards``     bonuses, advantages and returns of a finished rollout
* ``minibatches`` which samples of a rollout an optimizer step takes
* ``losses``      the RL loss and the auxiliary loss of a minibatch, in micro-batches
* ``gradients``   micro-batches to one clipped gradient and the optimizer's step
* ``finite``      training stopped, and the place named, where a number is not finite
* ``metrics``     weighted means over micro-batches and processes, warnings about features
* ``on_policy``   the algorithm that is composed of these
* ``env_state``   state of an environment and of all wrappers around it, or the layer that cannot save it
* ``ppo``         losses and optimizer of PPO
* ``a2c``         losses and optimizer of A2C
* ``checkpoint``  saving without pickle
* ``saving``      state of an agent: its components, saved at any moment and restored
* ``description`` how a policy was built, in what ``save`` writes, so that it can be built for use
* ``parallel``    several processes that train one agent
* ``runs``        a whole run: building, training, evaluating, writing

``ALGORITHMS`` maps names to classes; third parties add to it through the entry-point group
``rl_transfer.algorithms``.
"""

from envs.registry import Registry

ALGORITHMS = Registry(
    "algorithm",
    "rl_transfer.algorithms",
    {"ppo": "agents.ppo:PPO", "a2c": "agents.a2c:A2C"},
    attribute="Config",
)
