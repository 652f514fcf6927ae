"""GRID.toml: combinations, values as their options have them, and mistakes named with a cure."""

from pathlib import Path

import pytest

from benchmarks import explore, transfer
from benchmarks.sweeping.grid_file import read_grid, split
from envs.registry import UsageError

COMMANDS = {"transfer": transfer.Args, "explore": explore.Args}


def read(tmp_path, text):
    path = tmp_path / "GRID.toml"
    path.write_text(text)
    return read_grid(path, COMMANDS)


def test_lists_are_combined_and_single_values_shared(tmp_path):
    text = """
        out = "runs/gamma"
        repr = ["cnn", "darla"]
        seeds = [0, 7]
        set."ppo.gamma" = [0.99, 0.999]
        set.ppo.n_steps = 32
        set."cnn.hidden" = [[64, 32], [16]]
        steps = 200_000
        equal-budget = true
        memory = "none"
    """
    grid = read(tmp_path, text)
    assert (grid.command, grid.out, grid.threads) == ("transfer", Path("runs/gamma"), 1)
    assert grid.swept == ["repr", "seeds", "set.ppo.gamma", "set.cnn.hidden"]
    rows = grid.combinations()
    assert len(rows) == 16
    options, settings = split(rows[5])  # cnn, second seed, first gamma, second hidden
    assert options == {
        **{"repr": ("cnn",), "seeds": (7,), "steps": 200_000, "equal_budget": True, "memory": "none"},
    }
    assert settings == {"ppo.gamma": "0.99", "ppo.n_steps": "32", "cnn.hidden": "(16,)"}
    assert grid.words(rows[5]) == "repr=cnn seeds=7 ppo.gamma=0.99 cnn.hidden=(16,)"


def test_a_list_in_a_list_is_one_value(tmp_path):
    grid = read(tmp_path, 'out = "x"\nbonus = [[], "rnd:0.5", ["icm", "rnd"]]\ntrain_levels = [[10, 50]]\nthreads = 3')
    assert [row["bonus"] for row in grid.combinations()] == [(), ("rnd:0.5",), ("icm", "rnd")]
    assert grid.combinations()[0]["train_levels"] == (10, 50)
    assert grid.threads == 3


def test_explore_takes_its_own_options(tmp_path):
    grid = read(tmp_path, 'command = "explore"\nout = "x"\nrepr = ["cnn", "vae"]\nbonus = ["none", "icm+rnd:0.5"]')
    assert [row["repr"] for row in grid.combinations()] == ["cnn", "cnn", "vae", "vae"]
    assert grid.combinations()[1]["bonus"] == ("icm+rnd:0.5",)


def test_excluded_combinations_are_left_out(tmp_path):
    text = """
        out = "x"
        repr = ["cnn", "darla"]
        seeds = [0, 1, 2]
        set."ppo.gamma" = [0.9, 0.99]
        [[exclude]]
        repr = "cnn"
        seeds = [1, 2]
        [[exclude]]
        seeds = 0
        set."ppo.gamma" = 0.99
    """
    rows = read(tmp_path, text).combinations()
    kept = [(*row["repr"], *row["seeds"], row["set.ppo.gamma"]) for row in rows]
    darla = [("darla", 0, "0.9"), *[("darla", seed, gamma) for seed in (1, 2) for gamma in ("0.9", "0.99")]]
    assert kept == [("cnn", 0, "0.9"), *darla]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('rper = "cnn"', "key 'rper' is no option of benchmarks.transfer; did you mean 'repr'?"),
        ("colour = 1", "key 'colour' is no option of benchmarks.transfer; python -m benchmarks.transfer --help lists"),
        ('seeds = ["x"]', "seeds = 'x': 'x' is not a value of type int; python -m benchmarks.transfer --help says"),
        ("seeds = [0.5]", "seeds = 0.5: '0.5' is not a value of type int"),
        ('memory = "lstm"', "memory = 'lstm': 'lstm' is not a value of type Literal"),
        ("greedy = 1", "greedy = 1: '1' is not a value of type bool"),
        ("algo = 3", "algo = 3: give one word in quotes, or a list of them"),
        ("repr = [1]", "repr = 1: give one word in quotes"),
        ("steps = {a = 1}", "steps = {'a': 1}: give one value, or a list of them"),
        ("seeds = []", "seeds = []: give a value, or leave the key out"),
        ("seeds = [1, 2, 1]", "seeds = [1, 2, 1]: 1 is there twice; give each value once"),
        ('device = ["cpu", "cuda"]', "a grid has one device; give one value"),
        ("rerun = true", "rerun: runs of other code are told"),
        ("continue_to = 5", "continue_to: give --continue-to to the command itself"),
        ("threads = 0", "threads = 0: give a whole number of at least 1"),
        ('command = "probe"', "command = 'probe': give 'transfer' or 'explore'"),
        ("set.gamma = 1", 'set."gamma": write set."MODULE.FIELD"'),
        ("set = 1", 'set = 1: write set."MODULE.FIELD" = [VALUE, VALUE]'),
        ("exclude = 1", "exclude: write [[exclude]] on a line"),
        ("slurm = 1", "slurm = 1: write [slurm] on a line"),
        ("seeds = [0]\n[[exclude]]\nseeds = 1", "[[exclude]] seeds = 1: the grid has 0 there"),
        ("[[exclude]]\nseeds = 1", "[[exclude]] seeds = 1: the grid has nothing there"),
        ("seeds = [", "is not TOML: "),
    ],
)
def test_a_mistake_is_named_with_file_key_and_cure(tmp_path, line, words):
    with pytest.raises(UsageError) as refusal:
        read(tmp_path, f'out = "x"\n{line}')
    assert str(refusal.value).startswith(f"{tmp_path / 'GRID.toml'}")
    assert words in str(refusal.value)


def test_a_grid_of_nothing_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r'out = None: name the experiment directory, as in out = "runs/GRID"'):
        read(tmp_path, "seeds = 1")
    with pytest.raises(UsageError, match="leaves no combination"):
        read(tmp_path, 'out = "x"\nseeds = [1, 2]\n[[exclude]]\nseeds = [1, 2]').combinations()
    both = 'out = "x"\nseeds = [1, 2]\nrepr = ["cnn", "vae"]\n'
    with pytest.raises(UsageError, match="cannot be read"):
        read_grid(tmp_path / "nowhere.toml", COMMANDS)
    assert len(read(tmp_path, both).combinations()) == 4
