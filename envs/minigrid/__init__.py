"""MiniGrid stepped as arrays.

Files in reading order:

* ``levels``         level families and a ladder of tasks, as data
* ``rules``          cells as numbers, rules as tables over them, layouts drawn by minigrid itself
* ``renderer``       minigrid's frames by look-up
* ``env``            the vector env and the single env
* ``scripted``       a policy that knows the level
* ``factor_vector``  the map around the agent as numbers
* ``level_map``      every transition of a level, for maps over its cells
* ``noisy_tv``       four rooms without reward, and a TV that shows noise
"""

from envs.registration import register_on_import

register_on_import()
