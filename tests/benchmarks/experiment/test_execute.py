"""What a command does beside training: which finished agents play which other seeds' levels."""

import json

import pytest

from agents.runs import crossed
from agents.runs.config import as_json, run_id
from benchmarks.experiment.execute import cross, finished_configs
from envs.level_sets import training_levels
from envs.registry import UsageError
from tests.agents.runs.tools import run_config


def of_seed(seed, **changes):
    return run_config(seed=seed, level_set=str(training_levels("counting", seed, 3)), **changes)


def store(out, *configs, done=True):
    for config in configs:
        run = out / "runs" / run_id(config)
        run.mkdir(parents=True)
        (run / "config.json").write_text(json.dumps(as_json(config)))
        if done:
            (run / "done").write_text("")


@pytest.fixture
def played(monkeypatch):
    """Seed of each agent -> seeds whose levels it was asked to play."""
    asked = {}

    def play(run, config, others):
        if config.seed == 9:
            raise UsageError("it has no checkpoint")
        assert run.name == run_id(config)
        asked[config.seed] = {other.seed for other in others}

    monkeypatch.setattr(crossed, "play_other_sets", play)
    return asked


def test_all_finished_seeds_of_a_row_are_crossed(tmp_path, played):
    first, second = [[of_seed(seed) for seed in seeds] for seeds in ((0, 1), (5, 3))]
    store(tmp_path, *first, *second)
    store(tmp_path, of_seed(2), done=False)
    store(tmp_path, of_seed(0, steps=1024), of_seed(6, algo="a2c"))  # other rows
    cross(second, tmp_path)
    assert played == {seed: {0, 1, 3, 5} for seed in (0, 1, 3, 5)}


def test_an_agent_that_cannot_be_read_back_is_named(tmp_path, played, capsys):
    store(tmp_path, *[of_seed(seed) for seed in (0, 9)])
    cross([of_seed(0)], tmp_path)
    assert set(played) == {0}
    assert f"{run_id(of_seed(9))} (it has no checkpoint)" in capsys.readouterr().out


def test_runs_of_other_versions_are_passed_over(tmp_path):
    store(tmp_path, of_seed(0), of_seed(1), of_seed(2), of_seed(3))
    damaged, renamed, gone = (tmp_path / "runs" / run_id(of_seed(seed)) / "config.json" for seed in (0, 1, 2))
    damaged.write_text("{")
    renamed.write_text(json.dumps({**as_json(of_seed(1)), "last_step": True}))
    gone.write_text(json.dumps({**as_json(of_seed(2)), "repr": "no_such_method"}))
    assert finished_configs(tmp_path) == [of_seed(3)]
