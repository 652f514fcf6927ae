"""The example of the folder's README runs as shown, and its table has a row for each method."""

from __future__ import annotations

import torch

from envs.steps import Steps
from representations import REPRESENTATIONS
from representations.base import check_mode
from representations.pretrain import Pretrainer
from tests.readme import README, own_representation
from tests.representations.toys import image_spec, moving_square


def test_the_example_is_a_representation_that_learns(tmp_path, monkeypatch, generator):
    package = tmp_path / "mypkg"
    package.mkdir()
    (package / "mine.py").write_text(own_representation())
    monkeypatch.syspath_prepend(str(tmp_path))
    cls = REPRESENTATIONS.resolve("mypkg.mine:Mine")
    images, _ = moving_square(size=40, side=12, positions=6)
    mine = cls(image_spec((1, 40, 40)))
    assert check_mode("mypkg.mine:Mine", cls, "auto") == "frozen"

    def error() -> float:
        with torch.no_grad():
            return float(mine.loss(Steps.frames({"image": images}), lambda f, obs: (f, f), generator)[0])

    before = error()
    trainer = Pretrainer(mine, {"image": images}, 60 * 32, generator=generator, batch_size=32)
    metrics = trainer.run(trainer.total)
    assert set(metrics) == {"pretrain/fit/loss", "pretrain/fit/reconstruction"}
    assert error() < 0.6 * before


def test_the_table_has_a_row_for_each_method_with_its_modes():
    table = README.read_text().split("| `--repr` |", 1)[1].split("\n\n", 1)[0]
    rows = {row.split("`")[1]: row for row in table.splitlines() if row.startswith("| `")}
    assert list(rows) == list(REPRESENTATIONS.places)
    for name, row in rows.items():
        cls = REPRESENTATIONS.resolve(name)
        modes = [cls.default_mode, *(mode for mode in cls.modes if mode != cls.default_mode)]
        assert f"| {', '.join(modes)} |" in row
        assert f"`{cls.__module__.rpartition('.')[2]}.py`" in row
