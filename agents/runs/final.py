"""Evaluation of a run on its splits, during training and at its end, and the pictures and tables that it leaves."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from PIL import Image

from agents.on_policy import OnPolicyAlgorithm
from agents.runs.context import RunContext
from agents.runs.evaluate import Agreement, Episodes, compare_actions, first_episodes, fixed_length_returns
from envs.contact_sheet import moments, strip
from envs.rng_streams import Streams
from representations.base import Representation

PAIRED_STEPS, PAIRED_ENVS = 128, 32
"""Steps, and environments at most, on which actions are compared state by state."""


def periodic_evaluation(context: RunContext, agent: OnPolicyAlgorithm, step: int) -> dict[str, float]:
    """Return on training and on held-out levels now: the final evaluation's rule, fewer episodes or windows."""
    if not context.config.periodic_evals or "heldout" not in context.config.splits:
        return {}
    train, heldout = (
        float(evaluate_split(context, agent, split, context.config.periodic_envs, step).returns.mean())
        for split in ("train", "heldout")
    )
    return {"eval/train/return": train, "eval/heldout/return": heldout, "eval/gap": train - heldout}


def evaluate_split(context: RunContext, agent: OnPolicyAlgorithm, split: str, envs: int, step: int | str) -> Episodes:
    """First episodes, or windows, on one split; its draws depend on the seed, the split and the step alone.

    Splits of the training levels share their environment seed, so visual variants are compared on the same levels.
    """
    env = context.policy_world(context.task.splits()[split]).make(envs, context.seed("evaluation environments", step))
    generator = Streams(context.seed("evaluation", step, split), context.device)["actions"]
    if context.config.window:
        return fixed_length_returns(agent.policy, env, generator, context.config.window)
    return first_episodes(agent.policy, env, generator)


def final_evaluation(context: RunContext, agent: OnPolicyAlgorithm) -> None:
    """Evaluate on every split, save tables and pictures, and mark the run as done."""
    run, tracker = context.run, context.records.tracker
    rows, record = evaluate_splits(context, agent)
    with context.clock.measure("eval"):
        agreements = action_agreement(context, agent)
    record |= {f"final/agreement/{split}": compared.argmax for split, compared in agreements.items()}
    run.write_csv("eval.csv", rows)
    if agreements:
        run.write_csv("agreement.csv", [{"split": split, **asdict(compared)} for split, compared in agreements.items()])
    for name, picture in pictures(context, agent.policy.representation).items():
        path = run.path / "pictures" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
        tracker.picture(name, path)
    context.records.log(record)
    seconds = context.clock.seconds
    run.write_source(
        ranks=context.ranks.count,
        frames_per_second=agent.num_timesteps / max(seconds["train"], 1e-9),
        **{f"{stage}_seconds": spent for stage, spent in seconds.items()},
    )
    run.write_done()
    tracker.table("final", [{"repr": context.config.repr, "seed": context.config.seed, **record}])


def evaluate_splits(context: RunContext, agent: OnPolicyAlgorithm) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Rows of eval.csv, and a record of mean returns and of gaps (return on "train" minus return on a target)."""
    config = context.config
    rows: list[dict[str, Any]] = []
    record: dict[str, float] = {"global_step": agent.num_timesteps}
    context.progress.stage("evaluate", len(config.splits), 0)
    for index, split in enumerate(config.splits):
        with context.clock.measure("eval"):
            episodes = evaluate_split(context, agent, split, config.eval_envs, "final")
        rows += episode_rows(split, config.env, episodes)
        record[f"final/{split}/return"] = float(episodes.returns.mean())
        if split != "train":
            record[f"final/gap/{split}"] = record["final/train/return"] - record[f"final/{split}/return"]
        context.progress.update(index + 1, f"{split} {episodes.returns.mean():.2f}")
    context.progress.close()
    return rows, record


def action_agreement(context: RunContext, agent: OnPolicyAlgorithm) -> dict[str, Agreement]:
    """Action agreement with the source on the splits that show its very states."""
    splits = [split for split in context.task.same_state_targets if split in context.config.splits]
    if not splits:
        return {}
    worlds, seed = context.task.splits(), context.seed("paired environments")
    num_envs = min(context.config.eval_envs, PAIRED_ENVS)
    source, *variants = (context.policy_world(worlds[split]).make(num_envs, seed) for split in ("train", *splits))
    generator = Streams(context.seed("agreement"), context.device)["actions"]
    return compare_actions(agent.policy, source, dict(zip(splits, variants, strict=True)), generator, PAIRED_STEPS)


def episode_rows(split: str, env: str, episodes: Episodes) -> list[dict[str, Any]]:
    """eval.csv: one row per episode."""
    columns = zip(episodes.level_seeds, episodes.returns, episodes.lengths, strict=True)
    return [
        {
            "split": split,
            "env": env,
            "episode": number,
            "level_seed": int(level),
            "return": float(episode_return),
            "length": int(length),
        }
        for number, (level, episode_return, length) in enumerate(columns)
    ]


def pictures(context: RunContext, representation: Representation) -> dict[str, np.ndarray]:
    """A row of frames of each split ("splits"), and what the representation shows of itself; uint8 (H, W, 3) each."""
    seed, worlds = context.seed("pictures"), context.task.splits()
    rows = [np.concatenate(list(strip(world, seed)), axis=1) for world in worlds.values()]
    frames = {key: torch.from_numpy(rows) for key, rows in moments(context.policy_world(worlds["train"]), seed).items()}
    obs = {key: value.movedim(-1, 1) if value.dim() == 4 else value for key, value in frames.items()}
    representation.eval()
    on_device = {key: value.to(context.device) for key, value in obs.items()}
    draws = Streams(seed, context.device)["draws"]
    return {"splits": np.concatenate(rows), **representation.pictures(on_device, draws)}
