"""Worlds: everything that emits frames, and what is common to all folders. Files in reading order:

* ``registry``       the one error for a user's mistake, and names resolved lazily
* ``steps``          Steps, the one batch that losses and bonuses read: time first, stream second
* ``streams``        random streams with names
* ``history``        the one storage: a ring of uint8 streams
* ``tasks``          what a suite is made of: worlds by name, a source and its targets; ``suites``: all of them
* ``draws``          randomness by counter: env i does not depend on how many there are
* ``batched``        what the worlds of our own share: levels, limits, last frames, exact state; any of them as one env
* ``dummy``          a counting world whose every pixel, reward and end can be worked out by hand
* ``procgen``        Procgen batched in C++; ``procgen_games`` its games and options as data, ``procgen_state`` its
                     state read and patched
* ``coinrun``        CoinRun with its themes split; ``coinrun_pairs``: one state under many looks
* ``breakout``       Breakout and two dozen variants; ``_variants`` its rules as data, ``_board`` the moves, ``_levels``
                     layouts and looks by level, ``_paint`` frames, ``_views`` masks and entities
* ``atari``          Breakout on the Atari 2600, its cartridge's modes as targets (extra ``atari``)
* ``minigrid``       mazes of rooms, keys and doors, stepped as arrays; ``_cells`` rules, ``_tiles`` pictures,
                     ``_planner`` a policy that knows the level
* ``noisy_tv``       minigrid's four rooms without reward, and a TV that shows noise
* ``rooms``          walk to the object of a named colour; ``rooms_rays`` what a camera sees, ``rooms_scene`` scenes and
                     cameras drawn from seeds
* ``sprites``        touch the target among distractors; ``sprites_scene`` the painter, ``sprites_multi`` scenes with
                     masks, ``dsprites`` one sprite over all its factors
* ``shifts``         any world with its images shifted: hue, noise, blur, ...; ``stack``: with k frames in the channels
* ``sb3``            any of these worlds as a stable-baselines3 ``VecEnv``
* ``sheet``          contact sheets; ``reference``: scores of simple policies, kept in ``references.csv``

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
        "procgen": "envs.procgen.env:ProcgenVectorEnv",
        "coinrun-themes": "envs.procgen.coinrun_themes:CoinRunThemesVectorEnv",
        "shifted": "envs.wrappers.visual_shifts:ShiftedEnv",
        "counting": "envs.counting:CountingVectorEnv",
        "breakout": "envs.breakout.env:BreakoutVectorEnv",
        "rooms": "envs.rooms.env:RoomsVectorEnv",
        "sprites": "envs.sprites.env:SpritesVectorEnv",
        "atari-breakout": "envs.atari:AtariBreakoutVectorEnv",
        "minigrid": "envs.minigrid.env:MiniGridVectorEnv",
        "noisy-tv": "envs.minigrid.noisy_tv:NoisyTVVectorEnv",
    },
)
