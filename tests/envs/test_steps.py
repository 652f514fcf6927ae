"""Steps: time first, stream second; next_obs only when asked for."""

import torch

from envs.steps import Steps, flatten

T, B = 5, 3


def make(make_next_obs):
    no = torch.zeros(T, B, dtype=torch.bool)
    terminated, truncated = no.clone(), no.clone()
    terminated[1, 2] = truncated[4, 0] = True
    return Steps(
        obs={"image": torch.zeros(T, B, 3, 8, 8, dtype=torch.uint8)},
        action=torch.zeros(T, B, dtype=torch.long),
        reward=torch.zeros(T, B),
        terminated=terminated,
        truncated=truncated,
        next_valid=~no,
        first=no,
        make_next_obs=make_next_obs,
    )


def test_done_is_either_end():
    done = make(dict).done
    assert done.nonzero().tolist() == [[1, 2], [4, 0]]


def test_shape_is_time_then_streams():
    assert make(dict).shape == (T, B)


def test_next_obs_is_built_once_and_only_when_asked_for():
    calls = []

    def build():
        calls.append(1)
        return {"image": torch.ones(1)}

    steps = make(build)
    assert not calls
    assert steps.next_obs is steps.next_obs
    assert len(calls) == 1


def test_frames_are_steps_of_one_with_no_known_successor():
    image = torch.arange(B * 3 * 4 * 4, dtype=torch.uint8).reshape(B, 3, 4, 4)
    steps = Steps.frames({"image": image})
    assert steps.shape == (1, B)
    assert steps.obs["image"].shape == (1, B, 3, 4, 4)
    assert torch.equal(steps.obs["image"][0], image)
    assert steps.obs["image"].data_ptr() == image.data_ptr()
    assert not steps.next_valid.any()
    assert not steps.done.any()


def test_windows_end_where_the_next_step_opens_an_episode():
    # Row t, stream b shows 10 t + b. Stream 0 never ends; 1 opens anew at 3; 2 at 1 and at the last row, 4.
    shown = 10 * torch.arange(T)[:, None] + torch.arange(B)
    first = torch.zeros(T, B, dtype=torch.bool)
    first[0, 0] = first[3, 1] = first[1, 2] = first[4, 2] = True
    image = shown.to(torch.uint8)[:, :, None, None, None].expand(T, B, 3, 4, 2)
    steps = Steps.windows({"image": image, "pose": shown.float()[:, :, None]}, first)
    assert steps.shape == (T, B)
    assert steps.done.nonzero().tolist() == [[0, 2], [2, 1], [3, 2]]
    assert steps.terminated.equal(steps.done)
    assert torch.equal(steps.first, first)
    # not known: after an end, and after the last row
    assert (~steps.next_valid).nonzero().tolist() == [[0, 2], [2, 1], [3, 2], [4, 0], [4, 1], [4, 2]]
    # where not known the frame itself: never the first frame of another episode
    wanted = [[10, 11, 2], [20, 21, 22], [30, 21, 32], [40, 41, 32], [40, 41, 42]]
    assert steps.next_obs["pose"][..., 0].tolist() == wanted
    assert steps.next_obs["image"].shape == image.shape
    assert steps.next_obs["image"][:, :, 1, 2, 1].tolist() == wanted
    assert not steps.reward.any()


def test_flatten_puts_streams_fastest_and_copies_nothing():
    value = torch.arange(T * B * 2).reshape(T, B, 2)
    flat = flatten({"x": value})["x"]
    assert flat.shape == (T * B, 2)
    assert torch.equal(flat[2 * B + 1], value[2, 1])
    assert flat.data_ptr() == value.data_ptr()
