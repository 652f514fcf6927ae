"""Counts by hand, within a rollout and across; the PixelCNN's bonus by its formula and for rare frames."""

from __future__ import annotations

import math

import pytest
import torch

from envs.registry import UsageError
from intrinsic import BONUSES
from intrinsic.base import Transitions
from intrinsic.models.pixel_cnn import grey_levels, negative_log_likelihood
from intrinsic.prediction_gain import PredictionGain, pseudo_count
from tests.intrinsic.tools import build, image_spec, make_steps, random_obs, spec

T, N = 5, 3
KINDS = [("symbols", "counts"), ("features", "counts"), ("pixels", "counts"), ("tiny", "pixelcnn")]
PAY = [(n + 0.01) ** -0.5 for n in range(8)]  # 10, 0.995, 0.705, ...


def symbols(letters: list[str], seed: int = 0) -> torch.Tensor:
    """Symbols (T, N, 3, 7, 7), one random view for each letter; a row of the list is one step of all streams."""
    views = torch.randint(11, (26, 3, 7, 7), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    return torch.stack([torch.stack([views[ord(letter) - ord("a")] for letter in row]) for row in letters])


def transitions(repeated: torch.Tensor) -> Transitions:
    return Transitions(repeated, torch.zeros(len(repeated), dtype=torch.int64), repeated, torch.arange(len(repeated)))


def test_a_pseudo_count_of_an_empirical_density_is_the_count():
    # n_x of n: rho = n_x / n, rho' = (n_x + 1) / (n + 1)
    counts, n = torch.tensor([1.0, 2, 7, 40], dtype=torch.float64), 50
    assert torch.allclose(pseudo_count(counts / n, (counts + 1) / (n + 1)), counts)
    # and nearly so by the gain: 1 / (rho' / rho - 1) = n_x (n + 1) / (n - n_x)
    assert torch.allclose(
        1 / torch.expm1(((counts + 1) * n / ((n + 1) * counts)).log()), counts * (n + 1) / (n - counts)
    )


def test_counts_rise_step_by_step_and_stay():
    bonus = build(PredictionGain, spec("symbols"))
    after = symbols(["abc", "adb", "eaf"])
    steps = make_steps(symbols(["zzz"] * 3), after)
    # a: places 0, 3, 7; b: 1, 5; the rest once
    expected = torch.tensor([[PAY[0], PAY[0], PAY[0]], [PAY[1], PAY[0], PAY[1]], [PAY[0], PAY[2], PAY[0]]])
    assert torch.allclose(bonus.compute(steps), expected)
    assert torch.allclose(bonus.compute(steps), expected)  # scoring is not counting
    bonus.update(steps, torch.Generator().manual_seed(0))
    assert int(bonus.table.sum()) == 9
    # Now a was counted 3 times, b twice, c once, x never
    again = make_steps(symbols(["zzz", "zzz"]), symbols(["abx", "aac"]))
    expected = torch.tensor([[PAY[3], PAY[2], PAY[0]], [PAY[4], PAY[5], PAY[1]]])
    assert torch.allclose(bonus.compute(again), expected)


def test_an_unknown_successor_is_neither_rewarded_nor_counted():
    bonus = build(PredictionGain, spec("symbols"))
    valid = torch.tensor([[True, False, True], [False, True, True]])
    steps = make_steps(symbols(["zzz", "zzz"]), symbols(["aab", "aca"]), valid=valid)
    # a is met at places 0 and 5 alone
    assert torch.allclose(bonus.compute(steps), torch.tensor([[PAY[0], 0, PAY[0]], [0, PAY[0], PAY[1]]]))
    bonus.update(steps, torch.Generator().manual_seed(0))
    assert int(bonus.table.sum()) == 4
    nothing = make_steps(symbols(["zzz"]), symbols(["aaa"]), valid=torch.zeros(1, 3, dtype=torch.bool))
    assert bonus.compute(nothing).tolist() == [[0, 0, 0]]
    dense = build(PredictionGain, spec("tiny"), model="pixelcnn", side=4)
    some = torch.zeros(1, 3, 3, 4, 5, dtype=torch.uint8)
    assert (dense.compute(make_steps(some, some, valid=valid[:1])) > 0).tolist() == [[True, False, True]]
    assert dense.compute(make_steps(some, some, valid=~valid[:1] & False)).tolist() == [[0, 0, 0]]


def test_the_last_frame_is_counted_and_never_a_reset_frame():
    bonus = build(PredictionGain, spec("symbols"))
    done = torch.tensor([[False] * 3, [True] * 3, [False] * 3])
    # The policy sees "r" at t = 2, the reset frame; what followed t = 1 truly was "e"
    steps = make_steps(symbols(["zzz", "zzz", "rrr"]), symbols(["abc", "eee", "fgh"]), done=done)
    bonus.update(steps, torch.Generator().manual_seed(0))
    probe = make_steps(symbols(["zzz"]), symbols(["erf"]))
    assert torch.allclose(bonus.compute(probe), torch.tensor([[PAY[3], PAY[0], PAY[1]]]))


def test_different_views_have_different_counters():
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


def test_the_pixelcnn_bonus_equals_its_formula():
    bonus = build(PredictionGain, spec("tiny"), model="pixelcnn", side=4, channels=4)
    repeated = torch.randint(256, (3, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    bonus.learn(transitions(repeated), torch.Generator())
    with torch.no_grad():
        score = bonus.score(transitions(repeated))
    image = grey_levels(repeated, 4, 8)
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


def test_learning_lowers_the_pixelcnns_loss():
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
    assert score[-1] > 3 * score[0]  # met some 50 times, and 6400 times


@pytest.mark.parametrize(("kind", "model"), KINDS)
def test_a_repeated_state_earns_less_than_a_new_one(kind, model):
    settings = {"side": 4, "channels": 4, "learning_rate": 0.02} if model == "pixelcnn" else {}
    bonus = build(PredictionGain, spec(kind), on="auto", model=model, batch=4, **settings)
    often, never = random_obs(1, 1, kind, seed=1), random_obs(1, 1, kind, seed=2)
    steps = make_steps(often.expand(T, N, *often.shape[2:]), often.expand(T, N, *often.shape[2:]))
    for _ in range(30):
        bonus.update(steps, torch.Generator().manual_seed(0))
    probe = torch.cat([often, never], 1)
    repeated, new = bonus.compute(make_steps(probe, probe))[0].tolist()
    # Counts: 450 visits against none, (450.01 / 0.01)^1/2 = 212
    assert new > 3 * repeated
    if model == "counts":
        assert new / repeated == pytest.approx(math.sqrt(45001), rel=1e-4)


def test_auto_counts_everything_but_pixels():
    assert BONUSES.resolve("prediction_gain") is PredictionGain
    assert build(PredictionGain, spec("symbols")).counting
    assert build(PredictionGain, spec("features"), on="auto").counting
    assert not build(PredictionGain, spec("pixels")).counting
    with pytest.raises(UsageError, match="take model=counts"):
        build(PredictionGain, spec("features"), on="auto", model="pixelcnn")
