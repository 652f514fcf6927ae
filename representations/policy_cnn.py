"""Encoder of the policy that gathered the data: the control of every method that learns from a policy's frames.

Where a policy gathers frames, it has an encoder already, trained by reward alone. A method that is fitted to those
frames must beat this encoder, frozen and standardised, and a CNN fine-tuned from it.

``encode`` returns the trunk's rectified dense layer, as ``cnn`` does, of frames stacked as that policy takes them. The
weights come from the data policy's run (``agents.runs.data_policy``); before, they are those of ``cnn``.
"""

from __future__ import annotations

from typing import ClassVar

from representations.base import Mode
from representations.cnn import SingleInput, Trunked


class PolicyCnn(SingleInput, Trunked):
    """See the module docstring."""

    modes = ("frozen", "finetune")
    default_mode: ClassVar[Mode] = "frozen"
    needs_pretraining = False
    has_loss = False
    starts_from_policy = True
