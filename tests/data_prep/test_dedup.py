"""Copies are found, also those with a word changed, and what only looks like a copy stays."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import given
from hypothesis import strategies as st

from data_prep import dedup, matching
from data_prep.bench import Words, against_datasketch, changed
from tests.data_prep.conftest import Built, accounted, build_from


def laid_out(texts: list[list[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts as near_pairs takes them: words, where each begins, how long it is."""
    hashed = [matching.hashes(text) for text in texts]
    lengths = np.array([len(text) for text in hashed], dtype=np.int64)
    return np.concatenate([*hashed, np.empty(0, np.uint32)]), np.cumsum(lengths) - lengths, lengths


def all_pairs(texts: list[list[str]], threshold: float = 0.8) -> set[tuple[int, int]]:
    words, starts, lengths = laid_out(texts)
    found = dedup.near_pairs(words, starts, lengths, lengths, np.zeros(len(texts), np.uint64), threshold, 128, first_only=False)
    return {(int(later), int(earlier)) for later, earlier in found}


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=12), min_size=1, max_size=30))
def test_pairs_are_those_of_plain_jaccard(texts: list[list[str]]) -> None:
    """Each pair that comes out reaches the threshold, and of those that do hardly one in a thousand is missed: here, none."""
    sets = [set(zip(text, text[1:], strict=False)) or set(text) for text in texts]
    true = {(j, i) for j in range(len(texts)) for i in range(j) if sets[i] and sets[j] and len(sets[i] & sets[j]) >= 0.8 * len(sets[i] | sets[j])}
    same = {(j, i) for j, i in true if sets[i] == sets[j]}
    found = all_pairs(texts)
    assert same <= found <= true


def test_minhash_is_that_of_datasketch() -> None:
    """Same permutations and arithmetic: whoever knows datasketch knows what our threshold means."""
    tokens = dedup.shingles(matching.hashes(matching.words("Which of the following is the most likely diagnosis?")))
    theirs = MinHash(num_perm=128, hashfunc=int)
    theirs.update_batch(tokens.tolist())
    ours = np.empty(128, np.uint32)
    dedup.signature(tokens, *dedup.permutation_pairs(128), ours)
    assert (ours == theirs.hashvalues).all()


def test_the_pairs_of_a_datasketch_loop_are_found() -> None:
    """At least 99% of the pairs at the threshold that MinHashLSH finds with the same bands among 4,000 questions, half of them changed copies."""
    words, rng = Words("en", 3), random.Random(3)
    texts = [words.text((3.2, 0.5)) for _ in range(2000)]
    texts += [changed(text, words, rng, rng.choice([8, 15, 30])) for text in texts]
    split = [matching.words(text) for text in texts]
    index, theirs = MinHashLSH(num_perm=128, params=dedup.bands_for(0.8, 128)), set()
    sets = [set(zip(text, text[1:], strict=False)) or set(text) for text in split]
    for number, pairs in enumerate(sets):
        sketch = MinHash(num_perm=128)
        sketch.update_batch([" ".join(pair).encode() for pair in pairs])
        theirs |= {(number, other) for other in index.query(sketch)}
        index.insert(number, sketch)
    true = {(j, i) for j, i in theirs if len(sets[j] & sets[i]) >= 0.8 * len(sets[j] | sets[i])}
    found = all_pairs(split)
    assert len(true) > 500 and len(true & found) >= 0.99 * len(true)


def test_a_thousand_copies_are_compared_once_each() -> None:
    """A text that stands ten thousand times must not cost fifty million comparisons."""
    words, starts, lengths = laid_out([list("abcdef")] * 10_000)
    pairs = dedup.near_pairs(words, starts, lengths, lengths, np.zeros(10_000, np.uint64), 0.8, 128)
    assert pairs.tolist() == [[later, 0] for later in range(1, 10_000)]


def test_bands_reach_the_threshold() -> None:
    """At most one pair in a thousand at the threshold shares no band."""
    for threshold in (0.5, 0.7, 0.8, 0.9, 0.95):
        bands, rows = dedup.bands_for(threshold, 128)
        assert bands * rows <= 128 and 1 - (1 - threshold**rows) ** bands >= 0.999


def question(name: str, text: str, options: list[str], answer: int, **more: object) -> dict:
    common = {"kind": "mcqa", "id": f"{name}:en", "origin_id": name, "lang": "en", "source": "ours", "split": "train", "benchmark": "ours"}
    return common | {"question": text, "options": options, "answer": answer} | more


LONG = "A 45-year-old man with diabetes comes to the clinic because of burning pain in both feet for six months. Which drug is the best first choice?"
DRUGS = ["Duloxetine", "Morphine", "Ibuprofen", "Paracetamol"]
ROWS = {
    "the first": question("a", LONG, DRUGS, 0),
    "the same": question("b", LONG, DRUGS, 0),
    "other marks and case": question("c", LONG.upper().replace("?", " ?"), DRUGS, 0),
    "options in another order": question("d", LONG, DRUGS[::-1], 3),
    "a word more": question("e", LONG.replace("burning pain", "severe burning pain"), DRUGS, 0),
    "an option more, with a number in it": question("n", LONG, [*DRUGS, "Insulin 10 units"], 0),
    "another number": question("f", LONG.replace("45", "46"), DRUGS, 0),
    "the opposite": question("g", LONG.replace("is the best", "is not the best"), DRUGS, 0),
    "nearly the same with another answer": question("h", LONG.replace("six months", "six long months"), DRUGS, 1),
    "another question": question("i", "Which nerve is compressed in carpal tunnel syndrome?", ["Median", "Ulnar"], 0),
    "a contradiction, one side": question("j", "Which nerve supplies the deltoid muscle?", ["Axillary", "Radial"], 0),
    "a contradiction, the other side": question("k", "Which nerve supplies the deltoid muscle?", ["Radial", "Axillary"], 0),
}
TRANSLATED = {"lang": "ar", "question": "أي عصب يغذي العضلة الدالية؟", "options": ["الإبطي", "الكعبري"]}
ROWS["a contradiction in translation"] = question("j", "", [], 0) | TRANSLATED | {"id": "j:ar"}
PATTERN = "is inherited in an autosomal recessive pattern, which means both copies of the gene in each cell have mutations."
for name, disease in (("l", "achromatopsia"), ("m", "acral peeling skin syndrome")):
    of = {key: value for key, value in question(name, "", [], 0).items() if key not in ("options", "benchmark")}
    ROWS[f"one answer for {disease}"] = of | {"kind": "qa", "question": f"Is {disease} inherited?", "answer": f"This condition {PATTERN * 3}"}
BECOMES = (
    dict.fromkeys(("b", "c", "d"), "exact_duplicate") | dict.fromkeys(("e", "n"), "near_duplicate") | {"j": "conflicting_answer", "k": "conflicting_answer"}
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("copies")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS.values()), encoding="utf-8")
    return build_from(folder, folder, {"reader": "records", "file": "rows.jsonl"}, deduplicate={"near": 0.8})


@pytest.mark.parametrize("name", ROWS)
def test_what_becomes_of_each(built: Built, name: str) -> None:
    """Copies go and are kept as rejects that name their twin; another number, disease, negation or right answer makes another question."""
    row = ROWS[name]["id"]
    trained = {line["id"] for line in built.rows("train.jsonl")}
    reason = BECOMES.get(row.split(":")[0])
    assert (row in trained) == (reason is None)
    if reason:
        (reject,) = [line for line in built.rows(f"rejected/{reason}.jsonl") if line["content"]["id"] == row]
        assert reject["message"].count(":en (rows.jsonl, row ") == 1


def test_the_account_of_copies(built: Built) -> None:
    """The manifest says how many went, and nothing was lost."""
    assert {key: built.manifest["deduplication"][key] for key in ("exact", "near", "conflicting")} == {"exact": 3, "near": 2, "conflicting": 3}
    assert accounted(built.manifest)


def test_training_text_is_not_normalised(built: Built) -> None:
    """What is compared is folded; what is trained on is what was read."""
    assert LONG in built.rows("train.jsonl")[0]["conversations"][0]["value"]


def test_without_the_key_nothing_is_compared(tmp_path: Path) -> None:
    """Deduplication is a choice of the recipe."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS.values()), encoding="utf-8")
    built = build_from(tmp_path, tmp_path, {"reader": "records", "file": "rows.jsonl"})
    assert len(built.rows("train.jsonl")) == len(ROWS) and built.manifest["deduplication"] is None


def test_the_bench_compares_like_with_like() -> None:
    """The figures of `make bench-data` come from the same texts; the speed itself is not tested, it is printed."""
    compared = against_datasketch()
    assert compared["pairs_of_datasketch_at_the_threshold"] > 100 and compared["of_them_found"] >= 0.99
