"""Find the training and validation rows that ask, in whatever clothes, what a test question of the same data set asks.

A few-shot example is reported when it is a question of the benchmark that it is shown with; six of MMLU's own are of a neighbouring subject's. Looked
for, in this order, a row being reported by the first that finds it: the same question and options (`exact`, `normalised`, or `options` in another
order, or four of five), a long passage in common (`ngram`), the same question with some words changed (`similar`), and, whatever its
wording, the translation of or the chat made from a question that was found or that is itself a test question (`origin`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np

from data_prep import matching
from data_prep.corpus import CODES, Corpus
from data_prep.recipe import Decontamination
from data_prep.records import MultipleChoice, Record

METHODS = ("exact", "normalised", "options", "ngram", "similar", "origin")
CANDIDATE = 0.4  # weighted Jaccard: a copy with one word in five changed has 0.67 on average
# a question with half of its words changed is another one, and so is a short one ("Which organ makes ..?") with other options
STEM, CHOICES, LONG_STEM = 0.6, 0.5, 13
FEWEST_WORDS = 5  # of a question that counts as found without its options: "Which is true?" is everybody's


@dataclass(frozen=True)
class Hit:
    """Row `row` of the index asks what test row `test` asks; `score` is 1 for equality, words in common for ngram, share in the same order for similar."""

    row: int
    test: int
    method: str
    score: float


@numba.njit(cache=True)
def _most_similar(words, starts, lengths, vocabulary, weights, unknown, first, postings, totals, best, scores):  # noqa: ANN001, ANN202
    """For each text its most similar test question by weighted Jaccard of the words: those in common over those of both."""
    shared = np.zeros(len(totals), np.float32)
    touched = np.empty(len(totals), np.int32)
    for i in range(len(starts)):
        text = words[starts[i] : starts[i] + lengths[i]].copy()
        text.sort()
        total, count = np.float32(0), 0
        for k in range(len(text)):
            if k and text[k] == text[k - 1]:
                continue
            v = np.searchsorted(vocabulary, text[k])
            if v == len(vocabulary) or vocabulary[v] != text[k]:
                total += unknown
                continue
            total += weights[v]
            for at in range(first[v], first[v + 1]):
                test = postings[at]
                if shared[test] == 0:
                    touched[count] = test
                    count += 1
                shared[test] += weights[v]
        for test in touched[:count]:
            score = shared[test] / (total + totals[test] - shared[test])
            if score > scores[i]:
                scores[i], best[i] = score, test
            shared[test] = 0


@numba.njit(cache=True)
def in_order(one: np.ndarray, other: np.ndarray) -> float:
    """The share of words that two texts have in common in the same order: twice their longest common subsequence over both lengths."""
    row = np.zeros(len(other) + 1, np.int32)
    for i in range(len(one)):
        diagonal = 0
        for j in range(len(other)):
            above = row[j + 1]
            row[j + 1] = diagonal + 1 if one[i] == other[j] else max(above, row[j])
            diagonal = above
    return 2 * row[-1] / max(len(one) + len(other), 1)


@numba.njit(cache=True)
def _longest_runs(words, starts, lengths, n, grams, owners, present, best, runs):  # noqa: ANN001, ANN202
    """For each text its longest run of words that stands in one test question, counted from n words on."""
    base, high = np.uint64(0x9E3779B97F4A7C15), np.uint64(1)
    for _ in range(n):
        high *= base
    for i in range(len(starts)):
        value, owner, run = np.uint64(0), -1, 0
        for k in range(starts[i], starts[i] + lengths[i]):
            value = value * base + np.uint64(words[k])
            if k - starts[i] >= n:
                value -= high * np.uint64(words[k - n])
            found = -1
            if k - starts[i] >= n - 1 and present[value >> np.uint64(42)]:
                at = np.searchsorted(grams, value)
                if at < len(grams) and grams[at] == value:
                    found = owners[at]
            run = 0 if found < 0 else run + 1 if found == owner else 1
            owner = found
            if run and run + n - 1 > runs[i]:
                runs[i], best[i] = run + n - 1, found


def _grams(words: np.ndarray, n: int) -> np.ndarray:
    """The rolling hashes (uint64) of all runs of n words, by the arithmetic of `_longest_runs`."""
    base = np.uint64(0x9E3779B97F4A7C15)
    if len(words) < n:
        return np.empty(0, np.uint64)
    values = np.zeros(len(words) - n + 1, np.uint64)
    with np.errstate(over="ignore"):
        for k in range(n):
            values = values * base + words[k : len(words) - n + 1 + k].astype(np.uint64)
    return values


def _long_passages(index: np.ndarray, words: np.ndarray, rows: np.ndarray, tests: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(test's place in `tests` or -1, words in the longest common run) for each of `rows`. Runs in several test questions are boilerplate."""
    grams, owners = [], []
    for place, test in enumerate(index[tests]):
        question = test["start"] + test["question_words"]
        context = question + test["option_words"]
        for begin, end in ((test["start"], question), (context, context + test["rest_words"])):
            found = np.unique(_grams(words[begin:end], n))
            grams.append(found)
            owners.append(np.full(len(found), place, np.int32))
    grams, owners = np.concatenate(grams), np.concatenate(owners)
    order = np.argsort(grams, kind="stable")
    grams, owners = grams[order], owners[order]
    # a question that stands in the test sets twice is one question: a gram is boilerplate when its owners ask different things
    asks = index["question"][tests][owners]
    begins = np.concatenate(([True], grams[1:] != grams[:-1])) if len(grams) else np.empty(0, bool)
    group = np.cumsum(begins) - 1
    differs = np.zeros(group[-1] + 1 if len(group) else 0, bool)
    np.logical_or.at(differs, group[1:], (asks[1:] != asks[:-1]) & ~begins[1:])
    keep = begins & ~differs[group]
    grams, owners = grams[keep], owners[keep]
    present = np.zeros(1 << 22, np.bool_)
    present[grams >> np.uint64(42)] = True
    best, runs = np.full(len(rows), -1, np.int32), np.zeros(len(rows), np.int32)
    lengths = index["question_words"][rows] + index["option_words"][rows] + index["rest_words"][rows]
    _longest_runs(words, index["start"][rows], lengths, n, grams, owners, present, best, runs)
    return best, runs


def _similar(index: np.ndarray, words: np.ndarray, rows: np.ndarray, tests: np.ndarray, options: bool) -> tuple[np.ndarray, np.ndarray]:
    """(test's place in `tests`, share of words in common) for each of `rows`: in the question in the same order, and in the options in any.

    The nearest test is the one with the highest weighted Jaccard of the words; a word weighs log(1 + N / tests that have it). Words of more than
    one test in twenty tell nothing and are passed over on both sides. Below CANDIDATE the share is left at 0. Words alone do not do: of 16,407
    MedQuAD questions 342 have half of their weight in common with some test question, and only 4 have seven in ten words in its order.
    """

    def lengths(of: np.ndarray) -> np.ndarray:
        return index["question_words"][of] + (index["option_words"][of] if options else 0)

    texts = [np.unique(words[start : start + length]) for start, length in zip(index["start"][tests], lengths(tests), strict=True)]
    place = np.repeat(np.arange(len(tests), dtype=np.int32), [len(text) for text in texts])
    vocabulary, word = np.unique(np.concatenate(texts), return_inverse=True)
    frequency = np.bincount(word, minlength=len(vocabulary))
    weights = np.log1p(len(tests) / frequency).astype(np.float32)
    weights[frequency > max(20, len(tests) // 20)] = 0
    totals = np.bincount(place, weights[word], minlength=len(tests)).astype(np.float32)
    telling = weights[word] > 0
    order = np.argsort(word[telling], kind="stable")
    postings = place[telling][order]
    first = np.concatenate(([0], np.cumsum(np.bincount(word[telling], minlength=len(vocabulary)))))
    best, scores = np.full(len(rows), -1, np.int32), np.zeros(len(rows), np.float32)
    unknown = np.float32(np.log1p(len(tests)))
    _most_similar(words, index["start"][rows], lengths(rows), vocabulary, weights, unknown, first, postings, totals, best, scores)
    shares = np.zeros(len(rows))
    for at in np.flatnonzero(scores >= CANDIDATE):
        (stem, choices), (other, others) = (_parts(words, index[number]) for number in (rows[at], tests[best[at]]))
        same = [in_order(stem, other), in_order(np.sort(choices), np.sort(others))]  # options may stand in any order
        if not options:
            shares[at] = same[0]
        elif same[0] >= STEM and (len(other) >= LONG_STEM or same[1] >= CHOICES):
            shares[at] = np.average(same, weights=[len(stem) + len(other), len(choices) + len(others)])
    return best, shares


def _parts(words: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The words of one INDEX row's question, and of its options."""
    middle = row["start"] + row["question_words"]
    return words[row["start"] : middle], words[middle : middle + row["option_words"]]


def _same_options(one: MultipleChoice, other: MultipleChoice) -> bool:
    """Four options against five, or one of them exchanged: at least three quarters of the shorter list stand in the longer."""
    here, there = ({tuple(matching.words(option)) for option in record.options} for record in (one, other))
    return len(here & there) >= 0.75 * min(len(here), len(there))


def _worded(record: Record) -> tuple[str, list[str], str | None]:
    return record.question.strip(), record.options, record.context


def _equal(corpus: Corpus, rows: np.ndarray, tests: np.ndarray) -> Iterator[Hit]:
    """Rows whose question equals a test question's after normalisation, told apart by what else is equal."""
    index = corpus.index
    by_question: dict[int, list[int]] = {}
    for test in tests.tolist():
        by_question.setdefault(int(index["question"][test]), []).append(test)
    candidates = rows[np.isin(index["question"][rows], np.fromiter(by_question, np.uint64, len(by_question)))]
    known: dict[int, Record] = {}
    for row in candidates.tolist():
        if index["kind"][row] != CODES["mcqa"]:
            if index["question_words"][row] >= FEWEST_WORDS:
                yield Hit(row, by_question[int(index["question"][row])][0], "normalised", 1.0)
            continue
        record, found = corpus.record(row), []
        for test in by_question[int(index["question"][row])]:
            twin = known.get(test) or known.setdefault(test, corpus.record(test))
            if _worded(record) == _worded(twin):
                found.append((METHODS.index("exact"), test))
            elif [matching.words(option) for option in record.options] == [matching.words(option) for option in twin.options]:
                found.append((METHODS.index("normalised"), test))
            elif _same_options(record, twin):
                found.append((METHODS.index("options"), test))
        if found:
            method, test = min(found)
            yield Hit(row, test, METHODS[method], 1.0)


def find(corpus: Corpus, limits: Decontamination) -> list[Hit]:
    """The hits, by row. `limits.ngram`: words of a common passage; it must also make up the share `passage` of the test question, or be three times
    as long. `similarity`: share of words in the same order from which two questions with different words are the same."""
    index = corpus.index
    tests = np.flatnonzero(index["split"] == CODES["test"])
    rows = np.flatnonzero((index["split"] == CODES["train"]) | (index["split"] == CODES["validation"]))
    hits = {hit.row: hit for hit in _equal(corpus, rows, tests)}
    for hit in _equal(corpus, np.flatnonzero(index["split"] == CODES["dev"]), tests):
        if corpus.record(hit.row).benchmark == corpus.record(hit.test).benchmark:
            hits[hit.row] = hit
    if not len(tests) or not len(rows):
        return [hits[row] for row in sorted(hits)]

    def add(method: str, of: np.ndarray, best: np.ndarray, scores: np.ndarray, reached: np.ndarray) -> None:
        for at in np.flatnonzero(reached):
            hits.setdefault(int(of[at]), Hit(int(of[at]), int(tests[best[at]]), method, round(float(scores[at]), 3)))

    best, runs = _long_passages(index, corpus.words, rows, tests, limits.ngram)
    add("ngram", rows, best, runs, (best >= 0) & ((runs >= limits.passage * index["question_words"][tests[best]]) | (runs >= 3 * limits.ngram)))
    choices = index["kind"][rows] == CODES["mcqa"]
    for options in (True, False):
        of = rows[choices == options]
        best, scores = _similar(index, corpus.words, of, tests, options)
        enough = index["question_words"][of] >= FEWEST_WORDS
        add("similar", of, best, scores, (scores >= limits.similarity) & (enough | options))
    leaked = dict(zip(index["origin"][tests].tolist(), tests.tolist(), strict=True))
    leaked = {int(index["origin"][hit.row]): hit.test for hit in hits.values()} | leaked
    for row in rows[np.isin(index["origin"][rows], np.fromiter(leaked, np.uint64, len(leaked)))].tolist():
        hits.setdefault(row, Hit(row, leaked[int(index["origin"][row])], "origin", 1.0))
    return [hits[row] for row in sorted(hits)]
