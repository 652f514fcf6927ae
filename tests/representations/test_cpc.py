"""CPC: exact values of the loss, its masks, and how much of a known chain's information it finds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from envs.steps import Steps
from representations.cpc import Cpc, CpcConfig, info_nce, is_negative
from representations.pretrain import Pretrainer
from tests.representations.toys import image_spec, read_out, strongest

T, B = 5, 3
SMALL = CpcConfig(window=T, ahead=3, context=4)
SPEC = image_spec((1, 36, 36))


def no_heads(features):
    raise AssertionError("CPC does not look at the policy")


def windows(first: torch.Tensor | None = None, seed: int = 0) -> Steps:
    images = torch.randint(0, 256, (T, B, 1, 36, 36), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Steps.windows({"image": images}, torch.zeros(T, B, dtype=torch.bool) if first is None else first)


def test_info_nce_by_hand():
    z = torch.tensor([[1.0], [2.0], [3.0]])
    predicted = torch.tensor([[1.0]])
    # the true one, e^2, among e^1, e^2, e^3: it counts once whether or not it is in the pool
    every = math.log(math.e + math.e**2 + math.e**3) - 2
    assert float(info_nce(predicted, z, torch.tensor([1]), torch.arange(3))) == pytest.approx(every)
    assert float(info_nce(predicted, z, torch.tensor([1]), torch.tensor([0, 2]))) == pytest.approx(every)
    # one negative: log(e^1 + e^2) - 2
    one = math.log(math.e + math.e**2) - 2
    assert float(info_nce(predicted, z, torch.tensor([1]), torch.tensor([0]))) == pytest.approx(one)


def test_the_loss_is_log_n_without_and_0_with_perfect_prediction(generator):
    cpc = Cpc(SPEC, SMALL)
    for predictor in cpc.predictors:
        torch.nn.init.zeros_(predictor.weight)
    loss, metrics = cpc.loss(windows(), no_heads, generator)
    assert float(loss.detach()) == pytest.approx(math.log(T * B))  # 15 candidates
    assert float(metrics["information"]) == pytest.approx(0, abs=1e-6)
    z = torch.eye(6)
    assert float(info_nce(1000 * z, z, torch.arange(6), torch.arange(6)).max()) == 0


def test_the_loss_equals_a_double_loop_over_pairs_of_one_episode(generator):
    cpc = Cpc(SPEC, SMALL)
    first = torch.zeros(T, B, dtype=torch.bool)
    first[2, 1] = first[0, 2] = first[4, 2] = True  # stream 1 begins anew at step 2, stream 2 at 0 and 4
    steps = windows(first)
    with torch.no_grad():
        z = torch.stack([cpc.trunk(row) for row in steps.obs["image"]])
        found = []
        for b in range(B):
            c, episode, contexts, episodes = torch.zeros(1, 4), 0, [], []
            for t in range(T):
                if first[t, b]:
                    c, episode = torch.zeros(1, 4), episode + 1
                c = cpc.gru(torch.cat([z[t, b], torch.zeros(2)])[None], c)  # offline: no action is known
                contexts.append(c[0])
                episodes.append(episode)
            for t in range(T):
                for k in range(1, 4):
                    if t + k < T and episodes[t] == episodes[t + k]:
                        scores = z.flatten(0, 1) @ cpc.predictors[k - 1](contexts[t])
                        found.append(float(scores.logsumexp(0) - scores[(t + k) * B + b]))
        # of 9 pairs a stream (4 + 3 + 2): stream 1 keeps 1 + 3 (1 of steps 0-1, 2 + 1 of 2-4), stream 2 3 + 2 + 1
        assert len(found) == 9 + 4 + 6
        assert float(cpc.loss(steps, no_heads, generator)[0]) == pytest.approx(float(np.mean(found)), rel=1e-5)


def test_the_context_starts_anew_with_an_episode():
    cpc = Cpc(SPEC, SMALL)
    first = torch.zeros(T, 1, dtype=torch.bool)
    first[3] = True
    z = torch.randn(T, 1, cpc.features_dim)
    other = z.clone()
    other[:3] += 1
    steps = Steps.windows({}, first)
    before, after = cpc.contexts(z, steps), cpc.contexts(other, steps)
    assert not torch.allclose(before[:3], after[:3])
    assert torch.equal(before[3:], after[3:])


def test_the_context_reads_the_action_before_each_frame():
    cpc = Cpc(image_spec((1, 36, 36), actions=3), SMALL)
    first = torch.zeros(4, 2, dtype=torch.bool)
    first[2, 1] = True  # stream 1 begins anew at step 2: the action before it is another episode's
    steps = replace(Steps.windows({}, first), action=torch.tensor([[2, 0], [1, 1], [0, 2], [1, 1]]), actions_known=True)
    none, zero, one, two = [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]
    assert cpc.actions_before(steps).tolist() == [[none, none], [two, zero], [one, none], [zero, two]]
    z = torch.randn(4, 2, cpc.features_dim)
    with torch.no_grad():
        changed = replace(steps, action=steps.action.index_put((torch.tensor(1), torch.tensor(0)), torch.tensor(2)))
        before, after = cpc.contexts(z, steps), cpc.contexts(z, changed)
    assert torch.equal(before[:2], after[:2])
    assert not torch.allclose(before[2:, 0], after[2:, 0])
    assert torch.equal(before[:, 1], after[:, 1])
    assert not cpc.actions_before(replace(steps, actions_known=False)).any()


def test_targets_and_negatives_take_their_gradient():
    # one pair, predicted p = (1, 0), frames (1, 0), (0, 2), (0, 0), the true one 1: logits 1, 0, 0. The gradient to
    # frame j is (softmax_j - [j = 1]) p
    z = torch.tensor([[1.0, 0], [0, 2], [0, 0]], requires_grad=True)
    info_nce(torch.tensor([[1.0, 0]]), z, torch.tensor([1]), torch.arange(3)).sum().backward()
    total = math.e + 2
    assert z.grad[:, 0].tolist() == pytest.approx([math.e / total, 1 / total - 1, 1 / total], rel=1e-5)
    assert not z.grad[:, 1].any()


def test_the_trunk_learns_from_targets_too(generator):
    # contexts are fixed, so all gradient comes through targets and negatives
    cpc = Cpc(SPEC, SMALL)
    fixed = torch.randn(T, B, 4)
    cpc.contexts = lambda z, steps: fixed
    cpc.loss(windows(), no_heads, generator)[0].backward()
    assert cpc.trunk.dense.weight.grad.abs().sum() > 0


def test_negatives_of_the_same_episode_share_window_and_episode(generator):
    # frames 0..5 of owners 0 0 1 1 0 2; the pair's true frame is 1, of owner 0: negatives 0 and 4
    owner = torch.tensor([0, 0, 1, 1, 0, 2])
    assert is_negative(torch.tensor([1]), torch.arange(6), owner).tolist() == [[True, False, False, False, True, False]]
    cpc = Cpc(SPEC, replace(SMALL, same_episode=True))
    for predictor in cpc.predictors:
        torch.nn.init.zeros_(predictor.weight)
    first = torch.zeros(T, 1, dtype=torch.bool)
    first[2] = True  # episodes of 2 and 3 frames: 1 pair among 2, and 2 + 1 pairs among 3 candidates
    steps = Steps.windows({"image": windows().obs["image"][:, :1]}, first)
    loss, metrics = cpc.loss(steps, no_heads, generator)
    assert float(loss.detach()) == pytest.approx((math.log(2) + 3 * math.log(3)) / 4)
    assert float(metrics["information"]) == pytest.approx(0, abs=1e-6)


def test_negatives_are_at_most_as_many_as_asked_for(generator):
    cpc = Cpc(SPEC, CpcConfig(window=T, ahead=3, context=4, negatives=6))
    assert cpc._pool(15, generator).shape == (6,)
    assert cpc._pool(7, generator).tolist() == list(range(7))  # the true one and 6 others
    for predictor in cpc.predictors:
        torch.nn.init.zeros_(predictor.weight)
    loss, _ = cpc.loss(windows(), no_heads, generator)
    # 7 candidates, or 6 where the true one was drawn among the 6
    assert math.log(6) < float(loss.detach()) <= math.log(7) + 1e-6


def test_the_loss_is_0_without_any_pair_of_one_episode(generator):
    loss, metrics = Cpc(SPEC, SMALL).loss(windows(torch.ones(T, B, dtype=torch.bool)), no_heads, generator)
    assert float(loss.detach()) == 0
    assert all(bool(torch.isfinite(value)) for value in metrics.values())


def chain(streams: int, steps: int, shuffled: bool, seed: int) -> tuple[torch.Tensor, float]:
    """Markov chain of six symbols drawn as bars: images (streams, steps, 1, 36, 36), and I(x_{t+1}; x_t).

    The next symbol is the following one with probability 0.7, else any. The information is in nats.
    """
    rng = np.random.default_rng(seed)
    symbols = np.empty((streams, steps), np.int64)
    symbols[:, 0] = rng.integers(6, size=streams)
    for t in range(1, steps):
        follows = rng.random(streams) < 0.7
        symbols[:, t] = np.where(follows, (symbols[:, t - 1] + 1) % 6, rng.integers(6, size=streams))
    if shuffled:
        symbols[:, 1:] = rng.integers(6, size=(streams, steps - 1))
    images = np.zeros((streams, steps, 1, 36, 36), np.uint8)
    for s in range(6):
        images[symbols == s, :, :, 6 * s : 6 * s + 6] = 255
    p = np.full(6, 0.3 / 6)
    p[0] += 0.7  # uniform marginal: I = log 6 - H(next | now)
    return torch.from_numpy(images), math.log(6) + float((p * np.log(p)).sum())


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_bound_reaches_the_information_of_a_markov_chain(shuffled):
    images, information = chain(2048, 2, shuffled, seed=0)
    # log 6 + 0.75 log 0.75 + 5 * 0.05 log 0.05 = 1.792 - 0.216 - 0.749
    assert information == pytest.approx(0.827, abs=0.001)
    torch.manual_seed(0)
    config = CpcConfig(window=2, ahead=1, context=32, learning_rate=1e-3, batch=64)
    cpc = Cpc(SPEC, config)
    data = {"image": images, "first": torch.zeros(2048, 2, dtype=torch.bool)}
    trainer = Pretrainer(cpc, data, 64 * 260, generator=torch.Generator().manual_seed(0), precision="bfloat16")
    trainer.run(64 * 200)
    found = trainer.run(64 * 60)["pretrain/cpc/information"]  # 64 candidates
    assert found == pytest.approx(0 if shuffled else information, abs=0.1)


def test_a_persistent_factor_is_learnt_and_noise_is_not():
    # A bar walks; a bright square flickers anywhere. Prediction needs the bar's place only.
    rng = np.random.default_rng(0)
    place = np.clip(np.cumsum(rng.integers(-1, 2, size=(96, 8)), 1) + rng.integers(0, 24, size=(96, 1)), 0, 30)
    images = np.zeros((96, 8, 1, 36, 36), np.uint8)
    for i in range(96):
        for t in range(8):
            images[i, t, 0, :, place[i, t] : place[i, t] + 6] = 120
            y, x = rng.integers(0, 24, size=2)
            images[i, t, 0, y : y + 12, x : x + 12] = 255
    frames = torch.from_numpy(images)
    torch.manual_seed(0)
    cpc = Cpc(SPEC, CpcConfig(window=8, ahead=4, context=32, learning_rate=5e-4, batch=128))
    before = cpc.encode({"image": frames.flatten(0, 1)})[0].detach()
    data = {"image": frames, "first": torch.zeros(96, 8, dtype=torch.bool)}
    trainer = Pretrainer(cpc, data, 128 * 90, generator=torch.Generator().manual_seed(0), precision="bfloat16")
    early = trainer.run(128 * 20)["pretrain/cpc/info_nce"]
    late = trainer.run(128 * 70)["pretrain/cpc/info_nce"]
    assert late < early - 0.5
    with torch.no_grad():
        after = cpc.encode({"image": frames.flatten(0, 1)})[0]
    wanted = torch.from_numpy(place).flatten()[:, None].float()
    assert read_out(strongest(after, 12), wanted) > read_out(strongest(before, 12), wanted) + 0.1


def test_a_window_too_short_for_its_predictions_is_refused():
    with pytest.raises(ValueError, match="ahead=64: a window of 64 steps holds less"):
        CpcConfig(ahead=64)
