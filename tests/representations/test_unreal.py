"""UNREAL: exact values of the three tasks, their draws, and that switched off they leave nothing behind."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from agents.a2c import A2C, A2CConfig
from agents.ppo import PPO, PPOConfig
from envs.counting import CountingVectorEnv
from envs.history import History
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Steps, flatten
from envs.wrappers.sb3 import Sb3VecEnv
from representations.base import Unfit
from representations.cnn import Cnn
from representations.unreal import Unreal, UnrealConfig, draw_clips, n_step_returns, pixel_change
from tests.representations.toys import Fixed, image_spec

SPEC = image_spec((1, 36, 36), discount=0.5)  # 9 x 9 cells
SMALL = UnrealConfig(length=2, clips=4, replay=64)


def steps_of(image, action, reward, terminated, truncated=None) -> Steps:
    """(T, B, ...) as History would give them."""
    no = torch.zeros_like(terminated)
    truncated = no if truncated is None else truncated
    return Steps({"image": image}, action, reward, terminated, truncated, no, no, dict, shaped_reward=2 * reward)


def test_pixel_change_by_hand():
    image = torch.zeros(3, 2, 3, 12, 20, dtype=torch.uint8)  # T=3, B=2: 3 x 5 cells
    image[1, 0, :, 4:8, 12:16] = 51  # all three channels of the cell (1, 3), by 0.2, for one frame
    image[1:, 1, 0, 0:2, 0:4] = 102  # one channel of three, half of the cell (0, 0), by 0.4, to stay
    change = pixel_change(image, 3)
    expected = torch.zeros(2, 2, 3, 5)
    expected[:, 0, 1, 3] = 0.2
    expected[0, 1, 0, 0] = 0.4 / 3 / 2
    assert torch.allclose(change, expected)
    still = torch.randint(0, 256, (1, 1, 3, 8, 8), dtype=torch.uint8).expand(4, -1, -1, -1, -1)
    assert not pixel_change(still, 3).any()


def test_of_stacked_frames_the_newest_counts():
    image = torch.zeros(2, 1, 6, 8, 8, dtype=torch.uint8)
    image[1, 0, :3] = 255
    assert not pixel_change(image, 3).any()
    image[1, 0, 3:] = 255
    assert (pixel_change(image, 3) == 1).all()
    grey = torch.zeros(2, 1, 4, 8, 8, dtype=torch.uint8)
    grey[1, 0, 3] = 51
    assert torch.allclose(pixel_change(grey, 1), torch.full((1, 1, 2, 2), 0.2))


def test_n_step_returns_by_hand():
    # discount 0.5. Stream 0: R2 = 4 + 0.5 * 8 = 8, R1 = 2 + 0.5 * 8 = 6, R0 = 1 + 0.5 * 6 = 4.
    # Stream 1 ends at step 1: R2 = 4 + 0.5 * 2 = 5, R1 = 2, R0 = 1 + 0.5 * 2 = 2.
    reward = torch.tensor([[1.0, 1], [2, 2], [4, 4]])
    done = torch.tensor([[False, False], [False, True], [False, False]])
    found = n_step_returns(reward, done, torch.tensor([8.0, 2]), 0.5)
    assert found.tolist() == [[4, 2], [6, 2], [8, 5]]
    cells = n_step_returns(reward[..., None], done, torch.tensor([[8.0], [2]]), 0.5)
    assert torch.equal(cells[..., 0], found)


def test_pixel_control_by_hand():
    # T = 3 (two steps and the bootstrap), B = 2. Every pixel changes by 0.2 at each step: 0.2 in all cells.
    unreal = Unreal(SPEC, replace(SMALL, pixel_gamma=0.9))
    image = torch.zeros(3, 2, 1, 36, 36, dtype=torch.uint8)
    image[1], image[2] = 51, 102
    q = torch.zeros(6, 2, 9, 9)
    q[4, 1] = 2.0  # last frame of stream 0: max over actions 2
    q[0, 1], q[2, 0] = 0.5, 1.0  # stream 0: Q(s_0, a = 1) and Q(s_1, a = 0)
    q[5, 0] = 7.0  # stream 1's episode ended before
    unreal.control = Fixed(q)
    terminated = torch.tensor([[False, False], [False, True], [False, False]])
    steps = steps_of(image, torch.tensor([[1, 0], [0, 0], [0, 0]]), torch.zeros(3, 2), terminated)
    # stream 0: R_1 = 0.2 + 0.9 * 2 = 2.0, error 1.0^2; R_0 = 0.2 + 0.9 * 2.0 = 2.0, error 1.5^2
    # stream 1: its step 1 ends and is left out; R_0 = 0.2 + 0.9 * 0 = 0.2, error 0.2^2. 81 cells, 3 steps
    expected = 81 * (1.0 + 2.25 + 0.04) / 3
    loss = unreal.pixel_control_loss(steps, torch.zeros(6, 1))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_value_replay_by_hand_on_shaped_rewards():
    unreal = Unreal(SPEC, SMALL)
    reward = torch.tensor([[0.5, 1], [1, 1], [9, 9]])  # paid: twice that
    done = torch.tensor([[False, False], [False, True], [False, False]])
    steps = steps_of(torch.zeros(3, 2, 1, 36, 36, dtype=torch.uint8), reward.long(), reward, done & False, done)
    value = torch.tensor([[1.0, 2], [3, 4], [8, 6]]).flatten()
    # discount 0.5. Stream 0: R1 = 2 + 4 = 6, R0 = 1 + 3 = 4: errors 9, 9. Stream 1: R1 = 2, R0 = 2 + 1 = 3: 4, 1
    assert float(unreal.value_replay_loss(steps, value)) == pytest.approx((9 + 9 + 4 + 1) / 4)


def test_reward_prediction_reads_the_last_reward_s_sign():
    unreal = Unreal(SPEC, SMALL)
    logits = torch.tensor([[0.0, 1, 2], [3, 1, 0], [0, 0, 1], [1, 1, 1]])
    unreal.reward = Fixed(logits)
    reward = torch.zeros(3, 4)
    reward[0] = 5.0  # earlier rewards say nothing
    reward[2] = torch.tensor([-0.1, 0, 7, 0.5])  # classes 2, 0, 1, 1
    no = torch.zeros(3, 4, dtype=torch.bool)
    clips = steps_of(torch.zeros(3, 4, 1, 36, 36, dtype=torch.uint8), reward.long(), reward, no)
    chosen = logits[torch.arange(4), torch.tensor([2, 0, 1, 1])]
    expected = (logits.logsumexp(1) - chosen).mean()
    assert float(unreal.reward_prediction_loss(clips)) == pytest.approx(float(expected))


def test_the_reward_head_reads_a_clip_s_frames_oldest_first():
    unreal = Unreal(SPEC, SMALL)
    image = torch.randint(0, 256, (3, 2, 1, 36, 36), dtype=torch.uint8)
    seen = []
    unreal.reward.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    no = torch.zeros(3, 2, dtype=torch.bool)
    unreal.reward_prediction_loss(steps_of(image, no.long(), torch.zeros(3, 2), no))
    with torch.no_grad():
        expected = torch.cat([unreal.trunk.flat(image[t]) for t in range(3)], 1)
    assert torch.allclose(seen[0], expected, atol=1e-6)


def filled(reward_at, done_at, n_steps: int = 50, n_envs: int = 4, blocks: int = 2) -> History:
    """A history of 8x8 frames whose grey level is the step; ``reward_at(step, env)``, ``done_at(step, env)``."""
    history = History(image_spec((1, 8, 8)).space, n_steps, n_envs, extra=(blocks - 1) * n_steps)
    ended = torch.ones(n_envs, dtype=torch.bool)
    step = 0
    for _ in range(blocks):
        history.begin()
        for _ in range(n_steps):
            frame = torch.full((n_envs, 1, 8, 8), step % 256, dtype=torch.uint8)
            history.add_obs({"image": frame}, ended)
            ended = torch.tensor([done_at(step, env) for env in range(n_envs)])
            reward = torch.tensor([float(reward_at(step, env)) for env in range(n_envs)])
            history.add_step(torch.zeros(n_envs, dtype=torch.int64), reward, ended, ended & False, {})
            step += 1
        history.add_obs({"image": frame}, ended)
        history.add_rewards(torch.full((n_steps, n_envs), float(step)))
    return history


def test_half_of_all_clips_end_in_a_reward_and_none_crosses_an_end(generator):
    # one step of 100 is rewarded: 4 of 400
    history = filled(lambda step, env: step == 37 + 10 * env, lambda step, env: step % 7 == env)
    clips = draw_clips(history, 10_000, generator)
    assert clips.shape == (3, 10_000)
    assert float((clips.reward[2] != 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert not clips.done[:2].any()
    assert not clips.first[1:].any()
    grey = clips.obs["image"][:, :, 0, 0, 0].int()
    assert torch.equal(grey[1] - grey[0], torch.ones(10_000, dtype=torch.int32))
    # a reward whose two frames before are of another episode is never drawn: env 3 ends at 66, its reward is at 67
    rewarded = clips.reward[2] != 0
    assert set(grey[2][rewarded].tolist()) == {step for step in (37, 47, 57) if not _cut(step)}


def _cut(step: int) -> bool:
    env = (step - 37) // 10
    return (step - 1) % 7 == env or (step - 2) % 7 == env


def test_where_one_kind_is_missing_all_clips_are_of_the_other(generator):
    def never(step, env):
        return False

    assert not draw_clips(filled(never, never), 200, generator).reward[2].any()
    always = draw_clips(filled(lambda step, env: 1, never), 200, generator)
    assert (always.reward[2] == 1).all()
    with pytest.raises(UsageError, match="no three steps of one episode"):
        draw_clips(filled(never, lambda step, env: True), 10, generator)


def test_history_gives_rewards_and_shaped_rewards_in_order():
    history = filled(lambda step, env: step + 0.25 * env, lambda step, env: False, n_steps=5, n_envs=3, blocks=3)
    assert history.column("reward")[:, 2].tolist() == [step + 0.5 for step in range(15)]
    assert history.column("shaped_reward")[:, 0].tolist() == [5.0] * 5 + [10.0] * 5 + [15.0] * 5
    assert history.rollout().shaped_reward.tolist() == [[15.0] * 3] * 5


def test_the_auxiliary_loss_is_the_weighted_sum_of_all_tasks(generator):
    unreal = Unreal(SPEC, SMALL)
    history = History(SPEC.space, 8, 3, extra=8)
    for _ in range(2):
        history.begin()
        for step in range(8):
            frame = torch.randint(0, 256, (3, 1, 36, 36), dtype=torch.uint8)
            history.add_obs({"image": frame}, torch.zeros(3, dtype=torch.bool))
            reward = torch.tensor([1.0, 0.0, -1.0]) * (step % 3 == 0)
            no = torch.zeros(3, dtype=torch.bool)
            history.add_step(torch.randint(0, 2, (3,)), reward, no, no, {})
        history.add_obs({"image": frame}, torch.zeros(3, dtype=torch.bool))
        history.add_rewards(torch.randn(8, 3))
    head = torch.nn.Linear(unreal.features_dim, 1)
    loss, metrics = unreal.auxiliary(history, 5, lambda f, obs, first: (f, head(f).squeeze(1)), generator)
    config = unreal.config
    total = (
        config.pixel_control_coef * metrics["pixel_control"]
        + config.reward_prediction_coef * metrics["reward_prediction"]
        + config.value_replay_coef * metrics["value_replay"]
    )
    assert float(loss.detach()) == pytest.approx(float(total), rel=1e-5)
    loss.backward()
    for name, parameter in [*unreal.named_parameters(), *head.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("task", ["pixel_control", "reward_prediction", "value_replay"])
def test_each_task_is_switched_by_its_own_field(task, generator):
    off = {name: name == task for name in ("pixel_control", "reward_prediction", "value_replay")}
    unreal = Unreal(SPEC, replace(SMALL, **off))
    history = History(SPEC.space, 8, 3)
    history.begin()
    for _ in range(8):
        no = torch.zeros(3, dtype=torch.bool)
        history.add_obs({"image": torch.randint(0, 256, (3, 1, 36, 36), dtype=torch.uint8)}, no)
        history.add_step(torch.zeros(3, dtype=torch.int64), torch.ones(3), no, no, {})
    history.add_obs({"image": torch.zeros(3, 1, 36, 36, dtype=torch.uint8)}, no)
    _, metrics = unreal.auxiliary(history, 5, lambda f, obs, first: (f, f.sum(1)), generator)
    known = {"pixel_control", "reward_prediction", "value_replay"}
    assert known & set(metrics) == {task}


def counting(num_envs: int = 4) -> Sb3VecEnv:
    return Sb3VecEnv(CountingVectorEnv(num_envs, size=36, episode_length=6, seed=1))


PLAIN = {"epochs": 2, "minibatches": 2, "n_steps": 16, "learning_rate": 1e-3}


def test_with_all_tasks_off_it_is_the_cnn_bit_for_bit():
    ends = []
    for cls, config in (
        (Cnn, None),
        (Unreal, UnrealConfig(pixel_control=False, reward_prediction=False, value_replay=False)),
    ):
        env = counting()
        torch.manual_seed(5)
        agent = PPO(env, cls(EnvSpec.of(env), config), PPOConfig(**PLAIN), seed=2)
        agent.learn(16 * 4 * 3)
        ends.append(agent.policy.state_dict())
    assert list(ends[0]) == list(ends[1])
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize(("algorithm", "config"), [(PPO, PPOConfig(**PLAIN)), (A2C, A2CConfig(n_steps=8))])
def test_ppo_and_a2c_learn_with_all_tasks(algorithm, config):
    env = counting()
    torch.manual_seed(5)
    unreal = Unreal(EnvSpec.of(env, discount=0.9), UnrealConfig(length=10, replay=256))
    agent = algorithm(env, unreal, config, seed=2)
    agent.learn(256)
    # 256 frames of 4 streams: 64 steps, whatever the rollout's length
    assert agent.history.blocks * config.n_steps >= 64
    for name in ("pixel_control", "reward_prediction", "value_replay"):
        assert math.isfinite(agent.metrics[f"auxiliary/{name}"])
    assert agent.metrics["gradient/auxiliary_norm"] > 0


def test_pixel_control_learns_the_action_that_flips_a_patch(generator):
    # Action 1 inverts the patch of the cells (2..3, 4..5), action 0 leaves all as it is.
    unreal = Unreal(SPEC, replace(SMALL, reward_prediction=False, value_replay=False, pixel_gamma=0.0))
    rng = np.random.default_rng(0)
    action = rng.integers(0, 2, size=(40, 16))
    lit = np.cumsum(np.concatenate([np.zeros((1, 16), np.int64), action[:-1]]), 0) % 2
    image = np.full((40, 16, 1, 36, 36), 30, np.uint8)
    image[..., 8:16, 16:24] = np.where(lit, 230, 20)[..., None, None, None]
    optimizer = torch.optim.Adam(unreal.parameters(), 1e-3)
    for _ in range(120):
        t = int(torch.randint(0, 37, (), generator=generator))
        some = torch.from_numpy(image[t : t + 3])
        no = torch.zeros(3, 16, dtype=torch.bool)
        steps = steps_of(some, torch.from_numpy(action[t : t + 3]), torch.zeros(3, 16), no)
        loss = unreal.pixel_control_loss(steps, unreal.encode(flatten(steps.obs))[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        q = unreal.control(unreal.encode({"image": torch.from_numpy(image[5])})[0])
    patch = q[:, :, 2:4, 4:6].mean((2, 3))
    assert (patch.argmax(1) == 1).all()
    assert float(patch[:, 1].mean()) == pytest.approx(210 / 255, abs=0.15)
    assert float(q[:, :, 6:, :3].abs().mean()) < 0.1  # nothing changes there


def test_save_and_load_give_equal_features_and_controls():
    image = torch.randint(0, 256, (3, 1, 36, 36), dtype=torch.uint8)
    one, other = Unreal(SPEC, SMALL), Unreal(SPEC, SMALL)
    other.load_state_dict(one.state_dict())
    first, second = one.encode({"image": image})[0], other.encode({"image": image})[0]
    assert torch.equal(first, second)
    assert torch.equal(one.control(first), other.control(second))
    q = one.control(first)
    assert q.shape == (3, 2, 9, 9)


def test_too_much_replay_and_too_short_a_history_are_refused():
    with pytest.raises(ValueError, match="replay=40000: History keeps at most 32768"):
        UnrealConfig(replay=40_000)
    with pytest.raises(
        UsageError, match="pixel_control has a value for each of at most 256 actions, which None has not"
    ):
        Unreal(replace(SPEC, action_space=None))
    short, unreal = (
        filled(lambda step, env: 0, lambda step, env: False, 5, 2, 1),
        Unreal(SPEC, replace(SMALL, length=20)),
    )
    with pytest.raises(UsageError, match="windows of 21 steps from a history of 5"):
        unreal.auxiliary(short, 3, lambda f, obs, first: (f, f.sum(1)), torch.Generator())


@pytest.mark.parametrize(("height", "width"), [(7, 7), (64, 11)])
def test_frames_of_too_few_cells_are_refused(height, width):
    spec = replace(image_spec((3, height, width)), action_space=SPEC.action_space)
    with pytest.raises(Unfit, match=f"3 a side at least; this environment's are {height}x{width}; take --set unreal"):
        Unreal(spec, replace(SMALL, trunk="symbols"))
    Unreal(spec, replace(SMALL, trunk="symbols", pixel_control=False))
    wide = replace(image_spec((3, 12, 13)), action_space=SPEC.action_space)
    assert Unreal(wide, replace(SMALL, trunk="symbols")).control.cells == (3, 3)


@pytest.mark.parametrize("task", ["pixel_control", "value_replay"])
def test_the_bootstrap_of_a_return_takes_no_gradient(task):
    # One stream of two steps and the bootstrap; every pixel changes by 0.2. Discount 0.5, Q and V are 1 throughout
    unreal = Unreal(SPEC, replace(SMALL, pixel_gamma=0.5))
    no = torch.zeros(3, 1, dtype=torch.bool)
    image = torch.zeros(3, 1, 1, 36, 36, dtype=torch.uint8)
    image[1], image[2] = 51, 102
    steps = steps_of(image, no.long(), torch.full((3, 1), 0.5), no)
    if task == "pixel_control":
        answer = torch.ones(3, 2, 9, 9, requires_grad=True)
        unreal.control = Fixed(answer)
        unreal.pixel_control_loss(steps, torch.zeros(3, 1)).backward()
        # R1 = 0.2 + 0.5 = 0.7, R0 = 0.2 + 0.35 = 0.55: d/dQ of (R - Q)^2 / 2 steps is -(R - Q), of action 0 alone
        assert answer.grad[:2, 0, 4, 4].tolist() == pytest.approx([1 - 0.55, 1 - 0.7])
        assert not answer.grad[:2, 1].any()
    else:
        answer = torch.ones(3, requires_grad=True)
        unreal.value_replay_loss(steps, answer).backward()
        # the shaped reward is 1: R1 = 1 + 0.5 = 1.5, R0 = 1 + 0.75 = 1.75
        assert answer.grad[:2].tolist() == pytest.approx([1 - 1.75, 1 - 1.5])
    assert not answer.grad[2].any()


def test_nothing_is_drawn_before_the_replay_is_full():
    # 160 frames of 4 streams are 40 steps: five rollouts of 8
    env = counting()
    config = UnrealConfig(length=10, replay=160)
    agent = A2C(env, Unreal(EnvSpec.of(env, discount=0.9), config), A2CConfig(n_steps=8), seed=2)
    lengths = []
    draw = agent.representation.auxiliary
    agent.representation.auxiliary = lambda history, *others: lengths.append(history.length) or draw(history, *others)
    with pytest.warns(RuntimeWarning, match="unreal: its loss begins after 160 frames, more than are asked for"):
        agent.learn(4 * 8 * 4)
    assert lengths == []
    assert "auxiliary/value_replay" not in agent.metrics
    agent.learn(2 * 8 * 4, reset_num_timesteps=False)
    assert lengths == [40, 40]


def test_the_default_replay_is_older_than_ppos_default_rollout():
    # 32,000 frames of 64 streams are 500 steps, two rollouts of PPO's 256
    unreal, ppo = UnrealConfig(), PPOConfig()
    assert unreal.replay == 2000 * 16
    assert -(-unreal.replay // 64) > ppo.n_steps


def test_replay_resumes_to_the_same_bits(tmp_path):
    def agent() -> A2C:
        env = counting()
        torch.manual_seed(5)
        config = UnrealConfig(length=10, replay=128)
        return A2C(env, Unreal(EnvSpec.of(env, discount=0.9), config), A2CConfig(n_steps=8), seed=2)

    whole, first, second = agent(), agent(), agent()
    whole.learn(8 * 4 * 9)
    first.learn(8 * 4 * 6)
    first.save(tmp_path)
    second.restore(tmp_path)
    second.learn(8 * 4 * 3, reset_num_timesteps=False)
    assert torch.equal(second.history.column("shaped_reward"), whole.history.column("shaped_reward"))
    for name, wanted in whole.policy.state_dict().items():
        assert torch.equal(wanted, second.policy.state_dict()[name]), name
