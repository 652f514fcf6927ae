"""The report's tables with exact numbers."""

from benchmarks.reporting import context_tables, tables
from benchmarks.reporting.report import write_report
from benchmarks.reporting.runs import load
from benchmarks.reporting.summary import summarise
from envs.reference_scores import Reference, known, save
from tests.benchmarks.reporting.test_cells import AGREEMENT, crossed_run
from tests.benchmarks.reporting.test_comparisons import pair
from tests.benchmarks.tools import make_run, one_of_each, write_rows


def test_costs_are_of_pretraining_and_rl_together(tmp_path):
    make_run(tmp_path, "cnn", env_steps=(0, 1_003_520), seconds=(0.0, 300.0), fps=3333.0)
    make_run(tmp_path, "darla", env_steps=(261_888, 1_003_520), seconds=(93.0, 157.0), fps=6369.0)
    header, rows = context_tables.costs(summarise(load(tmp_path)))
    steps, seconds = ["pre-train steps", "RL steps"], ["pre-train s", "RL s", "total s"]
    assert header == ["method", *steps, *seconds, "x cnn", "frames/s"]
    # 250 / 300 seconds: cheaper by a sixth, not by half as RL alone would have it
    assert rows == [
        ["cnn", "0", "1,003,520", "0", "300", "300", "1.00", "3,333"],
        ["darla", "261,888", "1,003,520", "93", "157", "250", "0.83", "6,369"],
    ]


def test_speed_alone_is_shown_where_costs_are_not_known(tmp_path):
    one_of_each(tmp_path)
    header, rows = context_tables.costs(summarise(load(tmp_path)))
    assert header == ["method", "frames/s"]
    assert rows == [["cnn", "2,000"], ["darla", "500"], ["random", "3,000"]]


def test_difference_to_the_baseline_has_its_sign(tmp_path):
    one_of_each(tmp_path)
    header, rows = tables.against_baseline(summarise(load(tmp_path)))
    places = [header.index(name) for name in ("method", "outcome", "minus cnn [95%]", "paired by", "resamples")]
    assert [[row[place].split(" [")[0] for place in places] for row in rows] == [
        ["darla", "held-out return", "+2.50", "levels, sets", "4 levels"],  # 7.5 - 5
        ["darla", "gap", "-5.00", "levels, sets", "4 levels"],  # 0 - 5
        ["random", "held-out return", "-2.50", "levels, sets", "4 levels"],
        ["random", "gap", "-5.00", "levels, sets", "4 levels"],
    ]


def test_the_primary_outcome_stands_in_the_headline(tmp_path):
    one_of_each(tmp_path)
    header, rows = tables.headline(summarise(load(tmp_path)))
    place = header.index("minus cnn [95%]")
    shown = [row[place].split(" [")[0] for row in rows]
    assert shown == ["–", "–", "–", "+2.50", "–", "-2.50"]  # cnn, darla, random; train, heldout
    assert "Primary outcome: return on unseen levels minus" in write_report(tmp_path)


def test_marks_are_shown_where_a_row_differs(tmp_path):
    pair(tmp_path)
    header, rows = tables.against_baseline(summarise(load(tmp_path)))
    shown = {row[1]: row[header.index("minus cnn [95%]")].endswith("*") for row in rows}
    assert shown == {"held-out return": False, "gap": True}
    assert {row[1]: row[header.index("p (Holm)")] for row in rows}["held-out return"] == "not declared"


def test_looks_are_compared_in_a_table_of_their_own(tmp_path):
    values = {"train": [9.0, 9.0], "heldout": [8.0, 6.0], "monochrome": [5.0, 3.0]}
    make_run(tmp_path, "cnn", returns=values)
    make_run(tmp_path, "vae", returns=values | {"monochrome": [7.0, 7.0]})
    _, rows = tables.looks_against_baseline(summarise(load(tmp_path)))
    assert [row[:3] for row in rows] == [["vae", "looks", "monochrome"]]
    assert rows[0][3].startswith("+3.00")


def test_the_gap_is_shown_three_ways(tmp_path):
    for seed in range(3):
        crossed_run(tmp_path, seed, 3.0 * seed + 2, {other: 3.0 * other for other in range(3) if other != seed})
    header, rows = tables.gaps(summarise(load(tmp_path)))
    assert header == ["method", "split", "as it is", "crossed"]  # nothing was matched
    (row,) = rows
    assert (row[2].split()[0], row[3].split()[0]) == ("+5.00", "+2.00")
    assert tables.matched_gaps(summarise(load(tmp_path)))[1] == []


def test_the_gap_of_one_seed_is_net_of_a_policy_that_sees_nothing(tmp_path):
    # the training set is 3 easier for everybody; cnn loses 2 more than that
    make_run(tmp_path, "blind", 0, {"train": [4.0, 4.0], "heldout": [1.0, 1.0]})
    make_run(tmp_path, "cnn", 0, {"train": [9.0, 9.0], "heldout": [4.0, 4.0]})
    header, rows = tables.gaps(summarise(load(tmp_path)))
    shown = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert header == ["method", "split", "as it is", "net of blind"]
    assert shown["cnn"]["as it is"].startswith("+5.00")
    assert shown["cnn"]["net of blind"].startswith("+2.00")
    assert shown["blind"]["net of blind"] == "–"


def test_the_gap_at_matched_source_return_has_a_column_a_goal(tmp_path):
    path = make_run(tmp_path, "cnn", normalise=[0, 10])
    header = ("fraction", "split", "half", "level", "episode", "return")
    best = {"train": 8.0, "heldout": 4.0}
    rows = [(f, split, half, 1, 0, f * best[split]) for f in (0.1, 1.0) for split in best for half in "ab"]
    write_rows(path / "matched.csv", header, rows)
    header, rows = tables.gaps(summarise(load(tmp_path)))
    assert header[-3:] == ["at 0.5", "at 0.7", "at 0.9"]
    # at 5 and 7 of 8 the target has 2.5 and 3.5
    assert [text.split()[0] for text in rows[0][-3:]] == ["+2.50", "+3.50", "not"]
    header, rows = tables.matched_gaps(summarise(load(tmp_path)))
    assert header[2:] == [f"at 0.{digit}" for digit in range(1, 10)]


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
    assert (cnn["P(> cnn)"], cnn["IQM minus cnn"]) == ("–", "–")
    assert vae["P(> cnn)"].startswith("1.00")
    assert vae["IQM minus cnn"].startswith("+0.20")  # 6 + 1 and 8 + 1 of 5: one fifth more


def test_aggregates_compare_each_algorithm_with_its_own_baseline(tmp_path):
    for env in ("maze-easy", "heist-easy"):
        for seed in (0, 1):
            for algo, held_out in (("ppo", 6.0), ("a2c", 9.0)):
                make_run(tmp_path, "cnn", seed, {"train": [10.0], "heldout": [held_out]}, env=env, algo=algo)
                make_run(tmp_path, "vae", seed, {"train": [10.0], "heldout": [held_out + 0.5]}, env=env, algo=algo)
    header, rows = tables.aggregates(summarise(load(tmp_path)))
    shown = {row[0]: row[header.index("IQM minus cnn")].split()[0] for row in rows}
    assert shown["vae (algo=ppo)"] == shown["vae (algo=a2c)"] == "+0.10"


def test_references_are_those_of_the_runs_own_levels(tmp_path, monkeypatch):
    for seed in range(2):
        make_run(tmp_path, "cnn", seed, returns={"train": [9.0, 9.0], "heldout": [8.0], "monochrome": [7.0]})
    make_run(tmp_path, "cnn", 0, returns={"train": [9.0, 9.0, 9.0]}, levels=200)
    make_run(tmp_path, "cnn", 0, returns={"train": [9.0, 9.0]}, level_set="0+20")
    make_run(tmp_path, "vae", 0, returns={"train": [9.0, 9.0]}, window=100)
    save(
        [
            Reference("coinrun-easy", "train", "random", 2.0, 1.0, 9, "ours", "100000000+2"),
            Reference("coinrun-easy", "train", "random", 5.0, 1.0, 9, "ours", "101000000+2"),
            Reference("coinrun-easy", "train", "scripted", 6.0, 1.0, 9, "ours", "101000000+2"),
            Reference("coinrun-easy", "train", "random", 9.0, 1.0, 9, "more levels", "100000000+3"),
            Reference("coinrun-easy", "train", "random", 7.0, 1.0, 9, "nobody's", "300000000+2"),
            Reference("coinrun-easy", "train", "random", 30.0, 1.0, 9, "in windows", "100000000+2", 100),
            Reference("coinrun-easy", "heldout", "random", 3.0, 1.0, 9, "ours", "2000000+1"),
        ],
        tmp_path / "references.csv",
    )
    others = [
        Reference("coinrun-easy", "monochrome", "random", 2.5, 1.0, 9, "theirs", "7+20"),
        Reference("coinrun-easy", "train", "random", 9.0, 1.0, 9, "theirs", "0+20"),
        Reference("another", "train", "random", 9.0, 1.0, 9, "theirs", "0+20"),
    ]
    monkeypatch.setattr(context_tables, "known", lambda table=None: known(table) if table else tuple(others))
    assert context_tables.references(summarise(load(tmp_path)))[1] == [
        ["coinrun-easy", "20 drawn", "train", "the runs' own, 2 sets", "3.50", "6.00", "ours"],  # (2 + 5) / 2
        ["coinrun-easy", "20 drawn", "heldout", "2000000+1", "3.00", "–", "ours"],
        ["coinrun-easy", "20 drawn", "monochrome", "others: 7+20", "2.50", "–", "theirs"],
        ["coinrun-easy", "20 published", "train", "others: 0+20", "9.00", "–", "theirs"],
        ["coinrun-easy", "20 drawn, windows of 100", "train", "100000000+2", "30.00", "–", "in windows"],
        ["coinrun-easy", "200 drawn", "train", "100000000+3", "9.00", "–", "more levels"],
    ]


def test_published_returns_are_shown_as_printed_under_our_own(tmp_path):
    make_run(tmp_path, "cnn", level_set="0+20")
    make_run(tmp_path, "vae")  # on a drawn set, which no study trains on
    _, rows = context_tables.with_published(summarise(load(tmp_path)), "coinrun-easy")
    assert rows[0][:2] == ["heldout", "cnn"]
    assert not any(row[1] == "vae" for row in rows)
    assert rows[0][-1].startswith("here: ")
    assert ["heldout", "PPO", "10.0 ± 0.0", "9.0 ± 0.1", "+1.10", "CLOP"] in rows
    assert ["heldout", "PPO", "9.5", "8.25", "+1.25", "Cetin"] in rows


def test_agreement_is_shown_for_splits_that_show_the_same_states(tmp_path):
    for seed, agreed in ((0, 0.5), (1, 0.7)):
        path = make_run(tmp_path, "cnn", seed=seed)
        rows = [("heldout", 100 * seed + level, 48, agreed, 0.1) for level in range(2)]
        write_rows(path / "agreement.csv", AGREEMENT, rows)
    header, rows = tables.agreements(summarise(load(tmp_path)))
    assert header == ["method", "split", "agreement [95%]", "total variation [95%]", "states", "resamples"]
    (row,) = rows
    assert (row[1], row[2].split()[0], row[3].split()[0]) == ("heldout", "0.60", "0.10")  # (0.5 + 0.7) / 2
    assert row[4:] == ["192", "2 seeds x 2 levels"]
    assert "Agreement by effect" in write_report(tmp_path)
