"""Named levels: every visit once and to its end, draws by counter, whatever plays side by side."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.actions import Categorical
from agents.runner import PolicyOutput
from agents.runs.evaluate import Episodes, EvaluationEnv, equal_visits, play_visits, play_windows
from agents.runs.splits import require_finite_returns
from envs.finite import NotFinite
from envs.registry import UsageError


class Script:
    """A vector env in which level L ends after 2 + 5 (L mod 3) steps; the reward is the step number, plus 100 x action.

    The frame is the level's number.
    """

    names_levels = True

    def __init__(self, num_envs):
        self.num_envs, self.closed, self.seen_actions = num_envs, False, []
        self.t, self.level = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)

    def reset(self, options):
        mask = options.get("reset_mask", np.ones(self.num_envs, bool))
        self.t[mask], self.level[mask] = 0, options["levels"][mask]
        return self.frames(), {"level_seed": self.level.copy()}

    def frames(self):
        return np.broadcast_to(self.level.astype(np.uint8)[:, None, None, None], (self.num_envs, 4, 5, 2))

    def step(self, actions):
        self.seen_actions.append(actions.copy())
        self.t += 1
        reward = (self.t + 100 * actions).astype(np.float32)
        done = self.t == 2 + 5 * (self.level % 3)
        self.t[done] = 0
        truncated = done & (self.level % 3 == 1)
        return self.frames(), reward, done & ~truncated, truncated, {}

    def close(self):
        self.closed = True


class Unnamed(Script):
    """The same, but it begins levels 7, 8, 9, ... and no other."""

    names_levels = False

    def reset(self):
        self.level = 7 + np.arange(self.num_envs)
        return self.frames(), {}


class First:
    """Always the first of two actions; remembers the frames it was asked about, as far as a runner needs a policy."""

    device, mode, num_threads, context_dim = torch.device("cpu"), "online", 1, 0
    distribution = Categorical(2)
    observation_space = gym.spaces.Box(0, 255, (2, 4, 5), np.uint8)
    logits = (50.0, -50.0)

    def __init__(self):
        self.asked, self.training = [], True

    def initial_state(self, batch):
        return (torch.zeros(batch),)  # counts the frames of the episode

    def set_training_mode(self, mode):
        self.training = mode

    def __call__(self, obs, state, first):
        assert not self.training
        assert obs["image"].shape[1:] == (2, 4, 5)  # channels first for the network
        count = torch.where(first, torch.zeros_like(state[0]), state[0]) + 1
        self.asked.append((obs["image"][:, 0, 0, 0].tolist(), count.tolist()))
        logits = torch.tensor(self.logits).repeat(len(count), 1)
        return PolicyOutput(torch.zeros(len(count), 1), (count,), logits, torch.zeros(len(count)), None)

    def start_episodes(self, state, first, contexts):
        return state


class Uniform(First):
    """Both actions equally likely."""

    logits = (0.0, 0.0)


class Inclined(First):
    """The second action with probability 0.6."""

    logits = (np.log(0.4), np.log(0.6))


def test_levels_are_visited_equally_often_in_rounds():
    visits = equal_visits([30, 10, 20], episodes=7)
    assert visits.levels.tolist() == [30, 10, 20] * 3
    assert visits.repeats.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert equal_visits([5, 6], 3, first_repeat=4).repeats.tolist() == [4, 4, 5, 5]
    assert len(equal_visits(range(256), 256)) == 256


# a level lasts 2, 7 or 12 steps and earns 1 + ... + n = 3, 28 or 78
@pytest.mark.parametrize("num_envs", [1, 2, 5, 64])
def test_every_visit_counts_once_and_to_its_end(num_envs):
    made = []
    policy = First()

    def make(count):
        made.append(Script(count))
        return made[-1]

    visits = equal_visits([5, 3, 4], 6)
    episodes = play_visits(policy, make, visits, num_envs=num_envs)
    np.testing.assert_array_equal(episodes.levels, [5, 3, 4, 5, 3, 4])
    np.testing.assert_array_equal(episodes.lengths, [12, 2, 7, 12, 2, 7])
    np.testing.assert_array_equal(episodes.returns, [78, 3, 28, 78, 3, 28])
    assert [env.closed for env in made] == [True]
    assert made[0].num_envs == min(num_envs, 6)
    assert policy.training  # as it was before


def test_finished_environments_are_not_encoded_and_states_begin_anew():
    policy = First()
    play_visits(policy, Script, equal_visits([3, 5, 6, 9], 4), num_envs=2)
    frames = [asked[0] for asked in policy.asked]
    # levels 3, 6 and 9 last 2 steps each and follow each other in the first env, level 5 lasts 12 in the second
    assert frames == [[3, 5]] * 2 + [[6, 5]] * 2 + [[9, 5]] * 2 + [[5]] * 6
    counts = [asked[1] for asked in policy.asked]
    assert counts[:7] == [[1, 1], [2, 2], [1, 3], [2, 4], [1, 5], [2, 6], [7]]


def test_sampled_actions_depend_on_the_visit_and_step_alone():
    visits = equal_visits(range(40, 60), 60)
    one, many = (play_visits(Uniform(), Script, visits, num_envs=count) for count in (3, 60))
    np.testing.assert_array_equal(one.returns, many.returns)
    later = play_visits(Uniform(), Script, equal_visits(range(40, 60), 20, first_repeat=2))
    np.testing.assert_array_equal(later.returns, many.returns[40:])  # the third round
    assert not np.array_equal(many.returns[:20], many.returns[20:40])  # each round is another draw
    # each step is another draw: an episode of 7 or 12 steps is all of one action with a chance of 1.6% or less
    long = many.lengths > 2
    mixed = (many.returns - many.lengths * (many.lengths + 1) / 2) / (100 * many.lengths)
    assert np.mean((mixed[long] > 0) & (mixed[long] < 1)) > 0.9
    # E[return - step numbers] = 100 x 0.5 a step
    steps = many.lengths
    drawn = (many.returns - steps * (steps + 1) / 2) / 100
    assert abs(drawn.sum() / steps.sum() - 0.5) < 3 * 0.5 / np.sqrt(steps.sum())


def test_greedy_actions_are_the_likeliest():
    visits = equal_visits([4], 1)
    greedy = play_visits(Inclined(), Script, visits, greedy=True)
    assert greedy.returns.tolist() == [28 + 7 * 100]
    assert play_visits(Inclined(), Script, visits).returns[0] < 28 + 7 * 100  # all seven by chance: 0.03


def test_windows_sum_through_the_ends_of_episodes():
    episodes = play_windows(First(), Script, equal_visits([3, 4, 5], 3), 9)
    # level 3 earns 1 + 2 four times and 1, level 4 1 + ... + 7 and 1 + 2, level 5 1 + ... + 9
    assert episodes.returns.tolist() == [13, 31, 45]
    assert episodes.lengths.tolist() == [9, 9, 9]


def test_an_environment_without_named_levels_gets_an_env_for_each_visit():
    made = []

    def make(count):
        made.append(Unnamed(count))
        return made[-1]

    episodes = play_visits(First(), make, equal_visits(range(5), 5), num_envs=2)
    assert [(env.num_envs, env.closed) for env in made] == [(2, True), (5, True)]
    assert episodes.lengths.tolist() == [7, 12, 2, 7, 12]  # levels 7 to 11
    run = EvaluationEnv(First(), Unnamed(2))
    run.begin(np.arange(2), np.arange(2), np.zeros(2, int))
    with pytest.raises(UsageError, match="cannot begin a named level"):
        run.begin(np.arange(1), np.arange(1), np.zeros(1, int))


def test_another_level_than_the_one_asked_for_is_refused():
    class Wrong(Script):
        def reset(self, options):
            frames, infos = super().reset(options)
            return frames, {"level_seed": infos["level_seed"] + 1}

    with pytest.raises(UsageError, match="asked for level 4 and began level 5"):
        play_visits(First(), Wrong, equal_visits([4], 1))


class Skilled(First):
    """Carries a context, which it remembers at every step."""

    context_dim = 3

    def __init__(self):
        super().__init__()
        self.contexts = []

    def draw_contexts(self, count, generator):
        return torch.rand(count, 3, generator=generator)

    def start_episodes(self, state, first, contexts):
        self.contexts.append((first.tolist(), contexts))
        return state


def test_a_skill_depends_on_the_visit_and_is_drawn_where_it_begins():
    drawn = {}
    for num_envs in (1, 4):
        policy = Skilled()
        play_visits(policy, Script, equal_visits([3, 5, 6], 3), num_envs=num_envs)
        rows = [row for first, contexts in policy.contexts for begun, row in zip(first, contexts, strict=True) if begun]
        drawn[num_envs] = torch.stack(sorted(rows, key=lambda row: row.tolist()))
        assert all(
            not row.any() for first, contexts in policy.contexts for begun, row in zip(first, contexts, strict=True)
            if not begun
        )  # fmt: skip
    torch.testing.assert_close(drawn[1], drawn[4])
    assert len(drawn[1]) == 3


class Endless(Script):
    """Level 4 never ends, the others as before."""

    def step(self, actions):
        frames, reward, terminated, truncated, infos = super().step(actions)
        running = self.level == 4
        return frames, reward, terminated & ~running, truncated & ~running, infos


@pytest.mark.parametrize("num_envs", [1, 3])
def test_an_episode_that_never_ends_is_cut_and_counted(num_envs):
    heard = []
    visits = equal_visits([3, 4, 5], 3)
    episodes = play_visits(First(), Endless, visits, num_envs=num_envs, limit=20, watch=lambda *far: heard.append(far))
    assert episodes.lengths.tolist() == [2, 20, 12]
    assert episodes.returns[:1].tolist() == [1 + 2]
    assert episodes.cut == 1
    assert heard[-1][:2] == (3, 3)
    assert [steps for _, _, steps in heard] == list(range(1, len(heard) + 1))


def test_whoever_watches_can_break_it_off():
    made = []

    def make(count):
        made.append(Endless(count))
        return made[-1]

    def stop(finished, total, steps):
        if steps == 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        play_visits(First(), make, equal_visits([4], 1), watch=stop)
    assert made[0].closed


def test_a_return_that_is_not_finite_is_named_by_its_level():
    played = Episodes(np.array([7, 9, 9]), np.array([0, 0, 1]), np.array([1.5, 2.0, -np.inf]), np.array([3, 4, 5]))
    with pytest.raises(
        NotFinite, match=r"^return of level 9, repetition 1 is -inf in the evaluation on maze: .*1 of 3"
    ):
        require_finite_returns(played, "maze")
    whole = Episodes(played.levels[:2], played.repeats[:2], played.returns[:2], played.lengths[:2])
    assert require_finite_returns(whole, "maze") is whole
