"""Worlds: everything that emits frames, and what is common to all folders. Files in reading order:

* ``registry``       the one error for a user's mistake, and names resolved lazily
* ``steps``          Steps, the one batch that losses and bonuses read: time first, stream second
* ``streams``        random streams with names
* ``history``        the one storage: a ring of uint8 streams
* ``draws``          randomness by counter: env i does not depend on how many there are
* ``batched``        what the worlds of our own share: levels, limits, last frames, exact state; any of them as one env
* ``suites``         named source -> targets: which world is trained on, which it is tested on
* ``procgen_games``  Procgen's 16 games and options as data, checked before C++ sees them
* ``procgen``        Procgen as a Gymnasium vector environment, and single environments by id
* ``minigrid``       mazes of rooms, keys and doors, stepped as arrays; with ``_cells`` rules, ``_tiles`` pictures,
  ``_planner`` a policy that knows the level
* ``procgen_state``  Procgen's state read and patched: options, themes, the ground truth behind a frame
* ``coinrun``        CoinRun with its themes split in training and held-out ones
* ``coinrun_pairs``  one state under many looks
* ``shifts``         any world with its images shifted: hue, noise, blur, ...
* ``dummy``          a counting world whose every pixel, reward and end can be worked out by hand
* ``breakout``       Breakout and two dozen variants of rules, looks and layouts; its sizes and rules are data
* ``atari``          Breakout on the Atari 2600, its cartridge's modes as targets (extra ``atari``)
* ``rooms_rays``     rooms as seen from a pose; ``rooms_scene``: rooms, objects and cameras drawn from seeds
* ``rooms``          walk to the object of the named colour, under a fixed or a moving camera
* ``sprites_scene``  a painter of simple shapes with exact masks; ``sprites_multi``: scenes of several of them;
                     ``dsprites``: one of them, every combination of its factors
* ``sprites``        go to the target sprite among distractors
* ``sb3``            any of these worlds as a stable-baselines3 ``VecEnv``

A world is a Gymnasium ``VectorEnv`` with ``AutoresetMode.SAME_STEP``. Its arrays are fresh at every step. Images are
uint8 (H, W, C). An ended row of ``final_obs`` holds the true last frame; a world that cannot show it gives the frame
before and sets ``final_obs_is_previous``. ``state()`` is a dict of arrays that ``set_state`` takes back in another
object; where that is not possible, ``exact_state`` is False.
"""

import contextlib

from envs.registry import Registry

# procgen and stable-baselines3 import the old gym, which would print its farewell at every start of a program
with contextlib.suppress(ImportError):
    from gym_notices import notices

    notices.notices.clear()

WORLDS = Registry(
    "world",
    "rl_transfer.worlds",
    {
        "procgen": "envs.procgen:ProcgenVectorEnv",
        "coinrun-themes": "envs.coinrun:CoinRunThemesVectorEnv",
        "shifted": "envs.shifts:ShiftedWorld",
        "counting": "envs.dummy:CountingVectorEnv",
        "breakout": "envs.breakout:BreakoutVectorEnv",
        "rooms": "envs.rooms:RoomsVectorEnv",
        "sprites": "envs.sprites:SpritesVectorEnv",
        "atari-breakout": "envs.atari:AtariBreakoutVectorEnv",
        "minigrid": "envs.minigrid:MiniGridVectorEnv",
    },
)
