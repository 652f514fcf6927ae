"""The command: what it writes and when, which rows are chosen, the check, and mistakes."""

import json

import pytest

from benchmarks import speed
from benchmarks.baselines import measurement, speed_rows
from benchmarks.baselines.frameworks import Figures
from benchmarks.baselines.speed_rows import COMPARED, Row
from envs.registry import UsageError


@pytest.fixture
def paces(monkeypatch):
    """Name of a row -> its pretended frames/s; 1 for the others. The list holds the keys that were measured."""
    speeds, asked = {}, []

    def fake(row, seconds, device):
        asked.append(row.key)
        if row.name == "nowhere":
            raise UsageError("not here")
        return Figures(speeds.get(row.name, 1.0), 100.0)

    monkeypatch.setattr(measurement, "in_own_process", fake)
    return speeds, asked


def test_the_file_is_written_after_each_measurement(tmp_path, capsys, monkeypatch, paces):
    out = tmp_path / "new" / "speed.json"
    rows = [Row("environments", name, "environment", {}) for name in ("other", "nowhere", "coinrun")]
    monkeypatch.setattr(speed_rows, "rows", lambda: rows)
    monkeypatch.setattr(measurement, "machine", lambda device: {
        "cpu": "A", "cores": 2, "gpu": "", "precision": "float32", "torch": "2", "commit": "abc",
    })  # fmt: skip
    written = []
    fake = measurement.in_own_process

    def watching(row, seconds, device):
        written.append([len(row["rounds"]) for row in json.loads(out.read_text())["rows"]] if out.exists() else [])
        return fake(row, seconds, device)

    monkeypatch.setattr(measurement, "in_own_process", watching)
    assert speed.main(["--rounds", "3", "--out", str(out)]) == 0
    assert written == [[], [1], [1], [1, 1], [1, 2]]
    report = json.loads(out.read_text())
    assert [(row["name"], len(row["rounds"])) for row in report["rows"]] == [("other", 1), ("coinrun", 3)]
    assert report["machine"]["commit"] == "abc"
    text = capsys.readouterr().out
    assert "2 cores of A; torch 2, ours in float32; commit abc" in text
    assert "environments: nowhere: not here" in text


def test_a_check_measures_the_ratios_and_fails_where_one_fell(tmp_path, capsys, monkeypatch, paces):
    committed = tmp_path / "speed.json"
    committed.write_text(json.dumps({"ratios": {"impala: ours / single file": [4.0]}}))
    monkeypatch.setattr(speed, "COMMITTED", committed)
    speeds, asked = paces
    speeds |= {"impala, ours": 30.0, "impala, single file": 10.0}
    assert speed.main(["--check", "--rounds", "1"]) == 1
    assert "fell: impala: ours / single file is 3.00, committed 4.00" in capsys.readouterr().out
    assert set(asked) == COMPARED
    speeds["impala, ours"] = 36.0
    assert speed.main(["--check", "--rounds", "1"]) == 0
    assert "no ratio below" in capsys.readouterr().out


def test_the_time_of_a_bonus_is_a_column_of_its_own(capsys, paces):
    speeds, _ = paces
    speeds |= {"none": 80.0, "rnd": 60.0}
    assert speed.main(["--only", "bonuses", "--rounds", "1"]) == 0
    header, _, *rows = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert header.endswith("time of the bonus")
    assert next(row for row in rows if " rnd " in row).endswith("25%")


def test_a_group_is_chosen_by_name_and_other_words_look_into_names():
    chosen = [row.key for row in speed.choose(speed.Args(only=("frozen", "coinrun-themes")))]
    assert chosen == [
        "environments: coinrun-themes",
        "frozen: nature, only acting",
        "frozen: impala, only acting",
        "frozen: nature, only acting, 256 environments",
    ]


def test_a_group_is_read_by_its_old_name_with_a_line(capsys):
    chosen = speed.choose(speed.Args(only=("envs",)))
    assert {row.group for row in chosen} == {"num_envs"}
    assert capsys.readouterr().err == "--only envs: this group is now called num_envs\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nothing"], "--only nothing: no such row. Groups: environments, agents"),
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
