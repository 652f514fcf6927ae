"""Cells of a grid: each run once, settings where their module is, labels, and refusals with the combination."""

import pytest

from agents.runs.config import run_id
from agents.runs.validate import PartsStore
from benchmarks import explore, transfer
from benchmarks.sweeping.cells import cells_of
from benchmarks.sweeping.grid_file import read_grid
from envs.registry import UsageError

COMMANDS = {"transfer": transfer, "explore": explore}
HEAD = 'suite = "counting"\npreset = "smoke"\nout = "{out}"\n'


def cells(tmp_path, text, store=None):
    path = tmp_path / "GRID.toml"
    path.write_text(HEAD.format(out=tmp_path / "out") + text)
    grid = read_grid(path, {name: module.Args for name, module in COMMANDS.items()})
    module = COMMANDS[grid.command]
    return cells_of(grid, module.Args, module.plan, "python -m benchmarks.sweep GRID.toml", store or PartsStore())


def test_cells_are_the_runs_that_the_command_makes(tmp_path):
    got = cells(tmp_path, 'repr = ["cnn", "random"]\nseeds = [3, 5]\nset."ppo.gamma" = 0.5\nthreads = 2')
    args = transfer.Args(
        repr=("cnn", "random"),
        seeds=(3, 5),
        set=("ppo.gamma=0.5",),
        suite="counting",
        preset="smoke",
        baseline=False,
    )
    assert [cell.name for cell in got] == [run_id(config) for config in transfer.plan(args)]
    assert [cell.label for cell in got] == ["cnn, seed 3", "cnn, seed 5", "random, seed 3", "random, seed 5"]
    assert {(cell.threads, cell.out, cell.command) for cell in got} == {
        (2, tmp_path / "out", "python -m benchmarks.sweep GRID.toml")
    }
    assert got[1].folder == tmp_path / "out" / "runs" / got[1].name


def test_a_run_of_several_combinations_is_one_cell(tmp_path):
    text = 'repr = ["random", "pca"]\nbaseline = true\nset."pca.components" = [4, 6]'
    got = cells(tmp_path, text)
    assert [cell.label for cell in got] == ["random", "cnn", "pca (components=4)", "pca (components=6)"]
    assert [cell.config.repr_settings.get("components") for cell in got] == [None, None, 4, 6]


def test_the_baseline_comes_only_where_it_is_asked_for(tmp_path):
    assert [cell.config.repr for cell in cells(tmp_path, 'repr = "random"')] == ["random"]
    with pytest.raises(UsageError, match="equal_budget adds rows of the baseline; write baseline = true beside it"):
        cells(tmp_path, 'repr = "pca"\nequal_budget = true')
    got = cells(tmp_path, 'repr = "pca"\nequal_budget = true\nbaseline = true')
    assert [cell.config.repr for cell in got] == ["pca", "cnn", "cnn"]


def test_cells_of_explore(tmp_path):
    got = cells(tmp_path, 'command = "explore"\nbonus = ["none", "rnd:0.5"]\nset."rnd.width" = [8, 16]')
    assert (got[0].config.bonus, got[0].config.bonus_settings) == ("none", {})
    assert [cell.config.bonus_settings["rnd"]["width"] for cell in got[1:]] == [8, 16]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('repr = ["cnn", "cnm"]', "GRID.toml (repr=cnm): unknown representation 'cnm'"),
        ('seeds = [0, -1]\nrepr = "cnn"', "GRID.toml (seeds=-1): --seeds -1"),
        (
            'repr = "cnn"\nset."vae.beta" = 1',
            """set."vae.beta": no combination has a module 'vae'; they have cnn, ppo""",
        ),
        ('repr = "cnn"\nset."ppo.gama" = 0.9', "--set ppo.gama: no such field; did you mean 'gamma'?"),
        ("repr = [[]]", "repr = []: name a representation"),
    ],
)
def test_a_combination_that_could_not_run_is_named(tmp_path, text, words):
    with pytest.raises(UsageError) as refusal:
        cells(tmp_path, text)
    assert words in str(refusal.value)
