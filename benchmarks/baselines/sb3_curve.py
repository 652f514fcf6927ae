"""Learning curve of stable-baselines3's own PPO on a task, to tell a fall of our baseline from one of the setting.

    python -m benchmarks.baselines.sb3_curve --levels 500 --steps 4000000 --out DIR/sb3.csv
    python -m benchmarks.baselines.sb3_curve --suite minigrid --task minigrid-doorkey --levels 20 --drawn \
        --steps 500000 --out DIR/sb3.csv

It trains with the settings that ``benchmarks.transfer`` takes for the task, train-procgen's or tuned ones, on the
network of our trunk, in float32, on the levels that ``benchmarks.transfer`` with the same seed and ``--level-sets``
trains on. A row is written after each rollout; the returns on training and validation levels are sampled, as its
``evaluate_policy`` plays them, at sixths of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import cli
from benchmarks.experiment.tuned import algorithm_settings
from envs.level_sets import published_levels, training_levels
from envs.registry import UsageError
from envs.suites import build
from envs.tasks import Task

COLUMNS = (
    *("seed", "level_set", "frames", "return", "episode_length", "entropy", "approx_kl", "explained_variance"),
    *("train_return", "validation_return", "commit"),
)
NUM_ENVS = 64
EVALUATIONS, EPISODES = 6, 64


@dataclass(frozen=True)
class Args:
    """Train stable-baselines3's PPO and write its learning curve."""

    out: Path
    """CSV file."""
    suite: str = "coinrun"
    """Suite of the task."""
    task: str = ""
    """Task of the suite; none: its only one."""
    levels: int = 500
    """Number of training levels."""
    drawn: bool = False
    """Train on levels drawn for the seed, in place of 0 to K-1."""
    steps: int = 4_000_000
    """Frames of training."""
    seed: int = 0
    """Of weights, actions and environments."""
    trunk: str = "nature"
    """Network: nature or impala."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(sb3_curve, Args, argv)


def sb3_curve(args: Args) -> str:
    """Train, write the CSV after every rollout, and return a line to print."""
    from agents.ppo import PPOConfig
    from agents.runs.source import commit
    from benchmarks.baselines.frameworks import sb3_ppo
    from envs.wrappers.sb3 import Sb3VecEnv

    task = chosen_task(args)
    settings = PPOConfig(**algorithm_settings(task.kind, "ppo", PPOConfig))
    rollout = NUM_ENVS * settings.n_steps
    if args.steps < rollout:
        raise UsageError(f"--steps {args.steps}: give at least one rollout, {rollout}")
    training = training_levels(task.env, args.seed, args.levels) if args.drawn else published_levels(args.levels)
    task = task.on_levels(training)
    if task.validation is None:
        raise UsageError(f"--task {task.env} has no validation levels; name one that draws its levels")
    agent = sb3_ppo(Sb3VecEnv(task.source.make(NUM_ENVS, args.seed)), settings, args.trunk, seed=args.seed)
    rows: list[dict[str, Any]] = []
    shared = {"seed": args.seed, "level_set": str(training), "commit": commit()}
    while agent.num_timesteps < args.steps:
        before = agent.num_timesteps
        agent.learn(rollout, reset_num_timesteps=False)
        row = shared | training_row(agent)
        if int(agent.num_timesteps * EVALUATIONS / args.steps) > int(before * EVALUATIONS / args.steps):
            worlds = {"train_return": task.source, "validation_return": task.validation}
            row |= {name: mean_return(agent, Sb3VecEnv(world.make(NUM_ENVS, 1))) for name, world in worlds.items()}
        rows.append(row)
        cli.write_csv(args.out, [{name: row.get(name, "") for name in COLUMNS} for row in rows], COLUMNS)
        print(f"{agent.num_timesteps:,} frames, return {row['return']:.2f}", flush=True)
    return f"{len(rows)} rollouts in {args.out}"


def chosen_task(args: Args) -> Task:
    """The task that was asked for; UsageError where the suite has none of that name, or several and none was named."""
    tasks = {task.env: task for task in build(args.suite, args.levels)}
    if not args.task and len(tasks) == 1:
        return next(iter(tasks.values()))
    if args.task not in tasks:
        wrong = f"--task {args.task} is not in" if args.task else "name one task with --task, of"
        raise UsageError(f"{wrong} suite {args.suite}: {', '.join(tasks)}")
    return tasks[args.task]


def training_row(agent: Any) -> dict[str, float]:
    """Metrics of the newest update, and means over the last hundred episodes (its own buffer)."""
    episodes, logged = agent.ep_info_buffer, agent.logger.name_to_value
    return {
        "frames": agent.num_timesteps,
        "return": sum(info["r"] for info in episodes) / max(len(episodes), 1),
        "episode_length": sum(info["l"] for info in episodes) / max(len(episodes), 1),
        "entropy": -logged["train/entropy_loss"],
        "approx_kl": logged["train/approx_kl"],
        "explained_variance": logged["train/explained_variance"],
    }


def mean_return(agent: Any, env: Any) -> float:
    """Mean return of sampled actions over ``EPISODES`` episodes, equally many of each env; closes ``env``."""
    from stable_baselines3.common.evaluation import evaluate_policy

    mean, _ = evaluate_policy(agent, env, EPISODES, deterministic=False)
    env.close()
    return float(mean)  # type: ignore[arg-type]  # a list only where it is asked for


if __name__ == "__main__":
    raise SystemExit(main())
