"""Medical Meadow (huggingface.co/medalpaca): parts of {instruction, input, output}, of which those that ask and answer are read.

`input` is the question, `output` the answer; `instruction` ("Answer this question truthfully") is the same in every row and is left out.
"""

from collections.abc import Iterator
from pathlib import Path

from data_prep.records import BadInput, Record, Reject
from data_prep.sources import chatdoctor

PARTS = ("wikidoc", "wikidoc_patient_information", "medical_flashcards", "mediqa")
LEFT_OUT = {
    "medqa": "it repeats MedQA, which is a source of its own",
    "mmmlu": "it repeats MMLU's questions, which are tested on",
    "pubmed_causal": "its answers are one of four labels, not an answer to a question",
    "health_advice": "its answers are one of three labels, not an answer to a question",
    "cord19": "it asks for the title of an abstract, not for an answer",
}


def read(path: Path, part: str, split: str = "train") -> Iterator[Record | Reject]:
    """Yield each row of one part as an open question of the source `medical_meadow_<part>`; BadInput says why a part is not read."""
    if part in LEFT_OUT:
        raise BadInput(f"recipe, {path.name}: the part {part!r} is not read: {LEFT_OUT[part]}; take it out of the recipe")
    if part not in PARTS:
        raise BadInput(f"recipe, {path.name}: part is {part!r}, it must be one of {', '.join(PARTS)}")
    yield from chatdoctor.read(path, split, source=f"medical_meadow_{part}")
