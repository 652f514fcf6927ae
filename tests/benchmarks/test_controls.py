"""What controls say a task can decide, from runs whose returns are written by hand."""

import csv

import pytest

from benchmarks.controls import decided, main, read
from benchmarks.experiment.references import FILE
from envs.reference_scores import Reference, save
from tests.benchmarks.tools import make_run

SPLITS = ("train", "heldout", "monochrome")


def make_controls(experiment, cnn, blind, oracle=None, seeds=3, env="rooms", **changes):
    """Three rows of ``seeds`` runs; each policy's returns are one number a split, and one level differs by seed."""
    policies = {"cnn": cnn, "blind": blind} | ({"oracle": oracle} if oracle else {})
    for name, returns in policies.items():
        for seed in range(seeds):
            spread = [value + 0.1 * seed for value in (0.0, 0.2, 0.0, -0.2)]
            split_returns = {
                split: [value + more for more in spread] for split, value in zip(SPLITS, returns, strict=True)
            }
            final = {"final_validation": {"step": 1, "return": returns[1] + 0.1 * seed}}
            facts = {"source": final} | changes
            make_run(experiment, name, seed, split_returns, levels=4, env=env, normalise=[0, 10], **facts)


def test_a_task_decides_what_its_controls_tell_apart(tmp_path):
    make_controls(tmp_path, cnn=(9, 6, 4), blind=(2, 2, 2), oracle=(9.5, 9.5, 9.5))
    (task,) = read(tmp_path)
    assert decided(task) == ("held-out return", "gap", "looks")


@pytest.mark.parametrize(
    ("cnn", "blind", "outcomes"),
    [
        ((9, 2, 2), (2, 2, 2), ("gap", "looks")),  # on unseen levels no better than blind
        ((9, 9, 9), (2, 2, 2), ("held-out return",)),  # nothing is lost anywhere
        ((9.6, 9.6, 9.6), (2, 2, 2), ()),  # no room above it on unseen levels
        ((2, 2, 1), (2, 2, 2), ()),  # nothing was learnt, so nothing is there to lose
    ],
)
def test_each_outcome_needs_its_own_difference(cnn, blind, outcomes, tmp_path):
    make_controls(tmp_path, cnn=cnn, blind=blind)
    (task,) = read(tmp_path)
    assert decided(task) == outcomes


@pytest.mark.parametrize(
    ("env", "scripted", "outcomes"),
    [
        ("coinrun-easy", 5.0, ("held-out return",)),  # sees nothing: the CNN, 5.85 to 6.35, must be above it
        ("coinrun-easy", 6.0, ()),
        ("coinrun-easy", None, ()),
        ("rooms", 6.2, ()),  # solves the task: the CNN must be below it
        ("rooms", 6.5, ("held-out return",)),
        ("rooms", None, ("held-out return",)),
    ],
)
def test_a_cnn_is_told_from_the_script_of_its_task(env, scripted, outcomes, tmp_path):
    make_controls(tmp_path, cnn=(6, 6, 6), blind=(2, 2, 2), env=env)
    if scripted is not None:
        save([Reference(env, "heldout", "scripted", scripted, 1.0, 4, "python -m envs", "2000000+4")], tmp_path / FILE)
    (task,) = read(tmp_path)
    assert decided(task) == outcomes


def test_two_seeds_and_fallen_runs_decide_nothing(tmp_path):
    make_controls(tmp_path / "two", cnn=(9, 6, 4), blind=(2, 2, 2), seeds=2)
    fell = {"best_validation": {"step": 1, "return": 9.0}, "final_validation": {"step": 2, "return": 5.0}}
    make_controls(tmp_path / "fell", cnn=(9, 6, 4), blind=(2, 2, 2), source=fell)
    assert [decided(task) for name in ("two", "fell") for task in read(tmp_path / name)] == [(), ()]


def test_csv_and_table_hold_every_policy(tmp_path, capsys):
    make_controls(tmp_path, cnn=(9, 6, 4), blind=(2, 2, 2), oracle=(9.5, 9.5, 9.5))
    played = [
        Reference("rooms", "train", policy, mean, 1.0, 8, "python -m envs", f"{start}+{count}", window, commit)
        for policy, start, count, mean, window, commit in (
            ("random", 100_000_000, 4, 1.0, 0, "abc"),
            ("random", 101_000_000, 4, 2.0, 0, "abd"),
            ("random", 200_000_000, 4, 30.0, 0, "others"),  # levels of no run here
            ("random", 102_000_000, 20, 40.0, 0, "more levels"),
            ("random", 102_000_000, 4, 50.0, 100, "in windows"),
            ("scripted", 100_000_000, 4, 9.0, 0, ""),
        )
    ]
    save(played, tmp_path / FILE)
    out = tmp_path / "controls.csv"
    assert main([str(tmp_path), "--out", str(out)]) == 0
    rows = {(row["policy"], row["split"]): row for row in csv.DictReader(out.read_text().splitlines())}
    assert len(rows) == 2 + 3 * 3  # two references on one split, three trained rows on three
    assert float(rows["random", "train"]["return"]) == 1.5  # mean over the two sets of levels that runs have
    assert (rows["random", "train"]["commit"], rows["scripted", "train"]["commit"]) == ("abc, abd", "")
    assert rows["cnn", "train"]["level_set"] == "100000000+4, 101000000+4, 102000000+4"
    # seeds add 0, 0.1 and 0.2 to each return, levels 0 on average
    assert float(rows["cnn", "heldout"]["return"]) == pytest.approx(6.1)
    assert float(rows["cnn", "heldout"]["normalised"]) == pytest.approx(0.61)
    assert (rows["oracle", "train"]["seeds"], rows["oracle", "train"]["commit"]) == ("3", "abc1234")
    printed = capsys.readouterr().out
    assert "held-out return, gap, looks" in printed
    assert "+4.00" in printed


@pytest.mark.parametrize("rows", [["cnn"], ["cnn", "blind", "longer"]])
def test_missing_and_unequal_controls_are_refused(rows, tmp_path, capsys):
    for name in rows:
        steps = 2_000_000 if name == "longer" else 1_000_000
        make_run(tmp_path, "oracle" if name == "longer" else name, steps=steps)
    assert main([str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert ("train --repr cnn blind" if rows == ["cnn"] else "give all the same --steps") in message


def test_without_unseen_levels_no_return_on_them_is_decided(tmp_path):
    for name, value in (("cnn", 6.0), ("blind", 2.0)):
        for seed in range(3):
            returns = {"train": [value, value + 0.2], "juggling": [value - 1, value - 0.9]}
            make_run(tmp_path, name, seed, returns, levels=2, env="breakout", normalise=[0, 10])
    (task,) = read(tmp_path)
    assert task.cnn.target == "juggling"
    assert decided(task) == ("gap",)


def with_validation(experiment, cnn, blind, unseen, train=9.0):
    """Three seeds of both with the same held-out returns ``unseen``, and these last returns on validation levels."""
    for name, values in (("cnn", cnn), ("blind", blind)):
        for seed, value in enumerate(values):
            returns = {"train": [train, train + 0.1], "heldout": [unseen[name], unseen[name] + 0.1]}
            final = {"final_validation": {"step": 1, "return": value}}
            make_run(experiment, name, seed, returns, levels=2, env="rooms", normalise=[0, 10], source=final)


@pytest.mark.parametrize(
    ("cnn", "outcomes"),
    [
        # seeds differ by 0.1: t(2) = 4.303, half width 4.303 * 0.1 / sqrt(3) = 0.25
        ((6.0, 6.1, 6.2), ("held-out return", "gap")),
        ((2.0, 2.1, 2.2), ("gap",)),  # the blind policy's are 2.1: 0 +- 0.25
        ((1.0, 6.0, 9.0), ()),  # 5.3 +- 10
        ((9.4, 9.5, 9.3), ()),  # ends at 9.65, above the ceiling; gap -0.35 +- 0.25
    ],
)
def test_validation_levels_decide_whatever_held_out_returns_are(cnn, outcomes, tmp_path):
    blind = (1.9, 2.0, 2.1) if cnn[0] != 2.0 else (2.1, 2.1, 2.1)
    for place, unseen in enumerate(({"cnn": 0.0, "blind": 9.0}, {"cnn": 9.0, "blind": 0.0})):
        with_validation(tmp_path / str(place), cnn, blind, unseen)
        (task,) = read(tmp_path / str(place))
        assert decided(task) == outcomes


def test_variants_on_held_out_levels_choose_no_looks(tmp_path):
    for name, value in (("cnn", 9.0), ("blind", 2.0)):
        for seed in range(3):
            final = {"final_validation": {"step": 1, "return": value}}
            returns = {"train": [value - 0.1, value], "heldout": [value] * 2, "dark/heldout": [0.0, 0.1]}
            make_run(tmp_path / "held", name, seed, returns, levels=2, env="rooms", source=final)
            returns = {"train": [value - 0.1, value], "heldout": [value] * 2, "dark": [0.0, 0.1]}
            make_run(tmp_path / "own", name, seed, returns, levels=2, env="rooms", source=final)
    assert [decided(task) for name in ("held", "own") for task in read(tmp_path / name)] == [
        ("held-out return",),
        ("held-out return", "looks"),
    ]
