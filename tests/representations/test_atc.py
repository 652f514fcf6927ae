"""ATC: the loss by hand, which frames are paired, whom the gradient reaches, and what learning changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from envs.steps import Steps
from representations.atc import Atc, AtcConfig, contrast
from representations.pretrain import Pretrainer
from tests.representations.toys import Fixed, image_spec, read_out, strongest

SPEC = image_spec((6, 40, 40), frames=2)
SMALL = AtcConfig(latents=6, predictor=5)


def windows(first: torch.Tensor | None = None, B: int = 5) -> Steps:
    """Windows of four steps."""
    image = torch.randint(0, 256, (4, B, 6, 40, 40), dtype=torch.uint8)
    return Steps.windows({"image": image}, torch.zeros(4, B, dtype=torch.bool) if first is None else first)


def test_the_loss_by_hand():
    # logits p_i c_j = ((1, 2), (3, 8)): -1 + log(e + e^2) for the first row, -8 + log(e^3 + e^8) for the second
    predicted, target = torch.tensor([[1.0, 0], [1, 2]]), torch.tensor([[1.0, 1], [2, 3]])
    one, two = math.log(math.e + math.e**2) - 1, math.log(math.e**3 + math.e**8) - 8
    loss, accuracy = contrast(predicted, target, torch.tensor([True, True]))
    assert float(loss) == pytest.approx((one + two) / 2, rel=1e-5)
    assert float(accuracy) == 0.5  # the first prefers the other target
    # a pair that is left out stays a negative of the others
    assert float(contrast(predicted, target, torch.tensor([True, False]))[0]) == pytest.approx(one, rel=1e-5)
    assert float(contrast(predicted, target, torch.tensor([False, False]))[0]) == 0
    assert float(contrast(torch.zeros(5, 2), torch.randn(5, 2), torch.ones(5, dtype=torch.bool))[0]) == pytest.approx(
        math.log(5)
    )


def test_the_pair_is_the_first_frame_and_the_one_delta_later(generator):
    # W = 1, h = 0, no shift: predicted is c of frame 0, the target the copy's c of frame 3
    atc = Atc(SPEC, AtcConfig(latents=6, shift_probability=0))
    torch.nn.init.eye_(atc.bilinear.weight)
    atc.predictor = Fixed(torch.zeros(5, 6))
    with torch.no_grad():
        atc.target_trunk.dense.weight.mul_(2)  # a shift of all targets would change no score
    steps = windows()
    image = steps.obs["image"]
    predicted, target = (net.dense(net.flat(image[t])) for net, t in ((atc.trunk, 0), (atc.target_trunk, 3)))
    scores = predicted @ target.T
    expected = (scores.logsumexp(1) - scores.diagonal()).mean().detach()
    assert float(atc.loss(steps, None, generator)[0].detach()) == pytest.approx(float(expected), rel=1e-4)
    # the predictor adds to c: predicted + 1 where h = 1
    atc.predictor = Fixed(torch.ones(5, 6))
    scores = (predicted + 1) @ target.T
    expected = (scores.logsumexp(1) - scores.diagonal()).mean().detach()
    assert float(atc.loss(steps, None, generator)[0].detach()) == pytest.approx(float(expected), rel=1e-4)


def test_a_pair_across_an_episode_s_end_is_no_anchor(generator):
    atc = Atc(SPEC, AtcConfig(latents=6, shift_probability=0))
    first = torch.zeros(4, 3, dtype=torch.bool)
    first[0, 0] = True  # opens an episode: nothing lies between its frames
    first[3, 1] = first[1, 2] = True
    steps = windows(first, 3)
    image = steps.obs["image"]
    with torch.no_grad():
        c = atc.trunk.dense(atc.trunk.flat(image[0]))
        scores = atc.bilinear(c + atc.predictor(c)) @ atc.target_trunk.dense(atc.target_trunk.flat(image[3])).T
    expected = float(scores[0].logsumexp(0) - scores[0, 0])
    assert float(atc.loss(steps, None, generator)[0].detach()) == pytest.approx(expected, rel=1e-4)


def test_the_gradient_reaches_all_but_the_copies(generator):
    atc = Atc(SPEC, SMALL)
    atc.loss(windows(), None, generator)[0].backward()
    for name, parameter in atc.named_parameters():
        if name.startswith("target_"):
            assert parameter.grad is None, name
            assert not parameter.requires_grad, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_the_policy_reads_the_convolutions_and_does_not_move_them():
    atc = Atc(SPEC, SMALL)
    image = torch.randint(0, 256, (3, 6, 40, 40), dtype=torch.uint8)
    features = atc.encode({"image": image})[0]
    assert torch.equal(features, atc.trunk.flat(image))
    assert features.shape[1] == atc.features_dim == atc.trunk.flat_dim
    assert not features.requires_grad


def test_copies_start_as_the_trunk_and_follow_slowly():
    atc = Atc(SPEC, AtcConfig(latents=6, momentum=0.9))
    state = atc.state_dict()
    names = [name for name in state if name.startswith("trunk.")]
    assert all(torch.equal(state[name], state[f"target_{name}"]) for name in names)
    old = {name: state[name].clone() for name in names}
    with torch.no_grad():
        for parameter in atc.trunk.parameters():
            parameter.add_(1)
    atc.after_step()
    # 0.9 old + 0.1 (old + 1)
    for name in names:
        assert torch.allclose(atc.state_dict()[f"target_{name}"], old[name] + 0.1, atol=1e-6), name


def test_as_many_frames_are_shifted_as_asked_for(generator):
    image = torch.randint(0, 256, (400, 1, 36, 36), dtype=torch.uint8)
    spec = image_spec((1, 36, 36))
    moved = Atc(spec, AtcConfig(latents=6, shift_probability=0.25)).shifted(image, generator) != image
    # 0.25 of 400 are 100, standard deviation 9; one of 81 shifts moves nothing
    assert 70 < int(moved.flatten(1).any(1).sum()) < 130
    assert torch.equal(Atc(spec, AtcConfig(latents=6, shift_probability=0)).shifted(image, generator), image)


def walking_bar(streams: int = 96, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A bar that walks, and a bright square that flickers anywhere: images (streams, 4, 1, 36, 36), the bar's place."""
    rng = np.random.default_rng(seed)
    place = np.clip(
        np.cumsum(rng.integers(-1, 2, size=(streams, 4)), 1) + rng.integers(0, 31, size=(streams, 1)), 0, 30
    )
    images = np.zeros((streams, 4, 1, 36, 36), np.uint8)
    for i in range(streams):
        for t in range(4):
            images[i, t, 0, :, place[i, t] : place[i, t] + 6] = 120
            y, x = rng.integers(0, 24, size=2)
            images[i, t, 0, y : y + 12, x : x + 12] = 255
    return torch.from_numpy(images), torch.from_numpy(place).flatten()[:, None].float()


def test_a_persistent_factor_is_learnt_and_noise_is_not():
    frames, place = walking_bar()
    torch.manual_seed(0)
    atc = Atc(image_spec((1, 36, 36)), AtcConfig(pairs=48, shift_probability=0.5))

    def strong_directions() -> torch.Tensor:
        with torch.no_grad():
            features = atc.encode({"image": frames.flatten(0, 1)})[0]
        std = features.std(0)
        return strongest((features - features.mean(0)) / std.clamp(min=0.1 * float(std.square().mean().sqrt())), 12)

    before = strong_directions()
    data = {"image": frames, "first": torch.zeros(96, 4, dtype=torch.bool)}
    draws = torch.Generator().manual_seed(0)
    trainer = Pretrainer(atc, data, 192 * 40, generator=draws)
    early, late = (trainer.run(192 * n)["pretrain/contrast/loss"] for n in (5, 35))
    assert late < early - 0.3  # log 48 = 3.9 at the start
    assert read_out(strong_directions(), place) > read_out(before, place) + 0.1


def test_save_and_load_give_equal_features_and_copies(generator):
    image = torch.randint(0, 256, (3, 6, 40, 40), dtype=torch.uint8)
    one, other = Atc(SPEC, SMALL), Atc(SPEC, SMALL)
    with torch.no_grad():
        one.trunk.dense.weight.add_(0.1)
    one.after_step()
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.encode({"image": image})[0], other.encode({"image": image})[0])
    assert torch.equal(one.target_trunk(image), other.target_trunk(image))
    assert not torch.equal(one.target_trunk(image), one.trunk(image))


@pytest.mark.parametrize("name", ["momentum", "shift_probability"])
def test_a_fraction_above_one_is_refused(name):
    with pytest.raises(ValueError, match=rf"{name}=1\.5: give a number of at most 1"):
        AtcConfig(**{name: 1.5})
