"""Which questions two sides share: two systems by question id, two languages by origin. What does not match is left out on both sides and told."""

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from eval.report_read import Answer, Cell, System
from eval.stats import Estimate, combine, paired_mean, share
from eval.tasks.bimedix.write import BENCHMARKS

COLUMNS = dict(zip(BENCHMARKS, ["CKG", "CBio", "CMed", "MedGen", "ProMed", "Ana", "MedMCQA", "MedQA", "PubMedQA"], strict=True))
LANGUAGES = {"en": "English", "ar": "Arabic"}


@dataclass
class Pairs:
    """Answers of two sides to the same questions, in one order, and what was left out, in words."""

    first: list[Answer] = field(default_factory=list)
    second: list[Answer] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def right(self) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays of right and wrong."""
        return tuple(np.array([answer.right for answer in side], dtype=bool) for side in (self.first, self.second))

    def __add__(self, other: "Pairs") -> "Pairs":
        return Pairs(self.first + other.first, self.second + other.second, self.left_out + other.left_out)


def _told(ids: set[str]) -> str:
    return f"{', '.join(sorted(ids)[:3])}{', ..' if len(ids) > 3 else ''}"


def _number(ids: set[str]) -> str:
    return "1 question" if len(ids) == 1 else f"{len(ids):,} questions"


@cache
def systems(first: System, second: System, lang: str, name: str) -> Pairs:
    """The questions of a set that both systems answered, equal to the letter (id, wording, options, right answer)."""
    sides = [system.cells.get((lang, name)) for system in (first, second)]
    if any(cell is None or cell.answers is None for cell in sides):
        return Pairs()
    one, other = (cell.answers for cell in sides)
    shared = [key for key in one if key in other and one[key].question == other[key].question]
    where = f"{COLUMNS.get(name, name)}, {LANGUAGES[lang]}"
    left_out = []
    for ids, words in (
        (set(one) - set(other), f"that only {first.label} answered"),
        (set(other) - set(one), f"that only {second.label} answered"),
        ({key for key in one if key in other} - set(shared), "with another wording, options or right answer on each side"),
    ):
        if ids:
            left_out.append(f"{where}: {_number(ids)} {words} ({_told(ids)})")
    return Pairs([one[key] for key in shared], [other[key] for key in shared], left_out)


@cache
def languages(system: System, name: str) -> Pairs:
    """The questions of a set that a system answered in English and in Arabic, paired by origin."""
    sides = [system.cells.get((lang, name)) for lang in LANGUAGES]
    if any(cell is None or cell.answers is None for cell in sides):
        return Pairs()
    found, left_out, by_origin = Pairs(), [], []
    for lang, cell in zip(LANGUAGES.values(), sides, strict=True):
        counts = Counter(answer.question.origin for answer in cell.answers.values())
        if twice := {origin for origin, count in counts.items() if count > 1}:
            left_out.append(f"{COLUMNS.get(name, name)}, {lang}: {_number(twice)} of {system.label} whose origin stands several times ({_told(twice)})")
        by_origin.append({answer.question.origin: answer for answer in cell.answers.values() if answer.question.origin not in twice})
    english, arabic = by_origin
    for lang, alone in (("English", set(english) - set(arabic)), ("Arabic", set(arabic) - set(english))):
        if alone:
            left_out.append(f"{COLUMNS.get(name, name)}: {_number(alone)} that {system.label} answered in {lang} only ({_told(alone)})")
    for origin, answer in english.items():
        if origin in arabic:
            found.first.append(answer)
            found.second.append(arabic[origin])
    found.left_out = left_out
    return found


def cell(found: Cell) -> Estimate:
    """The accuracy of a task."""
    return share(round(found.accuracy * found.n), found.n)


@cache
def estimate(system: System, lang: str, name: str) -> Estimate | None:
    """The cell of a set in a language, or in both (`bi`); None where it was not scored."""
    if lang != "bi":
        return cell(system.cells[lang, name]) if (lang, name) in system.cells else None
    english, arabic = (system.cells.get((one, name)) for one in LANGUAGES)
    if english is None or arabic is None:
        return None
    if english.answers is None or arabic.answers is None:
        return replace(combine([cell(english), cell(arabic)], [0.5, 0.5]), n=min(english.n, arabic.n))
    pairs = languages(system, name)
    return paired_mean(*pairs.right) if pairs.first else None
