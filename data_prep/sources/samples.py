"""The project's own bilingual samples (data_prep/samples/*.jsonl), or a user's files of the same form.

A line holds one question, open question or chat in both languages, and says itself which split it is in:
`{"id", "split", "benchmark", "answer": "B", "en": {"question", "options", "explanation"?, "context"?}, "ar": {..}}`,
`{"id", "split", "topic", "en": {"question", "answer"}, "ar": {..}}` or `{"id", "split", "topic", "en": [turn, ..], "ar": [..]}`.
"""

from collections.abc import Iterator
from pathlib import Path

from data_prep.files import read_jsonl
from data_prep.records import Chat, MultipleChoice, OpenQuestion, Record, Reject, attempt

LANGS = ("en", "ar")


def read(path: Path, split: str | None = None, source: str = "samples") -> Iterator[Record | Reject]:
    """Yield two records a line, one a language. `split` overrides the line's own; `source` names the origin in the ids."""
    rows: dict[str, int] = {}  # an id names one sample whatever its split: else one could train and be tested
    for row, content in read_jsonl(path):
        if isinstance(content, Reject):
            yield content
            continue
        name = content.get("id")
        first = rows.setdefault(str(name), row) if name else row
        for lang in LANGS:
            if first != row:
                message = f"the id {name!r} stands already in {path.name}, row {first}; ids are unique: rename or remove one of the two"
                yield Reject(reason="duplicate_id", file=path.name, row=row, message=message, content=content)
                continue
            yield _record(path.name, row, content, lang, split or content.get("split"), source)


def _record(file: str, row: int, content: dict, lang: str, split: str | None, source: str) -> Record | Reject:
    origin_id = f"{source}:{split}:{content.get('id')}"
    common = dict(id=f"{origin_id}:{lang}", origin_id=origin_id, lang=lang, source=source, split=split)
    part = content.get(lang)
    if not content.get("id") or not part:
        missing = lang if content.get("id") else "id"
        message = f"the key {missing!r} is missing or empty; a sample has id, split, en and ar"
        return Reject(reason=f"empty_{missing}", file=file, row=row, message=message, content=content)
    if isinstance(part, list):
        return attempt(Chat, file, row, content, turns=part, **common)
    if not isinstance(part, dict):
        message = f"{lang!r} holds a {type(part).__name__}; it holds an object (question) or a list (chat)"
        return Reject(reason="invalid_record", file=file, row=row, message=message, content=content)
    if "options" not in part:
        fields = {key: part.get(key) for key in ("question", "answer")}
        return attempt(OpenQuestion, file, row, content, **fields, **common)
    letter, options = content.get("answer"), part["options"]
    if not isinstance(letter, str) or not isinstance(options, list) or letter not in list("ABCDE"[: len(options)]):
        message = f"the answer {letter!r} is not among the options; write a letter from A for the first option on"
        return Reject(reason="answer_not_among_options", file=file, row=row, message=message, content=content)
    fields = {key: part.get(key) for key in ("question", "options", "explanation", "context")}
    fields |= dict(answer="ABCDE".index(letter), benchmark=content.get("benchmark"))
    return attempt(MultipleChoice, file, row, content, **fields, **common)
