"""Searches: every method is tried equally often, resumed, scored on validation levels; the best becomes a file."""

import json

import pytest

optuna = pytest.importorskip("optuna")

from optuna.storages.journal import JournalFileBackend  # noqa: E402

from agents.runs.validate import PartsStore  # noqa: E402
from benchmarks import sweep, transfer  # noqa: E402
from benchmarks.sweeping import run as run_module  # noqa: E402
from benchmarks.sweeping import search as search_module  # noqa: E402
from benchmarks.sweeping.grid_file import read_grid  # noqa: E402
from benchmarks.sweeping.loop import Stopped  # noqa: E402
from benchmarks.sweeping.methods import methods_of, score_of  # noqa: E402
from benchmarks.sweeping.worker import run_cell  # noqa: E402
from envs.registry import UsageError  # noqa: E402
from envs.tasks import HELDOUT, World  # noqa: E402

GRID = """
suite = "counting"
preset = "smoke"
repr = ["pca"]
seeds = [3, 8]
steps = 256
num_envs = 4
set."ppo.n_steps" = 32
[search]
trials = 4
"ppo.learning_rate" = { low = 1e-4, high = 1e-2, log = true }
"pca.components" = [4, 16, 64]
"""


@pytest.fixture
def grid_file(tmp_path):
    path = tmp_path / "GRID.toml"
    path.write_text(f'out = "{tmp_path / "out"}"\n{GRID}')
    return path


@pytest.fixture
def scored(monkeypatch):
    """Cells that are not trained: a trial's score is its learning rate times 1,000, twice that of the baseline."""
    rounds = []

    def bring_to_end(cells, place, final):
        rounds.append([(cell.config.repr, cell.config.seed, rate(cell)) for cell in cells])

    def rate(cell):
        return cell.config.algo_settings["learning_rate"]

    monkeypatch.setattr(run_module, "bring_to_end", bring_to_end)
    monkeypatch.setattr(search_module, "score_of", lambda cells: 1000 * rate(cells[0]))
    return rounds


def methods(path):
    grid = read_grid(path, {"transfer": transfer.Args})
    return methods_of(grid, transfer.Args, transfer.plan, "sweep")


def test_the_baseline_is_searched_as_often_with_what_it_has(grid_file):
    found_methods = methods(grid_file)
    assert [(method.name, list(method.ranges), method.trials) for method in found_methods] == [
        ("pca", ["ppo.learning_rate", "pca.components"], 4),
        ("cnn", ["ppo.learning_rate"], 4),
    ]
    assert found_methods[1].defaults(PartsStore()) == {"ppo.learning_rate": 5e-4}


def test_trials_differ_from_runs_in_what_they_are_evaluated_on(grid_file):
    method, _ = methods(grid_file)
    cells = method.cells(2, {"ppo.learning_rate": 3e-4, "pca.components": 16}, PartsStore())
    assert [cell.label for cell in cells] == ["pca, seed 3, trial 2", "pca, seed 8, trial 2"]
    for cell in cells:
        assert (cell.config.splits, cell.config.kept_policies) == (("train",), 0)
        assert cell.config.algo_settings["learning_rate"] == 3e-4
        assert cell.config.repr_settings["components"] == 16
        assert cell.folder.parts[-4:-1] == ("out", "search", "runs")


def test_the_best_settings_become_a_file_that_transfer_takes(grid_file, scored, capsys, tmp_path):
    assert sweep.main([str(grid_file), "--search", "optuna"]) == 0
    assert [len(cells) for cells in scored] == [4, 4, 4, 4]  # a trial of two seeds of both methods a round
    assert scored[0][2] == ("cnn", 3, 5e-4)  # the first one is of the settings that it has anyway
    journal = JournalFileBackend(str(tmp_path / "out" / "search" / "trials.log"))
    study = optuna.load_study(study_name="pca", storage=optuna.storages.JournalStorage(journal))
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    rates = {name: [r[i][2] for r in scored] for name, i in (("pca", 0), ("cnn", 2))}
    text = capsys.readouterr().out
    for name, own in rates.items():
        assert len(set(own)) == 4
        file = tmp_path / "out" / f"best-{name}.toml"
        assert f"{name}: validation return {1000 * max(own):.4g}, best of 4: {file}" in text
        args = transfer.Args(repr=(name,), suite="counting", preset="smoke", baseline=False, settings=file)
        (config,) = transfer.plan(args)
        assert config.algo_settings["learning_rate"] == max(own)
    assert f"--repr cnn --no-baseline --settings {tmp_path / 'out' / 'best-cnn.toml'}" in text


def test_a_stopped_search_goes_on_as_one_that_was_not(grid_file, scored, monkeypatch, tmp_path):
    assert sweep.main([str(grid_file), "--search", "optuna"]) == 0
    whole = list(scored)
    scored.clear()
    grid_file.write_text(grid_file.read_text().replace(str(tmp_path / "out"), str(tmp_path / "again")))
    go_on = run_module.bring_to_end

    def stop(cells, place, final):
        go_on(cells, place, final)
        if len(scored) == 2:
            raise Stopped

    monkeypatch.setattr(run_module, "bring_to_end", stop)
    assert sweep.main([str(grid_file), "--search", "optuna"]) == 75
    monkeypatch.setattr(run_module, "bring_to_end", go_on)
    assert sweep.main([str(grid_file), "--search", "optuna"]) == 0
    assert scored == [*whole[:2], *whole[1:]]  # the round that was stopped comes again
    scored.clear()
    assert sweep.main([str(grid_file), "--search", "optuna"]) == 0
    assert scored == []


def test_a_trial_never_makes_held_out_levels(grid_file, monkeypatch):
    method, _ = methods(grid_file)
    cell, other = method.cells(0, {}, PartsStore())
    made, make = [], World.make

    def recorded(world, *arguments, **options):
        made.append(dict(world.options))
        return make(world, *arguments, **options)

    monkeypatch.setattr(World, "make", recorded)
    cell.out.mkdir(parents=True)
    assert run_cell(cell) == 0
    held_out = HELDOUT.items()
    assert made
    assert not [options for options in made if held_out <= options.items()]
    source = json.loads((cell.folder / "source.json").read_text())
    assert "held_out_read_at" not in source
    assert source["command"] == "sweep"
    assert {line.split(",")[0] for line in (cell.folder / "eval.csv").read_text().splitlines()[1:]} == {"train"}
    assert score_of([cell]) == source["final_validation"]["return"]
    assert score_of([cell, other]) is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("steps = 256", "steps = [256, 512]", "steps has several values; beside --search give it one"),
        ('"ppo.n_steps" = 32', '"ppo.n_steps" = [32, 64]', "ppo.n_steps has several values"),
        (
            '"pca.components"',
            '"vae.beta"',
            '"vae.beta": no representation of the grid has that module; they are pca, cnn',
        ),
        ('repr = ["pca"]', 'command = "explore"', 'command = "explore": --search takes runs of "transfer"'),
    ],
)
def test_what_cannot_be_searched_is_refused(grid_file, old, new, words):
    grid_file.write_text(grid_file.read_text().replace(old, new))
    grid = read_grid(grid_file, {"transfer": transfer.Args, "explore": __import__("benchmarks.explore").explore.Args})
    with pytest.raises(UsageError) as refusal:
        methods_of(grid, transfer.Args, transfer.plan, "")
    assert words in str(refusal.value)
