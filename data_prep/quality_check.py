"""Judge one Arabic translation of an English text or record by rules that need no model.

`check(en, ar)` takes two texts, or two records in one form (an object with question, options, answer, explanation, context or turns, or a list of
turns), compared field by field. Out comes a score from 0 to 100 and the flags, each with its rule, its severity and the words of both sides. An `error`
costs 35, so that one alone falls below the line of 80; a `warning` costs 5, and all warnings together at most 15, so that they alone never do.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from data_prep.quality_numbers import check_numbers
from data_prep.quality_sense import check_sense
from data_prep.quality_text import check_text
from data_prep.quality_words import Flag, Word, flagged, fold, read
from data_prep.wording import WORDINGS

LINE = 80  # the acceptance line
ERROR, WARNING, MOST_WARNINGS = 35, 5, 15
FIELDS = ("context", "question", "options", "answer", "explanation", "turns")
# A. B) (C) before an option in running text, and their Arabic counterparts
_LETTERED = {"en": re.compile(r"(?<![^\s(])\(?([A-E])[.)]\s"), "ar": re.compile(r"(?<![^\s(])\(?([أابجدهـ]|هـ|[A-E])[.)-]\s")}
_ALPHABET = {"en": "ABCDE", "ar": "أبجده"}
Text = str | dict | list


class Checked(NamedTuple):
    """What the rules say of one translation: `score` 0-100, `flags` as written to the output."""

    score: int
    flags: list[Flag]


def check(en: Text, ar: Text) -> Checked:
    """Judge an Arabic text or record against the English one. Raises TypeError where a side is neither text, object nor list."""
    flags = list(_texts(en, ar) if isinstance(en, str) and isinstance(ar, str) else _records(en, ar))
    return Checked(score(flags), flags)


def score(flags: list[Flag]) -> int:
    """100 less what the flags cost."""
    errors = sum(flag["severity"] == "error" for flag in flags)
    return max(0, 100 - ERROR * errors - min(MOST_WARNINGS, WARNING * (len(flags) - errors)))


def _texts(en: str, ar: str, part: bool = False) -> Iterator[Flag]:
    english, arabic = read(en, "en"), read(ar, "ar")
    yield from check_text(en, ar, english, arabic)
    if not ar.strip():
        return
    yield from check_numbers(english, arabic)
    yield from check_sense(en, ar, english, arabic)
    if not part and ("B." in en or "B)" in en) and (listed := _listed(en, "en")):
        yield from check_options(listed, _listed(ar, "ar") or [ar])


def _listed(text: str, lang: str) -> list[str]:
    """The options of a question in running text: what stands after A., B., .. in that order; none where fewer than two are lettered so."""
    marks, wanted = [], 0
    for mark in _LETTERED[lang].finditer(text):
        letter = mark.group(1).replace("ا", "أ").replace("هـ", "ه")
        places = (_ALPHABET["en"].find(letter), _ALPHABET[lang].find(letter))
        if wanted in places or wanted and wanted + 1 in places:
            marks.append(mark)
            wanted = max(places) + 1
    if len(marks) < 2:
        return []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]


def _records(en: Text, ar: Text) -> Iterator[Flag]:
    for side in (en, ar):
        if not isinstance(side, dict | list):
            raise TypeError(f"a {type(side).__name__} where a text, an object with {', '.join(FIELDS)} or a list of turns is needed on both sides")
    if isinstance(en, list) or isinstance(ar, list):
        en, ar = ({"turns": side} if isinstance(side, list) else side for side in (en, ar))
    for name in FIELDS:
        of_en, of_ar = en.get(name), ar.get(name)
        if of_en in (None, "", []) and of_ar in (None, "", []):
            continue
        if of_en in (None, "", []) or of_ar in (None, "", []):
            rule = "field_missing" if of_ar in (None, "", []) else "field_added"
            yield flagged(rule, "error", str(of_en or "")[:80], str(of_ar or "")[:80], f"one side has no {name}") | {"field": name}
        elif name == "options":
            yield from check_options(of_en, of_ar)
            for number, (one, other) in enumerate(zip(of_en, of_ar, strict=False)):
                if len(of_en) == len(of_ar):
                    yield from ({**flag, "field": f"options.{number + 1}"} for flag in _texts(one, other, part=True))
        elif name == "turns":
            yield from _turns(of_en, of_ar)
        elif isinstance(of_en, str) and isinstance(of_ar, str) and not (name == "answer" and len(of_en) == 1):
            yield from ({**flag, "field": name} for flag in _texts(of_en, of_ar, part=name != "question"))
        elif _place(of_en) != _place(of_ar):
            yield flagged("answer_changed", "error", str(of_en), str(of_ar), "the right answer is another option") | {"field": name}


def _place(answer: object) -> object:
    """A letter of either alphabet as the number of its option."""
    if isinstance(answer, str) and answer:
        for wording in WORDINGS.values():
            if answer in wording.letters:
                return wording.letters.index(answer)
    return answer


def _turns(en: list, ar: list) -> Iterator[Flag]:
    if len(en) != len(ar):
        yield flagged("turns_differ", "error", f"{len(en)} turns", f"{len(ar)} turns", "a turn is missing or added") | {"field": "turns"}
        return
    for number, (one, other) in enumerate(zip(en, ar, strict=True), start=1):
        where = {"field": f"turns.{number}"}
        if one.get("from") != other.get("from"):
            yield flagged("turns_differ", "error", str(one.get("from")), str(other.get("from")), "the turn is another speaker's") | where
        yield from ({**flag, **where} for flag in _texts(one["value"], other["value"], part=True))


def check_options(en: list[str], ar: list[str]) -> Iterator[Flag]:
    """Flags for options that are missing, merged, told twice or in another order."""
    field = {"field": "options"}
    if len(en) > len(ar):
        one = max(ar, key=len)
        merged = len(one) > 1.6 * max(map(len, en))
        said = "options have run into one" if merged else "an option is missing"
        yield flagged("options_merged" if merged else "options_missing", "error", f"{len(en)}: {' | '.join(en)}", f"{len(ar)}: {' | '.join(ar)}", said) | field
        return
    if len(en) < len(ar):
        yield flagged("options_added", "error", f"{len(en)}: {' | '.join(en)}", f"{len(ar)}: {' | '.join(ar)}", "an option too many") | field
        return
    seen: dict[str, int] = {}
    for number, option in enumerate(ar):
        first = seen.setdefault(fold(option).strip(" ."), number)
        if first != number and fold(en[first]).strip(" .") != fold(en[number]).strip(" ."):
            yield flagged("options_same", "error", f"{en[first]} | {en[number]}", option, "two options have become one text") | field
    english, arabic = [read(text, "en") for text in en], [read(text, "ar") for text in ar]
    moved, fits = [], [[_fit(words, other) for other in arabic] for words in english]
    for number, fit in enumerate(fits):
        best = max(range(len(fit)), key=lambda place: (fit[place], place == number))
        # its own place says nothing of it, another place what no other option says
        if fit[best] >= 0.5 and fit[number] == 0 and best != number and fits[best][best] < fit[best]:
            moved.append(f"{number + 1} at {best + 1}")
        # each of two says more of the other than of itself
        elif swapped := [other for other in range(len(fit)) if fit[other] > fit[number] and fits[other][number] > fits[other][other]]:
            moved.append(f"{number + 1} at {swapped[0] + 1}")
    if moved:
        yield flagged("options_order", "error", " | ".join(en), " | ".join(ar), "options stand in another order: " + ", ".join(moved)) | field


def _fit(en: list[Word], ar: list[Word]) -> float:
    """The share of the numbers, names and terms of an English option that stand in an Arabic one."""
    notions = frozenset().union(*[word.notions for word in ar])
    values = {value for word in ar for value in word.values}
    names, latin = {word.name for word in ar if len(word.name) > 1}, {word.folded for word in ar if word.latin}
    met = total = 0
    for word in en:
        if word.values or word.notions or len(word.name) > 1:
            total += 1
            met += bool(
                not values.isdisjoint(word.values) or not notions.isdisjoint(word.notions) or word.folded in latin or len(word.name) > 1 and word.name in names
            )
    return met / total if total else 0.0
