"""Configuration of a run, and the name that follows from what it does not leave at its default.

A new option of a run, an algorithm, a method or a bonus has a default, so it renames no run that was there before it.
``config.json`` keeps all values, the defaults among them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents import ALGORITHMS
from envs.level_sets import LevelRange, published_levels
from envs.registry import UsageError
from intrinsic import BONUSES
from representations import REPRESENTATIONS


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result. Fields with a default are part of its name only where they differ."""

    suite: str
    env: str
    """Task of the suite."""
    repr: str
    repr_settings: dict[str, Any]
    """All fields of the representation's Config."""
    mode: str
    algo: str
    algo_settings: dict[str, Any]
    """All fields of the algorithm's Config."""
    bonus: str
    """Bonuses as NAME:COEFFICIENT words, or "none"."""
    trunk: str
    train_levels: int
    pretrain_on: str
    pretrain_frames: int
    """Distinct frames of the unsupervised data, which fit the method and the scale of its features; 0 where neither is
    fitted (online, blind)."""
    pretrain_samples: int
    """Frames drawn from them in all, over all phases."""
    seed: int
    steps: int
    """Frames of training, of all environments."""
    num_envs: int
    precision: str
    eval_envs: int
    """Episodes, or windows, of the final evaluation of a split at least; each of its levels is played equally often."""
    window: int
    """Frames of an evaluation window, which runs on through the ends of episodes; 0: first episodes."""
    periodic_evals: int
    """Evaluations on training and validation levels during training."""
    periodic_envs: int
    """Episodes, or windows, of each of them at least."""
    checkpoint_frames: int
    preset: str
    normalise: tuple[float, float] | None
    splits: tuple[str, ...]
    bonus_settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """All fields of the Config of each bonus, by its name."""
    level_set: str = ""
    """Training levels as START+COUNT (``envs.level_sets``); "" stands for the published ones, 0+``train_levels``, or
    for an environment that names no levels."""
    greedy: bool = False
    """Also evaluate the likeliest actions, each level once."""
    kept_policies: int = 0
    """Fractions of training at whose end the policy is kept, to compare methods at equal source return; 0: none."""
    pretrain_data: str = "random"
    """Behaviour that gathers frames: held random actions; "mixed", half of them by a short PPO; "policy:DIR", all by
    the policy of a finished run of the same seed and training levels."""
    pretrain_levels: str = ""
    """Levels that frames, and the short PPO's training, come from, as START+COUNT; "" stands for the run's own."""
    data_policy: dict[str, Any] = field(default_factory=dict)
    """Settings of the short PPO, where one gathers frames or gives first weights: steps, num_envs, algo_settings,
    repr_settings; empty where a finished run is named."""
    start_from_policy: bool = False
    """Begin with the weights of the whole data policy: a run whose first steps were on the levels of pre-training."""
    compile: bool = False
    """Have torch compile the representation for the batch sizes of the run; it rounds differently."""
    last_step: bool = False
    """Show the policy its last action and the last reward."""
    continued: tuple[int, ...] = ()
    """Frames at which it was finished and evaluated before, and then trained on; each was a run of its own."""
    init_from: str = ""
    """Folder of the finished run, or a directory with one for each seed, whose policy's weights it begins with in place
    of pre-training, the scale of frozen features among them; "": none."""


def training_set(config: RunConfig) -> LevelRange:
    """The levels that the run trains on."""
    return LevelRange.parse(config.level_set) if config.level_set else published_levels(config.train_levels)


def trained_frames(config: RunConfig) -> int:
    """Frames that a run trains: those asked for, in whole rollouts."""
    return whole_rollouts(config.steps, config.num_envs, config.algo_settings)


def whole_rollouts(steps: int, num_envs: int, algo_settings: Mapping[str, Any]) -> int:
    """Frames of as many rollouts as ``steps`` frames begin."""
    rollout = int(algo_settings.get("n_steps", 1)) * num_envs
    return -(-steps // rollout) * rollout


def as_json(config: RunConfig) -> dict[str, Any]:
    """All values as JSON gives them back: tuples become lists."""
    values: dict[str, Any] = _json(dataclasses.asdict(config))
    return values


def from_json(values: Mapping[str, Any]) -> RunConfig:
    """The configuration that ``config.json`` holds. Options that are gone since are left out."""
    known = {field.name for field in dataclasses.fields(RunConfig)}
    # JSON has no tuples, and no field is a list
    kept: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name in known
    }
    return RunConfig(**kept)


def read_config(run: Path) -> RunConfig:
    """Configuration of a run's folder; UsageError where it cannot be read."""
    try:
        return from_json(json.loads((run / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{run / 'config.json'} cannot be read ({error}); name the folder of a whole run") from None


def run_id(config: RunConfig) -> str:
    """Name of a run: readable words, then a hash of everything that differs from the defaults."""
    digest = hashlib.sha256(json.dumps(named_values(config), sort_keys=True).encode()).hexdigest()[:10]
    bonuses = [short_name(name) for name in parse_bonuses(config.bonus.split())]
    words = (config.env, short_name(config.repr), config.mode, short_name(config.algo), *bonuses)
    return "-".join((*words, f"{config.train_levels}levels", f"s{config.seed}", digest))


def row_of(config: RunConfig) -> str:
    """Everything that names a run but its seed and the levels that follow from it, as text."""
    values = {name: value for name, value in named_values(config).items() if name not in ("seed", "level_set")}
    return json.dumps(values, sort_keys=True)


def named_values(config: RunConfig) -> dict[str, Any]:
    """Values that name a run: those of fields without a default, and those that differ from it."""
    values = changed_fields(RunConfig, as_json(config))
    for name, cls in (("repr", REPRESENTATIONS.resolve(config.repr)), ("algo", ALGORITHMS.resolve(config.algo))):
        values[f"{name}_settings"] = changed_fields(cls.Config, values[f"{name}_settings"])
    if settings := values.get("bonus_settings"):
        values["bonus_settings"] = {
            name: changed_fields(BONUSES.resolve(name).Config, own) for name, own in settings.items()
        }
    return values


def changed_fields(config_class: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` (as JSON gives them back) that are not the default of their field."""
    defaults: dict[str, Any] = {}
    for option in dataclasses.fields(config_class):
        if option.default is not dataclasses.MISSING:
            defaults[option.name] = _json(option.default)
        elif option.default_factory is not dataclasses.MISSING:
            defaults[option.name] = _json(option.default_factory())
    return {name: value for name, value in values.items() if name not in defaults or defaults[name] != value}


def differences(stored: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Option (dotted) -> (stored value, value now), where a run's directory holds another one.

    An option that only one side has is newer, or gone, and was at its default: the two have the same name.
    """
    then, now = flat_values(stored), flat_values(values)
    return {name: (then[name], now[name]) for name in then if name in now and then[name] != now[name]}


def short_name(name: str) -> str:
    """A registered name as it is; of "package.module:Class" the class in lower case."""
    return name.rpartition(":")[2].lower() if ":" in name else name


def parse_bonuses(words: Iterable[str]) -> dict[str, float | None]:
    """``["icm:0.01", "rnd"]`` -> ``{"icm": 0.01, "rnd": None}``; None stands for the bonus's own coefficient.

    Raises:
        UsageError: an unknown name, one named twice, or a coefficient below 0.
    """
    coefficients: dict[str, float | None] = {}
    for word in words:
        name, _, tail = word.rpartition(":")
        try:
            coefficient: float | None = float(tail)
        except ValueError:
            name, coefficient = word, None
        if word == "none":
            continue
        BONUSES.check(name or word)
        if name in coefficients:
            raise UsageError(f"--bonus {word}: '{name}' is named twice; give it one coefficient")
        if coefficient is not None and not 0 <= coefficient < math.inf:
            raise UsageError(f"--bonus {word}: give a coefficient of at least 0, as in --bonus {name}:0.1")
        coefficients[name] = coefficient
    return coefficients


def flat_values(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flat_values(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value))
