"""What can be said about accuracies: standard errors, 95% intervals, exact tests of two models on the same questions, calibration.

Everything is in percent or percentage points, n in questions. scipy has Wilson's interval and the exact binomial test; what it lacks is here with its source.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

BINS = 10
Z = 1.959964  # of 95%


@dataclass(frozen=True)
class Estimate:
    """A value in percent (or in points, for a difference), its standard error (NaN for one question), its 95% interval, the number of questions."""

    value: float
    error: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """Two sides on the same n questions: those that only one answers right, first less second in points, p of the exact McNemar test."""

    n: int
    only_first: int
    only_second: int
    difference: Estimate
    p: float


def share(right: int, n: int) -> Estimate:
    """An accuracy: standard error with n - 1 as lm-eval has it, Wilson's score interval (1927), which holds near 0 and 100% and for few questions."""
    if not 0 <= right <= n or n < 1:
        raise ValueError(f"{right} right answers to {n} questions")
    p = right / n
    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    error = math.sqrt(p * (1 - p) / (n - 1)) if n > 1 else math.nan
    return Estimate(100 * p, 100 * error, 100 * interval.low, 100 * interval.high, n)


def combine(parts: list[Estimate], weights: list[float]) -> Estimate:
    """The weighted sum of independent estimates. The interval is MOVER, the square-and-add of the parts' own intervals (Zou and Donner 2008)."""
    w = np.array(weights)
    below, above = (np.array(side) for side in zip(*((part.value - part.low, part.high - part.value) for part in parts), strict=True))
    value = float(sum(weight * part.value for weight, part in zip(w, parts, strict=True)))
    low, high = (float(np.hypot.reduce(w * np.where(w > 0, *widths))) for widths in ((below, above), (above, below)))
    error = float(np.hypot.reduce(w * np.array([part.error for part in parts])))
    return Estimate(value, error, value - low, value + high, sum(part.n for part in parts))


def mean(parts: list[Estimate]) -> Estimate:
    """The plain mean of independent cells, as the paper's AVG; n is the sum."""
    return combine(parts, [1 / len(parts)] * len(parts))


def _balance(plus: int, minus: int, n: int) -> tuple[float, float, float, float]:
    """The mean of n values of which some are +1, some -1, the rest 0: value, sample standard error, low, high, as shares.

    The interval is Bonett and Price's (2012), one added to each count: unlike Wald's it does not shrink to nothing where all n agree.
    """
    value = (plus - minus) / n
    error = math.sqrt(max(0.0, (plus + minus) / n - value**2) / (n - 1)) if n > 1 else math.nan
    middle, spread = (plus - minus) / (n + 2), (plus + minus + 2) / (n + 2)
    half = Z * math.sqrt((spread - middle**2) / (n + 2))
    return value, error, max(-1.0, middle - half), min(1.0, middle + half)


def paired_mean(first: np.ndarray, second: np.ndarray) -> Estimate:
    """The mean of two accuracies over n pairs (a question and its translation), which is half of 1 + (both right less both wrong) / n.

    So how far the two languages go together is in error and interval: the error is that of the pairs' means, not of two independent sets.
    """
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    value, error, low, high = _balance(both, neither, len(first))
    return Estimate(50 + 50 * value, 50 * error, 50 + 50 * low, 50 + 50 * high, len(first))


def compare(first: np.ndarray, second: np.ndarray) -> Comparison:
    """Two sides on the same questions, each an array of right and wrong: McNemar's test in its exact form, the binomial test of the discordant pairs."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    p = binomtest(only_first, discordant).pvalue if discordant else 1.0
    difference = Estimate(*(100 * one for one in _balance(only_first, only_second, len(first))), len(first))
    return Comparison(len(first), only_first, only_second, difference, float(p))


def holm(ps: list[float]) -> list[float]:
    """Holm's step-down correction (1979) over the p values of one table, in their order."""
    adjusted, most = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        most = max(most, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = most
    return adjusted


@dataclass(frozen=True)
class Calibration:
    """Per bin of confidence: mean confidence in percent and the accuracy; and the expected calibration error in points."""

    confidence: list[float]
    accuracy: list[Estimate]
    error: float


def calibration(confidence: np.ndarray, right: np.ndarray) -> Calibration:
    """Ten equal bins of the confidence (0 to 1) in the chosen option; empty bins are left out. The error is the mean gap, weighted by the bins' sizes."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    means, accuracies, gap = [], [], 0.0
    for place in range(BINS):
        inside = bins == place
        if inside.any():
            means.append(float(100 * confidence[inside].mean()))
            accuracies.append(share(int(right[inside].sum()), int(inside.sum())))
            gap += abs(accuracies[-1].value - means[-1]) * inside.sum() / len(right)
    return Calibration(means, accuracies, float(gap))


def confidence(scores: list[float]) -> float:
    """Of the likeliest option, from 0 to 1: the likelihoods of the options, given as logarithms, made to sum to 1."""
    logs = np.array(scores)
    shares = np.exp(logs - logs.max())
    return float(shares.max() / shares.sum())
