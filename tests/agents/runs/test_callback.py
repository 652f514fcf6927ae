"""Work between two rollouts, on a schedule small enough to write down."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from agents.runs.callback import Clock, Preempted, Records, StopRequest, TrainingCallback
from agents.runs.env_metrics import EnvMetrics, NewestEpisodes


class Log:
    """Stands for the run directory, the tracker and the progress bar."""

    writes = False

    def __init__(self):
        self.records, self.shown, self.kept = [], [], []

    def log(self, record):
        self.records.append(dict(record))

    def update(self, done, note=""):
        self.shown.append((done, note))


def run_callback(steps, log, stop=None, start=0, metrics=None, episodes=()):
    """Run the callback over rollouts that end at ``steps``; returns where it saved and where it evaluated."""
    agent = SimpleNamespace(
        num_timesteps=start,
        metrics=metrics or {},
        first_reward=700 if episodes else 0,
    )
    newest = NewestEpisodes(2)
    newest.add([{"episode": {"r": r, "l": n}} for r, n in episodes], np.ones(len(episodes), bool))
    saved, evaluated = [], []
    recorder = TrainingCallback(
        Clock(),
        Records(log, log),
        log,
        stop or StopRequest(),
        save=saved.append,
        save_every=250,
        evaluate=lambda agent, step: evaluated.append(step) or {"eval/gap": 0.5},
        evaluate_every=300.0,
        keep=lambda agent, step: log.kept.append(step),
        keep_every=500,
        env_metrics=EnvMetrics({}),
        newest_episodes=newest,
    )
    recorder.model = agent
    recorder._on_training_start()
    recorder._on_rollout_start()  # the first rollout: nothing has happened yet
    try:
        for step in steps[:-1]:
            agent.num_timesteps = step
            recorder._on_rollout_start()
        agent.num_timesteps = steps[-1]
        recorder._on_training_end()
    except Preempted:
        saved.append("preempted")
    return saved, evaluated


def test_saves_and_evaluates_where_a_multiple_is_passed_and_at_the_end():
    log = Log()
    saved, evaluated = run_callback(list(range(100, 1001, 100)), log)
    # multiples of 250 are passed at 300, 500, 800, 1000; those of 300 at 300, 600, 900; the end evaluates in any case
    assert saved == [300, 500, 800, 1000]
    assert evaluated == [300, 600, 900, 1000]
    assert log.kept == [500, 1000]
    ours = log.records[::2]  # each record goes to the run directory and, equal, to the tracker
    assert ours == log.records[1::2]
    assert [record["global_step"] for record in ours] == list(range(100, 1001, 100))
    assert [record["global_step"] for record in ours if "eval/gap" in record] == evaluated


def test_a_resumed_run_keeps_the_schedule_of_one_never_stopped():
    assert run_callback([600, 700, 800, 900, 1000], Log(), start=500) == ([800, 1000], [600, 900, 1000])


def test_returns_are_means_and_values_not_finite_are_left_out():
    log = Log()
    run_callback(
        [100, 200],
        log,
        metrics={"loss/policy": 0.25, "train/explained_variance": float("nan")},
        episodes=[(10, 4), (0, 8)],
    )
    assert log.records[0]["train/return"] == 5.0
    assert log.records[0]["train/episode_length"] == 6.0
    assert log.records[0]["train/success"] == 0.5
    assert log.records[0]["train/first_reward"] == 700
    assert log.records[0]["loss/policy"] == 0.25
    assert "train/explained_variance" not in log.records[0]
    assert log.shown[0] == (100, "return 5.00")
    nobody = Log()
    run_callback([100, 200], nobody)
    assert "train/return" not in nobody.records[0]
    assert nobody.shown[0] == (100, "first episodes still run")


def test_asked_to_stop_it_saves_first_though_nothing_is_due():
    stop = StopRequest()
    stop.asked = True
    assert run_callback([100, 200, 300], Log(), stop=stop) == ([100, "preempted"], [])


def test_a_first_signal_asks_and_a_second_is_the_usual_one():
    stop, before = StopRequest(), signal.getsignal(signal.SIGTERM)
    heard = []
    signal.signal(signal.SIGTERM, lambda *_: heard.append("usual"))
    try:
        with stop.listening():
            os.kill(os.getpid(), signal.SIGTERM)
            assert (stop.asked, heard) == (True, [])
            os.kill(os.getpid(), signal.SIGTERM)
            assert heard == ["usual"]
        with pytest.raises(Preempted):
            stop.check()
    finally:
        signal.signal(signal.SIGTERM, before)
    StopRequest().check()


def test_the_clock_adds_up_over_restarts():
    clock = Clock()
    clock.load_state_dict({"pretrain": 2.0, "train": 5.0, "eval": 0.0})
    with clock.measure("eval"):
        pass
    assert clock.seconds["train"] == 5.0
    assert clock.state_dict()["eval"] > 0
