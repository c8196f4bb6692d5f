"""The card's tables of what was counted in the rows (data_prep/census.py): rows, question sets, tokens, lengths, exchanges."""

from collections import Counter
from pathlib import Path

import numpy as np

from data_prep.built import SPLITS, config_of
from data_prep.census import Census, Summary, histogram, summary

LANGUAGES = {"en": "English", "ar": "Arabic"}
KINDS = {"mcqa": "multiple choice", "qa": "open question", "chat": "chat"}
OCTAVES = 2 ** np.arange(0, 24)  # 8 million tokens: no row is longer
MOST_EXCHANGES = 10  # chats with more stand together


def table(header: list[str], rows: list[list[object]]) -> str:
    """A Markdown table; a column whose title opens with `>` is one of numbers, at the right."""
    lines = [[title.removeprefix(">") for title in header], ["---:" if title.startswith(">") else "---" for title in header]]
    lines += [[f"{value:,}" if isinstance(value, int) else str(value) for value in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def rows(census: Census) -> str:
    """Rows by source, language and kind, one column a split, with sums by language and of all."""
    by: dict[tuple, Counter] = {}
    for (split, source, lang, kind), count in census.rows.items():
        by.setdefault((source, lang, kind), Counter())[split] += count
    order = sorted(by, key=lambda key: (list(LANGUAGES).index(key[1]), -by[key].total(), key))
    lines = [[plain(key[0]), LANGUAGES[key[1]], KINDS[key[2]], *(by[key][split] for split in SPLITS), by[key].total()] for key in order]
    for lang in [*census.langs, None]:
        of = {split: sum(count for key, count in census.rows.items() if key[0] == split and lang in (None, key[2])) for split in SPLITS}
        lines.append(["**all sources**", LANGUAGES.get(lang, "**both**" if len(census.langs) > 1 else "**all**"), "", *of.values(), sum(of.values())])
    if len(census.langs) == 1:
        lines.pop()  # the sum of the one language says it
    return table(["source", "language", "kind", ">train", ">validation", ">all"], lines)


def sets(census: Census) -> str:
    """The question sets of eval/."""
    what = {"test": "test questions", "dev": "few-shot examples", "train": "the multiple-choice questions of the training rows"}
    found = [[*config_of(file), what[config_of(file)[1]], count] for file, count in census.sets.items() if count]
    return table(["configuration", "split", "what it is", ">questions"], found) if found else ""


def tokens(census: Census) -> str:
    """Tokens by language and kind. Where a sample was counted, totals carry their standard error."""
    lines = []
    for lang in census.langs:
        kinds = [kind for kind in KINDS if (lang, kind) in census.tokens]
        lines += [_measured(LANGUAGES[lang], KINDS[kind], summary([census.tokens[lang, kind]])) for kind in kinds]
        if len(kinds) > 1:
            lines.append(_measured(LANGUAGES[lang], "**all**", summary(census.lengths(lang))))
    if len(census.langs) > 1:
        lines.append(_measured("**both**", "**all**", summary(census.lengths())))
    return table(["language", "kind", ">rows", ">counted", ">mean", ">median", ">95th percentile", ">longest", ">total"], lines)


def _measured(lang: str, kind: str, of: Summary) -> list[object]:
    total = f"{of.total:,.0f}" + (f" ± {of.error:,.0f}" if of.error else "")
    return [lang, kind, of.rows, of.counted, f"{of.mean:,.1f}", of.median, of.p95, of.longest, total]


def lengths(census: Census) -> str:
    """Rows by tokens, in octaves, one column a language."""
    per = {lang: histogram(census.lengths(lang), OCTAVES) for lang in census.langs}
    used = np.flatnonzero(sum(per.values()))
    bins = range(used[0], used[-1] + 1)
    lines = [[f"{OCTAVES[place]:,} to {OCTAVES[place + 1] - 1:,}", *(round(per[lang][place]) for lang in per)] for place in bins]
    return table(["tokens of the row", *(f">{LANGUAGES[lang]} rows" for lang in per)], lines)


def exchanges(census: Census) -> str:
    """Chats by exchanges, one column a language; empty where there is no chat."""
    found = chats(census)
    lines = [[str(n) if n <= MOST_EXCHANGES else f"more than {MOST_EXCHANGES}", *(found[lang][n] for lang in found)] for n in range(1, MOST_EXCHANGES + 2)]
    lines = [line for line in lines if any(line[1:])]
    return table(["exchanges of the chat", *(f">{LANGUAGES[lang]} chats" for lang in found)], lines) if lines else ""


def chats(census: Census) -> dict[str, Counter]:
    """Language -> exchanges -> chats; those with more than MOST_EXCHANGES count as one more."""
    found = {lang: Counter() for lang in census.langs}
    for (lang, kind, count), chats in census.exchanges.items():
        if kind == "chat":
            found[lang][min(count, MOST_EXCHANGES + 1)] += chats
    return {lang: counts for lang, counts in found.items() if counts}


def left_out(census: Census, withheld: dict[str, str]) -> str:
    """What a publication leaves out: rows by file, source and reason."""
    lines = [[Path(file).stem, plain(source), count, plain(withheld[source])] for (file, source), count in sorted(census.left_out.items())]
    return table(["file", "source", ">rows", "why"], lines) if lines else ""


def plain(text: object, most: int | None = None) -> str:
    """A text on one line that Markdown takes for text, shortened to `most` characters; half a surrogate pair becomes its escape."""
    line = " ".join(str(text).encode("utf-8", "backslashreplace").decode().split())
    if most and len(line) > most:
        line = line[: most - 1] + "…"
    return "".join("\\" + character if character in "\\`*_[]<>|#~" else character for character in line)
