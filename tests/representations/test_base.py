"""The contract: modes, keys, a third party's own representation."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Steps
from representations import REPRESENTATIONS
from representations.base import MODES, Phase, check_mode, feature_std, warn_if_collapsed
from representations.pretrain import Pretrainer
from tests.readme import own_representation
from tests.representations.toys import image_spec, moving_square


def test_the_example_of_readme_is_short_and_learns(tmp_path, monkeypatch, generator):
    source = own_representation()
    assert len(source.splitlines()) <= 25
    package = tmp_path / "mypkg"
    package.mkdir()
    (package / "mine.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    cls = REPRESENTATIONS.resolve("mypkg.mine:Mine")
    images, _ = moving_square(positions=8)
    mine = cls(image_spec((1, 64, 64)))
    assert check_mode("mypkg.mine:Mine", cls, "auto") == "frozen"

    def error() -> float:
        with torch.no_grad():
            return float(mine.loss(Steps.frames({"image": images}), lambda f: (f, f), generator)[0])

    before = error()
    trainer = Pretrainer(mine, {"image": images}, 100 * 64, generator=generator)
    metrics = trainer.run(trainer.total)
    assert set(metrics) == {"pretrain/fit/loss", "pretrain/fit/reconstruction"}
    assert error() < 0.5 * before


def test_names_resolve_and_unknown_ones_list_the_known():
    for name in ("cnn", "random", "vae", "beta_vae", "darla"):
        cls = REPRESENTATIONS.resolve(name)
        assert cls.default_mode in cls.modes
        built = cls(image_spec((3, 64, 64)))
        assert built.encode({"image": torch.zeros(2, 3, 64, 64, dtype=torch.uint8)})[0].shape == (2, built.features_dim)
    with pytest.raises(UsageError, match="did you mean 'darla'"):
        REPRESENTATIONS.check("dalra")


def test_a_missing_key_is_named():
    spec = EnvSpec(gym.spaces.Dict({"pose": gym.spaces.Box(-1, 1, (5,), np.float32)}))
    with pytest.raises(UsageError, match=r"vae needs obs key 'image'; this environment gives \['pose'\]"):
        REPRESENTATIONS.resolve("vae")(spec)


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
    (phase,) = REPRESENTATIONS.resolve("vae").__mro__[2].phases(REPRESENTATIONS.resolve("vae")(image_spec((3, 64, 64))))
    assert isinstance(phase, Phase)
    assert phase.learning_rate == 1e-4


def test_collapse_is_told_by_spread_against_size():
    assert not warn_if_collapsed("mine", 0.001, 1.0, "now")  # saturated, but told apart
    assert not warn_if_collapsed("mine", 1e-7, 1e-4, "now")  # small, but told apart
    with pytest.warns(RuntimeWarning, match="mine: features have collapsed now: .* is 5e-05, their size 1;"):
        assert warn_if_collapsed("mine", 5e-5, 1.0, "now")
    with pytest.warns(RuntimeWarning, match="is 0, their size 0"):
        assert warn_if_collapsed("mine", 0.0, 0.0, "now")
