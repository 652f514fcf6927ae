"""One optimizer step from the losses of a minibatch's micro-batches.

    step along  clip(grad L_rl) + aux_coef * clip(grad L_aux)

Each gradient is a sum over micro-batches, which worker threads compute side by side, and over ranks; then it is clipped
by its own norm. The coefficient comes after that: it weighs directions, whatever unit the auxiliary loss has.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from agents.metrics import MetricMeans
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.policy import Policy
from representations.threads import Gradient, parallel_map, sum_gradients

Loss = Callable[[MetricMeans], Tensor]
"""Computes the loss of one micro-batch, times its fraction of the minibatch, and notes its metrics."""


class GradientStep:
    """Gradients, clipping and the step of the policy's optimizer.

    Args:
        policy: its ``optimizer`` makes the step.
        max_grad_norm: norm that the RL gradient and the auxiliary gradient are each clipped to.
        aux_coef: weight of the clipped auxiliary gradient.
        micro_batch: samples per forward pass at most.
        threads: micro-batches computed side by side.
        ranks: processes over which gradients are summed before they are clipped.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        max_grad_norm: float,
        aux_coef: float,
        micro_batch: int,
        threads: int = 1,
        ranks: Ranks = SINGLE_PROCESS,
    ):
        self.policy, self.max_grad_norm, self.aux_coef = policy, max_grad_norm, aux_coef
        self.micro_batch, self.threads, self.ranks = micro_batch, threads, ranks

    def chunk_size(self, samples: int) -> int:
        """Size of micro-batches that gives every thread one, as far as ``micro_batch`` allows."""
        return min(self.micro_batch, max(1, -(-samples // self.threads)))

    def step(self, rl: Sequence[Loss], auxiliary: Sequence[Loss] | None, metrics: MetricMeans) -> None:
        """Move the policy along the sum of the two clipped gradients.

        Args:
            rl: losses whose sum over all ranks is the minibatch's RL loss; none where this rank has no sample of it.
            auxiliary: the same of the auxiliary loss; None where there is no auxiliary loss on any rank.
            metrics: takes the losses' metrics and the norms before clipping.
        """
        parameters = self.policy.trainable()
        # The auxiliary loss begins: where it cannot be split it takes longest.
        auxiliary_gradient, gradient = self.gradients((auxiliary or (), rl), metrics)
        self._clip(gradient, "rl", metrics)
        if auxiliary is not None:
            self._clip(auxiliary_gradient, "auxiliary", metrics)
            torch._foreach_mul_([g for g in auxiliary_gradient if g is not None], self.aux_coef)
            gradient = sum_gradients((gradient, auxiliary_gradient), len(parameters))
        _assign(parameters, gradient)
        self.policy.optimizer.step()

    def gradients(self, groups: Sequence[Sequence[Loss]], metrics: MetricMeans) -> list[Gradient]:
        """Gradients of the sum of each group's losses; the losses of all groups run side by side."""
        parameters = self.policy.trainable()

        def differentiate(loss: Loss) -> tuple[tuple[Tensor | None, ...], MetricMeans]:
            noted = MetricMeans()
            return torch.autograd.grad(loss(noted), parameters, allow_unused=True), noted

        results = parallel_map(differentiate, [loss for group in groups for loss in group], self.threads)
        for _, noted in results:
            metrics.merge(noted)
        gradients = (gradient for gradient, _ in results)
        return [sum_gradients(list(itertools.islice(gradients, len(group))), len(parameters)) for group in groups]

    def _clip(self, gradient: Gradient, name: str, metrics: MetricMeans) -> None:
        """Sum the ranks' gradients in place and scale the sum down to the norm that is allowed."""
        parameters = self.policy.trainable()
        _assign(parameters, gradient)
        self.ranks.sum_gradients(parameters)
        metrics.add(f"gradient/{name}_norm", nn.utils.clip_grad_norm_(parameters, self.max_grad_norm))
        gradient[:] = [parameter.grad for parameter in parameters]


def _assign(parameters: Sequence[nn.Parameter], gradient: Gradient) -> None:
    for parameter, value in zip(parameters, gradient, strict=True):
        parameter.grad = value
