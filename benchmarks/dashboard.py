"""The project's page on Weights & Biases, built as code; and runs that were written offline, sent there.

    python -m benchmarks.dashboard --dry-run                          # the page as JSON and as a picture
    python -m benchmarks.dashboard --entity my-team                   # put the page into my-team's project
    python -m benchmarks.dashboard --sync runs/coinrun-quick --dry-run
    python -m benchmarks.dashboard --sync runs/coinrun-quick          # send its runs, continued ones as one

The page groups runs by their row: those that differ in nothing but the seed. --sync first writes what came after
training (probe scores, maps of the bonus, recordings), and runs that were trained without --log wandb whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks import cli
from envs.registry import UsageError


@dataclass(frozen=True)
class Args:
    """Build the project's page on Weights & Biases, or send runs there."""

    sync: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR")] = ()
    """Experiment directories whose runs are sent, in place of the page."""
    entity: str = ""
    """Team or user that owns the project. Default: that of the key."""
    project: str = ""
    """Project. Default: WANDB_PROJECT of the environment, or rl-transfer; runs that are sent keep their own."""
    dry_run: bool = False
    """Send nothing: write the page to --out, or print what --sync would send."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("runs/dashboard.json")
    """JSON of the page, for --dry-run; a drawing of its layout goes beside it, as SVG."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(dashboard, Args, argv)


def dashboard(args: Args) -> str:
    """Build the page, or send runs; returns the text to print.

    Raises:
        UsageError: no key, no network, no package, or a directory without runs.
    """
    if args.sync:
        return _sync(args)
    from agents.runs.trackers.tracker import PROJECT
    from benchmarks.tracking.layout import draw
    from benchmarks.tracking.workspace import as_document, build_workspace, push

    project = args.project or os.environ.get("WANDB_PROJECT", PROJECT)
    if not args.dry_run:
        _require_key()
        return f"page: {push(args.entity, project)}"
    document = as_document(build_workspace(args.entity, project))
    picture = args.out.with_suffix(".svg")
    cli.write_file(args.out, (json.dumps(document, indent=1) + "\n").encode())
    cli.write_file(picture, draw(document).encode())
    return f"written: {args.out}, {picture}; nothing was sent"


def _sync(args: Args) -> str:
    from benchmarks.tracking.sync import describe, send, uploads

    if not args.dry_run:
        _require_key()
    planned = uploads(args.sync, write=not args.dry_run)
    if not planned:
        raise UsageError(f"nothing to send in {', '.join(map(str, args.sync))}; finish a run with benchmarks.transfer")
    if args.dry_run:
        return f"{describe(planned, args.entity, args.project)}\nnothing was written or sent"
    return send(planned, args.entity, args.project)


def _require_key() -> None:
    from agents.runs.trackers.wandb import has_key

    if not has_key():
        raise UsageError(
            "no key for Weights & Biases: set WANDB_API_KEY, or run `wandb login`; --dry-run goes without one"
        )


if __name__ == "__main__":
    raise SystemExit(main())
