"""Fixtures of the tests of agents."""

from __future__ import annotations

import pytest
import torch

import agents.policy


@pytest.fixture
def compiled(monkeypatch):
    """In place of a compiler, one that changes nothing; the list of the batch sizes it was given."""
    sizes: list[int] = []

    def backend(graph, inputs):
        sizes.extend(len(tensor) for tensor in inputs if tensor.dtype == torch.uint8)
        return graph.forward

    monkeypatch.setattr(agents.policy, "COMPILER", backend)
    torch._dynamo.reset()
    yield sizes
    torch._dynamo.reset()
