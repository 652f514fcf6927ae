"""Checkpoints give back exactly what was saved, or the one before, or say what is wrong."""

import hashlib
import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from agents import checkpoint
from envs.registry import UsageError
from envs.rng_streams import Streams


class Box:
    """A component holding one plain state."""

    def __init__(self, state=None):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # a busy machine draws slowly
@given(trees)
def test_plain_data_comes_back_equal_and_of_the_same_types(tree):
    tensors = {}
    text = json.dumps(checkpoint.encode(tree, "x", tensors))
    back = checkpoint.decode(json.loads(text), tensors)
    assert back == tree
    assert repr(back) == repr(tree)  # tuples stay tuples, integer keys stay integers


def test_tensors_and_arrays_keep_dtype_shape_and_bits(tmp_path):
    shared = torch.arange(6.0)
    state = {
        "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "view": shared.reshape(2, 3).t(),  # not contiguous, shares memory with the next
        "same": shared,
        "array": np.array([[True, False]]),
        "scalar": np.float64(0.1),
        "zero": np.array(3, dtype=np.uint64),
        "rng": np.random.default_rng(5).bit_generator.state,
        "nested": ({1: torch.tensor(7)}, [np.zeros((0, 4), np.uint8)]),
    }
    checkpoint.save(tmp_path, 3, {"a": Box(state)})
    box = Box()
    assert checkpoint.load(tmp_path, {"a": box}) == 3
    back = box.state
    assert back["half"].dtype == torch.bfloat16
    assert torch.equal(back["half"], state["half"])
    assert torch.equal(back["view"], torch.tensor([[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]))
    assert torch.equal(back["same"], shared)
    np.testing.assert_array_equal(back["array"], [[True, False]])
    assert back["scalar"] == 0.1
    assert back["zero"].shape == ()
    assert back["zero"] == 3
    assert back["rng"] == state["rng"]  # 128-bit integers survive JSON
    assert back["nested"][0][1].item() == 7
    assert back["nested"][1][0].shape == (0, 4)


class Bonus(nn.Module):
    """A bonus as a newcomer writes it: parameters, a buffer, an optimizer as attribute; no saving code."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)
        self.register_buffer("count", torch.zeros(()))
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.1)

    def learn(self, x):
        self.optimizer.zero_grad()
        self.net(x).square().sum().backward()
        self.optimizer.step()
        self.count += 1


def test_a_module_brings_its_buffers_and_optimizers_without_code(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(5, 3)
    trained, fresh = nn.ModuleList([Bonus()]), nn.ModuleList([Bonus()])
    for _ in range(3):
        trained[0].learn(x)
    checkpoint.save(tmp_path, 1, {"bonus": trained})
    checkpoint.load(tmp_path, {"bonus": fresh})
    assert fresh[0].count == 3
    trained[0].learn(x)
    fresh[0].learn(x)  # equal only if Adam's moments came along
    assert torch.equal(trained[0].net.weight, fresh[0].net.weight)


def test_random_streams_continue_where_they_stood(tmp_path):
    streams = Streams(4)
    torch.rand(3, generator=streams["policy"])
    checkpoint.save(tmp_path, 1, {"streams": streams})
    expected = torch.rand(2, generator=streams["policy"])
    other = Streams(0)
    checkpoint.load(tmp_path, {"streams": other})
    assert torch.equal(torch.rand(2, generator=other["policy"]), expected)
    # a stream that was never used starts as it would have started
    assert torch.equal(torch.rand(2, generator=other["bonus"]), torch.rand(2, generator=Streams(4)["bonus"]))


def two_checkpoints(folder):
    for step in (1, 2):
        checkpoint.save(folder, step, {"a": Box({"x": torch.full((4,), float(step)), "note": f"step {step}"})})


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("position", [0.0, 0.3, 0.5, 0.8, 0.999])
def test_a_flipped_bit_is_noticed_and_the_checkpoint_before_is_used(tmp_path, suffix, position, capsys):
    two_checkpoints(tmp_path)
    file = tmp_path / f"{2:012d}.{suffix}"
    data = bytearray(file.read_bytes())
    data[int(position * len(data))] ^= 1
    file.write_bytes(data)
    box = Box()
    assert checkpoint.load(tmp_path, {"a": box}) == 1
    assert torch.equal(box.state["x"], torch.ones(4))
    assert "damaged" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_a_torn_file_is_noticed(tmp_path, suffix, keep):
    two_checkpoints(tmp_path)
    file = tmp_path / f"{2:012d}.{suffix}"
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data))])
    box = Box()
    assert checkpoint.load(tmp_path, {"a": box}) == 1


@pytest.mark.parametrize("body", ["[" * 100_000, '{"format": 2, "step": 2, "state": {}}', "[1]", "3"])
def test_an_alien_document_is_damage(body, tmp_path):
    two_checkpoints(tmp_path)
    newest = max(tmp_path.glob("*.json"))
    digest = hashlib.sha256(body.encode()).hexdigest()
    for text in (json.dumps({"sha256": digest, "body": body}), body):
        newest.write_text(text)
        assert checkpoint.read(tmp_path)[0] == int(min(tmp_path.glob("*.json")).stem)


def test_a_node_of_unknown_kind_is_refused():
    assert checkpoint.decode({"tuple": [1, {"list": []}]}, {}) == (1, [])
    with pytest.raises(ValueError, match="a node of unknown kind 'object'"):
        checkpoint.decode({"object": "exec"}, {})


def test_a_crash_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, {"a": Box({"x": torch.ones(2)})})

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, 2, {"a": Box({"x": torch.zeros(2)})})
    monkeypatch.undo()
    box = Box()
    assert checkpoint.load(tmp_path, {"a": box}) == 1
    assert torch.equal(box.state["x"], torch.ones(2))
    assert not list(tmp_path.glob(".*"))  # nothing half written stays behind


def test_only_the_two_newest_are_kept(tmp_path):
    for step in (5, 10, 15, 20):
        checkpoint.save(tmp_path, step, {"a": Box(step)})
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "000000000015.json",
        "000000000015.safetensors",
        "000000000020.json",
        "000000000020.safetensors",
    ]


def test_what_cannot_be_restored_is_said(tmp_path):
    assert checkpoint.load(tmp_path, {"a": Box()}) is None
    checkpoint.save(tmp_path, 1, {"a": Box(1)})
    with pytest.raises(UsageError, match="other components than this run needs: b"):
        checkpoint.load(tmp_path, {"a": Box(), "b": Box()})
    (tmp_path / f"{1:012d}.json").write_text("{}")
    with pytest.raises(UsageError, match="no whole checkpoint"):
        checkpoint.load(tmp_path, {"a": Box()})
    with pytest.raises(TypeError, match=r"a\.f.*builtin_function"):
        checkpoint.save(tmp_path, 2, {"a": Box({"f": print})})


def test_a_checkpoint_of_another_format_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 1)
    two_checkpoints(tmp_path)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="has format 1 and this version reads format 2: start the run afresh in"):
        checkpoint.load(tmp_path, {"a": Box()})
