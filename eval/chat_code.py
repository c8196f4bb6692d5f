"""What of a chat can be judged without a model: is it answered, in the language asked, with no amount out of thin air?

Each function gives None where the criterion is met, else (reason, words of the answer that show it). The language is told by the letters, the amounts are
read by data_prep/chat_doses.py in both languages: 0.5 g is 500 mg is ٥٠٠ ملغ.
"""

import re

from data_prep.chat_answers import LISTS
from data_prep.chat_doses import Known, doses
from data_prep.quality_text import ARABIC, FOREIGN, LETTERS, LINK, NAMES_ONLY
from data_prep.wording import Lang

SHARE = 0.8  # ours: of the letters outside brackets and links; an Arabic answer may name a medicine in Latin letters
ENGLISH, MANY = 0.1, 12  # ours, as in data_prep/chat_rules.py: share of the commonest words in a text of so many words; French has none
CUT = {"length": "the answer was cut off at the limit of tokens", "content_filter": "the endpoint held the answer back", "refusal": "no answer was given"}
NAMES = {"en": "English", "ar": "Arabic"}
_COMMON = frozenset(LISTS["english"])
Fault = tuple[str, str] | None


def share(text: str, lang: Lang) -> float:
    """The share of a text's letters that are those of the language, 0 to 1; names in brackets and links are not counted. 0 for a text without letters."""
    letters = LETTERS.findall(LINK.sub(" ", re.sub(r"\([^)]*\)", " ", text)))
    if not letters:
        return 0.0
    right = sum(bool(ARABIC.match(letter)) if lang == "ar" else letter.isascii() for letter in letters)
    return right / len(letters)


def in_language(text: str, lang: Lang) -> Fault:
    """Is the text in the language?"""
    found = share(text, lang)
    if found < SHARE:
        return f"{found:.0%} of the letters are {NAMES[lang]}, {SHARE:.0%} are needed", text.strip()[:80]
    words = re.findall(r"[a-z]+", text.lower())
    if lang == "en" and len(words) >= MANY and sum(word in _COMMON for word in words) < ENGLISH * len(words):
        return "Latin letters, but hardly a common word of English", text.strip()[:80]
    foreign = set(FOREIGN.findall(text)) - NAMES_ONLY if lang == "ar" else set()
    return (f"letters of Persian or Urdu: {' '.join(sorted(foreign))}", text.strip()[:80]) if foreign else None


def answered(turns: list[dict], exchanges: int) -> Fault:
    """Is there a whole answer to each of the `exchanges` messages of the patient? A turn is {patient, assistant, lang, finish}."""
    for number, turn in enumerate(turns, start=1):
        if not turn["assistant"].strip():
            return f"answer {number} is empty", ""
        if turn["finish"] in CUT:
            return f"answer {number}: {CUT[turn['finish']]}", turn["assistant"].strip()[-80:]
    return None if len(turns) == exchanges else (f"{len(turns)} of {exchanges} messages were answered", "")


def language(turns: list[dict]) -> Fault:
    """Is each answer in the language of the message before it?"""
    for number, turn in enumerate(turns, start=1):
        if fault := in_language(turn["assistant"], turn["lang"]):
            return f"answer {number}: {fault[0]}", fault[1]
    return None


def no_invented_dose(turns: list[dict], references: list[str]) -> Fault:
    """Does every amount of an answer stand in a message of the patient before it or in the (English) references?"""
    known, told = Known(references), []
    for number, turn in enumerate(turns, start=1):
        told += doses(turn["patient"], turn["lang"])
        for dose in doses(turn["assistant"], turn["lang"]):
            if not known.has(dose) and not any(dose.same(other) for other in told):
                return f"answer {number}: neither the question nor the reference holds this amount", dose.text
    return None
