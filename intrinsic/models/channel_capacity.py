"""Exact empowerment of environments that can be listed: the capacity of the channel from actions to states.

    E_n(s) = max over w of I(a; s' | s),   a: n actions drawn beforehand from the source w(a|s),   s': the state after

(Klyubin, Polani & Nehaniv 2005), by Blahut and Arimoto's iteration. What ``empowerment`` bounds is measured against it.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

LOG_2 = math.log(2)


def blahut_arimoto(channel: Float[Tensor, "*batch A S"], tolerance: float = 1e-6) -> Float[Tensor, "*batch"]:
    """Capacity in bits, float64, of channels p(s' | a); from below, by at most ``tolerance`` bits.

    p(a) <- p(a) exp(D(a)) / Z with D(a) = KL(p(s'|a) || p(s')); log Z <= capacity <= max D. The gap falls at least as
    log A over the number of iterations.
    """
    if not tolerance >= 1e-12:  # below, rounding alone could keep the bounds apart for ever
        raise ValueError(f"tolerance={tolerance}: give 1e-12 bits or more")
    channel = channel.double()
    log_p = channel.new_full(channel.shape[:-1], 1 / channel.shape[-2]).log()
    while True:
        next_state = torch.einsum("...a,...as->...s", log_p.exp(), channel)
        # xlogy: a state that an action never leads to adds nothing
        shared = torch.xlogy(channel, next_state.unsqueeze(-2))
        divergence = (torch.xlogy(channel, channel) - shared).sum(-1)
        log_z = (log_p + divergence).logsumexp(-1)
        if bool((divergence.amax(-1) - log_z <= tolerance * LOG_2).all()):
            return log_z / LOG_2
        log_p = log_p + divergence - log_z.unsqueeze(-1)


def exact_empowerment(
    transition: Float[Tensor, "states actions states"], n: int = 1, tolerance: float = 1e-6
) -> Float[Tensor, " states"]:
    """E_n of every state in bits, from the probabilities p(s' | s, a) (states, actions, states)."""
    if n < 1:
        raise ValueError(f"n={n}: give at least 1 action")
    step = channel = transition.double()
    for _ in range(n - 1):
        channel = torch.einsum("sam,mbt->sabt", channel, step).flatten(1, 2)
    return blahut_arimoto(channel, tolerance)
