"""Find the Arabic test questions that are not the translation of their English twin, so that no comparison of the languages rests on them.

A question and its translation share `origin_id`. Looked for: another right answer or another number of options than the English has (`misaligned`: a
shifted file), Arabic that stops early or speaks of something else by the rules of data_prep/quality_check.py (`cut_off`, `other_text`), a second
translation of one question (`second_translation`), and the same Arabic for different questions (`repeated_text`: both are doubtful). English
questions without a translation are counted, not rejected: they stay in the English tables, and eval/report.py compares pairs only.
"""

from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np

from data_prep.corpus import CODES, Corpus
from data_prep.quality_check import check
from data_prep.records import MultipleChoice

DOUBTFUL = ("cut_off", "other_text")  # flags of the rules that mean that the text is not whole or another's


class Fault(NamedTuple):
    """Row `row` of the index cannot stand beside row `partner`, for a reason."""

    row: int
    partner: int
    reason: str
    evidence: str


def find(corpus: Corpus, usable: np.ndarray) -> tuple[list[Fault], dict[str, dict]]:
    """The faults among the usable Arabic test questions, and for each benchmark how many questions there are in English, in Arabic, in pairs."""
    index = corpus.index
    tests = np.flatnonzero((index["split"] == CODES["test"]) & (index["kind"] == CODES["mcqa"]) & usable)
    by_lang = {lang: [number for number in tests.tolist() if index["lang"][number] == CODES[lang]] for lang in ("en", "ar")}
    english = {int(index["origin"][number]): number for number in by_lang["en"]}
    counts: dict[str, Counter] = defaultdict(Counter)
    for number in by_lang["en"]:
        counts[corpus.record(number).benchmark]["en"] += 1
    faults, taken, said = [], {}, defaultdict(list)
    for number in by_lang["ar"]:
        record, origin = corpus.record(number), int(index["origin"][number])
        counts[record.benchmark]["ar"] += 1
        twin = english.get(origin)
        said[int(index["asked"][number])].append(number)
        if twin is None:
            continue  # Arabic alone is a benchmark of its own; it is in no pair
        fault = _fault(corpus.record(twin), record)
        if fault is None and origin in taken:
            fault = ("second_translation", corpus.record(taken[origin]).id)
        if fault is None:
            taken[origin] = number
            counts[record.benchmark]["pairs"] += 1
        else:
            faults.append(Fault(number, twin, *fault))
    faulty = {fault.row for fault in faults}
    for rows in said.values():
        asks = {int(index["asked"][english[int(index["origin"][row])]]) for row in rows if int(index["origin"][row]) in english}
        for row in rows if len(asks) > 1 else ():
            if row not in faulty:
                other = next(one for one in rows if one != row)
                faults.append(Fault(row, other, "repeated_text", corpus.record(other).id))
                counts[corpus.record(row).benchmark]["pairs"] -= 1
    account = {name: {key: found[key] for key in ("en", "ar", "pairs")} for name, found in sorted(counts.items())} if by_lang["ar"] else {}
    return faults, account


def _fault(english: MultipleChoice, arabic: MultipleChoice) -> tuple[str, str] | None:
    if len(english.options) != len(arabic.options):
        return "misaligned", f"{len(english.options)} options in English, {len(arabic.options)} in Arabic"
    if english.answer != arabic.answer or english.benchmark != arabic.benchmark:
        return "misaligned", f"the right answer is option {english.answer + 1} in English, {arabic.answer + 1} in Arabic"
    names = {"context", "question"}  # options are too short for the rules: one of 126 good translations was flagged for one of its options
    for flag in check(*(record.model_dump(include=names, exclude_none=True) for record in (english, arabic))).flags:
        if flag["rule"] in DOUBTFUL and flag["severity"] == "error":
            return flag["rule"], f"{flag['field']}: {flag['message']}"
    return None
