"""Procgen batched in C++.

Files in reading order:

* ``games``           games and options as data, checked before the C++ sees them
* ``state``           one env's state read and patched as bytes
* ``single_levels``   an object a level, where no state can be written
* ``engine``          the C++ object of N envs, and beginnings that it does not offer itself
* ``env``             the vector env and the single env
* ``factor_vector``   CoinRun's factors as a vector
* ``coinrun_themes``  CoinRun with half of its themes held out
* ``coinrun_coin``    CoinRun with its coin moved
"""

from envs.registration import register_on_import

register_on_import()
