"""This project's own record form: what its language-model steps write (translations, chats made from questions), one JSON object a line.

`{"kind": "mcqa", "id": .., "origin_id": .., "lang": .., "source": .., "split": .., ..}` with the fields of data_prep/records.py: an MCQ's `benchmark`,
`question`, `options`, `answer` (0-based), `context`, `explanation`; a `qa` row's `question` and `answer`; a `chat` row's `turns`. `origin_id`
is that of the row it was made from, so that a translation leaves training together with a question that stands in a test set. `made`, an object that
says which model and prompts made the row, and `reviewed`, one that says what people decided, are for people to read: they are passed over here.

`reviewed` and `rejected` name files beside the first, written by data_prep/review.py: records that people settled, which go before the machine's of the
same id, and records that they rejected, which leave where the machine's is still the same.
"""

from collections.abc import Iterator
from pathlib import Path

from data_prep.files import read_jsonl
from data_prep.records import KINDS, BadInput, Record, Reject, as_row, attempt

ABOUT = ("made", "reviewed")


def read(path: Path, split: str | None = None, reviewed: str | None = None, rejected: str | None = None) -> Iterator[Record | Reject]:
    """Yield each line as the record that it says it is, people's records first. `split` overrides the line's own. BadInput where what people rejected
    cannot be read."""
    settled: set[str] = set()
    for record in _lines(path.with_name(reviewed), split) if reviewed else ():
        if isinstance(record, Record):
            settled.add(record.id)
        yield record
    refused: dict[str, list[dict]] = {}
    for record in _lines(path.with_name(rejected), split) if rejected else ():
        if isinstance(record, Reject):
            raise BadInput(f"{record}: what people rejected could not be told from the rest; write it again with python -m data_prep.review pull --offline")
        refused.setdefault(record.id, []).append(as_row(record))
    for record in _lines(path, split):
        if isinstance(record, Record) and record.id in settled:
            yield _left_out("settled_by_people", record, f"people settled it, and their text in {reviewed} is used; nothing to do")
        elif isinstance(record, Record) and as_row(record) in refused.get(record.id, ()):
            yield _left_out("rejected_by_people", record, f"people rejected this translation, see {rejected}; translate the row anew")
        else:
            yield record


def _left_out(reason: str, record: Record, message: str) -> Reject:
    return Reject(reason=reason, file=record.file, row=record.row, message=message, content=as_row(record))


def _lines(path: Path, split: str | None) -> Iterator[Record | Reject]:
    for row, content in read_jsonl(path):
        if isinstance(content, Reject):
            yield content
            continue
        kind = KINDS.get(content.get("kind")) if isinstance(content.get("kind"), str) else None
        if kind is None:
            message = f"kind is {content.get('kind')!r}, it must be one of {', '.join(KINDS)}; correct the row or leave it out"
            yield Reject(reason="invalid_kind", file=path.name, row=row, message=message, content=content)
            continue
        if wrong := next((key for key in ABOUT if not isinstance(content.get(key, {}), dict)), None):
            message = f"{wrong} is {content[wrong]!r}, it must be an object that says how the row was {wrong}; correct it or take it out"
            yield Reject(reason=f"invalid_{wrong}", file=path.name, row=row, message=message, content=content)
            continue
        fields = {key: value for key, value in content.items() if key not in ("kind", "file", "row", *ABOUT)}
        yield attempt(kind, path.name, row, content, **(fields | ({"split": split} if split else {})))
