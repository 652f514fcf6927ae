"""Counts by hand, within a rollout and across; the PixelCNN looks only back; its gain finds the frames seen seldom."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch

from agents.checkpoint import restore, state_of
from envs.registry import UsageError
from intrinsic import BONUSES
from intrinsic.base import Transitions
from intrinsic.models.gradient_gain import batch_gain, per_sample_gain, rms_adam
from intrinsic.models.pixel_cnn import PixelCnn, grey_levels, negative_log_likelihood
from intrinsic.prediction_gain import PredictionGain, count_before, pseudo_count
from tests.intrinsic.tools import build, image_spec, make_steps, random_obs, spec

T, N = 5, 3
KINDS = [("symbols", "counts"), ("features", "counts"), ("pixels", "counts"), ("tiny", "pixelcnn")]
PAY = [(n + 0.01) ** -0.5 for n in range(8)]  # 10, 0.995, 0.705, ...


def world(letters: list[str], seed: int = 0) -> torch.Tensor:
    """Symbols (T, N, 3, 7, 7), one random view for each letter; a row of the list is one step of all streams."""
    views = torch.randint(11, (26, 3, 7, 7), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    return torch.stack([torch.stack([views[ord(letter) - ord("a")] for letter in row]) for row in letters])


def transitions(seen: torch.Tensor) -> Transitions:
    return Transitions(seen, torch.zeros(len(seen), dtype=torch.int64), seen, torch.arange(len(seen)))


def test_the_formula_returns_the_count_of_an_empirical_density():
    # n_x of n: rho = n_x / n, rho' = (n_x + 1) / (n + 1)
    counts, n = torch.tensor([1.0, 2, 7, 40], dtype=torch.float64), 50
    assert torch.allclose(pseudo_count(counts / n, (counts + 1) / (n + 1)), counts)
    # and nearly so by the gain: 1 / (rho' / rho - 1) = n_x (n + 1) / (n - n_x)
    assert torch.allclose(
        1 / torch.expm1(((counts + 1) * n / ((n + 1) * counts)).log()), counts * (n + 1) / (n - counts)
    )


def test_earlier_equals_by_hand():
    assert count_before(torch.tensor([4, 9, 4, 4, 2, 9])).tolist() == [0, 0, 1, 2, 0, 1]
    assert count_before(torch.zeros(0, dtype=torch.int64)).tolist() == []


def test_counts_rise_step_by_step_and_stay():
    bonus = build(PredictionGain, spec("symbols"))
    after = world(["abc", "adb", "eaf"])
    steps = make_steps(world(["zzz"] * 3), after)
    # a: places 0, 3, 7; b: 1, 5; the rest once
    expected = torch.tensor([[PAY[0], PAY[0], PAY[0]], [PAY[1], PAY[0], PAY[1]], [PAY[0], PAY[2], PAY[0]]])
    assert torch.allclose(bonus.compute(steps), expected)
    assert torch.allclose(bonus.compute(steps), expected)  # looking is not counting
    bonus.update(steps, torch.Generator().manual_seed(0))
    assert int(bonus.table.sum()) == 9
    # Now a was seen 3 times, b twice, c once, x never
    again = make_steps(world(["zzz", "zzz"]), world(["abx", "aac"]))
    expected = torch.tensor([[PAY[3], PAY[2], PAY[0]], [PAY[4], PAY[5], PAY[1]]])
    assert torch.allclose(bonus.compute(again), expected)


def test_what_cannot_be_seen_is_neither_paid_nor_counted():
    bonus = build(PredictionGain, spec("symbols"))
    valid = torch.tensor([[True, False, True], [False, True, True]])
    steps = make_steps(world(["zzz", "zzz"]), world(["aab", "aca"]), valid=valid)
    # a is met at places 0 and 5 alone
    assert torch.allclose(bonus.compute(steps), torch.tensor([[PAY[0], 0, PAY[0]], [0, PAY[0], PAY[1]]]))
    bonus.update(steps, torch.Generator().manual_seed(0))
    assert int(bonus.table.sum()) == 4
    nothing = make_steps(world(["zzz"]), world(["aaa"]), valid=torch.zeros(1, 3, dtype=torch.bool))
    assert bonus.compute(nothing).tolist() == [[0, 0, 0]]
    dense = build(PredictionGain, spec("tiny"), model="pixelcnn", side=4)
    some = torch.zeros(1, 3, 3, 4, 5, dtype=torch.uint8)
    assert (dense.compute(make_steps(some, some, valid=valid[:1])) > 0).tolist() == [[True, False, True]]
    assert dense.compute(make_steps(some, some, valid=~valid[:1] & False)).tolist() == [[0, 0, 0]]


def test_an_episodes_end_is_counted_and_never_a_reset_frame():
    bonus = build(PredictionGain, spec("symbols"))
    done = torch.tensor([[False] * 3, [True] * 3, [False] * 3])
    # The policy sees "r" at t = 2, the reset frame; what followed t = 1 truly was "e"
    steps = make_steps(world(["zzz", "zzz", "rrr"]), world(["abc", "eee", "fgh"]), done=done)
    bonus.update(steps, torch.Generator().manual_seed(0))
    probe = make_steps(world(["zzz"]), world(["erf"]))
    assert torch.allclose(bonus.compute(probe), torch.tensor([[PAY[3], PAY[0], PAY[1]]]))


def test_two_views_share_no_counter_and_a_permuted_view_is_another():
    bonus = build(PredictionGain, spec("symbols"))
    views = torch.randint(11, (500, 3, 7, 7), generator=torch.Generator().manual_seed(3)).to(torch.uint8)
    views[1] = views[0].flip(2)
    views[2] = views[0]
    views[2, 0, 0, 0] = (int(views[0, 0, 0, 0]) + 1) % 11
    # 500^2 / 2 pairs over 2^20 counters: 0.12 expected to share one
    assert len(bonus.cell(bonus.hash(views)).unique()) >= 499
    assert len(bonus.hash(views).unique()) == 500


def test_pixels_count_by_coarse_grey_and_features_by_signs():
    frames = build(PredictionGain, spec("pixels"), model="counts")
    dark = torch.full((1, 3, 36, 40), 40, dtype=torch.uint8)
    speck = dark.clone()
    speck[0, :, 3, 3] = 60  # one pixel of an area of 5 x 5: mean 40.8, still below 64
    lit = dark.clone()
    lit[0, :, :5, :5] = 200
    key = frames.hash(torch.cat([dark, speck, lit]))
    assert key[0] == key[1]
    assert key[0] != key[2]
    features = build(PredictionGain, spec("features"), on="auto")
    x = torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    key = features.hash(torch.cat([x, 3 * x, -x]))  # signs know directions, not lengths
    assert key[0] == key[1]
    assert key[0] != key[2]


def test_no_logit_looks_at_its_own_pixel_or_ahead_and_every_one_looks_back():
    torch.manual_seed(0)
    net, side = PixelCnn(8, 6, layers=3).double(), 5
    image = torch.randint(8, (1, side, side))
    logits = net(image).detach()[0]
    moved = torch.zeros(side**2, side**2, dtype=torch.bool)  # (pixel changed, logits moved)
    for i in range(side**2):
        other = image.clone()
        other[0, i // side, i % side] = (image[0, i // side, i % side] + 4) % 8
        moved[i] = (net(other).detach()[0] != logits).any(0).flatten()
    assert not moved.tril().any()
    # No blind spot: the pixel before and the three of the row above are seen
    centre = 12
    assert moved[[6, 7, 8, 11], centre].all()


def test_it_is_a_density():
    torch.manual_seed(0)
    net = PixelCnn(2, 4, layers=2).double()
    every = torch.tensor([[(i >> bit) & 1 for bit in range(6)] for i in range(64)]).view(64, 2, 3)
    likelihood = (-negative_log_likelihood(net(every), every)).exp()
    assert float(likelihood.sum().detach()) == pytest.approx(1, abs=1e-12)


def test_grey_levels_by_hand():
    # areas of 1 x 2 pixels of (3, 2, 4): means over channels and area 0, 32, 255, 128 -> 0, 1, 7, 4
    image = torch.tensor([[0, 0, 20, 44], [255, 255, 0, 255]], dtype=torch.uint8).expand(1, 3, 2, 4)
    assert grey_levels(image, 2, 8).tolist() == [[[0, 1], [7, 3]]]  # 127.5 * 8 / 256 = 3.98


def test_own_gain_is_rate_times_squared_gradient():
    # w = (1, 2), loss (w x - y)^2, gradient 2 (w x - y) x; no past: rate lr = 0.1
    net = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 2.0]]))
    optimizer = rms_adam(net, 0.1)

    def loss(forward, x, y):
        return (forward(x).squeeze(1) - y) ** 2

    x, y = torch.tensor([[1.0, 1.0], [0.0, 1.0], [2.0, 0.0]]), torch.tensor([1.0, 2.0, 1.0])
    # errors 2, 0, 1: gradients (4, 4), (0, 0), (4, 0): 0.1 * (32, 0, 16)
    assert torch.allclose(per_sample_gain(net, optimizer, loss, x, y), torch.tensor([3.2, 0, 1.6]))
    net.weight.grad = torch.tensor([[2.0, 1.0]])
    optimizer.step()  # w = (0.9, 1.9); root mean squares 2 and 1: rates 0.05, 0.1
    # errors 1.8, -0.1, 0.8: gradients (3.6, 3.6), (0, -0.2), (3.2, 0)
    expected = torch.tensor([0.05 * 3.6**2 + 0.1 * 3.6**2, 0.1 * 0.04, 0.05 * 3.2**2])
    assert torch.allclose(per_sample_gain(net, optimizer, loss, x, y), expected, rtol=1e-4)


def test_the_pixelcnn_bonus_equals_its_formula():
    bonus = build(PredictionGain, spec("tiny"), model="pixelcnn", side=4, channels=4)
    seen = torch.randint(256, (3, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    bonus.learn(transitions(seen), torch.Generator())
    with torch.no_grad():
        score = bonus.score(transitions(seen))
    image = grey_levels(seen, 4, 8)
    for i in range(3):
        loss = negative_log_likelihood(bonus.net(image[i : i + 1]), image[i : i + 1]).sum()
        gain = 0.0
        for weight, gradient in zip(
            bonus.net.parameters(), torch.autograd.grad(loss, list(bonus.net.parameters())), strict=True
        ):
            # one step made: the mean square, unbiased, is 0.001 g^2 / 0.001
            square = bonus.optimizer.state[weight]["exp_avg_sq"] / 0.001
            gain += float((1e-3 * gradient**2 / (square.sqrt() + 1e-8)).sum())
        # c = 0.1, n = 3 learnt + 3: N = 1 / (e^PG_n - 1)
        count = 1 / math.expm1(0.1 * 6**-0.5 * min(gain, float(loss.detach())))
        assert float(score[i]) == pytest.approx(count**-0.5, rel=1e-3)


def test_scoring_changes_nothing_and_learning_lowers_the_loss():
    bonus = build(PredictionGain, spec("tiny"), model="pixelcnn", side=4, channels=4, learning_rate=0.01)
    batch = transitions(torch.randint(256, (6, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))
    before = {name: value.clone() for name, value in bonus.state_dict().items()}
    with torch.no_grad():
        bonus.score(batch)
    assert all(torch.equal(before[name], value) for name, value in bonus.state_dict().items())
    assert not bonus.optimizer.state
    losses = [float(bonus.learn(batch, torch.Generator())["loss"]) for _ in range(90)]
    # At the start nothing is known: 16 pixels of 8 levels
    assert losses[0] == pytest.approx(16 * math.log(8), rel=0.1)
    assert losses[-1] < 0.85 * losses[0]
    assert {id(p) for group in bonus.optimizer.param_groups for p in group["params"]} == {
        id(p) for p in bonus.parameters()
    }


def test_pseudo_counts_follow_true_counts():
    side, kinds = 8, 8
    generator = torch.Generator().manual_seed(1)
    frames = (torch.randint(2, (kinds, 1, side, side), generator=generator) * 255).to(torch.uint8).expand(-1, 3, -1, -1)
    torch.manual_seed(1)
    bonus = PredictionGain(
        image_spec(3, side, side), PredictionGain.Config(model="pixelcnn", side=side, channels=8, learning_rate=3e-3)
    )
    share, counts = 2.0 ** -torch.arange(kinds), torch.zeros(kinds)
    for _ in range(200):
        drawn = torch.multinomial(share, 64, replacement=True, generator=generator)
        counts += torch.bincount(drawn, minlength=kinds)
        bonus.learn(transitions(frames[drawn]), generator)
    with torch.no_grad():
        score = bonus.score(transitions(frames))
    ranks = torch.stack([score.pow(-2).argsort().argsort(), counts.argsort().argsort()]).double()
    assert float(torch.corrcoef(ranks)[0, 1]) > 0.8
    assert score[-1] > 3 * score[0]  # seen some 50 times, and 6400 times


@pytest.mark.parametrize(("kind", "model"), KINDS)
def test_what_is_seen_often_pays_little_and_what_never_was_does_not(kind, model):
    settings = {"side": 4, "channels": 4, "learning_rate": 0.02} if model == "pixelcnn" else {}
    bonus = build(PredictionGain, spec(kind), on="auto", model=model, batch=4, **settings)
    often, never = random_obs(1, 1, kind, seed=1), random_obs(1, 1, kind, seed=2)
    steps = make_steps(often.expand(T, N, *often.shape[2:]), often.expand(T, N, *often.shape[2:]))
    for _ in range(30):
        bonus.update(steps, torch.Generator().manual_seed(0))
    probe = torch.cat([often, never], 1)
    seen, unseen = bonus.compute(make_steps(probe, probe))[0].tolist()
    # Counts: 450 visits against none, (450.01 / 0.01)^1/2 = 212
    assert unseen > 3 * seen
    if model == "counts":
        assert unseen / seen == pytest.approx(math.sqrt(45001), rel=1e-4)


@pytest.mark.parametrize(("kind", "model"), KINDS)
def test_a_restored_bonus_pays_and_learns_alike(kind, model):
    one, other = (
        build(PredictionGain, spec(kind), seed=seed, on="auto", model=model, side=4, channels=4) for seed in (0, 1)
    )
    now = random_obs(T, N, kind, seed=1)
    steps, later = (
        make_steps(now, random_obs(T, N, kind, seed=2)),
        make_steps(now, random_obs(T, N, kind, seed=2).flip(0)),
    )
    later.first[0] = False
    one.update(steps, torch.Generator().manual_seed(0))
    restore(other, copy.deepcopy(state_of(one)))
    assert torch.equal(one.compute(later), other.compute(later))
    assert one.update(later, torch.Generator().manual_seed(3)) == other.update(later, torch.Generator().manual_seed(3))
    anew = make_steps(now, random_obs(T, N, kind, seed=5))
    assert torch.equal(one.compute(anew), other.compute(anew))


def test_auto_counts_all_but_pixels_and_names():
    assert BONUSES.resolve("prediction_gain") is PredictionGain
    assert build(PredictionGain, spec("symbols")).counting
    assert build(PredictionGain, spec("features"), on="auto").counting
    assert not build(PredictionGain, spec("pixels")).counting
    with pytest.raises(UsageError, match="take model=counts"):
        build(PredictionGain, spec("features"), on="auto", model="pixelcnn")


@pytest.mark.parametrize(
    "bad",
    [{"model": "cts"}, {"bits": 0}, {"bits": 31}, {"projections": 0}, {"side": 0}, {"channels": 0}, {"scale": 0.0}],
)
def test_bad_settings(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        PredictionGain.Config(**bad)
    with pytest.raises(ValueError, match="batch=0"):
        dataclasses.replace(PredictionGain.Config(), batch=0)


def test_batch_gain_is_what_the_optimizers_step_gives():
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    optimizer = rms_adam(net, 0.05)
    x, y = torch.randn(7, 3), torch.randn(7, 2)

    def loss(forward, x, y):
        return (forward(x) - y).square().sum(1)

    for _ in range(3):  # with and without a past
        gain = batch_gain(net, optimizer, loss, x, y)
        before = loss(net, x, y)
        optimizer.zero_grad()
        before.mean().backward()
        optimizer.step()
        assert torch.allclose(gain, (before - loss(net, x, y)).detach(), atol=1e-6)
    y = net(x).detach()  # a minimum
    assert batch_gain(net, optimizer, loss, x, y).tolist() == [0] * 7
    assert per_sample_gain(net, optimizer, loss, x, y).tolist() == [0] * 7
