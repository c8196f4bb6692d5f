"""The record types: what a reader yields, what training reads (ShareGPT rows), what evaluation reads (question sets).

A record is one question, open question or chat in one language. `id` is unique within a data set and ends in the language;
`origin_id` ties a translation and a generated chat to the row that they come from, so that splits and decontamination go by it.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from data_prep import wording
from data_prep.quoting import quotable
from data_prep.wording import Lang

# \x1c-\x1f: white space to str.strip(), not to pydantic's \S
Text = Annotated[str, StringConstraints(min_length=1, pattern=r"[^\s\x1c-\x1f]")]
Split = Literal["train", "validation", "dev", "test"]  # dev: few-shot examples of a benchmark
TrainingSplit = Literal["train", "validation"]  # of what has no question set to be tested with


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Turn(_Strict):
    """One message. `from` is `human` or `gpt`, as ShareGPT has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True, serialize_by_alias=True)
    role: Literal["human", "gpt"] = Field(alias="from")
    value: Text


def _check_turns(turns: list[Turn]) -> None:
    if len(turns) < 2 or len(turns) % 2:
        raise ValueError(f"a chat has an even number of turns, human then gpt, not {len(turns)}")
    for number, turn in enumerate(turns):
        expected = "gpt" if number % 2 else "human"
        if turn.role != expected:
            raise ValueError(f"turns alternate from human to gpt; turn {number + 1} is from {turn.role}")


class ShareGPTRow(_Strict):
    """A training row: one JSON object a line of train.jsonl and validation.jsonl."""

    id: Text
    conversations: list[Turn]
    lang: Lang
    kind: Literal["mcqa", "qa", "chat"]
    source: Text
    split: Split
    origin_id: Text

    @model_validator(mode="after")
    def _turns(self) -> "ShareGPTRow":
        _check_turns(self.conversations)
        return self


class EvaluationRow(_Strict):
    """A question as lm-eval reads it: the worded prompt, the letters, the index of the right one, and the parts it is made of."""

    id: Text
    benchmark: Text
    lang: Lang
    prompt: Text
    lead: Text
    letters: list[Text]
    answer: int
    question: Text
    options: list[Text]
    context: str | None
    origin_id: Text


class Record(_Strict):
    """What every record says of itself. `source` is the name of the origin (medmcqa), `split` where its owner or we put it."""

    id: Text
    origin_id: Text
    lang: Lang
    source: Text
    split: Split
    file: str = Field(default="", exclude=True)  # where it was read, for messages; not written
    row: int = Field(default=0, exclude=True)

    def _row(self, kind: str, conversations: list[Turn], suffix: str = "") -> ShareGPTRow:
        return ShareGPTRow(
            id=self.id + suffix,
            conversations=conversations,
            lang=self.lang,
            kind=kind,
            source=self.source,
            split=self.split,
            origin_id=self.origin_id,
        )


class MultipleChoice(Record):
    """A question with 2 to 5 options and one right answer (a 0-based index). `benchmark` is the set it belongs to (anatomy, medqa, ..)."""

    benchmark: Text
    question: Text
    options: list[Text]
    answer: int
    context: Text | None = None
    explanation: Text | None = None

    @field_validator("benchmark")
    @classmethod
    def _names_a_file(cls, benchmark: str) -> str:
        if not re.fullmatch(r"\w+", benchmark):
            raise ValueError(f"{benchmark!r} names a file of questions: letters, digits and _ only")
        return benchmark

    @model_validator(mode="after")
    def _answer_among_options(self) -> "MultipleChoice":
        wording.letters(self.lang, len(self.options))
        if not 0 <= self.answer < len(self.options):
            raise ValueError(f"the answer is option {self.answer + 1}, but there are {len(self.options)} options")
        return self

    def sharegpt(self, answers: list[str]) -> Iterator[ShareGPTRow]:
        """One row per kind of answer asked for: `letter` (the verdict alone) and `explained` (only where there is an explanation)."""
        asked = wording.prompt(self.lang, self.question, self.options, self.context)
        for kind in answers:
            explanation = self.explanation if kind == "explained" else None
            if kind == "explained" and explanation is None and "letter" in answers:
                continue  # the letter row says all there is to say
            said = wording.answer(self.lang, self.answer, len(self.options), explanation)
            suffix = f":{kind}" if len(answers) > 1 else ""
            yield self._row("mcqa", [Turn(role="human", value=asked), Turn(role="gpt", value=said)], suffix)

    def evaluation(self) -> EvaluationRow:
        """The same question, worded by the same builder, as evaluation reads it."""
        return EvaluationRow(
            id=self.id,
            benchmark=self.benchmark,
            lang=self.lang,
            prompt=wording.prompt(self.lang, self.question, self.options, self.context),
            lead=wording.WORDINGS[self.lang].lead,
            letters=wording.letters(self.lang, len(self.options)),
            answer=self.answer,
            question=self.question,
            options=self.options,
            context=self.context,
            origin_id=self.origin_id,
        )


class OpenQuestion(Record):
    """A question answered in free text."""

    split: TrainingSplit
    question: Text
    answer: Text

    def sharegpt(self, answers: list[str]) -> Iterator[ShareGPTRow]:
        yield self._row("qa", [Turn(role="human", value=self.question), Turn(role="gpt", value=self.answer)])


class Chat(Record):
    """A conversation of one or more exchanges."""

    split: TrainingSplit
    turns: list[Turn]

    @model_validator(mode="after")
    def _turns_alternate(self) -> "Chat":
        _check_turns(self.turns)
        return self

    def sharegpt(self, answers: list[str]) -> Iterator[ShareGPTRow]:
        yield self._row("chat", self.turns)


KINDS: dict[str, type[Record]] = {"mcqa": MultipleChoice, "qa": OpenQuestion, "chat": Chat}


def kind_of(record: Record) -> str:
    """The name of a record's kind."""
    return next(name for name, kind in KINDS.items() if type(record) is kind)


def as_row(record: Record) -> dict:
    """A record in this project's own form, as data_prep/sources/records.py reads it; fields that are not there are left out."""
    return {"kind": kind_of(record), **record.model_dump(by_alias=True, exclude_none=True)}


class Reject(_Strict):
    """A row that was not used: why, where it stands and what to do about it. Written to rejected/<reason>.jsonl."""

    reason: Annotated[str, StringConstraints(pattern=r"^[a-z_]+$")]
    file: Text
    row: int  # 1-based: the line of a JSONL file, the record of a JSON, CSV or XML file
    message: Text
    content: Annotated[object, BeforeValidator(quotable)] = None

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}: {self.message}"


class BadInput(Exception):
    """Input that cannot be worked with at all (a missing file, an unknown recipe). Commands print it and exit with 2."""


def attempt(kind: type[Record], file: str, row: int, content: object, **fields: object) -> Record | Reject:
    """Build a record, or say why not: the first failing field names the reason (`empty_question`, `invalid_answer`, ..)."""
    try:
        return kind(file=file, row=row, **fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        field = where[0] if where else "record"
        empty = first["type"] in ("string_too_short", "string_pattern_mismatch") or first.get("input") in (None, [])
        reason = f"{'empty' if empty else 'invalid'}_{field.rstrip('s') if len(where) > 1 else field}"
        said = first["msg"].removeprefix("Value error, ")
        fix = f"{'.'.join(where) or kind.__name__}: {'is empty' if empty else said}; correct the row in the file or leave it out"
        return Reject(reason=reason, file=file, row=row, message=fix, content=content)
