"""The speed tables: what is measured, ratios by hand, the check, and mistakes; never how fast this machine is."""

import json

import pytest
import torch
from torch import nn

from benchmarks import speed
from benchmarks.baselines import frameworks
from benchmarks.baselines.frameworks import Figures, usual_network
from benchmarks.speed import RATIOS, Measured, Row, World, bonus_shares, fell, ratios, rows
from envs.registry import UsageError
from representations.nets import make_trunk

COUNTING = World("counting", {"size": 36})


def measured(key, *speeds):
    group, _, name = key.partition(": ")
    return Measured(Row(group, name, "ours", {}), [Figures(one, 100.0) for one in speeds])


def test_rows_are_measured_each_in_a_process_of_its_own_and_written(tmp_path, capsys, monkeypatch):
    out = tmp_path / "new" / "speed.json"
    options = {"world": COUNTING, "num_envs": 5}
    row = Row("worlds", "counting", "world", options, 10.0)
    absent = Row("worlds", "nowhere", "world", {"world": World("counting", {"size": 0}), "num_envs": 5})
    monkeypatch.setattr(speed, "rows", lambda: [row, absent])
    assert speed.main(["--rounds", "1", "--seconds", "0.05", "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    (found,) = written["rows"]
    assert (found["group"], found["name"], len(found["rounds"])) == ("worlds", "counting", 1)
    assert min(figures["frames_per_second"] for figures in found["rounds"]) > 10
    assert 10 < found["rounds"][0]["peak_mib"] < 10_000
    assert written["machine"]["cores"] >= 1
    shown = capsys.readouterr().out
    assert "counting" in shown
    assert "worlds: nowhere: " in shown


def test_rows_of_ratios_have_all_rounds_the_rest_one_and_each_round_is_written(tmp_path, monkeypatch):
    out, written = tmp_path / "speed.json", []
    needed = Row("worlds", "coinrun", "world", {})
    monkeypatch.setattr(speed, "rows", lambda: [Row("worlds", "other", "world", {}), needed])

    def alone(row, args):
        written.append(len(json.loads(out.read_text())["rows"][1]["rounds"]) if out.exists() else 0)
        return Figures(1.0, 100.0)

    monkeypatch.setattr(speed, "alone", alone)
    assert speed.main(["--rounds", "3", "--out", str(out)]) == 0
    assert [len(row["rounds"]) for row in json.loads(out.read_text())["rows"]] == [1, 3]
    assert written == [0, 0, 1, 2]


@pytest.mark.parametrize("work", ["ours", "sb3", "single_file"])
def test_every_loop_counts_its_frames(work, monkeypatch):
    """A clock that moves 2 s a look: one counted call of 6 * 5 frames takes 2 s."""
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(frameworks.time, "perf_counter", lambda: float(next(clock)))
    found = getattr(frameworks, work)(1.0, "cpu", world=COUNTING, num_envs=5, n_steps=6, trunk="nature")
    assert found.frames_per_second == pytest.approx(6 * 5 / 2)


def test_pretraining_counts_its_samples(monkeypatch):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(frameworks.time, "perf_counter", lambda: float(next(clock)))
    found = frameworks.pretraining(1.0, "cpu", world=COUNTING, repr="vae", samples=128)
    assert found.frames_per_second == pytest.approx(128 / 2)


@pytest.mark.parametrize("trunk", ["nature", "impala"])
def test_the_usual_network_is_ours_in_plain_modules(trunk):
    ours, usual = make_trunk(trunk, (3, 64, 64)), usual_network(trunk, (3, 64, 64))
    for own, other in zip(ours.parameters(), usual.parameters(), strict=True):
        other.data.copy_(own)
    image = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert not any(isinstance(layer, nn.ReLU) and layer.inplace for layer in usual.modules())
    torch.testing.assert_close(ours(image), usual(image.float() / 255), rtol=1e-3, atol=1e-4)


def test_ratios_are_taken_within_rounds():
    rounds = [
        measured("agents: impala, ours", 10.0, 60.0),
        measured("agents: impala, single file", 5.0, 20.0),
        measured("worlds: coinrun", 1.0, 1.0),
    ]
    assert ratios(rounds) == {"impala: ours / single file": [2.0, 3.0]}


def test_the_share_of_a_bonus():
    """60 frames/s instead of 80: a quarter of the run; 40 instead of 80, a half; the median of 1/4, 1/2, 1/4."""
    rounds = [measured("bonuses: none", 80.0, 80.0, 80.0), measured("bonuses: rnd", 60.0, 40.0, 60.0)]
    assert bonus_shares(rounds) == {"bonuses: rnd": "25% of the run"}
    assert bonus_shares(rounds[1:]) == {}


def test_what_fell():
    """The median of 3.0, 3.5, 9.0 is 3.5: 70% of 5, 88% of 4."""
    now = {"a": [9.0, 3.0, 3.5], "new": [1.0]}
    assert fell(now, {"a": [5.0, 5.0, 5.0]}) == ["fell: a is 3.50, committed 5.00"]
    assert fell(now, {"a": [4.0]}) == []


def test_a_check_measures_the_ratios_and_fails_where_one_fell(tmp_path, capsys, monkeypatch):
    committed = tmp_path / "speed.json"
    committed.write_text(json.dumps({"ratios": {"impala: ours / single file": [4.0]}}))
    monkeypatch.setattr(speed, "COMMITTED", committed)
    pace = {"impala, ours": 30.0, "impala, single file": 10.0}
    asked = []

    def alone(row, args):
        asked.append(row.key)
        return Figures(pace.get(row.name, 1.0), 100.0)

    monkeypatch.setattr(speed, "alone", alone)
    assert speed.main(["--check", "--rounds", "1"]) == 1
    assert "fell: impala: ours / single file is 3.00, committed 4.00" in capsys.readouterr().out
    assert set(asked) == {key for ratio in RATIOS for key in (ratio.above, ratio.below)}
    pace["impala, ours"] = 36.0
    assert speed.main(["--check", "--rounds", "1"]) == 0
    assert "no ratio below" in capsys.readouterr().out


def test_every_ratio_names_rows_and_every_method_and_bonus_has_one():
    keys = {row.key for row in rows()}
    assert len(keys) == len(rows())
    assert {key for ratio in RATIOS for key in (ratio.above, ratio.below)} <= keys
    assert {"pretraining: gqn", "pretraining: darla", "bonuses: icm", "envs: 1024 environments"} <= keys
    assert "methods: ppo over unreal (online)" in keys
    assert {row.name: (row.options["num_envs"], row.floor) for row in rows() if row.floor} == {
        "breakout index, no copy": (2048, 1e6),
        "breakout index": (64, 1e5),
    }


def test_a_group_s_name_chooses_the_group_and_any_other_word_looks_into_names():
    chosen = [row.key for row in rows() if speed._wanted(row, speed.Args(only=("frozen", "coinrun-themes")))]
    assert chosen == [
        "worlds: coinrun-themes",
        "frozen: nature, only acting",
        "frozen: impala, only acting",
        "frozen: nature, only acting, 256 environments",
    ]


def test_a_killed_process_is_named(monkeypatch):
    row = Row("worlds", "gone", "_exit", {})
    monkeypatch.setattr(speed, "_call", _die)
    with pytest.raises(UsageError, match="its process was killed"):
        speed.alone(row, speed.Args())


def _die(row, seconds, device):
    import os

    os._exit(9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nothing"], "--only nothing: no such row. Groups: worlds, agents"),
        (["--rounds", "0"], "--rounds 0"),
        (["--check"], "--check needs"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "COMMITTED", tmp_path / "none.json")
    assert speed.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
