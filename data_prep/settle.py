"""Decide what becomes of every collected record: used, not taken, or rejected because it is a leak or a copy.

The order matters: ids first, then leaks, so that the report is whole; copies among what is left, so that a leak never displaces a clean row;
then `take`, `languages` and the mix among what is good.
"""

import random
import time
from dataclasses import dataclass, field

import numpy as np

from data_prep import align, decontaminate, dedup
from data_prep.corpus import CODES, SPLITS, Corpus
from data_prep.mix import draw, mix
from data_prep.recipe import Recipe
from data_prep.records import Reject

USED, NOT_TAKEN = 0, 1
REASONS = ("", "", "duplicate_id", "in_test_set", "exact_duplicate", "near_duplicate", "conflicting_answer")
REASONS += ("misaligned", "cut_off", "other_text", "second_translation", "repeated_text")  # of Arabic test questions, data_prep/align.py


@dataclass
class Verdicts:
    """For every record of the corpus: `reason` (an index of REASONS), `partner` (the record that it was compared with, or -1), `copies` (how often it
    is written), `split` (its code, after hold_out). `evidence` says more of some. And the accounts of contamination, deduplication, alignment of the two
    languages' test questions, mix, ratio and seconds for the manifest."""

    reason: np.ndarray
    partner: np.ndarray
    copies: np.ndarray
    split: np.ndarray
    hits: list[decontaminate.Hit] = field(default_factory=list)
    evidence: dict[int, str] = field(default_factory=dict)
    deduplication: dict | None = None
    alignment: dict | None = None
    mix: list[dict] | None = None
    ratio: dict | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def reject(self, reason: str, rows: np.ndarray, partners: np.ndarray) -> None:
        """Set a reason where none was set before."""
        free = self.reason[rows] == USED
        self.reason[rows[free]] = REASONS.index(reason)
        self.partner[rows[free]] = partners[free]


def settle(corpus: Corpus, plan: Recipe, takes: list[tuple[str, int | None]]) -> Verdicts:
    """The verdicts of a recipe; `takes` holds the name and the `take` of each shard's source."""
    index, count = corpus.index, len(corpus.index)
    verdicts = Verdicts(np.zeros(count, np.uint8), np.full(count, -1), np.zeros(count, np.uint8), index["split"].copy())
    order = np.argsort(index["id"], kind="stable")
    again = np.flatnonzero(index["id"][order][1:] == index["id"][order][:-1]) + 1
    first = order[np.searchsorted(index["id"][order], index["id"][order[again]])]
    verdicts.reject("duplicate_id", order[again], first)
    started = time.monotonic()
    verdicts.hits = decontaminate.find(corpus, plan.decontaminate)
    verdicts.reject("in_test_set", np.array([hit.row for hit in verdicts.hits], int), np.array([hit.test for hit in verdicts.hits], int))
    decontaminated = time.monotonic()
    trains = (index["split"] == CODES["train"]) | (index["split"] == CODES["validation"])
    if plan.deduplicate:
        _without_copies(corpus, verdicts, np.flatnonzero(trains & (verdicts.reason == USED)), plan)
    deduplicated = time.monotonic()
    faults, verdicts.alignment = align.find(corpus, verdicts.reason == USED)
    for fault in faults:
        verdicts.reject(fault.reason, np.array([fault.row]), np.array([fault.partner]))
        verdicts.evidence[fault.row] = fault.evidence
    for shard, (name, take) in enumerate(takes):
        _take(index, verdicts, np.flatnonzero((index["shard"] == shard) & (verdicts.reason == USED)), name, take, plan.seed)
    spoken = np.isin(index["lang"], [CODES[lang] for lang in plan.languages])
    verdicts.reason[trains & ~spoken & (verdicts.reason == USED)] = NOT_TAKEN
    held = (index["split"] == CODES["train"]) & (draw(index["origin"], plan.seed + 1) < np.uint64(plan.hold_out * 2**64))
    verdicts.split[held] = CODES["validation"]
    verdicts.copies[verdicts.reason == USED] = 1
    if plan.mix:
        candidates = (verdicts.split == CODES["train"]) & (verdicts.reason == USED)
        copies, verdicts.mix, verdicts.ratio = mix(index, candidates, corpus.sources, plan.mix, plan.seed)
        verdicts.copies[candidates] = copies[candidates]
        verdicts.reason[candidates & (copies == 0)] = NOT_TAKEN
    verdicts.seconds = {"decontaminate": decontaminated - started, "deduplicate": deduplicated - decontaminated, "mix": time.monotonic() - deduplicated}
    return verdicts


def _without_copies(corpus: Corpus, verdicts: Verdicts, rows: np.ndarray, plan: Recipe) -> None:
    copies, contradictions = dedup.exact_copies(corpus.index[rows])
    # translations and chats of a contradicted question contradict what its twin says in the same way, in other words
    origins = corpus.index["origin"][rows]
    partners = dict(zip(origins[contradictions[:, 0]].tolist(), rows[contradictions[:, 1]].tolist(), strict=True))
    contradicted = rows[np.isin(origins, np.fromiter(partners, np.uint64, len(partners)))]
    verdicts.reject("conflicting_answer", contradicted, np.array([partners[origin] for origin in corpus.index["origin"][contradicted].tolist()], int))
    verdicts.reject("exact_duplicate", rows[copies[:, 0]], rows[copies[:, 1]])
    left = rows[verdicts.reason[rows] == USED]
    texts = corpus.index[left]
    lengths = texts["question_words"] + texts["option_words"] + texts["rest_words"]
    near, permutations = plan.deduplicate.near, plan.deduplicate.permutations
    pairs = dedup.near_pairs(corpus.words, texts["start"], lengths, texts["question_words"], texts["guard"], near, permutations)
    verdicts.reject("near_duplicate", left[pairs[:, 0]], left[pairs[:, 1]])
    found = np.bincount(verdicts.reason, minlength=len(REASONS))
    counts = {name: int(found[REASONS.index(reason)]) for name, reason in zip(("exact", "near", "conflicting"), REASONS[4:7], strict=True)}
    verdicts.deduplication = counts | {"threshold": near, "permutations": permutations}


def _take(index: np.ndarray, verdicts: Verdicts, rows: np.ndarray, name: str, take: int | None, seed: int) -> None:
    """Keep a seeded sample of `take` origins of one source; translations go with their question."""
    origins, first = np.unique(index["origin"][rows], return_index=True)
    if take is None or take >= len(origins):
        return
    in_order = origins[np.argsort(first)]
    chosen = in_order[random.Random(f"{seed}:{name}").sample(range(len(in_order)), take)]
    verdicts.reason[rows[~np.isin(index["origin"][rows], chosen)]] = NOT_TAKEN


def explain(corpus: Corpus, verdicts: Verdicts, number: int, record: object) -> Reject:
    """The Reject of one record, with the record that it was compared with and what to do."""
    reason = REASONS[verdicts.reason[number]]
    other = corpus.record(int(verdicts.partner[number]))
    where = f"{other.id} ({other.file}, row {other.row})"
    said = verdicts.evidence.get(number, "")
    message = {
        "duplicate_id": f"the id {record.id} stands already in {other.file}, row {other.row}; ids are unique: rename or remove one of the two",
        "in_test_set": f"{record.id} asks what the test question {other.id} asks, so it may not train, nor be an example; nothing to do",
        **dict.fromkeys(REASONS[7:], f"{record.id} is not the translation of {where}: {said}; correct it in its file, or translate it again"),
        "exact_duplicate": f"{record.id} says what {where} says; nothing to do",
        "near_duplicate": f"{record.id} says nearly what {where} says; nothing to do, or raise `deduplicate: near` in the recipe",
        "conflicting_answer": f"{record.id} asks what {where} asks and has another right answer; correct the wrong one of the two",
    }[reason]
    return Reject(reason=reason, file=record.file, row=record.row, message=message, content=record.model_dump(by_alias=True))


def account(corpus: Corpus, verdicts: Verdicts, shard: int) -> dict:
    """What became of one shard's rows: read, not taken, trimmed, used by split, rejected by reason. The first is the sum of the others but trimmed."""
    mine = corpus.index["shard"] == shard
    reasons, splits = verdicts.reason[mine], verdicts.split[mine]
    rejected = dict(corpus.accounts[shard]["rejected"])
    for code, reason in enumerate(REASONS):
        if reason and (found := int((reasons == code).sum())):
            rejected[reason] = rejected.get(reason, 0) + found
    used = {name: found for code, name in enumerate(SPLITS) if (found := int(((reasons == USED) & (splits == code)).sum()))}
    read = {key: corpus.accounts[shard][key] for key in ("read", "trimmed")}
    return read | {"not_taken": int((reasons == NOT_TAKEN).sum()), "used": used, "rejected": dict(sorted(rejected.items()))}
