"""Draws by counter: a draw depends on nothing but its keys, so env i does not depend on how many envs there are.

    bits = counter_hash(seed, env, episode, step, tag)      uint64
    uniform(bits) in [0, 1),  below(bits, n) in 0..n-1

Every draw of an environment has its own tag; resuming needs no generator state, only the counters.
"""

from __future__ import annotations

import numpy as np

from envs.spaces import Array

_GAMMA, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31, _11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)


def mix(bits: Array, key: int | Array) -> Array:
    """Hash of ``bits`` (uint64) and one more key (splitmix64, Steele et al. 2014)."""
    value: Array = bits + np.asarray(key, np.int64).astype(np.uint64) + _GAMMA
    value = (value ^ (value >> _30)) * _FIRST
    value = (value ^ (value >> _27)) * _SECOND
    mixed: Array = value ^ (value >> _31)
    return mixed


def counter_hash(*keys: int | Array) -> Array:
    """Hash of all keys, uint64 of their broadcast shape, at least (1,)."""
    value: Array = np.zeros(np.broadcast_shapes(*(np.shape(key) for key in keys), (1,)), np.uint64)
    for key in keys:
        value = mix(value, key)
    return value


def uniform(bits: Array) -> Array:
    """Numbers in [0, 1), float64, from the upper 53 bits."""
    numbers: Array = (bits >> _11) * 2.0**-53
    return numbers


def below(bits: Array, n: int | Array) -> Array:
    """Integers in 0..n-1, int64; the bias of the remainder is below n / 2^64."""
    numbers: Array = (bits % np.asarray(n, np.uint64)).astype(np.int64)
    return numbers
