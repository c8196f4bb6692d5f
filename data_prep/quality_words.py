"""The words of an English and an Arabic text as the rules of data_prep/quality.py see them: what a word may mean is worked out once and remembered.

`read(text, lang)` gives the words in order. Each is a Word: its kind, its folded form, the number and the unit that it names, the notions of
data_prep/words/lexicon.txt that it may stand for, whether it denies, and its consonants, by which a name in Latin letters is known again in Arabic.
The word lists are in data_prep/words/: our own selection.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from data_prep.wording import Lang

WORDS = Path(__file__).parent / "words"
RULES = yaml.safe_load((WORDS / "rules.yaml").read_text(encoding="utf-8"))
MARKS = "\u064b-\u065f\u0670\u0640"  # vowel signs and tatweel, which stand inside words
# the end of كوفيد-19; a name with digits; the sign of -20; a number with its points; a word; a unit or sign; a dash; the end of a sentence or a line
TOKEN = re.compile(
    r"(?<=[ء-ي]{3})[-‑]\d+(?!\w|[.,]\d)|[A-Za-z]+(?:[-‑]?[0-9]+[A-Za-z]*)+(?![^\W_])|[\s(][-−](?=\d)|\d+(?:[.,٫٬\u00a0\u202f]\d+)*"
    rf"|°\s?[CFمف](?![^\W\d_])|[^\W\d_](?:[^\W\d_]|[{MARKS}'’])*|[%٪‰°$€£/℃℉]|[-–—−‑]|[.!?؟…]+(?=[\s\"'”»)\]]|$)|\n+"
)
_FOLD = dict.fromkeys([*range(0x064B, 0x0660), 0x0670, 0x0640]) | {ord(a): "ا" for a in "أإآٱ"}
_FOLD |= {ord("ى"): "ي", ord("ی"): "ي", ord("ک"): "ك", ord("ة"): "ه", ord("ؤ"): "و", ord("ئ"): "ي", ord("’"): "'"}
_DIGITS = {zero + digit: str(digit) for zero in (0x0660, 0x06F0) for digit in range(10)} | {0x066B: ".", 0x066C: ","}
_CLITICS = ["", "و", "ف", "ب", "ل", "ك", "ال", "لل", "وال", "فال", "بال", "كال", "ول", "وب", "ولل", "وبال", "فب", "فل"]
_ENDINGS = ["", "ه", "ها", "هم", "ي", "يه", "ات", "ين", "ان", "ا", "ك", "نا"]
# the consonants that a name keeps in both scripts, in classes wide enough for the spellings in use (g may be غ ج ق ك, s may be س ص ز)
_CONSONANTS = {"b": "B", "p": "B", "t": "T", "d": "T", "k": "K", "q": "K", "g": "K", "j": "K", "c": "K", "x": "KS", "s": "S", "z": "S"}
_CONSONANTS |= {"f": "F", "v": "F", "l": "L", "m": "M", "n": "N", "r": "R"} | dict(zip("بپتطدضثجكقغخچگ", "BBTTTTTKKKKKKK", strict=True))
_CONSONANTS |= dict(zip("سشصزذظفڤلمنر", "SSSSSSFFLMNR", strict=True))
NUMBER, LABEL, WORD, SIGN, DASH, END = range(6)
MINUS = "minus"  # the folded form of a dash before a number and after none


Flag = dict[str, object]


def flagged(rule: str, severity: str, en: str, ar: str, message: str) -> Flag:
    """A flag as it is written: the rule, `error` or `warning`, the words of both sides as evidence, and what is wrong."""
    return {"rule": rule, "severity": severity, "evidence": {"en": en, "ar": ar}, "message": message}


@dataclass(frozen=True, slots=True)
class Word:
    """One word or sign. `value` is what a number says, `values` all that a word or a name with digits may explain in the other text."""

    text: str
    folded: str
    kind: int
    value: float | None = None
    values: tuple[float, ...] = ()
    cardinal: bool = False  # three, ثلاثة: looked for in the other text, as a number in digits is
    scale: float | None = None
    unit: str | None = None
    skip: bool = False  # may stand between a number and its unit
    per: bool = False
    notions: frozenset[int] = frozenset()
    weight: float = 0  # how much it counts that none of the notions is met in the other text
    denies: bool = False
    softly: bool = False  # may explain that the other text denies
    latin: bool = False
    chatter: bool = False  # one of the words by which a translator speaks of itself
    name: str = ""  # the consonants of a word that may be a name


def fold(text: str) -> str:
    """The text as words are looked up: lower case, Arabic letters that writers use for one another become one, no vowel signs."""
    return text.lower().translate(_FOLD)


def number(text: str) -> tuple[float, ...]:
    """What digits may say, the likeliest first: 1,000 and ١٬٠٠٠ are 1000, 98.6 and ٩٨٫٦ and 98,6 are 98.6. 1,234 may be 1.234 where the comma is decimal."""
    if not text.isascii():
        text = re.sub("[\u00a0\u202f]", ",", text.translate(_DIGITS))
    if text.isdigit():
        return (float(text),)
    if re.fullmatch(r"\d{1,3}(,\d{2,3})*,\d{3}(\.\d+)?", text):  # also 1,00,000, as in India
        whole = float(text.replace(",", ""))
        return (whole, float(text.replace(",", "."))) if text.count(",") == 1 and "." not in text else (whole,)
    if re.fullmatch(r"\d+\.\d+", text):  # 42.000 people are forty-two thousand to some writers
        return (float(text), float(text) * 1000) if re.fullmatch(r"[1-9]\d{0,2}\.000", text) else (float(text),)
    if re.fullmatch(r"\d+,\d+", text):
        return (float(text.replace(",", ".")),)
    if re.fullmatch(r"\d{1,3}(\.\d{3}){2,}|\d{1,3}(\.\d{3})+,\d+", text):
        return (float(text.replace(".", "").replace(",", ".")),)
    return tuple(map(float, re.findall(r"\d+", text)))  # a date 1.2.2020 or a list 1,2,3: its parts


def _forms(word: str) -> list[str]:
    """An English word and what it may be a form of."""
    found = [word]
    for ending in ("'s", "s", "es", "ed", "ing", "d", "r", "er", "ly"):
        if word.endswith(ending) and len(word) - len(ending) > 2:
            found.append(word.removesuffix(ending))
    if word.endswith("ing"):
        found.append(word[:-3] + "e")
    if word.endswith("ies") or word.endswith("ied"):
        found.append(word[:-3] + "y")
    return found


def _bare(word: str) -> list[str]:
    """An Arabic word without what is written onto its front: و ف ب ل ك ال."""
    return [word[len(clitic) :] for clitic in _CLITICS if word.startswith(clitic) and len(word) - len(clitic) > 1 or not clitic]


def _lexicon() -> tuple[dict[str, set[int]], dict[str, set[int]], dict[str, set[int]], dict[str, set[int]], set[int]]:
    """English words, English beginnings, Arabic stems, whole Arabic words, each with the notions it may stand for; and the notions that prove little."""
    whole, begins, stems, exact, little = {}, {}, {}, {}, set()
    lines = [line for line in (WORDS / "lexicon.txt").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    for notion, line in enumerate(lines):
        if line.startswith("~"):
            little.add(notion)
        english, arabic = line.removeprefix("~").split("|")
        for word in english.split():
            (begins if word.endswith("*") else whole).setdefault(word.rstrip("*"), set()).add(notion)
        for word in fold(arabic).split():
            (exact if word.startswith("=") else stems).setdefault(word.lstrip("="), set()).add(notion)
    return whole, begins, stems, exact, little


_WHOLE, _BEGINS, _STEMS, _EXACT, _LITTLE = _lexicon()
_LONGEST = max(map(len, _BEGINS))
_UNITS = {lang: {fold(word): name for name, both in RULES["units"].items() for word in both[at]} for at, lang in enumerate(("en", "ar"))}
_UNITS["en"] |= {f"{word}s": name for word, name in _UNITS["en"].items() if len(word) > 2}
_UNITS["ar"] |= {word: name for word, name in _UNITS["en"].items() if word.isascii() and word.isalpha() and len(word) < 5}  # mg and ml stay Latin in Arabic
_SKIP = {lang: {fold(word) for word in RULES["skip"][lang]} for lang in ("en", "ar")}
_PER = {lang: {fold(word) for word in RULES["per"][lang]} for lang in ("en", "ar")}
_SCALES = {lang: {fold(word): float(value) for word, value in RULES["scales"][lang].items()} for lang in ("en", "ar")}
_CARDINALS = {lang: {fold(word): float(value) for word, value in RULES["numbers"][lang].items()} for lang in ("en", "ar")}
_SOFT = {lang: {fold(word): float(value) for word, value in RULES["soft"][lang].items()} for lang in ("en", "ar")}
_TWO = {lang: {fold(word) for word in RULES["two"][lang]} for lang in ("en", "ar")}
_DENIES = {lang: {fold(word) for word in RULES["negations"][lang]} for lang in ("en", "ar")}
_CHATTER = {fold(word) for word in RULES["chatter"]["words"]}
_SOFTLY = {lang: {fold(word) for word in RULES["negations"][f"soft_{lang}"]} for lang in ("en", "ar")}


def _notions(folded: str, lang: Lang) -> set[int]:
    found = set()
    if lang == "en":
        for form in _forms(folded):
            found |= _WHOLE.get(form, set())
        for end in range(2, min(len(folded), _LONGEST) + 1):
            found |= _BEGINS.get(folded[:end], set())
        return found
    for start in range(min(5, len(folded) - 1)):
        for end in range(start + 2, len(folded) + 1):
            found |= _STEMS.get(folded[start:end], set())
    for bare in _bare(folded):
        for ending in _ENDINGS:
            if bare.endswith(ending):
                found |= _EXACT.get(bare.removesuffix(ending), set())
    return found


def _demands(folded: str, lang: Lang) -> bool:
    """Must a word's notions be met? An Arabic stem that stands inside a word by chance may explain an English word, but demands nothing."""
    if lang == "en":
        return True
    return any(bare[:end] in _STEMS for bare in _bare(folded) for end in range(4, len(bare) + 1))


def _name(folded: str) -> str:
    """Up to three consonants: of Lombardy and of لومبارديا LMB."""
    return re.sub(r"(.)\1+", r"\1", "".join(_CONSONANTS.get(letter, "") for letter in folded))[:3]


def _denies(folded: str, lang: Lang) -> bool:
    return folded in _DENIES[lang] or (lang == "en" and (folded.endswith("n't") or folded == "cannot")) or (lang == "ar" and _arabic_no(folded))


def _arabic_no(folded: str) -> bool:
    """A particle with و, ف, ب, ل or ال before it: ولم, بدون, لعدم, الغير."""
    return any(bare in _DENIES["ar"] for bare in _bare(folded))


@lru_cache(maxsize=1 << 17)  # 104 MiB when full
def word(text: str, lang: Lang) -> Word:
    """What is known of one word of a text in this language."""
    first = text[0]
    if first.isdecimal():
        values = number(text)
        return Word(text, text.translate(_DIGITS), NUMBER, value=values[0], values=values)
    folded = fold(text).rstrip("'")
    if first in "-–—−‑":
        if len(text) > 1:
            return Word(text, text, LABEL, values=number(text[1:]))
        return Word(text, "-", DASH, skip=True)
    if text[1:] in ("-", "−"):
        return Word(text, MINUS, DASH)
    if first in ".!?؟…\n":
        return Word(text, text, END)
    latin = first.isascii() and first.isalpha()
    if latin and not text.isalpha() and any(letter.isdigit() for letter in text):
        values = tuple(float(digits) for digits in re.findall(r"\d+", text))
        return Word(text, folded, LABEL, values=values, latin=True, notions=frozenset(_notions(re.split(r"[-‑\d]", folded)[0], lang)), weight=0.4)
    forms = [folded] if lang == "en" or latin else _bare(folded)
    of = "en" if latin else lang
    unit = next((_UNITS[lang][form] for form in forms if form in _UNITS[lang]), None)
    if text in ("C", "F"):
        unit = {"C": "celsius", "F": "fahrenheit"}[text]
    if lang == "ar" and folded.endswith("لست"):
        forms = [folded]  # لست is `I am not`, not `for six`
    cardinal = next((_CARDINALS[of][form] for form in forms if form in _CARDINALS[of]), None)
    values = [value for form in forms if (value := _SOFT[of].get(form)) is not None]
    if any(form in _TWO[of] for form in forms) or (of == "ar" and re.search(r"..(تين|تان|تي|ين|ان)$", folded)):
        values.append(2.0)  # the dual; the plural in ين looks like it, so it may explain a 2 but never demands one
    if cardinal is not None:
        values.append(cardinal)
    notions = frozenset(_notions(folded, of)) if not first.isspace() and first.isalpha() else frozenset()
    return Word(
        text,
        folded,
        WORD if first.isalpha() else SIGN,
        value=cardinal,
        values=tuple(values),
        cardinal=cardinal is not None,
        scale=next((_SCALES[of][form] for form in forms if form in _SCALES[of]), None) if unit is None else None,
        unit=unit,
        skip=any(form in _SKIP[lang] for form in forms),
        per=folded in _PER[lang] or folded == "/",
        notions=notions,
        weight=0.0 if not notions or not _demands(folded, of) else 0.4 if notions <= _LITTLE else 1.0,
        denies=_denies(folded, of) or (of == "ar" and text.lstrip("وفب") in ("ألا", "ألّا", "أَلَّا")),
        softly=folded in _SOFTLY[of]
        or folded[:1] in "وفبال"
        and any(form in _SOFTLY[of] for form in forms)
        or (of == "ar" and "عجز" in folded)
        or (of == "en" and bool(re.match(r"(un|in|im|ir|il|dis|non|anti|a)..|.*less", folded))),
        latin=latin,
        chatter=folded in _CHATTER or folded.lstrip("وف").removeprefix("ال") in _CHATTER,
        name=_name(forms[-1] if lang == "ar" and not latin else folded),
    )


def read(text: str, lang: Lang) -> list[Word]:
    """The words of a text in order."""
    return [word(token, lang) for token in TOKEN.findall(text)]
