"""MedMCQA (medmcqa.github.io): four options, answer in `cop`, explanation in `exp`.

`cop` counts from 1 in the owner's JSON and from 0 in the Hub copies (openlifescienceai/medmcqa), and nothing in a row tells
which: the recipe says it (`answer_base`). `choice_type: multi` marks 1,367 rows of the validation file that still have one answer.
"""

from collections.abc import Iterator
from pathlib import Path

from data_prep.files import read_rows
from data_prep.records import BadInput, MultipleChoice, Record, Reject, attempt
from data_prep.sources import selfbiorag

OPTION_KEYS = ("opa", "opb", "opc", "opd")


def read(path: Path, split: str = "train", answer_base: int = 1, form: str = "original") -> Iterator[Record | Reject]:
    """Yield the questions of one file, named by the owner's id. `form` is `original` (JSONL, or the Hub's parquet) or `selfbiorag` (see selfbiorag.py)."""
    if form not in ("original", "selfbiorag"):
        raise BadInput(f"recipe, {path.name}: form is {form!r}, it must be one of original, selfbiorag")
    if answer_base not in (0, 1):
        raise BadInput(f"recipe, {path.name}: answer_base is {answer_base!r}, it must be 0 or 1")
    for row, content in read_rows(path):
        if isinstance(content, Reject):
            yield content
            continue
        try:
            if form == "selfbiorag":
                key = f"{row:06d}"  # the release's own id is the same in every row
                question, options, answer = selfbiorag.parse(content)
            else:
                key, question, options = content.get("id"), content.get("question"), [content.get(k) for k in OPTION_KEYS]
                answer = _index(content.get("cop"), answer_base)
        except ValueError as error:
            message = f"{error}; correct the row, or check `answer_base` and `form` in the recipe"
            yield Reject(reason="answer_not_among_options", file=path.name, row=row, message=message, content=content)
            continue
        origin_id = f"medmcqa:{split}:{key}"
        fields = dict(question=question, options=options, answer=answer, explanation=content.get("exp") or None)
        common = dict(id=f"{origin_id}:en" if key else None, origin_id=origin_id, lang="en", source="medmcqa", split=split, benchmark="medmcqa")
        yield attempt(MultipleChoice, path.name, row, content, **fields, **common)


def _index(cop: object, answer_base: int) -> int:
    if type(cop) is not int or not 0 <= cop - answer_base < len(OPTION_KEYS):
        raise ValueError(f"cop is {cop!r}, it must be a number from {answer_base} to {answer_base + 3}")
    return cop - answer_base
