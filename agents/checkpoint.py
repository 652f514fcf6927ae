"""Checkpoints: safetensors and JSON, committed by one rename, verified by hash, never unpickled.

The protocol is two methods, ``state_dict()`` and ``load_state_dict(state)``, that everything with state has: modules,
optimizers, random streams, History, environments, logs. A state is made of dicts, lists, tuples, tensors, NumPy arrays,
numbers, strings and None. A module brings along the optimizers it (or a module inside it) holds as attributes, so a
new bonus or representation is saved without writing code for it.

On disk, ``checkpoint/<step>.safetensors`` holds the tensors and ``checkpoint/<step>.json`` everything else and the
tensors' hash. The JSON is written last, to a temporary file, and renamed: it *is* the commit. The one before it is
kept, so that a damaged one costs one interval, not the run; those of later steps go.

Of several processes (``agents.parallel.distributed``) the first writes. Where each has a component of its own
(``PerRank``), a checkpoint holds all of them; so a run goes on with as many processes as made it.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from envs.registry import UsageError

FORMAT = 2
"""Layout of what is saved; a checkpoint of another format is refused."""
KEEP = 2
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError)
"""What reading a damaged or alien checkpoint may raise."""


def state_of(component: Any) -> Any:
    """State of one component; for a module also that of the optimizers held inside it."""
    if isinstance(component, nn.Module):
        return {
            "module": component.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in _optimizers(component).items()},
        }
    return component.state_dict()


def restore(component: Any, state: Any) -> None:
    """Inverse of ``state_of``."""
    if isinstance(component, nn.Module):
        component.load_state_dict(state["module"])
        for name, optimizer in _optimizers(component).items():
            optimizer.load_state_dict(state["optimizers"][name])
    else:
        component.load_state_dict(state)


def _optimizers(module: nn.Module) -> dict[str, torch.optim.Optimizer]:
    return {
        f"{path}.{attribute}": value
        for path, submodule in module.named_modules()
        for attribute, value in vars(submodule).items()
        if isinstance(value, torch.optim.Optimizer)
    }


class PerRank:
    """Wrapper of a component that every rank has its own of; a checkpoint holds those of all ranks."""

    def __init__(self, component: Any, ranks: Ranks):
        self.component, self.ranks = component, ranks

    def state_dict(self) -> Any:
        state = self.component.state_dict()
        if self.ranks.count == 1:
            return state
        tensors: dict[str, Tensor] = {}
        tree = encode(state, "", tensors)  # which copies views out of what may be a long History
        return {"ranks": [decode(*encoded) for encoded in self.ranks.gather_to_rank_zero((tree, tensors))]}

    def load_state_dict(self, state: Any) -> None:
        saved = state.get("ranks", [state])
        if len(saved) != self.ranks.count:
            raise UsageError(
                f"this checkpoint's number of processes was {len(saved)}, now it is {self.ranks.count}: go on with "
                f"torchrun --nproc-per-node {len(saved)}, or start afresh in another directory"
            )
        self.component.load_state_dict(saved[self.ranks.index])


def save(directory: Path, step: int, components: Mapping[str, Any], ranks: Ranks = SINGLE_PROCESS) -> None:
    """Write the state of all components as checkpoint ``step`` (frames, or samples of pre-training)."""
    states = {name: state_of(component) for name, component in components.items()}
    ranks.on_rank_zero(lambda: _write(directory, step, states))


def _write(directory: Path, step: int, states: Mapping[str, Any]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    write_document(directory / f"{step:012d}.json", step, states)
    documents = sorted(directory.glob("*.json"))
    newest = documents.index(directory / f"{step:012d}.json")
    # Those of later steps are of a training that was given up; read would take them for the newest.
    for old in (*documents[newest + 1 :], *documents[: max(0, newest + 1 - KEEP)]):
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def write_document(document: Path, step: int, states: Mapping[str, Any]) -> None:
    """Write one checkpoint: the JSON file ``document``, and its tensors beside it.

    Args:
        states: by component, as ``state_of`` gives them.
    """
    tensors: dict[str, Tensor] = {}
    tree = {name: encode(state, name, tensors) for name, state in states.items()}
    tensor_file = document.with_suffix(".safetensors")
    write_aside(tensor_file, lambda path: save_file(tensors, path))
    body = json.dumps({"format": FORMAT, "step": step, "sha256": sha256(tensor_file), "state": tree})
    text = json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest(), "body": body})
    write_aside(document, lambda path: path.write_text(text, encoding="utf-8"))


def load(directory: Path, components: Mapping[str, Any]) -> int | None:
    """Restore the newest whole checkpoint into ``components`` and return its step; None where there is none.

    Raises:
        UsageError: there are checkpoints, but none is whole, or it is of another format or other components.
    """
    state = read(directory)
    if state is None:
        return None
    step, tree = state
    if set(tree) != set(components):
        differing = sorted(set(tree) ^ set(components))
        raise UsageError(f"checkpoint {directory} holds other components than this run needs: {', '.join(differing)}")
    for name, component in components.items():
        restore(component, tree[name])
    return step


def read(directory: Path) -> tuple[int, dict[str, Any]] | None:
    """Step and state by component of the newest whole checkpoint in ``directory``; None where there is none.

    Raises:
        UsageError: there are checkpoints, but none is whole, or the newest is of another format.
    """
    documents = sorted(directory.glob("*.json"), reverse=True)
    for document in documents:
        try:
            return read_document(document)
        except DAMAGE as error:
            print(f"checkpoint {document} is damaged ({error}); trying the one before it")
    if documents:
        raise UsageError(f"no whole checkpoint in {directory}; remove that run's folder to start it afresh")
    return None


def read_document(document: Path) -> tuple[int, dict[str, Any]]:
    """Step and state by component of one checkpoint, whose JSON file is ``document``.

    Raises:
        one of ``DAMAGE``: it is damaged.
        UsageError: it is of another format.
    """
    outer = json.loads(document.read_text(encoding="utf-8"))
    if hashlib.sha256(outer["body"].encode()).hexdigest() != outer["sha256"]:
        raise ValueError("its JSON does not match its hash")
    body = json.loads(outer["body"])
    if body["format"] != FORMAT:
        raise UsageError(
            f"checkpoint {document} has format {body['format']} and this version reads format {FORMAT}: start the run "
            "afresh in another directory, or go on with the version that wrote it"
        )
    tensor_file = document.with_suffix(".safetensors")
    if sha256(tensor_file) != body["sha256"]:
        raise ValueError("its tensors do not match their hash")
    tensors = load_file(tensor_file)
    return body["step"], {name: decode(node, tensors) for name, node in body["state"].items()}


def encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """JSON for a state; tensors and arrays go to ``tensors`` under their path."""
    if isinstance(value, Tensor):
        # A copy of its own memory: safetensors refuses tensors that share storage.
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": path}
    if isinstance(value, np.ndarray):
        tensors[path] = torch.from_numpy(np.ascontiguousarray(value)).clone().reshape(value.shape)
        return {"array": path}
    if isinstance(value, Mapping):
        return {"items": [[key, encode(item, f"{path}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [encode(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"state '{path}' is a {type(value).__name__}; a checkpoint holds tensors, arrays and plain data")


def decode(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Inverse of ``encode``."""
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    if kind == "items":
        return {key: decode(item, tensors) for key, item in content}
    if kind not in ("list", "tuple"):
        raise ValueError(f"its state holds a node of unknown kind '{kind}'")
    items = [decode(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary)``, flush to disk and rename to ``path``: readers see the old file or the new, whole.

    The file gets the permissions of the user's umask.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")  # of one machine among several
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # by the user's umask; a writer may leave its own
        write(temporary)
        temporary.chmod(mode)
        with open(temporary, "r+b") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "nt":  # Windows opens no folder, and needs no such sync
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sha256(path: Path) -> str:
    """Hash of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
