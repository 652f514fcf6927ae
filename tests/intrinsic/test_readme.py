"""README of the bonuses: its example runs, its table lists the registry."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from agents.runs.config import parse_bonuses
from intrinsic import BONUSES
from tests.intrinsic.tools import build, make_steps, random_obs, spec

README = (Path(__file__).parents[2] / "intrinsic" / "README.md").read_text()


def test_the_example_of_a_bonus_learns(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "own_bonus.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert parse_bonuses(["own_bonus:Surprise", "rnd:0.1"]) == {"own_bonus:Surprise": None, "rnd": 0.1}
    bonus = build(BONUSES.resolve("own_bonus:Surprise"), spec("symbols"), learning_rate=1e-2)
    steps = make_steps(random_obs(5, 3, "symbols"), random_obs(5, 3, "symbols", 1))
    first = bonus.compute(steps)
    losses = [bonus.update(steps, torch.Generator().manual_seed(seed))["loss"] for seed in range(30)]
    assert first.shape == (5, 3)
    assert losses[-1] < losses[0] / 2


def test_the_table_lists_every_bonus_and_its_file():
    rows = re.findall(r"^\| `(\w+)` \|.*\| \[(\w+\.py)\]\((\w+\.py)\) \|$", README, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(BONUSES)
    for name, shown, link in rows:
        assert shown == link == f"{BONUSES.resolve(name).__module__.removeprefix('intrinsic.')}.py"
