"""Timed settings: unique, complete, and named by the ratios."""

from benchmarks.baselines.speed_rows import RATIOS, rows


def test_every_ratio_names_rows_and_every_method_and_bonus_has_one():
    keys = {row.key for row in rows()}
    assert len(keys) == len(rows())
    assert {key for ratio in RATIOS for key in (ratio.numerator, ratio.denominator)} <= keys
    assert {"pretraining: gqn", "pretraining: darla", "bonuses: icm", "num_envs: 1024 environments"} <= keys
    assert "methods: ppo over unreal (online)" in keys
    assert "methods: ppo over gqn (frozen)" not in keys  # CoinRun gives no poses
