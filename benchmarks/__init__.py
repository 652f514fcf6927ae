"""Benchmarks: commands that train, evaluate and compare, and the libraries behind them.

Commands, each run as ``python -m benchmarks.NAME``, in reading order:

* ``transfer``      representations compared by how they generalise: training levels, unseen levels, visual variants
* ``explore``       bonuses compared where reward is rare: success, coverage, maps of the bonus
* ``sweep``         every combination of a grid of options, on this machine, slurm or ray
* ``evaluate``      finished runs played again: more episodes, other levels, likeliest actions
* ``watch``         a trained agent at work, as a page, an animation or a film
* ``report``        results.csv, report.md and report.html of an experiment directory, rebuilt
* ``share``         finished runs as a bundle to give away, with a card
* ``dashboard``     the project's page on Weights & Biases as code, and offline runs sent there
* ``curves``        areas under the learning curves of finished runs, frames to a return
* ``probe``         linear read-outs of ground truth from each run's representation
* ``toys``          every method on four toys of known factors, beside random features
* ``correlate``     cheap scores of representations beside the transfer of their agents
* ``segmentation``  MONet's masks scored on scenes of sprites
* ``views``         GQN's predictions of unseen views of rooms
* ``speed``         frames per second and memory, beside stable-baselines3 and a single-file loop
* ``coverage``      how often the report's intervals hold the true value, in simulated experiments
* ``null_gap``      policies that never learn, put through the report: do intervals of their gaps cover 0?
* ``split_halves``  seeds of one method in two halves, put through the report: are they called different?
* ``controls``      what chance, a script, a blind policy, the CNN and the true factors reach; what each task can decide
* ``claims``        claims of papers: commands, figures, and the verdict that follows from them
* ``neutrality``    hashes of what short runs compute: proof that a change moves no number
* ``tour``          a minute's walk through the toolkit: train, transfer, probe, explore, look; a script and a notebook
* ``faults``        the fault matrix: kills, full disks, signals, hostile files, and what must hold after them

Libraries: ``cli`` (one entry point, one error path, one CSV writer for all commands), ``experiment`` (what is trained,
at which size), ``sweeping`` (grids of options, and where their cells run), ``reporting`` (runs read back, compared,
drawn), ``recording`` (episodes of agents, step by step), ``tracking`` (what a project page of a tracker shows),
``baselines`` (other people's loops, timed), ``fault_injection`` (rows of the fault matrix); figures and the commands
behind them lie in ``results``. No command imports another.

Importing this package refuses foreign packages that bear the names of this checkout's folders, and sets how threads
wait for each other.
"""

import importlib.util
import os
import sys
from pathlib import Path

FOLDERS = ("agents", "representations", "envs", "intrinsic", "benchmarks")


def _let_threads_sleep() -> None:
    """Make torch's threads sleep while they wait for each other; read when torch is loaded, so set before.

    Spinning ones would take the cores from the threads of ``representations.threads``, and lose a factor of four
    where another process needs one.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def shadowed_packages(root: Path) -> list[str]:
    """Top-level packages that Python would import from somewhere else than ``root``, as 'name (folder)'."""
    shadowed = []
    for name in FOLDERS:
        spec = importlib.util.find_spec(name)
        folder = Path(spec.origin).parent if spec and spec.origin else None
        if folder != root / name:
            shadowed.append(f"{name} ({folder})")
    return shadowed


def _guard() -> None:
    root = Path(__file__).resolve().parent.parent
    if shadowed := shadowed_packages(root):
        # Several packages on the public index own names like 'agents'; mixing two of them fails in odd places.
        print(
            f"error: another installed package has the name of a folder of this checkout: {', '.join(shadowed)}; "
            f"run from {root}, or in a virtual environment without it",
            file=sys.stderr,
        )
        raise SystemExit(2)


_guard()
_let_threads_sleep()
