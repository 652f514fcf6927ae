"""Evaluation of a run on its splits, during training and at its end, and the pictures and tables that it leaves."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from agents.on_policy import OnPolicyAlgorithm
from agents.runs.agreement import Agreement, compare_actions
from agents.runs.build import policy_world, pretraining_worlds
from agents.runs.context import RunContext
from agents.runs.data_policy import num_behaviours
from agents.runs.evaluate import SEED, Episodes, equal_visits
from agents.runs.kept_policies import matched_rows
from agents.runs.run_dir import RunDir
from agents.runs.splits import VALIDATION, evaluate_split, played_levels
from envs.contact_sheet import moments, strip
from envs.rng_streams import Streams
from envs.spaces import IMAGE, Array
from envs.tasks import EPISODE_LIMIT
from representations.base import Representation
from representations.collect import collection_steps

PAIRED_STEPS, PAIRED_LEVELS = 128, 32
"""Steps, and levels at most, on which actions are compared state by state."""
VALIDATION_FILE = "validation.csv"
GRACE = 20.0
"""Seconds that an evaluation between two rollouts may still take when a stop was asked for: broken off, it costs all
that followed the last checkpoint."""


def periodic_evaluation(context: RunContext, agent: OnPolicyAlgorithm, step: int) -> dict[str, float]:
    """Return on training and on validation levels now: the final evaluation's rule, fewer episodes or windows."""
    config = context.config
    if not config.periodic_evals or context.task.validation is None:
        return {}
    task, policy, count = context.task, agent.policy, config.periodic_envs
    train, validation = (
        evaluate_split(config, task, policy, split, count, watch=context.watch(step, split, GRACE))
        for split in ("train", VALIDATION)
    )
    append_validation(context.run, step, validation)
    on_train, on_validation = float(train.returns.mean()), float(validation.returns.mean())
    return {
        "eval/train/return": on_train,
        "eval/validation/return": on_validation,
        "eval/gap": on_train - on_validation,
    }


def append_validation(run: RunDir, step: int, episodes: Episodes) -> None:
    """Add an evaluation's episodes to validation.csv; all evaluations play the same visits.

    Rows of this step or later ones are of a start that left no checkpoint after them, and go.
    """
    path, rows = run.path / VALIDATION_FILE, []
    if path.exists():
        with open(path, encoding="utf-8", newline="") as handle:
            rows = [row for row in csv.DictReader(handle) if int(row["step"]) < step]
    columns = (episodes.levels, episodes.repeats, episodes.returns, episodes.lengths)
    names = ("step", "level", "episode", "return", "length")
    rows += [
        dict(zip(names, (step, *values), strict=True))
        for values in zip(*(column.tolist() for column in columns), strict=True)
    ]
    run.write_csv(VALIDATION_FILE, rows)


def final_evaluation(context: RunContext, agent: OnPolicyAlgorithm) -> None:
    """Evaluate on every split, save tables and pictures, and mark the run as done.

    This is the only place where a run reads held-out levels. What is trained afterwards says so.
    """
    run, tracker = context.run, context.records.tracker
    if set(context.config.splits) - {"train"}:
        run.write_source(held_out_read_at=agent.num_timesteps)
    rows, record = evaluate_splits(context, agent)
    with context.clock.measure("eval"):
        agreements = action_agreement(context, agent)
        kept = matched_rows(context, agent.policy)
    record |= {f"final/agreement/{split}": float(compared.effect.mean()) for split, compared in agreements.items()}
    run.write_csv("eval.csv", rows)
    if agreements:
        run.write_csv("agreement.csv", agreement_rows(agreements))
    if kept:
        run.write_csv("matched.csv", kept)
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
        env_steps={"pretrain": pretraining_steps(context), "train": agent.num_timesteps},
        **validation_summary(run.records()),
        **{f"{stage}_seconds": spent for stage, spent in seconds.items()},
    )
    run.write_done()
    tracker.table("final", [{"repr": context.config.repr, "seed": context.config.seed, **record}])


def evaluate_splits(context: RunContext, agent: OnPolicyAlgorithm) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Rows of eval.csv, and a record of mean returns and of gaps (return on "train" minus return on a target)."""
    config, task = context.config, context.task
    rows: list[dict[str, Any]] = []
    record: dict[str, float] = {"global_step": agent.num_timesteps}
    context.progress.stage("evaluate", len(config.splits), 0)
    for index, split in enumerate(config.splits):
        with context.clock.measure("eval"):
            watch = context.watch(index, split)
            episodes = evaluate_split(config, task, agent.policy, split, config.eval_envs, watch=watch)
            rows += episode_rows(split, config.env, episodes)
            if config.greedy:
                greedy = evaluate_split(config, task, agent.policy, split, config.eval_envs, greedy=True, watch=watch)
                rows += episode_rows(split, config.env, greedy, "greedy")
        if episodes.cut:
            print(
                f"{split}: {episodes.cut} of {len(episodes.returns)} episodes had not ended after {EPISODE_LIMIT:,} "
                "steps and were cut there; let the environment end them sooner (--episode-limit N beside --env)"
            )
        record[f"final/{split}/return"] = float(episodes.returns.mean())
        if split != "train":
            record[f"final/gap/{split}"] = record["final/train/return"] - record[f"final/{split}/return"]
        context.progress.update(index + 1, f"{split} {episodes.returns.mean():.2f}")
    context.progress.close()
    return rows, record


def pretraining_steps(context: RunContext) -> int:
    """Environment steps that gathered the frames of pre-training, and those of the policy it took weights from."""
    config, representation = context.config, context.parts.representation
    source = context.run.source
    steps: int = source.get("init_from", source.get("data_policy", {})).get("env_steps", 0)
    if not config.pretrain_frames or config.init_from:
        return steps
    sources = len(pretraining_worlds(config, context.task)) * num_behaviours(config)
    return steps + collection_steps(config.pretrain_frames, representation.window, representation.views, sources)


def validation_summary(records: Iterable[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Step and return of the best and of the last evaluation on validation levels, from a run's records."""
    points = [
        {"step": record["global_step"], "return": record["eval/validation/return"]}
        for record in records
        if "eval/validation/return" in record
    ]
    if not points:
        return {}
    return {"best_validation": max(points, key=lambda point: point["return"]), "final_validation": points[-1]}


def action_agreement(context: RunContext, agent: OnPolicyAlgorithm) -> dict[str, Agreement]:
    """Action agreement with the source on the splits that show its very states."""
    config, task = context.config, context.task
    splits = [split for split in task.same_state_targets if split in config.splits]
    if not splits:
        return {}
    levels = played_levels(config, task.source, min(config.eval_envs, PAIRED_LEVELS))
    worlds = {split: policy_world(config, task, task.splits()[split]) for split in ("train", *splits)}
    makers = {split: lambda count, world=world: world.make(count, SEED) for split, world in worlds.items()}
    source = makers.pop("train")
    return compare_actions(agent.policy, source, makers, equal_visits(levels, len(levels)), PAIRED_STEPS)


def agreement_rows(agreements: dict[str, Agreement]) -> list[dict[str, Any]]:
    """agreement.csv: one row per split and level."""
    return [
        {"split": split, "level": level, "states": compared.states, "effect": effect, "total_variation": distance}
        for split, compared in agreements.items()
        for level, effect, distance in zip(
            compared.levels.tolist(), compared.effect.tolist(), compared.total_variation.tolist(), strict=True
        )
    ]


def episode_rows(split: str, env: str, episodes: Episodes, actions: str = "sampled") -> list[dict[str, Any]]:
    """eval.csv: one row per episode."""
    columns = (episodes.levels, episodes.repeats, episodes.returns, episodes.lengths)
    return [
        {
            "split": split,
            "env": env,
            "level": level,
            "episode": repeat,
            "actions": actions,
            "return": value,
            "length": length,
        }
        for level, repeat, value, length in zip(*(column.tolist() for column in columns), strict=True)
    ]


def pictures(context: RunContext, representation: Representation) -> dict[str, Array]:
    """A row of frames of each split ("splits"), and what the representation shows of itself; uint8 (H, W, 3) each.

    Empty for an environment that neither observes nor renders images.
    """
    seed = context.seed("pictures")
    worlds = {name: world for name, world in context.task.splits().items() if name in context.config.splits}
    frames = moments(context.policy_world(worlds["train"]), seed)
    if IMAGE not in frames:
        return {}
    rows = [np.concatenate(list(strip(world, seed)), axis=1) for world in worlds.values()]
    tensors = {key: torch.from_numpy(values).to(context.device) for key, values in frames.items()}
    obs = {key: value.movedim(-1, 1) if value.dim() == 4 else value for key, value in tensors.items()}
    representation.eval()
    draws = Streams(seed, context.device)["draws"]
    return {"splits": np.concatenate(rows), **representation.pictures(obs, draws)}
