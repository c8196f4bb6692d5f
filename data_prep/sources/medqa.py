"""MedQA-USMLE (github.com/jind11/MedQA) in three published forms.

- `original`: question, options as {letter: text}, answer_idx; four or five options.
- `mediq`: the same with the case split into `context` sentences; the full question is the sentences and the question joined.
- `selfbiorag`: everything inside a prompt text, the answer as the option's text (see selfbiorag.py).
"""

from collections.abc import Iterator
from pathlib import Path

from data_prep.files import read_jsonl
from data_prep.records import BadInput, MultipleChoice, Record, Reject, attempt
from data_prep.sources import selfbiorag


def read(path: Path, split: str = "train", form: str = "original") -> Iterator[Record | Reject]:
    """Yield the questions of one file, named by their line: no form carries a usable id."""
    if form not in ("original", "mediq", "selfbiorag"):
        raise BadInput(f"recipe, {path.name}: form is {form!r}, it must be one of original, mediq, selfbiorag")
    for row, content in read_jsonl(path):
        if isinstance(content, Reject):
            yield content
            continue
        try:
            question, options, answer = selfbiorag.parse(content) if form == "selfbiorag" else _original(content, form)
        except ValueError as error:
            message = f"{error}; correct the row, or check `form` in the recipe"
            yield Reject(reason="answer_not_among_options", file=path.name, row=row, message=message, content=content)
            continue
        origin_id = f"medqa:{split}:{row:06d}"
        fields = dict(question=question, options=options, answer=answer, explanation=content.get("explanation") or None)
        common = dict(id=f"{origin_id}:en", origin_id=origin_id, lang="en", source="medqa", split=split, benchmark="medqa")
        yield attempt(MultipleChoice, path.name, row, content, **fields, **common)


def _original(content: dict, form: str) -> tuple[object, list[object], int]:
    options, letter = content.get("options"), content.get("answer_idx")
    if not isinstance(options, dict) or list(options) != list("ABCDE"[: len(options)]):
        raise ValueError("options must be an object with the keys A, B, C, .. in order")
    if not isinstance(letter, str) or letter not in options:
        raise ValueError(f"answer_idx is {letter!r}, it must be one of {', '.join(options)}")
    question = content.get("question")
    if form == "mediq" and question:
        context = content.get("context") or []
        parts = [*(context if isinstance(context, list) else [context]), question]
        question = " ".join(parts) if all(isinstance(part, str) for part in parts) else parts  # a list is refused as a question
    return question, list(options.values()), list(options).index(letter)
