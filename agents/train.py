"""The one place where a run is put together: world, representation, pre-training, agent, evaluation, checkpoints.

``train(config, run, ...)`` brings one run to its end from wherever its checkpoint stands; started again after a kill,
it ends with the same weights, to the bit, as if it had never stopped.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from agents import ALGORITHMS, checkpoint
from agents.evaluate import Episodes, first_episodes
from agents.on_policy import OnPolicy
from agents.policy import PRECISIONS, Precision, keyed_space
from agents.recorder import Clock, Progress, Recorder, Records, StopRequest
from agents.run_dir import RunDir
from agents.trackers import Tracker
from envs.registry import UsageError
from envs.sb3 import Sb3VecEnv
from envs.steps import Obs
from envs.streams import Streams, stream_seed
from envs.suites import Task, build
from representations import REPRESENTATIONS
from representations.base import Representation
from representations.pretrain import Pretrainer, collect


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result; its hash names the run."""

    suite: str
    env: str
    repr: str
    repr_settings: dict[str, Any]
    mode: str
    algo: str
    algo_settings: dict[str, Any]
    bonus: str
    trunk: str
    train_levels: int
    pretrain_on: str
    pretrain_frames: int
    """Distinct frames of the unsupervised data; 0 where nothing is pre-trained."""
    pretrain_samples: int
    """Frames drawn from them in all, over all phases."""
    seed: int
    steps: int
    num_envs: int
    precision: str
    eval_envs: int
    """Environments (one episode each) of the final evaluation of a split."""
    periodic_evals: int
    """Evaluations on training and held-out levels during training."""
    periodic_envs: int
    checkpoint_frames: int
    preset: str
    normalise: tuple[float, float] | None
    splits: tuple[str, ...]


def resolve_precision(name: str) -> Precision:
    """'auto' is bfloat16 where the processor multiplies it in hardware, float32 elsewhere."""
    for precision in PRECISIONS:
        if name == precision:
            return precision
    if name != "auto":
        raise UsageError(f"--precision '{name}' is not one of auto, {', '.join(PRECISIONS)}")
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"


def find_task(config: RunConfig) -> Task:
    return next(task for task in build(config.suite, config.train_levels) if task.env == config.env)


def build_representation(config: RunConfig, task: Task) -> Representation:
    """The representation as its seed makes it, before any training; no other stream is touched."""
    cls = REPRESENTATIONS.resolve(config.repr)
    probe = Sb3VecEnv(task.source.make(1, 0))
    space = keyed_space(probe.observation_space)
    probe.close()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.seed, "init", "representation"))
        return cls(space, cls.Config(**config.repr_settings))


def rehearse(configs: Sequence[RunConfig]) -> None:
    """Build the world and the representation of every run once, so that what cannot work fails before it writes.

    Raises:
        UsageError: a missing package, an observation key the method needs, a setting its networks refuse.
    """
    seen = set()
    for config in configs:
        key = (config.env, config.repr, tuple(sorted((name, str(v)) for name, v in config.repr_settings.items())))
        if key not in seen:
            seen.add(key)
            build_representation(config, find_task(config))


def build_agent(config: RunConfig, task: Task, representation: Representation, precision: Precision) -> OnPolicy:
    env = Sb3VecEnv(task.source.make(config.num_envs, stream_seed(config.seed, "training environments")))
    cls = ALGORITHMS.resolve(config.algo)
    settings = cls.Config(**config.algo_settings)
    return cls(env, representation, settings, mode=config.mode, seed=config.seed, precision=precision)


def train(config: RunConfig, run: RunDir, tracker: Tracker, progress: Progress) -> OnPolicy:
    """Bring a run to its end: pre-training, training, final evaluation, pictures, ``done``.

    Raises:
        Preempted: SIGTERM or SIGINT came; the checkpoint was written first.
    """
    task = find_task(config)
    source = run.source
    precision = source.get("precision") or resolve_precision(config.precision)
    run.write_source(precision=precision)
    clock, stop = Clock(), StopRequest()
    records = Records(run, tracker)
    with stop.listening():
        representation = build_representation(config, task)
        common = {"log": run, "clock": clock}
        stages = (run.checkpoints / "pretrain", run.checkpoints / "train")
        resumed = checkpoint.read(stages[1]) is not None if stages[1].exists() else False
        if not resumed and config.pretrain_samples:
            pretrain(config, task, representation, precision, stages[0], common, records, progress, stop)
        elif not resumed:
            run.start_afresh()
        agent = build_agent(config, task, representation, precision)
        if not agent.exact_env:
            print(f"{config.env} cannot save its state: a resumed run begins new episodes and is not exact")
        components = {**agent.components(), **common}
        if resumed:
            checkpoint.load(stages[1], components)
        recorder = Recorder(
            clock,
            records,
            progress,
            stop,
            save=lambda step: save(stages, step, components),
            save_every=config.checkpoint_frames,
            evaluate=lambda agent, step: periodic_evaluation(config, task, agent, step),
            evaluate_every=config.steps / max(config.periodic_evals, 1),
        )
        remaining = config.steps - agent.num_timesteps
        progress.stage("train", config.steps, agent.num_timesteps)
        if remaining > 0:
            agent.learn(remaining, callback=recorder, log_interval=None, reset_num_timesteps=not resumed)  # type: ignore[arg-type]
        progress.close()
    finish(config, task, agent, run, records, clock, progress)
    assert agent.env is not None
    agent.env.close()
    return agent


def save(stages: tuple[Path, Path], step: int, components: dict[str, Any]) -> None:
    """Checkpoint the training stage; the pre-training checkpoint it continues is then of no use."""
    checkpoint.save(stages[1], step, components)
    if stages[0].exists():
        shutil.rmtree(stages[0])


def pretrain(
    config: RunConfig,
    task: Task,
    representation: Representation,
    precision: Precision,
    folder: Path,
    common: dict[str, Any],
    records: Records,
    progress: Progress,
    stop: StopRequest,
) -> None:
    """Fit the representation offline; frames come again from their seed, only weights and draws are stored."""
    clock: Clock = common["clock"]
    worlds = task.looks if config.pretrain_on == "all" else (task.source,)
    with clock.measure("pretrain"):
        frames = collect(worlds, config.pretrain_frames, stream_seed(config.seed, "pretraining frames"))
    pretrainer = Pretrainer(
        representation,
        frames,
        config.pretrain_samples,
        generator=Streams(config.seed)["pretraining"],
        precision=precision,
    )
    components = {**pretrainer.components(), **common}
    if checkpoint.load(folder, components) is None:
        records.run.start_afresh()
    progress.stage("pretrain", pretrainer.total, pretrainer.drawn)
    while not pretrainer.done:
        with clock.measure("pretrain"):
            metrics = pretrainer.run(max(1, pretrainer.total // 20))
        records.log({"global_step": 0, "pretrain/samples": pretrainer.drawn, **metrics})
        progress.update(pretrainer.drawn, note(metrics))
        checkpoint.save(folder, pretrainer.drawn, components)
        stop.check()
    progress.close()


def note(metrics: dict[str, float]) -> str:
    return " ".join(f"{name.split('/', 1)[-1]}={value:.3g}" for name, value in list(metrics.items())[:3])


def periodic_evaluation(config: RunConfig, task: Task, agent: OnPolicy, step: int) -> dict[str, float]:
    """Return on training and on held-out levels now: the final evaluation's rule, fewer episodes."""
    if not config.periodic_evals or "heldout" not in config.splits:
        return {}
    train, heldout = (
        float(evaluate(config, task, agent, split, config.periodic_envs, step).returns.mean())
        for split in ("train", "heldout")
    )
    return {"eval/train/return": train, "eval/heldout/return": heldout, "eval/gap": train - heldout}


def evaluate(config: RunConfig, task: Task, agent: OnPolicy, split: str, envs: int, step: int | str) -> Episodes:
    """First episodes on one split; its draws depend on the seed, the split and the step alone.

    Splits that show the training levels share their environment seed, so a look is compared on the same levels.
    """
    world = task.splits()[split]
    env = world.make(envs, stream_seed(config.seed, "evaluation environments", step))
    generator = Streams(stream_seed(config.seed, "evaluation", step, split))["actions"]
    return first_episodes(agent.policy, env, generator)


def finish(
    config: RunConfig,
    task: Task,
    agent: OnPolicy,
    run: RunDir,
    records: Records,
    clock: Clock,
    progress: Progress,
) -> None:
    """Final evaluation on every split, pictures, source, ``done``."""
    rows: list[dict[str, Any]] = []
    record: dict[str, float] = {"global_step": agent.num_timesteps}
    progress.stage("evaluate", len(config.splits), 0)
    for index, split in enumerate(config.splits):
        with clock.measure("eval"):
            episodes = evaluate(config, task, agent, split, config.eval_envs, "final")
        for episode, (level, value, length) in enumerate(
            zip(episodes.level_seeds, episodes.returns, episodes.lengths, strict=True)
        ):
            rows.append(
                {
                    "split": split,
                    "env": config.env,
                    "episode": episode,
                    "level_seed": int(level),
                    "return": float(value),
                    "length": int(length),
                }
            )
        record[f"final/{split}/return"] = float(episodes.returns.mean())
        if split != "train":
            record[f"final/gap/{split}"] = record["final/train/return"] - record[f"final/{split}/return"]
        progress.update(index + 1, f"{split} {episodes.returns.mean():.2f}")
    progress.close()
    run.write_csv("eval.csv", rows)
    for name, picture in pictures(config, task, agent.policy.representation).items():
        path = run.path / "pictures" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
        records.tracker.picture(name, path)
    records.log(record)
    seconds = clock.seconds
    run.write_source(
        frames_per_second=agent.num_timesteps / max(seconds["train"], 1e-9),
        pretrain_seconds=seconds["pretrain"],
        train_seconds=seconds["train"],
        eval_seconds=seconds["eval"],
    )
    run.write_done()
    summary = {"repr": config.repr, "seed": config.seed, **{k: v for k, v in record.items() if k != "global_step"}}
    records.tracker.table("final", [summary])


def pictures(config: RunConfig, task: Task, representation: Representation) -> dict[str, np.ndarray]:
    """One sheet with the looks of all splits, and whatever the representation shows of itself."""
    seed = stream_seed(config.seed, "pictures")
    strips = [frames_of(world, seed, 8) for world in task.splits().values()]
    sheet = np.concatenate([np.concatenate(list(to_hwc(strip["image"])), axis=1) for strip in strips], axis=0)
    found = {"looks": sheet}
    generator = Streams(seed)["draws"]
    representation.eval()
    found.update(representation.pictures(strips[0], generator))
    return found


def frames_of(world: Any, seed: int, count: int) -> Obs:
    """A few frames of one world, each from another environment."""
    return {key: value[:count] for key, value in collect((world,), count, seed).items()}


def to_hwc(images: torch.Tensor) -> np.ndarray:
    return images.movedim(-3, -1).numpy()


def settings_of(cls: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """All fields of ``cls.Config`` with ``changes`` applied, as plain JSON data."""
    return dataclasses.asdict(cls.Config(**changes))
