"""Intervals and tests against scipy, against published examples and against what happens when the same is drawn a few thousand times."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, sem

from eval.stats import Estimate, calibration, combine, compare, confidence, holm, mean, paired_mean, share

ANSWERS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=300)


def sides(pairs: list[tuple[bool, bool]]) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of right and wrong."""
    return tuple(np.array(side) for side in zip(*pairs, strict=True))


def test_wilson() -> None:
    """The worked example of Newcombe 1998: 81 of 263 has the score interval 0.2553 to 0.3662."""
    found = share(81, 263)
    assert (found.low, found.high) == (pytest.approx(25.53, abs=0.005), pytest.approx(36.62, abs=0.005))
    assert share(0, 10).low == 0 and share(10, 10).high == 100 and share(0, 10).high > 20  # none right of ten does not mean none ever


def test_one_question_has_no_error() -> None:
    """Its interval is nearly all there is; an error of 0 would be a lie."""
    assert math.isnan(share(1, 1).error) and share(1, 1).low < 25


@pytest.mark.parametrize(("right", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_what_is_no_share(right: int, n: int) -> None:
    """More right answers than questions come from files that do not belong together."""
    with pytest.raises(ValueError, match="right answers"):
        share(right, n)


def test_a_difference_of_independent_shares() -> None:
    """Newcombe 1998, method 10 of the unpaired paper: 56/70 less 48/80 is 0.2000 with the interval 0.0524 to 0.3339."""
    found = combine([share(56, 70), share(48, 80)], [1, -1])
    assert (found.value, found.low, found.high) == (pytest.approx(20), pytest.approx(5.24, abs=0.005), pytest.approx(33.39, abs=0.005))


@given(ANSWERS)
def test_the_error_of_a_pair_is_that_of_the_means(pairs: list[tuple[bool, bool]]) -> None:
    """The bilingual error is the standard error of the pairs' means, not that of two independent sets."""
    first, second = sides(pairs)
    found = paired_mean(first, second)
    assert found.error == pytest.approx(100 * sem((first + second.astype(float)) / 2), abs=1e-6)
    assert found.n == len(pairs) and found.low - 1e-9 <= found.value <= found.high + 1e-9


def test_pairs_that_agree_count_once() -> None:
    """A translation that is always answered as its original adds nothing: the error is that of one language, not smaller by the root of 2."""
    first = np.arange(400) % 3 > 0
    assert paired_mean(first, first).error == pytest.approx(share(int(first.sum()), 400).error)
    alone = paired_mean(first, np.roll(first, 1)).error
    assert alone < 0.75 * share(int(first.sum()), 400).error


@pytest.mark.parametrize("r", [0.0, 0.5])
def test_intervals_cover(r: float) -> None:
    """Of 600 draws of 200 pairs, 95% of the intervals hold the true mean and the true difference, give or take what 600 draws leave open."""
    draw = np.random.default_rng(7)
    held = {"mean": 0, "difference": 0}
    for _ in range(600):
        same = draw.random(200) < r
        first, second = draw.random(200) < 0.7, draw.random(200) < 0.7
        second = np.where(same, first, second)
        found, other = paired_mean(first, second), compare(first, second).difference
        held["mean"] += found.low <= 70 <= found.high
        held["difference"] += other.low <= 0 <= other.high
    assert all(0.925 <= count / 600 <= 0.975 for count in held.values()), held


@given(ANSWERS)
def test_mcnemar_is_the_binomial_test_of_the_discordant(pairs: list[tuple[bool, bool]]) -> None:
    """As scipy has it; the difference is that of the accuracies."""
    first, second = sides(pairs)
    found = compare(first, second)
    only = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    assert (found.only_first, found.only_second) == only
    assert found.p == (binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0)
    assert found.difference.value == pytest.approx(100 * (first.mean() - second.mean()), abs=1e-9)
    back = compare(second, first)
    assert (back.p, back.difference.low) == (pytest.approx(found.p), pytest.approx(-found.difference.high, abs=1e-9))


def test_holm() -> None:
    """By hand: 0.01 x 4, 0.02 x 3, 0.03 x 2 held up by the one before, 0.2 x 1; the order of the list stays."""
    assert holm([0.2, 0.01, 0.03, 0.02]) == pytest.approx([0.2, 0.04, 0.06, 0.06])
    assert holm([]) == [] and holm([0.7, 0.9]) == pytest.approx([1.0, 1.0])


@given(st.lists(st.builds(Estimate, st.floats(0, 100), st.floats(0, 50), st.just(0.0), st.just(100.0), st.integers(1, 5000)), min_size=1, max_size=9))
def test_a_mean_lies_between(some: list[Estimate]) -> None:
    """And is as sure as its cells together, at the least as the least sure of them."""
    found = mean(some)
    assert min(cell.value for cell in some) - 1e-9 <= found.value <= max(cell.value for cell in some) + 1e-9
    assert found.error <= max(cell.error for cell in some) + 1e-9
    assert found.n == sum(cell.n for cell in some) and found.low <= found.value <= found.high


def test_few_that_agree_prove_little() -> None:
    """Four questions answered alike leave the difference wide open, a thousand do not; nor is a mean of four pairs sure."""
    same = np.array([True, False, True, False])
    assert compare(same, same).difference.low < -40 and compare(same, same).difference.high > 40
    many = np.arange(1000) % 2 == 0
    assert -0.5 < compare(many, many).difference.low < compare(many, many).difference.high < 0.5
    assert paired_mean(same, ~same).high - paired_mean(same, ~same).low > 40


def test_calibration_by_hand() -> None:
    """Two answers at 25% of which one is right, two at 95% both right: gaps of 25 and 5 points, each for half of the answers."""
    found = calibration(np.array([0.25, 0.25, 0.95, 0.95]), np.array([True, False, True, True]))
    assert found.confidence == pytest.approx([25, 95]) and [cell.value for cell in found.accuracy] == [50, 100]
    assert found.error == pytest.approx(15)
    assert calibration(np.array([1.0]), np.array([True])).error == 0


def test_confidence_of_far_away_likelihoods() -> None:
    """Logarithms of whole answers lie hundreds below 0: their exponentials would all be 0."""
    assert confidence([-1000.0, -1000.0 - math.log(3)]) == pytest.approx(0.75)
