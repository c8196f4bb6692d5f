"""This project's own record form: what its language-model steps write (translations, chats made from questions), one JSON object a line.

`{"kind": "mcqa", "id": .., "origin_id": .., "lang": .., "source": .., "split": .., ..}` with the fields of data_prep/records.py: an MCQ's `benchmark`,
`question`, `options`, `answer` (0-based), `context`, `explanation`; a `qa` row's `question` and `answer`; a `chat` row's `turns`. `origin_id`
is that of the row it was made from, so that a translation leaves training together with a question that stands in a test set. `made`, an object that
says which model and prompts made the row, is for people to read: it is passed over here.
"""

from collections.abc import Iterator
from pathlib import Path

from data_prep.files import read_jsonl
from data_prep.records import KINDS, Record, Reject, attempt


def read(path: Path, split: str | None = None) -> Iterator[Record | Reject]:
    """Yield each line as the record that it says it is. `split` overrides the line's own."""
    for row, content in read_jsonl(path):
        if isinstance(content, Reject):
            yield content
            continue
        kind = KINDS.get(content.get("kind")) if isinstance(content.get("kind"), str) else None
        if kind is None:
            message = f"kind is {content.get('kind')!r}, it must be one of {', '.join(KINDS)}; correct the row or leave it out"
            yield Reject(reason="invalid_kind", file=path.name, row=row, message=message, content=content)
            continue
        if not isinstance(content.get("made", {}), dict):
            message = f"made is {content['made']!r}, it must be an object that says how the row was made; correct it or take it out"
            yield Reject(reason="invalid_made", file=path.name, row=row, message=message, content=content)
            continue
        fields = {key: value for key, value in content.items() if key not in ("kind", "file", "row", "made")}
        yield attempt(kind, path.name, row, content, **(fields | ({"split": split} if split else {})))
