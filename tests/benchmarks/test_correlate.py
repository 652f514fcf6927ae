"""Scores of representations by hand, and the table that says which goes with transfer."""

import csv

import numpy as np
import pytest

from benchmarks import correlate
from benchmarks.correlate import check_alike, clusterability, invariance, main, read_out
from benchmarks.reporting.read_outs import scale_of
from benchmarks.reporting.runs import load
from envs.registry import UsageError
from tests.benchmarks.tools import make_run

RNG = np.random.default_rng(0)


def test_features_that_do_not_change_with_the_look_are_invariant():
    plain, factors = RNG.normal(size=(40, 3)), {"x": np.arange(40.0)[:, None]}
    assert invariance(plain, factors, plain.copy(), factors) == 1
    # every frame moves by (3, 4, 0), which is 5; the distance of frame i to frame i + 20 is the unit
    apart = np.linalg.norm(np.roll(plain, 20, axis=0) - plain, axis=1).mean()
    moved = plain + np.array([3.0, 4.0, 0.0])
    assert invariance(plain, factors, moved, factors) == pytest.approx(1 - 5 / apart)


def test_frames_of_other_states_do_not_count():
    plain, other = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 3))
    factors = {"x": np.arange(40.0)[:, None]}
    others = {"x": np.where(np.arange(40) < 30, np.arange(40.0), -1.0)[:, None]}
    other[:30] = plain[:30]  # the same features wherever the state is the same
    assert invariance(plain, factors, other, others) == 1
    assert np.isnan(invariance(plain, factors, other, {"x": np.full((40, 1), -1.0)}))
    half = {"x": np.where(np.arange(40) < 20, np.arange(40.0), -1.0)[:, None]}
    assert invariance(plain, factors, other, half) == 1  # each of the 20 is compared with another one, not with itself


def test_the_read_out_is_the_mean_over_factors_and_never_below_0():
    features = RNG.normal(size=(400, 3))
    factors = {"linear": features @ np.array([[1.0], [2], [0]]), "noise": RNG.normal(size=(400, 1))}
    factors["level_seed"] = features[:, :1]
    few = {name: values[:128] for name, values in factors.items()}
    score = read_out(features[:128], few, features, factors)
    assert 0.49 < score < 0.52  # R2 near 1 of the one, near or below 0 of the other; the level's number does not count
    assert np.isnan(read_out(features[:128], {}, features, {}))


def test_clusters_of_the_factors_are_found_again():
    spots = RNG.integers(0, 4, size=(300, 2)).astype(float)  # 16 places
    factors = {"place": spots}
    assert clusterability(spots + 0.01 * RNG.normal(size=spots.shape), factors) > 0.99
    assert clusterability(RNG.normal(size=(300, 2)), factors) < 0.3
    assert np.isnan(clusterability(spots, {"level_seed": spots}))


def test_the_scale_is_that_of_a_frozen_policy():
    features = np.array([[0.0, 1, 5], [2, 1, 5.002]])
    # deviations 1, 0, 0.001; a tenth of their root mean square, sqrt(1 / 3) / 10, is the least divisor
    assert scale_of(features)(features)[1] == pytest.approx([1, 0, 0.001 / (np.sqrt(1 / 3) / 10)], rel=1e-4)


def trained(experiment, methods=6, **changes):
    """Runs of ``methods`` methods and two seeds, method i reaching 1 + i on unseen levels."""
    names = ("vae", "darla", "simclr", "curl", "atc", "cpc")[:methods]
    for i, name in enumerate(names):
        for seed in range(2):
            returns = {"train": [8.0, 9.0 + 0.1 * ((3 * i + seed) % 5)], "heldout": [1.0 + i, 1.0 + i + 0.1 * seed]}
            make_run(experiment, name, seed, returns, levels=2, mode="frozen", **changes)


def test_a_score_that_goes_with_transfer_stands_in_the_table(tmp_path, monkeypatch, capsys):
    trained(tmp_path)
    order = {"vae": 0, "darla": 1, "simclr": 2, "curl": 3, "atc": 4, "cpc": 5}
    played = []

    def scores(run, frames):
        played.append(run.id)
        i, seed = order[run.config["repr"]], run.config["seed"]
        known = {"few-label read-out": i + 0.1 * seed, "effective rank": (7 * i + seed) % 6}
        return known | {"invariance": float("nan"), "clusterability": -i}

    monkeypatch.setattr(correlate, "scores", scores)
    assert main([str(tmp_path)]) == 0
    rows = {
        (row["score"], row["outcome"]): row
        for row in csv.DictReader((tmp_path / "correlate.csv").read_text().splitlines())
    }
    assert len(rows) == 6  # three scores are known, two outcomes
    best = rows["few-label read-out", "held-out return"]
    assert float(best["correlation"]) > 0.9
    assert float(best["low"]) > 0.3
    assert float(rows["clusterability", "held-out return"]["correlation"]) < -0.9
    # the gap is the source return minus the held-out one
    assert float(rows["few-label read-out", "gap"]["correlation"]) < -0.9
    assert float(best["p_holm"]) >= float(best["p"])
    assert (best["methods"], best["runs"]) == ("6", "12")
    assert (tmp_path / "correlate.png").read_bytes().startswith(b"\x89PNG")
    assert "few-label read-out" in capsys.readouterr().out
    assert len(played) == 12
    assert main([str(tmp_path)]) == 0
    assert len(played) == 12  # scores are kept


def test_runs_that_differ_and_too_few_methods_are_refused(tmp_path):
    trained(tmp_path / "few", methods=4)
    with pytest.raises(UsageError, match="4 methods with finished runs"):
        check_alike(load(tmp_path / "few"))
    trained(tmp_path / "two", env="rooms")
    trained(tmp_path / "two")
    with pytest.raises(UsageError, match="differ in env \\(coinrun-easy, rooms\\)"):
        check_alike(load(tmp_path / "two"))
