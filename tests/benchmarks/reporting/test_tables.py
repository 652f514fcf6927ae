"""The report's tables with exact numbers."""

from benchmarks.reporting import tables
from benchmarks.reporting.cells import summarise
from benchmarks.reporting.report import write_report
from benchmarks.reporting.runs import load
from tests.benchmarks.tools import make_run, one_of_each


def test_speed_is_shown_relative_to_the_baseline(tmp_path):
    one_of_each(tmp_path)
    summary = summarise(load(tmp_path))
    header, rows = tables.headline(summary)
    assert header[-1] == "x cnn"
    assert {row[0]: row[-2:] for row in rows if row[0]} == {
        "darla": ["500", "0.25"],
        "cnn": ["2,000", "1.00"],
        "random": ["3,000", "1.50"],
    }


def test_difference_to_the_baseline_has_its_sign(tmp_path):
    one_of_each(tmp_path)
    _, rows = tables.against_baseline(summarise(load(tmp_path)))
    assert [(row[0], row[4].split()[0], row[5]) for row in rows] == [
        ("darla", "+2.50", "episodes"),  # 7.5 - 5
        ("random", "-2.50", "episodes"),
    ]


def test_tasks_are_aggregated_over_the_seeds_that_finished_all(tmp_path):
    # normalised (x - 5) / 5. cnn: train 1 everywhere, held-out 0.2 and 0.6 on the tasks, both seeds alike
    for env, held_out in (("maze-easy", 6.0), ("heist-easy", 8.0)):
        for seed in (0, 1):
            make_run(tmp_path, "cnn", seed, {"train": [10.0], "heldout": [held_out]}, env=env)
            make_run(tmp_path, "vae", seed, {"train": [10.0], "heldout": [held_out + 1]}, env=env)
    make_run(tmp_path, "vae", 2, env="maze-easy")  # not on heist: left out of the aggregate
    header, rows = tables.aggregates(summarise(load(tmp_path)))
    by_label = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    cnn, vae = by_label["cnn"], by_label["vae"]
    assert (cnn["tasks"], cnn["seeds"], vae["seeds"]) == ("2", "2", "2")
    # four numbers 0.2 0.2 0.6 0.6, one cut from each end: (0.2 + 0.6) / 2
    assert cnn["IQM held-out"].startswith("0.40")
    assert (cnn["mean"], cnn["median"], cnn["optimality gap"]) == ("0.40", "0.40", "0.60")
    assert cnn["IQM gap"].startswith("+0.60")
    assert cnn["P(> cnn)"] == "–"
    assert vae["P(> cnn)"].startswith("1.00")


def test_published_returns_are_shown_as_printed_under_our_own(tmp_path):
    make_run(tmp_path, "cnn")
    _, rows = tables.with_published(summarise(load(tmp_path)), "coinrun-easy")
    assert rows[0][:2] == ["heldout", "cnn"]
    assert rows[0][-1].startswith("here: ")
    assert ["heldout", "PPO", "10.0 ± 0.0", "9.0 ± 0.1", "+1.10", "CLOP"] in rows
    assert ["heldout", "PPO", "9.5", "8.25", "+1.25", "Cetin"] in rows


def test_agreement_is_shown_for_splits_that_show_the_same_states(tmp_path):
    for seed, agreed in ((0, 0.5), (1, 0.7)):
        path = make_run(tmp_path, "cnn", seed=seed)
        (path / "agreement.csv").write_text(f"split,argmax,total_variation,states\nheldout,{agreed},0.1,96\n")
    header, rows = tables.headline(summarise(load(tmp_path)))
    shown = {row[header.index("split")]: row[header.index("agreement")] for row in rows}
    assert (shown["train"], shown["heldout"]) == ("", "60%")  # (0.5 + 0.7) / 2
    assert "agreement = how often" in write_report(tmp_path)
