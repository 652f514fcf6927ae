"""Trackers: where a run's records go beside metrics.jsonl.

In reading order:

* ``tracker``      what a sink is, and the guard that keeps its failures from the run
* ``wandb``        Weights & Biases, online or offline
* ``tensorboard``  event files
* ``trackio``      a local database, without an account
"""

from agents.runs.trackers.tracker import Sink, Tracker, open_tracker

__all__ = ["Sink", "Tracker", "open_tracker"]
