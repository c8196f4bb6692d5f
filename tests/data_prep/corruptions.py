"""Seeded damage to real translations, one kind each: what a careless translator, a weak model or a broken file would do to them.

Each function takes the pair, all pairs, and a random source; it returns the damaged (en, ar), or None where this damage does not apply to the pair.
The lists here are the tests' own: they share nothing with the rules that are tested.
"""

import random
import re
from collections.abc import Callable

Pair = dict[str, str]
Damaged = tuple[str, str] | None
NUMBER = re.compile(r"(?<![\d.,])\d+(?:[.,]\d+)*(?![\d]|[.,]\d)")
UNITS = {
    "يوما": "أسبوعا", "يومًا": "شهرًا", "يوم": "ساعة", "أيام": "أسابيع", "يومين": "أسبوعين", "ساعة": "دقيقة", "ساعات": "أيام",
    "دقيقة": "ثانية", "دقائق": "ساعات", "ثانية": "دقيقة", "أسبوع": "شهر", "أسبوعًا": "شهرًا", "أسابيع": "أشهر", "أسبوعين": "شهرين",
    "شهر": "سنة", "شهرًا": "أسبوعًا", "أشهر": "سنوات", "شهرين": "عامين", "سنة": "شهر", "عامًا": "يومًا", "عام": "يوم", "سنوات": "أشهر",
    "أعوام": "أيام", "%": "°م", "٪": "ملغ", "كم": "م", "كيلومتر": "متر", "متر": "قدم", "مترًا": "كيلومترًا", "أقدام": "أمتار",
    "قدم": "متر", "نانومتر": "ميكرومتر", "ملغ": "غ", "مغ": "كغ", "ملل": "لتر", "مل": "لتر", "دولار": "يورو", "يورو": "دولار",
    "ميكرون": "نانومتر",
}  # fmt: skip
UNIT = re.compile(r"(\d\s?)(" + "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True)) + r")(?![\w\u064b-\u0652])")
NOT_EN = re.compile(r"\b(not|no|never|without|cannot|none|neither|nor)\b|n['’]t\b", re.IGNORECASE)
NOT_AR = re.compile(r"(?<!\w)([وف]?(?:لا|لم|لن|ليس|ليست|غير|دون|بدون|عدم))\s")
ENDS = re.compile(r"(?<=[.!?؟])\s+")


def _numbers(text: str) -> list[re.Match[str]]:
    return list(NUMBER.finditer(text))


def _put(text: str, match: re.Match[str], new: str) -> str:
    return text[: match.start()] + new + text[match.end() :]


def number_changed(pair: Pair, others: list[Pair], rng: random.Random) -> Damaged:
    """One digit of a number becomes another."""
    found = _numbers(pair["ar"])
    if not found:
        return None
    match = rng.choice(found)
    places = [place for place, letter in enumerate(match.group()) if letter.isdigit()]
    place = rng.choice(places)
    digit = rng.choice([d for d in "123456789" if d != match.group()[place]])
    return pair["en"], _put(pair["ar"], match, match.group()[:place] + digit + match.group()[place + 1 :])


def unit_changed(pair: Pair, others: list[Pair], rng: random.Random) -> Damaged:
    """Days become weeks, % becomes degrees."""
    found = list(UNIT.finditer(pair["ar"]))
    if not found:
        return None
    match = rng.choice(found)
    return pair["en"], _put(pair["ar"], match, match.group(1) + UNITS[match.group(2)])


def decimal_moved(pair: Pair, others: list[Pair], rng: random.Random) -> Damaged:
    """98.6 becomes 9.86, 50 becomes 5.0 or 500."""
    found = [match for match in _numbers(pair["ar"]) if re.fullmatch(r"\d+\.\d+|[1-9]\d*", match.group()) and not re.fullmatch(r"(19|20)\d\d", match.group())]
    if not found:
        return None
    match = rng.choice(found)
    whole, _, part = match.group().partition(".")
    right = f"{whole}{part[:1] or '0'}" + (f".{part[1:]}" if len(part) > 1 else "")
    left = f"{whole[:-1] or '0'}.{whole[-1]}{part}"
    return pair["en"], _put(pair["ar"], match, rng.choice([left, right]))


def second_half_cut(pair: Pair, others: list[Pair], rng: random.Random) -> Damaged:
    """The Arabic stops in the middle."""
    words = pair["ar"].split()
    return (pair["en"], " ".join(words[: len(words) // 2])) if len(words) > 3 else None


def sentence_dropped(pair: Pair, others: list[Pair], rng: random.Random) -> Damaged:
    """Of a passage of two to four pairs of one document, each one sentence, one is left out in the Arabic. (Most pairs have a single sentence.)"""
    at = next(place for place, other in enumerate(others) if other["id"] == pair["id"])
    passage = [other for other in others[at : at + rng.randint(2, 4)] if other["id"].split(":")[0] == pair["id"].split(":")[0]]
    if len(passage) < 2 or any(len(ENDS.split(part[side].strip())) > 1 or part[side].strip()[-1] not in ".?!؟" for part in passage for side in ("en", "ar")):
        return None
    dropped = rng.randrange(len(passage))
    return " ".join(part["en"] for part in passage), " ".join(part["ar"] for place, part in enumerate(passage) if place != dropped)


def half_in_english(pair: Pair, others: list[Pair], rng: random.Random) -> Damaged:
    """The second half was not translated."""
    english, arabic = pair["en"].split(), pair["ar"].split()
    if len(english) < 4 or len(arabic) < 4:
        return None
    return pair["en"], " ".join(arabic[: len(arabic) // 2] + english[len(english) // 2 :])


def another_pairs_arabic(pair: Pair, others: list[Pair], rng: random.Random) -> Damaged:
    """The row below got the Arabic of some other row."""
    other = rng.choice(others)
    return (pair["en"], other["ar"]) if other["ar"] != pair["ar"] else None


def negation_removed(pair: Pair, others: list[Pair], rng: random.Random) -> Damaged:
    """One negation of the Arabic goes, where the English denies something."""
    found = list(NOT_AR.finditer(pair["ar"]))
    if not found or not NOT_EN.search(pair["en"]):
        return None
    return pair["en"], _put(pair["ar"], rng.choice(found), "")


def digits_reversed(pair: Pair, others: list[Pair], rng: random.Random) -> Damaged:
    """25 becomes 52, as when a number was stored in the order in which a right-to-left text shows it."""
    found = [match for match in _numbers(pair["ar"]) if match.group() != match.group()[::-1] and not match.group().endswith("0")]
    if not found:
        return None
    match = rng.choice(found)
    return pair["en"], _put(pair["ar"], match, match.group()[::-1])


Corruption = Callable[[Pair, list[Pair], random.Random], Damaged]
CORRUPTIONS: list[Corruption] = [
    number_changed, unit_changed, decimal_moved, second_half_cut, sentence_dropped, half_in_english, another_pairs_arabic, negation_removed, digits_reversed
]  # fmt: skip


def corrupted(kind: Corruption, pairs: list[Pair], seed: int = 20) -> list[tuple[str, str, str]]:
    """(id, en, ar) of every pair to which this damage applies."""
    rng = random.Random(f"{seed}{kind.__name__}")
    found = []
    for pair in pairs:
        damaged = kind(pair, pairs, rng)
        if damaged is not None and damaged != (pair["en"], pair["ar"]):
            found.append((pair["id"], *damaged))
    return found
