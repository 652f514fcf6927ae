"""Final figures by hand, and names of rows that hold all that differs but the seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.reporting.episodes import Returns
from benchmarks.reporting.runs import Run
from benchmarks.tracking.figures import final_figures, run_facts
from tests.agents.runs.tools import run_config


def returns(values, levels):
    """Episodes on levels, in order."""
    return Returns(np.array(values), np.array(levels), np.arange(len(values)), np.full(len(values), 7.0))


def finished(**changes):
    config = {"splits": ["train", "heldout", "dark"], "normalise": [0.0, 10.0], "seed": 3, "periodic_envs": 4}
    source = {
        "env_steps": {"pretrain": 300, "train": 1024},
        **{"pretrain_seconds": 1.5, "train_seconds": 4.25, "eval_seconds": 9.0, "frames_per_second": 240.0},
        "best_validation": {"step": 512, "return": 9.0},
        "final_validation": {"step": 1024, "return": 4.0},
    }
    played = {
        "train": returns([8.0, 6.0, 10.0], [0, 0, 1]),  # levels count equally: (7 + 10) / 2
        "heldout": returns([5.0, 1.0], [20, 21]),
        "dark": returns([4.0], [0]),
    }
    metrics = ({"global_step": 512, "train/return": 2.0}, {"global_step": 1024, "final/gap/dark": 4.5})
    values = {"state": "finished", "config": config, "source": source, "metrics": metrics, "returns": played}
    return Run("x", Path("nowhere"), **{**values, **changes})


def test_final_figures_by_hand():
    assert final_figures(finished()) == {
        "final/gap/dark": 4.5,
        "result/train_return": 8.5,
        "result/held_out_return": 3.0,
        "result/gap": 5.5,
        "result/fall": 5.0,
        "result/validation_return": 4.0,
        "cost/pretrain_env_steps": 300.0,
        "cost/train_env_steps": 1024.0,
        "cost/env_steps": 1324.0,
        "cost/pretrain_seconds": 1.5,
        "cost/train_seconds": 4.25,
        "cost/seconds": 5.75,
        "cost/frames_per_second": 240.0,
    }
    greedy = final_figures(finished(greedy={"dark": returns([7.0], [0])}))
    assert greedy["final/dark/greedy_return"] == 7.0


def test_a_task_without_targets_has_no_gap_and_an_unfinished_run_nothing():
    config = {"splits": ["train"], "normalise": None, "seed": 0}
    alone = final_figures(finished(config=config, source={}, metrics=(), returns={"train": returns([2.0], [0])}))
    assert alone == {"result/train_return": 2.0, "result/fall": 0.0, "cost/env_steps": 0.0, "cost/seconds": 0.0}
    assert final_figures(finished(state="unfinished")) == {}


def test_rows_differ_by_all_but_the_seed_and_its_levels():
    config = run_config("vae", bonus="none", train_levels=3)
    facts = run_facts(config)
    assert facts["method"] == "vae (frozen, ppo)"
    assert facts["row"].startswith("vae (frozen, ppo), counting, 3 levels, ")
    assert facts["held_out_split"] == "heldout"
    assert run_facts(replace(config, seed=7, level_set="9000+3")) == facts
    others = [
        replace(config, steps=1024),
        replace(config, train_levels=4),
        replace(config, repr_settings={**config.repr_settings, "beta": 9.0}),
    ]
    assert len({run_facts(other)["row"] for other in (config, *others)}) == 4
    with_bonus = replace(config, bonus="rnd:0.5 icm", algo_settings={**config.algo_settings, "memory": "gru"})
    assert run_facts(with_bonus)["method"] == "vae + rnd:0.5 + icm (frozen, ppo, gru)"
