"""One thread, for the tests and for the processes they start: nets this small gain nothing from a second one, and lose
a factor of ten where the machine is busy. Read when torch is loaded, so set before."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import pytest


@pytest.fixture
def two_cores():
    """Threads as on a machine with two cores."""
    import torch

    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)
