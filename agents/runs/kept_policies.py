"""Policies kept at fixed fractions of training, and what they earn: the gap at matched source return needs both.

Two methods that have learnt unequally much on the training levels cannot be compared by their gaps. So each kept policy
plays after training: the source twice, in disjoint halves of repetitions, and every target once. Half "a" says which
policies have the same source return, half "b" gives the figures, so that luck in one does not enter the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from agents.checkpoint import write_aside
from agents.policy import Policy
from agents.runs.context import RunContext
from agents.runs.evaluate import Episodes
from agents.runs.splits import evaluate_split


def save_policy(context: RunContext, policy: Policy, step: int) -> None:
    """Keep the policy's weights as those of the newest fraction that ``step`` has reached.

    A frozen representation, which is the same in all of them, is left out.
    """
    count, config = context.config.kept_policies, context.config
    number = min(count, int(count * step / config.steps))
    if number < 1:
        return
    path = policy_file(context.run.path, number, count)
    path.parent.mkdir(exist_ok=True)
    weights = {name: value.contiguous().cpu().clone() for name, value in _weights(policy).items()}
    write_aside(path, lambda aside: save_file(weights, aside))


def policy_file(run: Path, number: int, count: int) -> Path:
    """File of the policy after ``number`` of ``count`` equal parts of training."""
    return run / "policies" / f"{number}-of-{count}.safetensors"


def load_policy(path: Path, policy: Policy) -> None:
    """Give ``policy`` the weights of a kept one; a frozen representation stays as it is.

    Raises:
        RuntimeError: the file is of another network.
    """
    kept = _weights(policy)
    fixed = {name: value for name, value in policy.state_dict().items() if name not in kept}
    policy.load_state_dict({**load_file(path), **fixed})


def matched_rows(context: RunContext, policy: Policy) -> list[dict[str, Any]]:
    """Rows of matched.csv: every kept policy's episodes; ``policy`` ends with the weights that it came with."""
    config, count = context.config, context.config.kept_policies
    final = {name: value.clone() for name, value in policy.state_dict().items()}
    rows: list[dict[str, Any]] = []
    context.progress.stage("kept policies", count, 0)
    for number in range(1, count + 1):
        path = policy_file(context.run.path, number, count)
        if path.exists():
            load_policy(path, policy)
            rows += _played(context, policy, number / count)
        context.progress.update(number)
    context.progress.close()
    policy.load_state_dict(final)
    return rows if config.kept_policies else []


def _played(context: RunContext, policy: Policy, fraction: float) -> list[dict[str, Any]]:
    config, task = context.config, context.task
    episodes = config.periodic_envs
    source = evaluate_split(config, task, policy, "train", episodes)
    rows = _rows(fraction, "train", "a", source)
    following = int(source.repeats.max()) + 1
    for split in config.splits:
        second_half = evaluate_split(config, task, policy, split, episodes, first_repeat=following)
        rows += _rows(fraction, split, "b", second_half)
    return rows


def _rows(fraction: float, split: str, half: str, episodes: Episodes) -> list[dict[str, Any]]:
    columns = zip(episodes.levels.tolist(), episodes.repeats.tolist(), episodes.returns.tolist(), strict=True)
    return [
        {"fraction": fraction, "split": split, "half": half, "level": level, "episode": repeat, "return": value}
        for level, repeat, value in columns
    ]


def _weights(policy: Policy) -> dict[str, torch.Tensor]:
    weights = policy.state_dict()
    if policy.mode != "frozen":
        return weights
    return {name: value for name, value in weights.items() if not name.startswith("representation.")}
