"""Micro-batches, the two clips and their sum, by hand."""

from __future__ import annotations

import pytest
import torch

from agents.metrics import MetricMeans
from tests.agents.tools import PLAIN, N, build, collect, rl_gradient


@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_micro_batches_add_up_to_the_minibatch(size):
    agent = build(config={"micro_batch": size, **PLAIN})
    collect(agent)
    indices = torch.randperm(6 * N, generator=torch.Generator().manual_seed(0))[:11]
    gradients = {}
    for micro_batch in (size, 11):
        agent.gradient_step.micro_batch = micro_batch
        gradients[micro_batch] = torch.cat([gradient.flatten() for gradient in rl_gradient(agent, indices)])
    assert gradients[11].abs().max() > 1e-3
    torch.testing.assert_close(gradients[size], gradients[11], rtol=1e-4, atol=1e-6)


def test_chunks_give_every_thread_one_up_to_the_micro_batch():
    step = build().gradient_step
    step.micro_batch = 10
    sizes = {threads: [] for threads in (1, 2, 3)}
    for step.threads in sizes:
        sizes[step.threads] = [step.chunk_size(samples) for samples in (0, 1, 9, 100)]
    assert sizes == {1: [1, 1, 9, 10], 2: [1, 1, 5, 10], 3: [1, 1, 3, 10]}


def test_the_two_gradients_are_clipped_apart():
    agent = build(kind="autoencoder", config={"max_grad_norm": 0.01, "epochs": 1, "minibatches": 1, "aux_coef": 0.5})
    gradients = []
    step = agent.policy.optimizer.step
    agent.policy.optimizer.step = lambda: (gradients.append([p.grad.clone() for p in agent.policy.trainable()]), step())
    agent.learn(6 * N)
    names = [name for name, parameter in agent.policy.named_parameters() if parameter.requires_grad]
    by_name = dict(zip(names, gradients[0], strict=True))
    norm = lambda names: float(torch.cat([by_name[name].flatten() for name in names]).norm())  # noqa: E731
    decoder = [name for name in by_name if "decoder" in name]
    heads = [name for name in by_name if "_net" in name]
    # The decoder has the auxiliary gradient alone: at most 0.5 * 0.01. The heads have the RL gradient alone: under one
    # joint clip, the auxiliary one being thousands of times larger, they would keep next to nothing.
    assert agent.metrics["gradient/auxiliary_norm"] > 10 > agent.metrics["gradient/rl_norm"] > 0.01
    assert 0.001 < norm(decoder) <= 0.005001
    assert 0.001 < norm(heads) <= 0.010001
    assert norm(by_name) <= 0.015001


def test_the_step_is_the_sum_of_the_two_clipped_gradients():
    config = {"max_grad_norm": 0.01, "epochs": 1, "minibatches": 1, "micro_batch": 100, **PLAIN}
    agent = build(kind="autoencoder", config={**config, "aux_coef": 0.5})
    collect(agent)
    parameters, indices, clipped = agent.policy.trainable(), torch.arange(6 * N), []
    loss, step = agent.actor_critic_loss(), agent.gradient_step
    agent.streams["auxiliary"].manual_seed(0)
    groups = loss.micro_batches(indices, step.chunk_size), agent.auxiliary_loss.micro_batches(indices, 100)
    for gradients in step.gradients(groups, MetricMeans()):
        gradient = torch.cat(
            [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, gradients, strict=True)]
        )
        clipped.append(gradient * 0.01 / gradient.norm())  # both are longer than 0.01
    agent.streams["auxiliary"].manual_seed(0)
    agent.policy.optimizer.step = lambda: None
    agent.update(indices, loss, MetricMeans())
    stepped = torch.cat([parameter.grad.flatten() for parameter in parameters])
    torch.testing.assert_close(stepped, clipped[0] + 0.5 * clipped[1], rtol=1e-3, atol=1e-7)


def test_gradients_of_sums_can_be_clipped_in_place():
    """Autograd gives the gradient of a plain sum as one number that is expanded to many."""
    agent = build()
    losses = [lambda _: agent.policy.action_net.weight.sum()] * 3
    (gradients,) = agent.gradient_step.gradients((losses,), MetricMeans())
    (gradient,) = (gradient for gradient in gradients if gradient is not None)
    assert torch.equal(gradient.mul_(2), torch.full_like(agent.policy.action_net.weight, 6.0))
