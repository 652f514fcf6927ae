"""Labels of methods."""

import json

import pytest

from benchmarks.reporting.labels import labels_of, levels_in_words
from benchmarks.reporting.report import write_report
from benchmarks.reporting.runs import load
from benchmarks.reporting.summary import summarise
from tests.benchmarks.tools import make_run


def test_labels_name_the_fewest_settings_that_distinguish_cells(tmp_path):
    for beta in (1.0, 4.0):
        make_run(tmp_path, "darla", 0, repr_settings={"beta": beta, "trunk": "nature"})
    make_run(tmp_path, "cnn", 0, mode="online")
    make_run(tmp_path, "vae", 0, mode="frozen")
    make_run(tmp_path, "vae", 0, mode="finetune", repr_settings={"beta": 2.0})
    labels = {cell.label for cell in summarise(load(tmp_path)).cells}
    assert labels == {"darla (beta=1.0)", "darla (beta=4.0)", "cnn", "vae (mode=frozen)", "vae (mode=finetune)"}


def test_a_label_leaves_out_what_most_rows_have(tmp_path):
    usual = {"gamma": 0.99, "entropy": 0.01, "clip": 0.2}
    for changed in ({}, {"gamma": 0.5}, {"entropy": 0.1}, {"entropy": 0.3}, {"gamma": 0.5, "clip": 0.1}):
        make_run(tmp_path, "cnn", 0, algo_settings={**usual, **changed})
    make_run(tmp_path, "vae", 0, algo_settings={**usual, "gamma": 0.5})
    labels = {cell.label for cell in summarise(load(tmp_path)).cells}
    changed = {"cnn (gamma=0.5)", "cnn (entropy=0.1)", "cnn (entropy=0.3)", "cnn (clip=0.1, gamma=0.5)"}
    assert labels == {"cnn", *changed, "vae"}


def test_runs_of_the_version_before_share_a_cell_with_new_ones(tmp_path):
    make_run(tmp_path, "cnn", 0, overlap=False)  # an option that is gone
    make_run(tmp_path, "cnn", 1)
    (cell,) = summarise(load(tmp_path)).cells
    assert (cell.label, cell.seeds) == ("cnn", (0, 1))


def test_an_option_that_is_gone_keeps_its_runs_apart_where_it_was_set(tmp_path):
    make_run(tmp_path, "cnn", 0, overlap=True)
    make_run(tmp_path, "cnn", 1)
    labels = {cell.label for cell in summarise(load(tmp_path)).cells}
    assert labels == {"cnn (overlap=true)", "cnn (overlap=none)"}


def test_drawn_level_sets_share_a_label_and_published_ones_do_not(tmp_path):
    make_run(tmp_path, "cnn", 0)
    make_run(tmp_path, "cnn", 1)  # another set, drawn too
    make_run(tmp_path, "cnn", 2, level_set="0+20")
    path = make_run(tmp_path, "cnn", 3)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"level_set": ""}))  # stands for the published set, too
    cells = {cell.label: cell.seeds for cell in summarise(load(tmp_path)).cells}
    assert cells == {"cnn (level_set=drawn)": (0, 1), "cnn (level_set=published)": (2, 3)}


@pytest.mark.parametrize(
    ("level_set", "count", "words"),
    [
        ("", 1, "no named levels"),
        ("0+1", 1, "1 published level"),
        ("", 20, "20 published levels"),
        ("100000000+1000", 1000, "1,000 drawn levels"),
    ],
)
def test_levels_are_counted_where_they_have_names(level_set, count, words):
    config = {"level_set": level_set, "train_levels": count}
    assert levels_in_words(config, kind=True) == words


def test_numbers_of_steps_are_readable(tmp_path):
    make_run(tmp_path, "cnn", steps=1_000_000)
    make_run(tmp_path, "cnn", steps=1_277_952)
    labels = {cell.label for cell in summarise(load(tmp_path)).cells}
    assert labels == {"cnn (steps=1,000,000)", "cnn (steps=1,277,952)"}


def test_a_label_and_the_size_tell_the_frames_that_were_trained(tmp_path):
    rollout = {"algo_settings": {"n_steps": 256}, "num_envs": 64}
    for steps in (1000, 20_000):
        make_run(tmp_path, "cnn", steps=steps, **rollout)
    runs = load(tmp_path)
    assert sorted(labels_of(runs).values()) == ["cnn (steps=16,384)", "cnn (steps=32,768)"]
    assert "16,384, 32,768 frames each" in write_report(tmp_path) + (tmp_path / "report.md").read_text()
