"""MedQA-USMLE (github.com/jind11/MedQA) in four published forms.

- `original`: question, options as {letter: text}, answer_idx; JSONL, or the parquet of a Hub copy that keeps it (GBaker/MedQA-USMLE-4-options).
- `bigbio`: the same with options as a list of {key, value}, as the Hub's bigbio/med_qa has them.
- `mediq`: the same as `original` with the case split into `context` sentences; the full question is the sentences and the question joined.
- `selfbiorag`: everything inside a prompt text, the answer as the option's text (see selfbiorag.py).

The owner publishes each question with four and with five options. Both name their rows by line alone, so the five-option files get names of their own.
"""

from collections.abc import Iterator
from pathlib import Path

from data_prep.files import read_rows
from data_prep.records import BadInput, MultipleChoice, Record, Reject, attempt
from data_prep.sources import selfbiorag

FORMS = ("original", "mediq", "selfbiorag", "bigbio")


def read(path: Path, split: str = "train", form: str = "original", n_options: int | None = None) -> Iterator[Record | Reject]:
    """Yield the questions of one file, named by their line: no form carries a usable id.

    `n_options` (4 or 5) refuses rows with another number of options; with 5 the ids and the benchmark say so, and both files fit in one data set.
    """
    if form not in FORMS:
        raise BadInput(f"recipe, {path.name}: form is {form!r}, it must be one of {', '.join(FORMS)}")
    if n_options not in (None, 4, 5):
        raise BadInput(f"recipe, {path.name}: n_options is {n_options!r}, it must be 4 or 5, or left out")
    prefix, benchmark = ("5options-", "medqa_5options") if n_options == 5 else ("", "medqa")
    for row, content in read_rows(path):
        if isinstance(content, Reject):
            yield content
            continue
        try:
            question, options, answer = selfbiorag.parse(content) if form == "selfbiorag" else _original(content, form)
        except ValueError as error:
            message = f"{error}; correct the row, or check `form` in the recipe"
            yield Reject(reason="answer_not_among_options", file=path.name, row=row, message=message, content=content)
            continue
        if n_options and len(options) != n_options:
            message = f"{len(options)} options, but the recipe says `n_options: {n_options}`; correct the row or the recipe"
            yield Reject(reason="invalid_options", file=path.name, row=row, message=message, content=content)
            continue
        origin_id = f"medqa:{split}:{prefix}{row:06d}"
        fields = dict(question=question, options=options, answer=answer, explanation=content.get("explanation") or None)
        common = dict(id=f"{origin_id}:en", origin_id=origin_id, lang="en", source="medqa", split=split, benchmark=benchmark)
        yield attempt(MultipleChoice, path.name, row, content, **fields, **common)


def _original(content: dict, form: str) -> tuple[object, list[object], int]:
    options, letter = content.get("options"), content.get("answer_idx")
    if form == "bigbio":
        options = _from_list(options)
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


def _from_list(options: object) -> dict[str, object]:
    if not isinstance(options, list) or not all(isinstance(option, dict) and set(option) == {"key", "value"} for option in options):
        raise ValueError("options must be a list of objects with key and value")
    keys = [option["key"] for option in options]
    if keys != list("ABCDE"[: len(keys)]):
        raise ValueError(f"the options' keys are {keys!r}, they must be A, B, C, .. in order")
    return {option["key"]: option["value"] for option in options}
