"""Inpainting: boxes, the loss by hand, what the trunk may see, and what learning teaches."""

from __future__ import annotations

import pytest
import torch

from envs.registry import UsageError
from envs.steps import Steps
from representations.inpainting import Inpainting, InpaintingConfig, boxes, explained, hidden_error
from representations.pretext import pretext_scores
from representations.pretrain import Pretrainer
from tests.representations.toys import horizons, image_spec, read_out, strongest


def test_a_box_is_a_quarter_of_the_frame_at_any_place(generator):
    hidden = boxes(400, 40, 48, generator)
    rows, columns = hidden.any(3).squeeze(1), hidden.any(2).squeeze(1)
    assert torch.equal(hidden, (rows[:, None, :, None] & columns[:, None, None]))
    assert set(rows.sum(1).tolist()) == {20}
    assert set(columns.sum(1).tolist()) == {24}
    for spans, last in ((rows, 20), (columns, 24)):
        starts = spans.long().argmax(1)
        assert (int(starts.min()), int(starts.max())) == (0, last)
        assert bool((spans.long().diff(dim=1).abs().sum(1) <= 2).all())  # in one piece


def test_the_loss_and_accuracy_by_hand():
    # B=2, C=2, 1x2 pixels; hidden: the first pixel of frame 1, the second of frame 2
    x = torch.tensor([[[[1.0, 0]], [[0, 0]]], [[[0, 0.5]], [[0, 1]]]])
    hidden = torch.tensor([[[[True, False]]], [[[False, True]]]])
    decoded = torch.tensor([[[[0.5, 9]], [[0, 9]]], [[[9, 0.5]], [[9, 0]]]])
    # squared errors: 0.25 and 0; 0 and 1; over 2 pixels of 2 channels
    error = hidden_error(decoded, x, hidden)
    assert float(error) == pytest.approx(1.25 / 4)
    # mean frame: first pixel (0.5, 0), second (0.25, 0.5): 0.25 + 0; 0.0625 + 0.25
    assert float(explained(error, x, hidden)) == 0  # 1.25 of 0.5625
    assert float(explained(error / 5, x, hidden)) == pytest.approx(1 - 0.25 / 0.5625)


def test_no_hidden_pixel_reaches_the_trunk_and_no_other_the_loss(generator):
    model = Inpainting(image_spec((3, 40, 40)))
    inputs = []
    model.trunk.register_forward_pre_hook(lambda trunk, args: inputs.append(args[0]))
    decoded = []
    model.decoder.register_forward_hook(lambda decoder, args, out: out.retain_grad() or decoded.append(out))
    image = torch.randint(0, 256, (4, 3, 40, 40), dtype=torch.uint8)
    hidden = boxes(4, 40, 40, torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    loss, _ = model.loss(Steps.frames({"image": image}), None, generator)
    loss.backward()
    assert set(inputs[0][hidden].tolist()) == {0.5}
    assert torch.equal(inputs[0][~hidden], (image / 255)[~hidden])
    assert bool((decoded[0].grad[~hidden] == 0).all())
    assert float((decoded[0].grad[hidden] == 0).float().mean()) < 0.01
    # by hand from what was decoded: 4 frames of 20 x 20 pixels and 3 channels
    error = (decoded[0].sigmoid() - image / 255).square()[hidden]
    assert float(loss.detach()) == pytest.approx(float(error.detach().sum()) / (4 * 400 * 3), rel=1e-5)


def test_learning_fills_a_horizon_in_and_finds_it():
    images, row = horizons(240)
    model = Inpainting(image_spec((1, 40, 40)), InpaintingConfig(batch=16, learning_rate=1e-3))
    before = model.encode({"image": images})[0].detach()
    trainer = Pretrainer(model, {"image": images[:180]}, 16 * 150, generator=torch.Generator().manual_seed(0))
    early, late = trainer.run(16 * 15), trainer.run(16 * 135)
    assert late["pretrain/inpainting/loss"] < 0.8 * early["pretrain/inpainting/loss"]
    after = model.encode({"image": images})[0].detach()
    scores = pretext_scores(model, {"image": images[180:]}, torch.Generator().manual_seed(0))
    assert scores["pretext/frames"] > 0.4
    assert scores["pretext/noise"] < 0.02
    assert read_out(strongest(after, 3), row) > read_out(strongest(before, 3), row) + 0.05
    assert set(model.pictures({"image": images[:3]}, torch.Generator())) == {"fillings"}


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="batch=0: give a number of at least 1"):
        InpaintingConfig(batch=0)
    with pytest.raises(UsageError, match="unknown trunk 'deep'"):
        Inpainting(image_spec((3, 40, 40)), InpaintingConfig(trunk="deep"))
