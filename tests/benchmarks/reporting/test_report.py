"""The report on small experiment directories written here: exact numbers, order, refusals, and the same bytes twice."""

import csv
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import report
from benchmarks.reporting import html, runs, tables
from benchmarks.reporting.report import describe_run, write_report
from envs.registry import UsageError

SPLITS = ("train", "heldout", "monochrome")
COLUMNS = [
    *("suite", "repr", "mode", "algo", "bonus", "trunk", "train_levels", "pretrain_on", "pretrain_frames", "seed"),
    *("steps", "split", "env", "episodes", "return_mean", "return_std", "normalised", "frames_per_second", "commit"),
]


def make_run(
    experiment: Path,
    name: str,
    seed: int = 0,
    returns: dict | None = None,
    *,
    env: str = "coinrun-easy",
    levels: int = 20,
    fps: float = 1000.0,
    finished: bool = True,
    curve: bool = True,
    **changes,
) -> Path:
    """One run's folder as a training run leaves it."""
    returns = returns or {"train": [10.0, 10.0], "heldout": [10.0, 0.0]}
    config = {
        "suite": "coinrun",
        "env": env,
        "repr": name,
        "repr_settings": {"trunk": "nature"},
        "mode": "online" if name == "cnn" else "frozen",
        "algo": "ppo",
        "algo_settings": {},
        "bonus": "none",
        "trunk": "nature",
        "train_levels": levels,
        "pretrain_on": "none" if name == "cnn" else "source",
        "pretrain_frames": 0 if name == "cnn" else 512,
        "seed": seed,
        "steps": 1_000_000,
        "preset": "quick",
        "normalise": [5, 10],
        "splits": list(returns),
    } | changes
    path = experiment / "runs" / f"{env}-{name}-{levels}levels-s{seed}-{zlib.crc32(json.dumps(config).encode()):x}"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    records = [{"global_step": 0, "pretrain/samples": 64, "pretrain/vae/loss": 3.0}]
    for index, step in enumerate((250_000, 500_000, 1_000_000) if curve else ()):
        train, unseen = 6 + index + 0.2 * seed, 5.5 + 0.7 * index
        record = {"global_step": step, "eval/train/return": train, "eval/heldout/return": unseen}
        records.append(record | {"eval/gap": train - unseen, "train/return": train})
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if not finished:
        return path
    source = {
        "commit": "abc1234",
        "command": "python -m benchmarks.transfer --repr darla",
        "versions": {"torch": "2.13.0", "numpy": "1.26.4"},
        "machine": "2 x A Processor",
        "precision": "float32",
        "frames_per_second": fps,
    }
    (path / "source.json").write_text(json.dumps(source))
    with open(path / "eval.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["split", "env", "episode", "level_seed", "return", "length"])
        for split, values in returns.items():
            writer.writerows([split, env, index, index, value, 30] for index, value in enumerate(values))
    (path / "pictures").mkdir()
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path / "pictures" / "looks.png")
    (path / "done").write_text("")
    return path


def one_of_each(experiment: Path) -> None:
    """cnn with a large gap, darla better on unseen levels, random with no gap at all."""
    make_run(experiment, "cnn", 0, {"train": [10, 10, 10, 10], "heldout": [10, 0, 0, 10]}, fps=2000.0)
    make_run(experiment, "darla", 0, {"train": [10, 10, 10, 0], "heldout": [10, 10, 0, 10]}, fps=500.0)
    make_run(experiment, "random", 0, {"train": [0, 0, 10, 0], "heldout": [0, 10, 0, 0]}, fps=3000.0)


def test_results_have_one_row_per_run_and_split_with_exact_numbers(tmp_path):
    make_run(tmp_path, "darla", 3, {"train": [10.0, 10.0, 4.0], "heldout": [2.0, 6.0]}, fps=123.456)
    make_run(tmp_path, "cnn", 3, finished=False)
    rows = runs.score(runs.load(tmp_path))
    assert [list(row) for row in rows] == [COLUMNS, COLUMNS]
    train, held_out = rows
    assert (train["split"], train["episodes"], train["return_mean"]) == ("train", 3, 8.0)
    assert train["return_std"] == pytest.approx(12**0.5)  # deviations 2, 2, -4; 24 / (3 - 1)
    assert train["normalised"] == pytest.approx(0.6)  # (8 - 5) / (10 - 5)
    assert (held_out["split"], held_out["episodes"], held_out["return_mean"]) == ("heldout", 2, 4.0)
    assert held_out["normalised"] == pytest.approx(-0.2)
    assert (held_out["seed"], held_out["pretrain_on"], held_out["commit"]) == (3, "source", "abc1234")
    assert held_out["frames_per_second"] == 123.456


def test_results_without_constants_leave_normalised_empty(tmp_path):
    make_run(tmp_path, "darla", normalise=None, returns={"train": [1.0]})
    (row,) = runs.score(runs.load(tmp_path))
    assert (row["normalised"], row["return_std"]) == ("", "")
    assert runs.table([row]).splitlines()[1].endswith(",1,1.0,,,1000.0,abc1234")


def test_one_seed_is_measured_over_its_episodes_and_labelled_so(tmp_path):
    one_of_each(tmp_path)
    summary = runs.summarise(runs.load(tmp_path))
    cnn = next(cell for cell in summary.cells if cell.label == "cnn")
    assert (cnn.returns["heldout"].estimate, cnn.returns["heldout"].over) == (5.0, "episodes")
    assert (cnn.gaps["heldout"].estimate, cnn.gaps["heldout"].n) == (5.0, 4)
    assert "train" not in cnn.gaps
    assert any(note.startswith("One seed: intervals are over the episodes") for note in tables.notes(summary))
    assert "seeds; rows with 1" not in write_report(tmp_path)


def test_several_seeds_are_resampled_as_seeds_and_the_gap_is_paired(tmp_path):
    for seed, level in enumerate((4.0, 6.0, 9.0)):
        make_run(tmp_path, "darla", seed, {"train": [level + 1, level + 3], "heldout": [level, level]})
    (cell,) = runs.summarise(runs.load(tmp_path)).cells
    assert cell.seeds == (0, 1, 2)
    found = cell.returns["heldout"]
    assert (found.estimate, found.over, found.n) == (pytest.approx(19 / 3), "seeds", 3)
    assert (found.low, found.high) == (4.0, 9.0)  # three times the same seed: 1 / 27 > 2.5%
    gap = cell.gaps["heldout"]  # each seed loses exactly 2, whatever its level
    assert (gap.estimate, gap.low, gap.high) == pytest.approx((2.0, 2.0, 2.0))


def test_rows_follow_heldout_return_and_never_the_gap(tmp_path):
    one_of_each(tmp_path)
    summary = runs.summarise(runs.load(tmp_path))
    # random has the smallest gap, 2.5 - 2.5 = 0, and comes last
    assert [cell.label for cell in summary.cells] == ["darla", "cnn", "random"]
    assert [cell.gaps["heldout"].estimate for cell in summary.cells] == [0.0, 5.0, 0.0]
    assert any("never by the gap" in note for note in tables.notes(summary))


def test_speed_is_shown_beside_the_baselines(tmp_path):
    one_of_each(tmp_path)
    summary = runs.summarise(runs.load(tmp_path))
    header, rows = tables.headline(summary)
    assert header[-1] == "x cnn"
    assert {row[0]: row[-2:] for row in rows if row[0]} == {
        "darla": ["500", "0.25"],
        "cnn": ["2,000", "1.00"],
        "random": ["3,000", "1.50"],
    }


def test_difference_to_the_baseline_has_its_sign(tmp_path):
    one_of_each(tmp_path)
    _, rows = tables.against_baseline(runs.summarise(runs.load(tmp_path)))
    assert [(row[0], row[4].split()[0], row[5]) for row in rows] == [
        ("darla", "+2.50", "episodes"),  # 7.5 - 5
        ("random", "-2.50", "episodes"),
    ]


def test_what_is_not_finished_is_named_with_its_reason(tmp_path):
    make_run(tmp_path, "cnn", 0)
    make_run(tmp_path, "cnn", 1)
    make_run(tmp_path, "darla", 0)
    stopped = make_run(tmp_path, "random", 0, finished=False)
    with open(stopped / "metrics.jsonl", "a") as handle:
        handle.write('{"global_step": 10000')  # killed while it wrote
    broken = make_run(tmp_path, "vae", 0)
    (broken / "eval.csv").write_text("split,env\ntrain,coinrun-easy\n")
    partial = make_run(tmp_path, "beta_vae", 0)
    (partial / "eval.csv").write_text("split,return\ntrain,1.0\n")
    foreign = tmp_path / "runs" / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"a": 1}')
    found = {run.path.name: run for run in runs.load(tmp_path)}
    assert found[stopped.name].state == "unfinished"
    assert found[stopped.name].reason == "stopped at 1,000,000 of 1,000,000 frames"
    assert found[broken.name].state == found[partial.name].state == found["foreign"].state == "damaged"
    text = write_report(tmp_path)
    assert f"{stopped.name}: unfinished, stopped at 1,000,000 of 1,000,000 frames" in text
    assert f"{partial.name}: damaged, eval.csv has no episodes of heldout" in text
    assert "foreign: damaged" in text
    assert "darla, coinrun-easy, 20 training levels: no run with seed 1" in text
    assert "cnn, coinrun-easy, 20 training levels: no run" not in text
    for name in ("report.md", "report.html"):
        assert partial.name in (tmp_path / name).read_text()


def test_labels_say_as_little_as_tells_cells_apart(tmp_path):
    for beta in (1.0, 4.0):
        make_run(tmp_path, "darla", 0, repr_settings={"beta": beta, "trunk": "nature"})
    make_run(tmp_path, "cnn", 0, mode="online")
    make_run(tmp_path, "vae", 0, mode="frozen")
    make_run(tmp_path, "vae", 0, mode="finetune", repr_settings={"beta": 2.0})
    labels = {cell.label for cell in runs.summarise(runs.load(tmp_path)).cells}
    assert labels == {"darla (beta=1.0)", "darla (beta=4.0)", "cnn", "vae (mode=frozen)", "vae (mode=finetune)"}


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    one_of_each(tmp_path)
    names = ("results.csv", "report.md", "report.html")
    text = write_report(tmp_path)
    before = [(tmp_path / name).read_bytes() for name in names]
    assert write_report(tmp_path) == text
    assert [(tmp_path / name).read_bytes() for name in names] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [*sorted([*names, "runs"])]


def test_the_page_loads_nothing_and_shows_what_it_must(tmp_path):
    one_of_each(tmp_path)
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert "<script" not in page
    assert "@import" not in page
    for words in ("Return on training levels", "Gap during training", "Gap to heldout", "diagonal", "Pictures"):
        assert words in page
    assert "data:image/png;base64," in page
    # the published rows say how the protocol departs
    assert "20 training levels here, 200 there; 1M frames here, 25M there" in page
    assert "Prioritized Level Replay" in page
    for fact in ("abc1234", "torch 2.13.0", "python -m benchmarks.transfer --repr darla"):
        assert fact in page


def test_published_rows_stand_only_beside_the_same_game(tmp_path):
    make_run(tmp_path, "cnn", env="coinrun-hard")
    write_report(tmp_path)
    for name in ("report.md", "report.html"):
        assert "Prioritized" not in (tmp_path / name).read_text()


def test_names_are_escaped(tmp_path):
    make_run(tmp_path, "mine:<b>Mine", env="a|b")
    write_report(tmp_path)
    assert "mine:<b>" not in (tmp_path / "report.html").read_text()
    assert "mine:&lt;b&gt;Mine" in (tmp_path / "report.html").read_text()


def test_several_numbers_of_levels_get_their_own_figures(tmp_path):
    for levels in (10, 50):
        make_run(tmp_path, "cnn", levels=levels)
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Gap against the number of training levels" in page
    assert "<summary>coinrun-easy, 50 training levels</summary>" in page


def test_several_tasks_are_aggregated_over_the_seeds_that_finished_all(tmp_path):
    # normalised (x - 5) / 5. cnn: train 1 everywhere, held-out 0.2 and 0.6 on the tasks, both seeds alike
    for env, held_out in (("maze-easy", 6.0), ("heist-easy", 8.0)):
        for seed in (0, 1):
            make_run(tmp_path, "cnn", seed, {"train": [10.0], "heldout": [held_out]}, env=env)
            make_run(tmp_path, "vae", seed, {"train": [10.0], "heldout": [held_out + 1]}, env=env)
    make_run(tmp_path, "vae", 2, env="maze-easy")  # not on heist: left out of the aggregate
    header, rows = tables.aggregates(runs.summarise(runs.load(tmp_path)))
    by_label = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    cnn, vae = by_label["cnn"], by_label["vae"]
    assert (cnn["tasks"], cnn["seeds"], vae["seeds"]) == ("2", "2", "2")
    # four numbers 0.2 0.2 0.6 0.6, one cut from each end: (0.2 + 0.6) / 2
    assert cnn["IQM held-out"].startswith("0.40")
    assert (cnn["mean"], cnn["median"], cnn["optimality gap"]) == ("0.40", "0.40", "0.60")
    assert cnn["IQM gap"].startswith("+0.60")
    assert cnn["P(> cnn)"] == "–"
    assert vae["P(> cnn)"].startswith("1.00")


def test_terminal_text_fits_its_width_whatever_the_names(tmp_path):
    splits = {"train": [10.0, 0.0], "heldout": [0.0, 10.0], "monochrome+colours/heldout": [10.0, 0.0, 0.0]}
    for levels in (100, 1000):
        for name in ("cnn", "somebody.package.module:TheirRepresentation"):
            make_run(tmp_path, name, 0, splits, env="coinrun-hard", levels=levels)
            make_run(tmp_path, name, 1, splits, env="coinrun-hard", levels=levels)
    text = write_report(tmp_path)
    assert max(map(len, text.split("not in the table")[0].splitlines())) <= 120
    assert "monochrome+colours/heldout" in text
    assert "…" in text


def test_intervals_in_words():
    from benchmarks.reporting.stats import Interval

    assert tables.interval(Interval(9.0, 8.714, 9.266, "seeds", 3)) == "9.00 [8.71, 9.27]"
    assert tables.interval(Interval(1.0, -0.5, 2.5, "seeds", 3), sign=True) == "+1.00 [-0.50, +2.50]"
    assert tables.interval(Interval(9.0, 9.0, 9.0, "seeds", 1)) == "9.00 [n=1]"
    assert tables.interval(Interval(10.0, 10.0, 10.0, "episodes", 64)) == "10.00 [all equal]"
    assert tables.interval(None) == "–"


def test_an_experiment_without_finished_runs_still_reports(tmp_path):
    make_run(tmp_path, "cnn", finished=False)
    assert write_report(tmp_path).startswith("no finished runs yet")
    assert (tmp_path / "results.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert "No finished runs yet" in (tmp_path / "report.html").read_text()


def test_line_of_a_run(tmp_path):
    path = make_run(tmp_path, "darla", 0, {"train": [10, 10], "heldout": [10, 0]}, fps=1234.5)
    assert describe_run(path) == f"{path.name}: train 10.00, heldout 5.00 (gap +5.00); 1,234 frames/s"
    stopped = make_run(tmp_path, "cnn", finished=False)
    assert "unfinished" in describe_run(stopped)


def test_a_directory_without_runs_is_refused_in_one_line(tmp_path, capsys):
    with pytest.raises(UsageError, match="not an experiment directory"):
        runs.load(tmp_path)
    assert report.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert report.main(["--help"]) == 0


def test_curves_use_only_steps_that_every_seed_recorded(tmp_path):
    make_run(tmp_path, "cnn", 0)
    short = make_run(tmp_path, "cnn", 1)
    lines = (short / "metrics.jsonl").read_text().splitlines(keepends=True)
    (short / "metrics.jsonl").write_text("".join(lines[:-1]))
    summary = runs.summarise(runs.load(tmp_path))
    curve = html._curves(summary.cells, "eval/train/return")["cnn"]
    assert curve.steps.tolist() == [250_000, 500_000]
    np.testing.assert_allclose(curve.mean, [6.1, 7.1])  # 6 and 6.2, then 7 and 7.2
    np.testing.assert_allclose([curve.low, curve.high], [[6, 7], [6.2, 7.2]])


def test_what_a_representation_was_fitted_on_is_said_with_the_frames_counted(tmp_path):
    make_run(tmp_path, "cnn")
    make_run(tmp_path, "darla", pretrain_on="all", pretrain_frames=32_768)
    make_run(tmp_path, "vae")
    said = [note for note in tables.notes(runs.summarise(runs.load(tmp_path))) if "fitted" in note]
    assert sorted(said) == [
        "darla: fitted beforehand on 32,768 frames of a random policy, without reward, from every look of the "
        "training levels.",
        "vae: fitted beforehand on 512 frames of a random policy, without reward, from the source look of the "
        "training levels.",
    ]


def test_published_figures_are_shown_as_printed_under_our_own(tmp_path):
    make_run(tmp_path, "cnn")
    _, rows = tables.beside(runs.summarise(runs.load(tmp_path)), "coinrun-easy")
    assert rows[0][:2] == ["heldout", "cnn"]
    assert rows[0][-1].startswith("here: ")
    assert ["heldout", "PPO", "10.0 ± 0.0", "9.0 ± 0.1", "+1.10", "CLOP"] in rows
    assert ["heldout", "PPO", "9.5", "8.25", "+1.25", "Cetin"] in rows


def test_agreement_stands_beside_the_splits_that_show_the_same_states(tmp_path):
    for seed, agreed in ((0, 0.5), (1, 0.7)):
        path = make_run(tmp_path, "cnn", seed=seed)
        (path / "agreement.csv").write_text(f"split,argmax,total_variation,states\nheldout,{agreed},0.1,96\n")
    header, rows = tables.headline(runs.summarise(runs.load(tmp_path)))
    shown = {row[header.index("split")]: row[header.index("agree")] for row in rows}
    assert (shown["train"], shown["heldout"]) == ("", "60%")  # (0.5 + 0.7) / 2
    assert "the very states" in write_report(tmp_path)
