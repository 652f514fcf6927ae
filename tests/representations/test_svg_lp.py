"""SVG-LP: the loss by hand, episodes' ends, the carried state, and a dot whose bounce cannot be foreseen."""

from __future__ import annotations

import math

import pytest
import torch

from envs.steps import Steps
from representations.nets.images import pixels
from representations.nets.video import Transition, VideoModel
from representations.pretrain import Pretrainer
from representations.svg_lp import SvgLp, SvgLpConfig, skip_sources
from tests.representations.toys import image_spec, read_out, strongest

SMALL = {"width": 32, "hidden": 32, "latents": 4, "channels": 4}
SPEC = image_spec((3, 40, 40))
T, B = 5, 3


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(spec=SPEC, **settings) -> SvgLp:
    torch.manual_seed(0)
    return SvgLp(spec, SvgLpConfig(**{**SMALL, "window": T, **settings}))


def windows(first: torch.Tensor | None = None) -> Steps:
    image = torch.randint(0, 256, (T, B, 3, 40, 40), dtype=torch.uint8, generator=draws(3))
    return Steps.windows({"image": image}, torch.zeros(T, B, dtype=torch.bool) if first is None else first)


def test_surprise_by_hand():
    # q = N(3, 1) and N(3, 1) from p = N(1, 1) and N(0, e): 0.5 * 4 + 0.5 (1/e + 9/e - 1 + 1)
    zero = torch.zeros(1, 2)
    prior = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    step = Transition(prior, (torch.tensor([[3.0, 3.0]]), zero), zero, zero)
    assert step.surprise.tolist() == pytest.approx([2 + 5 / math.e])


def test_the_loss_by_hand():
    model = make(beta=0.5)
    with torch.no_grad():
        for head in (model.model.prior_head, model.model.posterior_head):
            head.weight.zero_()
            head.bias.zero_()
        model.model.posterior_head.bias[:4] = 1.0  # KL of N(1, 1) from N(0, 1), 4 latents: 2 nats
        model.decoder.layers[-1].weight.zero_()
        model.decoder.layers[-1].bias.fill_(0.25)  # every frame grey
        first = torch.zeros(T, B, dtype=torch.bool)
        first[0] = first[3, 1] = True  # no step leads from frame 2 to frame 3 of stream 1
        steps = windows(first)
        loss, metrics = model.loss(steps, None, draws())
    errors = (steps.obs["image"][1:].float() / 255 - 0.25).square().mean((2, 3, 4))
    error = float((errors.sum() - errors[2, 1]) / 11)
    assert float(metrics["mse"]) == pytest.approx(error, rel=1e-5)
    assert float(metrics["kl"]) == pytest.approx(2.0)
    assert float(metrics["prior_std"]) == pytest.approx(1.0)
    assert float(loss) == pytest.approx(error + 0.5 * 2, rel=1e-5)


def test_maps_come_from_the_last_context_frame_of_the_episode():
    first = torch.zeros(5, 3, dtype=torch.bool)
    first[0] = first[3, 1] = first[1, 2] = True
    # frames 1 to 4 are decoded by the maps of
    assert skip_sources(first, 2).T.tolist() == [[0, 1, 1, 1], [0, 1, 1, 3], [0, 1, 1, 1]]
    assert skip_sources(first, 1).T.tolist() == [[0, 0, 0, 0], [0, 0, 0, 3], [0, 1, 1, 1]]


def test_nothing_crosses_an_episode_s_end():
    model = make()
    first = torch.zeros(T, B, dtype=torch.bool)
    first[2] = True
    steps, other = windows(first), windows(first)
    with torch.no_grad():
        before = model.loss(steps, None, draws())[0]
        codes = model.encoder(pixels(steps.obs["image"].flatten(0, 1)))[0].unflatten(0, (T, B))
        changed = codes.clone()
        changed[:2] = 0.5
        one, two = (model.roll(values, first, None) for values in (codes, changed))
        for t in (2, 3):
            assert torch.equal(one[t].code, two[t].code)
        assert not torch.equal(one[0].code, two[0].code)
        other.obs["image"][0, :, :, 0] ^= 255  # an earlier episode's frame changes that episode's steps alone
        changed_loss = model.loss(other, None, draws())[0]
    assert before != changed_loss
    whole = torch.ones(T, B, dtype=torch.bool)
    assert model.loss(windows(whole), None, draws())[0].item() == 0  # no frame follows another


def test_a_window_is_rolled_as_it_is_encoded_frame_by_frame():
    model = make().eval()
    steps = windows()
    image = steps.obs["image"]
    state, first = model.initial_state(B), torch.ones(B, dtype=torch.bool)
    with torch.no_grad():
        codes = model.encoder(pixels(image.flatten(0, 1)))[0].unflatten(0, (T, B))
        transitions = model.roll(codes, steps.first, None)
        for t in range(T):
            features, state = model.encode({"image": image[t]}, state, first if t == 0 else ~first)
            memory = transitions[t - 1].memory if t else model.model.empty(B)
            torch.testing.assert_close(state[0], memory, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(features[:, :32], codes[t], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(features[:, 32:], model.model.expect(codes[t], memory)[0], atol=1e-5, rtol=1e-5)
        again, _ = model.encode({"image": image[0]}, state, first)
        fresh, _ = model.encode({"image": image[0]}, model.initial_state(B), first)
    assert torch.equal(again, fresh)


def test_the_prior_learns_from_the_divergence_alone():
    model = make()
    steps = windows()
    prior = [*model.model.prior_cell.parameters(), *model.model.prior_head.parameters()]
    without = SvgLp(SPEC, SvgLpConfig(**{**SMALL, "window": T, "beta": 0.0}))
    without.load_state_dict(model.state_dict())
    model.loss(steps, None, draws())[0].backward()
    without.loss(steps, None, draws())[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in prior)
    untouched = [*without.model.prior_cell.parameters(), *without.model.prior_head.parameters()]
    assert all(p.grad is None or not p.grad.abs().any() for p in untouched)


def test_an_action_enters_where_actions_are_given():
    model = VideoModel(6, 5, 2, actions=3)
    code, after = torch.randn(B, 6), torch.randn(B, 6)
    with torch.no_grad():
        one, two = (model(code, after, model.empty(B), None, torch.eye(3)[a].expand(B, 3)) for a in (0, 1))
    assert not torch.equal(one.prior[0], two.prior[0])
    assert not torch.equal(one.code, two.code)


def bouncing(random: bool, streams: int = 256, frames: int = 6, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """A dot of 4 pixels that runs between the walls; behind a wall it goes on in the same row, or in any of four.

    Images (streams, frames, 1, 16, 16), whether the dot is at a wall (streams, frames), and its direction.
    """
    generator = draws(seed)
    x, y, d = (torch.randint(0, n, (streams,), generator=generator) for n in (4, 4, 2))
    d, stream = 2 * d - 1, torch.arange(streams)
    images, walls, directions = torch.zeros(streams, frames, 1, 16, 16, dtype=torch.uint8), [], []
    for t in range(frames):
        images.view(streams, frames, 4, 4, 4, 4)[stream, t, y, :, x] = 255
        wall = (x == 0) | (x == 3)
        d = torch.where(x == 3, -1, torch.where(x == 0, 1, d))
        walls.append(wall)
        directions.append(d)
        if random:
            y = torch.where(wall, torch.randint(0, 4, (streams,), generator=generator), y)
        x = x + d
    return images, torch.stack(walls, 1), torch.stack(directions, 1)


def fit(random: bool) -> tuple[SvgLp, list[dict[str, float]]]:
    images, _, _ = bouncing(random)
    model = make(image_spec((1, 16, 16)), window=6, learning_rate=3e-3)
    first = torch.zeros(256, 6, dtype=torch.bool)
    first[:, 0] = True
    trainer = Pretrainer(model, {"image": images, "first": first}, 180 * 96, generator=draws())
    return model, [trainer.run(96 * count) for count in (10, 150, 20)]


def test_the_prior_is_wide_where_the_bounce_is_random():
    model, metrics = fit(random=True)
    untrained = make(image_spec((1, 16, 16)), window=6)
    assert metrics[-1]["pretrain/svg/loss"] < 0.6 * metrics[0]["pretrain/svg/loss"]
    images, walls, directions = bouncing(True, 200, seed=1)
    first = torch.zeros(6, 200, dtype=torch.bool)
    features = []
    with torch.no_grad():
        for net in (model, untrained):
            state = net.initial_state(200)
            for t in range(3):
                values, state = net.encode({"image": images[:, t]}, state, torch.full((200,), t == 0))
            features.append(values)
        codes = model.encoder(pixels(images.transpose(0, 1).flatten(0, 1)))[0].unflatten(0, (6, 200))
        transitions = model.roll(codes, first, None)[1:]
    spread = torch.stack([(0.5 * transition.prior[1]).exp().mean(1) for transition in transitions])
    at_wall = walls.T[1:-1]
    assert spread[at_wall].mean() > 1.3 * spread[~at_wall].mean()
    # a single frame does not show the direction in which the dot goes
    learnt, random = (read_out(strongest(values, 12), directions[:, 2:3]) for values in features)
    assert learnt > random + 0.1


def test_the_prior_narrows_where_all_can_be_foreseen():
    _, metrics = fit(random=False)
    early, _, late = (values["pretrain/svg/prior_std"] for values in metrics)
    assert late < 0.95 * early


def test_stacked_frames_count_by_the_newest_and_pictures_look_ahead():
    stacked = make(image_spec((6, 40, 40), frames=2))
    single = make(image_spec((3, 40, 40)))
    image, first = torch.randint(0, 256, (B, 6, 40, 40), dtype=torch.uint8), torch.ones(B, dtype=torch.bool)
    with torch.no_grad():
        one = stacked.encode({"image": image}, stacked.initial_state(B), first)[0]
        two = single.encode({"image": image[:, 3:]}, single.initial_state(B), first)[0]
    torch.testing.assert_close(one, two)
    assert single.pictures({"image": image[:, 3:]}, draws())["predictions"].shape == (4 * 40, B * 40, 3)
