"""Shared parts of the commands: entry point, errors, help, arguments, and files written whole.

    def main(argv: Sequence[str] | None = None) -> int:
        return cli.main(curves, Args, argv)

A command is a function of its parsed arguments. It returns the text to print, or an exit status if it printed itself.
"""

from __future__ import annotations

import csv
import dataclasses
import errno
import io
import itertools
import os
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from envs.registry import UsageError

Experiment = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
"""Positional argument: the --out of benchmarks.transfer or benchmarks.explore."""
OutputFolder = Annotated[Path, tyro.conf.arg(metavar="DIR")]
"""Type of --out where a command writes several files."""
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16"]
DISK_FULL = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EFBIG")} - {None}
HIGHEST_SEED = 2**31 - 1
STOPPED = "stopped"
RESUMABLE = "stopped at once; the same command continues from the last checkpoint"


def main(
    command: Callable[[Any], int | str],
    arguments: type[Any],
    argv: Sequence[str] | None = None,
    *,
    listing: str = "",
    details: Callable[[Sequence[str]], str] | None = None,
    removed: Mapping[str, str] | None = None,
    interrupted: str = STOPPED,
) -> int:
    """Parse ``argv``, run ``command``, and return the exit status: 2 after a UsageError, 130 after an interrupt.

    A list may be given by several flags, ``--seeds 0 --seeds 1``: their values add up.

    Args:
        command: takes an instance of ``arguments``; returns text to print, or an exit status.
        arguments: a dataclass; its docstring and the examples in its module's docstring make the help.
        argv: words after the command's name; None takes those of the process.
        listing: names to show in the help, as of registries.
        details: words -> text printed below the help; it may raise UsageError.
        removed: flags of the version before -> what to do without them.
        interrupted: the line printed when the user interrupts.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    module = sys.modules[arguments.__module__]
    name = module.__spec__.name if module.__spec__ else arguments.__module__
    print_anywhere()
    description = "\n\n".join(filter(None, (arguments.__doc__, listing, examples(module.__doc__ or ""))))
    try:
        refuse_removed(words, removed or {})
        words = merge_repeated(words, arguments)
        wants_help = {"-h", "--help"} & set(words)
        settings_text = details(words) if details and wants_help else ""
        try:
            parsed = tyro.cli(
                arguments,
                prog=f"python -m {name}",
                args=["--help"] if wants_help else words,
                description=description,
                console_outputs=_speaks(),
            )
        except SystemExit as stop:  # after help, or a flag that tyro refused
            if settings_text:
                print(settings_text)
            return int(stop.code or 0)
        result = command(with_unpacked_bundles(parsed))
        status = result if isinstance(result, int) else 0
        if not isinstance(result, int):
            print(result, flush=True)
    except UsageError as error:
        return report_error(error)
    except KeyboardInterrupt:
        if _speaks():
            print(interrupted, file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output has seen enough, as in "| head"
        sys.stdout = None  # type: ignore[assignment]  # else Python fails once more when it flushes at its end
        return 141
    except Exception as error:
        if not is_disk_full(error):
            raise
        return report_error(UsageError(disk_full(error)))
    return status


def with_unpacked_bundles(parsed: Any) -> Any:
    """Arguments of a command whose positional directories are no bundles: their unpacked copies stand for these.

    Raises:
        UsageError: a bundle cannot be read.
    """
    from agents.runs.bundles.address import is_bundle

    changes: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(type(parsed), include_extras=True).items():
        value = getattr(parsed, name)
        paths = value if isinstance(value, tuple) else (value,)
        if tyro.conf.Positional not in getattr(hint, "__metadata__", ()) or not any(map(is_bundle, paths)):
            continue
        unpacked = tuple(_unpacked(path) if is_bundle(path) else path for path in paths)
        changes[name] = unpacked if isinstance(value, tuple) else unpacked[0]
    return dataclasses.replace(parsed, **changes) if changes else parsed


def _unpacked(bundle: Path) -> Path:
    """Folder that a bundle is unpacked in, after a line that says so."""
    from agents.runs.bundles.opening import opened

    folder = opened(bundle)
    print(f"{bundle} is unpacked in {folder}", file=sys.stderr)
    return folder


def report_error(error: Exception) -> int:
    """Print a user's mistake in one line, once for all processes of a torchrun; returns the exit status."""
    if _speaks():
        print(f"error: {error}", file=sys.stderr)
    return 2


def refuse_removed(words: Sequence[str], removed: Mapping[str, str]) -> None:
    """Raise UsageError for a flag that is gone, or its --no- form."""
    for word in words:
        flag = word.partition("=")[0].replace("--no-", "--", 1)
        if flag in removed:
            raise UsageError(f"{word}: {removed[flag]}")


def merge_repeated(words: Sequence[str], arguments: type[Any]) -> list[str]:
    """Words in which each flag stands once, as the parser takes the last one alone: values of a list are joined.

    Raises:
        UsageError: a flag of one value is given twice, with two values.
    """
    starts = [index for index, word in enumerate(words) if word.startswith("--")]
    kinds = typing.get_type_hints(arguments)
    groups: dict[str, list[str]] = {}
    for start, end in itertools.pairwise([*starts, len(words)]):
        word, equals, value = words[start].partition("=")
        group = [word, *([value] if equals else []), *words[start + 1 : end]]
        name = word.removeprefix("--").replace("-", "_")
        positive = name.removeprefix("no_")
        first = groups.setdefault(positive if kinds.get(positive) is bool else name, group)
        if first is not group and typing.get_origin(kinds.get(name)) is tuple:
            first += group[1:]
        elif first != group:
            raise UsageError(f"{' '.join(first)} {' '.join(group)}: {first[0]} takes one value; give it once")
    return [*words[: starts[0] if starts else None], *itertools.chain.from_iterable(groups.values())]


def print_anywhere() -> None:
    """Let a terminal of any encoding show what it can, and '?' for the rest."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def is_disk_full(error: BaseException) -> bool:
    """True where a file could not be written for want of room or quota."""
    return getattr(error, "errno", None) in DISK_FULL or "No space left on device" in str(error)


def disk_full(error: BaseException) -> str:
    """Message about a full disk: the file, where it is known, and what to do."""
    file = getattr(error, "filename", None)
    return "no room left on the disk" + f" for {file}" * bool(file) + "; make room there"


def _speaks() -> bool:
    """True in the one process of a torchrun that prints."""
    return os.environ.get("RANK", "0") == "0"


def examples(docstring: str) -> str:
    """The commands that a module's docstring shows, under a heading; '' where it shows none."""
    commands = [line for line in docstring.splitlines() if line.startswith(("    python -m", "    torchrun"))]
    return "\n".join(["Examples:", *commands]) if commands else ""


def words_after(flag: str, argv: Sequence[str]) -> list[str]:
    """The values given to ``flag``."""
    words = list(argv)
    following = words[words.index(flag) + 1 :] if flag in words else []
    return list(itertools.takewhile(lambda word: not word.startswith("-"), following))


def check_seeds(seeds: Iterable[int]) -> None:
    """Raise UsageError for a seed that the random generators would refuse."""
    for seed in seeds:
        if not 0 <= seed <= HIGHEST_SEED:
            raise UsageError(f"--seeds {seed}: a seed is a whole number from 0 to {HIGHEST_SEED}")


# files ----------------------------------------------------------------------------------------------------------------


def decimals(digits: int) -> Callable[[float], Any]:
    """Format of numbers: rounded to so many digits after the point."""
    return lambda value: round(value, digits)


def significant(digits: int) -> Callable[[float], Any]:
    """Format of numbers: so many significant digits."""
    return lambda value: f"{value:.{digits}g}"


FOUR_DECIMALS = decimals(4)


def csv_text(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], number: Callable[[float], Any] = FOUR_DECIMALS
) -> str:
    """Rows as CSV with LF line ends; ``number`` formats floats. ValueError for a key outside ``columns``."""
    with io.StringIO(newline="") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: number(value) if isinstance(value, float) else value for key, value in row.items()})
        return file.getvalue()


def write_csv(
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    number: Callable[[float], Any] = FOUR_DECIMALS,
) -> None:
    """Write rows as CSV, whole or not at all."""
    write_file(path, csv_text(rows, columns, number).encode())


def write_file(path: Path, data: bytes) -> None:
    """Write to a temporary file and rename it, so that readers see the old file or the new one; makes its folder."""
    from agents.checkpoint import write_aside

    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda temporary: temporary.write_bytes(data))
