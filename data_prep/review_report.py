"""What the readers teach: BUILD/review/report/report.md, report.json, a picture, and their corrections as examples for translate.py.

Everything comes from the ledger. A row counts once it is settled, with its readers' common verdict or the adjudicator's; that an edit was refused does not
change what its reader thought of the machine's text. Rows that were sampled stand for those that nobody read (1 / --review-share of translate.py): the
figures "for all rows" weight them so, those "of the rows read" do not.
"""

import sys
from collections import Counter
from pathlib import Path

from data_prep import files
from data_prep.quality_check import LINE
from data_prep.review_figures import CAUGHT, agreement, cut, pairs_of, spearman
from data_prep.review_fold import Settled, settle
from data_prep.review_ledger import Ledger
from data_prep.review_page import NOTICE, VERDICTS
from data_prep.texts import by_name

EXAMPLES = 200  # corrections that are exported at most
FAULTY = {"major": ("major",), "major or reject": ("major", "reject")}


def figures(settled: list[Settled]) -> dict:
    """All figures of the report, as JSON has them."""
    judged = [one for one in settled if one.verdict is not None]
    groups: dict[tuple[str, str], Counter] = {}
    for one in judged:
        for source in (one.row.row["source"], "all"):
            for kind in (one.row.row["kind"], "all") if source == "all" else (one.row.row["kind"],):
                groups.setdefault((source, kind), Counter())[one.verdict] += 1
    read = [
        pair
        for one in settled
        for pair in pairs_of([(person.annotator, person.said["verdict"], person.said["score"]) for person in one.readers if person.said["verdict"]])
    ]
    by_pair: dict[tuple[int, int], list] = {}
    for who, *pair in read:
        by_pair.setdefault(who, []).append(pair)
    scored = [(one.row.row["score"], one.score) for one in judged if one.score is not None]
    cuts = {}
    for name, verdicts in FAULTY.items():
        rows = [(one.row.row["score"], one.row.row["rules"]["score"] < LINE, one.verdict in verdicts, one.row.weight) for one in judged]
        found = {"rows read": cut([(*row[:3], 1.0) for row in rows]), "all rows": cut(rows)}
        cuts[name] = {of: one and one._asdict() for of, one in found.items()}
    return {
        "rows": len(settled),
        "states": dict(Counter(one.state for one in settled)),
        "judged": len(judged),
        "shares": [
            {"source": source, "kind": kind, "rows": counts.total()} | {verdict: counts[verdict] / counts.total() for verdict in VERDICTS}
            for (source, kind), counts in sorted(groups.items(), key=lambda item: ((item[0][0] == "all", item[0][0]), (item[0][1] == "all", item[0][1])))
        ],
        "agreement": agreement([pair for _, *pair in read])._asdict(),
        "pairs": [{"readers": list(who)} | agreement(pairs)._asdict() for who, pairs in sorted(by_pair.items())],
        "spearman": spearman(*zip(*scored, strict=True)) if scored else None,
        "scored": len(scored),
        "thresholds": cuts,
    }


def page(found: dict, exported: int) -> str:
    """The report as Markdown."""
    lines = ["# What the readers say", "", f"{NOTICE} {found['judged']:,} of {found['rows']:,} rows are settled."]
    lines += ["", "States: " + ", ".join(f"{count:,} {state}" for state, count in sorted(found["states"].items())) + "."]
    lines += ["", "## Verdicts by source and kind", "", "| source | kind | rows | " + " | ".join(VERDICTS) + " |", "|---|---|---|" + "---|" * len(VERDICTS)]
    for row in found["shares"]:
        lines.append(f"| {row['source']} | {row['kind']} | {row['rows']:,} | " + " | ".join(f"{row[verdict]:.1%}" for verdict in VERDICTS) + " |")
    lines += ["", "## Agreement of readers", "", "| readers | rows | same verdict | Cohen's kappa | mean difference of scores |", "|---|---|---|---|---|"]
    for name, row in [*((" and ".join(map(str, one["readers"])), one) for one in found["pairs"]), ("all pairs", found["agreement"])]:
        lines.append(f"| {name} | {row['rows']:,} | {row['same']:,} | {_number(row['kappa'])} | {_number(row['apart'], 1)} |")
    lines += ["", "## Machine's score against people's", "", f"Spearman's rank correlation over {found['scored']:,} rows: {_number(found['spearman'])}."]
    lines += ["Readers saw the machine's score, which draws theirs towards it.", "", "![scores](scores.png)"]
    lines += [
        "",
        "## Threshold",
        "",
        f"The lowest score of the machine below which rows must go to people so that at least {CAUGHT:.0%} of the faulty ones do.",
    ]
    lines += ["A row with an error of the rules goes in any case.", "", "| faulty | of | threshold | caught | share of rows sent |", "|---|---|---|---|---|"]
    for name, by in found["thresholds"].items():
        for of, one in by.items():
            cells = f"{one['threshold']} | {one['caught']:.1%} | {one['cost']:.1%}" if one else "no faulty row | - | -"
            lines.append(f"| {name} | {of} | {cells} |")
    lines += ["", "Few rows with a high score are read: for them the figures rest on the sample.", "", "## Examples", ""]
    lines += [f'{exported:,} corrections stand in examples.jsonl. `make translate LLM_ARGS="--examples FILE"` shows them to the model.', ""]
    return "\n".join(lines)


def _number(value: float | None, digits: int = 3) -> str:
    return "not defined" if value is None else f"{value:.{digits}f}"


def examples(settled: list[Settled]) -> list[dict]:
    """Corrections that were folded in, major ones first, then the latest: English, the machine's Arabic and the reader's, by name. None of a test set."""
    folded = [one for one in settled if one.state in ("minor", "major") and one.row.row["split"] == "train"]
    folded.sort(key=lambda one: max(person.at for person in one.people), reverse=True)
    folded.sort(key=lambda one: one.state != "major")
    return [
        {"id": one.row.id, "origin_id": one.row.row["record"]["origin_id"], "kind": one.row.row["kind"], "verdict": one.state}
        | {"english": by_name(one.row.row["en"]), "machine": by_name(one.row.row["ar"]), "arabic": one.final}
        for one in folded[:EXAMPLES]
    ]


def draw(settled: list[Settled], out: Path) -> None:
    """Machine's score against people's, a dot a row, coloured by verdict."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 5), layout="constrained")
    for verdict, (colour, mark) in zip(VERDICTS, (("#2a7", "o"), ("#28c", "s"), ("#d80", "^"), ("#b22", "x")), strict=True):
        dots = [(one.row.row["score"], one.score) for one in settled if one.verdict == verdict and one.score is not None]
        axes.scatter(*(zip(*dots, strict=True) if dots else ((), ())), s=26, alpha=0.7, c=colour, marker=mark, label=f"{verdict} ({len(dots):,})")
    axes.plot((0, 100), (0, 100), color="#999", linewidth=0.8, linestyle="--")
    axes.set(xlim=(-3, 103), ylim=(-3, 103), xlabel="machine's score", ylabel="people's score, mean of the readers", title="Translations, a dot a row")
    axes.legend(loc="upper left")
    for suffix in ("svg", "png"):
        figure.savefig(out / f"scores.{suffix}", dpi=130)
    pyplot.close(figure)


def write(ledger: Ledger, out: Path) -> int:
    """Write the report of a ledger into the folder `out`, which appears when it is whole."""
    last = ledger.last()
    settled = list({row.key: settle(row, last.get(row.key, [])) for row in ledger.rows()}.values())  # a row of two queues is one row
    found, corrections = figures(settled), examples(settled)
    with files.written_aside(out) as aside:
        files.write_json(aside / "report.json", found)
        files.write_jsonl(aside / "examples.jsonl", corrections)
        (aside / "report.md").write_text(page(found, len(corrections)), encoding="utf-8")
        draw(settled, aside)
    kappa = found["agreement"]["kappa"]
    print(f"{out / 'report.md'}: {found['judged']:,} of {found['rows']:,} rows judged, kappa {_number(kappa)}, {len(corrections):,} examples", file=sys.stdout)
    return 0
