"""Cells: returns, gaps and differences by hand, and what their intervals resample."""

import math

import pytest

from benchmarks.reporting.cells import Cell, is_baseline
from benchmarks.reporting.runs import load, read, score
from benchmarks.reporting.summary import summarise
from tests.benchmarks.tools import make_run, one_of_each, write_rows


def cells(experiment):
    return {cell.label: cell for cell in summarise(load(experiment)).cells}


def test_one_seed_is_measured_over_its_levels_alone(tmp_path):
    one_of_each(tmp_path)
    cnn = cells(tmp_path)["cnn"]
    assert (cnn.returns["heldout"].estimate, cnn.returns["heldout"].over) == (5.0, "levels")
    assert (cnn.gaps["heldout"].estimate, cnn.gaps["heldout"].n) == (5.0, 4)
    assert "train" not in cnn.gaps
    assert not cnn.claimable


def test_levels_weigh_the_same_however_often_they_were_played(tmp_path):
    path = make_run(tmp_path, "cnn")
    # level 7: 10, 10, 10; level 9: 0. Over episodes 7.5, over levels 5
    rows = [("train", "coinrun-easy", 7, i, "sampled", 10, 30) for i in range(3)]
    rows += [("train", "coinrun-easy", 9, 0, "sampled", 0, 30), ("heldout", "coinrun-easy", 2, 0, "sampled", 1, 30)]
    write_rows(path / "eval.csv", ("split", "env", "level", "episode", "actions", "return", "length"), rows)
    (cell,) = summarise(load(tmp_path)).cells
    assert cell.means("train").tolist() == [[5.0]]
    assert cell.returns["train"].estimate == 5.0


def test_several_seeds_are_resampled_with_their_levels(tmp_path):
    for seed, level in enumerate((4.0, 6.0, 9.0)):
        make_run(tmp_path, "darla", seed, {"train": [level + 1, level + 3], "heldout": [level, level]})
    cell = cells(tmp_path)["darla"]
    assert cell.seeds == (0, 1, 2)
    mean = cell.returns["heldout"]
    assert (mean.estimate, mean.over, mean.seeds, mean.levels) == (pytest.approx(19 / 3), "seeds and levels", 3, 2)
    # over seeds: variance 19 / 3 of 4, 6, 9; t(2) = 4.303; 4.303 * sqrt(19 / 9) = 6.25; both levels are alike
    assert mean.high - mean.estimate == pytest.approx(4.3027 * (19 / 9) ** 0.5, rel=1e-3)
    gap = cell.gaps["heldout"]  # each seed loses 2 on average, whatever its level
    assert gap.estimate == pytest.approx(2.0)
    assert gap.high - gap.low < mean.high - mean.low


def test_a_difference_is_paired_by_training_set_and_level(tmp_path):
    # seeds and levels differ by far more than the methods, which are 1 apart in every single episode
    for seed, base in enumerate((0.0, 20.0, 50.0)):
        values = {"train": [base, base + 2], "heldout": [base, base + 9, base + 3]}
        make_run(tmp_path, "cnn", seed, values)
        make_run(tmp_path, "vae", seed, {split: [value + 1 for value in own] for split, own in values.items()})
    vae, cnn = cells(tmp_path)["vae"], cells(tmp_path)["cnn"]
    assert vae.paired_seeds(cnn) == (0, 1, 2)
    difference = vae.difference(cnn, "heldout")
    assert (difference.estimate, difference.low, difference.high) == pytest.approx((1.0, 1.0, 1.0))
    assert vae.gap_difference(cnn, "heldout").high == pytest.approx(0.0)


def test_a_difference_of_gaps_is_positive_where_more_is_lost(tmp_path):
    for seed in range(2):
        make_run(tmp_path, "cnn", seed, {"train": [9.0, 7.0], "heldout": [7.0, 5.0]})  # loses 2
        make_run(tmp_path, "vae", seed, {"train": [9.0, 7.0], "heldout": [3.0, 4.0]})  # loses 4.5
        make_run(tmp_path, "darla", seed + 5, {"train": [9.0, 7.0], "heldout": [3.0, 4.0]})  # the same, other seeds
    by_label = cells(tmp_path)
    for name in ("vae", "darla"):
        assert by_label[name].gap_difference(by_label["cnn"], "heldout").estimate == pytest.approx(2.5)


def test_levels_without_a_name_are_never_shared(tmp_path):
    for seed in range(2):
        make_run(tmp_path, "cnn", seed, {"train": [9.0, 7.0], "heldout": [7.0, 5.0]}, old=True)
    (cell,) = summarise(load(tmp_path)).cells
    levels = [own for split in cell.splits for own in cell.scores(split).levels]
    assert len({level for own in levels for level in own.tolist()}) == 8  # two splits, two seeds, two episodes


def test_other_seeds_or_training_sets_are_not_paired(tmp_path):
    for seed, value in enumerate((1.0, 5.0, 9.0)):
        make_run(tmp_path, "cnn", seed, {"train": [value, value], "heldout": [value, value]})
        make_run(tmp_path, "vae", seed + 3, {"train": [value, value], "heldout": [value, value]})
        make_run(tmp_path, "darla", seed, {"train": [value, value], "heldout": [value, value]}, level_set="777+20")
    by_label = cells(tmp_path)
    for name in ("vae", "darla"):
        other = by_label[name]
        assert other.paired_seeds(by_label["cnn"]) == ()
        difference = other.difference(by_label["cnn"], "heldout")
        assert difference.estimate == 0.0
        # Welch: variance 16 of 1, 5, 9 on both sides; t(4) * sqrt(2 * 16 / 3) = 2.776 * 3.266
        assert difference.high == pytest.approx(2.7764 * (32 / 3) ** 0.5, rel=1e-3)


def test_seeds_that_overlap_in_part_are_not_paired(tmp_path):
    for seed, value in enumerate((1.0, 5.0, 9.0, 5.0)):
        values = {"train": [value] * 2, "heldout": [value] * 2}
        if seed < 3:
            make_run(tmp_path, "cnn", seed, values)
        if seed > 0:
            make_run(tmp_path, "vae", seed, values)
    vae, cnn = cells(tmp_path)["vae"], cells(tmp_path)["cnn"]
    assert vae.paired_seeds(cnn) == ()  # 0, 1, 2 and 1, 2, 3: dropping two seeds would be a choice
    assert vae.difference(cnn, "heldout").estimate == pytest.approx(19 / 3 - 5)


def test_one_seed_against_several_never_pools_their_episodes(tmp_path):
    # three seeds at 0, 0 and 9 on four levels each: pooled they would be twelve episodes around 3
    for seed, value in enumerate((0.0, 0.0, 9.0)):
        make_run(tmp_path, "vae", seed, {"train": [value] * 4, "heldout": [value] * 4})
    make_run(tmp_path, "cnn", 0, {"train": [1.0] * 4, "heldout": [0.0, 1.0, 1.0, 2.0]})
    difference = cells(tmp_path)["vae"].difference(cells(tmp_path)["cnn"], "heldout")
    # seed 0 alone has a partner on its training set: 0 - 1, over the four levels -0, -1, -1, -2
    assert difference.estimate == pytest.approx(-1.0)
    assert (difference.seeds, difference.over, difference.levels) == (1, "levels", 4)


def crossed_run(experiment, seed, own, others):
    """A run with training return ``own`` (one level) and crossed.csv of returns on the sets of ``others``."""
    path = make_run(experiment, "cnn", seed, {"train": [own] * 2, "heldout": [0.0] * 2})
    rows = [
        (f"{10**8 + other * 10**6}+20", other, 10**8 + other * 10**6 + level, 0, value, 30)
        for other, value in others.items()
        for level in range(2)
    ]
    write_rows(path / "crossed.csv", ("level_set", "seed", "level", "episode", "return", "length"), rows)


def test_the_crossed_gap_cancels_the_difficulty_of_sets(tmp_path):
    # set difficulty 0, 3, 6 and 2 more for the agent that trained on it: the raw gap (held out at 0) is 2, 5, 8
    for seed in range(3):
        crossed_run(tmp_path, seed, 3.0 * seed + 2, {other: 3.0 * other for other in range(3) if other != seed})
    cell = cells(tmp_path)["cnn"]
    assert cell.gaps["heldout"].estimate == pytest.approx(5.0)
    assert cell.crossed_gap.estimate == pytest.approx(2.0)
    assert cell.primary_gap == "crossed"


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_crossed_gap_needs_three_seeds_that_played_all_sets(tmp_path, seeds):
    for seed in range(seeds):
        others = {other: 1.0 for other in range(seeds) if other != seed and (seed, other) != (2, 0)}
        crossed_run(tmp_path, seed, 2.0, others)
    cell = cells(tmp_path)["cnn"]
    assert cell.crossed_gap is None
    assert cell.primary_gap == "raw"


def test_seeds_that_did_not_play_all_other_sets_are_missing(tmp_path):
    # difficulty 3 x seed, and 2 more at home; seeds 0 to 2 and 3 to 5 were crossed by two commands
    for group in ((0, 1, 2), (3, 4, 5)):
        for seed in group:
            crossed_run(tmp_path, seed, 3.0 * seed + 2, {other: 3.0 * other for other in group if other != seed})
    summary = summarise(load(tmp_path))
    (cell,) = summary.cells
    assert (cell.crossed_gap, cell.uncrossed) == (None, (0, 1, 2, 3, 4, 5))
    (message,) = summary.missing
    assert message.startswith("cnn, coinrun-easy, 20 levels: no crossed gap; agents of seed 0, 1, 2, 3, 4, 5")


def test_a_crossed_gap_of_fewer_seeds_says_so(tmp_path):
    for seed in range(3):
        crossed_run(tmp_path, seed, 3.0 * seed + 2, {other: 3.0 * other for other in range(3) if other != seed})
    assert summarise(load(tmp_path)).missing == ()
    make_run(tmp_path, "cnn", 3, {"train": [11.0] * 2, "heldout": [0.0] * 2})
    (message,) = summarise(load(tmp_path)).missing
    assert "crossed gap of 3 of 4 seeds alone; agents of seed 0, 1, 2, 3 lack" in message


def test_two_seeds_or_a_set_that_all_share_need_no_crossing(tmp_path):
    for seed in range(2):
        make_run(tmp_path, "cnn", seed)
    for seed in range(4):
        make_run(tmp_path, "vae", seed, level_set="0+20", env="coinrun-themes")
    cnn, vae = summarise(load(tmp_path)).cells
    assert cnn.uncrossed == vae.uncrossed == ()


def test_runs_of_several_commits_get_no_interval_and_no_claim(tmp_path):
    for seed in range(3):
        make_run(tmp_path, "cnn", seed, {"train": [seed, 9.0], "heldout": [seed, 3.0]})
        make_run(tmp_path, "vae", seed, source={"commit": f"abc{seed % 2}"})
    vae, cnn = cells(tmp_path)["vae"], cells(tmp_path)["cnn"]
    assert (vae.name, cnn.name) == ("vae §", "cnn")
    assert (vae.claimable, cnn.claimable) == (False, True)
    assert not math.isnan(cnn.returns["train"].low)
    for interval in (vae.returns["train"], vae.gaps["heldout"], vae.difference(cnn, "heldout")):
        assert math.isfinite(interval.estimate)
        assert math.isnan(interval.low)
    assert math.isnan(cnn.difference(vae, "heldout").p)


def test_a_run_resumed_under_another_commit_is_mixed(tmp_path):
    starts = [{"commit": "abc1234", "versions": {"torch": "2"}}, {"commit": "bbb", "versions": {"torch": "2"}}]
    for seed in range(3):
        make_run(tmp_path, "cnn", seed, source={"starts": starts, "versions": {"torch": "2"}})
    (cell,) = summarise(load(tmp_path)).cells
    assert cell.differing("commit") == ["abc1234", "bbb"]
    assert cell.differing("versions") == []
    assert (cell.name, cell.claimable) == ("cnn §", False)
    assert math.isnan(cell.returns["train"].low)
    assert {row["commit"] for row in score(load(tmp_path))} == {"abc1234 bbb"}


@pytest.mark.parametrize("fact", ["threads", "precision", "device"])
def test_runs_of_several_machines_are_labelled(tmp_path, fact):
    make_run(tmp_path, "cnn", 0, source={fact: "a"})
    make_run(tmp_path, "cnn", 1, source={fact: "b"})
    (cell,) = summarise(load(tmp_path)).cells
    assert cell.name == "cnn §"
    assert cell.differing(fact) == ["a", "b"]
    assert not math.isnan(cell.returns["train"].low)


def test_costs_are_of_both_stages(tmp_path):
    make_run(tmp_path, "darla", env_steps=(261_888, 1_003_520), seconds=(93.0, 157.0))
    make_run(tmp_path, "vae")
    darla = cells(tmp_path)["darla"]
    assert (darla.total_env_steps, darla.total_seconds) == (1_265_408, 250)
    assert math.isnan(cells(tmp_path)["vae"].total_seconds)


AGREEMENT = ("split", "level", "states", "effect", "total_variation")


def test_agreement_resamples_seeds_with_their_levels_or_levels_alone(tmp_path):
    for name, seeds in (("cnn", (0, 1)), ("vae", (0,))):
        for seed in seeds:
            path = make_run(tmp_path, name, seed)
            rows = [("heldout", 100 * seed + level, 48, 0.5 + 0.1 * seed + 0.1 * level, 0.1) for level in range(2)]
            write_rows(path / "agreement.csv", AGREEMENT, rows)
    cnn, vae = cells(tmp_path)["cnn"], cells(tmp_path)["vae"]
    effect, variation = cnn.agreement("heldout")
    # seeds' means 0.55 and 0.65
    assert (effect.estimate, effect.over, effect.seeds) == (pytest.approx(0.6), "seeds and levels", 2)
    assert variation.estimate == pytest.approx(0.1)
    effect, _ = vae.agreement("heldout")
    # 0.5 and 0.6: sd 0.0707, over the root of two 0.05; t(1) = 12.706: 0.55 + 0.64, cut at 1, and 0.55 - 0.64, at 0
    assert (effect.estimate, effect.over, effect.n) == (pytest.approx(0.55), "levels", 2)
    assert (effect.low, effect.high) == (0.0, 1.0)
    assert cnn.agreement("train") is None


def test_pairing_saves_what_levels_and_seeds_have_in_common(tmp_path):
    # the two differ by 1 on every level and seed, so the paired interval has no width, and the unpaired one has
    for seed in range(3):
        values = [float(seed), 4.0 + seed, 9.0]
        make_run(tmp_path, "cnn", seed, {"train": [9.0], "heldout": values})
        make_run(tmp_path, "vae", seed, {"train": [9.0], "heldout": [value + 1 for value in values]})
    cells = {cell.label: cell for cell in summarise(load(tmp_path)).cells}
    paired = cells["vae"].difference(cells["cnn"], "heldout")
    unpaired = cells["vae"].unpaired_difference(cells["cnn"], "heldout")
    assert paired.estimate == unpaired.estimate == pytest.approx(1.0)
    assert paired.high - paired.low == pytest.approx(0.0, abs=1e-9)
    assert unpaired.high - unpaired.low > 1.0


@pytest.mark.parametrize(
    "changes", [{"init_from": "runs/other"}, {"start_from_policy": True}, {"bonus": "rnd:0.5"}, {"repr": "vae"}]
)
def test_the_baseline_begins_afresh_and_without_bonuses(tmp_path, changes):
    plain, other = read(make_run(tmp_path, "cnn", 0)), read(make_run(tmp_path, "cnn", 0, **changes))
    assert is_baseline(Cell("cnn", (plain,)))
    assert not is_baseline(Cell("cnn", (other,)))
