"""Offline pre-training: phases in order, measures of the features, and a restart to the same bits."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from agents import checkpoint
from envs.registry import UsageError
from envs.steps import flatten
from representations.base import Phase, Representation, solving
from representations.collect import ACTION, FIRST
from representations.darla import Darla
from representations.gqn import Gqn, GqnConfig
from representations.pretrain import Pretrainer
from representations.threads import gather, is_first
from tests.representations.toys import image_spec, moving_square, with_vector


class TwoPhases(Representation):
    """Phase "a" pulls its number to the batch's mean pixel, phase "b" its own to a's; both count their batches."""

    features_dim = 1

    def __init__(self, spec, config=None):
        super().__init__(spec, config)
        self.a, self.b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.register_buffer("after", torch.zeros((), dtype=torch.int64))
        self.order = []

    def encode(self, obs, state=(), first=None):
        return self.b.expand(len(obs["image"]), 1), state

    def phases(self):
        def fit_a(steps, generator):
            self.order.append("a")
            image = flatten(steps.obs)["image"].float() / 255
            noise = torch.rand((), generator=generator)
            return (self.a - image.mean() - noise).square().sum(), {"noise": noise}

        def fit_b(steps, generator):
            self.order.append("b")
            return (self.b - self.a).square().sum(), {}

        return [Phase("a", [self.a], fit_a, 0.01, share=3.0), Phase("b", [self.b], fit_b, 0.01, share=1.0)]

    def after_step(self):
        self.after += 1


def frames(n=20):
    return {"image": torch.randint(256, (n, 4, 5, 3), dtype=torch.uint8).permute(0, 3, 1, 2)}


def pretrainer(representation, data, samples=80, seed=3):
    return Pretrainer(
        representation, data, samples, generator=torch.Generator().manual_seed(seed), batch_size=4, precision="float32"
    )


def test_phases_run_in_order_by_share_on_their_own_parameters():
    two = TwoPhases(image_spec((3, 4, 5)))
    trainer = pretrainer(two, frames())
    assert trainer.total == 80
    # 20 steps of 4 samples; shares 3 : 1 give 15 and 5
    metrics = trainer.run(40)
    assert two.order == ["a"] * 10
    assert set(metrics) == {"pretrain/a/loss", "pretrain/a/noise"}
    assert two.b.item() == 0
    assert (trainer.drawn, trainer.done) == (40, False)
    a_before = two.a.item()
    trainer.run(20)
    trainer.run(1000)
    assert two.order == ["a"] * 15 + ["b"] * 5
    assert (trainer.drawn, trainer.done, int(two.after)) == (80, True, 20)
    assert two.a.item() != a_before
    # five steps of Adam toward a larger a: 3 at 0.01, then 0.3 * 5 = 1.5 steps to 0: min(1, 2 / 1.5), 1 / 1.5
    assert two.b.item() == pytest.approx(0.01 * (4 + 2 / 3), rel=0.02)
    assert not two.training


def test_b_s_gradient_never_reaches_a():
    two = TwoPhases(image_spec((3, 4, 5)))
    trainer = pretrainer(two, frames())
    trainer.run(60)
    a = two.a.item()
    trainer.run(20)
    assert two.a.item() == a


class Uneven(TwoPhases):
    """Phase "a" takes 7 frames a step; windows of 2."""

    window = 2

    def phases(self):
        a, b = super().phases()
        return [replace(a, batch=7), b]


def pairs(n=10):
    """``n`` windows of 2 frames."""
    image = torch.randint(256, (n, 2, 4, 5, 3), dtype=torch.uint8).movedim(-1, -3)
    return {"image": image, FIRST: torch.zeros(n, 2, dtype=torch.bool)}


def test_a_phase_has_its_own_batch_in_whole_windows():
    two = Uneven(image_spec((3, 4, 5)))
    trainer = pretrainer(two, pairs(), samples=96)
    # Phase a: 7 // 2 = 3 windows, 6 frames; the other 4 // 2 = 2 windows, 4 frames. Shares 3 : 1 of 96:
    # 16 * 3/4 = 12 steps, 24 * 1/4 = 6 steps; 12 * 6 + 6 * 4 = 96
    assert trainer.total == 96
    trainer.run(40)  # 6 steps are 36, a 7th were 42
    assert (two.order, trainer.drawn) == (["a"] * 6, 36)
    trainer.run(40)  # up to 76: six more are 72, and one of 4
    assert (two.order[6:], trainer.drawn) == (["a"] * 6 + ["b"], 76)
    trainer.run(1)  # at least one
    assert trainer.drawn == 80
    trainer.run(1000)
    assert (trainer.drawn, trainer.done, len(two.order)) == (96, True, 18)


class Recording(Uneven):
    """Keeps the newest steps that its loss was given."""

    def phases(self):
        def record(steps, generator):
            self.steps = steps
            return self.a.sum(), {}

        return [Phase("record", [self.a], record, 0.01, batch=6)]


def test_windows_reach_the_loss_time_first():
    two, data = Recording(image_spec((3, 4, 5))), pairs()
    data[FIRST][:, 1] = torch.arange(10) % 2 == 1
    pretrainer(two, data, samples=6).run(6)
    assert two.steps.shape == (2, 3)
    assert set(two.steps.obs) == {"image"}
    image = two.steps.obs["image"]
    drawn = [int((data["image"] == image[:, b]).flatten(1).all(1).nonzero()) for b in range(3)]
    assert two.steps.first[1].tolist() == [bool(index % 2) for index in drawn]
    assert torch.equal(two.steps.done[0], two.steps.first[1])
    assert image.movedim(-3, -1).is_contiguous()


def test_windows_reach_the_loss_with_their_actions_and_their_row():
    two, data = Recording(image_spec((3, 4, 5))), pairs()
    data[ACTION] = torch.arange(20).view(10, 2)
    pretrainer(two, data, samples=6).run(6)
    assert two.steps.actions_known
    # row r holds the actions 2 r, 2 r + 1
    assert torch.equal(two.steps.action, torch.stack([2 * two.steps.row, 2 * two.steps.row + 1]))


class Solved(TwoPhases):
    """Phase "mean" is solved at once, then phase "b" takes 4 frames a step."""

    def prepare(self, frames):
        self.prepared = len(frames["image"])

    def phases(self):
        def mean(frames, generator):
            self.order.append("mean")
            self.a.copy_(frames["image"].float().mean())
            self.drawn = torch.rand((), generator=generator)
            return {"mean": self.a.detach().clone()}

        _, b = super().phases()
        return [solving("mean", [self.a], mean), b]


def test_a_phase_that_is_solved_at_once_takes_every_frame_once():
    image = torch.randint(256, (10, 4, 5, 3), dtype=torch.uint8).movedim(-1, -3)
    two = Solved(image_spec((3, 4, 5)))
    trainer = pretrainer(two, {"image": image}, samples=12)
    assert two.prepared == 10
    assert trainer.total == 10 + 12  # 12 // 4 = 3 steps of b
    metrics = trainer.run(1)
    assert (trainer.drawn, two.order) == (10, ["mean"])
    assert metrics == {"pretrain/mean/mean": pytest.approx(float(image.float().mean()), rel=1e-5)}
    assert float(two.a.detach()) == pytest.approx(float(image.float().mean()), rel=1e-5)
    trainer.run(100)
    assert (trainer.done, two.order) == (True, ["mean", "b", "b", "b"])


def test_a_fit_that_is_solved_at_once_resumes_after_it():
    image = torch.randint(256, (10, 4, 5, 3), dtype=torch.uint8).movedim(-1, -3)
    one, other = Solved(image_spec((3, 4, 5))), Solved(image_spec((3, 4, 5)))
    first = pretrainer(one, {"image": image}, samples=12)
    first.run(1)
    second = pretrainer(other, {"image": image}, samples=12, seed=5)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(one.state_dict())
    assert second.drawn == 10
    assert [len(trainer.run(100)) > 0 for trainer in (first, second)] == [True, True]
    assert other.order == ["b", "b", "b"]  # not solved again
    assert torch.equal(one.b, other.b)


def test_the_learning_rate_anneals_at_the_end_of_its_phase():
    trainer = pretrainer(Uneven(image_spec((3, 4, 5))), pairs(), samples=128)
    rates: dict[int, list[float]] = {0: [], 1: []}
    for number, optimizer in enumerate(trainer.optimizers):
        step = optimizer.step

        def spy(step=step, number=number, optimizer=optimizer):
            rates[number].append(optimizer.param_groups[0]["lr"])
            step()

        optimizer.step = spy
    trainer.run(1000)
    # 128 // 6 * 3/4 = 15.75: 16 steps; the last 0.3 are 4.8: 4, 3, 2, 1 of 4.8. Phase b: 32 * 1/4 = 8 steps, 2.4 last
    assert rates[0] == pytest.approx([0.01] * 12 + [0.01 * left / 4.8 for left in (4, 3, 2, 1)])
    assert rates[1] == pytest.approx([0.01] * 6 + [0.01 * left / 2.4 for left in (2, 1)])


@pytest.mark.parametrize("pause", [3, 8])
def test_a_stopped_fit_of_scenes_resumes_to_the_same_bits(tmp_path, pause):
    image, pose = torch.randint(256, (6, 3, 8, 8, 3), dtype=torch.uint8).movedim(-1, -3), torch.randn(6, 3, 2)
    data = {"image": image, "pose": pose, FIRST: torch.zeros(6, 3, dtype=torch.bool)}
    spec = with_vector(image_spec((3, 8, 8)), "pose", 2)
    config = GqnConfig(code=8, channels=4, steps=2, latents=2, views=3, batch=4, sigma_share=0.6)

    def fresh(seed):
        torch.manual_seed(seed)
        return pretrainer(Gqn(spec, config), data, samples=10 * 12, seed=seed)

    whole, first, second = fresh(3), fresh(3), fresh(9)
    whole.run(1000)
    first.run(pause * 12)
    checkpoint.save(tmp_path, 1, first.components())
    checkpoint.load(tmp_path, second.components())
    assert second.drawn == pause * 12
    second.run(1000)
    for (name, wanted), found in zip(
        whole.representation.state_dict().items(), second.representation.state_dict().values(), strict=True
    ):
        assert torch.equal(wanted, found), name
    assert second.representation.progress == 0.9  # of the last of ten steps


class Red(TwoPhases):
    """Features: ``scale`` times the mean red of a frame, and 3."""

    features_dim, scale = 2, 1.0

    def encode(self, obs, state=(), first=None):
        assert first.all()
        assert not self.training
        red = obs["image"][:, 0].float().mean((1, 2))
        return torch.stack([self.scale * red, torch.full_like(red, 3.0)], 1), state


def test_watch_measures_features_and_warns_of_a_collapse():
    image = torch.zeros(4, 4, 5, 3, dtype=torch.uint8)
    image[..., 0] = torch.tensor([0, 2, 4, 6])[:, None, None]
    two = Red(image_spec((3, 4, 5)))
    trainer = pretrainer(two, {"image": image.permute(0, 3, 1, 2)})
    trainer.run(40)
    # red 0, 2, 4, 6: standard deviation sqrt(5), mean with the constant's 0 halves it; size sqrt((14 + 9) / 2)
    found = trainer.watch()
    # one feature varies, the other is constant: one direction
    wanted = {"pretrain/feature_std": 5**0.5 / 2, "pretrain/feature_size": 11.5**0.5, "pretrain/effective_rank": 1}
    assert found == pytest.approx(wanted)
    assert two.training
    # 0.0001 of it: spread 0.000112 of size 3 / sqrt(2) = 2.12, below a ten-thousandth
    two.scale = 0.0001
    message = r"^red: features have collapsed after 40 samples: .* over frames is 0\.00011, their size 2\.1;"
    with pytest.warns(RuntimeWarning, match=message):
        trainer.watch()
    two.scale = 0.0004  # 0.00045 of 2.12
    trainer.watch()


def test_watch_measures_the_first_frame_of_windows():
    data = pairs()
    data["image"][:, 1] = 200
    trainer = pretrainer(Red(image_spec((3, 4, 5))), data)
    trainer.representation.window = 2
    found = trainer.watch()
    red = data["image"][:, 0, 0].float().mean((1, 2))
    assert found["pretrain/feature_std"] == pytest.approx(float(red.std(correction=0)) / 2, rel=1e-5)


@pytest.mark.parametrize("pause", [5, 18, 33])
def test_a_stopped_fit_resumes_to_the_same_bits(tmp_path, pause):
    images, _ = moving_square(size=64, side=16, positions=4)
    data = {"image": images}
    config = Darla.Config(latents=3, bottleneck=4, batch=4)

    def fresh(seed):
        torch.manual_seed(seed)
        return Darla(image_spec((1, 64, 64)), config)

    whole = pretrainer(fresh(0), data, samples=160)
    whole.run(160)
    first = pretrainer(fresh(0), data, samples=160)
    first.run(pause * 4)
    assert first.drawn == pause * 4
    checkpoint.save(tmp_path, 1, first.components())
    second = pretrainer(fresh(9), data, samples=160, seed=9)
    checkpoint.load(tmp_path, second.components())
    assert second.drawn == pause * 4
    second.run(160)
    assert second.done
    for (name, wanted), found in zip(
        whole.representation.state_dict().items(), second.representation.state_dict().values(), strict=True
    ):
        assert torch.equal(wanted, found), name


def test_another_budget_is_refused_on_resume():
    data = frames()
    first = pretrainer(TwoPhases(image_spec((3, 4, 5))), data)
    with pytest.raises(UsageError, match=r"\[15, 5\] steps per phase"):
        pretrainer(TwoPhases(image_spec((3, 4, 5))), data, samples=120).load_state_dict(first.state_dict())


def test_bfloat16_reaches_about_the_same_loss():
    images, _ = moving_square(size=64, side=16, positions=8)
    ends = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        darla = Darla(image_spec((1, 64, 64)), Darla.Config(latents=3, bottleneck=4, denoiser_share=0.9, batch=16))
        trainer = Pretrainer(
            darla,
            {"image": images},
            640,
            generator=torch.Generator().manual_seed(0),
            batch_size=16,
            precision=precision,
        )
        ends[precision] = trainer.run(320)["pretrain/denoiser/loss"]
    assert ends["bfloat16"] == pytest.approx(ends["float32"], rel=0.02)


class Centred(TwoPhases):
    """Loss: mean over the batch of (w red - mean over the batch of w red)^2, noise aside; splits."""

    def phases(self):
        def spread(steps, generator):
            red = flatten(steps.obs)["image"][:, 0].double().mean((1, 2)) * self.a
            whole, own = gather(red)
            noise = torch.rand(len(red), generator=generator)
            if is_first():
                self.order.append(float(noise[0]))
            return (whole - whole.mean())[own].square().mean(), {"mean": red.detach().mean()}

        return [Phase("spread", [self.a], spread, 0.01, splits=True)]


def test_threads_give_one_threads_gradient_and_means(two_cores):
    data, steps = frames(), []
    for threads in (1, 2):
        centred = Centred(image_spec((3, 4, 5))).double()
        torch.nn.init.constant_(centred.a, 2.0)
        trainer = pretrainer(centred, data)
        trainer.threads = threads
        # 7 rows are 4 and 3: unequal parts are weighed 4/7 and 3/7
        loss, gradient, metrics = trainer.differentiate(trainer.phases[0], torch.tensor([0, 3, 5, 6, 9, 12, 19]))
        steps.append((float(loss), float(gradient[0]), float(metrics["mean"])))
    assert steps[0] == pytest.approx(steps[1], rel=1e-9)
    # The loss is quadratic in a = 2, so its gradient is 2 loss / a
    assert steps[0][1] == pytest.approx(steps[0][0])


@pytest.mark.parametrize(("splits", "parts"), [(True, 2), (False, 1)])
def test_only_a_phase_that_allows_it_is_split(two_cores, splits, parts):
    centred, sizes = Centred(image_spec((3, 4, 5))), []

    def record(steps, generator):
        sizes.append(len(flatten(steps.obs)["image"]))
        return centred.a.square().sum(), {}

    centred.phases = lambda: [Phase("record", [centred.a], record, 0.01, splits=splits)]
    pretrainer(centred, frames(), samples=4).run(4)
    assert sorted(sizes) == [4 // parts] * parts


@pytest.mark.parametrize("index", [0, 1])
def test_darlas_stages_in_threads_have_one_threads_gradient(two_cores, index, monkeypatch):
    """With batch statistics over both threads' rows; nothing is occluded, and noise has deviation e^-40."""
    monkeypatch.setattr("representations.darla.occlude", lambda image, generator: image)
    images, _ = moving_square(size=36, side=9, positions=3)
    darla = Darla(image_spec((1, 36, 36)), Darla.Config(latents=3, bottleneck=4)).double()
    torch.nn.init.constant_(darla.encoder.log_variance.bias, -80.0)
    gradients, running = [], []
    for threads in (1, 2):
        copied = copy.deepcopy(darla)
        trainer = pretrainer(copied, {"image": images})
        trainer.threads = threads
        _, gradient, _ = trainer.differentiate(trainer.phases[index], torch.tensor([0, 1, 4, 5, 8]))
        gradients.append(torch.cat([part.flatten() for part in gradient]))
        running.append(copied.denoiser.standardise.running_var)
    assert float(gradients[0].norm()) > 1e-3
    assert float((gradients[1] - gradients[0]).norm() / gradients[0].norm()) < 1e-5
    torch.testing.assert_close(running[1], running[0], rtol=1e-6, atol=1e-9)
    assert all(parameter.requires_grad for parameter in copied.denoiser.parameters())
