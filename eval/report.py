"""Turn results.json files into report.md: one table a language in the shape of the paper's, n and standard error beside each cell.

    python -m eval.report build/eval/tiny build/eval/tiny-base --out build/eval/tiny/report.md

A benchmark that was not scored reads `absent`, and so does the average over it. Bilingual cells are the mean of English and Arabic, AVG is
the plain mean of the nine cells (both as in the paper, docs/PAPER.md).
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from data_prep.files import BadInput, read_json
from eval.tasks.bimedix.write import BENCHMARKS

COLUMNS = dict(zip(BENCHMARKS, ["CKG", "CBio", "CMed", "MedGen", "ProMed", "Ana", "MedMCQA", "MedQA", "PubMedQA"], strict=True))
TITLES = {"bi": "Bilingual (mean of English and Arabic)", "en": "English", "ar": "Arabic"}


@dataclass(frozen=True)
class Cell:
    """An accuracy in percent, its standard error in percentage points, and the number of questions."""

    accuracy: float
    error: float
    n: int

    def __str__(self) -> str:
        return f"{self.accuracy:.1f} ± {self.error:.1f} (n={self.n:,})"


def mean(cells: list[Cell | None]) -> Cell | None:
    """Plain mean of independent cells with its standard error; None when one is absent."""
    if not cells or any(cell is None for cell in cells):
        return None
    error = math.sqrt(sum(cell.error**2 for cell in cells)) / len(cells)
    return Cell(sum(cell.accuracy for cell in cells) / len(cells), error, sum(cell.n for cell in cells))


def cells(results: dict) -> dict[tuple[str, str], Cell]:
    """(language, benchmark) -> cell, from what eval/run.py wrote."""
    found = {}
    for task, scores in results["results"].items():
        parts = task.split("_", 2)
        if parts[0] != "bimedix" or len(parts) != 3:
            continue
        n = results["n-samples"][task]["effective"]
        accuracy = scores["acc,none"]
        # the standard error of a share; sample variance, as lm-eval has it
        error = math.sqrt(accuracy * (1 - accuracy) / (n - 1)) if n > 1 else float("nan")
        found[parts[1], parts[2]] = Cell(100 * accuracy, 100 * error, n)
    return found


def row(found: dict[tuple[str, str], Cell], lang: str) -> list[Cell | None]:
    """The nine cells of a language (or of both, `bi`) and their average."""
    if lang == "bi":
        nine = [mean([found.get(("en", benchmark)), found.get(("ar", benchmark))]) for benchmark in BENCHMARKS]
    else:
        nine = [found.get((lang, benchmark)) for benchmark in BENCHMARKS]
    return [*nine, mean(nine)]


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def report(models: dict[str, dict]) -> str:
    """The whole page for {model name: results.json}."""
    scored = {name: cells(results) for name, results in models.items()}
    parts = ["# Evaluation\n\n**For research, not for clinical use.** Accuracy in percent ± standard error (n questions), zero-shot letter scoring.\n"]
    for lang, title in TITLES.items():
        rows = [[name, *("absent" if cell is None else str(cell) for cell in row(found, lang))] for name, found in scored.items()]
        parts.append(f"## {title}\n\n" + table(["model", *COLUMNS.values(), "AVG"], rows))
    seen = {name: [found.get((lang, "seen")) for lang in ("en", "ar")] for name, found in scored.items()}
    if any(cell for both in seen.values() for cell in both):
        rows = [[name, *("absent" if cell is None else str(cell) for cell in both)] for name, both in seen.items()]
        parts.append(
            "## Questions that the model was trained on\n\nNo benchmark: it shows whether training took.\n\n" + table(["model", "English", "Arabic"], rows)
        )
    parts.append("## How this was measured\n")
    for name, results in models.items():
        versions = ", ".join(f"{package} {version}" for package, version in results["versions"].items())
        template = "chat template" if results["chat_template"] else "no chat template: raw prompt"
        limit = f", first {results['limit']} questions of each task only" if results["limit"] else ""
        parts.append(f"- {name}: `{results['model']}` on `{results['data']}`, {template}{limit}; {versions}; commit {results['git_commit']}")
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="folders that eval/run.py wrote")
    parser.add_argument("--out", type=Path, help="(default: report.md in the first folder)")
    parser.add_argument("--seen-floor", type=float, help="fail when the first model's accuracy on its training questions is below this, in percent")
    args = parser.parse_args()
    try:
        for folder in args.folders:
            if not (folder / "results.json").is_file():
                raise BadInput(f"{folder} holds no results.json: `make eval` writes it")
        models = {folder.name: read_json(folder / "results.json") for folder in args.folders}
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    out = args.out or args.folders[0] / "report.md"
    text = report(models)
    aside = out.with_name(f".{out.name}.part")
    aside.write_text(text, encoding="utf-8")
    aside.rename(out)
    print(text)
    print(f"{out}: {json.dumps(list(models), ensure_ascii=False)}")
    if args.seen_floor is not None:
        first = cells(models[args.folders[0].name])
        for lang in ("en", "ar"):
            cell = first.get((lang, "seen"))
            if cell is None or cell.accuracy < args.seen_floor:
                sys.exit(f"error: training did not take: {cell or 'no score'} on the trained {lang} questions, the floor is {args.seen_floor}%")


if __name__ == "__main__":
    main()
