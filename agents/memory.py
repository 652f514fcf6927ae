"""Memory of a policy: a GRU (Cho et al. 2014) between the features and the heads.

    h_t = GRU(neck(f_t), h_{t-1}),   h_{t-1} = 0 where an episode begins

The update gate begins by the chrono initialisation (Tallec and Ollivier 2018): a unit that keeps the share 1 - 1/k of
its state at each step has a bias of log(k - 1), and remembers for k steps.

h is both the output and what is carried from step to step. It is float32 whatever the precision: an episode adds up
what bfloat16 rounds away.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

LONGEST = 32
"""Steps that a unit remembers at most before anything is learnt; the units' times are spread evenly, from 2 on."""


class Memory(nn.Module):
    """The GRU, and the method's neck before it, if there is one.

    Args:
        neck: layers between the features and the GRU; None: none.
        width: size of the neck's output, or of the features.
        size: H, units of the GRU.
    """

    def __init__(self, neck: nn.Module | None, width: int, size: int):
        super().__init__()
        self.neck, self.size = neck or nn.Identity(), size
        self.gru = nn.GRU(width, size)
        for name, weight in self.gru.named_parameters():
            for gate in weight.detach().chunk(3):
                nn.init.zeros_(gate) if name.startswith("bias") else nn.init.orthogonal_(gate)
        # With a bias of 0 every unit would forget half at each step, and no gradient would reach ten steps back.
        _, update, _ = self.gru.get_parameter("bias_hh_l0").detach().chunk(3)
        update.copy_(torch.linspace(1, LONGEST - 1, size).log())

    def initial_state(self, batch: int) -> Float[Tensor, "B H"]:
        """State before the first frame."""
        return next(self.gru.parameters()).new_zeros(batch, self.size)

    def forward(
        self, features: Float[Tensor, "TB D"], state: Float[Tensor, "B H"], first: Bool[Tensor, "T B"]
    ) -> Float[Tensor, "TB H"]:
        """Outputs of T steps of B streams, time first; the last B are the state to carry on.

        Args:
            state: what was carried into the first step.
            first: marks frames that open an episode.
        """
        inputs = self.neck(features)
        with torch.autocast(inputs.device.type, enabled=False):
            inputs = inputs.to(state.dtype).unflatten(0, first.shape)
            # One call for each stretch of steps at whose start alone episodes begin, in whichever streams.
            begins = [0, *(first[1:].any(1).nonzero()[:, 0] + 1).tolist()]
            outputs: list[Tensor] = []
            for begin, end in zip(begins, [*begins[1:], len(first)], strict=True):
                state = state.masked_fill(first[begin].unsqueeze(1), 0)
                outputs.append(self.gru(inputs[begin:end], state.unsqueeze(0))[0])
                state = outputs[-1][-1]
            return torch.cat(outputs).flatten(0, 1)
