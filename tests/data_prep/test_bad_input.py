"""Bad input to the command: each kind says file, row and fix, good rows are kept, and no output looks finished that is not."""

import json
import shutil
from pathlib import Path

import pytest

from tests.data_prep.conftest import FIXTURES, Built, accounted, build_from, copied_fixtures, run_build, write_recipe

GOOD = (FIXTURES / "samples" / "good.jsonl").read_text(encoding="utf-8").splitlines()
SOURCE = {"reader": "samples", "file": "ours.jsonl"}


def edited(line: str, **changes: object) -> str:
    """A good line with another id and these changes; a change called `en__answer` reaches into `en`, None takes a key away."""
    content = json.loads(line) | {"id": "bad"}
    for key, value in changes.items():
        part, _, inner = key.rpartition("__")
        (content[part] if part else content)[inner] = value
    return json.dumps({key: value for key, value in content.items() if value is not None}, ensure_ascii=False)


BAD_LINES = {
    # name: (the line, reason, words of the message, how many of its two records are rejected)
    "cut short": (GOOD[0][:60], "malformed_json", "each line holds one object", 1),
    "not an object": ("[1, 2]", "malformed_json", "a JSON list where an object is needed", 1),
    "not UTF-8": (
        GOOD[3].encode().replace(b"sleep", b"sl\xe9ep").decode("utf-8", "surrogateescape"),
        "malformed_json",
        "each line holds one object in UTF-8",
        1,
    ),
    "empty answer": (edited(GOOD[3], en__answer=""), "empty_answer", "answer: is empty; correct the row", 1),
    "blank answer": (edited(GOOD[3], ar__answer=" \t"), "empty_answer", "answer: is empty", 1),
    "answer of control characters": (edited(GOOD[3], en__answer="\x1f"), "empty_answer", "answer: is empty", 1),
    "no answer": (edited(GOOD[3], en={"question": "Why?"}), "empty_answer", "answer: is empty", 1),
    "half an emoji": (edited(GOOD[3], en__answer="Sleep well \ud83d").replace("\ud83d", "\\ud83d"), "invalid_answer", "answer: ", 1),
    "answer beyond the options": (edited(GOOD[0], answer="C"), "answer_not_among_options", "the answer 'C' is not among the options; write a letter", 2),
    "answer in small print": (edited(GOOD[0], answer="a"), "answer_not_among_options", "the answer 'a' is not among the options", 2),
    "answer as a number": (edited(GOOD[0], answer=1), "answer_not_among_options", "the answer 1 is not among the options", 2),
    "six options": (edited(GOOD[0], en__options=list("123456")), "invalid_record", "a question has 2 to 5 options, not 6", 1),
    "one option": (edited(GOOD[0], en__options=["Heart"]), "invalid_record", "a question has 2 to 5 options, not 1", 1),
    "empty option": (edited(GOOD[0], en__options=["Heart", ""]), "empty_option", "options.1: is empty", 1),
    "two doctors in a row": (edited(GOOD[4], en=[{"from": "gpt", "value": "Hello."}] * 2), "invalid_record", "turn 1 is from gpt", 1),
    "chat without an answer": (edited(GOOD[4], en=[{"from": "human", "value": "Hello?"}]), "invalid_record", "even number of turns", 1),
    "empty turn": (edited(GOOD[4], en=[{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": ""}]), "empty_turn", "turns.1.value: is empty", 1),
    "unknown speaker": (edited(GOOD[4], en=[{"from": "human", "value": "Hello?"}, {"from": "nurse", "value": "Hi."}]), "invalid_turn", "'human' or 'gpt'", 1),
    "no Arabic": (edited(GOOD[0], ar=None), "empty_ar", "the key 'ar' is missing or empty", 1),
    "no id": (edited(GOOD[0], id=None), "empty_id", "the key 'id' is missing or empty", 2),
    "no split": (edited(GOOD[0], split=None), "empty_split", "split: is empty", 2),
    "unknown split": (edited(GOOD[0], split="trian"), "invalid_split", "split: Input should be 'train', 'validation'", 2),
    "open question to be tested": (edited(GOOD[3], split="test"), "invalid_split", "split: Input should be 'train' or 'validation'", 2),
    "benchmark that is a path": (edited(GOOD[0], benchmark="../../outside"), "invalid_benchmark", "benchmark: ", 2),
    "repeated id": (GOOD[0], "duplicate_id", "stands already in ours.jsonl, row 1; ids are unique: rename or remove", 2),
    "repeated id in another split": (edited(GOOD[2], id="s1"), "duplicate_id", "stands already in ours.jsonl, row 1; ids are unique: rename or remove", 2),
}


def build_lines(tmp_path: Path, lines: list[str]) -> Built:
    (tmp_path / "ours.jsonl").write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    return build_from(tmp_path, tmp_path, SOURCE)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The good lines alone, built."""
    return build_lines(tmp_path_factory.mktemp("clean"), GOOD)


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_line_is_told_and_good_rows_stay(tmp_path: Path, clean: Built, name: str) -> None:
    """One bad line must cost that line alone, and the user must learn which it is and what to do."""
    line, reason, words, count = BAD_LINES[name]
    built = build_lines(tmp_path, [*GOOD[:3], line, *GOOD[3:]])
    assert built.code == 0, built.said
    rejects = built.rows(f"rejected/{reason}.jsonl")
    assert [(reject["file"], reject["row"]) for reject in rejects] == [("ours.jsonl", 4)] * count
    assert all(words in reject["message"] and reject["content"] for reject in rejects)
    assert f"ours.jsonl, row 4: {rejects[0]['message']}" in built.said
    assert built.manifest["rejected"] == {reason: count}
    assert accounted(built.manifest)
    for file in clean.manifest["outputs"]:
        kept = [row for row in built.rows(file) if ":bad" not in row["id"]]  # the other language of a bad row may be good
        assert kept == clean.rows(file), file


def test_all_rows_bad(tmp_path: Path) -> None:
    """An empty training set must not pass for a built one."""
    built = build_lines(tmp_path, ["{", "}"])
    assert built.ended_badly()
    assert "left no row to write; the first reject: ours.jsonl, row 1: not a JSON object" in built.said
    assert built.leftovers() == [] and not built.out.exists()


def test_more_rejects_than_fit_the_terminal(tmp_path: Path) -> None:
    """Five of a kind are shown, the number and the file of all are said."""
    built = build_lines(tmp_path, [*GOOD, *"{{{{{{{{"])
    assert f"rejected 8 as malformed_json: all in {built.out}/rejected/malformed_json.jsonl" in built.said
    assert built.said.count("not a JSON object") == 5
    assert len(built.rows("rejected/malformed_json.jsonl")) == 8


BROKEN_FILES = {
    # name: (source, the file's new content, what to make of the old one, or None to take it away; words of the message)
    "missing": ({"reader": "samples", "file": "samples/good.jsonl"}, None, ("samples/good.jsonl is missing", "fetch it", "take it out of the recipe")),
    "missing test ids": (
        {"reader": "pubmedqa", "file": "pubmedqa/ori_pqal.json", "other": "pubmedqa/test_ground_truth.json"},
        None,
        ("test_ground_truth.json is missing", "official test ids"),
    ),
    "test ids of another file": (
        {"reader": "pubmedqa", "file": "pubmedqa/ori_pqal.json", "other": "pubmedqa/test_ground_truth.json"},
        b'{"999": "yes"}',
        ("the test id 999", "belong together"),
    ),
    "test ids that are none": (
        {"reader": "pubmedqa", "file": "pubmedqa/ori_pqal.json", "other": "pubmedqa/test_ground_truth.json"},
        b"5",
        ("test_ground_truth.json", "a JSON int"),
    ),
    "cut JSON": ({"reader": "chatdoctor", "file": "chatdoctor/chatdoctor.json"}, b'[{"input": "a', ("chatdoctor.json: not JSON", "fetch the file again")),
    "JSON of another shape": ({"reader": "chatdoctor", "file": "chatdoctor/chatdoctor.json"}, b"{}", ("chatdoctor.json: a JSON dict", "lists of objects")),
    "pubmedqa as a list": ({"reader": "pubmedqa", "file": "pubmedqa/ori_pqal.json"}, b"[]", ("a JSON list", "an object keyed by PMID")),
    "CSV in another encoding": ({"reader": "mmlu", "file": "mmlu/test.csv", "benchmark": "anatomy"}, b"caf\xe9,1,2,3,4,A\n", ("mmlu/test.csv: ", "UTF-8")),
    "archive cut short": ({"reader": "medquad", "file": "medquad.tar.gz"}, lambda whole: whole[:-100], ("medquad.tar.gz: ", "fetch the file again")),
    "archive that is a web page": ({"reader": "medquad", "file": "medquad.tar.gz"}, b"<html>", ("medquad.tar.gz: ", "fetch the file again")),
    "archive with a fault": (
        {"reader": "medquad", "file": "medquad.tar.gz"},
        lambda whole: whole[:300] + bytes(9) + whole[309:],
        ("medquad.tar.gz: ", "fetch the file again"),
    ),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_broken_file_stops_the_build(tmp_path: Path, name: str) -> None:
    """A file that cannot be read at all: one line that names it and the fix, exit code 2, no output, the good source beside it or not."""
    source, content, words = BROKEN_FILES[name]
    data = copied_fixtures(tmp_path)
    file = data / source.get("other", source["file"])
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content(file.read_bytes()) if callable(content) else content)
    shutil.copy(FIXTURES / "samples" / "good.jsonl", data / "good.jsonl")
    source = {key: value for key, value in source.items() if key != "other"}
    built = build_from(tmp_path, data, {"reader": "samples", "file": "good.jsonl"}, source)
    assert built.ended_badly(), built.said
    assert all(word in built.said for word in words), built.said
    assert built.leftovers() == [] and not built.out.exists()


BAD_RECIPES = {
    # name: (changes to the recipe, changes to its source, words of the message)
    "unknown key": ({"shuffle": True}, {}, ("shuffle: ", "keys of a recipe: description, root, seed")),
    "missing key": ({"mcqa_answers": None}, {}, ("mcqa_answers: Field required",)),
    "unknown reader": ({}, {"reader": "medcqa"}, ("sources.0.reader: Input should be 'samples', 'pubmedqa'", "found 'medcqa'")),
    "unknown key of a source": ({}, {"answer_bass": 1}, ("source ours.jsonl", "answer_bass", "data_prep/sources/samples.py")),
    "missing key of a reader": ({}, {"reader": "mmlu"}, ("source ours.jsonl", "benchmark", "data_prep/sources/mmlu.py")),
    "unknown form of MedQA": ({}, {"reader": "medqa", "form": "mediQ"}, ("form is 'mediQ'", "original, mediq, selfbiorag")),
    "unknown form of MedMCQA": ({}, {"reader": "medmcqa", "form": "hub"}, ("form is 'hub'", "original, selfbiorag")),
    "impossible base": ({}, {"reader": "medmcqa", "answer_base": "1"}, ("answer_base is '1'", "0 or 1")),
    "unknown split": ({}, {"split": "training"}, ("sources.0.split: Input should be 'train'",)),
    "nothing taken": ({}, {"take": 0}, ("sources.0.take: Input should be greater than 0",)),
    "unknown root": ({"root": "/data"}, {}, ("root: Input should be 'samples' or 'DATA'",)),
    "unknown answers": ({"mcqa_answers": ["long"]}, {}, ("mcqa_answers.0: Input should be 'letter' or 'explained'",)),
    "no sources": ({"sources": []}, {}, ("sources: List should have at least 1 item",)),
}


@pytest.mark.parametrize("name", BAD_RECIPES)
def test_bad_recipe_is_refused(tmp_path: Path, name: str) -> None:
    """A mistyped key that passed in silence would build another data set than the one asked for."""
    changes, of_source, words = BAD_RECIPES[name]
    shutil.copy(FIXTURES / "samples" / "good.jsonl", tmp_path / "ours.jsonl")
    built = build_from(tmp_path, tmp_path, SOURCE | of_source, **changes)
    assert built.ended_badly(), built.said
    assert all(word in built.said for word in words), built.said
    assert built.leftovers() == [] and not built.out.exists()


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("tinny", ("there is no recipe 'tinny'", "local, tiny")),
        ("none.yaml", ("there is no recipe 'none.yaml'", "local, tiny")),
        ("local", ("the recipe 'local' reads real files", "DATA=<folder>")),
    ],
)
def test_recipe_that_cannot_be_found_or_fed(tmp_path: Path, recipe: str, words: tuple[str, ...]) -> None:
    """The message lists the recipes there are, or says which variable is missing."""
    built = run_build(tmp_path, recipe)
    assert built.ended_badly(), built.said
    assert all(word in built.said for word in words), built.said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["sources: [", "just words", "", "- a\n- b\n", "description: \xff"])
def test_recipe_that_is_no_recipe(tmp_path: Path, text: str) -> None:
    """Any text file may be named by mistake: the answer is a message with the file's name, not a traceback."""
    recipe = write_recipe(tmp_path / "ours.yaml", SOURCE)
    recipe.write_bytes(text.encode("latin-1"))
    built = run_build(tmp_path / "build", recipe, tmp_path)
    assert built.ended_badly(), built.said
    assert "ours.yaml" in built.said


def test_build_folder_that_is_a_file(tmp_path: Path) -> None:
    """BUILD=some/file is a slip of the hand, answered by a message."""
    (tmp_path / "build").write_text("a file", encoding="utf-8")
    built = run_build(tmp_path / "build")
    assert built.ended_badly(), built.said
    assert "BUILD=" in built.said and (tmp_path / "build").read_text(encoding="utf-8") == "a file"
