"""How far two raters of the same chats agree: two judges, or a judge and a person.

For each criterion: in how many chats both gave a verdict, the share in which it was the same, and Cohen's kappa over the three verdicts (true, false, not
applicable) with a 95% interval: the percentiles of a bootstrap over questions, not chats, because the English and the Arabic chat of a question and its four
strengths go together. Kappa is undefined where neither rater ever varies; resamples in which that happens are left out, and there is no interval where they
are more than a tenth. For the score: mean difference (first less second) and the limits of agreement, mean ± 1.96 standard deviations (Bland and Altman 1986).
What the code decided in both files is not compared: it is the same by its making.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy

from data_prep.records import BadInput
from eval.chat_rubric import NOT_APPLICABLE, TRUE, VERDICTS, rubric
from eval.chat_sheet import Rating, ratings

RESAMPLES, SEED = 2000, 17
UNDEFINED = 0.1  # share of the resamples without a kappa above which there is no interval
LIMITS = 1.96
GROUPS = {"all": "Both languages", "en": "English", "ar": "Arabic"}


class Pairing(NamedTuple):
    """The verdicts of two raters on the chats that both have, and how many only one of them has."""

    pairs: list[tuple[Rating, Rating]]
    only_first: int
    only_second: int


def pairing(first: Path, second: Path) -> Pairing:
    """Two files, chat by chat. BadInput where they have no chat in common."""
    a, b = ratings(first), ratings(second)
    both = [key for key in a if key in b]
    if not both:
        raise BadInput(f"{first} and {second} hold no chat in common: judge the same answers.jsonl with both, or fill in the sheet made from it")
    return Pairing([(a[key], b[key]) for key in both], len(a) - len(both), len(b) - len(both))


def kappa(tables: numpy.ndarray) -> numpy.ndarray:
    """Cohen's kappa of tables of counts (.., 3, 3); nan where it is undefined: no chat, or both raters say the same one thing of all."""
    n = tables.sum((-2, -1), dtype=float)
    with numpy.errstate(invalid="ignore", divide="ignore"):
        same = numpy.trace(tables, axis1=-2, axis2=-1) / n
        chance = (tables.sum(-1) * tables.sum(-2)).sum(-1) / n**2
        return numpy.where(chance < 1, (same - chance) / (1 - chance), numpy.nan)


def criterion(pairs: list[tuple[Rating, Rating]], name: str, seed: int = SEED) -> dict | None:
    """The figures of one criterion; None where no chat has a verdict of both."""
    said = [(a.entry, a.verdicts[name], b.verdicts[name]) for a, b in pairs if name in a.verdicts and name in b.verdicts]
    if not said:
        return None
    entries = sorted({entry for entry, _, _ in said})
    tables = numpy.zeros((len(entries), len(VERDICTS), len(VERDICTS)), int)
    for entry, a, b in said:
        tables[entries.index(entry), VERDICTS.index(a), VERDICTS.index(b)] += 1
    whole = tables.sum(0)
    # how often each question is drawn, resamples by questions
    drawn = numpy.random.default_rng(seed).multinomial(len(entries), numpy.full(len(entries), 1 / len(entries)), RESAMPLES)
    spread = kappa(numpy.tensordot(drawn, tables, 1))
    known = spread[~numpy.isnan(spread)]
    value = float(kappa(whole))
    ends = numpy.percentile(known, [2.5, 97.5]).tolist() if not math.isnan(value) and len(known) >= (1 - UNDEFINED) * RESAMPLES else [None, None]
    true, na = VERDICTS.index(TRUE), VERDICTS.index(NOT_APPLICABLE)
    return {
        "n": len(said),
        "questions": len(entries),
        "same": float(numpy.trace(whole) / len(said)),
        "kappa": None if math.isnan(value) else value,
        "low": ends[0],
        "high": ends[1],
        "undefined": RESAMPLES - len(known),
        "true": [int(whole[true].sum()), int(whole[:, true].sum())],
        "not_applicable": [int(whole[na].sum()), int(whole[:, na].sum())],
    }


def scores(pairs: list[tuple[Rating, Rating]]) -> dict | None:
    """The difference of the scores, first less second; no limits below two chats."""
    apart = [a.score - b.score for a, b in pairs if a.score is not None and b.score is not None]
    if not apart:
        return None
    mean = sum(apart) / len(apart)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in apart) / (len(apart) - 1)) if len(apart) > 1 else None
    limits = [mean - LIMITS * deviation, mean + LIMITS * deviation] if deviation is not None else [None, None]
    return {"n": len(apart), "mean": mean, "deviation": deviation, "low": limits[0], "high": limits[1]}


def agreement(found: Pairing, seed: int = SEED) -> dict:
    """All figures: by group of chats (both languages, English, Arabic) the criteria and the score."""
    out = {"both": len(found.pairs), "only_first": found.only_first, "only_second": found.only_second, "seed": seed, "resamples": RESAMPLES}
    for group in GROUPS:
        pairs = [pair for pair in found.pairs if group in ("all", pair[0].lang)]
        figures = {name: criterion([pair for pair in pairs if name not in pair[0].code & pair[1].code], name, seed) for name in rubric().criteria}
        out[group] = {"criteria": {name: one for name, one in figures.items() if one}, "score": scores(pairs)}
    return out


def page(figures: dict, first: str, second: str) -> str:
    """The figures as Markdown."""
    lines = [
        "# Agreement of two raters",
        "",
        "**For research, not for clinical use.**",
        "",
        f"First: `{first}`. Second: `{second}`. {figures['both']:,} chats were",
    ]
    lines[-1] += f" rated by both, {figures['only_first']:,} by the first alone, {figures['only_second']:,} by the second alone. Intervals: 95%, bootstrap over"
    lines[-1] += f" questions, {figures['resamples']:,} resamples, seed {figures['seed']}. A dash stands for what is undefined: neither rater varies."
    for group, title in GROUPS.items():
        part = figures[group]
        if not part["criteria"]:
            continue
        lines += ["", f"## {title}", "", "| criterion | chats | same verdict | kappa | true: first, second | not applicable: first, second |"]
        lines.append("| --- | --- | --- | --- | --- | --- |")
        for name, one in part["criteria"].items():
            value = "–" if one["kappa"] is None else f"{one['kappa']:.2f}"
            value += f" ({one['low']:.2f} to {one['high']:.2f})" if one["low"] is not None else ""
            counts = [", ".join(map(str, one[key])) for key in ("true", "not_applicable")]
            lines.append(f"| {rubric().criteria[name].title} | {one['n']:,} | {one['same']:.1%} | {value} | {counts[0]} | {counts[1]} |")
        if score := part["score"]:
            limits = f", limits of agreement {score['low']:+.1f} to {score['high']:+.1f}" if score["low"] is not None else ""
            lines += ["", f"Score, first less second: mean {score['mean']:+.1f} points{limits} (n={score['n']:,})."]
    return "\n".join(lines) + "\n"
