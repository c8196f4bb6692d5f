"""What a build promises beyond single rows: no leak from the test sets, honest samples of large files, and outputs that are whole or not there."""

import json
from pathlib import Path

import pytest

from tests.data_prep.conftest import Built, accounted, build_from, run_build, write_recipe

EN = {"question": "Which organ makes insulin?", "options": ["Liver", "Pancreas", "Spleen"]}
AR = {"question": "أي عضو يصنع الأنسولين؟", "options": ["الكبد", "البنكرياس", "الطحال"]}
OTHER_EN = {"question": "Where does insulin come from?", "options": ["Liver", "Pancreas", "Spleen"]}
OTHER_AR = {"question": "من أي غدة يأتي الأنسولين؟", "options": ["الكبد", "البنكرياس", "الطحال"]}
UNLIKE = {"question": "Which organ makes saliva?", "options": ["Parotid", "Kidney"]}


def line(name: str, split: str, en: dict, ar: dict, answer: str = "B") -> dict:
    return {"id": name, "split": split, "benchmark": "anatomy", "answer": answer, "en": en, "ar": ar}


def build_files(tmp_path: Path, *names: str, **files: list[dict]) -> Built:
    """Build a recipe over samples files with these lines, named in this order."""
    for name, lines in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(content) + "\n" for content in lines), encoding="utf-8")
    return build_from(tmp_path, tmp_path, *({"reader": "samples", "file": f"{name}.jsonl", "source": name} for name in names))


TESTED = line("t", "test", EN, AR)
TWINS = {
    # name: (a training line, the languages in which it must not train)
    "the same words": (line("x", "train", EN, AR), {"en", "ar"}),
    "options in another order": (
        line("x", "train", EN | {"options": ["Spleen", "Liver", "Pancreas"]}, AR | {"options": AR["options"][::-1]}, "C"),
        {"en", "ar"},
    ),
    "other case, spaces and marks in English": (line("x", "train", EN | {"question": "  which organ, makes INSULIN "}, OTHER_AR), {"en", "ar"}),
    "vowel marks in Arabic": (line("x", "train", OTHER_EN, AR | {"question": "أيّ عضوٍ يصنع الأنسولين"}), {"en", "ar"}),
    "a validation row": (line("x", "validation", EN, AR), {"en", "ar"}),
    "the same in English, another translation": (line("x", "train", EN, OTHER_AR), {"en", "ar"}),
    "another question": (line("x", "train", UNLIKE, {"question": "أي عضو يصنع اللعاب؟", "options": ["النكفية", "الكلية"]}), set()),
    "the same question, other options": (line("x", "train", EN | {"options": ["Heart", "Pancreas"]}, AR | {"options": ["القلب", "البنكرياس"]}), set()),
}


@pytest.mark.parametrize("order", ["test first", "test last", "one file"])
@pytest.mark.parametrize("name", TWINS)
def test_test_questions_never_train(tmp_path: Path, name: str, order: str) -> None:
    """A test question that trains, in other clothes or in the other language, makes the score a lie, whatever the recipe's order."""
    twin, kept_out = TWINS[name]
    clean = line(
        "y", "train", {"question": "Which bone is longest?", "options": ["Femur", "Ulna"]}, {"question": "ما أطول عظم؟", "options": ["الفخذ", "الزند"]}
    )
    if order == "one file":
        built = build_files(tmp_path, "all", all=[twin, TESTED, clean])
    else:
        built = build_files(tmp_path, *sorted(["train", "test"], reverse=order == "test last"), train=[twin, clean], test=[TESTED])
    assert built.code == 0, built.said
    trained = {row["lang"] for split in ("train", "validation") for row in built.rows(f"{split}.jsonl") if row["id"].split(":")[2] == "x"}
    assert trained == {"en", "ar"} - kept_out
    assert built.manifest["rejected"].get("in_test_set", 0) == len(kept_out)
    assert accounted(built.manifest)
    assert len(built.rows("eval/anatomy_en.jsonl")) == len(built.rows("eval/anatomy_ar.jsonl")) == 1
    assert {row["id"].split(":")[2] for row in built.rows("train.jsonl")} >= {"y"}
    if kept_out:
        assert "may not train" in built.said
        assert all(reject["message"].count(":test:t:") == 1 for reject in built.rows("rejected/in_test_set.jsonl"))


def numbered(count: int) -> list[dict]:
    return [
        line(f"n{number}", "train", EN | {"question": f"Which organ has number {number}?"}, AR | {"question": f"أي عضو رقمه {number}؟"})
        for number in range(count)
    ]


def test_take_is_a_seeded_sample(tmp_path: Path) -> None:
    """`take` must give the same rows again, other rows for another seed, in the file's order, and say how many it left."""
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(content) + "\n" for content in numbered(40)), encoding="utf-8")
    source = {"reader": "samples", "file": "many.jsonl", "take": 11}
    taken = []
    for seed in (1, 1, 2):
        built = build_from(tmp_path, tmp_path, source, seed=seed)
        (entry,) = built.manifest["inputs"]
        assert (entry["read"], entry["not_taken"], entry["used"]) == (80, 58, {"train": 22})
        taken.append([row["id"] for row in built.rows("train.jsonl")])
    assert taken[0] == taken[1] != taken[2]
    everything = [f"samples:train:n{number}:{lang}" for number in range(40) for lang in ("en", "ar")]
    assert taken[0] == [name for name in everything if name in taken[0]] != everything[:22]
    assert all(name[:-2] + lang in taken[0] for name in taken[0] for lang in ("en", "ar"))  # a translation goes with its question


def test_take_of_more_than_there_is(tmp_path: Path) -> None:
    """A sample larger than the file is the whole file, not an error."""
    (tmp_path / "few.jsonl").write_text("".join(json.dumps(content) + "\n" for content in numbered(3)), encoding="utf-8")
    built = build_from(tmp_path, tmp_path, {"reader": "samples", "file": "few.jsonl", "take": 100})
    (entry,) = built.manifest["inputs"]
    assert (entry["not_taken"], entry["used"]) == (0, {"train": 6})


@pytest.mark.parametrize("share", [0, 0.01, 0.99])
def test_full_disk(tmp_path: Path, tiny: Built, share: float) -> None:
    """No room: exit code 2, a message with the folder and what to do, nothing that looks like an output."""
    largest = max(len(content) for content in tiny.files().values())
    built = run_build(tmp_path / "build", largest_file=int(share * largest))
    assert built.ended_badly(), built.said
    assert all(word in built.said for word in (str(built.out), "no room to write", "MiB free", "nothing was changed", "BUILD=")), built.said
    assert built.leftovers() == [] and not built.out.exists()


@pytest.mark.parametrize("failure", ["full disk", "missing file", "all rows bad"])
def test_previous_output_survives(tmp_path: Path, failure: str) -> None:
    """A failed build must leave the good data of yesterday as they are, byte for byte."""
    before = build_files(tmp_path, "many", many=numbered(5))
    content = before.files()
    if failure == "full disk":
        after = run_build(tmp_path / "build", tmp_path / "ours.yaml", tmp_path, largest_file=100)
    elif failure == "missing file":
        after = build_files(tmp_path, "many", "absent", many=numbered(2))
    else:
        after = build_files(tmp_path, "many", many=[{}])
    assert after.ended_badly(), after.said
    assert after.out == before.out and after.files() == content
    assert after.leftovers() == []


def test_new_output_replaces_the_old_one_whole(tmp_path: Path) -> None:
    """Rejects and question sets of the last build must not linger beside the new one's."""
    first = build_files(tmp_path, "all", all=[TESTED, *numbered(5), {}])
    assert {"eval/anatomy_en.jsonl", "rejected/empty_id.jsonl"} <= set(first.files())
    second = build_files(tmp_path, "all", all=numbered(3))
    assert set(second.files()) == {"train.jsonl", "validation.jsonl", "manifest.json", "eval/seen_en.jsonl", "eval/seen_ar.jsonl"}
    assert second.leftovers() == []


def test_one_line_at_the_end(tmp_path: Path) -> None:
    """The last line says where the data are, the counts and the hash, as every stage's does."""
    built = build_files(tmp_path, "all", all=[TESTED, *numbered(5)])
    digest = built.manifest["outputs"]["train.jsonl"]["sha256"][:16]
    assert built.said == f"{built.out}: 10 train, 0 validation rows, 2 evaluation questions, 0 rejected; train.jsonl sha256 {digest}\n"


def test_a_quick_look(tmp_path: Path) -> None:
    """`--limit` reads so many rows of each source, and the manifest says so: nobody takes its counts for the official ones."""
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(content) + "\n" for content in numbered(40)), encoding="utf-8")
    recipe = write_recipe(tmp_path / "ours.yaml", {"reader": "samples", "file": "many.jsonl"})
    built = run_build(tmp_path / "build", recipe, tmp_path, "--limit", "10")
    assert built.manifest["limit"] == built.manifest["inputs"][0]["read"] == 10
    whole = run_build(tmp_path / "build", recipe, tmp_path)
    assert whole.manifest["limit"] is None and whole.manifest["inputs"][0]["read"] == 80


def test_nothing_left_to_write(tmp_path: Path) -> None:
    """Good rows of another language only, and no reject to show: a message, not a traceback."""
    row = {"kind": "qa", "id": "a:en", "origin_id": "a", "lang": "en", "source": "ours", "split": "train", "question": "Why?", "answer": "So."}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    built = build_from(tmp_path, tmp_path, {"reader": "records", "file": "rows.jsonl"}, languages=["ar"])
    assert built.ended_badly() and "left no row to write; check its languages" in built.said, built.said
