"""Which representation generalises? Train on a few levels, then play unseen levels and other looks.

    python -m benchmarks.transfer --repr darla
    python -m benchmarks.transfer --repr darla beta_vae random --seeds 0 1 2 --log wandb
    python -m benchmarks.transfer --repr darla --train-levels 10 50 200 --pretrain-on all

The same command again returns what is finished and continues what is not. Several processes train one run together as

    torchrun --nproc-per-node 2 -m benchmarks.transfer --repr cnn
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from benchmarks import report_error
from benchmarks.experiment.overrides import apply_settings, describe_settings, own_settings
from benchmarks.experiment.presets import BASELINE, PRESETS, Preset
from envs.registry import UsageError
from envs.suites import SUITES, build
from envs.tasks import Task
from intrinsic import BONUSES
from representations import REPRESENTATIONS

if TYPE_CHECKING:
    from agents.parallel.distributed import Ranks
    from agents.runs.build import RunConfig


@dataclass(frozen=True)
class Args:
    """Train each representation's agent on a few levels, then compare its return on the training levels, on levels
    never seen, and on the same levels in other looks."""

    repr: tuple[str, ...] = ("darla",)
    """Representations to compare: names of the registry, or your own as package.module:Class."""
    suite: str = "coinrun"
    """Where to train and what to transfer to."""
    tasks: tuple[str, ...] = ()
    """Only these tasks of the suite, as 'minigrid-doorkey'. Default: all."""
    algo: Literal["ppo", "a2c"] = "ppo"
    """The agent."""
    bonus: tuple[str, ...] = ()
    """Intrinsic bonuses added to the reward, as NAME or NAME:COEFFICIENT: --bonus icm:0.01 rnd:0.5. The baseline row
    gets none, so that the table shows what they do."""
    extrinsic: float | None = None
    """Weight of the world's own reward beside the bonuses; 0 trains without it. Default: 1."""
    mode: Literal["auto", "frozen", "finetune", "online"] = "auto"
    """How RL and representation meet; auto takes each method's own default."""
    train_levels: tuple[int, ...] = ()
    """Numbers of training levels; several draw the gap against them. Default: the preset's."""
    pretrain_on: Literal["source", "all"] = "source"
    """Looks the unsupervised frames come from; 'all' is DARLA's protocol (training levels only, reward from source)."""
    baseline: bool = True
    """Add the end-to-end 'cnn', without bonuses, as the row to compare with."""
    set: tuple[str, ...] = ()
    """Settings of a chosen module, as NAME.FIELD=VALUE: --set darla.beta=4 ppo.learning_rate=1e-3."""

    preset: Literal["smoke", "brief", "quick", "standard", "paper"] = "quick"
    """Size: smoke (under a minute), brief (3 seeds, a third of quick), quick (minutes), standard (3 seeds), paper
    (published protocol; wants a GPU)."""
    steps: int | None = None
    """Frames of training per run. Default: the preset's."""
    seeds: tuple[int, ...] = ()
    """One run per seed. Default: the preset's."""
    num_envs: int | None = None
    """Parallel environments, of all processes of a torchrun together. Default: the preset's."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the networks; auto is bfloat16 where the processor has it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run; auto is the GPU where torch sees one. Only the CPU resumes to the bit."""
    overlap: bool = False
    """Step one half of the environments while the GPU looks at the other; on Procgen the halves have other levels."""
    compile: bool = False
    """Compile the representation (torch.compile): for a GPU; a CPU is slower with it."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Experiment directory; more names or seeds extend its table. Default: runs/SUITE-PRESET."""
    log: Literal["none", "wandb", "tensorboard"] = "none"
    """Also send the records to a tracker."""
    dry_run: bool = False
    """Say what would be done, and stop."""


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    try:
        if {"--help", "-h"} & set(argv):
            return show_help(argv)
        args = tyro.cli(Args, prog="python -m benchmarks.transfer", args=argv)
        return transfer(args)
    except UsageError as error:
        return report_error(error)
    except KeyboardInterrupt:
        print("stopped at once; the same command continues from the last checkpoint", file=sys.stderr)
        return 130


def show_help(argv: list[str]) -> int:
    """The base help imports no torch; with --repr NAME or --bonus NAME it adds that module's own settings."""
    named = [(REPRESENTATIONS, name) for name in words_after("--repr", argv)]
    named += [(BONUSES, name.partition(":")[0]) for name in words_after("--bonus", argv)]
    for registry, name in named:
        registry.check(name)
    try:
        tyro.cli(
            Args,
            prog="python -m benchmarks.transfer",
            args=["--help"],
            description="\n\n".join(
                (
                    str(Args.__doc__),
                    f"Representations: {', '.join(REPRESENTATIONS)}\nBonuses: {', '.join(BONUSES)}\n"
                    f"Suites: {', '.join(SUITES)}",
                    "\n".join(["Examples:", *(s for s in str(__doc__).splitlines() if s.startswith("    python"))]),
                )
            ),
        )
    except SystemExit as stop:
        if stop.code:
            raise
    for registry, name in named:
        print(describe_settings(name, registry.resolve(name)))
    return 0


def words_after(flag: str, argv: list[str]) -> list[str]:
    """The values given to ``flag``."""
    after = argv[argv.index(flag) + 1 :] if flag in argv else []
    return list(itertools.takewhile(lambda word: not word.startswith("-"), after))


def transfer(args: Args) -> int:
    """Plan, say what will be done, run what is not finished, write and print the report."""
    from benchmarks import report

    return execute(args, plan(args), args.out or Path("runs") / f"{args.suite}-{args.preset}", report.write)


def execute(args: Args, configs: list[RunConfig], out: Path, write: Callable[[Path], str]) -> int:
    """Bring all runs to their end, then ``write`` the report of the experiment directory and print what it returns.

    Of the processes of a torchrun all go through all runs, and the first does what is not training.
    """
    from agents.parallel.distributed import from_torchrun
    from agents.runs.build import resolve_device, validate
    from agents.runs.callback import Preempted
    from agents.runs.run_dir import as_json, open_experiment, run_id
    from benchmarks import report

    device = resolve_device(args.device)
    with from_torchrun(device) as ranks:
        configs = ranks.on_rank_zero(lambda: fitting(configs, validate(configs, ranks), args.repr))
        print(ranks.on_rank_zero(lambda: announce(configs, out, device)), flush=True)
        if args.dry_run:
            return 0
        ranks.on_rank_zero(lambda: open_experiment(out))
        started = time.perf_counter()
        for number, config in enumerate(configs, 1):
            name = run_id(as_json(config))
            try:
                fresh = finish_run(args, out, config, f"[{number}/{len(configs)}] {name}", ranks)
            except Preempted:
                print(f"stopped; all of {name} up to its last rollout is saved. The same command continues.")
                return 75
            if fresh:
                print(report.line(out / "runs" / name), flush=True)
        text = ranks.on_rank_zero(lambda: write(out))
        print(f"\n{text}\n\nreport: {out / 'report.html'}   table: {out / 'results.csv'}")
        print(f"{time.perf_counter() - started:.0f} s in all")
    return 0


def fitting(configs: list[RunConfig], refused: dict[str, str], named: tuple[str, ...] = ()) -> list[RunConfig]:
    """The runs that can be, after a line for every method that cannot; ``named`` are those the user asked for.

    Raises:
        UsageError: none is left but a baseline nobody asked for.
    """
    left = [config for config in configs if config.repr not in refused]
    if refused and not {config.repr for config in left} - ({BASELINE} - set(named)):
        raise UsageError("; ".join(refused.values()))
    for name, reason in refused.items():
        print(f"left out: {name} ({reason})")
    return left


def finish_run(args: Args, out: Path, config: RunConfig, title: str, ranks: Ranks) -> bool:
    """Bring one run to its end; False if it already was there."""
    from agents.runs.progress import Bar
    from agents.runs.run_dir import RunDir, as_json
    from agents.runs.trackers import open_tracker
    from agents.runs.train import train

    run = RunDir(out, as_json(config), ranks)
    try:
        if ranks.on_rank_zero(lambda: run.done):
            print(f"{title}: finished before")
            return False
        tracker = open_tracker(args.log if run.writes else "none", run.config, run.id, run.path)
        try:
            train(config, run, tracker, Bar(title), args.device, ranks)
        finally:
            tracker.finish()
    finally:
        run.close()
    return True


def plan(args: Args, presets: Mapping[str, Preset] = PRESETS) -> list[RunConfig]:
    """Every run of this command, checked before anything is written.

    Raises:
        UsageError: a value no run could work with.
    """
    preset = presets[args.preset]
    from agents.runs.build import parse_bonuses

    bonuses = parse_bonuses(args.bonus)
    if args.extrinsic == 0 and not bonuses:
        raise UsageError("--extrinsic 0 leaves nothing to learn from; add a --bonus")
    # A row is a representation with its bonuses; the baseline is one without.
    pairs = [(name, args.bonus) for name in args.repr] + ([(BASELINE, ())] if args.baseline else [])
    pairs = list(dict.fromkeys(pairs))
    names = list(dict.fromkeys(name for name, _ in pairs))
    for name in names:
        REPRESENTATIONS.check(name)
    seeds = args.seeds or preset.seeds
    for seed in seeds:
        if not 0 <= seed < 2**31:
            raise UsageError(f"--seeds {seed}: a seed is a whole number from 0 to 2147483647")
    for flag, value in (("--steps", args.steps), ("--num-envs", args.num_envs)):
        if value is not None and value < 1:
            raise UsageError(f"{flag} {value}: give a whole number of at least 1")
    changes = own_settings(args.set, {*names, *bonuses, args.algo})
    known = [task.env for task in build(args.suite)]
    for task_name in args.tasks:
        if task_name not in known:
            raise UsageError(f"--tasks {task_name}: suite '{args.suite}' has no such task; it has: {', '.join(known)}")
    levels = args.train_levels or (preset.train_levels,)
    return [
        configure(args, preset, task, name, seed, changes, bonus)
        for train_levels in dict.fromkeys(levels)
        for task in build(args.suite, train_levels)
        if not args.tasks or task.env in args.tasks
        for name, bonus in pairs
        for seed in dict.fromkeys(seeds)
    ]


def configure(
    args: Args,
    preset: Preset,
    task: Task,
    name: str,
    seed: int,
    changes: dict[str, dict[str, str]],
    bonus: tuple[str, ...] = (),
) -> RunConfig:
    """One run: the method's own defaults, what suits the task, the preset, and the user's changes, in this order."""
    from agents import ALGORITHMS
    from agents.runs.build import RunConfig, parse_bonuses
    from representations.base import check_mode

    cls, algorithm = REPRESENTATIONS.resolve(name), ALGORITHMS.resolve(args.algo)
    # The baseline that was added unasked follows its own mode; a method the user named is held to theirs.
    asked = args.mode if name in args.repr or args.mode in cls.modes else "auto"
    mode = check_mode(name, cls, asked)
    trunk = (
        {"trunk": task.trunk or preset.trunk} if any(f.name == "trunk" for f in dataclasses.fields(cls.Config)) else {}
    )
    settings = apply_settings(name, cls.Config, {**task.settings.get(name, {}), **trunk}, changes.get(name, {}))
    given = {**task.settings.get(args.algo, {}), **preset.algo.get(args.algo, {})}
    if bonus and args.extrinsic is not None:
        given["extrinsic"] = args.extrinsic
    kinds = {one: BONUSES.resolve(one) for one in parse_bonuses(bonus)}
    weights = {one: kinds[one].coefficient if w is None else w for one, w in parse_bonuses(bonus).items()}
    algo_settings = apply_settings(args.algo, algorithm.Config, given, changes.get(args.algo, {}))
    num_envs, steps = args.num_envs or preset.num_envs, args.steps or round(preset.steps * task.share)
    algorithm.Config(**algo_settings).check(num_envs)
    pretrained = cls.needs_pretraining and mode != "online"
    samples = round(preset.pretrain_samples * cls.pretrain_share) if pretrained else 0
    window = max(1, round(task.window * preset.window_share)) if task.window else 0
    return RunConfig(
        suite=args.suite,
        env=task.env,
        repr=name,
        repr_settings=settings,
        mode=mode,
        algo=args.algo,
        algo_settings=algo_settings,
        bonus=" ".join(f"{one}:{weight:g}" for one, weight in weights.items()) or "none",
        bonus_settings={
            one: apply_settings(one, kind.Config, task.settings.get(one, {}), changes.get(one, {}))
            for one, kind in kinds.items()
        },
        trunk=str(settings.get("trunk", "own")),
        train_levels=task.train_levels,
        pretrain_on=args.pretrain_on if pretrained else "none",
        pretrain_frames=preset.pretrain_frames if pretrained else 0,
        pretrain_samples=samples,
        seed=seed,
        steps=steps,
        num_envs=num_envs,
        precision=args.precision,
        overlap=args.overlap,
        compile=args.compile,
        eval_envs=preset.windows if window else preset.eval_envs,
        window=window,
        periodic_evals=preset.periodic_evals,
        periodic_envs=preset.periodic_windows if window else preset.periodic_envs,
        checkpoint_frames=preset.checkpoint_frames,
        preset=args.preset,
        normalise=task.normalise,
        splits=tuple(task.splits()),
    )


def announce(configs: list[RunConfig], out: Path, device: str) -> str:
    """What will be done, roughly how long it takes here, and where results go."""
    from benchmarks.experiment.estimate import estimate_seconds

    first = configs[0]
    rows = [
        f"  {config.repr} ({config.mode})"
        + f" with {config.bonus}" * (config.bonus != "none")
        + f", {config.env}, {config.train_levels} levels, seed {config.seed}: "
        + (f"pre-train on {config.pretrain_samples:,} samples, then " if config.pretrain_samples else "")
        + f"{config.steps:,} frames of {config.algo.upper()}"
        for config in configs
    ]
    played = f"the first episode of {first.eval_envs} environments"
    if first.window:
        played = f"{first.eval_envs} windows of {first.window:,} frames"
    pace = "for an unknown time on the GPU"
    if device == "cpu":
        pace = f"about {clock(sum(estimate_seconds(config) for config in configs))} on this machine"
    return "\n".join(
        [
            f"{len(configs)} run{'s' * (len(configs) > 1)}, suite {first.suite}, preset {first.preset}:",
            *rows,
            f"each then plays {played} on: {', '.join(first.splits)}",
            f"{pace} if none is finished yet; results in {out}",
        ]
    )


def clock(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )


if __name__ == "__main__":
    raise SystemExit(main())
