"""History: every frame, next frame, window and mark, against a stream that can be written down."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from envs.history import FEATURES, History
from envs.packing import pack, unpack
from envs.registry import UsageError

T, N = 5, 3
SPACE = gym.spaces.Dict(
    {"image": gym.spaces.Box(0, 255, (3, 2, 4), np.uint8), "pose": gym.spaces.Box(-1, 1, (2,), np.float32)}
)
# Stream i ends at steps 2 + 3k + i; even streams terminate, odd are truncated; stream 2's last frames are lost.


def ends(step: int) -> torch.Tensor:
    return torch.tensor([step >= 2 + i and (step - 2 - i) % 3 == 0 for i in range(N)])


def frame(step: int, final: bool = False) -> dict[str, torch.Tensor]:
    """What streams 0..N-1 show before ``step``: red = 10 * step + stream; a true last frame has 200 more."""
    red = torch.tensor([(10 * step + i + 200 * final) % 256 for i in range(N)], dtype=torch.uint8)
    image = torch.zeros(N, 2, 4, 3, dtype=torch.uint8)
    image[..., 0] = red[:, None, None]
    image[:, 0, 0, 2] = 7
    return {"image": image.permute(0, 3, 1, 2), "pose": torch.stack([red / 255, -(red / 255)], dim=1)}


def write(history: History, steps: range) -> None:
    history.begin()
    write_steps(history, steps)
    write_last(history, steps[-1] + 1)


def write_steps(history: History, steps: range) -> None:
    for step in steps:
        history.add_obs(frame(step), ends(step - 1) if step else torch.ones(N, dtype=torch.bool))
        done = ends(step)
        last = frame(step + 1, final=True)
        finals = {i: {key: value[i] for key, value in last.items()} for i in range(2) if done[i]}
        odd = torch.tensor([False, True, False])
        reward = torch.tensor([step + 0.1 * i for i in range(N)])
        history.add_step(torch.arange(N) + step, reward, done & ~odd, done & odd, finals)


def write_last(history: History, step: int) -> None:
    history.add_obs(frame(step), ends(step - 1))


def red(obs) -> list:
    return obs["image"][:, :, 0, 1, 3].tolist()


def expected_next(step: int, i: int) -> int:
    if not ends(step)[i]:
        return (10 * (step + 1) + i) % 256
    return (10 * step + i) % 256 if i == 2 else (10 * (step + 1) + i + 200) % 256


def test_rollout_is_views_of_what_was_written():
    history = History(SPACE, T, N)
    write(history, range(0, 5))
    write(history, range(5, 10))
    steps = history.rollout()
    assert steps.shape == (T, N)
    assert red(steps.obs) == [[10 * t + i for i in range(N)] for t in range(5, 10)]
    assert steps.obs["image"].data_ptr() == history._raw["image"].data_ptr()
    assert steps.obs["image"][0].is_contiguous(memory_format=torch.channels_last)
    assert steps.obs["pose"][2, 1].tolist() == pytest.approx([71 / 255, -71 / 255])
    assert steps.action.tolist() == [[t, t + 1, t + 2] for t in range(5, 10)]
    assert steps.reward[1].tolist() == pytest.approx([6.0, 6.1, 6.2])
    # Stream 0 ends at 5 and 8, stream 1 at 6 and 9, stream 2 at 7; step 4 (stream 2) opened row 5.
    assert steps.terminated.int().tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert steps.truncated.int().tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert steps.first.int().tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert steps.next_valid.int().tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 1, 1]]


def test_frames_for_a_gpu_are_staged_in_the_ring_s_own_layout():
    history = History(SPACE, T, N)
    contiguous = frame(3)["image"].contiguous()
    first = history._staged("image", contiguous)
    assert first.equal(frame(3)["image"])
    assert first.stride() == history._view("image")[0].stride() != contiguous.stride()
    again = history._staged("image", frame(4)["image"])
    assert again.data_ptr() == first.data_ptr()
    assert again.equal(frame(4)["image"])


def test_next_obs_is_what_followed_never_a_reset_frame():
    history = History(SPACE, T, N)
    write(history, range(0, 5))
    write(history, range(5, 10))
    steps = history.rollout()
    assert red(steps.next_obs) == [[expected_next(t, i) for i in range(N)] for t in range(5, 10)]
    # Step 5 of stream 0 ends: its last frame is red 60 + 200 - 256 = 4; step 7 of stream 2 is lost: its own frame, 72.
    assert red(steps.next_obs)[0][0] == 4
    assert red(steps.next_obs)[2][2] == 72
    # The last step's next frame is the row after the rollout.
    assert red(steps.next_obs)[4][0] == 100


def test_minibatch_gathers_by_t_times_n_plus_stream():
    history = History(SPACE, T, N)
    write(history, range(0, 5))
    write(history, range(5, 10))
    batch = history.minibatch(torch.tensor([0 * N + 0, 4 * N + 1, 2 * N + 2, 1 * N + 0]))
    assert batch.shape == (1, 4)
    assert red(batch.obs) == [[50, 91, 72, 60]]
    assert red(batch.next_obs) == [[4, expected_next(9, 1), 72, 70]]
    assert batch.reward[0].tolist() == pytest.approx([5.0, 9.1, 7.2, 6.0])
    assert batch.obs["image"][0].is_contiguous(memory_format=torch.channels_last)


def test_windows_run_through_older_rollouts_in_order():
    history = History(SPACE, T, N, extra=7)  # rounds up to 2 older rollouts: 15 steps kept
    for start in (0, 5, 10, 15):
        write(history, range(start, start + 5))
        assert history.length == min(start + 5, 15)
    window = history.sequences(torch.tensor([0, 8, 3]), torch.tensor([0, 2, 1]), 7)  # step 0 is step 5 of the streams
    assert red(window.obs) == [[(10 * t + 0) % 256, (10 * (t + 8) + 2) % 256, 10 * (t + 3) + 1] for t in range(5, 12)]
    assert red(window.next_obs) == [
        [expected_next(t, 0), expected_next(t + 8, 2), expected_next(t + 3, 1)] for t in range(5, 12)
    ]
    for row, t in enumerate(range(5, 12)):
        starts = [bool(ends(s - 1)[i]) for s, i in ((t, 0), (t + 8, 2), (t + 3, 1))]
        assert window.first[row].tolist() == starts


def test_windows_draw_every_start_and_stream():
    history = History(SPACE, T, N, extra=5)
    for start in (0, 5):
        write(history, range(start, start + 5))
    drawn = history.windows(400, 8, torch.Generator().manual_seed(0))
    assert drawn.shape == (8, 400)
    # 10 steps hold 3 starts of length 8, for each of 3 streams.
    assert {value for value in red(drawn.obs)[0]} == {10 * start + i for start in range(3) for i in range(N)}
    with pytest.raises(UsageError, match="windows of 11 steps from a history of 10"):
        history.windows(1, 11, torch.Generator())


def test_frozen_history_keeps_features_instead_of_frames():
    history = History(SPACE, T, N, frames=False, features_dim=2)
    history.begin()
    for t in range(T):
        shown = history.add_obs(frame(t), torch.zeros(N, dtype=torch.bool))
        assert shown["image"].is_contiguous(memory_format=torch.channels_last)
        history.add_features(torch.full((N, 2), float(t)))
        no = torch.zeros(N, dtype=torch.bool)
        history.add_step(torch.zeros(N), torch.zeros(N), no, no, {})
    steps = history.rollout()
    assert set(steps.obs) == {FEATURES}
    assert steps.obs[FEATURES][:, 1, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_saved_history_goes_on_like_the_one_that_never_stopped():
    kept, fresh = History(SPACE, T, N, extra=7), History(SPACE, T, N, extra=7)
    for start in (0, 5, 10, 15):
        write(kept, range(start, start + 5))
    fresh.load_state_dict(kept.state_dict())
    for history in (kept, fresh):
        write(history, range(20, 25))
    a, b = (h.windows(50, 9, torch.Generator().manual_seed(1)) for h in (kept, fresh))
    for name in ("action", "reward", "terminated", "truncated", "next_valid", "first"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    for one, other in ((a.obs, b.obs), (a.next_obs, b.next_obs)):
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("steps", [0, 2, 5])
def test_an_open_rollout_is_saved_and_goes_on(steps):
    kept, fresh = History(SPACE, T, N, extra=7), History(SPACE, T, N, extra=7)
    for start in (0, 5, 10):
        write(kept, range(start, start + 5))
    kept.begin()
    kept.held = True
    write_steps(kept, range(15, 15 + steps))
    write(fresh, range(90, 95))
    fresh.load_state_dict(kept.state_dict())
    assert fresh.is_open
    for history in (kept, fresh):
        write_steps(history, range(15 + steps, 20))
        write_last(history, 20)
        history.held = False
        assert history.length == 3 * T
    assert [name for name in ("action", "reward", "first") if not torch.equal(*columns(kept, fresh, name))] == []
    a, b = (h.windows(50, 9, torch.Generator().manual_seed(1)) for h in (kept, fresh))
    for one, other in ((a.obs, b.obs), (a.next_obs, b.next_obs)):
        assert all(torch.equal(one[key], other[key]) for key in one)


def columns(one, other, name):
    return one.column(name), other.column(name)


def test_without_extra_nothing_is_saved():
    history = History(SPACE, T, N)
    write(history, range(5))
    assert history.state_dict()["rows"]["image"] == []


def test_a_rollout_broken_off_disconnects_the_past():
    history = History(SPACE, T, N, extra=5)
    write(history, range(5))
    history.begin()
    history.add_obs(frame(5), ends(4))
    write(history, range(5))
    assert history.length == T


def test_images_are_packed_and_come_back_to_the_bit():
    # 5 steps of 3 streams, 2 x 4 pixels of one channel: 120 bytes; a stream's frames are alike, so they shrink
    images = torch.arange(3, dtype=torch.uint8).view(1, 3, 1, 1, 1).expand(5, 3, 2, 4, 1).clone()
    images[2, 1, 0, 3] = 77
    packed = pack(images)
    assert packed.dim() == 1
    assert packed.dtype == torch.uint8
    assert len(packed) < 60
    target = torch.zeros_like(images)
    unpack(packed, target)
    assert torch.equal(target, images)


def test_a_state_of_before_images_were_packed_is_read():
    kept, fresh = History(SPACE, T, N, extra=7), History(SPACE, T, N, extra=7)
    for start in (0, 5, 10):
        write(kept, range(start, start + 5))
    state = kept.state_dict()
    for block, packed in enumerate(state["rows"]["image"]):
        frames = torch.zeros(T + 1, N, 2, 4, 3, dtype=torch.uint8)
        unpack(packed, frames)
        state["rows"]["image"][block] = frames.flatten(0, 1)
    fresh.load_state_dict(state)
    assert fresh.length == 2 * T
    for history in (kept, fresh):
        write(history, range(15, 20))
    a, b = (h.windows(20, 9, torch.Generator().manual_seed(1)).obs["image"] for h in (kept, fresh))
    assert torch.equal(a, b)
