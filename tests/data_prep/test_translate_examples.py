"""Corrections of people as examples: shown to the model for rows of their kind, part of the journal's key, the manifest and each row's account. 5 seconds."""

import json
from pathlib import Path

import pytest

from data_prep import translate
from data_prep.translate_examples import LONGEST
from tests.conftest import command
from tests.data_prep.translating import GOOD, Model, Ran, qa


def line(name: str, kind: str = "qa", **more: object) -> str:
    fields = {"kind": kind, "origin_id": name, "english": {"question": f"{name}?", "answer": "Yes."}, "arabic": {"question": "هل هو كذلك؟", "answer": "نعم."}}
    return json.dumps(fields | more, ensure_ascii=False) + "\n"


def test_examples_are_shown_and_accounted_for(tmp_path: Path) -> None:
    """Three of the row's kind at most, none of the row itself, none too long; another file is another job, the same one asks nothing again."""
    file = tmp_path / "examples.jsonl"
    origin = GOOD["qa-03"][0].origin_id
    long = "a" * LONGEST
    lines = [line(origin), line("chat", "chat"), line("one"), line("long", english={"question": long, "answer": "x"}), line("two"), line("three"), line("four")]
    file.write_text("".join(lines), encoding="utf-8")
    known = [GOOD["qa-03"], GOOD["anatomy-01"]]
    rows = [record for record, _ in known]
    score = {"Score": lambda asked, right: {"feedback": "", "score": 50 if asked.round == 1 else 95}}
    ran = Ran(tmp_path, rows, Model(known, lambda asked, right: score.get(asked.form, lambda _, right: right)(asked, right)), "--examples", file)
    assert ran.code == 0
    asked = {tuple(one.english): one for one in ran.model.asked if one.form == "Translation" and one.round == 1}
    (shown,) = asked["question", "answer"].quoted
    assert [one["english"]["question"] for one in shown] == ["one?", "two?", "three?"] and shown[0]["arabic"]["answer"] == "نعم."
    assert all(not one.quoted for key, one in asked.items() if "option_1" in key)  # no example of this kind: the prompt without any
    again = next(one for one in ran.model.asked if one.form == "Translation" and one.round == 2 and "answer" in one.english)
    assert again.quoted[-1] == shown and len(again.quoted) == 3
    made = {row["id"]: row["made"] for row in [*ran.file(), *ran.file("review")]}
    manifest = json.loads((tmp_path / "ar.manifest.json").read_text(encoding="utf-8"))
    digest = manifest["settings"]["examples"]
    assert len(digest) == 64 and manifest["settings"]["prompts"]["translate_with"] == 1
    assert made["samples:train:qa-03:ar"]["examples"] == digest and made["samples:train:qa-03:ar"]["prompts"].keys() >= {"translate_with", "score"}
    assert "examples" not in made["samples:train:anatomy-01:ar"] and "translate" in made["samples:train:anatomy-01:ar"]["prompts"]

    assert Ran(tmp_path, rows, silent := Model(known), "--examples", file).code == 0 and silent.asked == []
    file.write_text(line("five"), encoding="utf-8")
    assert Ran(tmp_path, rows, other := Model(known), "--examples", file).code == 0
    assert {tuple(one.english) for one in other.asked if one.form == "Translation"} == {("question", "answer")}  # the other row's request is known
    assert "examples" not in translate.job().settings and set(translate.job().settings["prompts"]) == set(translate.PROMPTS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no example in it"),
        ("{", "row 1: not a JSON object"),
        (line("a") + line("b", arabic={"question": "نعم"}), "row 2: the row: kind is one of mcqa, qa, chat, and english and arabic have the same keys"),
        (line("a", arabic={"question": " ", "answer": "x"}), "row 1: arabic.question"),
        (None, "there is no such file"),
    ],
)
def test_a_file_that_holds_none_is_refused(tmp_path: Path, content: str | None, words: str, capsys: pytest.CaptureFixture) -> None:
    """With file, row and what to do; nothing is asked and nothing written."""
    file = tmp_path / "examples.jsonl"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    assert translate.main(["--in", "x", "--out", str(tmp_path / "out"), "--examples", str(file)]) == 2
    said = capsys.readouterr().err
    assert words in said and str(file.name) in said and said.startswith("error: ")


def test_the_estimate_counts_them(tmp_path: Path) -> None:
    """A dry run sends nothing, and its tokens rise by those of the examples."""
    (tmp_path / "examples.jsonl").write_text(line("x", english={"question": "word " * 500, "answer": "y"}), encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"kind": "qa", **qa("1", "What is anaemia?", "Too little haemoglobin.").model_dump()}) + "\n")
    start = ["data_prep.translate", "--in", tmp_path / "rows.jsonl", "--model", "m", "--journal", tmp_path / "j", "--dry-run"]
    tokens = [
        int(command(*start, *more).said.split("about ")[1].split(" tokens")[0].replace(",", "")) for more in ([], ["--examples", tmp_path / "examples.jsonl"])
    ]
    assert 500 < tokens[1] - tokens[0] < 1000
