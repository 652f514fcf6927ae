"""A run from beginning to end: pre-training, training with checkpoints, final evaluation, pictures.

``train(config, run, ...)`` brings one run to its end from wherever its checkpoint stands; started again after a kill,
it ends with the same weights, to the bit, as if it had never stopped.

Several processes may train one run (``agents.parallel.distributed``): the first pre-trains, evaluates and writes, the others wait.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from agents import ALGORITHMS, checkpoint
from agents.runs.build import (
    RunConfig,
    build_bonuses,
    build_representation,
    find_task,
    resolve_device,
    resolve_precision,
)
from agents.runs.coverage import Coverage
from agents.runs.evaluate import Agreement, Episodes, agreement, first_episodes, fixed_length_returns
from agents.on_policy import OnPolicy
from agents.policy import Precision
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.runs.callback import Clock, Progress, TrainingCallback, Records, StopRequest
from agents.runs.run_dir import RunDir
from agents.runs.trackers import Tracker
from envs.wrappers.sb3 import Sb3VecEnv
from envs.contact_sheet import moments, strip
from envs.rng_streams import Streams, stream_seed
from envs.tasks import Task, World
from representations.base import Representation
from representations.pretrain import Pretrainer, collect

PAIRED_STEPS = 128


@dataclass
class RunContext:
    """One run on its way: what it is, where it writes, what it runs on."""

    config: RunConfig
    task: Task
    run: RunDir
    records: Records
    progress: Progress
    clock: Clock
    stop: StopRequest
    device: str
    precision: Precision
    ranks: Ranks = SINGLE_PROCESS

    @property
    def pretrained(self) -> Path:
        """Checkpoints of the pre-training stage."""
        return self.run.checkpoints / "pretrain"

    @property
    def trained(self) -> Path:
        """Checkpoints of the training stage."""
        return self.run.checkpoints / "train"

    def seed(self, *names: str | int) -> int:
        return stream_seed(self.config.seed, *names)

    def world(self, world: World) -> World:
        """As this run's policy sees it: frames stacked where it is trained end to end on a task with motion."""
        return world.stacked(1 if self.config.mode == "frozen" else self.task.motion)

    def common(self) -> dict[str, Any]:
        """What every checkpoint holds beside the stage's own components."""
        return {"log": self.run, "clock": self.clock}


def train(
    config: RunConfig,
    run: RunDir,
    tracker: Tracker,
    progress: Progress,
    device: str = "auto",
    ranks: Ranks = SINGLE_PROCESS,
) -> OnPolicy:
    """Bring a run to its end: pre-training, training, final evaluation, pictures, ``done``.

    A run that was begun on one device and in one precision ends there.

    Raises:
        Preempted: SIGTERM or SIGINT came; the checkpoint was written first.
    """

    def begin() -> tuple[str, Precision]:
        begun = run.source
        there = resolve_device(begun.get("device", device))
        precision = begun.get("precision") or resolve_precision(config.precision, there)
        run.write_source(device=there, precision=precision)
        return there, precision

    device, precision = ranks.on_rank_zero(begin)
    records, task, clock, stop = Records(run, tracker), find_task(config), Clock(), StopRequest()
    job = RunContext(config, task, run, records, progress, clock, stop, device, precision, ranks)
    with job.stop.listening():
        resumed = ranks.on_rank_zero(lambda: job.trained.exists() and checkpoint.read(job.trained) is not None)
        representation = build_representation(config, job.task).to(device)
        if not resumed:
            ranks.on_rank_zero(lambda: pretrain(job, representation) if config.pretrain_samples else run.start_afresh())
        agent = train_agent(job, representation, resumed)
    ranks.on_rank_zero(lambda: final_evaluation(job, agent))
    assert agent.env is not None
    agent.env.close()
    return agent


def pretrain(job: RunContext, representation: Representation) -> None:
    """Fit the representation offline; frames come again from their seed, only weights and draws are stored."""
    config, worlds = job.config, job.task.visual_variants if job.config.pretrain_on == "all" else (job.task.source,)
    with job.clock.measure("pretrain"):
        frames = collect(
            worlds,
            config.pretrain_frames,
            job.seed("pretraining frames"),
            window=representation.window,
            views=representation.views,
        )
    generator = Streams(config.seed, job.device)["pretraining"]
    pretrainer = Pretrainer(
        representation, frames, config.pretrain_samples, generator=generator, precision=job.precision
    )
    components = {**pretrainer.components(), **job.common()}
    if checkpoint.load(job.pretrained, components) is None:
        job.run.start_afresh()
    job.progress.stage("pretrain", pretrainer.total, pretrainer.drawn)
    while not pretrainer.done:
        with job.clock.measure("pretrain"):
            metrics = pretrainer.run(max(1, pretrainer.total // 20)) | pretrainer.watch()
        job.records.log({"global_step": 0, "pretrain/samples": pretrainer.drawn, **metrics})
        shown = [f"{name.split('/', 1)[-1]}={value:.3g}" for name, value in list(metrics.items())[:3]]
        job.progress.update(pretrainer.drawn, " ".join(shown))
        checkpoint.save(job.pretrained, pretrainer.drawn, components)
        job.stop.check()
    job.progress.close()


def train_agent(job: RunContext, representation: Representation, resumed: bool) -> OnPolicy:
    """Train the agent to the last frame."""
    config, ranks = job.config, job.ranks
    share = ranks.local_envs(config.num_envs)
    world = job.world(job.task.source)
    seed = job.seed("training environments")
    env = Sb3VecEnv(world.make(len(share), seed, share.start))
    algorithm = ALGORITHMS.resolve(config.algo)
    agent: OnPolicy = algorithm(
        env,
        representation,
        algorithm.Config(**config.algo_settings),
        mode=config.mode,
        seed=config.seed,
        precision=job.precision,
        compiled=config.compile,
        device=job.device,
        bonuses=build_bonuses(config, env, representation),
        ranks=ranks,
    )
    if not agent.exact_env:
        print(f"{config.env} cannot save its state: a resumed run begins new episodes and is not exact")
    coverage = Coverage(ranks)
    components = {**agent.components(), **job.common(), "coverage": checkpoint.Spread(coverage, ranks)}
    if resumed:
        checkpoint.load(job.trained, components)
    ranks.broadcast(agent.policy.state_dict().values())  # which holds what rank 0 alone has pre-trained

    def save(step: int) -> None:
        ranks.assert_in_sync(agent.policy.parameters(), f"weights after {step:,} frames")
        checkpoint.save(job.trained, step, components, ranks)
        # What it led to is in the new checkpoint.
        ranks.on_rank_zero(lambda: shutil.rmtree(job.pretrained, ignore_errors=True))

    recorder = TrainingCallback(
        job.clock,
        job.records,
        job.progress,
        job.stop,
        save=save,
        save_every=config.checkpoint_frames,
        evaluate=lambda agent, step: periodic_evaluation(job, agent, step),
        evaluate_every=config.steps / max(config.periodic_evals, 1),
        coverage=coverage,
        ranks=ranks,
    )
    ranks.on_rank_zero(lambda: job.progress.stage("train", config.steps, agent.num_timesteps))
    remaining = config.steps - agent.num_timesteps
    if remaining > 0:
        agent.learn(remaining, callback=recorder, log_interval=None, reset_num_timesteps=not resumed)  # type: ignore[arg-type]
    job.progress.close()
    return agent


def periodic_evaluation(job: RunContext, agent: OnPolicy, step: int) -> dict[str, float]:
    """Return on training and on held-out levels now: the final evaluation's rule, fewer episodes or windows."""
    if not job.config.periodic_evals or "heldout" not in job.config.splits:
        return {}
    train, heldout = (
        float(evaluate(job, agent, split, job.config.periodic_envs, step).returns.mean())
        for split in ("train", "heldout")
    )
    return {"eval/train/return": train, "eval/heldout/return": heldout, "eval/gap": train - heldout}


def evaluate(job: RunContext, agent: OnPolicy, split: str, envs: int, step: int | str) -> Episodes:
    """First episodes, or windows, on one split; its draws depend on the seed, the split and the step alone.

    Splits that show the training levels share their environment seed, so a look is compared on the same levels.
    """
    env = job.world(job.task.splits()[split]).make(envs, job.seed("evaluation environments", step))
    generator = Streams(job.seed("evaluation", step, split), job.device)["actions"]
    if job.config.window:
        return fixed_length_returns(agent.policy, env, generator, job.config.window)
    return first_episodes(agent.policy, env, generator)


def final_evaluation(job: RunContext, agent: OnPolicy) -> None:
    """Final evaluation on every split, pictures, source, ``done``."""
    config, run, tracker = job.config, job.run, job.records.tracker
    rows: list[dict[str, Any]] = []
    record: dict[str, float] = {"global_step": agent.num_timesteps}
    job.progress.stage("evaluate", len(config.splits), 0)
    for index, split in enumerate(config.splits):
        with job.clock.measure("eval"):
            episodes = evaluate(job, agent, split, config.eval_envs, "final")
        rows += episode_rows(split, config.env, episodes)
        record[f"final/{split}/return"] = float(episodes.returns.mean())
        if split != "train":
            record[f"final/gap/{split}"] = record["final/train/return"] - record[f"final/{split}/return"]
        job.progress.update(index + 1, f"{split} {episodes.returns.mean():.2f}")
    job.progress.close()
    with job.clock.measure("eval"):
        agreed = compare(job, agent)
    record |= {f"final/agreement/{split}": found.argmax for split, found in agreed.items()}
    run.write_csv("eval.csv", rows)
    if agreed:
        run.write_csv("agreement.csv", [{"split": split, **asdict(found)} for split, found in agreed.items()])
    for name, picture in pictures(job, agent.policy.representation).items():
        path = run.path / "pictures" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
        tracker.picture(name, path)
    job.records.log(record)
    seconds = job.clock.seconds
    run.write_source(
        ranks=job.ranks.count,
        frames_per_second=agent.num_timesteps / max(seconds["train"], 1e-9),
        **{f"{stage}_seconds": spent for stage, spent in seconds.items()},
    )
    run.write_done()
    tracker.table("final", [{"repr": config.repr, "seed": config.seed, **record}])


def compare(job: RunContext, agent: OnPolicy) -> dict[str, Agreement]:
    """Action agreement on the splits that show the source's own states; about 100 steps of the evaluation's envs."""
    splits = [split for split in job.task.same_state_targets if split in job.config.splits]
    if not splits:
        return {}
    worlds, envs, seed = job.task.splits(), min(job.config.eval_envs, 32), job.seed("paired environments")
    source, *looks = (job.world(worlds[split]).make(envs, seed) for split in ("train", *splits))
    generator = Streams(job.seed("agreement"), job.device)["actions"]
    return agreement(agent.policy, source, dict(zip(splits, looks, strict=True)), generator, PAIRED_STEPS)


def episode_rows(split: str, env: str, episodes: Episodes) -> list[dict[str, Any]]:
    """eval.csv: one row per episode."""
    found = zip(episodes.level_seeds, episodes.returns, episodes.lengths, strict=True)
    return [
        {
            "split": split,
            "env": env,
            "episode": episode,
            "level_seed": int(level),
            "return": float(value),
            "length": int(length),
        }
        for episode, (level, value, length) in enumerate(found)
    ]


def pictures(job: RunContext, representation: Representation) -> dict[str, np.ndarray]:
    """A sheet with a row of frames for each split's look, and whatever the representation shows of itself."""
    seed = job.seed("pictures")
    worlds = job.task.splits()
    rows = [np.concatenate(list(strip(world, seed)), axis=1) for world in worlds.values()]
    seen = {key: torch.from_numpy(value) for key, value in moments(job.world(worlds["train"]), seed).items()}
    source = {key: value.movedim(-1, 1) if value.dim() == 4 else value for key, value in seen.items()}
    representation.eval()
    on_device = {key: value.to(job.device) for key, value in source.items()}
    return {"looks": np.concatenate(rows), **representation.pictures(on_device, Streams(seed, job.device)["draws"])}
