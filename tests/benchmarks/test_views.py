"""The views command: its rivals by hand on placed cameras, and one tiny run from fit to pictures."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import views
from benchmarks.views import main, prediction_errors, record, spec
from envs.level_sets import HELDOUT, VALIDATION, training_levels


class Stub:
    """Codes are mean greys of views; the renderer paints half their sum, ``predict`` the pose's first number.

    The renderer's samples are 0.1 lighter and darker in turn; the true view surprises by 100 nats times its grey.
    """

    def __init__(self):
        self.sign = -1.0

    def codes(self, image, pose):
        return (image.float() / 255).mean((2, 3, 4), keepdim=True)

    def renderer(self, code, query, generator, x=None):
        if x is not None:
            return None, 100 * x.float().mean((1, 2, 3))
        self.sign *= -1
        away = 0.1 * self.sign if generator is not None else 0.0
        return (code / 2 + away).expand(-1, 3, 8, 8), None

    def predict(self, image, pose, query):
        return pose[0, :, :1, None, None].expand(-1, 3, 8, 8)


@pytest.fixture
def exact(monkeypatch):
    monkeypatch.setattr("agents.runs.build.resolve_precision", lambda _: "float32")


def rooms():
    """Two rooms in views of one grey each, in tenths of white: room 0 shows 2, 4, 6 and 8, room 1 shows 0, 2, 6, 2.

    Cameras stand at x: room 0 at 1, 2, 3, the query at 2.9; room 1 at 0.5, 4, -4, the query at 0, 2 m higher; of the
    other numbers of a pose, directions, nothing may come into the distance.
    """
    grey = torch.tensor([[2.0, 4, 6, 8], [0, 2, 6, 2]]) * 25.5
    image = grey.round().to(torch.uint8)[:, :, None, None, None].expand(2, 4, 3, 8, 8)
    pose = torch.zeros(2, 4, 7)
    pose[:, :, 0] = torch.tensor([[1, 2, 3, 2.9], [0.5, 4, -4, 0]])
    pose[1, 3, 2] = 2.0
    pose[0, 2, 3:] = pose[1, 0, 3:] = 9.0
    return {"image": image, "pose": pose}


def test_errors_by_hand(exact):
    mean = torch.full((3, 8, 8), 0.5)
    found = prediction_errors(Stub(), rooms(), 3, mean)
    # true greys 0.8 and 0.2. painted: half of 0.2 + 0.4 + 0.6 = 0.6, half of 0 + 0.2 + 0.6 = 0.4
    assert found["gqn"] == pytest.approx((0.2**2 + 0.2**2) / 2, rel=1e-5)
    # nearest to the query: room 0 the third view, 0.6; room 1 the first, 0
    assert found["copy"] == pytest.approx((0.2**2 + 0.2**2) / 2, rel=1e-5)
    assert found["mean"] == pytest.approx((0.3**2 + 0.3**2) / 2, rel=1e-5)
    # each has the other's first camera: room 0 predicts 0.5, room 1 predicts 1
    assert found["shuffled"] == pytest.approx((0.3**2 + 0.8**2) / 2, rel=1e-5)
    # 8 samples, four 0.1 above and four 0.1 below: sample variance 8 * 0.01 / 7
    assert found["spread"] == pytest.approx(math.sqrt(0.08 / 7), rel=1e-4)
    assert found["surprise"] == pytest.approx((80 + 20) / 2, rel=1e-5)


def test_fewer_context_views_leave_fewer_rivals(exact):
    mean = torch.full((3, 8, 8), 0.5)
    # two views: the nearest are at x = 2, grey 0.4, and at 0.5, grey 0; painted 0.3 and 0.1
    found = prediction_errors(Stub(), rooms(), 2, mean)
    assert found["copy"] == pytest.approx((0.4**2 + 0.2**2) / 2, rel=1e-5)
    assert found["gqn"] == pytest.approx((0.5**2 + 0.1**2) / 2, rel=1e-5)
    assert set(prediction_errors(Stub(), rooms(), 2)) == {"gqn"}


def test_a_room_counts_equally_in_a_full_batch_and_in_the_last(exact):
    # 65 rooms are 64 and 1: 64 like room 0 (error 0.04), the last like room 1 but white: (1 - 0.4)^2
    two = rooms()
    many = {key: torch.cat([value[:1].expand(64, *value.shape[1:]), value[1:]]) for key, value in two.items()}
    many["image"] = many["image"].clone()
    many["image"][64, 3] = 255
    assert prediction_errors(Stub(), many, 3)["gqn"] == pytest.approx((64 * 0.04 + 0.36) / 65, rel=1e-5)


def test_predictions_are_clipped_to_white(exact):
    class Bright(Stub):
        def renderer(self, code, query, generator, x=None):
            return torch.full((2, 3, 8, 8), 7.0), None

    # 1 against 0.8 and 0.2
    assert prediction_errors(Bright(), rooms(), 3)["gqn"] == pytest.approx((0.04 + 0.64) / 2, rel=1e-5)


def test_recorded_rooms_are_windows_by_seed():
    found = record(np.array([5, 10**6]), 3, "ring")
    assert found["image"].shape == (2, 3, 3, 64, 64)
    assert found["pose"].shape == (2, 3, 7)
    assert not found["first"].any()
    assert torch.equal(found["image"][1], record(np.array([10**6]), 3, "ring")["image"][0])
    assert spec().space["image"].shape == found["image"].shape[2:]


def test_from_fit_to_table_and_the_second_time_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(views, "SCORED", 12)
    drawn, scored, errors = [], [], views.prediction_errors

    def recorded(seeds, count, camera):
        drawn.append(seeds.tolist())
        return record(seeds, count, camera)

    def recorded_errors(model, rooms, count, mean=None):
        scored.append((len(rooms["image"]), mean is None))
        return errors(model, rooms, count, mean)

    monkeypatch.setattr(views, "record", recorded)
    monkeypatch.setattr(views, "prediction_errors", recorded_errors)
    tiny = ["steps=1", "channels=4", "code=8", "views=3", "batch=2"]
    argv = ["--samples", "36", "--scenes", "9", "--seeds", "0", "2", "--set", *(f"gqn.{word}" for word in tiny)]
    argv += ["--out", str(tmp_path)]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0].split() == ["seed", "context", "gqn", "copy", "mean", "shuffled", "spread", "surprise"]
    with open(tmp_path / "views.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["context"]) for row in rows] == [(s, c) for s in "02" for c in "12"]
    assert {row["samples"] for row in rows} == {"36"}
    own = [training_levels("views", seed, 9) for seed in (0, 2)]
    assert drawn == [list(levels) for levels in (VALIDATION.first(3), HELDOUT.first(12), *(s.first(9) for s in own))]
    assert [row["level_set"] for row in rows] == [str(levels) for levels in own for _ in range(2)]
    # the curve of each seed is of the 3 validation rooms, both final rows of the 12 held-out ones
    assert scored == ([(3, True)] * 6 + [(12, False)] * 2) * 2
    # a score of the same 12 rooms by the mean of each seed's own 9: it differs by seed and not by context
    assert len({row["mean"] for row in rows}) == 2
    assert len({row["gqn"] for row in rows}) > 1
    with open(tmp_path / "gqn-ring-s2" / "curve.csv", newline="") as file:
        curve = list(csv.DictReader(file))
    # 36 views are 6 steps of 2 scenes of 3; a tenth is 4 views, at least one step of 6: 6 measurements
    assert [int(row["samples"]) for row in curve] == list(range(6, 37, 6))
    with Image.open(tmp_path / "gqn-ring-s0" / "predictions.png") as picture:
        # 8 rooms across; down the first three of three views, the true one again, then painted from 1 and 2
        assert picture.size == (8 * 64, (3 + 1 + 2) * 64)
    with Image.open(tmp_path / "views.png") as picture:
        assert picture.size[0] > 200

    monkeypatch.setattr("representations.pretrain.Pretrainer._update", None)  # no step is left to take
    assert main(argv) == 0
    with open(tmp_path / "views.csv", newline="") as file:
        again = list(csv.DictReader(file))
    timeless = [{k: v for k, v in row.items() if k not in ("seconds", "commit")} for row in rows]
    assert [{k: v for k, v in row.items() if k not in ("seconds", "commit")} for row in again] == timeless


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--set", "gqn.chanels=4"], ["gqn.chanels", "did you mean 'channels'"]),
        (["--set", "gqn.views=1"], ["views=1", "at least 2"]),
        (["--set", "vae.beta=4"], ["'vae' is not part of this command"]),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(argv, words, tmp_path, capsys):
    assert main([*argv, "--out", str(tmp_path / "here")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for word in words:
        assert word in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "value"), [("--scenes", "0"), ("--scenes", "1000001"), ("--samples", "215"), ("--seeds", "-1")]
)
def test_impossible_numbers_are_one_line(flag, value, tmp_path, capsys):
    assert main([flag, value, "--out", str(tmp_path / "here")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {flag} {value}")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
