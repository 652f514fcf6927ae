"""Pretext scores: what each condition shows, and that a task is set on all of them."""

import torch

from representations.base import Representation
from representations.collect import ACTION, FIRST
from representations.pretext import conditions, interior, pretext_scores
from tests.representations.toys import image_spec


def test_the_interior_is_the_middle_enlarged():
    image = torch.zeros(2, 1, 16, 8, dtype=torch.uint8)
    image[:, :, 2:14, 1:7] = 9  # an eighth of each side is 2 rows and 1 column
    image[0, 0, 2, 1], image[0, 0, 0, 0] = 5, 200
    middle = interior(image)
    assert middle.shape == image.shape
    assert set(middle.unique().tolist()) == {5, 9}  # no border is left
    # 12 rows become 16: row i shows row 2 + floor(i * 12 / 16), so the first two show rows 2 and 2
    assert middle[0, 0, 0, 0] == middle[0, 0, 1, 0] == 5
    assert middle[0, 0, 2, 0] == 9


def test_windows_with_a_reset_are_left_out_of_the_interior():
    image = torch.randint(0, 256, (5, 3, 3, 16, 16), dtype=torch.uint8)
    first = torch.zeros(5, 3, dtype=torch.bool)
    first[1, 0] = True  # opens an episode: no reset within
    first[2, 1] = first[4, 2] = True
    frames = {"image": image, FIRST: first, ACTION: torch.arange(15).view(5, 3)}
    found = conditions(frames, torch.Generator().manual_seed(1))
    assert torch.equal(found["interior"]["image"], interior(image[[0, 1, 3]]))
    assert found["interior"][ACTION].tolist() == [[0, 1, 2], [3, 4, 5], [9, 10, 11]]
    assert torch.equal(found["frames"]["image"], image)
    assert not torch.equal(found["noise"]["image"], image)


class Brightness(Representation):
    """Its accuracy is the mean of all pixels of the window, over 255."""

    pretext = True
    window = 2

    def __init__(self, spec):
        super().__init__(spec)
        self.features_dim = 1
        self.weight = torch.nn.Parameter(torch.ones(1))

    def encode(self, obs, state=(), first=None):
        return obs["image"].float().flatten(1).mean(1, keepdim=True), state

    def loss(self, steps, heads, generator):
        assert not self.training
        return self.weight.sum(), {"accuracy": steps.obs["image"].float().mean() / 255}


def test_a_task_is_set_on_every_condition():
    image = torch.zeros(7, 2, 1, 16, 16, dtype=torch.uint8)
    image[..., 4:12, 4:12] = 255
    frames = {"image": image, FIRST: torch.zeros(7, 2, dtype=torch.bool)}
    method = Brightness(image_spec((1, 16, 16))).train()
    scores = pretext_scores(method, frames, torch.Generator().manual_seed(0))
    assert scores["pretext/frames"] == 64 / 256
    assert abs(scores["pretext/interior"] - 64 / 144) < 0.04  # 12 pixels of a side become 16, so 8 become 10 or 11
    assert abs(scores["pretext/noise"] - 0.5) < 0.02
    assert method.training
    frames[FIRST][:, 1] = True
    assert "pretext/interior" not in pretext_scores(method, frames, torch.Generator())
    method.pretext = False
    assert pretext_scores(method, frames, torch.Generator()) == {}
