"""Options and answers as people write them into tables: what can be read one way only is read, anything else is refused with its reason.

Letters are compared after NFKC without regard to case, kinds of alef, tatweel and direction marks: `b`, `Ｂ`, `(B)`, `B.` are B, and `ا`, `أ)` are أ.
"""

import datetime
import re
import unicodedata
from decimal import Decimal

from data_prep.sources.spreadsheet import Unread
from data_prep.sources.tabular import blank
from data_prep.wording import WORDINGS

LETTERS = [list(wording.letters) for wording in WORDINGS.values()]  # A B C D E and أ ب ج د ه
SIDE = r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]*"  # marks of the writing direction
MARK = SIDE + r"([(\[]?)(\w)ـ*\s?([)\].:\-–/])" + SIDE + r"\s*"  # `A)`, `(أ)`, `هـ -`
AND = r"\s*(?:[,،;؛+/&|\-]|\band\b|\bor\b|\bاو\b|\bو|\s)\s*"
ALEFS = str.maketrans("آأإٱ", "اااا")
DATES = (datetime.date, datetime.time, datetime.timedelta)  # a datetime is a date


class Refusal(ValueError):
    """Why a row is not used: `reason` names the file that it goes to, the text says what is wrong and what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def text(value: object, field: str) -> str | None:
    """The text of a cell, None where it is empty; a number as a spreadsheet shows it. What has no text of its own is refused, not worded by us."""
    if isinstance(value, Unread):
        raise Refusal(f"unread_{field}", f"{field}: {_short(value.shown)} {value.why}")
    if blank(value):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        raise Refusal(f"invalid_{field}", f"{field}: is the truth value {value}, not a text; make the cell's format text, and write what should be read")
    if isinstance(value, DATES):
        raise Refusal(f"invalid_{field}", f"{field}: is the date {value}, maybe made of a text by the spreadsheet program; make it text, and write it again")
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise Refusal(f"invalid_{field}", f"{field}: is infinite; write a text or a number")
    if isinstance(value, (int, Decimal)):
        return str(value)
    if isinstance(value, float):
        return f"{value:.15g}"  # as many digits as a spreadsheet keeps: 2.0 is 2, and 0.1 + 0.2 is 0.3
    raise Refusal(f"invalid_{field}", f"{field}: is a {type(value).__name__}, not a text; correct the row, or name another column in the recipe")


def fold(value: str) -> str:
    """A text for comparing letters and digits only."""
    seen = "".join(character for character in unicodedata.normalize("NFKC", value) if unicodedata.category(character) != "Cf")
    return seen.casefold().translate(ALEFS).strip()


def alphabet(letters: list[str] | None) -> dict[str, int]:
    """Folded letter -> index of its option: `letters` of the recipe, else A to E and أ to ه."""
    return {fold(letter): index for letters in ([letters] if letters else LETTERS) for index, letter in enumerate(letters)}


def options(cells: list[object], separator: str | None, letters: dict[str, int]) -> list[str]:
    """The options in order: `cells` are the columns that hold one each, or the one that holds all (a list, an object by letter, or a text to be cut)."""
    cell = cells[0]
    if len(cells) == 1 and isinstance(cell, dict):
        if [letters.get(fold(str(key))) for key in cell] != list(range(len(cell))):
            raise Refusal("invalid_options", f"options: the keys are {_short(list(cell))}, they must be the letters in order; correct the row")
        found = [text(value, "option") for value in cell.values()]
    elif len(cells) == 1 and isinstance(cell, list):
        found = [text(value, "option") for value in cell]
    elif len(cells) == 1:
        found = _cut(text(cell, "options") or "", separator, letters)
    else:
        found = [text(value, "option") for value in cells]
    while found and blank(found[-1]):
        found.pop()
    for number, option in enumerate(found, start=1):
        if blank(option):
            raise Refusal("empty_option", f"option {number} is empty, but option {len(found)} is not; fill it, so that letters and options agree")
    marks = [_mark(option, letters) for option in found]
    if len(found) > 1 and [index for index, _ in marks] == list(range(len(found))):
        if separator != "lettered":
            raise Refusal(
                "lettered_options", "each option begins with its letter, which would stand there twice; write `options_separator: lettered` in the recipe"
            )
        found = [rest for _, rest in marks]
    elif separator == "lettered" and found:
        raise Refusal("lettered_options", "the options do not begin with their letters in order; correct the row")
    return found


def _cut(value: str, separator: str | None, letters: dict[str, int]) -> list[str]:
    """One text into options: at the separator, or before each letter that is set apart. Letters stay; options() takes them off."""
    if separator is None and value:
        raise Refusal("invalid_options", "all options are in one text and nothing says where to cut it; write `options_separator` in the recipe")
    value = re.sub(r"\r\n?", "\n", value).strip()
    if separator != "lettered" or not value:
        return [part.strip() for part in value.split(separator)] if value else []
    found = list(re.finditer(rf"(?:^|(?<=\s)){MARK}", value))
    # only what is set apart like the first letter counts: `A) Hepatitis B. B) ..`
    marks = [(match.start(), letters.get(fold(match[2]))) for match in found if (match[1], match[3]) == (found[0][1], found[0][3])]
    marks = [(place, index) for place, index in marks if index is not None]
    at_lines = [(place, index) for place, index in marks if place == 0 or value[place - 1] == "\n"]
    if _in_order(marks):
        chosen = marks
    elif _in_order(at_lines) and not any(place > at_lines[-1][0] and index == len(at_lines) for place, index in marks):
        chosen = at_lines  # `A. E. coli` inside a line is no option E
    else:
        raise Refusal("invalid_options", "options: cannot be cut at the letters in one way only; each letter stands once, in order, like `A) .. B) ..`")
    places = [place for place, _ in chosen] + [len(value)]
    return [value[start:end].strip() for start, end in zip(places, places[1:], strict=False)]


def _in_order(marks: list[tuple[int, int]]) -> bool:
    return len(marks) > 1 and marks[0][0] == 0 and [index for _, index in marks] == list(range(len(marks)))


def _mark(option: str, letters: dict[str, int]) -> tuple[int | None, str]:
    """The letter that an option begins with, as an index, and the rest of it."""
    option = option.strip()
    match = re.match(MARK, option)
    return (letters.get(fold(match[2])), option[match.end() :]) if match else (None, option)


def answer(value: object, how: str, found: list[str], letters: dict[str, int]) -> int:
    """The index of the right option. `how` is `letter`, `index0`, `index1` or `text`; raises Refusal where the cell does not name exactly one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list) and value:
        raise Refusal("several_answers", f"the answer is {_short(value)}: a question has one right option; leave one, or leave the row out")
    said = text(value, "answer")
    if said is None:
        raise Refusal("empty_answer", "answer: is empty; correct the row in the file or leave it out")
    if how == "text":
        return _by_text(said, found)
    folded = _same(said)
    if _several(folded, how, letters):
        raise Refusal("several_answers", f"the answer is {_short(said)}: a question has one right option; leave one, or leave the row out")
    index = _by_letter(folded, found, letters) if how == "letter" else _by_index(folded, int(how[-1]))
    if index is None:
        wanted = f"a letter ({' '.join(letters).upper()})" if how == "letter" else f"a number from {how[-1]}"
        message = f"the answer is {_short(said)}, it must be {wanted}; correct the row, or check `answer` in the recipe"
        raise Refusal("answer_not_among_options", message)
    if not 0 <= index < len(found):
        message = f"the answer {_short(said)} points to option {index + 1}, but only {len(found)} are filled; correct the row"
        raise Refusal("answer_not_among_options", message)
    return index


def _several(said: str, how: str, letters: dict[str, int]) -> bool:
    """More than one letter or number: `A+B`, `A,C`, `AB`, `أ و ب`, `1 and 2`."""
    if how != "letter":
        return re.fullmatch(rf"\d+(?:{AND}\d+)+", said) is not None
    named = "".join(re.split(AND, said.replace("ـ", "")))
    return len(set(named)) > 1 and set(named) <= set(letters)


def _by_letter(said: str, found: list[str], letters: dict[str, int]) -> int | None:
    alone = re.fullmatch(r"[\s().\[\]:\-–]*(\w)ـ*[\s().\[\]:\-–]*", said)
    if alone:
        return letters.get(alone[1])
    index, rest = _mark(said, letters)
    return index if index is not None and index < len(found) and _same(rest) == _same(found[index]) else None


def _by_index(said: str, base: int) -> int | None:
    alone = re.fullmatch(r"[\s().\[\]]*(\d{1,9})(?:[.٫][0٠۰]+)?[\s().\[\]]*", said)  # an index that was a decimal number: 2.0
    return int(alone[1]) - base if alone else None


def _by_text(said: str, found: list[str]) -> int:
    for key in (str.strip, _same):  # the very words first, so that `mg` and `Mg` can be two options
        equal = [index for index, option in enumerate(found) if key(option) == key(said)]
        if len(equal) > 1:
            raise Refusal("ambiguous_answer", f"the answer {_short(said)} is the text of {len(equal)} options; correct the options or leave the row out")
        if equal:
            return equal[0]
    raise Refusal("answer_not_among_options", f"the answer {_short(said)} is the text of none of the options; correct the row, or check `answer` in the recipe")


def _same(value: str) -> str:
    return " ".join(fold(value).split())


def _short(value: object) -> str:
    shown = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]} .."
