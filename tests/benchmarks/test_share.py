"""What a bundle's card says, and what cannot be shared."""

import json
from pathlib import Path

from benchmarks.reporting.cells import Cell
from benchmarks.reporting.model_card import model_card
from benchmarks.reporting.runs import load
from benchmarks.share import main
from tests.benchmarks.tools import make_run


def cell(folder, **changes):
    for seed in (0, 1, 2):
        returns = {"train": [8.0, 6.0 + seed], "heldout": [4.0, 2.0 + seed, 3.0]}
        make_run(folder, "darla", seed, returns, **changes)
    return Cell("darla", tuple(load(folder)))


def test_a_card_says_what_it_is_with_intervals_and_how_to_load_it(tmp_path):
    three = cell(tmp_path)
    card = model_card(three, "hf://me/darla", "picture.png")
    # (7 + 7.5 + 8) / 3, and (3 + 10 / 3 + 11 / 3) / 3
    table = [line.split("|") for line in card.splitlines() if line.startswith("| ")]
    rows = {row[1].strip(): row[2].strip() for row in table}
    assert rows["train"].startswith("7.50 [")
    assert rows["heldout"].startswith("3.33 [")
    (gap,) = (row[3].strip() for row in table if row[1].strip() == "heldout")
    assert gap.startswith("4.17 [")
    assert "Intervals speak of new seeds on new levels" in card
    assert "3 agents, one a seed, trained by `ppo` with the representation `darla` (frozen) on 20 drawn levels" in card
    (name,) = (run.id for run in three.runs if run.config["seed"] == 0)
    assert f'agent = load_agent("hf://me/darla/runs/{three.runs[0].id}")\nenv = agent.make_env(1, "heldout")' in card
    assert "![First frames of each split](picture.png)" in card
    assert rows[name] == "0"
    assert "| abc1234 | `python -m benchmarks.transfer --repr darla` |" in card
    head = card.split("---\n")[1]
    fields = {line.partition(": ")[0]: json.loads(line.partition(": ")[2]) for line in head.strip().splitlines()}
    assert fields["license"] == "mit"
    assert fields["tags"] == ["reinforcement-learning", "generalization", "coinrun", "darla", "ppo"]
    (model,) = fields["model-index"]
    assert [result["metrics"][0]["value"] for result in model["results"]] == [7.5, 3.3333]
    alone = model_card(Cell("darla", three.runs[:1]), "hf://me/darla", "")
    assert 'load_agent("hf://me/darla")' in alone
    assert "these agents on these levels" in alone
    assert "![" not in alone


def test_a_card_escapes_what_comes_from_outside(tmp_path):
    odd = cell(tmp_path, env="maze", suite="a|b\n---\n<script>alert(1)</script>`")
    card = model_card(odd, "x", "")
    assert "<script>" not in card.split("---\n", 2)[2]
    assert card.count("\n---\n") == 1
    assert card.split("---\n")[1].count("\n") == 4


def refusal(capsys, *words):
    assert main([*map(str, words)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_what_cannot_be_shared_is_told_in_one_line(tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    unfinished = make_run(out, "vae", finished=False)
    new = tmp_path / "new"
    assert "is unfinished (stopped at" in refusal(capsys, unfinished, "--to", new)
    assert "has no finished run" in refusal(capsys, out, "--to", new)
    for name in ("cnn", "darla"):
        make_run(out, name)
    line = refusal(capsys, out, "--to", new)
    assert "has 2 rows: " in line
    assert "darla on coinrun-easy, 20 levels" in line
    assert "choose one by --row and --task" in line
    assert "has no row 'nat' on 'any task'; it has: " in refusal(capsys, out, "--row", "nat", "--to", new)
    assert "is not an experiment directory" in refusal(capsys, tmp_path / "nowhere", "--to", new)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "x").touch()
    for place in (taken, taken / "x"):
        assert "is there and not empty; name a new folder" in refusal(capsys, out, "--row", "darla", "--to", place)
    assert "that kind of place is not known" in refusal(capsys, out, "--row", "darla", "--to", "s3://me/darla")
    assert "is no bundle on the hub; write hf://USER/REPO" in refusal(capsys, out, "--row", "darla", "--to", "hf://me")
    assert "has no checkpoint to share" in refusal(capsys, out, "--row", "darla", "--to", new)
    assert not new.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_no_path_of_the_users_home_is_shared(tmp_path, monkeypatch):
    from agents import checkpoint
    from agents.runs.bundles.pack import pack_run

    run = make_run(tmp_path / "out", "darla", source={"command": f"python x --out {tmp_path}/home/runs"})
    checkpoint._write(run / "checkpoint" / "train", 128, {"policy": {"module": {}, "optimizers": {"secret": 1}}})
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    pack_run(run, tmp_path / "packed")
    assert json.loads((tmp_path / "packed" / "source.json").read_text())["command"] == "python x --out ~/runs"
    assert "secret" not in (tmp_path / "packed" / "agent.json").read_text()
