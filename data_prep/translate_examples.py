"""Corrections of people as examples for the translator: the file that `python -m data_prep.review report` writes, and which of them a row is shown.

A line is {"kind": "mcqa|qa|chat", "origin_id": .., "english": {name: text}, "arabic": {name: text}} with the names of data_prep/texts.py; further keys are
passed over. A row is shown the first three of its kind (ours), none that was made of itself, and none that would make the request much longer.
"""

from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from data_prep import files
from data_prep.records import KINDS, BadInput, Record, Reject, Text, kind_of

SHOWN, LONGEST = 3, 6000  # examples of a request, characters of them together: as much again as the rules of the prompt


class Example(BaseModel):
    """One correction: the English, and the Arabic that a reader left."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    kind: str
    origin_id: Text
    english: dict[str, Text]
    arabic: dict[str, Text]

    @model_validator(mode="after")
    def _is_one_row(self) -> "Example":
        if self.kind not in KINDS or list(self.english) != list(self.arabic) or not self.english:
            raise ValueError(f"kind is one of {', '.join(KINDS)}, and english and arabic have the same keys in the same order")
        return self


class Examples(NamedTuple):
    """The examples of a file, in its order, and the file's sha256."""

    rows: tuple[Example, ...]
    sha256: str

    def for_row(self, record: Record) -> list[dict]:
        """What a row is shown, as it stands in the prompt."""
        found, room = [], LONGEST
        for one in self.rows:
            size = sum(map(len, (*one.english.values(), *one.arabic.values())))
            if one.kind == kind_of(record) and one.origin_id != record.origin_id and size <= room:
                found.append({"english": one.english, "arabic": one.arabic})
                room -= size
            if len(found) == SHOWN:
                break
        return found


def load(path: Path) -> Examples:
    """Read a file of examples. BadInput names file, row and fix where one is none, or there is not one."""
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file; python -m data_prep.review report writes BUILD/review/report/examples.jsonl")
    rows = []
    for number, row in files.read_jsonl(path):
        if isinstance(row, Reject):
            raise BadInput(str(row))
        try:
            rows.append(Example.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the row"
            raise BadInput(f"{path}, row {number}: {where}: {first['msg'].removeprefix('Value error, ')}; correct the row or take it out") from error
    if not rows:
        raise BadInput(f"{path}: no example in it; leave --examples out")
    return Examples(tuple(rows), files.sha256(path))
