"""Labels of methods: the method alone where that is enough, else with the fewest settings that distinguish it.

A value that most rows of a method have is left out: of five rows that change one setting each, each names its own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.reporting.runs import Run

UNNAMED = "unnamed"
"""Kind of training levels of an environment that gives its levels no numbers."""
_SHARED_BY_LABEL = frozenset({"seed", "env", "train_levels", "level_set", "normalise", "splits"})
# The settings that a label names first, where one method was run in several ways.
_NAMED_FIRST = (
    *("suite", "start_from_policy", "mode", "algo", "bonus", "trunk", "level_set"),
    *("pretrain_on", "pretrain_levels", "pretrain_data", "preset", "steps"),
)


def labels_of(runs: Sequence[Run]) -> dict[str, str]:
    """Run id -> label."""
    settings = distinguishing_settings(runs)
    usual = {method: _usual(settings, runs, method) for method in {method_of(run) for run in runs}}
    labels: dict[str, str] = {}
    for run in runs:
        left_out = usual[method_of(run)]
        own = {name: value for name, value in settings[run.id].items() if (name, value) not in left_out}
        own.pop("continued", None)  # in words of its own
        words = [f"{name.rsplit('.', 1)[-1]}={_plain(name, value)}" for name, value in own.items()]
        if continued := run.config.get("continued"):
            words.append(f"continued from {continued[-1]:,}")
        labels[run.id] = f"{method_of(run)} ({', '.join(words)})" if words else method_of(run)
    return labels


def _usual(settings: dict[str, dict[str, str]], runs: Sequence[Run], method: str) -> set[tuple[str, str]]:
    """Settings that more than half of the rows of a method have; rows stay distinct without them."""
    rows = {tuple(settings[run.id].items()) for run in runs if method_of(run) == method}
    counts = Counter(setting for row in rows for setting in row)
    return {setting for setting, count in counts.items() if 2 * count > len(rows) > 1}


def target_split(splits: Sequence[str]) -> str:
    """The split of the primary outcome: unseen levels where there are any."""
    return "heldout" if "heldout" in splits else splits[min(1, len(splits) - 1)]


def method_of(run: Run) -> str:
    """The representation, and the bonuses added to its reward."""
    bonus = run.config.get("bonus", "none")
    return str(run.config["repr"]) if bonus == "none" else f"{run.config['repr']} + {bonus.replace(' ', ' + ')}"


def distinguishing_settings(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Run id -> as few settings (dotted name, JSON text) as distinguish it from the other runs of its method."""
    settings: dict[str, dict[str, str]] = {}
    for method in sorted({method_of(run) for run in runs}):
        flat_configs = {run.id: flat_settings(run.config) for run in runs if method_of(run) == method}
        names = sorted({name for flat in flat_configs.values() for name in flat})
        names.sort(key=lambda name: _NAMED_FIRST.index(name) if name in _NAMED_FIRST else len(_NAMED_FIRST))
        chosen: list[str] = []
        for name in names:
            if _distinct(flat_configs, [*chosen, name]) > _distinct(flat_configs, chosen):
                chosen.append(name)
        settings |= {run_id: {name: flat.get(name, "null") for name in chosen} for run_id, flat in flat_configs.items()}
    return settings


def protocol(config: dict[str, Any]) -> str:
    """Data that a row was pre-trained on, where they are not random frames of its training levels; "" where they are.

    Rows without pre-training belong to every protocol.
    """
    behaviour = str(config.get("pretrain_data", "random")).partition(":")[0]
    words = ["more levels"] * bool(config.get("pretrain_levels"))
    words += [f"frames of {behaviour} behaviour"] * (behaviour != "random")
    return ", ".join(words)


def training_set(config: dict[str, Any]) -> str:
    """A run's training levels as "START+COUNT"; a run that names none trained on the published ones, 0 to K - 1."""
    return str(config.get("level_set") or f"0+{config['train_levels']}")


def agent_of(config: dict[str, Any]) -> tuple[str, str, bool]:
    """Algorithm, memory of the policy, and whether it sees its last step: shared by rows that are compared."""
    memory = config.get("algo_settings", {}).get("memory", "none")
    return str(config["algo"]), str(memory), bool(config.get("last_step", False))


def frames_of(config: dict[str, Any]) -> int:
    """Frames of RL that a run trains: those asked for, in whole rollouts."""
    from agents.runs.config import whole_rollouts

    return whole_rollouts(config["steps"], config.get("num_envs", 1), config.get("algo_settings", {}))


def level_set_kind(config: dict[str, Any]) -> str:
    """Kind of a run's training levels: "published" (0 to K - 1), "drawn" for its seed, or ``UNNAMED``."""
    if config.get("level_set") == "" and config["train_levels"] == 1:  # a published set of one is written as 0+1
        return UNNAMED
    return "published" if training_set(config).startswith("0+") else "drawn"


def levels_in_words(config: dict[str, Any], kind: bool = False) -> str:
    """Number of a run's training levels, with their kind if asked for, as "20 drawn levels"."""
    if level_set_kind(config) == UNNAMED:
        return "no named levels"
    word = f" {level_set_kind(config)}" * kind
    return f"{config['train_levels']:,}{word} level{'s' * (config['train_levels'] != 1)}"


def flat_settings(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Leaves as JSON text, nested settings with dotted names; without what the seeds of one method do not share."""
    leaves: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            leaves |= flat_settings(value, f"{prefix}{name}.")
        elif prefix or name not in _SHARED_BY_LABEL:
            leaves[f"{prefix}{name}"] = json.dumps(value)
    if not prefix:
        leaves["level_set"] = json.dumps(level_set_kind(config))  # the levels themselves change with the seed
        if "steps" in config:
            leaves["steps"] = json.dumps(frames_of(config))
    return leaves


def _distinct(flat_configs: dict[str, dict[str, str]], names: Sequence[str]) -> int:
    return len({tuple(flat.get(name) for name in names) for flat in flat_configs.values()})


def _plain(name: str, json_text: str) -> str:
    if name == "steps" and json_text.isdecimal():
        return f"{int(json_text):,}"
    return "none" if json_text == "null" else json_text.strip('"')
