"""One thread, for the tests and for the processes they start: nets this small gain nothing from a second one, and lose
a factor of ten where the machine is busy. Read when torch is loaded, so set before."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
