"""Linear read-outs: the arithmetic, and one run probed from its directory."""

import csv

import numpy as np
import pytest
from PIL import Image

from agents.runs.build import EnvSpecs
from benchmarks import probe, transfer
from benchmarks.probe import control_config, read_worlds
from benchmarks.reporting.read_outs import NoGroundTruth, features_and_factors, fit, r_squared, read_outs, ridge, varies
from envs.counting import CountingVectorEnv
from envs.registry import UsageError
from envs.suites import SUITES, build
from representations.random import Random, RandomConfig
from tests.agents.runs.tools import run_config
from tests.benchmarks.tools import make_run


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


def test_a_feature_that_hardly_varied_is_not_blown_up():
    # Standard deviations 1 and 1e-6. By its own, a chance correlation of 0.1 / sqrt(400) would add 5,000 where the
    # second is 1 on another frame; with the lower bound, 0.1 sqrt((1 + 1e-12) / 2) = 0.07, the penalty holds it down
    rng = np.random.default_rng(0)
    fitted = rng.normal(size=(400, 2)) * np.array([1, 1e-6])
    factor = fitted[:, :1] + 0.1 * rng.normal(size=(400, 1))
    read = fit(fitted, factor)
    assert abs(float((read(np.array([[0.0, 1.0]])) - read(np.array([[0.0, 0.0]])))[0, 0])) < 100


def test_a_factor_that_is_constant_or_hardly_known_is_left_out():
    rows = np.arange(40.0)[:, None]
    assert varies(rows)
    assert not varies(np.full((40, 1), 2.0))
    assert not varies(np.tile([[2.0, 3.0]], (40, 1)))  # two constants that differ
    assert not varies(np.full((40, 1), np.nan))
    assert varies(np.where(rows < 32, rows, np.nan))
    assert not varies(np.where(rows < 31, rows, np.nan))


def test_no_frame_that_was_fitted_is_scored():
    # Noise of noise, as many features as half of the frames: fitted well, and read not at all from other frames
    rng = np.random.default_rng(0)
    features = {split: rng.normal(size=(64, 32)) for split in ("fit", "train", "heldout")}
    factors = {split: {"noise": rng.normal(size=(64, 1))} for split in features}
    assert r_squared(factors["fit"]["noise"], fit(features["fit"], factors["fit"]["noise"])(features["fit"])) > 0.3
    rows = read_outs(features, factors, ["train", "heldout"])
    assert [row["split"] for row in rows] == ["train", "heldout"]
    assert all(row["r2"] < 0.1 for row in rows)


def test_names_of_levels_and_factors_that_a_split_lacks_are_left_out():
    rng = np.random.default_rng(0)
    features = {split: rng.normal(size=(50, 3)) for split in ("fit", "train", "heldout")}
    factors = {split: {"x": x[:, :1], "level_seed": x[:, 1:2], "coin": x[:, 2:]} for split, x in features.items()}
    factors["heldout"]["coin"] = np.full((50, 1), np.nan)  # no coin is seen there
    rows = read_outs(features, factors, ["train", "heldout"])
    assert {(row["factor"], row["split"]) for row in rows} == {("x", "train"), ("coin", "train"), ("x", "heldout")}
    assert all(row["r2"] > 0.99 for row in rows)


def tasks(suite):
    """Tasks of a suite that may differ in what they tell."""
    found = build(suite, 3)
    return [task for task in found if task.env in ("coinrun-easy", "maze-easy")] if len(found) > 5 else found


@pytest.mark.parametrize("suite", [name for name in SUITES if name != "atari-breakout"])
def test_every_suite_and_split_is_read_or_left_out_with_a_line(suite, capsys):
    if suite == "dmc":
        pytest.importorskip("mujoco")
    for task in tasks(suite):
        spec = EnvSpecs().of(task.source)
        model = Random(spec, RandomConfig("impoola" if spec.image_shape[1] >= 36 else "symbols")).eval()
        if task.env == "maze-easy":
            with pytest.raises(NoGroundTruth, match="factors are read in coinrun alone, not in maze"):
                read_worlds(task.splits(), model, 64, 0)
            continue
        rows = read_worlds(task.splits(), model, 64, 0)
        unread = {"generated/heldout"} if suite == "coinrun-visual" else set()  # random assets: no state
        assert {row["split"] for row in rows} == set(task.splits()) - unread
        assert all(np.isfinite(row["r2"]) for row in rows)
        lines = capsys.readouterr().err.splitlines()
        assert [line.partition(" (")[0] for line in lines] == [f"left out: split {split}" for split in unread]


def test_a_run_and_its_control_are_probed_from_a_directory(tmp_path, capsys, monkeypatch):
    arguments = ["--suite", "counting", "--repr", "vae", "--no-baseline", "--preset", "smoke", "--steps", "1024"]
    assert transfer.main([*arguments, "--out", str(tmp_path / "run")]) == 0
    seeds = []

    def recorded(world, representation, frames, seed):
        seeds.append((type(representation).__name__, seed))
        return features_and_factors(world, representation, frames, seed)

    monkeypatch.setattr(probe, "features_and_factors", recorded)
    assert probe.main([str(tmp_path / "run"), "--frames", "400"]) == 0
    # fitted frames and those of the three splits: four collections each, none of the same draws
    assert [name for name, _ in seeds] == ["Random"] * 4 + ["Vae"] * 4
    assert len(set(seeds)) == 8
    with open(tmp_path / "run" / "probe.csv", newline="") as file:
        rows = {(row["repr"], row["factor"], row["split"]): row for row in csv.DictReader(file)}
    factors, splits = ("target", "time"), ("train", "heldout", "swapped")
    assert set(rows) == {(r, f, s) for r in ("random", "vae") for f in factors for s in splits}
    # the frame's red is the target: it is read on unseen levels too; with red and blue swapped it is not
    assert float(rows["vae", "target", "heldout"]["r2"]) > 0.9
    assert float(rows["vae", "target", "swapped"]["r2"]) < 0.5
    assert rows["vae", "target", "train"]["frames"] == "400"
    assert rows["random", "target", "train"]["mode"] == "frozen"
    with Image.open(tmp_path / "run" / "probe.png") as picture:
        assert picture.size[0] > 200
    assert "vae: target" in capsys.readouterr().out
    tell = CountingVectorEnv.factors

    def tell_little(self):
        if self.variant in silent:
            raise UsageError(f"nothing is told of {self.variant}")
        return tell(self)

    monkeypatch.setattr(CountingVectorEnv, "factors", tell_little)
    silent = ("swapped",)
    assert probe.main([str(tmp_path / "run"), "--frames", "64"]) == 0
    assert "left out: split swapped (nothing is told of swapped)" in capsys.readouterr().err
    with open(tmp_path / "run" / "probe.csv", newline="") as file:
        assert {row["split"] for row in csv.DictReader(file)} == {"train", "heldout"}
    silent = ("plain", "swapped")
    assert probe.main([str(tmp_path / "run"), "--frames", "64"]) == 2
    assert "has nothing to read out (counting: nothing is told of plain)" in capsys.readouterr().err
    assert probe.main([str(tmp_path / "run"), "--frames", "10"]) == 2
    assert "--frames 10" in capsys.readouterr().err


def test_the_control_keeps_the_task_and_the_trunk():
    config = run_config("vae", repr_settings={"trunk": "impala", "latents": 7})
    control = control_config(config)
    assert (control.repr, control.mode, control.repr_settings) == ("random", "frozen", {"trunk": "impala"})
    assert (control.env, control.seed, control.level_set) == (config.env, config.seed, config.level_set)


def test_a_directory_without_runs_is_one_line(tmp_path, capsys):
    assert probe.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match="no finished run"):
        probe.probe(probe.Args(tmp_path))


def test_rows_of_other_settings_or_levels_keep_their_own_lines():
    drawn, published = {"level_set": "100000000+20"}, {"level_set": "0+20"}
    shared = {"env": "counting", "train_levels": 20, "seed": 0, "factor": "age", "split": "train"}
    names = ("darla (beta=0.1)", "darla (beta=0.9)", "random")
    rows = [shared | {"method": name, "r2": 0.1 + 0.4 * i} | drawn for i, name in enumerate(names)]
    down, _, values = probe.grid(rows)
    assert down == [f"{name}: age" for name in names]
    assert values[:, 0].tolist() == pytest.approx([0.1, 0.5, 0.9])
    rows += [shared | {"method": "random", "r2": 0.3} | published]
    down, _, values = probe.grid(rows)
    assert down[2:] == ["random drawn: age", "random published: age"]
    assert values[:, 0].tolist() == pytest.approx([0.1, 0.5, 0.9, 0.3])


def test_random_features_with_a_bonus_are_no_control(tmp_path, monkeypatch):
    controls = []
    monkeypatch.setattr(probe, "probe_control", lambda run, frames, seed: controls.append(run.id) or [])
    row = {"env": "maze", "train_levels": 20, "level_set": "", "seed": 0, "factor": "age", "split": "train", "r2": 0.5}
    monkeypatch.setattr(probe, "probe_run", lambda run, frames, seed: [row])
    make_run(tmp_path, "random", bonus="rnd:0.5")
    assert "random + rnd:0.5: age" in probe.probe(probe.Args(tmp_path))
    make_run(tmp_path, "random")
    probe.probe(probe.Args(tmp_path))
    assert len(controls) == 1  # the second directory has one of its own


def test_each_row_is_compared_with_random_on_its_own_levels():
    rows = [
        {"env": "maze", "train_levels": 20, "level_set": levels, "factor": "age", "split": "train"}
        | {"method": method, "seed": seed, "r2": r2 + 0.1 * seed}
        for method, levels, r2 in (("vae", "0+20", 0.5), ("vae", "7+20", 0.9), ("random", "0+20", 0.4))
        for seed in (0, 1)
    ]
    _, lines = probe.beyond_control(rows)
    assert [line[0] for line in lines] == ["vae published: age"]  # none of the drawn levels
    assert lines[0][1].startswith("+0.10")


def test_several_seeds_are_averaged_and_compared_with_random_by_seed():
    shared = {"env": "counting", "train_levels": 20, "level_set": "0+20", "split": "train"}
    scores = {("vae", "age"): (0.5, 0.7, 0.9), ("random", "age"): (0.1, 0.5, 0.3), ("vae", "time"): (0.4,)}
    rows = [
        shared | {"method": method, "factor": factor, "seed": seed, "r2": r2}
        for (method, factor), values in scores.items()
        for seed, r2 in enumerate(values)
    ]
    rows += [shared | {"method": "vae", "factor": "age", "split": "heldout", "seed": 0, "r2": 0.0}]
    down, across, values = probe.grid(rows)
    assert (down, across) == (["vae: age", "random: age", "vae: time"], ["train", "heldout"])
    assert values[:, 0].tolist() == pytest.approx([0.7, 0.3, 0.4])
    # gains 0.4, 0.2, 0.6: mean 0.4, standard error 0.2 / sqrt 3, t of 2 degrees of freedom 4.3027
    header, lines = probe.beyond_control(rows)
    assert header == ["R2 minus random's", "train", "heldout"]
    assert lines == [["vae: age", "+0.40 [-0.10, +0.90]", "–"]]
