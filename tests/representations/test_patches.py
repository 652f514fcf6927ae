"""Context prediction and jigsaw: where pieces come from, the losses by hand, and what learning teaches."""

from __future__ import annotations

import math

import pytest
import torch

from envs.registry import UsageError
from envs.steps import Steps
from representations.patches import (
    Context,
    ContextConfig,
    Jigsaw,
    JigsawConfig,
    affine_permutations,
    drop_colours,
    pick,
)
from representations.pretext import pretext_scores
from representations.pretrain import Pretrainer
from tests.representations.toys import Fixed, horizons, image_spec, read_out, strongest

SPEC = image_spec((3, 40, 40))


def coordinates(batch: int, side: int = 40) -> torch.Tensor:
    """Frames (batch, 3, side, side) whose channels are a pixel's row, its column and 9."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([row, column, torch.full_like(row, 9)]).to(torch.uint8).expand(batch, -1, -1, -1)


def test_72_permutations_agree_in_at_most_one_place():
    orders = affine_permutations()
    assert orders.shape == (72, 9)
    assert orders[0].tolist() == list(range(9))
    assert torch.equal(orders.sort(1).values, torch.arange(9).expand(72, -1))
    agree = (orders[:, None] == orders[None]).sum(2)
    assert int(agree.fill_diagonal_(0).max()) == 1
    # factor 2 + i, as 5 = 3 * 1 + 2 is 1 + 2i: the map z -> (1 + 2i) z sends i to i - 2 = 1 + i, 3 + 1 = 4
    assert next(row.tolist() for row in orders if row[0] == 0 and row[3] == 5)[1] == 4


def test_picked_pixels_and_dropped_colours():
    image = coordinates(2)
    row, column = torch.tensor([[[3, 3, 4]], [[0, 1, 39]]]), torch.tensor([[[0, 1, 1]], [[5, 5, 39]]])
    picked = pick(image, row, column)
    assert torch.equal(picked[:, 0].long(), row)
    assert torch.equal(picked[:, 1].long(), column)
    dropped = drop_colours(image, torch.tensor([False, True]), 3)
    assert torch.equal(dropped[0], image[0])
    # row 3, column 0: (3 + 0 + 9) / 3 in every channel
    assert dropped[1, :, 3, 0].tolist() == [4, 4, 4]


def test_a_neighbour_lies_where_its_number_says(generator):
    # at 40: patches of 10, gaps of 2, jitter 1; grids of 34 and jitters leave 4 places to spare
    context = Context(SPEC)
    views, label = context.pairs(coordinates(300), generator)
    centre, neighbour = (half[:, :2].flatten(2).long() for half in views.chunk(2))
    for half in (centre, neighbour):
        assert torch.equal(half.amax(2) - half.amin(2), torch.full((300, 2), 9))  # a patch of 10 pixels alone
    offset = neighbour.amin(2) - centre.amin(2)
    cell = label + (label >= 4)
    expected = torch.stack([cell // 3 - 1, cell % 3 - 1], 1) * 12
    assert (offset - expected).abs().max() == 2  # both patches have moved by 1
    assert sorted(label.unique().tolist()) == list(range(8))
    corner = centre.amin(2)
    assert corner.min() == 12  # 12 behind the grid's first pixel, which is at 1, less 1 of jitter
    assert corner.max() == 18  # 4 further, and 1 + 1 of jitter
    assert neighbour.min() == 0
    assert neighbour.max() == 39


def test_a_patch_stands_at_its_scale_at_any_place(generator):
    context = Context(SPEC)
    pixels = context.shown(40, torch.tensor([7] * 200), generator)
    assert torch.equal(pixels.diff(dim=1).sum(1), torch.full((200,), 9))
    assert int(pixels.diff(dim=1).amax()) == 1
    first = (pixels == 7).sum(1) - 1  # pixels before the second of the patch
    assert (int(first.min()), int(first.max())) == (0, 30)


def leading_repeats(values: torch.Tensor) -> int:
    """Values, but the last, before the first that is another."""
    return int((values == values[0]).long().cumprod(0).sum()) - 1


def test_tiles_are_put_where_the_permutation_says_and_back(generator):
    # at 42: cells of 14, tiles of 12, each cut out at 0..2 pixels from its cell's corner
    jigsaw = Jigsaw(image_spec((3, 42, 42)))
    label = torch.arange(72)
    puzzle = jigsaw.puzzles(coordinates(72, 42), label, generator)[:, :2].long()
    for number, order in enumerate(jigsaw.orders.tolist()):
        # the puzzle of 36 lies anywhere in 42, its border repeated
        top = leading_repeats(puzzle[number, 0, :, 0])
        left = leading_repeats(puzzle[number, 1, 0])
        tiles = puzzle[number, :, top : top + 36, left : left + 36].unfold(1, 12, 12).unfold(2, 12, 12)
        cells = tiles.flatten(1, 2).flatten(2) // 14
        for place, source in enumerate(order):
            assert set(cells[0, place].tolist()) == {source // 3}
            assert set(cells[1, place].tolist()) == {source % 3}
        back = cells[:, :, 0][:, torch.tensor(order).argsort()]  # the inverse puts each tile back
        assert torch.equal(3 * back[0] + back[1], torch.arange(9))


def test_the_losses_by_hand(generator):
    steps = Steps.frames({"image": torch.randint(0, 256, (3, 3, 40, 40), dtype=torch.uint8)})
    for method, classes in ((Context(SPEC), 8), (Jigsaw(SPEC), 72)):
        method.head = Fixed(torch.zeros(3, classes))
        loss, metrics = method.loss(steps, None, generator)
        assert float(loss) == pytest.approx(math.log(classes))  # no answer: chance
        # class 0 at log 3, the others at 0: 3 / (3 + classes - 1) for it, 1 / (classes + 2) for each other
        method.head = Fixed(torch.eye(classes)[[0, 0, 0]] * math.log(3))
        loss, metrics = method.loss(steps, None, generator)
        right = float(metrics["accuracy"])
        assert float(loss) == pytest.approx(math.log(classes + 2) - right * math.log(3), rel=1e-5)


def test_both_patches_go_through_one_trunk_and_features_are_whole_frames(generator):
    context = Context(SPEC)
    inputs = []
    context.trunk.register_forward_pre_hook(lambda trunk, args: inputs.append(args[0]))
    image = torch.randint(0, 256, (5, 3, 40, 40), dtype=torch.uint8)
    joined = []
    context.head.register_forward_pre_hook(lambda head, args: joined.append(args[0]))
    context.loss(Steps.frames({"image": image}), None, generator)
    (views,) = inputs
    torch.testing.assert_close(joined[0], torch.cat([context.trunk(views[:5]), context.trunk(views[5:])], 1))
    assert torch.equal(context.encode({"image": image})[0], context.trunk(image))


def test_learning_says_where_a_patch_lies_above_chance():
    images, row = horizons(240)
    context = Context(image_spec((1, 40, 40)), ContextConfig(batch=16, learning_rate=2e-3))
    before = context.encode({"image": images})[0].detach()
    trainer = Pretrainer(context, {"image": images[:180]}, 16 * 60, generator=torch.Generator().manual_seed(0))
    early, late = trainer.run(16 * 10), trainer.run(16 * 50)
    assert late["pretrain/context/loss"] < early["pretrain/context/loss"] - 0.15
    scores = pretext_scores(context, {"image": images[180:]}, torch.Generator().manual_seed(0))
    assert scores["pretext/frames"] > 0.2
    assert scores["pretext/noise"] < 0.2
    after = context.encode({"image": images})[0].detach()
    assert read_out(strongest(after, 3), row) > read_out(strongest(before, 3), row) + 0.1


def test_learning_solves_puzzles_above_chance_and_finds_the_horizon():
    images, row = horizons(240)
    jigsaw = Jigsaw(image_spec((1, 40, 40)), JigsawConfig(batch=16, learning_rate=2e-3))
    before = jigsaw.encode({"image": images})[0].detach()
    trainer = Pretrainer(jigsaw, {"image": images[:180]}, 16 * 120, generator=torch.Generator().manual_seed(0))
    early, late = trainer.run(16 * 12), trainer.run(16 * 108)
    assert late["pretrain/jigsaw/loss"] < early["pretrain/jigsaw/loss"] - 0.5
    scores = pretext_scores(jigsaw, {"image": images[180:]}, torch.Generator().manual_seed(0))
    assert scores["pretext/frames"] > 3 / 72
    after = jigsaw.encode({"image": images})[0].detach()
    assert read_out(strongest(after, 3), row) > read_out(strongest(before, 3), row) + 0.15


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"grey=1\.5: give a fraction of at most 1"):
        JigsawConfig(grey=1.5)
    with pytest.raises(ValueError, match=r"three patches take 1\.39 of the frame's side, give less"):
        ContextConfig(patch=0.4)
    with pytest.raises(ValueError, match=r"gap=0\.3: a cell is a third"):
        JigsawConfig(gap=0.3)
    with pytest.raises(UsageError, match="unknown trunk 'deep'"):
        Jigsaw(SPEC, JigsawConfig(trunk="deep"))
