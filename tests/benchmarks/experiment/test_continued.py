"""Planned continuations and starts from other runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.experiment.continued import check_init_from, with_continuations
from benchmarks.transfer import Args, plan
from envs.registry import UsageError


def test_each_run_is_followed_by_its_continuations():
    args = Args(repr=("cnn",), suite="counting", steps=1000, seeds=(0, 1), continue_to=(3000, 2000))
    planned = [(config.seed, config.steps, config.continued) for config in plan(args)]
    alone = [(seed, 1000, ()) for seed in (0, 1)]
    longer = [(seed, *lengths) for seed in (0, 1) for lengths in ((2000, (1000,)), (3000, (1000, 2000)))]
    assert planned == [*alone, *longer]
    with pytest.raises(UsageError, match="--continue-to 1000: counting has 1,000 frames by then; give more"):
        plan(replace(args, continue_to=(1000,)))
    with pytest.raises(UsageError, match="--continue-to and --equal-budget do not go together"):
        with_continuations(replace(args, equal_budget=True), plan(args))


@pytest.mark.parametrize("options", [{"equal_budget": True}, {"pretrain_data": "mixed"}, {"pretrain_levels": "more"}])
def test_rows_as_long_as_others_make_them_go_with_neither(options, tmp_path):
    args = Args(repr=("cnn",), suite="counting", seeds=(0,), **options)
    with pytest.raises(UsageError, match=f"--continue-to and --{next(iter(options)).replace('_', '-')}"):
        with_continuations(replace(args, continue_to=(10**9,)), ())
    with pytest.raises(UsageError, match="--init-from goes without --equal-budget"):
        check_init_from(replace(args, init_from=str(tmp_path)), (0,))


def test_named_rows_begin_with_other_weights_and_the_baseline_afresh(tmp_path):
    args = Args(repr=("vae", "cnn"), suite="counting", seeds=(0, 1), init_from=str(tmp_path))
    planned = {(config.repr, bool(config.init_from), config.pretrain_samples > 0) for config in plan(args)}
    assert planned == {("vae", True, False), ("cnn", True, False), ("cnn", False, False)}
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="2 seeds would begin with one agent and not be independent"):
        plan(args)
    check_init_from(args, (4,))
    with pytest.raises(UsageError, match="nothing is pre-trained"):
        plan(replace(args, seeds=(0,), pretrain_data="mixed"))
