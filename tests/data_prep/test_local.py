"""The local recipe on the real public files, defects included: official counts, and every row of every file accounted for."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.data_prep.conftest import Built, accounted, build_from

OFFICIAL = {
    "anatomy": 135,
    "clinical_knowledge": 265,
    "college_biology": 144,
    "college_medicine": 173,
    "medical_genetics": 100,
    "professional_medicine": 272,
    "medmcqa": 4183,
    "medqa": 1273,
    "pubmedqa": 500,
}
# (file, reader's form) -> rows read and what becomes of them; the numbers are those of SOURCES.md beside the files
ACCOUNTS = {
    "medmcqa/selfbiorag_train_1000.json": (1000, {"train": 995}, {"in_test_set": 5}),
    "medmcqa/dev.json": (4183, {"test": 4183}, {}),
    "medqa/selfbiorag_5options_train_first1000.json": (1000, {"train": 994}, {"in_test_set": 6}),
    "medqa/mediq_4options_dev.jsonl": (1272, {"validation": 60}, {}),
    "medqa/US_4options_test.jsonl": (1273, {"test": 1273}, {}),
    "pubmedqa/ori_pqal.json": (1000, {"train": 500, "test": 500}, {}),
    # 47,457 pairs and 6 files without any
    "medquad/medquad_xml_all.tar.gz": (
        47463,
        {"train": 250},
        {"empty_answer": 5, "in_test_set": 4, "no_pairs": 6, "other_schema": 16, "removed_answer": 31029},
    ),
    "chatdoctor/chatdoctor5k.json": (5452, {"train": 250}, {}),
}


def test_question_sets_have_the_official_sizes(local: Built) -> None:
    """A score on other questions than the official ones can be compared with nothing."""
    assert {name: len(local.rows(f"eval/{name}_en.jsonl")) for name in OFFICIAL} == OFFICIAL
    assert sum(list(OFFICIAL.values())[:6]) == 1089
    assert [len(local.rows(f"eval/{name}_en_dev.jsonl")) for name in list(OFFICIAL)[:6]] == [5] * 6


def test_every_evaluation_answer_is_in_range(local: Built) -> None:
    """An index out of range stops lm-eval, one that is off by one makes every score meaningless."""
    for name in OFFICIAL:
        rows = local.rows(f"eval/{name}_en.jsonl")
        assert all(0 <= row["answer"] < len(row["options"]) == len(row["letters"]) for row in rows), name
        seen = Counter(row["answer"] for row in rows)
        assert set(seen) == set(range(len(rows[0]["options"]))), name  # every letter is right at times, the first and the last too


def test_pubmedqa_answers_are_the_official_ones(local: Built, real_data: Path) -> None:
    """The official list of test ids carries the labels: ours must say the same."""
    truth = json.loads((real_data / "pubmedqa" / "test_ground_truth.json").read_text(encoding="utf-8"))
    ours = {row["id"].split(":")[2]: row["options"][row["answer"]] for row in local.rows("eval/pubmedqa_en.jsonl")}
    assert ours == truth
    (entry,) = [entry for entry in local.manifest["inputs"] if entry["reader"] == "pubmedqa"]
    assert list(entry["beside"]) == ["test_ground_truth.json"]  # the file that decides what is test is in the account too


@pytest.mark.parametrize("file", ACCOUNTS)
def test_each_file_is_accounted_for(local: Built, file: str) -> None:
    """A reader that passes over rows in silence shows here as a number that is off."""
    entry = next(entry for entry in local.manifest["inputs"] if entry["file"] == file)
    assert (entry["read"], entry["used"], entry["rejected"]) == ACCOUNTS[file]
    assert entry["not_taken"] == entry["read"] - sum(entry["used"].values()) - sum(entry["rejected"].values())


def test_the_manifest_adds_up(local: Built) -> None:
    """The totals of the manifest, its outputs and the reject files are one account."""
    manifest = local.manifest
    assert accounted(manifest)
    assert {reason: len(local.rows(f"rejected/{reason}.jsonl")) for reason in manifest["rejected"]} == manifest["rejected"]
    trained = sum(entry["used"].get("train", 0) for entry in manifest["inputs"])
    assert trained == manifest["outputs"]["train.jsonl"]["rows"] == len(local.rows("train.jsonl"))


def test_the_leaks_are_named(local: Built) -> None:
    """The one training question that stands word for word in MedMCQA's test set must not train, nor those that only differ in a few words. The
    report shows both texts, so that a person can see that these are one question."""
    hits = local.rows("contamination.jsonl")
    (same,) = [hit for hit in hits if hit["method"] == "normalised"]
    assert same["train_id"] == "medmcqa:train:000854:en" and "steroid resistant nephrotic syndrome" in same["test_text"].lower()
    assert {"medmcqa:train:000738:en", "medqa:train:000744:en", "medqa:train:000074:en"} <= {hit["train_id"] for hit in hits}
    rejects = local.rows("rejected/in_test_set.jsonl")
    assert {reject["content"]["id"] for reject in rejects} == {hit["train_id"] for hit in hits}
    assert all(hit["test_id"] in reject["message"] for hit, reject in zip(hits, rejects, strict=True))
    assert not {hit["train_id"] for hit in hits} & {row["id"] for row in local.rows("train.jsonl")}
    assert local.manifest["contamination"]["methods"] == {"ngram": 1, "normalised": 1, "similar": 13}


def test_real_rows_are_neither_cut_nor_eaten(local: Built) -> None:
    """`<or =5` must outlive the reader: a tag stripper would eat it and the words behind it."""
    contexts = [row["context"] for row in local.rows("eval/pubmedqa_en.jsonl")]
    assert any("<or =" in context for context in contexts)
    assert all(turn["value"].strip() for row in local.rows("train.jsonl") for turn in row["conversations"])


def test_the_base_of_medmcqa_shows(real_data: Path, tmp_path: Path) -> None:
    """Read with the base of the Hub copies, the owner's file gives rejects, not a quiet shift of every answer by one."""
    (tmp_path / "medmcqa").mkdir()
    shutil.copy(real_data / "medmcqa" / "dev.json", tmp_path / "medmcqa")
    built = build_from(tmp_path, tmp_path, {"reader": "medmcqa", "file": "medmcqa/dev.json", "split": "test", "answer_base": 0})
    assert built.manifest["rejected"]["answer_not_among_options"] > 500
    assert "`answer_base`" in built.said
