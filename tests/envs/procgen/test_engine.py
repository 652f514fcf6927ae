"""Procgen's C++ object: single rows begun anew, exact state, and imports that fail."""

import subprocess
import sys

import numpy as np
import pytest

from envs.procgen.engine import load_procgen
from envs.registry import UsageError
from tests.envs.procgen.tools import assert_same, play

pytestmark = pytest.mark.procgen
NOTHING = 4
"""The action without an arrow."""


def test_reset_mask_leaves_the_other_rows_unchanged(make):
    masked, plain = make(3, num_levels=100_000, seed=5), make(3, num_levels=100_000, seed=5)
    masked.reset()
    plain.reset()
    play(masked, 20)
    last = play(plain, 20)[-1][0]
    mask = np.array([False, True, False])
    frames, infos = masked.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(frames[~mask], last[~mask])
    assert not np.array_equal(frames[mask], last[mask])
    np.testing.assert_array_equal(infos["_level_seed"], mask)
    for a, b in zip(play(masked, 50, seed=1), play(plain, 50, seed=1), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x[~mask], y[~mask])


@pytest.mark.parametrize("mask", [np.zeros(3, bool), np.ones(2, bool), np.ones(3, int)])
def test_a_bad_reset_mask_is_refused(make, mask):
    env = make(3)
    env.reset()
    with pytest.raises(UsageError, match="reset_mask"):
        env.reset(options={"reset_mask": mask})


@pytest.mark.parametrize("game", ["coinrun", "starpilot", "dodgeball"])
def test_state_goes_on_identically_in_another_object(make, game):
    first = make(3, game, num_levels=40, seed=1, num_threads=0)
    first.reset()
    play(first, 60)
    state = first.state()
    assert all(isinstance(value, np.ndarray) and value.flags.writeable for value in state.values())
    state = {key: value.copy() for key, value in state.items()}
    second = make(3, game, num_levels=40, seed=99, num_threads=2)
    second.set_state(state)
    continued = play(first, 400, seed=1)
    assert any(step[2].any() for step in continued)  # the round trip runs over episode ends
    assert_same(continued, play(second, 400, seed=1))
    for key, value in first.state().items():
        np.testing.assert_array_equal(value, second.state()[key])
    third = make(3, game, num_levels=40, seed=98)
    third.reset()
    third.set_state(state)  # also into an object that was under way
    assert_same(continued, play(third, 400, seed=1))


def test_state_carries_the_step_count_and_the_previous_frame(make):
    first, second = make(1, "maze"), make(1, "maze", seed=4)
    first.reset()
    for _ in range(499):
        frames = first.step(np.array([NOTHING]))[0]
    second.set_state(first.state())
    _, _, terminated, truncated, infos = second.step(np.array([NOTHING]))
    assert truncated[0]
    assert not terminated[0]
    np.testing.assert_array_equal(infos["final_obs"][0], frames[0])


def test_a_state_of_other_options_is_refused(make):
    first, second = make(2, num_levels=40), make(2, num_levels=41)
    first.reset()
    with pytest.raises(UsageError, match="num_levels: 40 -> 41"):
        second.set_state(first.state())


def test_no_state_before_reset_or_with_generated_assets(make):
    with pytest.raises(UsageError, match="reset"):
        make(1).state()
    env = make(2, use_generated_assets=True)
    env.reset()
    assert not env.exact_state
    with pytest.raises(UsageError, match="use_generated_assets"):
        env.state()
    with pytest.raises(UsageError, match="use_generated_assets"):
        env.set_state({})
    with pytest.raises(UsageError, match="reset_mask"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.step(np.zeros(2, int))
    env.reset()  # without a state, a full reset still works


@pytest.mark.parametrize("first", ["envs.procgen.env", "envs.wrappers.sb3"])
def test_import_prints_and_warns_nothing(first):
    code = f"import {first}; from envs.procgen.engine import load_procgen; load_procgen(); import gym"
    done = subprocess.run([sys.executable, "-W", "error::DeprecationWarning:procgen", "-c", code], capture_output=True)
    assert done.returncode == 0
    assert done.stderr == b""


def test_a_missing_procgen_names_the_wheel(monkeypatch):
    monkeypatch.setitem(sys.modules, "procgen", None)
    monkeypatch.setattr(np, "__version__", "2.3.0")  # a missing wheel is never blamed on numpy
    with pytest.raises(UsageError, match=r"pip install procgen-mirror==0\.10\.7") as caught:
        load_procgen()
    assert "numpy" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "failure", "message"),
    [
        ("2.3.0", "ImportError('numpy.core.multiarray failed to import')", "pip install 'numpy<2'"),
        ("2.3.0", "AttributeError(\"module 'numpy' has no attribute 'bool8'\")", "pip install 'numpy<2'"),
        ("2.3.0", "ImportError('libGL.so.1: cannot open shared object file')", "libGL.*reinstall procgen"),
        ("1.26.4", "ImportError('numpy.core.multiarray failed to import')", "reinstall procgen"),
    ],
)
def test_a_broken_import_names_numpy_only_where_numpy_broke_it(monkeypatch, tmp_path, version, failure, message):
    (tmp_path / "procgen.py").write_text(f"raise {failure}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "procgen", raising=False)
    monkeypatch.setattr(np, "__version__", version)
    with pytest.raises(UsageError, match=message) as caught:
        load_procgen()
    assert ("numpy<2" in str(caught.value)) == ("numpy<2" in message)
