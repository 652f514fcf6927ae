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


def test_flatten_puts_streams_fastest_and_copies_nothing():
    value = torch.arange(T * B * 2).reshape(T, B, 2)
    flat = flatten({"x": value})["x"]
    assert flat.shape == (T * B, 2)
    assert torch.equal(flat[2 * B + 1], value[2, 1])
    assert flat.data_ptr() == value.data_ptr()
