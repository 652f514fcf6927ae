"""CURL: the loss by hand, the key network's motion, and what learning changes."""

from __future__ import annotations

import math

import pytest
import torch

from envs.steps import Steps
from representations.augment import shift
from representations.curl import Curl, CurlConfig, crop_by_counter, info_nce
from representations.pretrain import Pretrainer
from tests.representations.toys import image_spec, read_out, shapes_anywhere, strongest

SPEC = image_spec((6, 40, 40), frames=2)
SMALL = CurlConfig(pad=4, projection=8)


def frames(n: int = 5) -> Steps:
    return Steps.frames({"image": torch.randint(0, 256, (n, 6, 40, 40), dtype=torch.uint8)})


def test_the_loss_by_hand():
    # two pairs, W = diag(1, 2): logits q_i^T W k_j = ((1, 2), (3, 8)): -1 + log(e + e^2), -8 + log(e^3 + e^8)
    query, key = torch.tensor([[1.0, 0], [1, 1]]), torch.tensor([[1.0, 1], [2, 3]])
    loss, accuracy = info_nce(query, key, torch.diag(torch.tensor([1.0, 2])))
    expected = (math.log(math.e + math.e**2) - 1 + math.log(math.e**3 + math.e**8) - 8) / 2
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(accuracy) == 0.5  # the first prefers the other key
    # W is not symmetric in general: queries on the left
    weight = torch.tensor([[0.0, 1], [0, 0]])  # q_1 k_2: logits ((1, 3), (1, 3))
    assert float(info_nce(query, key, weight)[0]) == pytest.approx(math.log(math.e + math.e**3) - 2, rel=1e-5)


def test_equal_keys_cost_log_b_and_separate_keys_nothing():
    same = torch.ones(5, 3)
    assert float(info_nce(same, same, torch.eye(3))[0]) == pytest.approx(math.log(5))
    loss, accuracy = info_nce(100 * torch.eye(4), torch.eye(4), torch.eye(4))
    assert float(loss) == 0
    assert float(accuracy) == 1


def test_the_loss_is_invariant_to_a_rotation_of_the_embedding():
    query, key, weight = torch.randn(5, 4), torch.randn(5, 4), torch.randn(4, 4)
    turn = torch.linalg.qr(torch.randn(4, 4))[0]
    before = info_nce(query, key, weight)[0]
    after = info_nce(query @ turn, key @ turn, turn.T @ weight @ turn)[0]
    assert float(after) == pytest.approx(float(before), rel=1e-4)


def test_the_gradient_reaches_queries_and_no_key(generator):
    curl = Curl(SPEC, SMALL)
    curl.loss(frames(), None, generator)[0].backward()
    for name, parameter in curl.named_parameters():
        if name.startswith("key_"):
            assert parameter.grad is None, name
            assert not parameter.requires_grad, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
    trained = {id(p) for phase in curl.phases() for p in phase.parameters}
    assert trained == {id(p) for p in curl.parameters() if p.requires_grad}


def test_keys_start_as_queries_and_follow_slowly():
    curl = Curl(SPEC, CurlConfig(pad=4, projection=8, momentum=0.9))
    pairs = [("trunk", "key_trunk"), ("projection", "key_projection")]
    state = curl.state_dict()
    for query, key in pairs:
        names = [name.removeprefix(query) for name in state if name.startswith(f"{query}.")]
        assert names
        assert all(torch.equal(state[query + name], state[key + name]) for name in names)
    followers = (*curl.key_trunk.parameters(), *curl.key_projection.parameters())
    old = [parameter.clone() for parameter in followers]
    with torch.no_grad():
        for parameter in (*curl.trunk.parameters(), *curl.projection.parameters()):
            parameter.add_(1)
    curl.after_step()
    # 0.9 old + 0.1 (old + 1)
    assert len(old) == 8 + 4
    assert all(torch.allclose(new, before + 0.1, atol=1e-6) for new, before in zip(followers, old, strict=True))


def test_crops_by_counter_are_shifts_that_frame_and_step_decide():
    image = torch.randint(0, 256, (500, 1, 9, 11), dtype=torch.uint8)
    crops = crop_by_counter(image, 2, torch.tensor(3))
    every = {
        (dy, dx): shift(image, torch.full((500,), dy), torch.full((500,), dx))
        for dy in range(-2, 3)
        for dx in range(-2, 3)
    }
    hits = {offset: int((crops == moved).flatten(1).all(1).sum()) for offset, moved in every.items()}
    # 500 over 25 offsets: 20 each, standard deviation 4.4
    assert sum(hits.values()) == 500
    assert min(hits.values()) > 4
    assert max(hits.values()) < 40
    assert torch.equal(crop_by_counter(image[7:8], 2, torch.tensor(3)), crops[7:8])
    same = (crop_by_counter(image, 2, torch.tensor(4)) == crops).flatten(1).all(1).sum()
    assert int(same) < 50  # 1 of 25 by chance


def test_rl_reads_crops_in_updates_alone():
    image = torch.randint(0, 256, (5, 6, 40, 40), dtype=torch.uint8)
    plain, cropping = Curl(SPEC, SMALL), Curl(SPEC, CurlConfig(pad=4, projection=8, rl_on_crops=True))
    cropping.load_state_dict(plain.state_dict())
    whole = plain.train().encode({"image": image})[0]
    assert torch.equal(cropping.eval().encode({"image": image})[0], whole)
    cropping.train()
    expected = plain.trunk(crop_by_counter(image, 4, cropping.updates))
    before = cropping.encode({"image": image})[0]
    assert torch.equal(before, expected)
    assert not torch.equal(before, whole)
    cropping.after_step()
    assert not torch.equal(cropping.encode({"image": image})[0], before)


def test_learning_lowers_the_loss_and_reads_shapes_better_than_before():
    images, shape = shapes_anywhere()
    torch.manual_seed(0)
    curl = Curl(image_spec((1, 40, 40)), CurlConfig(pad=12, projection=16, momentum=0.95, learning_rate=1e-3, batch=64))
    before = curl.encode({"image": images})[0].detach()
    draws = torch.Generator().manual_seed(0)
    trainer = Pretrainer(curl, {"image": images}, 64 * 150, generator=draws, precision="bfloat16")
    early, late = trainer.run(64 * 10), trainer.run(64 * 140)
    assert late["pretrain/contrast/loss"] < early["pretrain/contrast/loss"] - 0.1
    after = curl.encode({"image": images})[0].detach()
    assert read_out(strongest(after, 12), shape) > read_out(strongest(before, 12), shape) + 0.08


def test_save_and_load_give_equal_features_and_keys(generator):
    image = torch.randint(0, 256, (3, 6, 40, 40), dtype=torch.uint8)
    one, other = Curl(SPEC, SMALL), Curl(SPEC, SMALL)
    with torch.no_grad():
        one.trunk.dense.weight.add_(0.1)
    one.after_step()
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.encode({"image": image})[0], other.encode({"image": image})[0])
    assert torch.equal(one.key_trunk(image), other.key_trunk(image))
    assert not torch.equal(one.key_trunk(image), one.trunk(image))


def test_a_momentum_above_one_is_refused():
    with pytest.raises(ValueError, match=r"momentum=1\.5: give a number of at most 1"):
        CurlConfig(momentum=1.5)
