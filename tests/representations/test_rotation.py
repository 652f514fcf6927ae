"""RotNet: turns and their labels, the loss by hand, and what learning to name them teaches."""

from __future__ import annotations

import math

import pytest
import torch

from envs.steps import Steps
from representations.augment import crop
from representations.base import Unfit
from representations.pretext import pretext_scores
from representations.pretrain import Pretrainer
from representations.rotation import Rotation, RotationConfig, classification, turns
from tests.representations.toys import Fixed, bars, image_spec, read_out, strongest

SMALL = RotationConfig(pad=4, batch=8, learning_rate=2e-3)


def test_a_turn_by_its_label_is_undone_by_turning_back():
    image = torch.randint(0, 256, (3, 2, 5, 5), dtype=torch.uint8)
    turned, labels = turns(image)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    for row, label in enumerate(labels.tolist()):
        assert torch.equal(torch.rot90(turned[row], -label, (1, 2)), image[row % 3])
    # one quarter counter-clockwise: the right column becomes the top row
    assert torch.equal(turned[3][:, 0], image[0][:, :, -1])


def test_the_loss_and_accuracy_by_hand(generator):
    # logits (0, log 2, 0, 0) for every turned frame: p = 1/5, 2/5, 1/5, 1/5 for the four turns
    rotation = Rotation(image_spec((1, 40, 40)), SMALL)
    rotation.head = Fixed(torch.tensor([0.0, math.log(2), 0, 0]).repeat(8, 1))
    image = torch.randint(0, 256, (2, 1, 40, 40), dtype=torch.uint8)
    loss, metrics = rotation.loss(Steps.frames({"image": image}), None, generator)
    assert float(loss) == pytest.approx((3 * math.log(5) + math.log(5 / 2)) / 4)
    assert float(metrics["accuracy"]) == 0.25
    logits = torch.eye(4)[[0, 1, 1]]
    assert float(classification(logits, torch.tensor([0, 1, 2]))[1]) == pytest.approx(2 / 3)


def test_the_trunk_sees_all_turns_of_a_frame_under_one_shift(generator):
    rotation = Rotation(image_spec((1, 40, 40)), SMALL)
    inputs = []
    rotation.trunk.register_forward_pre_hook(lambda trunk, args: inputs.append(args[0]))
    image = torch.randint(0, 256, (3, 1, 40, 40), dtype=torch.uint8)
    rotation.loss(Steps.frames({"image": image}), None, generator)
    back = [torch.rot90(turned, -k, (2, 3)) for k, turned in enumerate(inputs[0].chunk(4))]
    shifted = crop(image, torch.Generator().manual_seed(0), 4)
    assert not torch.equal(shifted, image)
    assert all(torch.equal(turned, shifted) for turned in back)


def test_features_do_not_depend_on_the_head(generator):
    rotation = Rotation(image_spec((3, 40, 40)), SMALL)
    image = torch.randint(0, 256, (5, 3, 40, 40), dtype=torch.uint8)
    features, _ = rotation.encode({"image": image})
    with torch.no_grad():
        for parameter in rotation.head.parameters():
            parameter.zero_()
    assert torch.equal(features, rotation.encode({"image": image})[0])
    loss = rotation.loss(Steps.frames({"image": image}), None, generator)[0].detach()
    assert float(loss) == pytest.approx(math.log(4))  # all turns alike


def test_learning_names_turns_and_finds_the_bar():
    images, column = bars(240)
    rotation = Rotation(image_spec((1, 40, 40)), SMALL)
    before = rotation.encode({"image": images})[0].detach()
    trainer = Pretrainer(rotation, {"image": images[:180]}, 8 * 100, generator=torch.Generator().manual_seed(0))
    early, late = trainer.run(8 * 10), trainer.run(8 * 90)
    assert late["pretrain/rotation/loss"] < early["pretrain/rotation/loss"] - 0.15
    after = rotation.encode({"image": images})[0].detach()
    scores = pretext_scores(rotation, {"image": images[180:]}, torch.Generator().manual_seed(0))
    # a bar lies or stands, and looks the same after two quarters: one half at best
    assert 0.4 < scores["pretext/frames"] < 0.6
    assert abs(scores["pretext/noise"] - 0.25) < 0.05
    assert read_out(strongest(after), column) > read_out(strongest(before), column) + 0.2


def test_other_than_square_images_are_refused():
    with pytest.raises(Unfit, match=r"rotation turns square images, this environment's are 40x48; crop them square"):
        Rotation(image_spec((3, 40, 48)))
