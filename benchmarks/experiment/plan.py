"""Runs of an experiment: every row of its table on every task, number of training levels and seed.

A row is a representation with its bonuses. ``plan_runs`` checks what the user asked for and gives one ``RunConfig`` a
run; nothing is built or written here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.cli import check_seeds
from benchmarks.experiment import tuned
from benchmarks.experiment.arguments import ExperimentArgs
from benchmarks.experiment.continued import check_init_from, with_continuations
from benchmarks.experiment.overrides import apply_settings, own_settings
from benchmarks.experiment.presets import BASELINE, CONTROL, PRESETS, Preset
from benchmarks.experiment.settings_file import read_settings
from envs.level_sets import PRETRAINING, LevelRange, published_levels, training_levels
from envs.registry import UsageError
from envs.suites import build, find_suite
from envs.tasks import Task, levels_of
from intrinsic import BONUSES
from representations import REPRESENTATIONS

if TYPE_CHECKING:
    from agents.runs.config import RunConfig
    from representations.base import Representation

Overrides = Mapping[str, Mapping[str, str]]
"""Module -> field -> text of its value, from ``--set``."""


@dataclass(frozen=True)
class Row:
    """One row of an experiment's table."""

    repr: str
    bonus: tuple[str, ...] = ()
    """NAME or NAME:COEFFICIENT each."""
    named: bool = True
    """True for a representation that the user named. One added for comparison falls back to its own mode where it lacks
    the mode asked for."""
    mode: str = ""
    """Mode of a control row; "" takes the command's."""
    start_from_policy: bool = False
    """Begin with the weights of the whole data policy."""
    settings: tuple[str, ...] = ()
    """FIELD=VALUE of its representation each, over the user's own."""
    init_from: str = ""
    """Finished run, or a directory with one for each seed, whose weights it begins with."""

    @property
    def takes_weights(self) -> bool:
        """True for a row whose first weights are the data policy's, or of its encoder."""
        return self.start_from_policy or self.repr == CONTROL


CONTROLS = (
    Row(CONTROL, named=False, mode="frozen"),
    Row(CONTROL, named=False, mode="finetune"),
    Row(BASELINE, named=False, mode="online", start_from_policy=True),
)
"""Rows that a method must beat where its frames are of other levels or of a policy: the encoder that this policy has
anyway, frozen; fine-tuned; and an agent that spent the same steps on those levels by RL."""
CONSTANT = "constant"
"""Bonus that measures nothing: what a bonus that counts first visits alone must beat."""
STANDARDISED = Row(BASELINE, named=False, settings=("standardise=True",))
"""The baseline with features standardised at its start, as frozen ones are; the better start is the reference."""


def plan_runs(args: ExperimentArgs, rows: Iterable[Row], presets: Mapping[str, Preset] = PRESETS) -> list[RunConfig]:
    """Every run of a command, in the order of tasks, rows, seeds.

    Raises:
        UsageError: a value no run could work with.
    """
    from agents import ALGORITHMS
    from agents.runs.config import parse_bonuses

    preset, rows = sized(presets[args.preset], args), list(rows)
    check_pretrain_data(args.pretrain_data)
    names = list(dict.fromkeys(row.repr for row in rows))
    bonuses = {name for row in rows for name in parse_bonuses(row.bonus)}
    if args.extrinsic == 0 and not bonuses:
        raise UsageError("--extrinsic 0 leaves nothing to learn from; add a --bonus")
    for name in names:
        REPRESENTATIONS.check(name)
    ALGORITHMS.check(args.algo)
    seeds = args.seeds or preset.seeds
    check_sizes(args, seeds)
    check_init_from(args, seeds)
    # Rows that take the data policy's weights have its network, which the settings of the baseline decide.
    of_policy = {BASELINE} if CONTROL in names or asks_for_other_data(args) else set()
    overrides = merged_settings(args, {*names, *bonuses, args.algo} | of_policy)
    if CONTROL in overrides:
        raise UsageError(
            f"--set {CONTROL}: it has the policy's own network; set that, as in --set {BASELINE}.trunk=impala"
        )
    known = [task.env for task in build(args.suite)]
    for task_name in args.tasks:
        if task_name not in known:
            raise UsageError(f"--tasks {task_name}: suite '{args.suite}' has no such task; it has: {', '.join(known)}")
    tasks = [
        task
        for train_levels in dict.fromkeys(args.train_levels or (default_levels(args.suite, preset),))
        for task in build(args.suite, train_levels)
        if not args.tasks or task.env in args.tasks
    ]

    def configured(rows: Iterable[Row], task: Task) -> list[RunConfig]:
        runs = [(row, seed) for row in rows for seed in dict.fromkeys(seeds)]
        return [configure(args, preset, task, row, seed, overrides) for row, seed in runs]

    configs = []
    for task in tasks:
        planned = configured(rows, task)
        configs += planned
        if any(needs_controls(config) for config in planned) and gives_controls(args, planned[0]):
            configs += configured(CONTROLS, task)
    # Rows whose words say the same, as "rnd" and "rnd:1", are one.
    return with_continuations(args, list({repr(config): config for config in configs}.values()))


def merged_settings(args: ExperimentArgs, modules: Collection[str]) -> dict[str, dict[str, str]]:
    """Settings of ``--set`` over those of ``--settings``."""
    settings = read_settings(args.settings, modules) if args.settings else {}
    for name, changes in own_settings(args.set, modules).items():
        settings[name] = {**settings.get(name, {}), **changes}
    return settings


def asks_for_other_data(args: ExperimentArgs) -> bool:
    """True for frames of other levels than the training levels, or of a policy."""
    return args.pretrain_levels == "more" or args.pretrain_data != "random"


def needs_controls(config: RunConfig) -> bool:
    """True for a method that is fitted to frames of other levels or of a policy; it must beat ``CONTROLS``."""
    other_data = config.pretrain_data != "random" or config.pretrain_levels
    return bool(config.pretrain_frames and other_data) and config.repr not in (BASELINE, CONTROL)


def gives_controls(args: ExperimentArgs, like: RunConfig) -> bool:
    """True where the data policy's weights fit an agent like that of ``like``: always those of a short PPO.

    A finished run's do where it is a ``cnn`` of this memory and these inputs, without bonuses, which may add heads.
    """
    named = named_policy(args)
    if named is None:
        return True
    same_memory = memory_of(named.algo_settings) == memory_of(like.algo_settings)
    same_agent = same_memory and named.last_step == like.last_step
    return named.repr == BASELINE and named.bonus == "none" and same_agent


def memory_of(algo_settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings that size a policy's memory, as ``--set`` writes them; empty without memory."""
    if algo_settings.get("memory", "none") == "none":
        return {}
    return {name: str(algo_settings[name]) for name in ("memory", "memory_size")}


def named_policy(args: ExperimentArgs) -> RunConfig | None:
    """Configuration of the finished run whose policy gathers frames; None for a short PPO, and where none is there.

    Of a directory with a run for each seed that of the first, as they differ in their seed alone.
    """
    from agents.runs.bundles.opening import opened
    from agents.runs.config import read_config
    from agents.runs.data_policy import RUN_PREFIX

    path = opened(args.pretrain_data.removeprefix(RUN_PREFIX))
    folders = [path, *(done.parent for done in sorted(path.glob("runs/*/done")))]
    runs = [folder for folder in folders if (folder / "config.json").exists()]
    return read_config(runs[0]) if runs and args.pretrain_data.startswith(RUN_PREFIX) else None


def check_pretrain_data(data: str) -> None:
    """UsageError for a behaviour that is not known."""
    kind, _, run = data.partition(":")
    if data not in ("random", "mixed") and not (kind == "policy" and run):
        raise UsageError(f"--pretrain-data {data}: give random, mixed, or policy:DIR with a finished run's folder")


def sized(preset: Preset, args: ExperimentArgs) -> Preset:
    """The preset with the command's part of each method's pre-training; UsageError for none of it."""
    if args.pretrain_share is None:
        return preset
    if not args.pretrain_share > 0:
        raise UsageError(f"--pretrain-share {args.pretrain_share:g}: give a part above 0; 1 is what each method needs")
    return dataclasses.replace(preset, pretrain_share=args.pretrain_share)


def check_sizes(args: ExperimentArgs, seeds: Sequence[int]) -> None:
    """UsageError for a seed or a size out of range."""
    check_seeds(seeds)
    for flag, value in (("--steps", args.steps), ("--num-envs", args.num_envs)):
        if value is not None and value < 1:
            raise UsageError(f"{flag} {value}: give a whole number of at least 1")


def configure(args: ExperimentArgs, preset: Preset, task: Task, row: Row, seed: int, overrides: Overrides) -> RunConfig:
    """One run: the method's own defaults, what suits the task, the preset, and the user's overrides, in this order."""
    from agents.runs.config import RunConfig
    from representations.base import check_mode
    from representations.standardise import FRAMES

    cls = REPRESENTATIONS.resolve(row.repr)
    wanted = row.mode or args.mode
    mode = check_mode(row.repr, cls, wanted if row.named or wanted in cls.modes else "auto")
    own = {**overrides.get(row.repr, {}), **dict(word.split("=", 1) for word in row.settings)}
    settings = representation_settings(task, preset, row.repr, {row.repr: own})
    if row.takes_weights:
        settings = data_policy_network(args, preset, task, overrides)
    bonus, bonus_settings = chosen_bonuses(task, row, overrides)
    num_envs, steps = args.num_envs or preset.num_envs, args.steps or round(preset.steps * task.share)
    algo_settings = algorithm_settings(args, preset, task, row, num_envs, overrides)
    pretrained = cls.needs_pretraining and mode != "online" and not row.init_from
    frames = preset.pretrain_frames if pretrained else min(preset.pretrain_frames, FRAMES)  # the latter for their scale
    scaled = mode != "online" or cls.scaled_online(cls.Config(**settings))
    frames = frames if scaled and cls.sees else 0
    from_policy = cls.starts_from_policy or row.start_from_policy
    data_policy, data = {}, args.pretrain_data if frames or from_policy else "random"
    if (data == "mixed" or from_policy) and not data.startswith("policy:"):
        data_policy = data_policy_settings(args, preset, task, overrides, memory_of(algo_settings))
    other_levels = args.pretrain_levels == "more" and (frames or from_policy)
    window = max(1, round(task.window * preset.window_share)) if task.window else 0
    return RunConfig(
        suite=args.suite,
        env=task.env,
        repr=row.repr,
        repr_settings=settings,
        mode=mode,
        algo=args.algo,
        algo_settings=algo_settings,
        bonus=bonus,
        bonus_settings=bonus_settings,
        trunk=str(settings.get("trunk", "own")),
        train_levels=task.train_levels,
        level_set=level_set(args, preset, task, seed),
        pretrain_on=args.pretrain_on if frames else "none",
        pretrain_frames=frames,
        pretrain_samples=pretraining_samples(cls, cls.Config(**settings), preset) if pretrained else 0,
        init_from=row.init_from,
        pretrain_data=data,
        pretrain_levels=str(LevelRange(PRETRAINING.start, find_suite(args.suite).pretrain_levels))
        if other_levels
        else "",
        data_policy=data_policy,
        start_from_policy=row.start_from_policy,
        seed=seed,
        steps=steps,
        num_envs=num_envs,
        precision=args.precision,
        compile=args.compile,
        last_step=args.last_step,
        eval_envs=preset.windows if window else preset.eval_envs,
        window=window,
        periodic_evals=preset.periodic_evals,
        periodic_envs=preset.periodic_windows if window else preset.periodic_envs,
        kept_policies=preset.kept_policies if task.normalise else 0,  # without constants no return is there to match
        greedy=args.greedy,
        checkpoint_frames=preset.checkpoint_frames,
        preset=args.preset,
        normalise=task.normalise,
        splits=tuple(task.splits()),
    )


def pretraining_samples(cls: type[Representation], settings: Any, preset: Preset) -> int:
    """Samples that pre-training draws in all: each frame once where a method is solved at once."""
    return preset.pretrain_frames if cls.closed_form else round(preset.pretrain_share * cls.needed_samples(settings))


def data_policy_settings(
    args: ExperimentArgs, preset: Preset, task: Task, overrides: Overrides, memory: Mapping[str, str]
) -> dict[str, Any]:
    """Settings of the short PPO that gathers frames: the same for all rows, and of their memory."""
    ppo = dataclasses.replace(args, algo="ppo")
    return {
        "steps": preset.data_policy_steps,
        "num_envs": preset.num_envs,
        "algo_settings": algorithm_settings(ppo, preset, task, Row(BASELINE), preset.num_envs, {"ppo": memory}),
        "repr_settings": data_policy_network(args, preset, task, overrides),
    }


def data_policy_network(args: ExperimentArgs, preset: Preset, task: Task, overrides: Overrides) -> dict[str, Any]:
    """Representation settings of the data policy, and of every row that takes its weights.

    Those of the baseline in this command, never standardised, as the rows that take the weights of a short PPO fit a
    scale of their own or none; of a finished run its own.

    Raises:
        UsageError: a finished run of another representation is named.
    """
    named = named_policy(args)
    if named is None:
        own = {**overrides.get(BASELINE, {}), "standardise": "False"}
        return representation_settings(task, preset, BASELINE, {BASELINE: own})
    if named.repr != BASELINE:
        raise UsageError(f"--repr {CONTROL} takes the encoder of a {BASELINE}; {args.pretrain_data} is {named.repr}")
    return named.repr_settings


def default_levels(suite: str, preset: Preset) -> int | None:
    """Number of training levels where the command names none; None takes the suite's own."""
    return None if find_suite(suite).fixed_levels else preset.train_levels


def level_set(args: ExperimentArgs, preset: Preset, task: Task, seed: int) -> str:
    """Training levels of a task under a seed, START+COUNT, the same for every method; "" where it names no levels."""
    choice = args.level_sets
    if levels_of(task.source) is None:
        return ""
    if choice == "published" or (choice == "auto" and preset.published_levels):
        return str(published_levels(task.train_levels))
    return str(training_levels(task.env, seed, task.train_levels))


def counts_first_visits(configs: Iterable[RunConfig]) -> bool:
    """True where a bonus of these runs is given once an episode for each state: a bonus of 1 may do as well."""
    return any(config.bonus != "none" and config.algo_settings.get("bonus_once") for config in configs)


def representation_settings(task: Task, preset: Preset, name: str, overrides: Overrides) -> dict[str, Any]:
    """All fields of a representation's Config."""
    config = REPRESENTATIONS.resolve(name).Config
    fields = {field.name for field in dataclasses.fields(config)}
    trunk = {"trunk": preset.trunk} if "trunk" in fields else {}
    sized = preset.representation_settings(name, fields)
    settings = {**trunk, **sized, **tuned.representation_settings(task.kind, name, config)}
    return apply_settings(name, config, settings, overrides.get(name, {}))


def algorithm_settings(
    args: ExperimentArgs, preset: Preset, task: Task, row: Row, num_envs: int, overrides: Overrides
) -> dict[str, Any]:
    """All fields of the algorithm's Config. UsageError for what cannot work with ``num_envs`` environments."""
    from agents import ALGORITHMS

    config = ALGORITHMS.resolve(args.algo).Config
    fields = {field.name for field in dataclasses.fields(config)}
    suited = tuned.algorithm_settings(task.kind, args.algo, config)
    settings = {**suited, **preset.algorithm_settings(args.algo, fields)}
    if row.bonus and args.extrinsic is not None:
        settings["extrinsic"] = args.extrinsic
    if args.memory != "none":
        settings["memory"] = args.memory
    values = apply_settings(args.algo, config, settings, overrides.get(args.algo, {}))
    config(**values).check(num_envs)
    return values


def chosen_bonuses(task: Task, row: Row, overrides: Overrides) -> tuple[str, dict[str, dict[str, Any]]]:
    """Bonuses as NAME:COEFFICIENT words ("none" without any), and all fields of each one's Config."""
    from agents.runs.config import parse_bonuses

    words, settings = [], {}
    for name, coefficient in parse_bonuses(row.bonus).items():
        cls = BONUSES.resolve(name)
        words.append(f"{name}:{cls.coefficient if coefficient is None else coefficient:g}")
        suited = tuned.bonus_settings(task.kind, name, cls.Config)
        settings[name] = apply_settings(name, cls.Config, suited, overrides.get(name, {}))
    return " ".join(words) or "none", settings
