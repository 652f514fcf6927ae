"""Settings of an agent that its preset does not give it."""

from dataclasses import replace

import pytest

from agents.runs.config import as_json
from benchmarks.experiment.changed_settings import changed_settings
from benchmarks.experiment.plan import Row, plan_runs
from benchmarks.transfer import Args


def planned(**options):
    """Configuration of a run of the CNN, as config.json holds it."""
    return as_json(plan_runs(replace(Args(), seeds=(0,), **options), [Row("cnn")])[0])


@pytest.mark.parametrize("suite", ["coinrun", "breakout-visual", "rooms", "minigrid"])
@pytest.mark.parametrize("algo", ["ppo", "a2c"])
def test_a_presets_own_run_changes_nothing(suite, algo):
    assert changed_settings(planned(suite=suite, algo=algo, preset="quick", memory="gru")) == ()


def test_changes_are_named_as_they_are_set():
    config = planned(preset="quick", num_envs=32, set=("ppo.learning_rate=1e-9", "ppo.gamma=0.9", "ppo.epochs=3"))
    assert changed_settings(config) == ("ppo.gamma", "ppo.learning_rate", "num_envs")  # 3 epochs are the preset's


def test_a_setting_that_an_old_run_does_not_name_is_unchanged():
    config = planned(preset="quick", set=("ppo.gamma=0.9",))
    del config["algo_settings"]["timeout_is_terminal"], config["algo_settings"]["gamma"]
    assert changed_settings(config) == ()


def test_a_suite_that_is_not_at_hand_counts_as_changed():
    config = planned(preset="quick")
    assert changed_settings(config | {"suite": "of_another_project:SUITE"}) == ("suite or algorithm",)
    assert changed_settings(config | {"algo": "of_another_project:Agent"}) == ("suite or algorithm",)
