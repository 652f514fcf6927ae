"""Simple shapes with exact masks.

Files in reading order:

* ``renderer``       the painter, colours and held-out pairs
* ``env``            the vector env and the single env
* ``multi_sprites``  scenes of several sprites with masks, still and moving
* ``dsprites``       one sprite over all combinations of its factors
"""

from envs.registration import register_on_import

register_on_import()
