"""The one wording of multiple-choice questions: what goes in comes out again, in both languages."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data_prep import wording

LANGS = st.sampled_from(["en", "ar"])
# words without the marks that the wording itself is made of, so that a prompt can be taken apart again
WORDS = st.text(alphabet="abcxyz019 قلبكدعم-,؟?", min_size=1).filter(str.strip)
OPTIONS = st.lists(WORDS, min_size=2, max_size=wording.MAX_OPTIONS)


def test_the_published_example() -> None:
    """The paper's own example, to the letter: evaluation and training would drift from it, and from each other, without a notice."""
    assert wording.prompt("en", "Which?", ["one", "two", "three", "four"]) == "Question: Which? Options: A. one B. two C. three D. four"
    assert wording.answer("en", 1, 4, "Because.") == "Because. The correct answer is B."
    assert wording.prompt("ar", "أيها؟", ["واحد", "اثنان", "ثلاثة", "أربعة"]) == "السؤال: أيها؟ الخيارات: أ. واحد ب. اثنان ج. ثلاثة د. أربعة"
    assert wording.answer("ar", 1, 4, "لأنه كذلك.") == "لأنه كذلك. الجواب الصحيح هو ب."


@given(lang=LANGS, question=WORDS, options=OPTIONS, context=st.none() | WORDS)
def test_a_prompt_comes_apart_again(lang: str, question: str, options: list[str], context: str | None) -> None:
    """Every part stands in the prompt once, whole and in order: an option lost or swapped would make the key wrong."""
    words = wording.WORDINGS[lang]
    text = wording.prompt(lang, question, options, context)
    before = f"{words.context} {context} " if context else ""
    assert text.startswith(f"{before}{words.question} {question} {words.options} ")
    asked = text.removeprefix(f"{before}{words.question} {question} {words.options}")
    parts = re.split(rf" ([{words.letters}])\. ", asked)
    assert parts[0] == ""
    assert parts[1::2] == wording.letters(lang, len(options))
    assert parts[2::2] == options


@given(lang=LANGS, index=st.integers(0, 4), n_options=st.integers(2, 5), explanation=st.none() | WORDS)
@example(lang="ar", index=4, n_options=5, explanation=None)
def test_an_answer_names_its_letter(lang: str, index: int, n_options: int, explanation: str | None) -> None:
    """From the answer's last words the index comes back, explanation or not; an index without an option is an error, not option A."""
    if index >= n_options:
        with pytest.raises(IndexError):
            wording.answer(lang, index, n_options, explanation)
        return
    text = wording.answer(lang, index, n_options, explanation)
    said = re.search(rf"{wording.WORDINGS[lang].lead} (.)\.$", text)
    assert wording.letters(lang, n_options).index(said[1]) == index
    assert text.removesuffix(said[0]) == (f"{explanation} " if explanation else "")


@pytest.mark.parametrize(("lang", "expected"), [("en", "ABCDE"), ("ar", "أبجده")])
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_letters(lang: str, expected: str, count: int) -> None:
    """The Arabic letters follow the abjad order (أ ب ج د ه), not the alphabet's (أ ب ت ث ج)."""
    assert wording.letters(lang, count) == list(expected)[:count]


@pytest.mark.parametrize("lang", ["en", "ar"])
@pytest.mark.parametrize("count", [-1, 0, 1, 6, 26])
def test_options_that_cannot_be_lettered(lang: str, count: int) -> None:
    """A question with one option has no wrong answer, one with six has no letter: neither is worded."""
    with pytest.raises(ValueError, match=f"a question has 2 to 5 options, not {count}"):
        wording.letters(lang, count)
    if count >= 0:
        with pytest.raises(ValueError, match="2 to 5 options"):
            wording.prompt(lang, "Which?", ["x"] * count)


def test_letters_of_a_language_differ() -> None:
    """Two options under one letter could not be told apart by letter scoring; nor may a letter of one language serve in the other."""
    assert all(len(set(words.letters)) == wording.MAX_OPTIONS for words in wording.WORDINGS.values())
    assert not set(wording.WORDINGS["en"].letters) & set(wording.WORDINGS["ar"].letters)
