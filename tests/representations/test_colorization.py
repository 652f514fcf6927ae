"""Colorization: classes and weights by hand, what the trunk may see, and what learning teaches."""

from __future__ import annotations

import math

import pytest
import torch

from envs.steps import Steps
from representations.base import Unfit
from representations.colorization import (
    Colorization,
    ColorizationConfig,
    balanced_accuracy,
    class_weights,
    colour_classes,
    colours,
    greyed,
)
from representations.pretext import pretext_scores
from representations.pretrain import Pretrainer
from tests.representations.toys import Fixed, image_spec, read_out, strongest

SPEC = image_spec((3, 40, 40))


def test_classes_by_hand_and_back():
    # a = R - G and b = (R + G) / 2 - B in -1..1; bins end at -0.25, -0.05, 0.05 and 0.25
    names = {"black": (0, 0, 0), "white": (255, 255, 255), "red": (255, 0, 0), "green": (0, 255, 0)}
    names |= {"blue": (0, 0, 255), "yellow": (255, 255, 0), "night": (0, 26, 46)}
    image = torch.tensor(list(names.values()), dtype=torch.uint8)[:, :, None, None]
    classes = dict(zip(names, colour_classes(image).flatten().tolist(), strict=True))
    # red: a 1, b 1/2 -> bins 4 and 4; green: a -1, b 1/2 -> 0 and 4; blue: a 0, b -1; yellow: a 0, b 1;
    # night: a -26/255 = -0.10, b (13 - 46)/255 = -0.13 -> bins 1 and 1
    assert classes == {"black": 12, "white": 12, "red": 24, "green": 4, "blue": 10, "yellow": 14, "night": 6}
    # mean 0.5, class 12 + 5: a = 0.12, b = 0 -> R - G = 0.12, B = mean
    painted = colours(torch.tensor(17), torch.tensor(0.5))
    assert painted.tolist() == pytest.approx([0.56, 0.44, 0.5])
    painted = colours(torch.tensor(14), torch.tensor(0.5))  # b = 0.4: R = G = B + 0.4
    assert painted.tolist() == pytest.approx([0.5 + 0.4 / 3, 0.5 + 0.4 / 3, 0.5 - 0.8 / 3])
    painted = (painted * 255).round().to(torch.uint8).view(1, 3, 1, 1)
    assert colour_classes(painted).item() == 14


def test_weights_by_hand():
    # fractions 3/4 of class 12 and 1/4 of class 3; m = 1/2: v = 1 / (3/8 + 1/50) and 1 / (1/8 + 1/50)
    classes = torch.tensor([[12, 12], [12, 3]])
    common, rare = 1 / (3 / 8 + 1 / 50), 1 / (1 / 8 + 1 / 50)
    mean = 0.75 * common + 0.25 * rare
    weights = class_weights(classes, 0.5)
    assert float(weights[12]) == pytest.approx(common / mean)
    assert float(weights[3]) == pytest.approx(rare / mean)
    assert float(weights[classes].mean()) == pytest.approx(1)
    assert class_weights(classes, 1.0)[[12, 3]].tolist() == pytest.approx([1, 1])
    assert class_weights(classes, 0.0)[[12, 3]].tolist() == pytest.approx([2 / 3, 2])  # each colour weighs 1/2


def test_accuracy_counts_each_colour_alike():
    classes = torch.tensor([[[12, 12, 12, 3]]])
    logits = torch.zeros(1, 25, 1, 4)
    logits[:, 12] = 1
    assert float(balanced_accuracy(logits, classes)) == 0.5  # all of one colour, none of the other
    logits[0, 3, 0, 3] = 2
    assert float(balanced_accuracy(logits, classes)) == 1


def test_the_loss_by_hand(generator):
    # left quarter red (24), the rest grey (12), no shift; logits: class 24 at log 3, others 0, so p = 3/27 and 1/27
    image = torch.full((2, 3, 40, 40), 80, dtype=torch.uint8)
    image[:, 0, :, :10], image[:, 1:, :, :10] = 255, 0
    model = Colorization(SPEC, ColorizationConfig(pad=0))
    logits = torch.zeros(2, 25, 20, 20)
    logits[:, 24] = math.log(3)
    model.decoder = Fixed(logits)
    loss, metrics = model.loss(Steps.frames({"image": image}), None, generator)
    red, grey = 1 / (1 / 8 + 1 / 50), 1 / (3 / 8 + 1 / 50)  # weights before they are scaled
    mean = red / 4 + 3 * grey / 4
    assert float(loss) == pytest.approx((red * math.log(9) / 4 + grey * math.log(27) * 3 / 4) / mean, rel=1e-5)
    assert float(metrics["accuracy"]) == 0.5


def test_the_trunk_sees_no_colours_but_those_of_the_policy(generator):
    image = torch.randint(0, 256, (3, 6, 40, 40), dtype=torch.uint8)
    grey = greyed(image)
    means = image.view(3, 2, 3, 40, 40).float().mean(2).round()
    assert all(torch.equal(grey[:, channel].float(), means[:, channel // 3]) for channel in range(6))
    model = Colorization(image_spec((6, 40, 40), frames=2), ColorizationConfig(pad=0))
    inputs = []
    model.trunk.register_forward_pre_hook(lambda trunk, args: inputs.append(args[0]))
    model.loss(Steps.frames({"image": image}), None, generator)
    assert torch.equal(inputs[0], grey)
    model.encode({"image": image})
    assert torch.equal(inputs[1], image)


def test_the_newest_frame_is_coloured(generator):
    model = Colorization(image_spec((6, 40, 40), frames=2), ColorizationConfig(pad=0))
    model.decoder = Fixed(torch.eye(25)[14].view(1, 25, 1, 1).expand(1, 25, 20, 20) * 50)  # yellow for sure
    image = torch.zeros(1, 6, 40, 40, dtype=torch.uint8)
    image[:, 3:5] = 255  # newest frame: yellow; the older one is black
    loss, _ = model.loss(Steps.frames({"image": image}), None, generator)
    assert float(loss) == pytest.approx(0, abs=1e-4)


def apples(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey noise (count, 3, 40, 40) with a light red square of 12 pixels anywhere, and its place."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 100, (count, 1, 40, 40), generator=draws).expand(-1, 3, -1, -1).to(torch.uint8)
    images, place = images.clone(), torch.randint(0, 29, (count, 2), generator=draws)
    for image, (top, left) in zip(images, place.tolist(), strict=True):
        image[:, top : top + 12, left : left + 12] = torch.tensor([255, 120, 120], dtype=torch.uint8).view(3, 1, 1)
    return images.contiguous(memory_format=torch.channels_last), place.float()


def test_learning_colours_what_is_red_and_finds_it():
    images, place = apples(240)
    model = Colorization(SPEC, ColorizationConfig(pad=0, batch=16, learning_rate=1e-3))
    before = model.encode({"image": greyed(images)})[0].detach()
    trainer = Pretrainer(model, {"image": images[:180]}, 16 * 80, generator=torch.Generator().manual_seed(0))
    early, late = trainer.run(16 * 8), trainer.run(16 * 72)
    assert late["pretrain/colorization/loss"] < early["pretrain/colorization/loss"] - 0.2
    scores = pretext_scores(model, {"image": images[180:]}, torch.Generator().manual_seed(0))
    assert scores["pretext/frames"] > 0.55  # grey and red: 1/2 by one answer
    assert scores["pretext/noise"] < 0.1
    after = model.encode({"image": greyed(images)})[0].detach()
    assert read_out(strongest(after), place) > read_out(strongest(before), place) + 0.1
    assert set(model.pictures({"image": images[:3]}, torch.Generator())) == {"colours"}


def test_grey_frames_and_bad_settings_are_refused():
    with pytest.raises(Unfit, match="needs frames of 3 colours, this environment's have 1 channels; switch"):
        Colorization(image_spec((4, 40, 40), frames=4))
    with pytest.raises(ValueError, match=r"mix=1\.5: give a fraction of at most 1"):
        ColorizationConfig(mix=1.5)
