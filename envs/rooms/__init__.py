"""Rooms with objects, seen by cameras with known poses.

Files in reading order:

* ``raycast``  views of a room by ray casting
* ``scenes``   rooms and cameras drawn from seeds
* ``env``      the vector env and the single env
"""

from envs.registration import register_on_import

register_on_import()
