"""Is every dose that an assistant names in the question that the chat was made from? A dose out of thin air can harm whoever believes it.

Numbers and units are read by data_prep/quality_numbers.py in both languages: 0.5 g is 500 mg, ٥٠٠ ملغ and 500mg are one dose, قرصين are two tablets.
"""

import math
from collections.abc import Iterator

import yaml

from data_prep.quality_numbers import quantities
from data_prep.quality_words import WORD, WORDS, Word, fold, read
from data_prep.wording import Lang

_LISTS = yaml.safe_load((WORDS / "chats.yaml").read_text(encoding="utf-8"))
# what a unit is counted in: masses in mg, tablets and capsules alike. Litres, kilograms, degrees and mmHg are no doses: `drink 2 litres`, `above 38 degrees`
_IN = {"g": ("mg", 1000.0), "mg": ("mg", 1.0), "mcg": ("mg", 1e-3), "ng": ("mg", 1e-6), "ml": ("ml", 1.0), "iu": ("unit", 1.0), "mmol": ("mmol", 1.0)}
_IN |= {"umol": ("mmol", 1e-3), "meq": ("meq", 1.0), "tablet": ("tablet", 1.0), "capsule": ("tablet", 1.0), "drop": ("drop", 1.0)}
_IN |= {name: (name, 1.0) for name in _LISTS["dose_words"]}
_NAMES = {lang: {fold(word): name for name, both in _LISTS["dose_words"].items() for word in both[at]} for at, lang in enumerate(("en", "ar"))}
_ONE = {lang: {fold(word) for word in words} for lang, words in _LISTS["one"].items()}
_LEVELS = {"dl", "l", "ml"}  # 126 mg/dl is what a laboratory found
_REACH = 2  # words after a number in which its measure is looked for: 10 more units


class Dose:
    """An amount: its unit, what it may be worth in it, the words as they stand, whether it is a level in blood rather than something to take."""

    def __init__(self, unit: str, values: tuple[float, ...], text: str, level: bool = False) -> None:
        name, scale = _IN[unit]
        self.unit, self.values, self.text, self.level = name, tuple(value * scale for value in values), text, level

    def same(self, other: "Dose") -> bool:
        """Is this the amount of the other, in whatever unit of its kind?"""
        return self.unit == other.unit and any(math.isclose(a, b, rel_tol=1e-6) for a in self.values for b in other.values)


def _measure(word: Word, lang: Lang) -> str | None:
    """The unit of a dose that a word names, with و ب ال and the like before it or not."""
    if word.unit in _IN:
        return word.unit
    forms = (word.folded, *(word.folded[start:] for start in (1, 2) if lang == "ar" and word.folded[:start] in ("و", "ب", "ال")))
    return next((_NAMES[lang][form] for form in forms if form in _NAMES[lang]), None)


def doses(text: str, lang: Lang) -> list[Dose]:
    """The doses and levels that a text names, with numbers in digits or words."""
    words = read(text, lang)
    found = [Dose(one.unit, one.values, one.text, one.per in _LEVELS) for one in quantities(words, lang) if one.unit in _IN]
    for at, word in enumerate(words):
        unit = _measure(word, lang)
        before, after = words[max(at - _REACH, 0) : at], words[at + 1 : at + 2]
        if unit is None:
            continue
        counted = [other for other in before if other.value is not None or other.kind == WORD and other.folded == "two"]
        number = counted[-1] if counted and not any(_measure(other, lang) for other in before[before.index(counted[-1]) :]) else None
        if lang == "en" and before and before[-1].folded in _ONE["en"]:  # 1 in words is no number to quantities()
            found.append(Dose(unit, (1.0,), f"{before[-1].text} {word.text}"))
        elif lang == "ar" and after and after[0].folded in _ONE["ar"] and not (number and before[-1] is number):  # 10 بخات واحدة are ten
            found.append(Dose(unit, (1.0,), f"{word.text} {after[0].text}"))
        elif word.unit not in _IN and lang == "ar" and 2.0 in word.values:  # بختين
            found.append(Dose(unit, (2.0,), word.text))
        elif word.unit not in _IN and number:
            found.append(Dose(unit, number.values, f"{number.text} {word.text}"))
    return found


class Known:
    """The doses of the source: what an assistant may name. Where the source has a number and the unit apart (`dose in mg`: 500), that will do."""

    def __init__(self, texts: list[str]) -> None:
        read_texts = [read(text, "en") for text in texts]
        self.doses = [dose for text in texts for dose in doses(text, "en")]
        self.bare = {value for words in read_texts for one in quantities(words, "en") if one.unit is None for value in one.values}
        self.units = {_IN[unit] for words in read_texts for word in words if (unit := _measure(word, "en"))}

    def has(self, dose: Dose) -> bool:
        """May an assistant name this amount?"""
        if any(dose.same(known) for known in self.doses):
            return True
        scales = [scale for unit, scale in self.units if unit == dose.unit]
        return any(math.isclose(bare * scale, value, rel_tol=1e-6) for scale in scales for bare in self.bare for value in dose.values)


def invented(turns: list[tuple[str, str, Lang]], texts: list[str]) -> Iterator[tuple[int, str]]:
    """(number of the exchange from 1, words) of each dose of an assistant that is in none of the source's `texts`.

    A level in blood may also repeat what the patient has said before.
    """
    known, told = Known(texts), []
    for number, (patient, assistant, lang) in enumerate(turns, start=1):
        told += doses(patient, lang)
        for dose in doses(assistant, lang):
            if not known.has(dose) and not (dose.level and any(dose.same(other) for other in told)):
                yield number, dose.text
