"""The one place where a run is put together: world, representation, pre-training, agent, evaluation, checkpoints.

``train(config, run, ...)`` brings one run to its end from wherever its checkpoint stands; started again after a kill,
it ends with the same weights, to the bit, as if it had never stopped.

Several processes may train one run (``agents.ranks``): the first pre-trains, evaluates and writes, the others wait.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from PIL import Image
from stable_baselines3.common.vec_env import VecEnv

from agents import ALGORITHMS, checkpoint
from agents.config import bonus_space, skilled_one
from agents.coverage import Coverage
from agents.evaluate import Agreement, Episodes, agreement, first_episodes, windows
from agents.on_policy import OnPolicy
from agents.policy import PRECISIONS, Precision, keyed_space
from agents.ranks import ALONE, Ranks
from agents.recorder import Clock, Progress, Recorder, Records, StopRequest
from agents.run_dir import UNNAMED, RunDir
from agents.trackers import Tracker
from envs.halves import Halves, halved
from envs.registry import UsageError
from envs.sb3 import Sb3VecEnv
from envs.sheet import moments, strip
from envs.streams import Streams, stream_seed
from envs.suites import build
from envs.tasks import Task, World
from intrinsic import BONUSES
from intrinsic.base import IntrinsicBonus
from representations import REPRESENTATIONS
from representations.base import Representation, Unfit
from representations.pretrain import Pretrainer, collect, views_of
from representations.wrappers import Beside, Motion, Wrapped

PAIRED_STEPS = 128


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
    """Environments of the final evaluation of a split, one episode or one window each."""
    window: int
    """Frames of an evaluation window, which runs on through the ends of episodes; 0: first episodes."""
    periodic_evals: int
    """Evaluations on training and held-out levels during training."""
    periodic_envs: int
    checkpoint_frames: int
    preset: str
    normalise: tuple[float, float] | None
    splits: tuple[str, ...]
    bonus_settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of each bonus in ``bonus``, which lists them as NAME:COEFFICIENT, or "none"."""
    overlap: bool = field(default=False, metadata=UNNAMED)
    """Step one half of the environments while the other is looked at; a world that does not draw by counter then has
    other levels."""
    compile: bool = field(default=False, metadata=UNNAMED)
    """Have torch compile the representation for the batch sizes of the run; it rounds differently."""


def resolve_precision(name: str, device: str = "cpu") -> Precision:
    """'auto' is bfloat16 where the processor or the GPU multiplies it in hardware, float32 elsewhere."""
    for precision in PRECISIONS:
        if name == precision:
            return precision
    if name != "auto":
        raise UsageError(f"--precision '{name}' is not one of auto, {', '.join(PRECISIONS)}")
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"


def resolve_device(name: str) -> str:
    """'auto' is the GPU where torch sees one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no GPU here; use --device cpu, or install a CUDA build of torch")
    if name in ("cpu", "cuda"):
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass
class Job:
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
    ranks: Ranks = ALONE

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


def find_task(config: RunConfig) -> Task:
    return next(task for task in build(config.suite, config.train_levels) if task.env == config.env)


def build_representation(config: RunConfig, task: Task) -> Representation:
    """The representation as its seed makes it, before any training; no other stream is touched.

    What is pre-trained sees single frames, and their features side by side make motion; the rest stacks channels.
    A method's fields ``actions`` and ``discount``, where they are 0, are the world's and the agent's.
    Numbers that the world tells beside the image, and the method does not use, go to the policy as they are.
    """
    cls = REPRESENTATIONS.resolve(config.repr)
    single = config.mode != "online"
    probe = Sb3VecEnv(task.source.stacked(1 if single else task.motion).make(1, 0))
    space = keyed_space(probe.observation_space)
    told = {"actions": int(getattr(probe.action_space, "n", 0)), "discount": config.algo_settings.get("gamma")}
    probe.close()
    settings = {name: value or told.get(name, value) for name, value in config.repr_settings.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.seed, "init", "representation"))
        representation: Representation = cls(space, cls.Config(**settings))
    vectors = [key for key, box in space.spaces.items() if len(box.shape or ()) == 1 and key not in representation.keys]
    if single and task.motion > 1:
        representation = Motion(representation, task.motion, stacked=config.mode == "finetune")
    return Beside(representation, space, vectors) if vectors else representation


def build_bonuses(config: RunConfig, space: gym.spaces.Dict, actions: int) -> list[IntrinsicBonus]:
    """The bonuses of a run, each as the seed and its own name make it.

    Args:
        space: what the agent's Steps hold (``agents.config.bonus_space``).
    """
    bonuses = []
    for name, coefficient in parse_bonuses(config.bonus.split()).items():
        cls = BONUSES.resolve(name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(config.seed, "init", "bonus", name))
            bonus: IntrinsicBonus = cls(space, actions, cls.Config(**config.bonus_settings.get(name, {})))
        bonus.coefficient = bonus.coefficient if coefficient is None else coefficient
        bonuses.append(bonus)
    return bonuses


def parse_bonuses(words: Iterable[str]) -> dict[str, float | None]:
    """``["icm:0.01", "rnd"]`` -> ``{"icm": 0.01, "rnd": None}``; None stands for the bonus's own coefficient.

    Raises:
        UsageError: an unknown name, one named twice, or a coefficient below 0.
    """
    found: dict[str, float | None] = {}
    for word in words:
        name, _, tail = word.rpartition(":")
        try:
            coefficient: float | None = float(tail)
        except ValueError:
            name, coefficient = word, None
        if word == "none":
            continue
        BONUSES.check(name or word)
        if name in found:
            raise UsageError(f"--bonus {word}: '{name}' is named twice; give it one coefficient")
        if coefficient is not None and not 0 <= coefficient < math.inf:
            raise UsageError(f"--bonus {word}: give a coefficient of at least 0, as in --bonus {name}:0.1")
        found[name] = coefficient
    return found


def restored(run: Path, config: Mapping[str, Any]) -> tuple[Representation, dict[str, World]]:
    """The representation of a finished run, in eval mode, and its worlds by split as that representation sees them.

    It is the method's own, without what was put around it for the policy.

    Raises:
        UsageError: no whole checkpoint is there.
    """
    _, task, representation, _ = _read_back(run, config)
    frames = task.motion
    while isinstance(representation, Wrapped):
        frames = 1 if isinstance(representation, Motion) else frames
        representation = representation.inner
    return representation.eval(), {split: world.stacked(frames) for split, world in task.splits().items()}


def restored_bonuses(run: Path, config: Mapping[str, Any]) -> tuple[Representation, World, list[IntrinsicBonus]]:
    """The bonuses of a finished run, the representation as its policy holds it, and the world both learnt on.

    Raises:
        UsageError: no whole checkpoint is there.
    """
    known, task, representation, state = _read_back(run, config)
    world = task.source.stacked(1 if known.mode == "frozen" else task.motion)
    env = Sb3VecEnv(world.make(1, 0))
    bonuses = build_bonuses(known, *_bonus_inputs(env, representation, known.mode))
    env.close()
    for bonus in bonuses:
        checkpoint.restore(bonus, state[f"bonus/{bonus.name}"])
    return representation.eval(), world, bonuses


def _read_back(run: Path, config: Mapping[str, Any]) -> tuple[RunConfig, Task, Representation, dict[str, Any]]:
    """A finished run's configuration, its task, its representation, and everything in its newest checkpoint."""
    known = RunConfig(**{each.name: config[each.name] for each in fields(RunConfig) if each.name in config})
    task = find_task(known)
    representation = build_representation(known, task)
    found = checkpoint.read(run / "checkpoint" / "train")
    if found is None:
        raise UsageError(f"{run} has no checkpoint; remove that folder and run it again")
    weights = found[1]["policy"]["module"]
    own = {key.removeprefix("representation."): v for key, v in weights.items() if key.startswith("representation.")}
    representation.load_state_dict(own)
    return known, task, representation, found[1]


def rehearse(configs: Sequence[RunConfig], ranks: Ranks = ALONE) -> dict[str, str]:
    """Build the world and the representation of every run once, so that what cannot work fails before it writes.

    Returns:
        Representation -> why it and these worlds do not go together (an observation key that is missing).

    Raises:
        UsageError: a missing package, a setting a method's networks refuse, what several processes cannot do.
    """
    seen = set()
    refused: dict[str, str] = {}
    for config in configs:
        share = ranks.share(config.num_envs)
        if config.overlap:
            halved(share)
        if config.bonus != "none":
            ranks.refuse("bonuses")
        told = {**config.repr_settings, "bonus": config.bonus, "bonus settings": config.bonus_settings}
        key = (config.env, config.repr, config.mode, tuple(sorted((name, str(v)) for name, v in told.items())))
        if key not in seen:
            seen.add(key)
            try:
                task = find_task(config)
                representation = build_representation(config, task)
                if representation.views and config.pretrain_samples:
                    views_of(task.source)
                if config.bonus != "none":
                    env = Sb3VecEnv(task.source.stacked(1 if config.mode == "frozen" else task.motion).make(1, 0))
                    skilled_one(build_bonuses(config, *_bonus_inputs(env, representation, config.mode)))
                    env.close()
                each = config.steps // config.num_envs
                if config.mode == "online" and representation.has_loss and representation.window > each:
                    raise UsageError(
                        f"{config.repr} learns from windows of {representation.window} steps; {config.steps:,} frames "
                        f"in {config.num_envs} environments are {each} steps each: give more --steps"
                    )
            except Unfit as reason:
                refused[config.repr] = str(reason)
    return refused


def _bonus_inputs(env: VecEnv, representation: Representation, mode: str) -> tuple[gym.spaces.Dict, int]:
    return bonus_space(env.observation_space, representation, mode), int(getattr(env.action_space, "n", 0))


def train(
    config: RunConfig,
    run: RunDir,
    tracker: Tracker,
    progress: Progress,
    device: str = "auto",
    ranks: Ranks = ALONE,
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

    device, precision = ranks.lead(begin)
    records, task, clock, stop = Records(run, tracker), find_task(config), Clock(), StopRequest()
    job = Job(config, task, run, records, progress, clock, stop, device, precision, ranks)
    with job.stop.listening():
        resumed = ranks.lead(lambda: job.trained.exists() and checkpoint.read(job.trained) is not None)
        representation = build_representation(config, job.task).to(device)
        if not resumed:
            ranks.lead(lambda: pretrain(job, representation) if config.pretrain_samples else run.start_afresh())
        agent = reinforce(job, representation, resumed)
    ranks.lead(lambda: finish(job, agent))
    assert agent.env is not None
    agent.env.close()
    return agent


def pretrain(job: Job, representation: Representation) -> None:
    """Fit the representation offline; frames come again from their seed, only weights and draws are stored."""
    config, worlds = job.config, job.task.looks if job.config.pretrain_on == "all" else (job.task.source,)
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


def reinforce(job: Job, representation: Representation, resumed: bool) -> OnPolicy:
    """Train the agent to the last frame."""
    config, ranks = job.config, job.ranks
    share = ranks.share(config.num_envs)
    world = job.world(job.task.source)
    seed = job.seed("training environments")
    env = Halves.of(world, seed, share) if config.overlap else Sb3VecEnv(world.make(len(share), seed, share.start))
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
        bonuses=build_bonuses(config, *_bonus_inputs(env, representation, config.mode)),
        ranks=ranks,
    )
    if not agent.exact_env:
        print(f"{config.env} cannot save its state: a resumed run begins new episodes and is not exact")
    coverage = Coverage(ranks)
    components = {**agent.components(), **job.common(), "coverage": checkpoint.Spread(coverage, ranks)}
    if resumed:
        checkpoint.load(job.trained, components)
    ranks.follow(agent.policy.state_dict().values())  # which holds what rank 0 alone has pre-trained

    def save(step: int) -> None:
        ranks.agree(agent.policy.parameters(), f"weights after {step:,} frames")
        checkpoint.save(job.trained, step, components, ranks)
        # What it led to is in the new checkpoint.
        ranks.lead(lambda: shutil.rmtree(job.pretrained, ignore_errors=True))

    recorder = Recorder(
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
    ranks.lead(lambda: job.progress.stage("train", config.steps, agent.num_timesteps))
    remaining = config.steps - agent.num_timesteps
    if remaining > 0:
        agent.learn(remaining, callback=recorder, log_interval=None, reset_num_timesteps=not resumed)  # type: ignore[arg-type]
    job.progress.close()
    return agent


def periodic_evaluation(job: Job, agent: OnPolicy, step: int) -> dict[str, float]:
    """Return on training and on held-out levels now: the final evaluation's rule, fewer episodes or windows."""
    if not job.config.periodic_evals or "heldout" not in job.config.splits:
        return {}
    train, heldout = (
        float(evaluate(job, agent, split, job.config.periodic_envs, step).returns.mean())
        for split in ("train", "heldout")
    )
    return {"eval/train/return": train, "eval/heldout/return": heldout, "eval/gap": train - heldout}


def evaluate(job: Job, agent: OnPolicy, split: str, envs: int, step: int | str) -> Episodes:
    """First episodes, or windows, on one split; its draws depend on the seed, the split and the step alone.

    Splits that show the training levels share their environment seed, so a look is compared on the same levels.
    """
    env = job.world(job.task.splits()[split]).make(envs, job.seed("evaluation environments", step))
    generator = Streams(job.seed("evaluation", step, split), job.device)["actions"]
    if job.config.window:
        return windows(agent.policy, env, generator, job.config.window)
    return first_episodes(agent.policy, env, generator)


def finish(job: Job, agent: OnPolicy) -> None:
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


def compare(job: Job, agent: OnPolicy) -> dict[str, Agreement]:
    """Action agreement on the splits that show the source's own states; about 100 steps of the evaluation's envs."""
    splits = [split for split in job.task.paired if split in job.config.splits]
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


def pictures(job: Job, representation: Representation) -> dict[str, np.ndarray]:
    """A sheet with a row of frames for each split's look, and whatever the representation shows of itself."""
    seed = job.seed("pictures")
    worlds = job.task.splits()
    rows = [np.concatenate(list(strip(world, seed)), axis=1) for world in worlds.values()]
    seen = {key: torch.from_numpy(value) for key, value in moments(job.world(worlds["train"]), seed).items()}
    source = {key: value.movedim(-1, 1) if value.dim() == 4 else value for key, value in seen.items()}
    representation.eval()
    on_device = {key: value.to(job.device) for key, value in source.items()}
    return {"looks": np.concatenate(rows), **representation.pictures(on_device, Streams(seed, job.device)["draws"])}
