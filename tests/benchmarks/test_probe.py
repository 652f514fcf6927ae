"""Linear read-outs: the arithmetic, and one run probed from its directory."""

import csv

import numpy as np
import pytest
from PIL import Image

from benchmarks import probe, transfer
from benchmarks.probe import fit, r_squared, ridge, varies
from envs.registry import UsageError


def test_r_squared_by_hand():
    wanted = np.array([[0.0], [1.0], [2.0], [3.0]])  # mean 1.5, total 2.25 + 0.25 + 0.25 + 2.25 = 5
    assert r_squared(wanted, wanted) == 1
    assert r_squared(wanted, np.full_like(wanted, 1.5)) == 0
    assert r_squared(wanted, wanted + 1) == pytest.approx(1 - 4 / 5)
    assert r_squared(wanted, 3 - wanted) == pytest.approx(1 - (9 + 1 + 1 + 9) / 5)
    holes = np.array([[0.0], [np.nan], [2.0]])  # 0 and 2: mean 1, total 2; residual 0 + 1
    assert r_squared(holes, np.array([[0.0], [7.0], [3.0]])) == pytest.approx(0.5)
    assert r_squared(np.ones((3, 1)), np.zeros((3, 1))) == 0  # nothing varies
    both = np.array([[0.0, 0.0], [2.0, 4.0]])  # total 2 + 8; residual 2 in the first column
    assert r_squared(both, np.array([[1.0, 0.0], [1.0, 4.0]])) == pytest.approx(1 - 2 / 10)


def test_ridge_by_hand():
    x, y = np.array([[1.0], [2.0]]), np.array([[2.0], [4.0]])
    # w = x.y / (x.x + strength n / 1000) = 10 / (5 + 500 * 2 / 1000)
    assert ridge(x, y, 500)[0, 0] == pytest.approx(10 / 6)


def test_a_linear_factor_is_read_and_noise_is_not():
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(600, 5)), np.ones((600, 1))], 1)  # the last feature is constant
    factor = features[:, :2] @ np.array([[2.0], [-1.0]]) + 3
    factor[5] = np.nan
    read = fit(features[:400], factor[:400])
    assert r_squared(factor[400:], read(features[400:])) > 0.999
    noise = rng.normal(size=(600, 1))
    assert r_squared(noise[400:], fit(features[:400], noise[:400])(features[400:])) < 0.05


def test_a_factor_that_is_constant_or_always_nan_is_left_out():
    assert varies(np.array([[0.0], [1.0], [np.nan]]))
    assert not varies(np.array([[2.0], [2.0], [np.nan]]))
    assert not varies(np.full((3, 1), np.nan))


def test_a_run_is_probed_from_its_directory(tmp_path, capsys):
    arguments = ["--suite", "counting", "--repr", "vae", "--no-baseline", "--preset", "smoke", "--steps", "1024"]
    assert transfer.main([*arguments, "--out", str(tmp_path / "run")]) == 0
    assert probe.main([str(tmp_path / "run"), "--frames", "400"]) == 0
    with open(tmp_path / "run" / "probe.csv", newline="") as file:
        rows = {(row["factor"], row["split"]): row for row in csv.DictReader(file)}
    assert set(rows) == {(f, s) for f in ("target", "time") for s in ("train", "heldout", "swapped")}
    # the frame's red is the target: it is read on unseen levels too; with red and blue swapped it is not
    assert float(rows["target", "heldout"]["r2"]) > 0.9
    assert float(rows["target", "swapped"]["r2"]) < 0.5
    assert rows["target", "train"]["repr"] == "vae"
    assert rows["target", "train"]["frames"] == "400"
    with Image.open(tmp_path / "run" / "probe.png") as picture:
        assert picture.size[0] > 200
    assert "vae: target" in capsys.readouterr().out
    assert probe.main([str(tmp_path / "run"), "--frames", "10"]) == 2
    assert "--frames 10" in capsys.readouterr().err


def test_a_directory_without_runs_is_one_line(tmp_path, capsys):
    assert probe.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match="no finished run"):
        probe.probe(probe.Args(tmp_path))
