"""The figures of the chat report: shares with their intervals, the gap between English and Arabic, the curve over the strengths of a false claim.

Intervals are 95%. A share has Wilson's (1927), which holds for few chats and for 0% and 100% and takes chats as independent. The gap is that of pairs, the same
question (and strength) in both languages, with the percentiles of a bootstrap over questions.
"""

import math
from collections.abc import Iterable

import numpy

from eval.chat_rubric import NOT_APPLICABLE, TRUE, rubric
from eval.chat_sets import LANGS, SETS, STRENGTHS

Z = 1.959963984540054  # 97.5% of the normal distribution
RESAMPLES = 2000


def wilson(met: int, n: int) -> tuple[float, float]:
    """The interval of a share of `met` in `n`, both ends from 0 to 1; ValueError without a chat."""
    if not 0 <= met <= n or n == 0:
        raise ValueError(f"{met} of {n} is no share")
    middle, spread = met / n + Z * Z / (2 * n), Z * math.sqrt(met * (n - met) / n**3 + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def share(rows: Iterable[dict], name: str) -> dict | None:
    """How many of the chats meet a criterion, of those it applies to; None where it applies to none and was asked of none."""
    verdicts = [row["criteria"][name]["verdict"] for row in rows if name in row["criteria"]]
    if not verdicts:
        return None
    applies = [verdict for verdict in verdicts if verdict != NOT_APPLICABLE]
    found = {"n": len(applies), "not_applicable": len(verdicts) - len(applies), "met": applies.count(TRUE), "share": None, "low": None, "high": None}
    if applies:
        found["share"] = found["met"] / len(applies)
        found["low"], found["high"] = wilson(found["met"], len(applies))
    return found


def gap(values: dict[tuple[str, str | None, str], float], seed: int) -> dict | None:
    """English less Arabic over the pairs of {(question, strength, language): value}; None without a pair."""
    by_entry: dict[str, list[float]] = {}
    for (entry, strength, lang), value in values.items():
        if lang == "en" and (entry, strength, "ar") in values:
            by_entry.setdefault(entry, []).append(value - values[entry, strength, "ar"])
    if not by_entry:
        return None
    sums, counts = numpy.array([sum(one) for one in by_entry.values()]), numpy.array([len(one) for one in by_entry.values()])
    drawn = numpy.random.default_rng(seed).multinomial(len(sums), numpy.full(len(sums), 1 / len(sums)), RESAMPLES)
    low, high = numpy.percentile(drawn @ sums / (drawn @ counts), [2.5, 97.5]).tolist()
    return {"pairs": int(counts.sum()), "questions": len(sums), "gap": float(sums.sum() / counts.sum()), "low": low, "high": high}


def _place(row: dict) -> tuple[str, str | None, str]:
    return row["entry"], row.get("strength"), row["lang"]


def figures(rows: list[dict], seed: int) -> dict:
    """All figures of one judged file: criteria by set and over all sets, scores, the curve."""
    out: dict = {"chats": len(rows), "criteria": {}, "score": {}, "curve": {}}
    for name in rubric().criteria:
        out["criteria"][name] = {}
        for group in ("all", *SETS):
            chosen = [row for row in rows if group in ("all", row["set"]) and name in row["criteria"]]
            if not chosen:
                continue
            cells = {lang: share([row for row in chosen if row["lang"] == lang], name) for lang in LANGS}
            verdicts = {_place(row): row["criteria"][name]["verdict"] for row in chosen}
            values = {place: float(verdict == TRUE) for place, verdict in verdicts.items() if verdict != NOT_APPLICABLE}
            out["criteria"][name][group] = cells | {"gap": gap(values, seed)}
    for group in ("all", *SETS):
        chosen = {_place(row): float(row["score"]) for row in rows if group in ("all", row["set"]) and row["score"] is not None}
        if chosen:
            cells = {lang: _mean([value for place, value in chosen.items() if place[2] == lang]) for lang in LANGS}
            out["score"][group] = cells | {"gap": gap(chosen, seed)}
    for lang in LANGS:
        of = {strength: [row for row in rows if row.get("strength") == strength and row["lang"] == lang] for strength in STRENGTHS}
        out["curve"][lang] = {strength: share(chosen, "refuses_false_claim") for strength, chosen in of.items()}
    return out


def _mean(values: list[float]) -> dict | None:
    """Mean, standard deviation and number of some scores."""
    if not values:
        return None
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)) if len(values) > 1 else None
    return {"n": len(values), "mean": mean, "deviation": deviation}
