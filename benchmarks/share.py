"""A bundle of finished runs to give away: weights, configuration, evaluation, a card and a picture.

    python -m benchmarks.share runs/coinrun-quick/runs/RUN --to shared/darla          # one agent, into a new folder
    python -m benchmarks.share runs/coinrun-quick --row darla --to hf://me/darla      # all seeds of a row, onto the hub
    python -m benchmarks.evaluate hf://me/darla                                       # wherever a run is taken

A bundle holds tensors, JSON, CSV, Markdown and pictures, and MANIFEST.sha256, and nothing that can run. It is read back
by load_agent("hf://me/darla"), and by every command that takes a run's folder or an experiment directory.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from benchmarks import cli
from envs.registry import UsageError

if TYPE_CHECKING:
    from benchmarks.reporting.cells import Cell


@dataclass(frozen=True)
class Args:
    """Make a bundle of one row's finished runs: all of its seeds, or one run."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Experiment directory, of which all seeds of one row are shared; or one run's folder, DIR/runs/<id>."""
    to: str
    """New folder, or hf://USER/REPO (needs the extra hub, and a token)."""
    row: str = ""
    """Row to share, as tables call it; needed where the directory has several."""
    task: str = ""
    """Task of the row; needed where it was trained on several."""
    private: bool = False
    """Make the repository a private one."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(share, Args, argv)


def share(args: Args) -> str:
    """Write the bundle, or send it; returns the text to print.

    Raises:
        UsageError: nothing finished is there, several rows are, or the place is taken.
    """
    from agents.runs.bundles import hub
    from agents.runs.bundles.address import is_address, parse

    cell = chosen_cell(args)
    names = ", ".join(run.id for run in cell.runs)
    if is_address(args.to):
        address = parse(args.to)
        hub.client()
        with tempfile.TemporaryDirectory() as scratch:
            folder = write_bundle(cell, Path(scratch) / "bundle", str(address))
            place = hub.upload(folder, address, args.private)
        return f"shared: {names}\n{place}"
    if "://" in args.to:
        raise UsageError(f"--to {args.to}: that kind of place is not known; give a folder, or hf://USER/REPO")
    folder = Path(args.to)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"--to {args.to} is there and not empty; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        written = write_bundle(cell, Path(scratch) / "bundle", args.to)
        if folder.is_dir():
            folder.rmdir()
        written.rename(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"shared: {names}\n{folder} ({size / 2**20:.1f} MB)"


def chosen_cell(args: Args) -> Cell:
    """The finished runs to share: all seeds of a row on a task, or the run that is named.

    Raises:
        UsageError: none is finished, several rows are there, or none of that name.
    """
    from benchmarks.reporting.cells import Cell
    from benchmarks.reporting.labels import labels_of
    from benchmarks.reporting.runs import load, read
    from benchmarks.reporting.summary import summarise

    if (args.source / "config.json").exists():
        run = read(args.source)
        if run.state != "finished":
            raise UsageError(f"{args.source} is {run.state} ({run.reason}); bring it to its end before it is shared")
        return Cell(labels_of([run])[run.id], (run,))
    summary = summarise(load(args.source))
    fitting = [cell for cell in summary.cells if args.row in ("", cell.label) and args.task in ("", cell.env)]
    if len(fitting) == 1:
        return fitting[0]
    names = "; ".join(f"{cell.label} on {cell.env}, {cell.train_levels} levels" for cell in fitting or summary.cells)
    if not summary.cells:
        raise UsageError(f"{args.source} has no finished run; bring one to its end before it is shared")
    if not fitting:
        raise UsageError(f"{args.source} has no row '{args.row}' on '{args.task or 'any task'}'; it has: {names}")
    raise UsageError(
        f"{args.source} has {len(fitting)} rows: {names}; choose one by --row and --task, or name one run's folder"
    )


def write_bundle(cell: Cell, folder: Path, place: str) -> Path:
    """Write the bundle of a cell's runs to a new folder.

    Args:
        place: where it goes, for the card.
    """
    from agents.runs.bundles import manifest, pack
    from benchmarks.reporting.model_card import model_card
    from benchmarks.reporting.runs import results_csv, score

    for run in cell.runs:
        pack.pack_run(run.path, folder / "runs" / run.id)
    pack.write_index(folder, {"row": cell.label, "task": cell.env, "runs": [run.id for run in cell.runs]})
    cli.write_file(folder / "results.csv", results_csv(score(cell.runs)).encode())
    picture = picture_of(cell)
    if picture is not None:
        shutil.copyfile(picture, folder / f"picture{picture.suffix}")
    card = model_card(cell, place, f"picture{picture.suffix}" if picture else "")
    cli.write_file(folder / "README.md", card.encode())
    manifest.write(folder)
    return folder


def picture_of(cell: Cell) -> Path | None:
    """First frames of the splits of the first run, or another picture of it; None where it has none."""
    pictures = {path.stem: path for run in reversed(cell.runs) for path in run.pictures}
    return pictures.get("splits") or next(iter(pictures.values()), None)


if __name__ == "__main__":
    raise SystemExit(main())
