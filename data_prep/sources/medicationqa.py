"""MedicationQA (github.com/abachaa/Medication_QA_MedInfo2019): questions of consumers about medicines, 690 rows of one sheet.

Columns: Question, Focus (Drug), Question Type, Answer, Section Title, URL; of these the question and the answer are read. The Hub's
truehealth/medicationqa has the same columns as parquet. The paper counts 674 pairs; which 16 it leaves out is not said.
"""

from collections.abc import Iterator
from pathlib import Path

from data_prep.records import OpenQuestion, Record, Reject, attempt
from data_prep.sources.spreadsheet import Unread
from data_prep.sources.tabular import Layout, open_table


def read(path: Path, split: str = "train", sheet: str = "DrugQA") -> Iterator[Record | Reject]:
    """Yield each row as an open question, named by its place below the header, which is the same in both forms."""
    table = open_table(path, Layout() if path.suffix == ".parquet" else Layout(sheet=sheet))
    asked, answered = table.key("Question", "the question's column"), table.key("Answer", "the answer's column")
    for place, (row, content) in enumerate(table.rows, start=1):
        if isinstance(content, Reject):
            yield content
            continue
        question, answer = content.get(asked), content.get(answered)
        shown = {str(key): value if isinstance(value, str | int | float | None) else str(value) for key, value in content.items()}
        if unread := [cell for cell in (question, answer) if isinstance(cell, Unread)]:
            yield Reject(reason="unreadable_cell", file=table.file, row=row, message=f"a cell {unread[0].why}; correct it", content=shown)
            continue
        origin_id = f"medicationqa:{split}:{place:04d}"
        common = dict(id=f"{origin_id}:en", origin_id=origin_id, lang="en", source="medicationqa", split=split)
        yield attempt(OpenQuestion, table.file, row, shown, question=question, answer=answer, **common)
