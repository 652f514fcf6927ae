"""The shared entry point: exit statuses, one line of error for all ranks, help, and CSV files written whole."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import cli
from envs.registry import UsageError

COMMANDS = sorted(
    path.stem
    for path in (Path(__file__).resolve().parents[2] / "benchmarks").glob("*.py")
    if path.stem not in ("__init__", "cli", "tour")  # a tour runs from its first line to its last
)


@dataclass(frozen=True)
class Args:
    """Double a number."""

    value: int = 1
    """Number to double."""


def double(args):
    if args.value < 0:
        raise UsageError(f"--value {args.value}: give at least 0")
    if args.value == 7:
        raise KeyboardInterrupt
    return f"twice is {2 * args.value}" if args.value < 100 else args.value


def test_text_is_printed_and_a_status_is_passed_on(capsys):
    assert cli.main(double, Args, ["--value", "3"]) == 0
    assert capsys.readouterr().out == "twice is 6\n"
    assert cli.main(double, Args, ["--value", "123"]) == 123
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_a_usage_error_is_one_line_on_rank_zero_alone(rank, lines, capsys, monkeypatch):
    monkeypatch.setenv("RANK", rank)
    assert cli.main(double, Args, ["--value", "-2"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: --value -2: give at least 0\n" * lines
    assert captured.out == ""


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_an_interrupt_is_one_line_on_rank_zero_alone(rank, lines, capsys, monkeypatch):
    monkeypatch.setenv("RANK", rank)
    assert cli.main(double, Args, ["--value", "7"], interrupted="stopped here") == 130
    assert capsys.readouterr().err == "stopped here\n" * lines


def test_an_unknown_flag_exits_with_2(capsys):
    assert cli.main(double, Args, ["--number", "3"]) == 2
    assert "--number" in capsys.readouterr().err


def test_help_shows_docstring_listing_and_details(capsys):
    assert cli.main(double, Args, ["--value", "3", "--help"], listing="Names: a, b", details=" ".join) == 0
    text = capsys.readouterr().out
    for words in ("Double a number.", "Number to double.", "Names: a, b", "--value 3 --help"):
        assert words in text


def test_a_mistake_in_the_details_is_one_line_instead_of_help(capsys):
    def refuse(words):
        raise UsageError("no such name")

    assert cli.main(double, Args, ["-h"], details=refuse) == 2
    assert capsys.readouterr() == ("", "error: no such name\n")


@pytest.mark.parametrize("word", ["--old", "--no-old", "--old=3"])
def test_a_removed_flag_is_named_with_what_to_do_instead(word, capsys):
    assert cli.main(double, Args, [word], removed={"--old": "leave it out"}) == 2
    assert capsys.readouterr().err == f"error: {word}: leave it out\n"


@dataclass(frozen=True)
class Lists:
    """Print what was given."""

    seeds: tuple[int, ...] = ()
    """Several."""
    steps: int | None = None
    """One."""
    greedy: bool = False
    """Yes or no."""


@pytest.mark.parametrize(
    ("argv", "parsed"),
    [
        (["--seeds", "0", "--seeds", "3", "1"], Lists((0, 3, 1))),
        (["--seeds=0", "--steps", "5", "--seeds=2"], Lists((0, 2), 5)),
        (["--seeds", "4", "--steps", "5", "--steps", "5", "--greedy", "--greedy"], Lists((4,), 5, True)),
    ],
)
def test_lists_given_by_repeated_flags_add_up(argv, parsed, capsys):
    assert cli.main(repr, Lists, argv) == 0
    assert capsys.readouterr().out == f"{parsed!r}\n"


@pytest.mark.parametrize("argv", [["--steps", "5", "--steps=6"], ["--greedy", "--no-greedy"]])
def test_one_value_given_twice_is_refused(argv, capsys):
    assert cli.main(repr, Lists, argv) == 2
    assert "takes one value; give it once" in capsys.readouterr().err


def test_a_full_disk_is_one_line(capsys):
    def full(args):
        raise OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl")

    assert cli.main(full, Lists, []) == 2
    assert capsys.readouterr().err == "error: no room left on the disk for metrics.jsonl; make room there\n"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EFBIG, "File too large"), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),  # of code that is not Python's
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("a mistake"), False),
    ],
)
def test_disks_that_are_full(error, full):
    assert cli.is_disk_full(error) is full


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding_is_printed_to(encoding):
    code = "from benchmarks import cli; cli.print_anywhere(); print('Schr\u00f6dinger \u2013 \u03bc')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, check=True)
    assert done.stdout.decode(encoding).startswith("Schr")


def test_examples_are_the_commands_of_a_docstring():
    text = "Title.\n\n    python -m benchmarks.x DIR\n    AUC = 1\n    torchrun -m benchmarks.x\n"
    assert cli.examples(text) == "Examples:\n    python -m benchmarks.x DIR\n    torchrun -m benchmarks.x"
    assert cli.examples("Title.") == ""


def test_words_after_a_flag_end_at_the_next_flag():
    assert cli.words_after("--repr", ["--seed", "1", "--repr", "a", "b", "--out", "c"]) == ["a", "b"]
    assert cli.words_after("--repr", ["--seed", "1"]) == []


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_seeds_outside_32_bits_are_refused(seed):
    cli.check_seeds((0, 2**31 - 1))
    with pytest.raises(UsageError, match=f"--seeds {seed}: .* from 0 to 2147483647"):
        cli.check_seeds((0, seed))


def test_numbers_are_rounded_and_lines_end_in_lf(tmp_path):
    rows = [{"name": "a", "x": 0.123456789}, {"name": "b,c", "x": math.nan}, {"name": "d", "x": 3}]
    cli.write_csv(tmp_path / "new" / "rows.csv", rows, ("name", "x"))
    assert (tmp_path / "new" / "rows.csv").read_bytes() == b'name,x\na,0.1235\n"b,c",nan\nd,3\n'
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["rows.csv"]  # nothing of the writing is left
    assert cli.csv_text([{"x": 1234.5678e-9}], ("x",), cli.significant(4)) == "x\n1.235e-06\n"
    assert cli.csv_text([{"x": 2 / 3}], ("x",), cli.decimals(6)) == "x\n0.666667\n"
    with pytest.raises(ValueError, match="y"):
        cli.csv_text([{"x": 1, "y": 2}], ("x",))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_imports_no_torch(command):
    script = (
        "import sys\n"
        f"from benchmarks import {command}\n"
        f"assert {command}.main(['--help']) == 0\n"
        "heavy = {'torch', 'procgen', 'stable_baselines3'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m benchmarks.{command}" in done.stdout
    assert f"python -m benchmarks.{command}" in done.stdout.partition("Examples:")[2]


def test_a_reader_who_has_seen_enough_gets_no_traceback():
    command = f"{sys.executable} -m benchmarks.transfer --help | head -n 1"
    result = subprocess.run(command, shell=True, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert result.stdout.startswith("usage:")
    assert result.stderr == ""
