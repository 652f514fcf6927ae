"""Means, differences and gaps of episodes in columns: what is weighed, paired, resampled, and refused."""

import numpy as np
import pytest

from benchmarks.reporting import intervals, moments
from benchmarks.reporting.intervals import Scores

RNG = np.random.default_rng(5)


def scores(table):
    """Scores of {seed: {level: return}}."""
    rows = [(seed, level, value) for seed, levels in table.items() for level, value in levels.items()]
    return Scores.of_episodes(*zip(*rows, strict=True))


def matrix_scores(matrix, first_level=0, seeds=None):
    return scores(
        {
            seed: {first_level + level: value for level, value in enumerate(row)}
            for seed, row in zip(seeds or range(len(matrix)), matrix, strict=True)
        }
    )


CROSSED = RNG.normal(5, 1, size=(3, 6)) + RNG.normal(0, 1, size=(3, 1)) + np.array([0.0, 9.0, 3.0, 9.0, 1.0, 0.0])


def test_levels_weigh_the_same_however_often_they_were_played():
    # level 7 three times (mean 4), level 2 once (10): 7, not 22 / 4; seed 1: 3. Mean of seeds 5
    got = Scores.of_episodes([0, 0, 1, 0, 0], [7, 7, 2, 2, 7], [3, 4, 3, 10, 5])
    assert got.seeds == (0, 1)
    assert [list(levels) for levels in got.levels] == [[2, 7], [2]]
    assert [list(values) for values in got.returns] == [[10, 4], [3]]
    assert list(got.seed_means) == [7, 3]


def test_crossed_or_nested_shows_in_the_level_numbers():
    shared, own = matrix_scores(CROSSED), scores({0: {1: 2.0, 2: 3.0}, 1: {8: 1.0, 9: 0.0}})
    assert shared.crossed
    assert not own.crossed
    np.testing.assert_array_equal(shared.matrix(shared.common_levels), CROSSED)
    assert not matrix_scores(CROSSED[:1]).crossed
    got = intervals.mean(shared)
    assert got.high - got.estimate == pytest.approx(moments.crossed(CROSSED).half_width("seeds and levels"))
    nested = intervals.mean(own)
    assert nested.estimate == 1.5
    assert nested.high - 1.5 == pytest.approx(12.7062, abs=1e-4)  # seed means 2.5 and 0.5: sd of their mean 1


def test_levels_that_a_seed_lacks_do_not_count_where_seeds_are_crossed():
    table = {0: {1: 1.0, 2: 2.0, 3: 30.0}, 1: {1: 3.0, 2: 4.0}}
    got = intervals.mean(scores(table))
    assert (got.estimate, got.levels, got.seeds) == (2.5, 2, 2)


def test_an_interval_says_what_it_resamples():
    for over, count, words in (
        ("seeds", 3, "new seeds"),
        ("levels", 6, "these agents on these levels"),
        ("seeds and levels", 3, "new seeds on new levels"),
    ):
        got = intervals.mean(matrix_scores(CROSSED), over)
        assert (got.over, got.n, got.seeds, got.levels, got.speaks_of) == (over, count, 3, 6, words)
    alone = intervals.mean(matrix_scores(CROSSED[:1]))
    assert (alone.over, alone.n, alone.speaks_of, alone.usable) == ("levels", 6, "these agents on these levels", True)
    assert not intervals.mean(matrix_scores(CROSSED[:1, :1])).usable


def test_paired_difference_is_taken_in_each_cell():
    second = CROSSED - 1.25
    got = intervals.difference(matrix_scores(CROSSED), matrix_scores(second))
    assert (got.estimate, got.low, got.high) == pytest.approx((1.25, 1.25, 1.25))
    by_level = intervals.difference(matrix_scores(CROSSED), matrix_scores(second, seeds=[7, 8, 9]), paired="levels")
    apart = intervals.difference(matrix_scores(CROSSED), matrix_scores(second), paired="nothing")
    assert by_level.estimate == pytest.approx(1.25)
    assert 0 < by_level.high - by_level.low < apart.high - apart.low


def test_difference_has_the_sign_of_first_minus_second_in_every_pairing():
    for paired in ("seeds and levels", "levels", "nothing"):
        assert intervals.difference(matrix_scores(CROSSED + 3), matrix_scores(CROSSED), paired=paired).estimate > 2.9


def test_pairs_are_the_seeds_and_levels_in_common():
    first = scores({0: {1: 5.0, 2: 7.0}, 1: {1: 6.0, 2: 8.0}, 2: {1: 99.0}})
    second = scores({1: {2: 1.0, 3: 50.0}, 0: {1: 1.0, 2: 2.0}})
    both = first.minus(second)
    assert both.seeds == (0, 1)
    assert [list(values) for values in both.returns] == [[4, 5], [7]]
    with pytest.raises(ValueError, match=r"no seed in common to pair by: 0, 1, 2 and 4"):
        first.minus(scores({4: {1: 0.0}}))
    with pytest.raises(ValueError, match="no level in common to pair by, seed 1"):
        first.minus(scores({1: {9: 0.0}}))
    with pytest.raises(ValueError, match="played on other levels"):
        intervals.difference(first, scores({5: {9: 0.0}, 6: {9: 1.0}}), paired="levels")


def test_gap_is_train_minus_target_of_the_same_seeds():
    train = scores({1: {101: 9.0, 102: 7.0}, 2: {201: 6.0, 202: 6.0}, 3: {301: 0.0, 302: 0.0}})
    got = intervals.gap(train, scores({1: {0: 5.0, 1: 1.0}, 2: {0: 6.0, 1: 4.0}}))
    # seed 3 was not evaluated there; gaps 8 - 3 and 6 - 5
    assert (got.estimate, got.seeds) == (3, 2)
    # seeds' own term: sd of the mean of 5 and 1 is 2, t of 1 df 12.706
    assert got.high - 3 == pytest.approx(12.7062 * 2, abs=1e-3)


def test_gap_to_the_same_levels_in_another_look_is_paired_by_level():
    train = scores({s: {100 * s + k: float(10 * (k % 2)) for k in range(8)} for s in (1, 2, 3)})
    look = Scores(train.seeds, train.levels, tuple(values - 2 for values in train.returns))
    got = intervals.gap(train, look)
    assert (got.estimate, got.low, got.high) == (2, 2, 2)


def test_net_of_a_reference_takes_away_the_difficulty_of_each_level():
    difficulty = {level: RNG.normal(0, 5) for level in range(40)}
    played = scores({s: {level: difficulty[level] + s for level in range(10 * s, 10 * s + 10)} for s in (0, 1, 2)})
    reference = scores({0: {k: v + 1 for k, v in difficulty.items()}, 1: {k: v - 1 for k, v in difficulty.items()}})
    net = played.net_of(reference)
    np.testing.assert_allclose(np.concatenate(net.returns), np.repeat([0.0, 1.0, 2.0], 10), atol=1e-12)
    with pytest.raises(ValueError, match=r"did not play level 40 \(1 are missing\)"):
        scores({0: {39: 0.0, 40: 0.0}}).net_of(reference)


def test_difference_of_gaps_loses_the_difficulty_of_shared_target_levels():
    train, other_train = RNG.normal(9, 1, (3, 5)), RNG.normal(8, 1, (4, 5))
    own = [scores({s: dict(enumerate(row, 100 * s)) for s, row in enumerate(train)})]
    own.append(scores({s + 7: dict(enumerate(row, 100 * s + 900)) for s, row in enumerate(other_train)}))
    easy, hard = RNG.normal(size=(3, 6)), RNG.normal(size=(4, 6))
    difficulty = np.array([0.0, 40.0, -20.0, 9.0, 0.0, 5.0])
    got, moved = (
        intervals.gap_difference(
            (own[0], matrix_scores(easy + shift)), (own[1], matrix_scores(hard + shift, seeds=[7, 8, 9, 10]))
        )
        for shift in (0.0, difficulty)
    )
    assert got.estimate == pytest.approx((train.mean() - easy.mean()) - (other_train.mean() - hard.mean()))
    assert (moved.low, moved.high) == pytest.approx((got.low, got.high))
    elsewhere = matrix_scores(hard + difficulty, first_level=50, seeds=[7, 8, 9, 10])
    apart = intervals.gap_difference((own[0], matrix_scores(easy + difficulty)), (own[1], elsewhere))
    assert apart.estimate == pytest.approx(got.estimate)
    assert apart.high - apart.low > 3 * (got.high - got.low)


def plays(own_gain, sets=4, levels=5):
    """Agents of unlike skill on sets of unlike difficulty; on its own set each gets ``own_gain`` more."""
    skill, difficulty = RNG.normal(0, 2, sets), RNG.normal(0, 3, (sets, levels))
    return {
        agent: scores(
            {
                owner: {
                    100 * owner + level: skill[agent] + difficulty[owner, level] + own_gain * (owner == agent)
                    for level in range(levels)
                }
                for owner in range(sets)
            }
        )
        for agent in range(sets)
    }


def test_crossed_gap_is_what_the_own_set_adds():
    got = intervals.crossed_gap(plays(1.75))
    assert (got.estimate, got.low, got.high) == pytest.approx((1.75, 1.75, 1.75))
    assert (got.seeds, got.levels, got.over) == (4, 5, "seeds and levels")


def test_crossed_gap_refuses_what_it_cannot_cross():
    table = plays(1.0)
    with pytest.raises(ValueError, match="needs three seeds or more, got 2"):
        intervals.crossed_gap({0: table[0], 1: table[1]})
    with pytest.raises(ValueError, match="agent of seed 2 did not play the training set of seed 3"):
        intervals.crossed_gap({**table, 2: table[2].only((0, 1, 2))})
    elsewhere = Scores(table[1].seeds, tuple(levels + 50 for levels in table[1].levels), table[1].returns)
    with pytest.raises(ValueError, match="no level of the training set of seed 0"):
        intervals.crossed_gap({**table, 1: elsewhere})


def test_columns_that_are_no_episodes_are_refused():
    with pytest.raises(ValueError, match="columns of one length"):
        Scores.of_episodes([0, 1], [0], [1.0, 2.0])
    with pytest.raises(ValueError, match="columns of one length"):
        Scores.of_episodes([], [], [])
    with pytest.raises(ValueError, match="not finite"):
        Scores.of_episodes([0], [0], [np.nan])
