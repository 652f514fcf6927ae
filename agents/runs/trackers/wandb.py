"""Weights & Biases, online or offline."""

from __future__ import annotations

import hashlib
import json
import netrc
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from agents.runs.trackers.tracker import PROJECT, SAMPLES, SentRecords


class Wandb:
    """Weights & Biases: one run per (configuration, seed), charts over ``global_step``; offline where there is no key.

    Charts of pre-training are over its samples. Offline files stay readable: ``wandb leet DIR`` shows them in the
    terminal, ``wandb sync DIR ...`` uploads them. A resumed offline run becomes a second folder with the same id;
    syncing all merges them. Records have an order, and DIR/wandb/sent counts those that were ever sent: the same record
    is not sent again.
    """

    def __init__(self, config: Mapping[str, Any], run_id: str, directory: Path):
        self.offline = os.environ.get("WANDB_MODE", "").lower() == "offline" or not has_key()
        if self.offline:
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else it looks for its server all the same
        # It takes any module called "agents" for a language-model library and advertises for it.
        os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")
        import wandb

        self.wandb = wandb
        self.step = 0
        self.sent, self.written = SentRecords(directory / "wandb"), Written(directory / "wandb")
        method = str(config["repr"])
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run_id,
            name=run_id,
            group=f"{config['suite']}/{method}",
            job_type=str(config["algo"]),
            tags=[str(config["suite"]), method, str(config["preset"])],
            config=dict(config),
            dir=str(directory),
            mode="offline" if self.offline else "online",
            resume=None if self.offline else "allow",
            settings=wandb.Settings(silent=True, console="off", init_timeout=60),
        )
        self.run.define_metric("global_step")
        self.run.define_metric(SAMPLES)
        self.groups: set[str] = set()
        """First parts of names whose axis is told; two patterns that both match a name would leave it open."""
        if self.offline:
            folder = Path(self.run.dir).parent
            all_starts = folder.parent / f"offline-run-*-{run_id}"
            print(
                f"wandb is offline (no API key): `wandb leet {folder}` shows it, `wandb sync {all_starts}` uploads it"
            )

    def begin(self, kept: Sequence[Mapping[str, float]]) -> None:
        self.sent.begin(len(kept))
        self.step = int(kept[-1]["global_step"]) if kept else 0

    def log(self, record: Mapping[str, float]) -> None:
        self.step = int(record["global_step"])
        self.sent.send(lambda: self._send(record))

    def _send(self, record: Mapping[str, float]) -> None:
        self._tell_axes(record)
        self.run.log(dict(record))

    def _tell_axes(self, names: Iterable[str]) -> None:
        for group in {name.partition("/")[0] for name in names if "/" in name} - self.groups:
            self.groups.add(group)
            axis = SAMPLES if SAMPLES.startswith(f"{group}/") else "global_step"
            self.run.define_metric(f"{group}/*", step_metric=axis)

    def picture(self, name: str, path: Path) -> None:
        self._tell_axes(["pictures/"])
        self.run.log({f"pictures/{name}": self.wandb.Image(str(path)), "global_step": self.step})
        self.written.add({f"pictures/{name}": digest(path.read_bytes())})

    def video(self, name: str, path: Path, identity: bytes) -> None:
        """A GIF, an MP4 or a WebM file; ``identity`` is what it was made from."""
        self._tell_axes(["videos/"])
        format = path.suffix.removeprefix(".")
        self.run.log({f"videos/{name}": self.wandb.Video(str(path), format=format), "global_step": self.step})  # type: ignore[arg-type]
        self.written.add({f"videos/{name}": digest(identity)})

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        data = [list(row.values()) for row in rows]
        self._tell_axes(["tables/"])
        self.run.log({f"tables/{name}": self.wandb.Table(columns=[*rows[0]], data=data), "global_step": self.step})

    def summary(self, figures: Mapping[str, float]) -> None:
        """Values of the run that stand beside those of its last record; tables and sweeps sort by them."""
        self.run.summary.update(dict(figures))
        self.written.add({name: digest(repr(value).encode()) for name, value in figures.items()})

    def finish(self) -> None:
        self.run.finish()


class Written:
    """Names of what stands beside a run's records, with a digest each, in a file: later parts of it leave that out."""

    def __init__(self, folder: Path):
        self.file = folder / "written.json"

    def read(self) -> dict[str, str]:
        """Name -> digest; empty before the first."""
        names: dict[str, str] = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}
        return names

    def add(self, names: Mapping[str, str]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps({**self.read(), **names}, indent=1), encoding="utf-8")


def digest(content: bytes) -> str:
    """Short hash of a file's content, or of a value's text."""
    return hashlib.sha256(content).hexdigest()[:16]


def has_key() -> bool:
    """A key in the environment or in the netrc file; wandb itself would stop and ask for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
