"""Saliency, slots and traversals against arithmetic written here."""

from __future__ import annotations

import io

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image

from agents.actions import Categorical
from agents.policy import Policy
from agents.runner import PolicyOutput
from agents.runs.build import build_parts, policy_world
from agents.runs.evaluate import Visits
from benchmarks.recording import sheets
from benchmarks.recording.bonus import StepInputs
from benchmarks.recording.episode import play_episodes
from benchmarks.recording.explanations import VALUES, explanations, mixed, occlusion, slot_colours
from envs.wrappers.sb3 import Sb3VecEnv
from tests.agents.runs.tools import run_config


class Corner:
    """The value is the red of pixel (4, 15) over 255, the log-odds of action 1 its green; the state is added to it."""

    device, context_dim = torch.device("cpu"), 0
    distribution = Categorical(2)

    def __init__(self, high=255):
        self.observation_space = gym.spaces.Box(0, high, (3, 16, 24), np.uint8)

    def __call__(self, obs, state, first):
        assert first.tolist() == [False] * 65
        red, green = (obs["image"][:, channel, 4, 15].float() / 255 for channel in (0, 1))
        logits = torch.stack([torch.zeros_like(green), green], 1)
        return PolicyOutput(red.unsqueeze(1), state, logits, red + state[0].squeeze(1), None)


def inputs(image):
    return StepInputs({"image": image}, torch.zeros(1), (torch.tensor([5.0]),), False, False)


def test_only_the_patch_that_decides_is_salient():
    image = np.zeros((16, 24, 3), np.uint8)
    image[4, 15] = (255, 102, 0)
    value, action = occlusion(Corner(), inputs(image), np.array(1))
    # 16 x 24 in an 8 x 8 grid: patches of 2 x 3 pixels, so (4, 15) lies in row 2, column 5.
    # The mean red is 255 / 384 = 0.66, rounded 1; the mean green 102 / 384, rounded 0.
    expected = np.zeros((8, 8))
    expected[2, 5] = 1 - 1 / 255
    np.testing.assert_allclose(value, expected, atol=1e-6)
    # log pi(1) = green - log(1 + exp(green)): at 0.4 it is -0.5130, at 0 it is -0.6931
    expected[2, 5] = -0.513015 + 0.693147
    np.testing.assert_allclose(action, expected, atol=1e-5)


def test_symbols_are_filled_with_the_unseen_one():
    image = np.full((16, 24, 3), 10, np.uint8)
    value, _ = occlusion(Corner(high=10), inputs(image), np.array(0))
    assert value[2, 5] == pytest.approx(10 / 255, abs=1e-6)
    assert np.count_nonzero(value) == 1


def test_masks_mix_the_colours_of_their_slots():
    masks = torch.tensor([[[[1.0, 0.25]]], [[[0.0, 0.75]]]])  # two slots, one frame of 1 x 2 pixels
    pictures = mixed(masks, np.array([[100, 0, 40], [20, 80, 0]], np.uint8))
    assert pictures.tolist() == [[[[100, 0, 40], [40, 60, 10]]]]  # 25 + 15, 60, 10
    assert len({tuple(colour) for colour in slot_colours(7).tolist()}) == 7


def explained(repr, **settings):
    config = run_config(repr=repr, mode="online")
    config = run_config(repr=repr, mode="online", repr_settings={**config.repr_settings, **settings})
    parts = build_parts(config)
    world = policy_world(config, parts.task)
    env = Sb3VecEnv(world.make(1, 0))
    policy = Policy(env.observation_space, env.action_space, parts.representation, "online")
    policy.set_training_mode(False)
    env.close()
    (episode,) = play_episodes(policy, world, Visits(np.array([1]), np.array([0])), keep_inputs=True)
    return explanations("name", episode, policy), episode, policy


def test_traversals_move_one_latent_of_the_middle_frame():
    made, episode, policy = explained("vae", latents=5)
    assert set(made) == {"saliency", "traversal"}
    document, images = made["traversal"]
    (data,) = images.values()
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    rows = len(document["latents"])
    assert picture.shape == (rows * 64, len(VALUES) * 64, 3)
    assert document["kl"] == sorted(document["kl"], reverse=True)
    vae = policy.representation
    frame = torch.from_numpy(episode.frames[document["step"]]).movedim(-1, 0)[None]
    with torch.no_grad():
        z = vae.encoder(frame)[0][0]
        z[document["latents"][0]] = VALUES[5]
        decoded = torch.sigmoid(vae.decoder(z[None]))[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(picture[:64, 5 * 64 : 6 * 64] - decoded).mean() < 4


def test_slots_are_shown_frame_by_frame():
    made, episode, policy = explained("monet", slots=3, channels=(4, 4, 4))
    document, images = made["slots"]
    frames = sheets.decode(list(images.values()), document["frames"], (64, 64)).astype(int)
    assert len(frames) == len(episode.frames)
    image = torch.from_numpy(np.stack(episode.frames)).movedim(-1, 1).float() / 255
    with torch.no_grad():
        masks = policy.representation.masks(image).exp()
    np.testing.assert_allclose(document["share"], masks.mean((2, 3, 4)).T.numpy(), atol=1e-3)
    expected = torch.einsum("kthw,kc->thwc", masks.squeeze(2), torch.tensor(document["colours"]).float())
    assert np.abs(frames - expected.numpy()).mean() < 6


def test_a_plain_network_has_saliency_alone():
    made, episode, policy = explained("cnn")
    assert set(made) == {"saliency"}
    document, _ = made["saliency"]
    assert document["steps"] == np.linspace(0, len(episode.frames) - 1, 8).round().astype(int).tolist()
    value, action = occlusion(policy, episode.inputs[0], episode.actions[0])
    np.testing.assert_allclose(document["value"][0], value.ravel(), atol=1e-4)
    np.testing.assert_allclose(document["action"][0], action.ravel(), atol=1e-4)
