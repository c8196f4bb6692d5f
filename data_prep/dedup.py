"""Find copies among the training and validation rows: the same text, and nearly the same (MinHash with banding, each pair verified).

Compared is the normalised text (matching.py): an MCQ's question, options in any order and context; an open question with its answer; a chat's turns.
The first of several copies stays. Two rows are near copies when the Jaccard similarity of their word pairs reaches the threshold, in the whole text
and in the question alone (1,000 of MedQuAD's 16,407 answers are another's but for the name of the disease), and they agree in language, kind, right
answer, every number and every negation: "5 mg" for "50 mg" is no copy. The same question and options with two different
right answers is a contradiction: nobody here knows which is right, so all of its rows go, with their translations (settle.py).

The MinHash values are those of datasketch (its scheme `affine32`: same permutations, same arithmetic), so banding finds the pairs that its
MinHashLSH finds. rensa hashes as fast, but hands its values out as Python lists, 11 microseconds a row for 0.5 here (docs/LOG.md).
"""

import numba
import numpy as np


def bands_for(threshold: float, permutations: int) -> tuple[int, int]:
    """(bands, rows a band): the most selective banding that still brings 999 of 1,000 pairs at the threshold together."""
    for rows in range(permutations, 0, -1):
        bands = permutations // rows
        if 1 - (1 - threshold**rows) ** bands >= 0.999:
            return bands, rows
    return permutations, 1


def permutation_pairs(permutations: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """datasketch's odd factors and its summands (uint32) of the functions h(x) = a x + b mod 2^32, its scheme `affine32`; seed 1 is its default."""
    random = np.random.RandomState(seed)
    return random.randint(0, 1 << 31, permutations, dtype=np.uint32) * np.uint32(2) + np.uint32(1), random.randint(0, 1 << 32, permutations, dtype=np.uint32)


@numba.njit(cache=True)
def shingles(words: np.ndarray) -> np.ndarray:
    """The pairs of neighbouring words as sorted, different uint32 hashes; a text of one word is its word."""
    if len(words) < 2:
        return words.copy()
    pairs = np.empty(len(words) - 1, np.uint32)
    for k in range(len(words) - 1):
        mixed = np.uint64(words[k]) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(words[k + 1]) * np.uint64(0xC2B2AE3D27D4EB4F)
        pairs[k] = np.uint32(mixed >> np.uint64(32))
    pairs.sort()
    kept = 1
    for k in range(1, len(pairs)):
        if pairs[k] != pairs[kept - 1]:
            pairs[kept] = pairs[k]
            kept += 1
    return pairs[:kept]


@numba.njit(cache=True)
def _jaccard(one: np.ndarray, other: np.ndarray) -> float:
    i = j = shared = 0
    while i < len(one) and j < len(other):
        if one[i] == other[j]:
            shared += 1
            i += 1
            j += 1
        elif one[i] < other[j]:
            i += 1
        else:
            j += 1
    return shared / max(len(one) + len(other) - shared, 1)


@numba.njit(cache=True)
def signature(tokens: np.ndarray, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """datasketch's MinHash values (scheme `affine32`) of a set of uint32 tokens into `out`, uint32, one value a permutation."""
    out[:] = np.uint32(0xFFFFFFFF)
    for token in tokens:
        mixed = np.uint32(token ^ (token >> np.uint32(16))) * np.uint32(0x85EBCA6B)  # MurmurHash3's finaliser
        mixed = np.uint32(np.uint32(mixed) ^ (np.uint32(mixed) >> np.uint32(13))) * np.uint32(0xC2B2AE35)
        mixed = np.uint32(mixed) ^ (np.uint32(mixed) >> np.uint32(16))
        for p in range(len(a)):
            out[p] = min(out[p], np.uint32(a[p] * mixed + b[p]))  # wraps at 2^32 as intended


@numba.njit(cache=True)
def _bands(words: np.ndarray, starts: np.ndarray, lengths: np.ndarray, a: np.ndarray, b: np.ndarray, rows: int, out: np.ndarray) -> None:
    values = np.empty(len(a), np.uint32)
    for i in range(len(starts)):
        signature(shingles(words[starts[i] : starts[i] + lengths[i]]), a, b, values)
        for band in range(out.shape[0]):
            mixed = np.uint64(band)
            for p in range(band * rows, (band + 1) * rows):
                mixed = (mixed ^ np.uint64(values[p])) * np.uint64(0x9E3779B97F4A7C15)
                mixed ^= mixed >> np.uint64(29)
            out[band, i] = np.uint32(mixed >> np.uint64(32))


@numba.njit(cache=True)
def _compare(words, starts, lengths, questions, guards, order, place, run, threshold, first_only):  # noqa: ANN001, ANN202 (numba infers them)
    """Pairs (later, earlier) of rows that share a bucket and reach the threshold. With `first_only` a row that has been found a copy is
    compared with nothing any more: a thousand copies cost a thousand comparisons, not half a million."""
    count = len(starts)
    is_copy = np.zeros(count, np.bool_)
    compared = np.full(count, -1, np.int64)
    pairs = [(np.int64(0), np.int64(0)) for _ in range(0)]
    for j in range(count):
        mine = np.empty(0, np.uint32)
        for band in range(order.shape[0]):
            if lengths[j] == 0 or is_copy[j]:
                break
            for at in range(run[band, j], place[band, j]):
                i = order[band, at]
                if compared[i] == j or guards[i] != guards[j] or (first_only and is_copy[i]):
                    continue
                compared[i] = j
                if len(mine) == 0:
                    mine = shingles(words[starts[j] : starts[j] + lengths[j]])
                if _jaccard(mine, shingles(words[starts[i] : starts[i] + lengths[i]])) < threshold:
                    continue
                here, there = words[starts[j] : starts[j] + questions[j]], words[starts[i] : starts[i] + questions[i]]
                if _jaccard(shingles(here), shingles(there)) >= threshold:
                    pairs.append((np.int64(j), np.int64(i)))
                    if first_only:
                        is_copy[j] = True
                        break
    return pairs


def near_pairs(
    words: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    questions: np.ndarray,
    guards: np.ndarray,
    threshold: float,
    permutations: int,
    first_only: bool = True,
) -> np.ndarray:
    """Near copies as an array of (later, earlier), in the order of the texts `words[start : start + length]`, of which the first `questions` words
    are the question; texts with different `guards` are no copies.

    `first_only`: each text once, with an earlier text that is no copy itself; otherwise all pairs. About 470 bytes of memory a text, of which
    400 are the 25 buckets of each; at a million texts 470 MB.
    """
    bands, rows = bands_for(threshold, permutations)
    a, b = permutation_pairs(permutations)
    buckets = np.empty((bands, len(starts)), np.uint32)
    _bands(words, starts, lengths, a, b, rows, buckets)
    order, place, run = (np.empty(buckets.shape, np.int32) for _ in range(3))
    for band in range(bands):
        order[band] = np.argsort(buckets[band], kind="stable")  # a bucket's texts beside one another, in their order
        place[band, order[band]] = np.arange(len(starts))
        held = buckets[band, order[band]]
        first = np.flatnonzero(np.concatenate(([True], held[1:] != held[:-1]))) if len(held) else np.empty(0, np.int64)
        run[band, order[band]] = np.repeat(first, np.diff(np.append(first, len(held))))
    del buckets
    found = _compare(words, starts, lengths, questions, guards, order, place, run, threshold, first_only)
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def exact_copies(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(copies, contradictions) among INDEX rows, each an array of (row, another row of it): the same text after an earlier one, and the
    same multiple-choice question with another right answer, for all rows of that question."""
    number = np.arange(len(index))
    order = np.lexsort((number, index["said"], index["asked"], index["kind"], index["lang"]))
    ordered = index[order]
    same_question = np.ones(len(order), bool)
    for column in ("asked", "kind", "lang"):
        same_question[1:] &= ordered[column][1:] == ordered[column][:-1]
    same_text = same_question.copy()
    same_text[1:] &= ordered["said"][1:] == ordered["said"][:-1]
    same_question[:1] = same_text[:1] = False
    text_first, question_first = (order[np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))] for same in (same_text, same_question))
    copies = np.stack((order, text_first), 1)[same_text]
    differs = same_question & ~same_text & (ordered["kind"] == 0)  # 0: multiple choice; people may answer an open question in many ways
    contradicted = np.isin(question_first, question_first[differs])
    other = dict(zip(question_first[differs].tolist(), order[differs].tolist(), strict=True))
    of_question = zip(order[contradicted].tolist(), question_first[contradicted].tolist(), strict=True)
    contradictions = [(row, first if row != first else other[first]) for row, first in of_question]
    return copies, np.array(contradictions, dtype=np.int64).reshape(-1, 2)
