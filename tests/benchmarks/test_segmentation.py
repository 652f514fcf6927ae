"""Foreground ARI against arithmetic and against counting pairs; the command on a tiny budget."""

import csv

import numpy as np
import pytest
from PIL import Image

from benchmarks import segmentation
from benchmarks.segmentation import foreground_ari, scored_scenes
from envs.level_sets import HELDOUT, VALIDATION, training_levels
from envs.registry import UsageError
from envs.sprites.multi_sprites import MultiSprites
from representations.pretrain import Pretrainer

SMALL = ["--set", "monet.channels=(8,8,8)", "monet.decoder_channels=8"]
TINY = ["--samples", "320", "--scenes", "64", "--size", "32", "--seeds", "0"]


def by_pairs(true: np.ndarray, found: np.ndarray) -> float:
    """Adjusted Rand index of one image, from the pairs of foreground pixels one by one."""
    a, b = true[true > 0], found[true > 0]
    pairs = [(i, j) for i in range(len(a)) for j in range(i)]
    in_sprite = np.array([a[i] == a[j] for i, j in pairs])
    in_slot = np.array([b[i] == b[j] for i, j in pairs])
    both, expected = (in_sprite & in_slot).sum(), in_sprite.sum() * in_slot.sum() / len(pairs)
    return (both - expected) / ((in_sprite.sum() + in_slot.sum()) / 2 - expected)


def images(*rows: list[int]) -> np.ndarray:
    return np.array(rows)[:, None]


def test_by_hand():
    # Foreground: sprite 1 has 3 pixels, sprite 2 has 2. Slots: sprite 1 -> 0, 0, 1; sprite 2 -> 1, 1.
    #
    #             slot 0  slot 1        together C(2, 2) + C(2, 2) = 1 + 1 = 2
    #   sprite 1    2       1    3      rows     C(3, 2) + C(2, 2) = 3 + 1 = 4
    #   sprite 2    0       2    2      columns  C(2, 2) + C(3, 2) = 1 + 3 = 4
    #               2       3    5      E = 4 * 4 / C(5, 2) = 1.6;  (2 - 1.6) / (4 - 1.6) = 1 / 6
    true, found = images([0, 1, 1, 1, 2, 2, 0]), images([1, 0, 0, 1, 1, 1, 0])
    assert foreground_ari(true, found).tolist() == pytest.approx([1 / 6])
    # the background's slots are not asked for: they may be anything
    assert foreground_ari(true, images([0, 0, 0, 1, 1, 1, 2])).tolist() == pytest.approx([1 / 6])


def test_perfect_masks_whatever_their_names():
    rng = np.random.default_rng(0)
    true = rng.integers(4, size=(5, 6, 7))
    assert foreground_ari(true, true).tolist() == [1] * 5
    assert foreground_ari(true, np.array([2, 0, 3, 1])[true]).tolist() == [1] * 5
    assert foreground_ari(true.astype(np.uint8), true + 7).tolist() == [1] * 5


def test_one_slot_for_all_is_chance_with_two_sprites():
    two, one = images([0, 1, 1, 2, 2, 2]), images([0, 1, 1, 0, 1, 0])
    assert foreground_ari(two, np.zeros_like(two)).tolist() == [0]
    assert foreground_ari(two, np.full_like(two, 3)).tolist() == [0]
    assert foreground_ari(one, np.zeros_like(one)).tolist() == [1]
    assert foreground_ari(one, images([0, 0, 0, 2, 0, 1])).tolist() == [1]  # its 3 pixels are all in slot 0
    assert foreground_ari(one, images([0, 0, 0, 0, 1, 0])).tolist() == [0]  # in two slots: 1 or 0 says nothing more


def test_images_of_a_batch_do_not_mix():
    # the second is perfect, the first the example by hand, the third has one slot for all
    true = images([1, 1, 1, 2, 2, 0], [3, 3, 1, 1, 0, 0], [1, 2, 2, 1, 0, 0])
    found = images([0, 0, 1, 1, 1, 4], [4, 4, 0, 0, 0, 0], [2, 2, 2, 2, 0, 1])
    assert foreground_ari(true, found).tolist() == pytest.approx([1 / 6, 1, 0])


def test_it_equals_counting_pairs():
    rng = np.random.default_rng(1)
    true = rng.integers(4, size=(20, 5, 6))
    found = np.where(rng.random(true.shape) < 0.6, true, rng.integers(5, size=true.shape))
    wanted = [by_pairs(t, f) for t, f in zip(true, found, strict=True)]
    assert foreground_ari(true, found).tolist() == pytest.approx(wanted)
    assert 0.1 < np.mean(wanted) < 0.9


def test_random_masks_score_about_nothing():
    rng = np.random.default_rng(2)
    true = rng.integers(4, size=(600, 12, 12))
    for slots in (2, 5):
        scores = foreground_ari(true, rng.integers(slots, size=true.shape))
        assert abs(scores.mean()) < 0.005
        assert scores.min() < -0.005 < 0.005 < scores.max()


def test_heldout_scenes_have_two_sprites():
    world = MultiSprites(counts=(1, 3), size=32)
    ids = scored_scenes(world, 20, HELDOUT)
    assert len(set(ids.tolist())) == 20
    assert all(level in HELDOUT for level in ids.tolist())
    assert world.scenes(ids).n.min() >= 2
    passed = np.setdiff1d(np.arange(HELDOUT.start, ids.max()), ids)  # nothing but scenes of one sprite was left out
    assert set(world.scenes(passed).n.tolist()) == {1}
    with pytest.raises(UsageError, match="--sprites with at least 2"):
        scored_scenes(MultiSprites(counts=(1, 1), size=32), 4, HELDOUT)


class Oracle:
    """Masks of a colour each: sprites' own pixels where it is right."""

    def __init__(self, world: MultiSprites, right: bool):
        self.world, self.right, self.asked = world, right, []

    def masks(self, x):
        import torch

        ids = scored_scenes(self.world, 200, VALIDATION)[len(self.asked) : len(self.asked) + len(x)]
        self.asked += ids.tolist()
        scenes = self.world.scenes(ids)
        wanted = torch.from_numpy(scenes.image).permute(0, 3, 1, 2) / 255
        assert torch.allclose(x, wanted)
        slot = torch.from_numpy(scenes.mask).long() * self.right
        return torch.nn.functional.one_hot(slot, 4).permute(3, 0, 1, 2).unsqueeze(2).float().log()


def test_the_score_covers_all_scenes_each_with_its_own_masks():
    world = MultiSprites(counts=(1, 3), size=32)
    for right in (True, False):
        oracle = Oracle(world, right)
        assert segmentation.score(oracle, world, 150, VALIDATION) == float(right)  # a batch of 128 and one of 22
        assert len(oracle.asked) == 150


def test_a_tiny_fit_is_written_and_not_repeated(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(segmentation, "SCORED", 48)
    drawn, scored, images, score = [], [], segmentation.images, segmentation.score

    def recorded_images(dataset, ids):
        drawn.append(ids.tolist())
        return images(dataset, ids)

    def recorded_score(model, dataset, count, levels):
        scored.append((count, levels))
        return score(model, dataset, count, levels)

    monkeypatch.setattr(segmentation, "images", recorded_images)
    monkeypatch.setattr(segmentation, "score", recorded_score)
    arguments = [*TINY, *SMALL, "--out", str(tmp_path / "out")]
    assert segmentation.main(arguments) == 0
    printed = capsys.readouterr().out
    with open(tmp_path / "out" / "segmentation.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["seed"], row["size"], row["sprites"], row["samples"]) == ("0", "32", "1-3", "320")
    assert row["level_set"] == str(training_levels("segmentation", 0, 64))
    assert drawn[0] == list(training_levels("segmentation", 0, 64).first(64))
    assert scored == [(12, VALIDATION)] * 10 + [(48, HELDOUT)]
    assert -0.2 < float(row["ari_fg"]) <= 1
    assert len(row["curve"].split()) == 10
    assert f"{float(row['ari_fg']):.3f}" in printed
    folder = tmp_path / "out" / "monet-32-s0"
    with open(folder / "curve.csv", newline="") as file:
        curve = list(csv.DictReader(file))
    assert [int(part["samples"]) for part in curve] == list(range(32, 321, 32))
    with Image.open(folder / "masks.png") as picture:
        assert picture.size == (10 * 32, (2 + 2 * 4) * 32)  # 10 scenes; 4 slots: 3 sprites and the ground
    with Image.open(folder / "slots.png") as picture:
        assert picture.size == (7 * 32, 4 * 32)
    written = {path.name: path.stat().st_mtime_ns for path in (folder / "checkpoint").iterdir()}

    monkeypatch.setattr(Pretrainer, "run", None)
    assert segmentation.main(arguments) == 0
    assert capsys.readouterr().out == printed
    with open(tmp_path / "out" / "segmentation.csv", newline="") as file:
        (again,) = csv.DictReader(file)
    assert again == row
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "checkpoint").iterdir()} == written


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--samples", "100"], "--samples 100"),
        (["--scenes", "8"], "--scenes 8"),
        (["--size", "30"], "30x30"),
        (["--sprites", "3", "2"], "counts"),
        (["--sprites", "1", "1"], "at least 2"),
        (["--set", "monet.slot=3"], "did you mean 'slots'"),
        (["--set", "monet.slots=0"], "slots=0"),
        (["--set", "darla.beta=4"], "'darla' is not part of this command"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.setattr(Pretrainer, "run", None)  # said before anything is fitted
    size = TINY.index("--size")
    arguments = TINY[:size] + TINY[size + 2 :] if "--size" in words else TINY
    assert segmentation.main([*arguments, "--out", str(tmp_path), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
