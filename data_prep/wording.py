"""How a multiple-choice question reads, in English and in Arabic: the one wording, for training and for evaluation.

The wording is that of the example that the authors published (docs/PAPER.md): `Question: .. Options: A. .. B. ..`, answered
`<explanation> The correct answer is B.`, and in Arabic with the option letters أ ب ج د. Letters beyond the fourth are ours.
"""

from dataclasses import dataclass
from typing import Literal

Lang = Literal["en", "ar"]


@dataclass(frozen=True)
class Wording:
    """The fixed words of one language. `lead` is what the answer says just before the letter."""

    question: str
    options: str
    context: str
    lead: str
    letters: str


WORDINGS: dict[str, Wording] = {
    "en": Wording("Question:", "Options:", "Context:", "The correct answer is", "ABCDE"),
    "ar": Wording("السؤال:", "الخيارات:", "السياق:", "الجواب الصحيح هو", "أبجده"),
}
MAX_OPTIONS = 5  # MedQA's original form has five; no source of the paper has more


def letters(lang: Lang, n_options: int) -> list[str]:
    """The first `n_options` option letters of a language: A B C D E or أ ب ج د ه."""
    if not 2 <= n_options <= MAX_OPTIONS:
        raise ValueError(f"a question has 2 to {MAX_OPTIONS} options, not {n_options}")
    return list(WORDINGS[lang].letters[:n_options])


def prompt(lang: Lang, question: str, options: list[str], context: str | None = None) -> str:
    """The user's turn: an optional context (PubMedQA's abstract), the question, the lettered options, on one line."""
    words = WORDINGS[lang]
    lettered = " ".join(f"{letter}. {option}" for letter, option in zip(letters(lang, len(options)), options, strict=True))
    asked = f"{words.question} {question} {words.options} {lettered}"
    return f"{words.context} {context} {asked}" if context else asked


def answer(lang: Lang, index: int, n_options: int, explanation: str | None = None) -> str:
    """The assistant's turn: the explanation where there is one, then the sentence that names the letter."""
    verdict = f"{WORDINGS[lang].lead} {letters(lang, n_options)[index]}."
    return f"{explanation} {verdict}" if explanation else verdict
