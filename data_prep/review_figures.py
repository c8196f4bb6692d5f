"""The figures of human review, each a function of plain numbers, so that each can be checked by hand."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats

CAUGHT = 0.95  # of the rows with major faults that the threshold must send to people (the figure)


def kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two readers' verdicts: (observed - by chance) / (1 - by chance). None without pairs, or where chance alone would agree always."""
    if not pairs:
        return None
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    observed = sum(one == other for one, other in pairs) / len(pairs)
    chance = sum(first[verdict] * second[verdict] for verdict in first) / len(pairs) ** 2
    return None if chance == 1 else (observed - chance) / (1 - chance)


class Agreement(NamedTuple):
    """Of the rows that two people read: how many, how many verdicts are the same, kappa, mean absolute difference of the scores."""

    rows: int
    same: int
    kappa: float | None
    apart: float | None


def agreement(pairs: Sequence[tuple[tuple[str, float | None], tuple[str, float | None]]]) -> Agreement:
    """Agreement of (verdict, score) pairs; the first of each pair is the person with the lower number."""
    verdicts = [(one[0], other[0]) for one, other in pairs]
    apart = [abs(one[1] - other[1]) for one, other in pairs if one[1] is not None and other[1] is not None]
    return Agreement(len(pairs), sum(one == other for one, other in verdicts), kappa(verdicts), sum(apart) / len(apart) if apart else None)


def pairs_of(people: Sequence[tuple[int, str, float | None]]) -> list[tuple[tuple[int, int], tuple, tuple]]:
    """Every two of the people (number, verdict, score) who read a row: their numbers, then what each decided, the lower number first."""
    return [((one[0], other[0]), one[1:], other[1:]) for one, other in itertools.combinations(sorted(people, key=lambda one: one[0]), 2)]


def spearman(machine: Sequence[float], human: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank. None for fewer than three rows, or where a side has one value only."""
    if len(machine) < 3 or len(set(machine)) < 2 or len(set(human)) < 2:
        return None
    found = float(stats.spearmanr(machine, human).statistic)
    return None if math.isnan(found) else found


class Cut(NamedTuple):
    """A threshold of the machine's score: rows below it go to people. `caught` is the share of the faulty rows among them, `cost` that of all rows."""

    threshold: int
    caught: float
    cost: float


def cut(rows: Sequence[tuple[float, bool, bool, float]], least: float = CAUGHT) -> Cut | None:
    """The lowest whole threshold from 0 to 101 that sends at least `least` of the faulty rows to people; None where no row is faulty.

    A row is (machine's score, whether the rules found an error, whether people found it faulty, how many rows it stands for). A row with an error of the
    rules goes to people at any threshold, as in translate.py.
    """
    faulty, total = sum(weight for *_, bad, weight in rows if bad), sum(weight for *_, weight in rows)
    if not faulty:
        return None
    for threshold in range(102):
        sent = [(bad, weight) for score, error, bad, weight in rows if error or score < threshold]
        caught = sum(weight for bad, weight in sent if bad) / faulty
        if caught >= least - 1e-12:  # 19 of 20 is enough, whatever the sum of the weights rounds to
            return Cut(threshold, caught, sum(weight for _, weight in sent) / total)
    return None
