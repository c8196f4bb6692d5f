"""One medical subject of MMLU (github.com/hendrycks/test): question, four options, answer; CSV, or the parquet of the Hub's cais/mmlu.

The `test` files have no header and a letter for an answer; the `dev` files at hand (five few-shot examples a subject) have a
header and a 0-based index, as the Hub has. Quoted cells hold line breaks (17 in the six test files), so rows are counted as records, not lines.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from data_prep.files import read_rows
from data_prep.records import BadInput, MultipleChoice, Record, Reject, attempt

HEADER = ["question", "choice0", "choice1", "choice2", "choice3", "answer"]


def read(path: Path, benchmark: str, split: str = "test") -> Iterator[Record | Reject]:
    """Yield the questions of one subject's file; `benchmark` is the subject (anatomy, clinical_knowledge, ..)."""
    answers, rows = _parquet(path, benchmark) if path.suffix == ".parquet" else _csv(path)
    for number, cells in rows:
        if isinstance(cells, Reject):
            yield cells
            continue
        if len(cells) != len(HEADER) or cells[-1] not in answers:
            message = f"{len(cells)} cells, the last {cells[-1:]!r}; a row has {len(HEADER)}, the last one of {', '.join(answers)}"
            yield Reject(reason="answer_not_among_options", file=path.name, row=number, message=message, content=cells)
            continue
        origin_id = f"mmlu_{benchmark}:{split}:{number:04d}"
        common = dict(id=f"{origin_id}:en", origin_id=origin_id, lang="en", source="mmlu", split=split, benchmark=benchmark)
        fields = dict(question=cells[0], options=cells[1:-1], answer=answers.index(cells[-1]))
        yield attempt(MultipleChoice, path.name, number, cells, **fields, **common)


def _csv(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            rows = list(csv.reader(text))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: not CSV in UTF-8 ({error}); fetch the file again") from error
    indexed = bool(rows) and rows[0] == HEADER
    return list("0123" if indexed else "ABCD"), enumerate(rows[1:] if indexed else rows, start=1)


def _parquet(path: Path, benchmark: str) -> tuple[list[str], Iterator[tuple[int, list | Reject]]]:
    def cells() -> Iterator[tuple[int, list | Reject]]:
        for number, content in read_rows(path):
            if content.get("subject", benchmark) != benchmark:  # the Hub's config `all` holds every subject
                message = f"its subject is {content['subject']!r}, not {benchmark!r}; fetch the config {benchmark}, or correct `benchmark` in the recipe"
                yield number, Reject(reason="other_subject", file=path.name, row=number, message=message, content=content)
                continue
            choices = content.get("choices")
            yield number, [content.get("question"), *(choices if isinstance(choices, list) else []), str(content.get("answer"))]

    return list("0123"), cells()
