"""BigBiGAN: the losses by hand, whom the gradients reach, a Gaussian mixture, and what learning changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from envs.steps import Steps
from representations.bigan import Bigan, BiganConfig, Discriminator, adversarial_losses, perceptron
from tests.representations.toys import image_spec

SPEC = image_spec((3, 40, 40))
B = 3


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Sums(nn.Module):
    """Scores w x, z and x + z, each of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.cat([self.w * x, z, x + z], 1)


def test_the_losses_by_hand():
    x, encoded = torch.tensor([[0.25], [1.0]]), torch.tensor([[-1.0], [3.0]])
    made, z = torch.tensor([[-2.0], [0.5]]), torch.tensor([[0.0], [0.25]])
    losses = adversarial_losses(Sums(), (x, encoded), (made, z))
    # real scores (0.5, -1, -0.75) and (2, 3, 4): hinges 0.5 + 2 + 1.75 and 0
    # made scores (-4, 0, -2) and (1, 0.25, 0.75): hinges 0 + 1 + 0 and 2 + 1.25 + 1.75
    assert losses.discriminator.item() == pytest.approx((4.25 + 0) / 2 + (1 + 5) / 2)
    # (-1.25 + 9) / 2 - (-6 + 2) / 2
    assert losses.autoencoder.item() == pytest.approx(3.875 + 2)
    # slopes w + 1 = 3 by x and 2 by z, for every pair: 9 + 4 of both kinds
    assert losses.penalty.item() == pytest.approx(26)
    assert losses.right.item() == pytest.approx(0.5)  # one of two of each


def parts(model: Bigan) -> dict[str, list[nn.Parameter]]:
    encoder = [*model.trunk.parameters(), *model.head.parameters()]
    return {"E": encoder, "G": [*model.generator.parameters()], "D": [*model.discriminator.parameters()]}


def gradients(loss: Tensor, parameters: list[nn.Parameter]) -> list[bool]:
    """Whether a gradient reaches each parameter."""
    values = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return [value is not None and bool(value.abs().sum() > 0) for value in values]


def test_each_side_learns_from_its_own_loss_alone():
    model = Bigan(SPEC)
    image = torch.rand(B, 3, 40, 40)
    z = torch.randn(B, 32)
    encoded = model.latents(model.trunk(image), draws())
    losses = adversarial_losses(model.discriminator, (image, encoded), (model.generate(z), z))
    for name, parameters in parts(model).items():
        for loss in (losses.discriminator, losses.penalty):
            assert any(gradients(loss, parameters)) == (name == "D")
        assert all(gradients(losses.discriminator, parameters)) == (name == "D")
        assert any(gradients(losses.autoencoder, parameters)) == (name != "D")
        assert all(gradients(losses.autoencoder, parameters)) == (name != "D")


def test_the_loss_is_the_sum_with_half_the_penalty():
    image = torch.randint(0, 256, (B, 3, 40, 40), dtype=torch.uint8)
    torch.manual_seed(0)
    model = Bigan(SPEC, BiganConfig(penalty=6.0))
    loss, metrics = model.loss(Steps.frames({"image": image}), None, draws())
    expected = metrics["discriminator"] + 3 * metrics["penalty"] + metrics["autoencoder"]
    assert loss.item() == pytest.approx(expected.item())
    assert 0 <= metrics["right"].item() <= 1


def test_latents_are_draws_of_the_encoder_s_gaussian():
    model = Bigan(SPEC, BiganConfig(latents=1))
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([2.0, 1.0]))
        drawn = model.latents(torch.zeros(20_000, 512), draws())
        assert model.latents(torch.zeros(2, 512), None).tolist() == [[2.0], [2.0]]
    assert drawn.mean().item() == pytest.approx(2.0, abs=0.03)
    assert drawn.std().item() == pytest.approx(1.3133, rel=0.02)  # log(1 + e)


def test_on_a_mixture_the_encoder_inverts_the_generator():
    generator, rate, updates = draws(), 2e-3, 450

    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))

    encode, make = network(), network()
    discriminator = Discriminator(perceptron(2, 64), 2, 64)
    parameters = [*encode.parameters(), *make.parameters(), *discriminator.parameters()]
    optimizer = torch.optim.Adam(parameters, rate, foreach=True)

    def data(count: int) -> Tensor:
        """Four Gaussians of deviation 0.2 around (+-1, +-1)."""
        centres = 2.0 * torch.randint(2, (count, 2), generator=generator) - 1
        return centres + 0.2 * torch.randn(count, 2, generator=generator)

    for update in range(updates):
        x, z = data(64), torch.randn(64, 2, generator=generator)
        losses = adversarial_losses(discriminator, (x, encode(x)), (make(z), z))
        optimizer.param_groups[0]["lr"] = rate * min(1, (updates - update) / (0.3 * updates))
        optimizer.zero_grad()
        torch.autograd.backward(losses.discriminator + 0.5 * losses.penalty + losses.autoencoder)
        optimizer.step()
    with torch.no_grad():
        x = data(2000)
        z = encode(x)
        error = (make(z) - x).norm(dim=1).mean()
    assert error < 0.5  # 1.4 where G gives the mean
    assert z.mean(0).abs().max() < 0.4
    assert z.std(0).min() > 0.6
    assert z.std(0).max() < 1.4


def test_pictures():
    image = torch.randint(0, 256, (B, 3, 40, 40), dtype=torch.uint8)
    pictures = Bigan(SPEC).pictures({"image": image}, draws())
    assert pictures["reconstructions"].shape == (2 * 40, B * 40, 3)
    assert pictures["samples"].shape == (40, B * 40, 3)
