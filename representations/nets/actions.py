"""Losses of networks that tell which action was taken, and distances of what they say, for every action space.

``outputs`` (B, E) are as ``envs.action_codes`` says: logits of each choice, logits of each bit, or expected actions of
a Box. The parts of an action are independent given the inputs, so their losses add up.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from envs.action_codes import ActionCodes


def action_loss(
    codes: ActionCodes,
    outputs: Float[Tensor, "B E"],
    action: Shaped[Tensor, "B ..."],
    reduction: Literal["none", "mean"] = "none",
) -> Float[Tensor, "*B"]:
    """-log p(action) in nats, of each row or their mean.

    Of a Box: half the squared error, summed over its numbers, which is that of a Gaussian of variance 1 but for a
    constant.
    """
    if codes.is_box or codes.is_binary:
        target = codes.encode(action).to(outputs.dtype)
        losses = (
            F.binary_cross_entropy_with_logits(outputs, target, reduction="none")
            if codes.is_binary
            else (outputs - target).square() / 2
        ).sum(1)
        return losses.mean() if reduction == "mean" else losses
    if not codes.shape:
        return F.cross_entropy(outputs, action, reduction=reduction)
    chosen = outputs.split(codes.choices, 1)
    return torch.stack(
        [F.cross_entropy(logits, action[:, k], reduction=reduction) for k, logits in enumerate(chosen)]
    ).sum(0)


def action_hits(
    codes: ActionCodes, outputs: Float[Tensor, "B E"], action: Shaped[Tensor, "B ..."]
) -> Bool[Tensor, " B"]:
    """Rows whose likeliest action is the one taken.

    Of a Box: rows that tell for each of its numbers on which side of the box's middle it lies (of 0, without bounds).
    """
    if codes.is_box:
        low, high = (torch.as_tensor(bound, device=outputs.device) for bound in codes.bounds)
        middle = ((low + high) / 2).nan_to_num(0, 0, 0)
        return ((outputs > middle) == (codes.encode(action) > middle)).all(1)
    if codes.is_binary:
        return ((outputs > 0) == (action > 0)).all(1)
    if not codes.shape:
        return outputs.argmax(1) == action
    best = torch.stack([logits.argmax(1) for logits in outputs.split(codes.choices, 1)], 1)
    return (best == action).all(1)


def policy_kl(codes: ActionCodes, outputs: Float[Tensor, "B M"], changed: Float[Tensor, "B M"]) -> Float[Tensor, ""]:
    """KL(pi || pi') in nats of two policies, mean over the batch, from the outputs of their action heads.

    Of a Box these are means and log standard deviations, K each.
    """
    outputs, changed = outputs.float(), changed.float()
    if codes.is_box:
        (mean, log_std), (other, other_log_std) = outputs.chunk(2, 1), changed.chunk(2, 1)
        scaled = (log_std.exp().square() + (mean - other).square()) / (2 * other_log_std.exp().square())
        return (other_log_std - log_std + scaled - 0.5).sum(1).mean()
    if codes.is_binary:
        p = outputs.sigmoid()
        differences = (1 - p) * (F.logsigmoid(-outputs) - F.logsigmoid(-changed))
        return (p * (F.logsigmoid(outputs) - F.logsigmoid(changed)) + differences).sum(1).mean()
    total = outputs.new_zeros(())
    choices = codes.choices or (outputs.shape[1],)
    for logits, others in zip(outputs.split(choices, 1), changed.split(choices, 1), strict=True):
        log_pi, log_changed = F.log_softmax(logits, 1), F.log_softmax(others, 1)
        total = total + (log_pi.exp() * (log_pi - log_changed)).sum(1).mean()
    return total
