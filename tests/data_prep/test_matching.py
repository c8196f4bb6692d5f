"""What counts as the same text: more than what is equal byte for byte, less than what a careless reader would take for equal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep import matching

SAME = {
    "case and marks": ("Which organ makes INSULIN?", "which organ - makes insulin"),
    "tashkeel": ("أيّ عضوٍ يصنع الأنسولين", "أي عضو يصنع الأنسولين"),
    "tatweel": ("القـــلب", "القلب"),
    "alef": ("أنسولين إلى آخر", "انسولين الي اخر"),
    "ya and ta marbuta": ("مستشفى الحياة", "مستشفي الحياه"),
    "Arabic digits": ("٥ ملغ", "5 ملغ"),
    "Persian digits and letters": ("۵ کلیه", "5 كليه"),
    "full width": ("ｍｇ ５", "mg 5"),
    "presentation forms": ("ﻻ", "لا"),
    "direction marks": ("\u200fقلب\u200e", "قلب"),
}
DIFFERENT = {
    "another dose": ("give 5 mg", "give 50 mg"),
    "a moved decimal point": ("give 0.5 mg", "give 5 mg"),
    "an Arabic decimal point": ("٠٫٥ ملغ", "٥ ملغ"),
    "a type by letter": ("what is hepatitis A", "what is hepatitis C"),
    "a type by numeral": ("glycogen storage disease type III", "glycogen storage disease type VI"),
    "a type by letter in Arabic": ("التهاب الكبد ب", "التهاب الكبد ج"),
    "a negation": ("the true statement is", "the false statement is"),
    "an Arabic negation": ("كل ما يلي صحيح", "كل ما يلي صحيح عدا"),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same(name: str) -> None:
    """Writers differ in these, not in what they ask."""
    one, other = map(matching.words, SAME[name])
    assert one == other != []


@pytest.mark.parametrize("name", DIFFERENT)
def test_different(name: str) -> None:
    """Near copies must agree in numbers and negations: a dose is no spelling."""
    one, other = map(matching.words, DIFFERENT[name])
    assert matching.guard(one) != matching.guard(other)


def test_the_same_guard() -> None:
    """Articles and endings are no types."""
    assert matching.guard(matching.words("a patient's hand")) == matching.guard(matching.words("the hand of the patient, I think"))


@given(st.text())
def test_normalised_once_is_normalised(text: str) -> None:
    """Whatever a file holds: no error, and the words of the words are the words."""
    found = matching.words(text)
    assert len(matching.hashes(found)) == len(found)
    if all(unicodedata.category(character)[0] in "LNZ" for character in text):  # a mark between two letters may join or part them
        assert matching.words(" ".join(found)) == found


@given(st.lists(st.text(alphabet="ab", min_size=1), max_size=4), st.lists(st.text(alphabet="ab", min_size=1), max_size=4))
def test_a_key_tells_lists_apart(one: list[str], other: list[str]) -> None:
    """Words that move from question to options are another text."""
    assert (matching.key(one, other) == matching.key(other, one)) == (one == other)
