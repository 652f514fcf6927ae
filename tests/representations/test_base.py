"""The contract: modes, keys, a third party's own representation."""

from __future__ import annotations

import pytest

from envs.registry import UsageError
from representations import REPRESENTATIONS
from representations.base import MODES, Representation, check_mode
from tests.representations.toys import image_spec


def test_modes():
    vae = REPRESENTATIONS.resolve("vae")
    assert [check_mode("vae", vae, mode) for mode in MODES] == list(MODES)
    assert check_mode("vae", vae, "auto") == "frozen"
    with pytest.raises(UsageError, match="no mode 'both'"):
        check_mode("vae", vae, "both")


def test_the_default_phase_takes_all_parameters():
    vae = REPRESENTATIONS.resolve("vae")(image_spec((3, 64, 64)))
    (phase,) = Representation.phases(vae)
    assert [id(p) for p in phase.parameters] == [id(p) for p in vae.parameters()]
    assert phase.learning_rate == 1e-4


def test_a_slow_copy_remembers_a_hundredth_of_its_phase():
    vae = REPRESENTATIONS.resolve("vae")(image_spec((3, 64, 64)))
    assert vae.momentum(0.99) == 0.99
    momenta = []
    for steps in (20_000, 10_000, 500, 50):
        vae.set_progress(0.0, steps)
        momenta.append(vae.momentum(0.99))
    # memories of 200, 100, 5 and 0.5 steps; 1 / (1 - 0.99) = 100 is kept where the first would be longer
    assert momenta == pytest.approx([0.99, 0.99, 0.8, 0.0])
    assert vae.momentum(1) == 1
    vae.set_progress(0.5)
    assert vae.momentum(0.99) == 0.99
