"""DeepCluster: whitening, k-means and the loss by hand, when labels are renewed, and what learning changes."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from envs.steps import Steps
from representations.deep_cluster import DeepCluster, DeepClusterConfig, k_means, nearest, whitening
from representations.pretrain import Pretrainer
from tests.representations.toys import Fixed, few_label_read_out, image_spec, toy_windows

SPEC = image_spec((3, 40, 40))
SMALL = DeepClusterConfig(clusters=3, components=4, batch=4)


def frames(count: int, seed: int = 1) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 40, 40), dtype=torch.uint8, generator=draws)


def test_whitened_features_have_variance_one_and_no_correlation():
    features = torch.randn(200, 5) @ torch.randn(5, 5) + 3
    features[:, 4] = features[:, 0]  # one direction is empty
    mean, directions = whitening(features, 5)
    points = (features - mean) @ directions
    assert torch.allclose(points.mean(0), torch.zeros(5), atol=1e-4)
    expected = torch.diag(torch.tensor([1.0, 1, 1, 1, 0]))
    assert torch.allclose(points.T @ points / 200, expected, atol=1e-3)
    # the strongest come first
    assert torch.equal(whitening(features, 2)[1], directions[:, :2])
    strength = ((features - mean) @ torch.nn.functional.normalize(directions[:, :4], dim=0)).var(0)
    assert torch.equal(strength.argsort(descending=True), torch.arange(4))


def test_k_means_finds_groups_and_its_objective_never_rises(generator):
    centres = torch.tensor([[0.0, 0], [5, 0], [0, 5]])
    points = (centres[:, None] + 0.1 * torch.randn(3, 20, 2)).flatten(0, 1)
    objectives = []
    for rounds in range(8):
        draws = torch.Generator().manual_seed(1)
        centroids, label = k_means(points, 3, draws, rounds)
        assert torch.equal(label, torch.cdist(points, centroids).argmin(1))
        objectives.append(float((points - centroids[label]).square().sum()))
    assert all(after <= before + 1e-4 for before, after in pairwise(objectives))
    groups = label.view(3, 20)
    assert all(len(group.unique()) == 1 for group in groups) == (objectives[-1] < 10)


def test_an_empty_cluster_takes_half_of_another(generator):
    # all points but four are equal at the start: centroids drawn among them leave clusters empty
    points = torch.cat([torch.ones(40, 2), torch.rand(4, 2)])
    start = torch.Generator().manual_seed(3)
    drawn = points[torch.randperm(44, generator=torch.Generator().manual_seed(3))[:6]]
    assert len(drawn.unique(dim=0)) < 4
    _, before = k_means(points, 6, torch.Generator().manual_seed(3), rounds=0)
    _, after = k_means(points, 6, start, rounds=20)
    assert len(after.unique()) > len(before.unique())
    # of evenly spread points none of the clusters is left empty
    spread = torch.rand(300, 2)
    assert len(k_means(spread, 12, generator)[1].unique()) == 12


def test_the_loss_by_hand(generator):
    # clusters of 4, 1 and 2 frames; chances 1/8, 2/8, 5/8; labels 0, 1, 1, 2 of the rows drawn
    model = DeepCluster(SPEC, SMALL)
    model.table, model.sizes = torch.tensor([1, 0, 2, 0, 0, 0, 2]), torch.tensor([4.0, 1, 2])
    model.classifier = Fixed(torch.tensor([0.0, math.log(2), math.log(5)]).repeat(4, 1))
    steps = Steps.frames({"image": frames(4)})
    steps.row = torch.tensor([5, 0, 0, 2])
    loss, metrics = model.loss(steps, None, generator)
    costs = math.log(8) / 4 + 2 * math.log(4) + math.log(8 / 5) / 2
    assert float(loss) == pytest.approx(costs / (1 / 4 + 2 + 1 / 2), rel=1e-5)
    assert float(metrics["accuracy"]) == 0.25
    assert float(metrics["largest"]) == pytest.approx(4 / 7)


def test_without_a_row_the_nearest_centroid_is_the_label(generator):
    model = DeepCluster(SPEC, SMALL)
    image = frames(12)
    model.prepare({"image": image})
    # unshifted and with the network as it was clustered, frames have the labels of the table
    with torch.no_grad():
        assert torch.equal(nearest(model.points(model.trunk(image)), model.centroids), model.table)
    steps, rows = Steps.frames({"image": image}), Steps.frames({"image": image})
    rows.row = torch.arange(12)
    losses = [model.loss(s, None, torch.Generator().manual_seed(0))[0].detach() for s in (steps, rows)]
    assert torch.equal(*losses)
    assert torch.equal(model.sizes, model.table.bincount(minlength=3).float())


def test_labels_are_renewed_after_every_epoch_but_the_last():
    image, times = frames(12), []
    model = DeepCluster(SPEC, SMALL)
    trainer = Pretrainer(model, {"image": image}, 4 * 11, generator=torch.Generator().manual_seed(0))
    cluster = model.cluster
    model.cluster = lambda: times.append(int(model.updates)) or cluster()
    while not trainer.done:
        trainer.run(4)
    # 12 frames are 3 steps of 4, and after step 9 of 11 a new classifier would have 2 steps to learn
    assert times == [3, 6]
    assert model.stored is None  # let go of
    model.after_step()
    assert int(model.updates) == 11


def test_a_clustering_follows_from_the_step_and_begins_a_new_classifier():
    model = DeepCluster(SPEC, SMALL)
    model.prepare({"image": frames(12)})
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        model.classifier.weight.add_(1)
        model.classifier.bias.add_(1)
    torch.manual_seed(5)
    model.cluster()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    model.updates += 1
    model.cluster()
    assert not torch.equal(model.classifier.weight, state["classifier.weight"])


def test_a_table_is_loaded_where_no_frames_were_shown():
    model, other = DeepCluster(SPEC, SMALL), DeepCluster(SPEC, SMALL)
    model.prepare({"image": frames(12)})
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.table, model.table)
    assert len(other.table) == 12


def test_the_gradient_reaches_every_parameter(generator):
    model = DeepCluster(SPEC, SMALL)
    model.prepare({"image": frames(12)})
    steps = Steps.frames({"image": frames(12)})
    steps.row = torch.arange(12)
    model.loss(steps, None, generator)[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_learning_lowers_the_loss_and_keeps_many_clusters():
    stored, _ = toy_windows("place", 384)
    unseen, place = toy_windows("place", 512, 1, seed=1)
    model = DeepCluster(SPEC, DeepClusterConfig(clusters=16, components=16, batch=32, pad=2))

    def score() -> float:
        with torch.no_grad():
            return few_label_read_out(model.encode(unseen)[0], place)

    before = score()
    trainer = Pretrainer(model, stored, 32 * 60, generator=torch.Generator().manual_seed(0))
    early, late = trainer.run(32 * 12), trainer.run(32 * 48)
    assert late["pretrain/cluster/loss"] < early["pretrain/cluster/loss"] - 0.1  # log 16 = 2.8 at the start
    assert late["pretrain/cluster/largest"] < 0.6  # of the stored frames in one cluster
    assert score() > before + 0.1
