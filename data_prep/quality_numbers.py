"""Are the numbers, ranges, units and doses of the English those of the Arabic?

Compared are the values with their units, whatever the digits and words: 5 mg, 5 ملغ and ٥ ملغم are one dose, `two days` is يومين, 1.5 million is ١٫٥ مليون.
Digits count strictly: each must have its equal in the other text. What is said in words, or belongs to a name (COVID-19, ACE2), may explain a number there.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from data_prep.quality_words import DASH, LABEL, MINUS, NUMBER, RULES, Flag, Word, flagged
from data_prep.wording import Lang

DOSES = frozenset(RULES["dose_units"])
_RANGE = {"en": {"to", "and", "or", "through"}, "ar": {"الي", "و", "او", "حتي", "لـ", "ل"}}
_COMPOUND = {
    ("mm", "hg"): "mmhg",
    ("m", "hg"): "mmhg",
    ("point", "celsius"): "percent",
    ("milli", "mole"): "mmol",
    ("milli", "meq"): "meq",
    ("micro", "mole"): "umol",
}
_COMPOUND |= {("milli", "g"): "mg", ("micro", "g"): "mcg", ("kilo", "g"): "kg", ("milli", "l"): "ml", ("milli", "m"): "mm", ("kilo", "m"): "km"}
_AGE, _TIMES = {"age", "aged", "ages"}, {"second", "minute", "hour", "day", "week", "year"}
_TIME = {"p", "pm", "مساء", "م"}


@dataclass(slots=True)
class Quantity:
    """A number of a text: what it may say, its unit and what that is divided by (mg, dl), whether it must stand in the other text too."""

    values: tuple[float, ...]
    unit: str | None
    per: str | None
    strict: bool
    text: str
    digits: bool = True
    negative: bool = False
    implied: bool = False  # the unit is not written: an age is in years


def _unit_after(words: list[Word], at: int, before: Word | None) -> tuple[str | None, str | None, int]:
    """The unit that begins within three words of here, what it is divided by, and where it ends."""
    if before is not None and before.text in "$€£":
        return before.unit, None, at
    for place in range(at, min(at + 3, len(words))):
        unit = words[place].unit
        if unit is not None and (unit == "percent" or place == at or words[place - 1].folded != "per"):
            end = place + 1
            following = words[end].unit if end < len(words) else None
            if (unit, following) in _COMPOUND:
                unit = _COMPOUND[unit, following]
                end += 1
            if end + 1 < len(words) and words[end].per and words[end + 1].unit is not None and words[end + 1].unit != "percent":
                return unit, words[end + 1].unit, end + 2
            return unit, None, end
        if not words[place].skip:
            break
    return None, None, at


def quantities(words: list[Word], lang: Lang) -> list[Quantity]:
    """The numbers of a text in order, with their units; of words only the cardinals and duals that count something."""
    found, at, count, composed = [], 0, len(words), 0.0
    while at < count:
        here = words[at]
        at += 1
        if here.value is None:
            if here.unit is not None and 2.0 in here.values:  # يومين, twice: the dual is number and unit in one
                found.append(Quantity((2.0,), here.unit, None, False, here.text, digits=False))
            elif here.folded == "two" and (two := _unit_after(words, at, None))[0] is not None:
                found.append(Quantity((2.0,), two[0], two[1], False, " ".join(word.text for word in words[at - 1 : two[2]]), digits=False))
            continue
        values, text, digits = here.values, here.text, here.kind == NUMBER
        negative = digits and at > 1 and words[at - 2].folded == MINUS and (at == 2 or words[at - 3].kind not in (NUMBER, LABEL))
        if not digits:
            values = (here.value,)
            last = at - 2 if at > 1 and words[at - 2].kind == DASH else at - 1  # twenty-five
            if found and not found[-1].digits and composed and last > 0 and words[last - 1].value is not None:
                composed += here.value  # خمسة وعشرون, twenty-five
                values = (composed,)
                found[-1].strict = False
            else:
                composed = here.value
        first = at
        if at < count and words[at].scale is not None and (digits or words[at].value is None):
            values = tuple(float(f"{value * words[at].scale:.9g}") for value in values)
            text += " " + words[at].text
            at += 1
        unit, per, end = _unit_after(words, at, words[first - 2] if first > 1 else None)
        if unit is not None:
            text += " " + " ".join(word.text for word in words[at:end])
        before = found[-1] if found else None
        if unit is not None and before is not None and before.unit is None and at > 2 and _joined(words, at - 2, lang):
            before.unit, before.per = unit, per  # 2-14 days: both ends of a range are days
        if unit is None and lang == "en" and digits and any(word.folded in _AGE for word in words[max(first - 4, 0) : first - 1]):
            unit, implied = "year", True  # aged 18-49
        else:
            implied = False
        strict = digits or here.cardinal
        if digits and _fraction(words, first - 1):  # 1/3 is ثلث
            strict = False
        if digits and at < count and words[at].folded in ("th", "st", "nd", "rd", "s"):  # the 19th century, the 1990s: words in Arabic
            strict = False
        found.append(Quantity(values, unit, per, strict, text, digits=digits, negative=negative, implied=implied))
    return found


def _fraction(words: list[Word], at: int) -> bool:
    """Is the number here one of the two digits of a fraction such as 1/3?"""
    for above in (at, at - 2):
        if above >= 0 and above + 2 < len(words) and words[above + 1].text == "/":
            one, other = words[above].text, words[above + 2].text
            if len(one) == len(other) == 1 and one.isdigit() and other.isdigit() and one < other:
                return True
    return False


def _joined(words: list[Word], at: int, lang: Lang) -> bool:
    return words[at].kind == DASH or words[at].folded in _RANGE[lang] or words[at + 1].folded.startswith("و")


def _explains(words: list[Word], of: list[Quantity], evening: bool) -> set[float]:
    """Every value that a text may be said to hold, generously: also in words, names, fractions, and 21 for 9 p.m."""
    held = {value for word in words for value in word.values}
    for quantity in of:
        held.update(quantity.values)
    if evening:
        held |= {value + 12 for value in held if value < 12} | {value - 12 for value in held if 12 < value <= 24}
    if 0.5 in held:
        held |= {1.0, 2.0, 30.0}
    return held


def _unmet(en: list[Word], ar: list[Word], of_en: list[Quantity], of_ar: list[Quantity], evening: bool) -> tuple[list[Quantity], list[Quantity]]:
    """What the English counts and the Arabic does not, and the other way round."""
    in_en, in_ar = _explains(en, of_en, evening), _explains(ar, of_ar, evening)
    return [q for q in of_en if q.strict and in_ar.isdisjoint(q.values)], [q for q in of_ar if q.strict and in_en.isdisjoint(q.values)]


def _plain(value: float) -> str:
    return f"{value:.9g}"


def _turned(value: float) -> float:
    """25 as an accident of direction shows it: 52; 98.6 becomes 6.89."""
    return float(_plain(value)[::-1]) if _plain(value).replace(".", "").isdigit() else -1


def check_numbers(en: list[Word], ar: list[Word]) -> Iterator[Flag]:
    """Flags for what the two texts count differently. Severity `error` where digits or a dose differ, `warning` where words may say it another way."""
    of_en, of_ar = quantities(en, "en"), quantities(ar, "ar")
    if not of_en and not of_ar and not any(word.kind == LABEL for word in ar):
        return
    missing, extra = _unmet(en, ar, of_en, of_ar, False)
    if missing and extra and any(word.folded in _TIME for word in (*en, *ar)):
        missing, extra = _unmet(en, ar, of_en, of_ar, True)
    if not missing and not extra:
        missing, extra = _counted(en, ar)
    yield from _differences(missing, extra)
    yield from _labels(en, ar)
    yield from _units(of_en, of_ar, {word.unit for word in ar} | {_COMPOUND.get((a.unit, b.unit)) for a, b in zip(ar, ar[1:], strict=False)})
    if any(q.negative for q in of_en) and not any(q.negative for q in of_ar):
        cold = {"تحت", "ناقص", "سالب", "دون", "سالبه", "الصفر", "-"}
        if not any(word.folded in cold for word in ar):
            yield flagged("sign_lost", "error", next(q.text for q in of_en if q.negative), "", "a number below zero has lost its sign")


def _counted(en: list[Word], ar: list[Word]) -> tuple[list[Quantity], list[Quantity]]:
    """Of two numbers that both texts have, one too often in the one and one in the other: 14 and 15 days for twice 14 and once 15."""
    digits = [
        Counter(value for word in words if word.kind in (NUMBER, LABEL) for value in word.values[: None if word.kind == LABEL else 1]) for words in (en, ar)
    ]
    less, more = digits[0] - digits[1], digits[1] - digits[0]
    if not less or not more or len(digits[0] & digits[1]) < len(less):
        return [], []
    lost, found = next(iter(less)), next(iter(more))
    if digits[1][lost] and {lost, found}.isdisjoint((0.0, 1.0)):
        return [Quantity((lost,), None, None, True, _plain(lost))], [Quantity((found,), None, None, True, _plain(found))]
    return [], []


def _labels(en: list[Word], ar: list[Word]) -> Iterator[Flag]:
    """Names with digits: HKU2 where the English has HKU1, كوفيد-20 where it has COVID-19."""
    labels = [word for word in ar if word.kind == LABEL]
    if not labels:
        return
    digits = {value for word in en if word.kind in (NUMBER, LABEL) for value in word.values}
    names = {word.folded.replace("-", "") for word in en if word.kind == LABEL}
    letters = {re.split(r"\d", name)[0] for name in names}
    for word in labels:
        name = word.folded.replace("-", "")
        other = word.latin and name not in names and re.split(r"\d", name)[0] in letters
        if other or not digits.issuperset(word.values):
            yield flagged("name_changed", "error", " ".join(sorted(names))[:80], word.text, "a name with digits that the English does not have")


def _differences(missing: list[Quantity], extra: list[Quantity]) -> Iterator[Flag]:
    used: set[int] = set()
    for lost in missing:
        rule, other = None, None
        for place, found in enumerate(extra):
            if place in used:
                continue
            a, b = lost.values[0], found.values[0]
            if len(_plain(a)) > 1 and (_turned(a) == b or _turned(b) == a):
                rule, other = "digits_reversed", place
            elif a and b and _plain(a).replace(".", "").strip("0") == _plain(b).replace(".", "").strip("0"):
                rule, other = "decimal_moved", place
            if rule:
                break
        if rule is None and extra:
            other = next((place for place in range(len(extra)) if place not in used), None)
        if other is not None:
            used.add(other)
            severe = lost.digits or extra[other].digits or not (2.0 in lost.values or 2.0 in extra[other].values)
            yield flagged(rule or "number_changed", "error" if severe else "warning", lost.text, extra[other].text, "the number is another one")
        elif lost.digits:
            yield flagged("number_lost", "error", lost.text, "", "the Arabic does not have this number")
        else:
            yield flagged("number_word_lost", "error" if lost.unit else "warning", lost.text, "", "the Arabic does not have this number")
    for place, found in enumerate(extra):
        if place not in used:
            severity = "error" if found.digits or found.unit else "warning"
            yield flagged("number_added" if found.digits else "number_word_added", severity, "", found.text, "the English does not have this number")


def _units(of_en: list[Quantity], of_ar: list[Quantity], named: set[str | None]) -> Iterator[Flag]:
    for quantity in of_en:
        if quantity.unit is None or quantity.unit == "times":
            continue
        same = [q for q in of_ar if not set(q.values).isdisjoint(quantity.values)]
        if not same:
            continue  # the number itself is missing, or said in words that carry no unit
        if quantity.implied:
            same = [q for q in same if q.unit in _TIMES]
        if same and not any(q.unit in (quantity.unit, None) for q in same):
            yield flagged("unit_changed", "error", quantity.text, same[0].text, f"{quantity.unit} has become {same[0].unit}")
        elif not quantity.implied and all(q.unit is None for q in same) and quantity.digits and quantity.unit not in named:
            severity = "error" if quantity.unit in DOSES or not any(q.unit for q in same) else "warning"
            yield flagged("unit_lost", severity, quantity.text, same[0].text, f"no {quantity.unit} in the Arabic")
        elif quantity.per and same and all(q.per and q.per != quantity.per for q in same if q.unit == quantity.unit):
            yield flagged("unit_changed", "error", quantity.text, same[0].text, f"per {quantity.per} has become per {same[0].per}")
    for quantity in of_ar:
        if quantity.unit in DOSES and quantity.digits:
            same = [q for q in of_en if not set(q.values).isdisjoint(quantity.values)]
            if same and all(q.unit is None and q.digits for q in same) and not any(q.unit == quantity.unit for q in of_en):
                yield flagged("unit_added", "warning", same[0].text, quantity.text, f"no {quantity.unit} in the English")
