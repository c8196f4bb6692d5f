"""The sections that set answers beside answers: English beside Arabic, model beside model, one model under several conditions."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from eval import report_pairs
from eval.report_page import Block, Heading, Table, Text
from eval.report_pairs import COLUMNS, LANGUAGES, Pairs
from eval.report_read import PROBLEMS, SCORINGS, System
from eval.report_tables import conditions, how
from eval.stats import Calibration, Comparison, Estimate, calibration, compare, confidence, holm, mean
from eval.tasks.bimedix.write import BENCHMARKS

FEWEST = 100  # answers: below that the bins of a calibration hold a handful each
MOST_PAIRED = 4  # so many systems are compared each with each (6 pairs); more of them each with the first
TEST = "p: exact McNemar test on the questions of both (binomial test of those that one side alone answers right), Holm: corrected over this table."


def points(found: Estimate) -> str:
    """A difference in words."""
    return f"{found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"


def small(p: float) -> str:
    """A p value in words."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


@dataclass
class Line:
    """A row of a table of comparisons before its correction."""

    words: list[str]
    found: Comparison


def tested(header: list[str], lines: list[Line], folded: str = "") -> Table:
    """A table of comparisons: words, questions, discordant ones, difference, p and corrected p."""
    table = Table(
        [*header, "questions", "only first right", "only second right", "difference, points", "p", "p, Holm"], folded=folded, words=min(3, len(header))
    )
    for line, corrected in zip(lines, holm([line.found.p for line in lines]), strict=True):
        found = line.found
        counts = [f"{number:,}" for number in (found.n, found.only_first, found.only_second)]
        table.rows.append([*line.words, *counts, points(found.difference), small(found.p), small(corrected)])
    return table


def gaps(systems: list[System]) -> list[Block]:
    """English less Arabic, set by set, over the questions that stand in both languages."""
    lines, left_out, means = [], [], []
    for system in systems:
        pairs = {name: report_pairs.languages(system, name) for name in BENCHMARKS}
        left_out += [line for one in pairs.values() for line in one.left_out]
        found = {name: compare(*one.right) for name, one in pairs.items() if one.first}
        lines += [Line([system.label, COLUMNS[name]], one) for name, one in found.items()]
        if len(found) == len(BENCHMARKS):
            means.append(f"{system.label}: mean gap of the nine sets {points(mean([one.difference for one in found.values()]))} points.")
    if not lines:
        return []
    table = tested(["system", "set"], lines)
    table.header[3:5] = ["only English right", "only Arabic right"]
    table.header[5] = "English less Arabic, points"
    shown = [system for system in systems if any(line.words[0] == system.label for line in lines)]
    return [Heading("English against Arabic"), table, Text([*means, TEST, *left_out], points=True), how(shown)]


def partners(systems: list[System]) -> list[tuple[System, System]]:
    """Systems of different names asked in the same way (scoring, examples); their prompt formats may differ, as models' do."""
    able = [system for system in systems if any(cell.answers for (_, name), cell in system.cells.items() if name in BENCHMARKS)]
    pairs = list(combinations(able, 2)) if len(able) <= MOST_PAIRED else [(able[0], other) for other in able[1:]]
    return [(a, b) for a, b in pairs if a.run.name != b.run.name and (a.scoring, a.run.shots) == (b.scoring, b.run.shots)]


def _all_sets(first: System, second: System, lang: str) -> tuple[Pairs, dict[str, Pairs]]:
    by_set = {name: report_pairs.systems(first, second, lang, name) for name in BENCHMARKS}
    return sum(by_set.values(), Pairs()), {name: pairs for name, pairs in by_set.items() if pairs.first}


def differences(systems: list[System]) -> list[Block]:
    """Model against model: over all questions of a language, then set by set."""
    lines, by_set, left_out, used = [], [], [], []
    for first, second in partners(systems):
        for lang, language in LANGUAGES.items():
            pooled, parts = _all_sets(first, second, lang)
            left_out += [f"{first.label} and {second.label}: {line}" for line in pooled.left_out]
            if pooled.first:
                words = [f"{first.label} less {second.label}", language]
                lines.append(Line(words, compare(*pooled.right)))
                by_set += [Line([*words, COLUMNS[name]], compare(*pairs.right)) for name, pairs in parts.items()]
                used += [first, second]
    if not lines and len({system.run.name for system in systems if any(cell.answers for cell in system.cells.values())}) < 2:
        return []
    if not lines:
        none = "None can be tested: no two models were asked the same questions in the same way (scoring, number of examples)."
        return [Heading("Differences between models"), Text([none])]
    pooled = "All questions of a language together, each counted once, so that large sets weigh more than in AVG."
    first_only = [f"More than {MOST_PAIRED} systems: each is compared with the first."] if len(systems) > MOST_PAIRED else []
    blocks: list[Block] = [Heading("Differences between models"), tested(["pair", "language"], lines)]
    blocks.append(Text([pooled, TEST, *first_only, *left_out], points=True))
    if len(by_set) > len(lines):
        blocks.append(tested(["pair", "language", "set"], by_set, folded="Set by set"))
    return [*blocks, how([system for system in systems if system in used])]


def choices(systems: list[System]) -> list[Block]:
    """What each choice changes: the other conditions of a name against its first."""
    lines, left_out, used = [], [], []
    for name in dict.fromkeys(system.run.name for system in systems):
        first, *others = [system for system in systems if system.run.name == name]
        for other in others:
            for lang, language in LANGUAGES.items():
                pooled, _ = _all_sets(other, first, lang)
                left_out += [f"{other.label}, {first.label}: {line}" for line in pooled.left_out]
                if pooled.first:
                    one, two = (f"{100 * side.mean():.1f}" for side in pooled.right)
                    lines.append(Line([name, changed(first, other), language, two, one], compare(*pooled.right)))
                    used += [first, other]
    if not lines:
        return []
    table = tested(["system", "change", "language", "before", "after"], lines)
    table.header[6:8] = ["only after right", "only before right"]
    return [Heading("What each choice changes"), table, Text([TEST, *left_out], points=True), how([system for system in systems if system in used])]


def changed(first: System, other: System) -> str:
    """`option letters -> whole answers`, what two conditions of one name differ in."""
    said = [(SCORINGS[first.scoring], SCORINGS[other.scoring]), *zip(conditions(first).split(", ")[1:], conditions(other).split(", ")[1:], strict=False)]
    return ", ".join(f"{before.strip('*')} → {after.strip('*')}" for before, after in said if before != after) or f"nothing: run again ({other.label})"


def unscored(systems: list[System]) -> list[Block]:
    """The share of answers that could not be scored, by kind; one line where there are none."""
    table = Table(["system", "language", "answers", *PROBLEMS.values(), "share"], words=2)
    looked = [system for system in systems if any(cell.answers for cell in system.cells.values())]
    for system in looked:
        for lang, language in LANGUAGES.items():
            answers = [answer for (one, name), cell in system.cells.items() if one == lang and name in BENCHMARKS for answer in (cell.answers or {}).values()]
            counts = {problem: sum(answer.problem == problem for answer in answers) for problem in PROBLEMS}
            if total := sum(counts.values()):
                lucky = sum(answer.problem == "tie" and answer.right for answer in answers)
                cells = [f"{count:,}{f' ({lucky:,} counted right)' if problem == 'tie' and count else ''}" for problem, count in counts.items()]
                table.rows.append([system.label, language, f"{len(answers):,}", *cells, f"{100 * total / len(answers):.2f}%"])
    title = Heading("Answers that could not be scored")
    if not looked:
        return [title, Text(["No samples were logged, so single answers cannot be looked at."])]
    if not table.rows:
        none = "None: every option of every question has a finite likelihood, no two options share the highest, and nothing is marked as cut for length."
        return [title, Text([none])]
    kept = [0, 1, 2, *(place for place in range(3, 7) if any(row[place] != "0" for row in table.rows)), 7]
    table.header, *table.rows = [[row[place] for place in kept] for row in [table.header, *table.rows]]
    how_counted = "They count in the accuracies as lm-eval counts them: of tied options it takes the first."
    return [title, table, Text([how_counted]), how(looked)]


def calibrations(systems: list[System]) -> dict[tuple[str, str], Calibration]:
    """(label, language) -> calibration over the nine sets, for option letters (whole answers of unequal length give no probabilities) and enough of them."""
    found = {}
    for system in systems:
        for lang in LANGUAGES:
            if system.scoring == "letter":
                cells = [cell for (one, name), cell in system.cells.items() if one == lang and name in BENCHMARKS and cell.answers]
                able = [answer for cell in cells for answer in cell.answers.values() if answer.chosen is not None]
                if len(able) >= FEWEST:
                    sure = [confidence(answer.scores) for answer in able]
                    found[system.label, lang] = calibration(np.array(sure), np.array([answer.right for answer in able]))
    return found
