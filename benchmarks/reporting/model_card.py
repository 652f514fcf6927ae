"""Cards of shared agents: what one is, its figures with intervals, how it was made, and how to load it."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.reporting.cells import Cell
from benchmarks.reporting.labels import frames_of, levels_in_words
from benchmarks.reporting.layout import count, interval, pipes

LICENCE = "mit"
TOOLKIT = "rl-transfer-toolkit"


def model_card(cell: Cell, place: str, picture: str) -> str:
    """README.md of a bundle, with the hub's metadata at its top.

    Args:
        place: address of the bundle, for the lines that load it.
        picture: its file; "" where there is none.
    """
    config, runs = cell.config, cell.runs
    parts = [
        _metadata(cell),
        f"# {_plain(cell.label)} on {_plain(cell.env)}",
        _description(cell),
        f"![First frames of each split]({picture})" if picture else "",
        "## Figures",
        _figures(cell),
        "## Use",
        _use(cell, place),
        "## Origin",
        pipes((["run", "seed", "commit", "command"], [_origin_row(run) for run in runs])),
        f"Settings: `runs/<id>/config.json`; episodes: `runs/<id>/eval.csv`. Made with {TOOLKIT}, whose licence (MIT) "
        f"holds for these weights; the environment `{_plain(config['suite'])}` has its own.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _metadata(cell: Cell) -> str:
    """YAML of the hub; JSON values are YAML, too, so that no name can break out of its line."""
    config = cell.config
    names = [config["suite"], config["repr"], config["algo"]]
    tags = ["reinforcement-learning", "generalization", *dict.fromkeys(str(name) for name in names)]
    results = [
        {
            "task": {"type": "reinforcement-learning"},
            "dataset": {"name": f"{cell.env}, {split}", "type": str(config["suite"])},
            "metrics": [{"type": "mean_return", "name": "mean return", "value": round(value.estimate, 4)}],
        }
        for split, value in cell.returns.items()
    ]
    index = [{"name": f"{cell.label} on {cell.env}", "results": results}]
    lines = {"license": LICENCE, "library_name": TOOLKIT, "tags": tags, "model-index": index}
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in lines.items()), "---"])


def _description(cell: Cell) -> str:
    config, number = cell.config, len(cell.runs)
    agents = "An agent" if number == 1 else f"{number} agents, one a seed,"
    bonus = "" if config.get("bonus", "none") == "none" else f" and the bonus `{_plain(config['bonus'])}`"
    levels = levels_in_words(config, kind=True)
    pretrained = f", after {count(config['pretrain_frames'])} frames of pre-training" * bool(config["pretrain_frames"])
    return (
        f"{agents} trained by `{_plain(config['algo'])}` with the representation `{_plain(config['repr'])}` "
        f"({_plain(config['mode'])}){bonus} on {levels} of `{_plain(cell.env)}`, for "
        f"{frames_of(config):,} frames{pretrained}, and evaluated without further learning on levels and variants that "
        "it has not seen."
    )


def _figures(cell: Cell) -> str:
    """Table of returns and gaps; with one seed the intervals speak of this agent alone, and it says so."""
    header = ["split", "return [95%]", "gap [95%]"]
    rows = [[_plain(split), interval(value), interval(cell.gaps.get(split))] for split, value in cell.returns.items()]
    speaks = {value.speaks_of for value in cell.returns.values()}
    words = f"Intervals speak of {' and of '.join(sorted(speaks))}. Actions are sampled; a gap is the return on the "
    words += "training levels minus that on the split."
    marks = ["A run fell: its last validation return is far below its best."] * bool(cell.fallen)
    marks += ["A run was trained on after its held-out levels had been read."] * bool(cell.continued)
    return "\n\n".join([pipes((header, rows)), " ".join([words, *marks])])


def _use(cell: Cell, place: str) -> str:
    inside = "" if len(cell.runs) == 1 else f"/runs/{cell.runs[0].id}"
    split = next((name for name in cell.splits if name != "train"), "train")
    lines = [
        "```python",
        "from agents.runs.load import load_agent",
        f"agent = load_agent({json.dumps(place + inside)})",
        f"env = agent.make_env(1, {json.dumps(split)})",
        "```",
        "",
        f"`agent.predict(obs)` is stable-baselines3's. `python -m benchmarks.evaluate {place}` plays it again.",
    ]
    return "\n".join(lines)


def _origin_row(run: Any) -> list[str]:
    command = str(run.source.get("command", ""))
    return [_plain(run.id), str(run.config["seed"]), _plain(run.commits), f"`{_plain(command)}`"]


def _plain(text: object) -> str:
    """A name as Markdown text: in one line, without what would begin markup, a table's column or HTML."""
    return "".join(" " if letter in "\r\n|`<>[]" else letter for letter in str(text))
