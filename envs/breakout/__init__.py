"""Breakout and two dozen variants of its rules, colours and layouts.

Files in reading order:

* ``variants``      sizes, rules and named variants as data
* ``levels``        brick layouts and colours that a level decides
* ``dynamics``      the state as arrays and its exact moves
* ``renderer``      frames, repaired where something moved
* ``ground_truth``  entity vectors, instance masks, a policy that sees all
* ``env``           the vector env and the single env
"""

from envs.registration import register_on_import

register_on_import()
