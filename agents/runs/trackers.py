"""Trackers: sinks fed with the records of metrics.jsonl. A sink that fails does not disturb the run.

metrics.jsonl is the truth. A sink gets the same records, pictures and final table; the first thing that goes wrong in
it prints one line and switches it off. Nothing of a run reads back from a sink, so its weights are the same with any.
"""

from __future__ import annotations

import netrc
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

from envs.registry import UsageError

FINISH_SECONDS = 60.0
"""Longest time that a sink may take to flush at the end."""


class Sink(Protocol):
    """Backend of a tracker; every method may raise."""

    def log(self, record: Mapping[str, float]) -> None: ...
    def picture(self, name: str, path: Path) -> None: ...
    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def finish(self) -> None: ...


class Tracker:
    """A sink that cannot hurt: without one, or after its first failure, every call does nothing."""

    def __init__(self, name: str = "none", make: Callable[[], Sink] | None = None):
        self.name = name
        self.sink: Sink | None = None
        if make is not None:
            self._guard(lambda: setattr(self, "sink", make()))

    def log(self, record: Mapping[str, float]) -> None:
        """One record of metrics.jsonl, with its ``global_step``."""
        if (sink := self.sink) is not None:
            self._guard(lambda: sink.log(record))

    def picture(self, name: str, path: Path) -> None:
        """A PNG on disk."""
        if (sink := self.sink) is not None:
            self._guard(lambda: sink.picture(name, path))

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows that share their keys."""
        if (sink := self.sink) is not None and rows:
            self._guard(lambda: sink.table(name, rows))

    def finish(self) -> None:
        """Flush and close; a sink that hangs is left behind after ``FINISH_SECONDS``."""
        if (sink := self.sink) is None:
            return
        closing = threading.Thread(target=lambda: self._guard(sink.finish), daemon=True)
        closing.start()
        closing.join(FINISH_SECONDS)
        if closing.is_alive():
            self._switch_off(f"did not finish within {FINISH_SECONDS:.0f} s")
        self.sink = None

    def _guard(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # whatever a foreign service throws: a run of days must not end for its chart
            self._switch_off(f"{type(error).__name__}: {error}")

    def _switch_off(self, why: str) -> None:
        self.sink = None
        reason = " ".join(why.split())[:200]
        print(f"tracker '{self.name}' is off for this run ({reason}); metrics.jsonl goes on", file=sys.stderr)


def open_tracker(kind: str, config: Mapping[str, Any], run_id: str, directory: Path) -> Tracker:
    """The tracker named on the command line, for one run.

    Args:
        kind: "none", "wandb" or "tensorboard".
        config: the run's configuration, shown beside its charts.
        run_id: stable over restarts.
        directory: the run's folder; sinks write below it.
    """
    if kind == "none":
        return Tracker()
    if kind not in SINKS:
        raise UsageError(f"--log '{kind}' is not one of none, {', '.join(SINKS)}")
    return Tracker(kind, lambda: SINKS[kind](config, run_id, directory))


class Wandb:
    """Weights & Biases: one run per (configuration, seed), charts over ``global_step``; offline where there is no key.

    Offline files stay readable: ``wandb leet DIR`` shows them in the terminal, ``wandb sync DIR`` uploads them. A
    resumed offline run becomes a second folder with the same id; syncing both merges them.
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
        method = str(config["repr"])
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "rl-transfer"),
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
        self.run.define_metric("*", step_metric="global_step")
        if self.offline:
            folder = Path(self.run.dir).parent
            print(f"wandb is offline (no API key): look with `wandb leet {folder}`, upload with `wandb sync {folder}`")

    def log(self, record: Mapping[str, float]) -> None:
        self.step = int(record["global_step"])
        self.run.log(dict(record))

    def picture(self, name: str, path: Path) -> None:
        self.run.log({f"pictures/{name}": self.wandb.Image(str(path)), "global_step": self.step})

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        data = [list(row.values()) for row in rows]
        self.run.log({f"tables/{name}": self.wandb.Table(columns=[*rows[0]], data=data), "global_step": self.step})

    def finish(self) -> None:
        self.run.finish()


def has_key() -> bool:
    """A key in the environment or in the netrc file; wandb itself would stop and ask for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class TensorBoard:
    """Event files below ``DIR/runs/<id>/tensorboard``; needs the extra ``.[tensorboard]``."""

    def __init__(self, config: Mapping[str, Any], run_id: str, directory: Path):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(directory / "tensorboard"))
        self.step = 0
        self.writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in config.items()))

    def log(self, record: Mapping[str, float]) -> None:
        self.step = int(record["global_step"])
        for name, value in record.items():
            if name != "global_step":
                self.writer.add_scalar(name, value, self.step)

    def picture(self, name: str, path: Path) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            self.writer.add_image(f"pictures/{name}", np.asarray(image), self.step, dataformats="HWC")

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        lines = [" | ".join(map(str, rows[0])), " | ".join("---" for _ in rows[0])]
        lines += [" | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()) for row in rows]
        self.writer.add_text(f"tables/{name}", "\n".join(lines), self.step)

    def finish(self) -> None:
        self.writer.close()


SINKS: dict[str, Callable[[Mapping[str, Any], str, Path], Sink]] = {"wandb": Wandb, "tensorboard": TensorBoard}
