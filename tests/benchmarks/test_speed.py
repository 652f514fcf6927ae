"""The speed table: what is measured, and mistakes; never how fast this machine is."""

import json

import pytest

from benchmarks import speed
from benchmarks.speed import ROWS


def test_rows_are_measured_and_written(tmp_path, capsys, monkeypatch):
    out = tmp_path / "speed.json"
    monkeypatch.setattr(speed, "ROWS", (speed.Row("counting", speed.World("counting", {"size": 8}), 5, 10.0),))
    assert speed.main(["--rounds", "2", "--seconds", "0.05", "--out", str(out)]) == 0
    (row,) = json.loads(out.read_text())
    assert (row["name"], row["num_envs"], len(row["frames_per_second"])) == ("counting", 5, 2)
    assert min(row["frames_per_second"]) > 10
    assert "counting" in capsys.readouterr().out


def test_what_is_promised_is_written_down():
    promised = {row.name: (row.num_envs, row.floor) for row in ROWS if row.floor}
    assert promised == {"breakout index, no copy": (2048, 1e6), "breakout index": (64, 1e5)}


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--only", "nothing"], "no such row"), (["--rounds", "0"], "--rounds 0")]
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert speed.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
