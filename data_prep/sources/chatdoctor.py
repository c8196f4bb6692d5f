"""ChatDoctor's release form (github.com/Kent0n-Li/ChatDoctor; HealthCareMagic, iCliniq): a JSON list of {instruction, input, output}.

The patient's words are `input`, the doctor's `output`. `instruction` is one and the same sentence in every row and is left out:
what the assistant is belongs into the system message. The release is for research only.
"""

from collections.abc import Iterator
from pathlib import Path

from data_prep.files import read_json
from data_prep.records import BadInput, OpenQuestion, Record, Reject, attempt


def read(path: Path, split: str = "train", source: str = "chatdoctor") -> Iterator[Record | Reject]:
    """Yield each row as an open question; rows are named by their place in the list."""
    rows = read_json(path)
    if not isinstance(rows, list):
        raise BadInput(f"{path}: a JSON {type(rows).__name__}, but ChatDoctor's files are lists of objects")
    for number, content in enumerate(rows, start=1):
        if not isinstance(content, dict):
            message = "not an object with instruction, input and output; correct or remove it"
            yield Reject(reason="invalid_record", file=path.name, row=number, message=message, content=content)
            continue
        origin_id = f"{source}:{split}:{number:06d}"
        common = dict(id=f"{origin_id}:en", origin_id=origin_id, lang="en", source=source, split=split)
        fields = dict(question=content.get("input"), answer=content.get("output"))
        yield attempt(OpenQuestion, path.name, number, content, **fields, **common)
