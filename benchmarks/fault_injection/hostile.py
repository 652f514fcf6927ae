"""Row 8: hostile files, given to whatever reads such files here.

Each child has limits of memory, time and file size. A payload would make a canary file; none may appear, nothing may be
written outside the folder that is read, and the reader says in one line what is wrong.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from benchmarks.fault_injection import hostile_files as files
from benchmarks.fault_injection import remains
from benchmarks.fault_injection.children import finish
from benchmarks.fault_injection.kills import KINDS, never_stopped
from benchmarks.fault_injection.trials import Row, Trial, attempt

MEMORY = 2 << 30
Reader = Literal["load", "report", "evaluate", "begin"]


@dataclass(frozen=True)
class Hostile:
    """A file and its reader."""

    build: files.Builder
    reader: Reader = "load"
    """load_agent, the commands report and evaluate, or a new run that begins with its weights."""
    pattern: str = "error: "
    """Line that must be printed."""
    statuses: tuple[int, ...] = (2,)


DAMAGED = "damaged"
FILES = (
    *map(Hostile, (files.plain_pickle, files.torch_file, files.sb3_zip, files.pickle_for_tensors)),
    *map(Hostile, (files.pickle_for_document, files.pickle_for_policy)),
    Hostile(files.pickles_for_numbers, "report", DAMAGED, (0, 2)),
    *map(Hostile, (files.seven_zip, files.zip_slip, files.zip_bomb)),
    *map(Hostile, (files.giant_header, files.lying_shape, files.overlapping_tensors, files.other_shapes)),
    *map(Hostile, (files.deep_document, files.deep_config, files.unknown_nodes, files.list_for_document)),
    Hostile(files.target_class, "load", "", (0, 2)),  # settings that a class does not have are left out
    *map(Hostile, (files.class_path, files.yaml_tag)),
    Hostile(files.upward_names, "report", "", (0, 1, 2)),
    Hostile(files.script_in_names, "report", "", (0, 1, 2)),
    Hostile(files.huge_numbers, "report", "", (0, 1, 2)),
    Hostile(files.picture_bomb, "report", "", (0,)),
    Hostile(files.pickle_for_tensors, "evaluate", "", (1, 2)),
    Hostile(files.giant_header, "begin", "", (1, 2)),
    Hostile(files.class_path, "evaluate", "", (1, 2)),
)
SHORT = (2, 3, 11, 20)


def read_hostile(folder: Path, short: bool) -> Iterator[Trial]:
    """Every file in a copy of one finished run."""
    never_stopped(KINDS[0], folder / "whole")
    for number, hostile in enumerate(FILES):
        if not short or number in SHORT:
            name = f"{hostile.build.__name__.replace('_', ' ')}, {hostile.reader}"
            yield attempt(name, partial(_read, folder, folder / str(number), hostile))


def _read(folder: Path, place: Path, hostile: Hostile) -> str:
    experiment, canary = place / "experiment", place / "canary"
    shutil.copytree(folder / "whole", experiment)
    path, memory = hostile.build(experiment, canary), place / "memory"
    before = _outside(folder, experiment)
    job = partial(limited, _reader(hostile.reader, path, place / "new"), str(memory))
    log = folder / f"{place.name}.log"
    status, text = finish(job, log)
    if canary.exists() or (folder / canary.name).exists():
        return f"{hostile.build.__name__}: its payload ran"
    written = _outside(folder, experiment) - before - {memory, log}
    if written := {path for path in written if place / "new" not in (path, *path.parents)}:
        return f"{hostile.build.__name__}: wrote outside its folder: {', '.join(sorted(map(str, written)))}"
    if memory.exists() and int(memory.read_text(encoding="utf-8")) > MEMORY:
        return f"{hostile.build.__name__}: took {int(memory.read_text(encoding='utf-8')) / 2**30:.1f} GB"
    page = experiment / "report.html"
    if page.exists() and "<script>alert" in page.read_text(encoding="utf-8"):
        return f"{hostile.build.__name__}: a script of its own is in report.html"
    wrong = remains.bad_message(status, text, hostile.pattern, hostile.statuses)
    return f"{hostile.build.__name__}, {hostile.reader}: {wrong}" if wrong else ""


def _outside(folder: Path, experiment: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if experiment not in (path, *path.parents)}


def _reader(reader: Reader, path: Path, new: Path) -> Any:
    from benchmarks.fault_injection.worker import Command, training

    if reader == "load":
        return partial(load, str(path))
    if reader == "begin":
        return training(new, "--init-from", str(path), report=False)
    return Command(reader, (str(path),))


def load(path: str) -> int:
    """load_agent, with a UsageError as a command would print it."""
    from agents.runs.load import load_agent
    from envs.registry import UsageError

    try:
        load_agent(path)
    except UsageError as error:
        print(f"error: {error}")
        return 2
    return 0


def limited(job: Any, memory: str) -> Any:
    """Run ``job`` under limits, and write the most memory it had (bytes of resident set) into a file."""
    import resource

    now = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
    try:
        return job()
    finally:
        Path(memory).write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024), encoding="utf-8")


ROWS = (
    Row(
        8,
        f"{len(FILES)} hostile files: pickles, archives, bombs, lying headers, class paths, upward names",
        "no payload runs, nothing written outside, less than 2 GB, one line",
        read_hostile,
        size=len(FILES),
        short_size=len(SHORT),
    ),
)
