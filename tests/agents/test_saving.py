"""Checkpoints of agents: at any moment, by stable-baselines3's callbacks, and what does not fit."""

from __future__ import annotations

import pytest
import torch
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnRewardThreshold,
)

from agents.a2c import A2C
from envs.registry import UsageError
from tests.agents.tools import Autoencoder, Constant, N, Novelty, Skilled, build, make_env, weights

ROLLOUT = 6 * N
GRU = {"memory": "gru", "memory_size": 5, "memory_steps": 3}
AGENTS = {
    "ppo": {"config": {"normalise_reward": True}},
    "a2c": {"cls": A2C},
    "auxiliary and bonus": {"kind": "autoencoder", "bonuses": True},
    "frozen with state": {"kind": "averaging", "mode": "frozen"},
    "bonus head": {"kind": "averaging", "mode": "frozen", "bonuses": True, "config": {"bonus_head": True}},
    "first visits": {"bonuses": True, "config": {"bonus_once": True, "normalise_reward": True}},
    "memory": {"kind": "averaging", "mode": "online", "config": {**GRU, "anneal_learning_rate": True}},
}


class SaveAt(BaseCallback):
    """Saves once, at a number of frames or at the end of the rollout that reaches it."""

    def __init__(self, path, frames, rollout_end=False):
        super().__init__()
        self.path, self.frames, self.rollout_end = path, frames, rollout_end

    def _on_step(self):
        if self.num_timesteps == self.frames and not self.rollout_end:
            self.model.save(self.path)
        return True

    def _on_rollout_end(self):
        if self.num_timesteps == self.frames and self.rollout_end:
            self.model.save(self.path)


@pytest.mark.parametrize(
    ("frames", "rollout_end"),
    [(ROLLOUT + N, False), (ROLLOUT + 4 * N, False), (2 * ROLLOUT, False), (2 * ROLLOUT, True)],
    ids=["first step", "within", "last step", "end"],
)
@pytest.mark.parametrize("options", AGENTS.values(), ids=AGENTS)
def test_a_checkpoint_within_a_rollout_goes_on_bit_for_bit(tmp_path, monkeypatch, options, frames, rollout_end):
    options = dict(options)
    monkeypatch.setattr(Autoencoder, "window", 8)
    bonus = options.pop("bonuses", False)

    def make():
        return build(bonuses=(Constant(), Novelty(), Skilled()) if bonus else (), **options)

    whole, second = make(), make()
    whole.learn(4 * ROLLOUT, callback=SaveAt(tmp_path, frames, rollout_end))
    second.learn(3 * ROLLOUT + N, callback=lambda scope, _: second.num_timesteps <= 2 * ROLLOUT)  # stops within
    second.restore(tmp_path)
    assert second.num_timesteps == frames
    second.learn(4 * ROLLOUT - frames, reset_num_timesteps=False)
    assert second.num_timesteps == whole.num_timesteps == 4 * ROLLOUT
    assert torch.equal(weights(whole), weights(second))
    assert whole.metrics == pytest.approx(second.metrics, nan_ok=True, rel=0)
    assert [e["r"] for e in whole.ep_info_buffer] == [e["r"] for e in second.ep_info_buffer]


def test_what_is_saved_between_rollouts_holds_no_rollout():
    agent = build()
    agent.learn(ROLLOUT)
    assert "rollout" not in agent.components()["position"].state_dict()
    assert agent.history.state_dict()["rows"]["image"] == []
    assert "open" not in agent.history.state_dict()


@pytest.mark.parametrize("frequency", [1, 4, 6, 12])
def test_checkpoint_callback_saves_without_changing_training(tmp_path, frequency):
    plain, agent = build(), build()
    plain.learn(3 * ROLLOUT)
    agent.learn(3 * ROLLOUT, callback=CheckpointCallback(frequency, str(tmp_path)))
    assert torch.equal(weights(plain), weights(agent))
    frames = [N * frequency * k for k in range(1, 18 // frequency + 1)]
    assert {path.name for path in tmp_path.iterdir()} == {f"rl_model_{count}_steps.zip" for count in frames}
    restored = build()
    restored.restore(tmp_path / f"rl_model_{frames[0]}_steps")  # as stable-baselines3, without .zip
    assert restored.num_timesteps == frames[0]
    restored.learn(3 * ROLLOUT - frames[0], reset_num_timesteps=False)
    assert torch.equal(weights(plain), weights(restored))


def test_evaluation_saves_the_best_model_it_measured(tmp_path):
    agent, measured = build(), {}
    evaluation = EvalCallback(make_env(2, seed=5), eval_freq=4, best_model_save_path=str(tmp_path), verbose=0)
    evaluation.callback_on_new_best = BestWeights(measured)
    agent.learn(3 * ROLLOUT, callback=evaluation)
    frames = max(measured)
    restored = build()
    restored.restore(tmp_path / "best_model")
    assert restored.num_timesteps == frames
    assert torch.equal(weights(restored), measured[frames])


class BestWeights(BaseCallback):
    """Notes the weights of each best policy by its frames."""

    def __init__(self, measured):
        super().__init__()
        self.measured = measured

    def _on_step(self):
        self.measured[self.model.num_timesteps] = weights(self.model)
        return True


def test_every_n_timesteps_and_a_threshold_stop_after_saving(tmp_path):
    agent = build()
    saving = EveryNTimesteps(2 * N, CheckpointCallback(1, str(tmp_path / "every")))
    agent.learn(ROLLOUT, callback=saving)
    assert len(list((tmp_path / "every").iterdir())) == 3
    stop = StopTrainingOnRewardThreshold(reward_threshold=-1.0)
    best = {"callback_on_new_best": stop, "best_model_save_path": str(tmp_path), "verbose": 0}
    agent.learn(4 * ROLLOUT, callback=EvalCallback(make_env(2, seed=5), eval_freq=4, **best))
    assert agent.num_timesteps == 4 * N
    restored = build()
    restored.restore(tmp_path / "best_model")
    assert torch.equal(weights(restored), weights(agent))


def test_saving_again_replaces_later_steps_of_an_earlier_training(tmp_path):
    agent = build()
    agent.learn(3 * ROLLOUT)
    agent.save(tmp_path)
    other = build()
    other.learn(ROLLOUT)
    other.save(tmp_path)
    agent.restore(tmp_path)
    assert agent.num_timesteps == ROLLOUT


def test_other_numbers_of_environments_are_told_and_weights_taken(tmp_path):
    agent, single = build(), build(env=make_env(1))
    agent.learn(ROLLOUT)
    agent.save(tmp_path)
    with pytest.raises(UsageError, match=r"3 environments, and this agent has 1: .*weights_only=True"):
        single.restore(tmp_path)
    single.restore(tmp_path, weights_only=True)
    assert torch.equal(weights(agent), weights(single))
    single.learn(6)


def test_checkpoints_of_other_agents_are_refused_in_one_line(tmp_path):
    agent = build(bonuses=(Constant(),))
    agent.learn(ROLLOUT)
    agent.save(tmp_path / "bonus")
    with pytest.raises(UsageError, match="bonus/constant, bonus_scale/constant; build the agent as"):
        build().restore(tmp_path / "bonus")
    build(config={"normalise_reward": False}).save(tmp_path / "plain")
    with pytest.raises(UsageError, match="other components than this agent has: reward_scale"):
        build(config={"normalise_reward": True}).restore(tmp_path / "plain")
    with pytest.raises(UsageError, match=r"policy of .* does not fit this agent .*bonus_net"):
        build(bonuses=(Constant(),), config={"bonus_head": True}).restore(tmp_path / "bonus")
    with pytest.raises(UsageError, match="another network"):
        build(config=GRU).restore(tmp_path / "plain", weights_only=True)
    with pytest.raises(UsageError, match=r"no checkpoint in .*nowhere; name a folder that save\(path\) wrote"):
        agent.restore(tmp_path / "nowhere")
    (tmp_path / "model.zip").write_bytes(b"PK")
    with pytest.raises(UsageError, match="is a file; a checkpoint here is a folder"):
        agent.restore(tmp_path / "model.zip")
