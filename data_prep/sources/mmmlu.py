"""The medical subjects of MMMLU (openai/MMMLU, config AR_XY): MMLU's test questions, translated into Arabic by people; CSV, or the Hub's parquet.

A row names its subject and no id: rows stand in MMLU's own order within a subject, so the third of anatomy is the third of MMLU's anatomy. Whether that
holds is not taken on trust: data_prep/align.py compares each row with its English twin.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from data_prep.files import read_rows
from data_prep.records import BadInput, MultipleChoice, Record, Reject, attempt

SUBJECTS = ("clinical_knowledge", "college_biology", "college_medicine", "medical_genetics", "professional_medicine", "anatomy")  # of 57
COLUMNS = ("Question", "A", "B", "C", "D", "Answer", "Subject")


def read(path: Path, split: str = "test") -> Iterator[Record | Reject]:
    """Yield the questions of the six subjects under the ids of MMLU's, ending in :ar; the rows of the other 51 subjects are rejected by name."""
    seen: Counter[str] = Counter()
    for number, row in read_rows(path) if path.suffix == ".parquet" else _csv(path):
        if isinstance(row, Reject):
            yield row
            continue
        subject = row.get("Subject")
        if subject not in SUBJECTS:
            message = f"its Subject is {subject!r}, none of the six medical ones; nothing to do"
            yield Reject(reason="other_subject", file=path.name, row=number, message=message, content=row)
            continue
        seen[subject] += 1
        answer = row.get("Answer")
        if answer not in tuple("ABCD"):
            message = f"Answer is {answer!r}, it must be one of A, B, C, D; fetch the file again"
            yield Reject(reason="answer_not_among_options", file=path.name, row=number, message=message, content=row)
            continue
        origin_id = f"mmlu_{subject}:{split}:{seen[subject]:04d}"
        common = dict(id=f"{origin_id}:ar", origin_id=origin_id, lang="ar", source="mmmlu", split=split, benchmark=subject)
        fields = dict(question=row.get("Question"), options=[row.get(letter) for letter in "ABCD"], answer="ABCD".index(answer))
        yield attempt(MultipleChoice, path.name, number, row, **fields, **common)


def _csv(path: Path) -> list[tuple[int, dict]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            header, *rows = list(csv.reader(text)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: not CSV in UTF-8 ({error}); fetch the file again") from error
    if missing := set(COLUMNS) - set(header):
        raise BadInput(f"{path}: it lacks the columns {', '.join(sorted(missing))}; MMMLU's file for Arabic is mmlu_AR-XY.csv")
    return [(number, dict(zip(header, cells, strict=False))) for number, cells in enumerate(rows, start=2)]
