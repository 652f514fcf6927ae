"""The toys' table: what is fitted, what is kept, and what a method gains over random features."""

import csv

import pytest

from benchmarks import toys
from benchmarks.toys import NAMED, Args, difference, fittable, main, planned, table
from envs.toys import TOYS
from representations import REPRESENTATIONS


def row(toy, method, seed, r2):
    return {"toy": toy, "repr": method, "seed": seed, "r2": r2}


def test_a_gain_is_paired_by_seed():
    rows = [row("place", "random", seed, r2) for seed, r2 in enumerate((0.1, 0.3, 0.2))]
    rows += [row("place", "vae", seed, r2) for seed, r2 in enumerate((0.4, 0.5, 0.6))]
    # gains 0.3, 0.2, 0.4: mean 0.3, deviation 0.1, t(2) = 4.303, half width 4.303 * 0.1 / sqrt(3) = 0.248
    assert difference(rows, "place", "vae") == pytest.approx((0.3, 0.0516, 0.5484), abs=1e-3)
    assert difference(rows, "shape", "vae") is None
    _, lines = table(rows, ("vae",), TOYS)
    assert lines[1] == ["vae", "0.50", "–", "–", "–", "place", "+0.30 [+0.05, +0.55]", "yes"]
    assert lines[0][:2] == ["random", "0.20"]
    rows[-1]["r2"] = 0.3  # gains 0.3, 0.2, 0.1: 0.2 +- 0.248
    assert table(rows, ("vae",), TOYS)[1][1][-1] == "no"


def test_the_named_toy_has_more_seeds_and_every_fit_a_control():
    fits = planned(("vae",), Args(seeds=4, other_seeds=2))
    assert sorted(fit for fit in fits if fit[1] == "vae") == sorted(
        [("place", "vae", seed) for seed in range(4)]
        + [(toy, "vae", seed) for toy in TOYS if toy != "place" for seed in range(2)]
    )
    assert {(toy, seed) for toy, method, seed in fits if method == "random"} == {
        (toy, seed) for toy, method, seed in fits if method == "vae"
    }


def test_every_method_that_fits_frames_is_named_for_one_toy():
    assert set(NAMED) == set(fittable())
    assert set(NAMED.values()) <= set(TOYS)
    assert set(NAMED) <= set(REPRESENTATIONS.places)


def test_a_fit_is_made_once_and_kept(tmp_path, monkeypatch, capsys):
    made = []

    def fake(toy, method, seed, args):
        made.append((toy, method, seed))
        sizes = {"frames": args.frames, "steps": args.steps, "labels": args.labels, "commit": "abc"}
        return row(toy, method, seed, 0.5 if method == "vae" else 0.1 * seed) | sizes

    monkeypatch.setattr(toys, "fit_and_score", fake)
    words = ["--repr", "vae", "--seeds", "3", "--other-seeds", "2", "--out", str(tmp_path / "toys.csv")]
    assert main(words) == 0
    assert len(made) == 2 * (3 + 3 * 2)
    assert main(words) == 0
    assert len(made) == 18
    assert main([*words, "--steps", "7"]) == 0  # another size is another table
    assert len(made) == 36
    rows = list(csv.DictReader((tmp_path / "toys.csv").read_text().splitlines()))
    assert {row["steps"] for row in rows} == {"7"}
    assert (tmp_path / "toys.png").read_bytes().startswith(b"\x89PNG")
    assert "yes" in capsys.readouterr().out


def test_one_real_fit_is_scored_on_unseen_levels(tmp_path):
    args = Args(frames=64, steps=2, labels=32)
    fitted = toys.fit_and_score("flicker", "vae", 1, args)
    assert fitted["r2"] == toys.fit_and_score("flicker", "vae", 1, args)["r2"]
    assert fitted["r2"] != toys.fit_and_score("flicker", "vae", 2, args)["r2"]
    assert -1 < fitted["r2"] <= 1
    assert (fitted["frames"], fitted["steps"], fitted["labels"]) == (64, 2, 32)


def test_bad_sizes_are_refused(capsys):
    assert main(["--repr", "vae", "--seeds", "1"]) == 2
    assert "--seeds and --other-seeds of 2 or more" in capsys.readouterr().err
    assert main(["--toys", "ball"]) == 2
    assert "--toys ball: unknown toy; give some of place" in capsys.readouterr().err
