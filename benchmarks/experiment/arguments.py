"""Options that every experiment command has, and one line for each option that is gone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from benchmarks.cli import Device, OutputFolder, Precision
from envs.registry import UsageError
from envs.suites.single import SingleEnv, parse_options, parse_targets, settings_of

REMOVED = {"--overlap": "stepping halves of the environments in turn is gone; leave --overlap out"}
"""Options of the version before, and what to do without them."""


@dataclass(frozen=True)
class ExperimentArgs:
    """Options of a command that trains agents; a command adds its own, and its own defaults."""

    suite: str = "coinrun"
    """Tasks to train on, each with the targets it transfers to; your own as package.module:NAME."""
    env: str | None = None
    """In the place of a suite, one environment: any Gymnasium id, or your own as package.module:Class."""
    env_option: tuple[str, ...] = ()
    """Options of --env as NAME=VALUE: --env-option size=9 colour=red."""
    env_target: tuple[str, ...] = ()
    """Targets of --env, each as TARGET:NAME=VALUE,NAME=VALUE: options over those of --env; id=ID is another one."""
    frames: int | None = None
    """Frames to stack in the channels of --env's images. Default: 1, the newest alone."""
    stacked: int | None = None
    """Frames that --env itself has in its channels. Default: what its wrappers say, else 1."""
    image_channels: Literal["auto", "last", "first", "none"] | None = None
    """Where the images of --env have their channels; none takes their numbers as a vector. Default: auto, the first
    axis where it is the shortest."""
    episode_limit: int | None = None
    """Steps after which an episode of --env is truncated. Default: its own limit, if it has one."""
    step_in: Literal["auto", "sync", "async", "vector"] | None = None
    """Where envs of --env are stepped: in turn in this process (sync), each in its own (async), or by its own vector
    env. Default: auto, sync where there are single envs."""
    step_timeout: float | None = None
    """Seconds that an env of --env may take for a step, after which it counts as hung; 0: no limit. Default: 45."""
    tasks: tuple[str, ...] = ()
    """Only these tasks of the suite, as 'minigrid-doorkey'. Default: all."""
    algo: str = "ppo"
    """The learning algorithm: ppo, a2c, or your own as package.module:Class."""
    extrinsic: float | None = None
    """Weight of the environment's reward beside the bonuses; 0 trains without it. Default: 1."""
    memory: Literal["none", "gru"] = "none"
    """What the policy carries through an episode: nothing, or the state of a GRU behind the features."""
    last_step: bool = False
    """Show the policy its last action and the last reward beside the features, as UNREAL's LSTM gets them."""
    mode: Literal["auto", "frozen", "finetune", "online"] = "auto"
    """Training of the representation beside RL; auto takes each method's own default."""
    train_levels: tuple[int, ...] = ()
    """Numbers of training levels; several draw the gap against them. Default: the preset's."""
    level_sets: Literal["auto", "drawn", "published"] = "auto"
    """Training levels: drawn for each task and seed, the same for all methods; or published, 0 to K-1 for every seed
    and tested on all levels. auto draws them, except in the preset of the published protocol."""
    pretrain_on: Literal["source", "all"] = "source"
    """Visual variants the unsupervised frames come from; 'all' is DARLA's protocol (training levels only, reward from
    source)."""
    pretrain_data: str = "random"
    """Behaviour that gathers the unsupervised frames: random; mixed, half of them by a short PPO, trained once a task
    and seed; or policy:DIR, that of a finished run of the same seed and levels: its folder, or
    a directory with one for each seed."""
    pretrain_levels: Literal["same", "more"] = "same"
    """Levels the unsupervised frames come from: the training levels, or 10,000 others (rooms, sprites: 100,000). more
    and mixed add three control rows."""
    pretrain_share: float | None = None
    """Part of the optimizer steps that each method's pre-training needs. Default: the preset's."""
    init_from: str = ""
    """Begin with the weights of a finished run in place of pre-training: its folder, or a directory with one for each
    seed. The baseline that is added begins afresh."""
    continue_to: tuple[int, ...] = ()
    """Train finished runs on to so many frames each, as runs of their own that say so in every table."""
    baseline: bool = True
    """Add the end-to-end 'cnn', without bonuses, as the row to compare with."""
    equal_budget: bool = False
    """Also train the baseline on as many environment steps as each pre-trained row takes in all."""
    greedy: bool = False
    """Also evaluate the likeliest actions, each level once, beside sampled ones."""
    set: tuple[str, ...] = ()
    """Settings of a chosen module, as NAME.FIELD=VALUE: --set darla.beta=4 ppo.learning_rate=1e-3. NAME of your own
    module is its class in lower case."""
    settings: Path | None = None
    """TOML file of such settings: [NAME] on a line, FIELD = VALUE below it. Those of --set go over them."""

    preset: str = "quick"
    """Size of everything."""
    steps: int | None = None
    """Frames of training per run. Default: the preset's."""
    seeds: tuple[int, ...] = ()
    """One run per seed. Default: the preset's."""
    num_envs: int | None = None
    """Parallel environments, of all processes of a torchrun together. Default: the preset's."""
    precision: Precision = "auto"
    """Arithmetic of the networks; auto is bfloat16 where the processor has it."""
    device: Device = "auto"
    """Device of the networks; auto is the one a run was begun on, or the GPU where torch sees one. Only the CPU resumes
    to the bit."""
    compile: bool = False
    """Compile the representation (torch.compile): for a GPU; a CPU is slower with it."""

    out: OutputFolder | None = None
    """Experiment directory; more names or seeds extend its table. Default: a name of the suite and the preset below
    runs/."""
    cache: OutputFolder | None = None
    """Directory of finished fits, which rows that pre-train alike share, also those of other experiments. Default: fits
    in --out."""
    rerun: bool = False
    """Run again what was finished with other code; what there was moves to replaced/ in --out."""
    log: Literal["none", "wandb", "tensorboard", "trackio"] = "none"
    """Also send the records to a tracker."""
    dry_run: bool = False
    """Say what would be done, and stop."""


A = TypeVar("A", bound=ExperimentArgs)
SETTINGS = ("stacked", "image_channels", "episode_limit", "step_in", "step_timeout")
"""Options that go to ``GymnasiumVectorEnv``."""
OF_ENV = ("env_option", "env_target", "frames", *SETTINGS)
"""Options that say more about --env."""


def with_env(args: A) -> A:
    """Options whose suite is that of --env, where it is given.

    Raises:
        UsageError: options of --env without it, or that it cannot take.
    """
    if args.env is None:
        for name in OF_ENV:
            if getattr(args, name) not in (None, ()):
                raise UsageError(f"--{name.replace('_', '-')} says more about an environment; name it with --env ID")
        return args
    if args.frames is not None and args.frames < 1:
        raise UsageError(f"--frames {args.frames}: give 1 or more")
    named = {name: getattr(args, name) for name in SETTINGS}
    single = SingleEnv(
        args.env,
        parse_options(args.env_option),
        parse_targets(args.env_target),
        settings_of(named),
        args.frames or 1,
    )
    return replace(args, suite=single.name)
