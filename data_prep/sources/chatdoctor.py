"""ChatDoctor's release form (github.com/Kent0n-Li/ChatDoctor; HealthCareMagic, iCliniq, GenMedGPT): a list of {instruction, input, output}.

The patient's words are `input`, the doctor's `output`. `instruction` is one and the same sentence in every row and is left out:
what the assistant is belongs into the system message. iCliniq has the doctor's words in `answer_icliniq`, beside answers of two models,
so the recipe names the column (`answer`). The Hub's copies hold the same columns as parquet. The release is for research only.
"""

from collections.abc import Iterator
from pathlib import Path

from data_prep.files import first_character, read_json, read_rows
from data_prep.records import BadInput, OpenQuestion, Record, Reject, attempt


def read(path: Path, split: str = "train", source: str = "chatdoctor", answer: str = "output") -> Iterator[Record | Reject]:
    """Yield each row as an open question, named by its place; `answer` is the column of the answer, `source` the origin's name."""
    for row, content in rows_of(path):
        if isinstance(content, Reject):
            yield content
            continue
        origin_id = f"{source}:{split}:{row:06d}"
        common = dict(id=f"{origin_id}:en", origin_id=origin_id, lang="en", source=source, split=split)
        yield attempt(OpenQuestion, path.name, row, content, question=content.get("input"), answer=content.get(answer), **common)


def rows_of(path: Path) -> Iterator[tuple[int, dict | Reject]]:
    """The rows of a JSON list, JSONL or parquet file; BadInput for a .json file that holds one object instead of a list."""
    if path.suffix == ".json" and first_character(path) != b"[":
        raise BadInput(f"{path}: a JSON {type(read_json(path)).__name__}, but ChatDoctor's files are lists of objects")
    return read_rows(path)
