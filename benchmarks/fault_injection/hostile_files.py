"""Files that a stranger may have made: each builder turns a finished run's folder into one of them.

A builder gets the copy of an experiment directory with one run, and the file that a payload would make. It returns the
path that is read. Nothing is fetched; archives and headers are written here, byte by byte where need be.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Builder = Callable[[Path, Path], Path]
BOMB = 3 << 30
"""Bytes that the bomb holds."""


class Payload:
    """Makes the canary file when it is unpickled."""

    def __init__(self, canary: Path):
        self.canary = str(canary)

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({self.canary!r}, 'w').close()",)


def the_run(experiment: Path) -> Path:
    (run,) = (experiment / "runs").iterdir()
    return run


def newest(experiment: Path) -> tuple[Path, Path]:
    """Document and tensors of the newest checkpoint of training."""
    document = max((the_run(experiment) / "checkpoint" / "train").glob("*.json"))
    return document, document.with_suffix(".safetensors")


def seal(document: Path, change: Callable[[dict[str, Any]], object] = lambda body: None) -> None:
    """Make a checkpoint consistent again: its hashes are those of its changed contents."""
    body = json.loads(json.loads(document.read_text(encoding="utf-8"))["body"])
    body["sha256"] = hashlib.sha256(document.with_suffix(".safetensors").read_bytes()).hexdigest()
    change(body)
    write_document(document, json.dumps(body))


def write_document(document: Path, body: str) -> None:
    digest = hashlib.sha256(body.encode()).hexdigest()
    document.write_text(json.dumps({"sha256": digest, "body": body}), encoding="utf-8")


def only_newest(experiment: Path) -> None:
    """Remove the checkpoints before the newest: nothing good is left to fall back on."""
    document, _ = newest(experiment)
    for path in document.parent.iterdir():
        if path.stem != document.stem:
            path.unlink()


def change_config(experiment: Path, **values: Any) -> Path:
    file = the_run(experiment) / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, **values}), encoding="utf-8")
    return the_run(experiment)


# pickles -------------------------------------------------------------------------------------------------------------


def plain_pickle(experiment: Path, canary: Path) -> Path:
    path = experiment / "agent.pkl"
    path.write_bytes(pickle.dumps(Payload(canary)))
    return path


def torch_file(experiment: Path, canary: Path) -> Path:
    import torch

    path = experiment / "agent.pth"
    torch.save({"policy": Payload(canary)}, path)
    return path


def sb3_zip(experiment: Path, canary: Path) -> Path:
    """An agent as stable-baselines3 saves it, with pickles in its JSON and beside it."""
    path = experiment / "agent.zip"
    pickled = base64.b64encode(pickle.dumps(Payload(canary))).decode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"policy_class": {":type:": "x", ":serialized:": pickled}}))
        archive.writestr("policy.pth", pickle.dumps(Payload(canary)))
    return path


def pickle_for_tensors(experiment: Path, canary: Path) -> Path:
    only_newest(experiment)
    document, tensors = newest(experiment)
    tensors.write_bytes(pickle.dumps(Payload(canary)))
    seal(document)
    return the_run(experiment)


def pickle_for_document(experiment: Path, canary: Path) -> Path:
    only_newest(experiment)
    newest(experiment)[0].write_bytes(pickle.dumps(Payload(canary)))
    return the_run(experiment)


def pickle_for_policy(experiment: Path, canary: Path) -> Path:
    path = the_run(experiment) / "policies" / "000000000128.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(Payload(canary)))
    return path


def pickles_for_numbers(experiment: Path, canary: Path) -> Path:
    """An eval.csv that is an array of pickled objects."""
    (the_run(experiment) / "eval.csv").write_bytes(b"\x93NUMPY" + pickle.dumps(Payload(canary)))
    return experiment


# archives ------------------------------------------------------------------------------------------------------------


def seven_zip(experiment: Path, canary: Path) -> Path:
    """The signature of a 7z archive, which some loaders hand to another program."""
    path = experiment / "agent.7z"
    path.write_bytes(b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(64) + pickle.dumps(Payload(canary)))
    return path


def zip_slip(experiment: Path, canary: Path) -> Path:
    path = experiment / "agent.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"../../{canary.name}", "out of the archive's folder")
        archive.writestr(str(canary), "an absolute path")
    return path


def zip_bomb(experiment: Path, canary: Path) -> Path:
    """A few MB that unpack to ``BOMB``."""
    path = experiment / "agent.zip"
    block = bytes(1 << 24)
    deflated = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with deflated as archive, archive.open("data", "w", force_zip64=True) as entry:
        for _ in range(BOMB // len(block)):
            entry.write(block)
    return path


# tensors -------------------------------------------------------------------------------------------------------------


def giant_header(experiment: Path, canary: Path) -> Path:
    """A safetensors file that claims a header of 2^62 bytes."""
    return _tensors(experiment, struct.pack("<Q", 1 << 62) + b"{}")


def lying_shape(experiment: Path, canary: Path) -> Path:
    """A tensor of 2^40 numbers in 16 bytes."""
    header = json.dumps({"policy.module.x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 16]}}).encode()
    return _tensors(experiment, struct.pack("<Q", len(header)) + header + bytes(16))


def overlapping_tensors(experiment: Path, canary: Path) -> Path:
    """Thousands of tensors that share the same bytes."""
    entry = {"dtype": "U8", "shape": [1 << 20], "data_offsets": [0, 1 << 20]}
    header = json.dumps({f"policy.module.{i}": entry for i in range(4096)}).encode()
    return _tensors(experiment, struct.pack("<Q", len(header)) + header + bytes(1 << 20))


def other_shapes(experiment: Path, canary: Path) -> Path:
    """A sound file whose tensors are none of this network."""
    from safetensors.torch import load_file, save_file

    only_newest(experiment)
    document, tensors = newest(experiment)
    save_file({name: value.reshape(-1)[:1].clone() for name, value in load_file(tensors).items()}, tensors)
    seal(document)
    return the_run(experiment)


def _tensors(experiment: Path, content: bytes) -> Path:
    only_newest(experiment)
    document, tensors = newest(experiment)
    tensors.write_bytes(content)
    seal(document)
    return the_run(experiment)


# JSON and text -------------------------------------------------------------------------------------------------------


def deep_document(experiment: Path, canary: Path) -> Path:
    only_newest(experiment)
    write_document(newest(experiment)[0], "[" * 200_000)
    return the_run(experiment)


def deep_config(experiment: Path, canary: Path) -> Path:
    (the_run(experiment) / "config.json").write_text('{"a":' * 200_000, encoding="utf-8")
    return the_run(experiment)


def unknown_nodes(experiment: Path, canary: Path) -> Path:
    """A state that names tensors which are not there, in kinds that there are not."""
    only_newest(experiment)
    seal(newest(experiment)[0], lambda body: body.update(state={"policy": {"object": f"exec open('{canary}', 'w')"}}))
    return the_run(experiment)


def list_for_document(experiment: Path, canary: Path) -> Path:
    only_newest(experiment)
    newest(experiment)[0].write_text("[1, 2]", encoding="utf-8")
    return the_run(experiment)


def target_class(experiment: Path, canary: Path) -> Path:
    """Settings with the key by which hydra calls what is named."""
    call = {"_target_": "builtins.exec", "_args_": [f"open({str(canary)!r}, 'w').close()"]}
    return change_config(experiment, repr_settings=call, algo_settings=call, bonus_settings={"rnd": call})


def class_path(experiment: Path, canary: Path) -> Path:
    """The place of a function that is no method of this toolkit."""
    return change_config(experiment, repr="os:system", repr_settings={"command": f"touch {canary}"})


def yaml_tag(experiment: Path, canary: Path) -> Path:
    text = f"!!python/object/apply:os.system ['touch {canary}']\n"
    (the_run(experiment) / "config.json").write_text(text, encoding="utf-8")
    return the_run(experiment)


def upward_names(experiment: Path, canary: Path) -> Path:
    """A configuration whose names lead out of the experiment directory."""
    name = f"../../../{canary.name}"
    change_config(experiment, env=name, suite=name, preset=name, splits=["train", name])
    return experiment


def script_in_names(experiment: Path, canary: Path) -> Path:
    name = "<script>alert(1)</script>"
    change_config(experiment, env=name, repr=name, preset=name)
    return experiment


def huge_numbers(experiment: Path, canary: Path) -> Path:
    """Records of numbers that no float holds, and one of 4,000 digits."""
    lines = ['{"global_step": 1e999, "train/return": -1e999}', f'{{"global_step": {"9" * 4000}}}']
    (the_run(experiment) / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return experiment


def picture_bomb(experiment: Path, canary: Path) -> Path:
    """A PNG of 2^31 pixels in a few bytes."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    buffer = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    buffer.seek(0, io.SEEK_END)
    buffer.write(chunk(b"IHDR", struct.pack(">IIBBBBB", 65535, 32768, 8, 2, 0, 0, 0)))
    buffer.write(chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b""))
    for picture in (the_run(experiment) / "pictures").glob("*.png"):
        picture.write_bytes(buffer.getvalue())
    return experiment
