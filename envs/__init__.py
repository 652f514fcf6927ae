"""Environments: everything that emits frames, and what all folders share.

Files in reading order:

* ``registry``          the one error for a user's mistake, and names resolved lazily
* ``finite``            numbers that must be finite, and the error for one that is not
* ``steps``             Steps, the one batch that losses and bonuses read: time first, stream second
* ``history``           the one storage: a ring of uint8 streams
* ``packing``           images compressed for checkpoints
* ``spaces``            keys of observations, images and their memory order, facts a method is built for
* ``rng_streams``       random streams with names
* ``counter_rng``       draws by counter: env i does not depend on how many there are
* ``action_codes``      actions of any space: as stored, as environments take them, as numbers for a network
* ``level_sets``        which levels train, choose and test
* ``named_levels``      a reset that says on which level each env begins
* ``tasks``             environments by name and options, tasks (a source and its targets), suites; data only
* ``suites``            every suite, a registry; one file a family
* ``vector_env``        common parts of the environments of our own: levels, limits, final frames, exact state
* ``level_map``         transitions over the cells of a level, for quantities drawn cell by cell
* ``registration``      their Gymnasium ids
* ``counting``          an environment whose every pixel, reward and end can be worked out by hand
* ``toys``              four toys of known factors, on which every representation is tried
* ``procgen``           Procgen batched in C++, its state read and patched; CoinRun, its themes split, its coin moved
* ``breakout``          Breakout and two dozen variants
* ``atari``             Breakout on the Atari 2600, its cartridge's modes as targets (extra ``atari``)
* ``dmc``               DeepMind Control from pixels, colours and backgrounds changed (extra ``dmc``)
* ``minigrid``          mazes of rooms, keys and doors, stepped as arrays; and four rooms with a noisy TV
* ``rooms``             walk to the object of a named colour, seen by a camera with a pose
* ``sprites``           touch the target among distractors; scenes with masks; dSprites
* ``wrappers``          stable-baselines3's interface, stacked frames, shifted images, any Gymnasium env
* ``contact_sheet``     pictures of what environments show
* ``reference_scores``  scores of simple policies, kept in ``reference_scores.csv``
* ``__main__``          listings, contact sheets and reference scores on the command line

An environment is a Gymnasium ``VectorEnv`` with ``AutoresetMode.SAME_STEP``. Its arrays are fresh at every step. Images
are uint8 (H, W, C). An ended row of ``final_obs`` holds the true final frame; an environment that cannot show it gives
the frame before and sets ``final_obs_is_previous``. ``state()`` is a dict of arrays that ``set_state`` takes back in
another object; where that is not possible, ``exact_state`` is False.
"""

import contextlib

from envs.registry import Registry

# procgen and stable-baselines3 import the old gym, which would print its farewell at every start of a program
with contextlib.suppress(ImportError):
    from gym_notices import notices

    notices.notices.clear()

ENVIRONMENTS = Registry(
    "environment",
    "rl_transfer.environments",
    {
        "procgen": "envs.procgen.env:ProcgenVectorEnv",
        "coinrun-themes": "envs.procgen.coinrun_themes:CoinRunThemesVectorEnv",
        "coinrun-coin": "envs.procgen.coinrun_coin:CoinRunCoinVectorEnv",
        "shifted": "envs.wrappers.visual_shifts:ShiftedEnv",
        "counting": "envs.counting:CountingVectorEnv",
        "toys": "envs.toys:ToyVectorEnv",
        "breakout": "envs.breakout.env:BreakoutVectorEnv",
        "rooms": "envs.rooms.env:RoomsVectorEnv",
        "sprites": "envs.sprites.env:SpritesVectorEnv",
        "atari-breakout": "envs.atari:AtariBreakoutVectorEnv",
        "dmc": "envs.dmc:DmcVectorEnv",
        "minigrid": "envs.minigrid.env:MiniGridVectorEnv",
        "noisy-tv": "envs.minigrid.noisy_tv:NoisyTVVectorEnv",
        "gymnasium": "envs.wrappers.gymnasium:GymnasiumVectorEnv",
    },
    old_group="rl_transfer.worlds",
)
