"""Fitting without an agent: stopped and taken up again to the bit, refused with another budget, written whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.experiment.offline import MEASUREMENTS, fit, write
from envs.registry import UsageError
from representations.monet import Monet, MonetConfig
from tests.representations.toys import image_spec

SAMPLES = 20 * 4


def model(latents: int = 2) -> Monet:
    torch.manual_seed(3)
    config = MonetConfig(slots=2, latents=latents, channels=(4, 4), decoder_channels=4, batch=4)
    # Not 8x8: there MONet's last strided convolution sees 1x1 maps, and of those torch 2.13's bfloat16 kernel for
    # processors with AMX makes a weight gradient with uninitialised memory in it.
    return Monet(image_spec((3, 16, 16)), config)


def frames() -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(5)
    return {"image": torch.randint(0, 256, (30, 3, 16, 16), dtype=torch.uint8, generator=draws)}


def first_weight(representation: Monet) -> dict[str, float]:
    return {"weight": float(next(representation.parameters()).detach().flatten()[0])}


def test_a_fit_is_measured_after_every_tenth_and_ends_in_eval_mode(tmp_path):
    one, modes = model(), []

    def measure(representation):
        modes.append(representation.training)
        return first_weight(representation)

    rows = fit(tmp_path, one, frames, SAMPLES, 0, measure, "float32")
    assert [row["samples"] for row in rows] == [8 * tenth for tenth in range(1, MEASUREMENTS + 1)]
    assert modes == [False] * MEASUREMENTS
    assert rows[-1]["weight"] == first_weight(one)["weight"]
    assert len({row["weight"] for row in rows}) == MEASUREMENTS
    assert set(rows[0]) >= {"loss", "reconstruction", "kl", "mask_kl"}
    assert not one.training
    assert len(list((tmp_path / "checkpoint").glob("*.json"))) == 2


def test_a_stopped_fit_goes_on_to_the_bit(tmp_path):
    whole = model()
    wanted = fit(tmp_path / "whole", whole, frames, SAMPLES, 0, first_weight, "float32")
    calls: list[int] = []

    def stops(representation):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return first_weight(representation)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", model(), frames, SAMPLES, 0, stops, "float32")
    other = model()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)  # what it starts from does not matter: the folder decides
    rows = fit(tmp_path / "cut", other, frames, SAMPLES, 0, first_weight, "float32")
    for row, as_whole in zip(rows, wanted, strict=True):  # the first from the checkpoint
        assert {**row, "seconds": 0} == {**as_whole, "seconds": 0}
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), whole.parameters(), strict=True))


def test_the_seed_gives_the_draws(tmp_path):
    ends = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        ends.append(fit(tmp_path / name, model(), frames, SAMPLES, seed, first_weight)[-1]["weight"])
    assert ends[0] == ends[1] != ends[2]


def test_a_finished_fit_is_taken_as_it_is_without_its_frames(tmp_path):
    one, other = model(), model()
    rows = fit(tmp_path, one, frames, SAMPLES, 0, first_weight)
    with torch.no_grad():
        next(other.parameters()).zero_()

    def refused(*_):
        raise AssertionError("nothing is to be drawn or measured")

    assert fit(tmp_path, other, refused, SAMPLES, 0, refused) == rows
    assert torch.equal(next(other.parameters()), next(one.parameters()))


def test_another_budget_is_refused(tmp_path):
    fit(tmp_path, model(), frames, SAMPLES, 0, first_weight)
    with pytest.raises(UsageError, match=r"started with \[20\] steps per phase, now asked for \[30\]"):
        fit(tmp_path, model(), frames, 30 * 4, 0, first_weight)


def test_other_settings_are_refused_before_the_weights_are_touched(tmp_path):
    def again(latents, settings):
        return fit(tmp_path, model(latents), frames, SAMPLES, 0, first_weight, settings=settings)

    rows = again(2, {"latents": 2, "channels": (4, 4)})
    assert again(2, {"latents": 2, "channels": (4, 4)}) == rows
    with pytest.raises(UsageError, match=r"latents=2, now asked for latents=3.*another --out"):
        again(3, {"latents": 3, "channels": (4, 4)})
    with pytest.raises(UsageError, match=r"channels=\(4, 4\), now asked for channels=None"):
        again(2, {"latents": 2})


def test_a_table_has_the_columns_of_its_first_row_and_four_digits(tmp_path):
    rows = [{"seed": 3, "mse": 0.123456}, {"seed": 4, "mse": 1e-7, "more": 1}]
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    write(tmp_path, "scores", rows, {"shown": picture})
    assert (tmp_path / "scores.csv").read_bytes() == b"seed,mse\n3,0.1235\n4,1e-07\n"
    with Image.open(tmp_path / "shown.png") as image:
        assert np.array_equal(np.asarray(image), picture)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "shown.png"]
