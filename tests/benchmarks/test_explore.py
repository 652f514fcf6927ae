"""Rows of the exploration table, worked out by hand from a run's records; the plan."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import explore
from benchmarks.explore import main, ranged, row
from benchmarks.reporting.cells import Cell
from benchmarks.reporting.episodes import Returns
from benchmarks.reporting.runs import Run


def run(seed=0, bonus="none", metrics=(), returns=(0.0, 0.5, 0.9), **config):
    config_values = {
        **{"suite": "minigrid-ladder", "env": "doorkey-8x8", "repr": "cnn", "mode": "online", "algo": "ppo"},
        **{"bonus": bonus, "algo_settings": {"extrinsic": 0.5}, "seed": seed, "steps": 1000, "train_levels": 9},
        **{"splits": ["train", "heldout"], "normalise": None},
        **config,
    }
    run_returns = {"train": episodes(returns), "heldout": episodes([0.0, 0.1])}
    source = {"frames_per_second": 7.0, "commit": "abc"}
    return Run(f"{bonus}-{seed}", Path("nowhere"), "finished", "", config_values, source, tuple(metrics), run_returns)


def episodes(returns):
    """One episode on each level."""
    count = np.arange(len(returns))
    return Returns(np.array(returns), count, 0 * count, np.full(len(returns), 9.0))


RECORDS = (
    {"global_step": 250, "train/success": 0.0, "explore/coverage": 0.9, "explore/states": 10},
    {"global_step": 500, "train/success": 0.25, "train/first_reward": 420, "explore/states": 30},
    {"global_step": 750, "train/success": 0.5, "train/first_reward": 420},
    {"global_step": 950, "train/success": 0.75, "explore/coverage": 0.2, "train/first_reward": 420},
    {
        "global_step": 1000,
        "train/success": 0.5,
        "explore/coverage": 0.4,
        "explore/states": 40,
        "train/first_reward": 420,
    },
    {"global_step": 1000, "final/train/return": 1.0},
)


def test_a_row_by_hand():
    values = row(run(metrics=RECORDS, bonus="rnd:1"))
    assert values["success"] == pytest.approx(2 / 3)  # 0.5 and 0.9 of three returns are above 0
    assert values["heldout_success"] == 0.5
    assert values["first_reward"] == 420
    assert values["half_success"] == 750
    # trapezoids from 0 at frame 0: 0 to 250 at 0; then 31.25, 93.75, 200 * 0.625 = 125, 50 * 0.625 = 31.25; of 1,000
    assert values["success_area"] == pytest.approx(0.28125)
    assert values["coverage"] == pytest.approx(0.3)  # of the records from frame 900 on
    assert values["states"] == 40
    assert "tv_seen" not in values  # no record has it
    assert values["extrinsic"] == 0.5
    assert row(run())["extrinsic"] == 1.0  # without a bonus the reward has its full weight
    assert math.isnan(row(run())["first_reward"])


def test_the_area_weighs_frames_and_not_records():
    points = [(100, 0.5), (200, 0.5), (1000, 0.5)]
    evenly = row(run(metrics=[{"global_step": step, "train/success": value} for step, value in points]))
    crowded = [(100, 0.5), *((190 + step, 0.5) for step in range(10)), (200, 0.5), (1000, 0.5)]
    more = row(run(metrics=[{"global_step": step, "train/success": value} for step, value in crowded]))
    # 0 to 0.5 over the first 100 frames, then 0.5: (25 + 450) / 1,000, however many records there are
    assert evenly["success_area"] == pytest.approx(0.475)
    assert more["success_area"] == pytest.approx(0.475)


def test_env_metrics_are_counts_or_rates_by_their_values():
    tv = ({"global_step": 10, "explore/tv_seen": 0.9}, {"global_step": 950, "explore/tv_seen": 0.25})
    values = row(run(metrics=tv))
    assert values["tv_seen"] == 0.25  # of the last tenth of training
    assert explore.env_metrics([run(metrics=tv), run(metrics=RECORDS)]) == ["coverage", "states", "tv_seen"]
    text = explore.as_csv([values, row(run(metrics=RECORDS))])
    assert text.splitlines()[0].endswith("success_area,coverage,states,tv_seen,frames_per_second,commit,continued")


def test_the_chart_shows_success_or_else_a_rate():
    assert explore.charted_metric([run(metrics=RECORDS)]) == ("train/success", "success of training episodes")
    unrewarded = tuple({**record, "train/success": 0.0} for record in RECORDS)
    assert explore.charted_metric([run(metrics=unrewarded)]) == ("explore/coverage", "coverage")
    assert explore.charted_metric([run()])[0] == "train/success"


def test_ranges_count_what_was_not_reached_as_never():
    nan = math.nan
    assert ranged([0.5], "%") == "50%"
    assert ranged([0.9, 0.1, 0.8], "%") == "80% [10%, 90%]"
    assert ranged([100.0, nan, 3000.0], "frames") == "3,000 [100, never]"
    assert ranged([100.0, nan, nan], "frames") == "never [100, never]"
    assert ranged([nan, nan], "frames") == "never"
    assert ranged([nan], "%") == "–"


def test_the_table_leaves_out_columns_without_a_value():
    cells = [
        Cell("cnn", (run(metrics=RECORDS), run(1, metrics=RECORDS))),
        Cell("cnn + rnd:1", (run(bonus="rnd:1", returns=(1.0,)),)),
    ]
    header, lines = explore.table(cells)
    assert header[-3:] == ["coverage", "states", "frames/s"]
    assert [line[1] for line in lines] == ["cnn + rnd:1", "cnn"]  # the better one first
    assert lines[1][:4] == ["doorkey-8x8", "cnn", "2", "67% [67%, 67%]"]
    assert lines[0][header.index("first reward")] == "never"
    text = explore.as_csv([row(one) for cell in cells for one in cell.runs])
    assert text.splitlines()[1].startswith(
        "minigrid-ladder,doorkey-8x8,cnn,online,ppo,none,none,1.0,9,,0,1000,,0.6667,0.5,420,750"
    )


def test_gains_are_counted_from_the_constant_bonus():
    def cell(bonus, areas, **config):
        # success a from the first frame on: 0 to a over nothing, then a
        records = [({"global_step": 0, "train/success": a}, {"global_step": 1000, "train/success": a}) for a in areas]
        return Cell(bonus, tuple(run(seed, bonus, own, **config) for seed, own in enumerate(records)))

    cells = [cell("constant:1", [0.5, 0.9]), cell("rnd:1", [0.7, 0.9]), cell("none", [0.2, 0.3])]
    cells += [cell("constant:1", [0.9, 0.9], env="other"), cell("icm:1 constant:1", [0.6, 0.6])]
    gain = explore.gain_over_control(cells[1], cells)
    assert (gain.estimate, gain.over, gain.n) == (pytest.approx(0.1), "seeds", 2)  # 0.2 and 0.0
    assert explore.gain_over_control(cells[2], cells).estimate == pytest.approx(-0.45)
    assert explore.gain_over_control(cells[0], cells) is None
    assert explore.gain_over_control(cells[4], cells).estimate == pytest.approx(-0.1)
    assert explore.gain_over_control(cells[1], cells[1:3]) is None
    stronger = [*cells, cell("constant:2", [0.7, 1.0])]  # the best of both constants, 0.85 on average
    assert explore.gain_over_control(cells[1], stronger).estimate == pytest.approx(-0.05)
    header, lines = explore.table(cells[:3])
    assert header[-3:] == ["area minus constant [95%]", "p", "p (Holm)"]
    assert {line[1]: line[-3].split()[0] for line in lines}["rnd:1"] == "+0.10"


def test_p_of_a_gain_is_printed_alone_and_corrected():
    def cell(bonus, areas):
        records = [({"global_step": 0, "train/success": a}, {"global_step": 1000, "train/success": a}) for a in areas]
        return Cell(bonus, tuple(run(seed, bonus, own) for seed, own in enumerate(records)))

    cells = [cell("constant:1", [0.5, 0.5, 0.5]), cell("rnd:1", [0.6, 0.7, 0.8]), cell("icm:1", [0.5, 0.6, 0.7])]
    # gains 0.1, 0.2, 0.3: t = 0.2 / (0.1 / sqrt(3)) = 3.46, p(2 df) = 0.074; 0, 0.1, 0.2: t = 1.73, p = 0.225
    header, lines = explore.table(cells)
    shown = {line[1]: dict(zip(header, line, strict=True)) for line in lines}
    assert [(shown[name]["p"], shown[name]["p (Holm)"]) for name in ("rnd:1", "icm:1", "constant:1")] == [
        ("0.074", "0.148"),
        ("0.225", "0.225"),
        ("–", "–"),
    ]


def test_gains_are_counted_on_one_kind_of_level_set_alone():
    def cell(bonus, area, level_set):
        records = ({"global_step": 0, "train/success": area}, {"global_step": 1000, "train/success": area})
        return Cell(bonus, tuple(run(seed, bonus, records, level_set=level_set) for seed in range(2)))

    cells = [cell("constant:1", 0.5, "0+9"), cell("rnd:1", 0.7, "100000000+9")]
    assert explore.gain_over_control(cells[1], cells) is None
    assert explore.gain_over_control(cells[1], [*cells, cell("constant:1", 0.6, "100000000+9")]).estimate == (
        pytest.approx(0.1)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "frozen"},
        {"algo": "a2c"},
        {"last_step": True},
        {"algo_settings": {"memory": "gru"}},
        {"steps": 2000},
        {"env": "another-env"},
    ],
)
def test_a_control_of_another_setting_is_none(changes):
    def cell(bonus, **config):
        runs = [run(seed, bonus, [{"global_step": 1000, "train/success": 0.5}], **config) for seed in range(3)]
        return Cell(bonus, tuple(runs))

    method = cell("rnd:0.5")
    assert explore.gain_over_control(method, [method, cell("constant:0.1")]).estimate == 0
    assert explore.gain_over_control(method, [method, cell("constant:0.1", **changes)]) is None


def test_the_control_is_added_where_first_visits_are_rewarded(tmp_path, capsys):
    words = ["--bonus", "rnd", "--preset", "smoke", "--dry-run", "--out", str(tmp_path), "--tasks", "doorkey-8x8"]
    for suite, added in (("minigrid-ladder", True), ("breakout-sparse", False)):
        own = words if added else words[:-2]
        assert main([*own, "--suite", suite]) == 0
        assert ("with constant:" in capsys.readouterr().out) == added


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bonus", "rdn"], "unknown bonus 'rdn'; did you mean 'rnd'?"),
        (["--bonus", "rnd:-1"], "give a coefficient of at least 0"),
        (["--bonus", "rnd+rnd:2"], "'rnd' is named twice"),
        (["--bonus", "rnd", "--set", "rnd.shape=3"], "no such field"),
        (["--bonus", "rnd", "--set", "icm.beta=3"], "'icm' is not part of this command"),
        (["--bonus", "rnd", "--tasks", "doorkey-9x9"], "has no such task"),
        (["--bonus", "latent_error", "--set", "latent_error.on=features"], "finds only image here; take --mode frozen"),
        (["--bonus", "vic+diayn"], "each give the policy a skill"),
    ],
)
def test_mistakes_are_one_line(words, message, tmp_path, capsys):
    assert main([*words, "--preset", "smoke", "--out", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("suite", ["minigrid-ladder", "noisy-tv"])
def test_smoke(suite, tmp_path, capsys):
    words = ["--bonus", "rnd:0.5", "--suite", suite, "--preset", "smoke", "--steps", "2048", "--out", str(tmp_path)]
    words += ["--tasks", "doorkey-8x8" if suite == "minigrid-ladder" else "noisy-tv"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert "cnn + rnd:0.5" in first
    lines = (tmp_path / "explore.csv").read_text().splitlines()
    assert len(lines) == (4 if suite == "minigrid-ladder" else 3)  # which has the constant bonus, too
    assert len(list(tmp_path.glob("runs/*rnd*/pictures/bonus.png"))) == 1
    before = (tmp_path / "explore.csv").read_bytes()
    assert main(words) == 0
    assert "finished before" in capsys.readouterr().out
    assert (tmp_path / "explore.csv").read_bytes() == before
