"""Answers and options as people write them: each either names one thing or is refused with its reason."""

import datetime

import pytest

from data_prep.sources import choices

ANSWERS = [
    # how the answer is given, its cell, the index or the reason
    *(("letter", said, 1) for said in ("B", "b", " b\xa0", "Ｂ", "(B)", "B.", "[b]:", "b)", "ب", "ب.", "(ب)", "\u200fب\u200e", "ﺏ", ["B"], "B) two", "ب- TWO")),
    *(("letter", said, 0) for said in ("A", "أ", "ا", "إ", "أ)", "ﺃ", "أ")),
    *(("letter", said, 4) for said in ("ه", "هـ", "هـ)", "E", "e")),
    *(("letter", said, "several_answers") for said in ("A+B", "A,C", "a and b", "AB", "أ و ب", "أ وب", "أ، ج", "A/B", "A\nB", ["A", "B"])),
    *(("letter", said, "answer_not_among_options") for said in ("F", "A?", "1", 1, "one", "B) one", "ت", "A A", "-", "Option A", {"A": 1}, "x" * 10**6)),
    *(("letter", said, "empty_answer") for said in (None, "", " \xa0", "\u200f", "\ufeff", [], float("nan"))),
    *(("letter", said, "invalid_answer") for said in (True, datetime.date(2024, 1, 2), float("inf"), b"A", {"a": "A"})),
    *(("index1", said, 1) for said in (2, 2.0, "2", "2.0", "٢", "۲", "２", "(2)", "2.", "٢٫٠", [2])),
    *(("index1", said, "answer_not_among_options") for said in (0, 6, "0", "6", -1, "-1", 1.5, "1.5", "B", "two", "9" * 5000)),
    *(("index1", said, "several_answers") for said in ("1,2", "1 2", "1 و 2", "١+٢", [1, 2])),
    *(("index0", said, 0) for said in (0, "0", "٠", 0.0)),
    *(("index0", said, "answer_not_among_options") for said in (5, "5")),
    ("index0", False, "invalid_answer"),
    *(("text", said, 1) for said in ("two", " two ", "TWO", "two\u200f")),
    *(("text", said, "answer_not_among_options") for said in ("tw", "B", "one two")),
    *(("text", said, 2) for said in ("3", 3, 3.0)),
]


@pytest.mark.parametrize(("how", "said", "expected"), ANSWERS, ids=lambda value: ascii(value)[:40])
def test_answers(how: str, said: object, expected: int | str) -> None:
    """Each way in which people write an answer either names one option or is refused."""
    found, letters = ["one", "two", "3", "four", "five"], choices.alphabet(None)
    if isinstance(expected, int):
        assert choices.answer(said, how, found, letters) == expected
        return
    with pytest.raises(choices.Refusal) as refused:
        choices.answer(said, how, found, letters)
    assert refused.value.reason == ("invalid_answer" if isinstance(said, dict) else expected)
    assert len(str(refused.value)) < 400


def test_an_answer_that_is_two_options() -> None:
    """The very same words decide; where they do not, the row is refused."""
    letters = choices.alphabet(None)
    assert choices.answer("mg", "text", ["Mg", "mg"], letters) == 1
    for found, said in ((["Heart", "heart "], "HEART"), (["heart", "heart"], "heart")):
        with pytest.raises(choices.Refusal, match="2 options") as refused:
            choices.answer(said, "text", found, letters)
        assert refused.value.reason == "ambiguous_answer"


OPTIONS = [
    # separator, the cells, the options or the reason
    (None, ["x", "y", None, " "], ["x", "y"]),
    (None, ["x", 2.0, 0.1 + 0.2, 37.5], ["x", "2", "0.3", "37.5"]),
    (None, ["x", None, "z"], "empty_option"),
    (None, ["x", "\u200f", "z"], "empty_option"),
    (None, [None, "x"], "empty_option"),
    (None, ["x", True], "invalid_option"),
    (None, ["x", datetime.datetime(2024, 2, 1)], "invalid_option"),
    (None, [["x", "y", None]], ["x", "y"]),
    (None, [["x", ["y"]]], "invalid_option"),
    (None, [{"A": "x", "B": "y", "C": None}], ["x", "y"]),
    (None, [{"أ": "x", "ب": "y"}], ["x", "y"]),
    (None, [{"B": "x", "A": "y"}], "invalid_options"),
    (None, ["x; y"], "invalid_options"),
    (None, [7], "invalid_options"),
    (None, [None], []),
    (None, ["A) x", "B) y"], "lettered_options"),
    (None, ["E. coli", "B. subtilis"], ["E. coli", "B. subtilis"]),
    ("\n", ["x\r\ny\rz\n"], ["x", "y", "z"]),
    ("\n", ["x\n\ny"], "empty_option"),
    ("\n", ["A) x\nB) y"], "lettered_options"),
    ("؛", ["س؛ ص ؛ع"], ["س", "ص", "ع"]),
    ("lettered", ["A) x", "B) y", None], ["x", "y"]),
    ("lettered", ["x", "y"], "lettered_options"),
    ("lettered", ["A) x B) y C) z"], ["x", "y", "z"]),
    ("lettered", ["a. x\nb. y"], ["x", "y"]),
    ("lettered", ["أ. القلب ب. الكبد ج. الرئة"], ["القلب", "الكبد", "الرئة"]),
    ("lettered", ["(ا) القلب\n(ب) الكبد"], ["القلب", "الكبد"]),
    ("lettered", ["أ- س ب- ص ج- ع د- ف هـ- ق"], ["س", "ص", "ع", "ف", "ق"]),
    ("lettered", ["\u200fأ) س\u200f ب) ص"], ["س\u200f", "ص"]),
    ("lettered", ["A) Hepatitis B. virus B) y"], ["Hepatitis B. virus", "y"]),
    ("lettered", ["A. E. coli\nB. S. aureus\nC. z\nD. w"], ["E. coli", "S. aureus", "z", "w"]),
    ("lettered", ["A. x\nB. y C. z\nE. w"], "invalid_options"),
    ("lettered", ["A. E. coli B. S. aureus"], "invalid_options"),
    ("lettered", ["x B) y"], "invalid_options"),
    ("lettered", ["A) x A) y"], "invalid_options"),
    ("lettered", [None], []),
]


@pytest.mark.parametrize(("separator", "cells", "expected"), OPTIONS, ids=lambda value: ascii(value)[:50])
def test_options(separator: str | None, cells: list, expected: list[str] | str) -> None:
    """Options in columns, in a list, by letter, or in one text: cut in one way only, or refused."""
    if isinstance(expected, list):
        assert choices.options(cells, separator, choices.alphabet(None)) == expected
        return
    with pytest.raises(choices.Refusal) as refused:
        choices.options(cells, separator, choices.alphabet(None))
    assert refused.value.reason == expected
