"""Runs' representations as they are built: which of them have a scale of their features."""

from __future__ import annotations

import pytest
import torch

from agents.runs.build import build_parts, pretraining_worlds
from representations.collect import collect
from representations.standardise import find_standardised, standardise
from tests.agents.runs.tools import run_config

SCALED = {"pretrain_frames": 300, "pretrain_on": "source", "repr_settings": {"trunk": "nature", "standardise": True}}


def test_a_cnn_has_a_scale_where_it_asks_for_one():
    assert find_standardised(build_parts(run_config("cnn")).representation) is None
    config = run_config("cnn", suite="breakout", **SCALED)
    parts = build_parts(config)
    (world,) = pretraining_worlds(config, parts.task)
    frames = collect((world,), 300, seed=0)
    assert frames["image"].shape[1:] == parts.representation.spec.image_shape  # stacked, as the policy's
    assert parts.task.motion > 1
    metrics = standardise(parts.representation, frames)
    with torch.no_grad():
        features = parts.representation.eval().encode(frames)[0]
    assert metrics["standardise/frames"] == 300
    assert float(features.mean(0).abs().max()) < 1e-3
    assert float(features.std(0, correction=0).max()) == pytest.approx(1, abs=1e-3)
    # the RL gradient reaches the trunk through the scale
    parts.representation.encode({"image": frames["image"][:5]})[0].square().sum().backward()
    assert float(find_standardised(parts.representation).inner.trunk.dense.weight.grad.abs().sum()) > 0
