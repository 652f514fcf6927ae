"""The contract: modes, keys, a third party's own representation."""

from __future__ import annotations

import pytest
import torch

from envs.registry import UsageError
from representations import REPRESENTATIONS
from representations.base import MODES, Representation, check_mode, feature_std, warn_if_collapsed
from tests.representations.toys import image_spec


def test_modes():
    vae = REPRESENTATIONS.resolve("vae")
    assert [check_mode("vae", vae, mode) for mode in MODES] == list(MODES)
    assert check_mode("vae", vae, "auto") == "frozen"
    with pytest.raises(UsageError, match="no mode 'both'"):
        check_mode("vae", vae, "both")


def test_feature_std_by_hand():
    # column 1: 1, 1, 1 -> 0; column 2: 0, 3, 6 -> sqrt(6); mean sqrt(6) / 2
    features = torch.tensor([[1.0, 0], [1, 3], [1, 6]], requires_grad=True)
    value = feature_std(features)
    assert float(value) == pytest.approx(6**0.5 / 2)
    assert not value.requires_grad
    assert float(feature_std(features[:1])) == 0


def test_the_default_phase_takes_all_parameters():
    vae = REPRESENTATIONS.resolve("vae")(image_spec((3, 64, 64)))
    (phase,) = Representation.phases(vae)
    assert [id(p) for p in phase.parameters] == [id(p) for p in vae.parameters()]
    assert phase.learning_rate == 1e-4


def test_a_collapse_is_a_small_spread_relative_to_the_size():
    assert not warn_if_collapsed("mine", 0.001, 1.0, "now")  # saturated, but told apart
    assert not warn_if_collapsed("mine", 1e-7, 1e-4, "now")  # small, but told apart
    with pytest.warns(RuntimeWarning, match="mine: features have collapsed now: .* is 5e-05, their size 1;"):
        assert warn_if_collapsed("mine", 5e-5, 1.0, "now")
    with pytest.warns(RuntimeWarning, match="is 0, their size 0"):
        assert warn_if_collapsed("mine", 0.0, 0.0, "now")
