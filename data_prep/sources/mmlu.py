"""One medical subject of MMLU (github.com/hendrycks/test), as CSV: question, four options, answer.

The `test` files have no header and a letter for an answer; the `dev` files at hand (five few-shot examples a subject) have a
header and a 0-based index. Quoted cells hold line breaks (17 in the six test files), so rows are counted as records, not lines.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from data_prep.records import BadInput, MultipleChoice, Record, Reject, attempt

HEADER = ["question", "choice0", "choice1", "choice2", "choice3", "answer"]


def read(path: Path, benchmark: str, split: str = "test") -> Iterator[Record | Reject]:
    """Yield the questions of one subject's file; `benchmark` is the subject (anatomy, clinical_knowledge, ..)."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            rows = list(csv.reader(text))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: not CSV in UTF-8 ({error}); fetch the file again") from error
    indexed = bool(rows) and rows[0] == HEADER
    for number, cells in enumerate(rows[1:] if indexed else rows, start=1):
        answers = list("0123" if indexed else "ABCD")
        if len(cells) != len(HEADER) or cells[-1] not in answers:
            message = f"{len(cells)} cells, the last {cells[-1:]!r}; a row has {len(HEADER)}, the last one of {', '.join(answers)}"
            yield Reject(reason="answer_not_among_options", file=path.name, row=number, message=message, content=cells)
            continue
        origin_id = f"mmlu_{benchmark}:{split}:{number:04d}"
        common = dict(id=f"{origin_id}:en", origin_id=origin_id, lang="en", source="mmlu", split=split, benchmark=benchmark)
        fields = dict(question=cells[0], options=cells[1:-1], answer=answers.index(cells[-1]))
        yield attempt(MultipleChoice, path.name, number, cells, **fields, **common)
