"""Row 6: nan at five sites under PPO and A2C. Row 7: environments whose worker exits, hangs or raises."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fault_injection import remains
from benchmarks.fault_injection.children import started
from benchmarks.fault_injection.faulty_env import NAME
from benchmarks.fault_injection.trials import Row, Trial, attempt

SITES = {
    "observation": r"observation\b.* of environment \d+ is nan after",
    "reward": r"reward of environment \d+ is nan at step",
    "auxiliary loss": r"is nan at frame 384.* auxiliary|auxiliary\S* is nan at frame 384",
    "bonus": r"bonus 'rnd' of environment \d+ is nan at step",
    "gradient": r"is nan at frame 384.*gradient/rl_norm|gradient/rl_norm is nan at frame 384",
}
"""Site -> what the message must say."""
THIRD = 70
"""A step of an env within the third rollout of 32."""
FAULTS = {
    "exit": r"process of env \d+ .*died at its step {at}",
    "hang": r"env \d+ at its step {at} took more than 3 s",
    "raise": r"env \d+ at its step {at} raised ValueError: an environment's own mistake",
}
STEPS = (1, 2, 9, 10, 32, 33, 50, 64, 65, 100)
"""Steps at which an environment fails: at the ends of episodes and rollouts, and elsewhere."""
LIMIT = 60.0


# row 6 ---------------------------------------------------------------------------------------------------------------


def put_nan_in(folder: Path, short: bool) -> Iterator[Trial]:
    """Nan in the third rollout, or in the update after it."""
    cases = list(itertools.product(SITES, ("ppo", "a2c")))
    for site, algo in cases[2:9:3] if short else cases:
        yield attempt(
            f"{site}, {algo}", partial(_not_a_number, folder / f"{site.replace(' ', '-')}-{algo}", site, algo)
        )


def _not_a_number(out: Path, site: str, algo: str) -> str:
    from benchmarks.fault_injection.worker import training

    options: dict[str, Any] = {"report": False, "algo": algo}
    if site in ("observation", "reward"):
        at_third = ("--env-option", f"fault={site}", f"at={THIRD}")
        job = training(out, *at_third, source=("--env", NAME), **options)
    else:
        words = ("--bonus", "rnd") if site == "bonus" else ()
        kind = "drac" if site == "auxiliary loss" else "cnn"
        job = training(out, *words, repr=kind, prepare=partial(spoil, site), **options)
    with started(job, out.with_suffix(".log")) as child:
        status = child.wait()
        text = child.text
    if wrong := remains.bad_message(status, text, SITES[site], (1, 2)):
        return wrong
    run = remains.only_run(out)
    if (step := remains.newest_step(run)) != 256:
        return f"the newest checkpoint is of frame {step}, not 256, the last before the nan"
    return "" if _finite(run) else "the checkpoint holds weights that are not finite"


def _finite(run: Path) -> bool:
    from agents import saving
    from envs.finite import all_finite

    return all_finite(saving.read(run)["policy"]["module"].values())


def spoil(site: str) -> None:
    """Let numbers of a site be nan from the third rollout on."""
    from agents.on_policy import OnPolicyAlgorithm
    from benchmarks.fault_injection.worker import before, replace
    from intrinsic.rnd import Rnd
    from representations.cnn import Cnn
    from representations.drac import Drac

    armed: list[bool] = []
    before(OnPolicyAlgorithm, "collect_rollouts", 3, lambda: armed.append(True))

    def changed(holder: Any, name: str, change: Callable[[Any], Any]) -> None:
        original = getattr(holder, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            value = original(*arguments, **options)
            return change(value) if armed else value

        replace(holder, name, wrapped)

    def with_nan_gradient(encoded: Any) -> Any:
        features, state = encoded
        if features.requires_grad:
            features.register_hook(lambda gradient: gradient * float("nan"))
        return features, state

    if site == "auxiliary loss":
        changed(Drac, "loss", lambda loss: (loss[0] * float("nan"), loss[1]))
    elif site == "bonus":
        changed(Rnd, "score", lambda scores: scores * float("nan"))
    else:
        changed(Cnn, "encode", with_nan_gradient)


# row 7 ---------------------------------------------------------------------------------------------------------------


def break_workers(folder: Path, short: bool) -> Iterator[Trial]:
    """Each fault at ten steps; one of four environments, each in a process of its own."""
    for fault, at in itertools.product(FAULTS, STEPS[5:6] if short else STEPS):
        yield attempt(f"{fault} at step {at}", partial(_broken, folder / f"{fault}-{at}", fault, at))


def _broken(out: Path, fault: str, at: int) -> str:
    from benchmarks.fault_injection.worker import training

    words = ("--env-option", f"fault={fault}", f"at={at}", "--step-in", "async", "--step-timeout", "3")
    job = training(out, *words, source=("--env", NAME), report=False)
    with started(job, out.with_suffix(".log")) as child:
        status = child.wait()
        seconds = time.monotonic() - child.started
        orphans, text = child.orphans(), child.text
        if orphans:
            child.kill()
    if orphans:
        return f"{len(orphans)} processes were left behind"
    if seconds > LIMIT:
        return f"it took {seconds:.0f} s, more than {LIMIT:.0f}"
    return remains.bad_message(status, text, FAULTS[fault].format(at=at), (1, 2))


ROWS = (
    Row(
        6,
        "nan in observation, reward, auxiliary loss, bonus and gradient, PPO and A2C",
        "stops within one update, names the site, the checkpoint is finite",
        put_nan_in,
        size=2 * len(SITES),
        short_size=3,
    ),
    Row(
        7,
        "the process of an environment exits, hangs or raises, at 10 steps",
        "an error that names it in less than 60 s, no process left",
        break_workers,
        size=len(FAULTS) * len(STEPS),
        short_size=len(FAULTS),
    ),
)
