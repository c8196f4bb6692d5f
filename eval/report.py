"""Turn what lm-eval left into report.md, report.html and figures/: tables in the shape of the paper's, with intervals and paired tests.

    python -m eval.report build/eval/tiny build/eval/tiny-base
    python -m eval.report results/some__model results/other__model --out compared --published

Folders are those of eval/run.py or of `lm_eval --output_path .. --log_samples`. Nothing but their files is read. report.html is one file that needs no
network and holds every question. docs/EVALUATION.md says how each figure is made.
"""

import argparse
import sys
from pathlib import Path

from data_prep.files import BadInput, save
from eval import browser, models, published, report_compare, report_tables
from eval.report_page import Block, Figure, Heading, Table, Text, markdown
from eval.report_pairs import LANGUAGES, estimate
from eval.report_read import System, load, name_systems
from eval.report_tables import TITLES
from eval.stats import Calibration
from eval.tasks.bimedix.write import BENCHMARKS

READING = (
    "Accuracy in percent ± standard error, with its 95% interval: Wilson's for a set in one language, Bonett and Price's for pairs, and for AVG "
    "their square-and-add (MOVER). "
    "A bilingual cell is the mean of both languages over the questions that stand in both, with the error of the pairs. AVG is the plain mean of the nine sets."
)
PICTURES = {
    "accuracies": "Accuracy by question set and system, with 95% intervals",
    "languages": "Accuracy in English against Arabic, set by set",
    "calibration": "Confidence in the chosen letter against accuracy",
}


def blocks(systems: list[System], mode: str, calibrations: dict[tuple[str, str], Calibration], pictures: list[str]) -> list[Block]:
    """The whole page."""

    def picture(name: str) -> list[Block]:
        return [Figure(name, PICTURES[name])] if name in pictures else []

    page: list[Block] = [Heading("Evaluation", 1), Text(["**For research, not for clinical use.**", READING]), *report_tables.runs(systems)]
    tables = {lang: report_tables.accuracies(systems, lang, mode) for lang in TITLES}
    if none := [title for lang, title in LANGUAGES.items() if not tables[lang]]:
        page.append(Text([f"No benchmark in {' or '.join(none)} was scored{'' if len(none) == 2 else ', so there is no bilingual table either'}."]))
    if line := report_tables.missing_everywhere(systems):
        page.append(Text([line]))
    page += [block for table in tables.values() for block in table]
    page += [*picture("accuracies"), *report_compare.gaps(systems), *picture("languages")]
    page += [*report_compare.differences(systems), *report_compare.choices(systems)]
    if any(tables.values()):
        page += report_compare.unscored(systems)
    if any(tables.values()) and not calibrations:
        page += [Heading("Calibration"), Text([f"Left out: it needs {report_compare.FEWEST} answers by letter in a language."])]
    if calibrations:
        rows = [[label, LANGUAGES[lang], f"{sum(cell.n for cell in found.accuracy):,}", f"{found.error:.1f}"] for (label, lang), found in calibrations.items()]
        says = "Confidence is the likelihood of the chosen letter among the letters. The error is the mean distance of ten bins from the line, in points."
        page += [Heading("Calibration"), Table(["system", "language", "answers", "calibration error"], rows, words=2), Text([says]), *picture("calibration")]
        page.append(report_tables.how([system for system in systems if any(label == system.label for label, _ in calibrations)]))
    return [*page, *report_tables.trained_on(systems), *report_tables.others(systems)]


def draw(systems: list[System], mode: str, calibrations: dict[tuple[str, str], Calibration]) -> dict[str, dict[str, bytes]]:
    """Name -> form -> picture."""
    by_lang, printed = {}, {}
    for lang in LANGUAGES:
        rows = {system.label: {name: cell for name in BENCHMARKS if (cell := estimate(system, lang, name))} for system in systems}
        by_lang[lang] = {label: row for label, row in rows.items() if row}
        named = {system.label: (models.row(system.run.name).published if models.row(system.run.name) else {}).get(lang) for system in systems}
        printed[lang] = {label: _with_average(published.rows(lang)[name]) for label, name in named.items() if name and mode != "none"}
    if not any(by_lang.values()):
        return {}
    from eval import figures  # matplotlib: a second that a report without scores does not need

    drawn = figures.draw({lang: scores for lang, scores in by_lang.items() if scores}, printed, calibrations)
    return {name: {form: figures.render(figure, form) for form in figures.FORMS} for name, figure in drawn.items()}


def _with_average(row: published.Published) -> dict[str, float]:
    return row.cells | {"average": row.recomputed}


def report(folders: list[Path], mode: str = "named") -> tuple[list[System], list[Block], dict[str, dict[str, bytes]]]:
    """Systems, page and pictures of the folders; BadInput where one holds no results."""
    if twice := [folder for place, folder in enumerate(folders) if folder.resolve() in {one.resolve() for one in folders[:place]}]:
        raise BadInput(f"{twice[0]} is named twice: a run compared with itself shows nothing")
    systems = [system for folder in folders for system in load(folder)]
    name_systems(systems)
    calibrations = report_compare.calibrations(systems)
    pictures = draw(systems, mode, calibrations)
    return systems, blocks(systems, mode, calibrations, list(pictures)), pictures


def below_floor(systems: list[System], floor: float) -> str | None:
    """What is wrong with the first system's answers to the questions that it was trained on; None where both languages reach the floor."""
    for lang in LANGUAGES:
        cell = estimate(systems[0], lang, "seen")
        if cell is None or cell.value < floor:
            scored = "no score" if cell is None else report_tables.shown(cell, with_n=True)
            return f"training did not take: {scored} on the trained {lang} questions, the floor is {floor:g}%"
    return None


def headline(content: list[Block]) -> list[Block]:
    """What is worth a terminal: the top and the tables of accuracies; the rest is in the files."""
    kept, section = [], ""
    for block in content:
        section = block.text if isinstance(block, Heading) else section
        if section in ("Evaluation", report_tables.SEEN, *TITLES.values()) and not getattr(block, "folded", "") and not isinstance(block, Figure):
            kept.append(block)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="folders that eval/run.py or lm_eval wrote")
    parser.add_argument("--out", type=Path, help="folder of the report, or its .md file (default: the first folder)")
    parser.add_argument(
        "--published",
        nargs="?",
        const="all",
        default="named",
        choices=["named", "all", "none"],
        help="printed rows of the paper: of the systems that eval/models.yaml names (default), all (no value), or none",
    )
    parser.add_argument("--seen-floor", type=float, help="fail when the first system's accuracy on its training questions is below this, in percent")
    args = parser.parse_args()
    out = args.out or args.folders[0]
    page = out if out.suffix == ".md" else out / "report.md"
    try:
        systems, content, pictures = report(args.folders, args.published)
        for name, forms in pictures.items():
            for form, picture in forms.items():
                save(page.parent / "figures" / f"{name}.{form}", picture)
        save(page, markdown(content).encode())
        html = page.with_suffix(".html")
        save(html, browser.page("Evaluation", content, {name: forms["svg"] for name, forms in pictures.items()}, systems).encode())
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(markdown(headline(content)))
    print(f"{page} and {html.name} ({html.stat().st_size / 1e6:.1f} MB), {len(pictures)} figures: {', '.join(system.label for system in systems)}")
    if args.seen_floor is not None and (fault := below_floor(systems, args.seen_floor)):
        sys.exit(f"error: {fault}")


if __name__ == "__main__":
    main()
