"""ACN: neighbours against brute force, the VAE's loss where r is N(0, I), the table, and what learning changes."""

from __future__ import annotations

import pytest
import torch

from envs.steps import Steps
from representations.acn import Acn, AcnConfig, near_rows, nearest
from representations.pretrain import Pretrainer
from representations.vae import LatentConfig, Vae, kl_to_prior
from tests.representations.toys import image_spec, moving_square, read_out, strongest

SPEC = image_spec((1, 40, 40))
B = 3


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_neighbours_are_those_of_brute_force():
    codes, table = torch.randn(7, 4, generator=draws()), torch.randn(90, 4, generator=draws(1))
    row = torch.tensor([0, 5, 40, 70, 89, 33, 64])
    rows, allowed = nearest(codes, table, near_rows(row, 1, 90), 5)
    assert allowed.all()
    for i in range(7):
        left_out = {int(row[i]) + offset for offset in (-32, 0, 32)}
        others = [j for j in range(90) if j not in left_out]
        expected = sorted(others, key=lambda j: float((codes[i] - table[j]).square().sum()))[:5]
        assert rows[i].tolist() == expected


def test_too_few_neighbours_are_marked():
    table = torch.tensor([[0.0], [1.0], [5.0], [7.0]])
    rows, allowed = nearest(torch.tensor([[0.2], [6.5]]), table, torch.tensor([[0, 1], [3, 3]]), 3)
    assert rows[0, :2].tolist() == [2, 3]
    assert allowed.tolist() == [[True, True, False], [True, True, True]]
    assert rows[1].tolist() == [2, 1, 0]
    assert nearest(torch.zeros(1, 1), table, torch.zeros(1, 0, dtype=torch.int64), 9)[0].shape == (1, 4)


def test_the_row_itself_stands_for_rows_outside_the_table():
    # 2 rounds of 32 before and after, of 100 rows
    near = near_rows(torch.tensor([3, 50, 99]), 2, 100)
    assert near.tolist() == [[3, 3, 3, 35, 67], [50, 18, 50, 82, 50], [35, 67, 99, 99, 99]]


def test_with_a_normal_prior_it_is_the_vae():
    acn, vae = Acn(SPEC), Vae(SPEC, LatentConfig())
    vae.encoder, vae.decoder = acn.encoder, acn.decoder
    with torch.no_grad():
        acn.prior[-1].weight.zero_()
        acn.prior[-1].bias.zero_()
    image = torch.randint(0, 256, (B, 1, 40, 40), dtype=torch.uint8)
    acn.prepare({"image": image})
    (loss, metrics), _ = acn.bound(image, torch.arange(B), draws())
    expected, terms = vae.latent_loss(image, draws())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert float(metrics["kl"]) == pytest.approx(float(terms["kl"]), rel=1e-5)


def test_the_divergence_is_that_from_the_neighbour_s_prior():
    acn = Acn(SPEC, AcnConfig(latents=2, neighbours=1, apart=0))
    image = torch.randint(0, 256, (B, 1, 40, 40), dtype=torch.uint8)
    with torch.no_grad():
        own = acn.encoder(image[:1])[0]  # nearest of all, but the frame's own row
        acn.table = torch.cat([own, torch.tensor([[0.1, 0.2], [-1e3, 0]])])
        (_, metrics), codes = acn.bound(image[:1], torch.tensor([0]), draws())
        mean, log_variance = acn.encoder(image[:1])
        # r(z | table[1]) = N(m, v): KL = KL of the shifted and scaled q to N(0, 1)
        m, log_v = acn.prior(torch.tensor([[0.1, 0.2]])).chunk(2, 1)
        expected = kl_to_prior((mean - m) / (0.5 * log_v).exp(), log_variance - log_v).sum()
    assert float(metrics["kl"]) == pytest.approx(float(expected), rel=1e-5)
    distance = (codes - torch.tensor([0.1, 0.2])).norm()
    assert float(metrics["neighbour_distance"]) == pytest.approx(float(distance), rel=1e-5)


def test_each_of_the_nearest_is_drawn_equally_often():
    acn = Acn(SPEC, AcnConfig(latents=1, neighbours=3, apart=0))
    acn.table = torch.tensor([[0.0], [1.0], [2.0], [3.0], [9.0]])
    chosen = acn.neighbour(torch.zeros(3000, 1), torch.zeros(3000, dtype=torch.int64), draws()).flatten()
    counts = [int((chosen == value).sum()) for value in (0, 1, 2, 3, 9)]
    assert counts[0] == counts[4] == 0
    assert min(counts[1:4]) > 900  # 1000 each, standard deviation 26


def test_the_gradient_reaches_all_but_the_table():
    acn = Acn(SPEC)
    acn.prepare({"image": torch.zeros(50, 1, 40, 40)})
    before = acn.table.clone()
    image = torch.randint(0, 256, (B, 1, 40, 40), dtype=torch.uint8)
    (loss, _), codes = acn.bound(image, torch.tensor([1, 2, 3]), draws())
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in acn.parameters())
    assert not codes.requires_grad
    assert not acn.table.requires_grad
    assert torch.equal(acn.table, before)


def test_a_step_writes_the_codes_of_its_rows_into_the_table():
    images, _ = moving_square(size=40, side=10, positions=8)
    acn = Acn(SPEC, AcnConfig(latents=3))
    acn.prepare({"image": images})
    assert acn.table.shape == (64, 3)
    assert 0.8 < float(acn.table.std()) < 1.2
    steps = Steps.frames({"image": images[[9, 4]]})
    steps.row = torch.tensor([9, 4])
    before, codes = acn.table.clone(), acn.encode({"image": images[[9, 4]]})[0]
    (phase,) = acn.phases()
    phase.loss(steps, draws())
    assert torch.equal(acn.table, before)
    acn.after_step()
    assert torch.equal(acn.table[[9, 4]], codes)
    others = [row for row in range(64) if row not in (4, 9)]
    assert torch.equal(acn.table[others], before[others])


def test_a_saved_table_is_loaded_where_none_was_prepared():
    saved, loaded = Acn(SPEC), Acn(SPEC)
    saved.prepare({"image": torch.zeros(20, 1, 40, 40)})
    loaded.load_state_dict(saved.state_dict())
    assert torch.equal(loaded.table, saved.table)
    assert loaded.table.shape == (20, 64)


def test_a_fit_lowers_the_bound_and_features_read_better_than_random():
    images, places = moving_square(size=40, side=10)
    settings = {"latents": 6, "learning_rate": 1e-3, "hidden": 32, "batch": 16}
    acn = Acn(SPEC, AcnConfig(**settings))
    untrained = Acn(SPEC, AcnConfig(**settings))
    trainer = Pretrainer(acn, {"image": images}, 250 * 16, generator=draws())
    early, late = (trainer.run(16 * count)["pretrain/acn/loss"] for count in (10, 240))
    with torch.no_grad():
        learnt, random = (strongest(net.encode({"image": images})[0]) for net in (acn, untrained))
    assert late < 0.6 * early
    assert read_out(learnt, places) > read_out(random, places) + 0.1


def test_pictures():
    acn = Acn(SPEC)
    image = torch.randint(0, 256, (B, 1, 40, 40), dtype=torch.uint8)
    assert acn.pictures({"image": image}, draws())["reconstructions"].shape == (4 * 40, B * 40, 3)
