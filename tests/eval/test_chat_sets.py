"""The question sets: both languages of every entry, Arabic that is Arabic, nothing of a benchmark; and what a wrong file is told."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from data_prep.quality_text import BAD, FOREIGN, MARKS, OTHER
from data_prep.quality_words import fold
from data_prep.records import BadInput
from eval.chat_code import share
from eval.chat_sets import FOLDER, SETS, STRENGTHS, Question, load
from tests.conftest import ROOT

QUESTIONS = load()
FEWEST = {"open": 20, "history": 12, "dose": 10, "claims": 10, "urgent": 8}  # entries
RUN = 8  # words in a row that two texts of different origin do not share by chance


def test_every_entry_is_there_in_both_languages() -> None:
    """As many as the issue asks for, the same entries and strengths in English and Arabic; three exchanges in each history, some of which change language."""
    for name in SETS:
        rows = [question for question in QUESTIONS if question.set == name]
        by_lang = {lang: [(one.entry, one.strength) for one in rows if one.lang == lang] for lang in ("en", "ar")}
        assert by_lang["en"] == by_lang["ar"] and len({entry for entry, _ in by_lang["en"]}) >= FEWEST[name]
    assert Counter(one.strength for one in QUESTIONS if one.set == "claims") == dict.fromkeys(STRENGTHS, 22)
    history = [one for one in QUESTIONS if one.set == "history"]
    assert {len(one.patient) for one in history} == {3} and len({one.id for one in QUESTIONS}) == len(QUESTIONS)
    switched = {one.entry for one in history if len(set(one.langs)) == 2}
    assert len(switched) == 3 and all(one.langs[0] == one.lang != one.langs[-1] for one in history if one.entry in switched)
    assert all(one.langs == [one.lang] * len(one.patient) for one in QUESTIONS if one.entry not in switched)


def test_the_arabic_is_arabic() -> None:
    """Its letters but for a few abbreviations, Arabic question marks, no letters of Persian, no invisible marks, and no text that is that of another entry."""
    said = [(text, lang) for one in QUESTIONS for text, lang in zip(one.patient, one.langs, strict=True)]
    for text, lang in said:
        assert share(text, lang) > (0.95 if lang == "ar" else 0.999), text
        if lang == "ar":
            assert not any(pattern.search(text) for pattern in (FOREIGN, OTHER, BAD, MARKS)) and not set("?,;") & set(text), text
            assert set(re.findall("[A-Za-z]+", text)) <= {"INR"}
            assert not re.search("[٠-٩]", text), "digits are written 0-9 in the sets, as in the prompts"
    openings = [one.patient[0] for one in QUESTIONS]
    assert len(set(openings)) == len(openings)


def test_both_languages_have_the_same_numbers() -> None:
    """A dose or a temperature that differs would make two questions of one."""
    pairs = {one.id.rsplit(":", 1)[0]: {} for one in QUESTIONS}
    for one in QUESTIONS:
        if len(set(one.langs)) == 1:
            pairs[one.id.rsplit(":", 1)[0]][one.lang] = [sorted(re.findall(r"\d+(?:\.\d+)?", text.replace("50,000", "50000"))) for text in one.patient]
    words = {"18", "10", "20", "40"}  # an age in months or a count that one language writes as a word
    for name, both in pairs.items():
        for en, ar in zip(both.get("en", []), both.get("ar", []), strict=True):
            more = (Counter(en) - Counter(ar)) + (Counter(ar) - Counter(en))
            assert set(more) <= words | {str(number) for number in range(1, 13)} | {"34"}, (name, more)


def _runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", fold(text))
    return {tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1)}


def test_no_question_of_a_benchmark() -> None:
    """No eight words in a row of a question that this project trains or tests on, in either language."""
    rows = [json.loads(line) for path in (ROOT / "data_prep" / "samples").glob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    known = set().union(*(_runs(text) for row in rows for text in _texts(row)))
    assert len(known) > 3000
    shared = {" ".join(run) for one in QUESTIONS for text in one.patient for run in _runs(text) & known}
    assert shared == set()


def _texts(value: object) -> list[str]:
    """All texts in a row, but for its ids."""
    if isinstance(value, dict):
        return [text for key, part in value.items() if not key.endswith("id") for text in _texts(part)]
    return [text for part in value for text in _texts(part)] if isinstance(value, list) else [value] if isinstance(value, str) else []


def test_the_judge_knows_what_a_safe_answer_holds() -> None:
    """Each row has facts for both sides; each claim is stated; a dose that the reference names can be read as one."""
    for one in QUESTIONS:
        assert one.expects and one.must_not and (one.claim is not None) == (one.set == "claims") == (one.strength is not None)
        assert all(text.isascii() for text in (*one.expects, *one.must_not, *one.doses))


GOOD = {"id": "a", "en": ["My head hurts."], "ar": ["رأسي يؤلمني."], "expects": ["x"], "must_not": ["y"]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- id: [", "cannot be read"),
        ("id: a", "a list of entries is needed"),
        ([GOOD, GOOD], "entry 2 (a): this id stands already in entry 1"),
        ([GOOD | {"ar": ["رأسي يؤلمني.", "ماذا أفعل؟"]}], "entry 1 (a): the entry: Value error, 1 messages in English and 2 in Arabic"),
        ([GOOD | {"ar": ["My head hurts."]}], "entry 1 (a): ar 1 is not in Arabic; write it in that language ('My head hurts.')"),
        ([GOOD | {"en": ["رأسي يؤلمني."]}], "entry 1 (a): en 1 is not in English"),
        ([GOOD | {"switch": 2}], "switch is 2; it is the number of a message from 2 to 1"),
        ([GOOD | {"expects": []}], "entry 1 (a): expects: List should have at least 1 item"),
        ([GOOD | {"en": [" "]}], "entry 1 (a): en.0: String should match pattern"),
        ([GOOD | {"reference": "z"}], "entry 1 (a): reference: Extra inputs are not permitted"),
        ([{key: value for key, value in GOOD.items() if key != "must_not"}], "entry 1 (a): must_not: Field required"),
        ([GOOD | {"id": "Not An Id"}], "entry 1 (Not An Id): id: String should match pattern"),
        (["a"], "entry 1: the entry: Input should be a valid dictionary"),
    ],
)
def test_a_wrong_file_is_told_where(tmp_path: Path, content: object, words: str) -> None:
    """File, entry and what to do."""
    path = tmp_path / "open.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    with pytest.raises(BadInput) as told:
        load(tmp_path, ("open",))
    assert str(told.value).startswith(str(path)) and words in str(told.value)


def test_sets_of_ones_own(tmp_path: Path) -> None:
    """A folder with one file; a set that is not there is named."""
    (tmp_path / "open.yaml").write_text(yaml.safe_dump([GOOD], allow_unicode=True), encoding="utf-8")
    assert [one.id for one in load(tmp_path, ("open",))] == ["open/a:en", "open/a:ar"]
    assert isinstance(load(tmp_path, ("open",), ("ar",))[0], Question)
    with pytest.raises(BadInput, match=r"urgent\.yaml: there is no such file"):
        load(tmp_path, ("open", "urgent"))
    with pytest.raises(BadInput, match="there is no set 'jokes'; there are open, history"):
        load(FOLDER, ("jokes",))
