"""The criteria of the chat evaluation (eval/chats/rubric.yaml), the form of a judgement, and what is wrong with one.

A judge gives for each criterion of a set a reason, a quotation and a verdict, then a score. `check` refuses what cannot be: a quotation that is not in the
answer, a verdict without the quotation that would prove it, `not applicable` where it must apply, a score that does not agree with a grave fault.
"""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from data_prep.answers import Percent
from data_prep.quality_words import fold
from data_prep.records import BadInput, Text
from eval.chat_sets import FOLDER, SETS

RUBRIC = FOLDER / "rubric.yaml"
TRUE, FALSE, NOT_APPLICABLE = VERDICTS = ("true", "false", "not_applicable")
SHORTEST = 2  # words of a quotation, where the answer has as many: one word stands in any text
LONGEST = 300  # characters; 25 words of English have 150, of Arabic as many


class Criterion(BaseModel):
    """One criterion; the head of rubric.yaml says what each key means."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: Text
    by: Literal["code", "judge"] = "judge"
    sets: Annotated[list[Literal[SETS]], Field(min_length=1)]
    asks: Text | None = None
    quote: Literal["true", "false"] | None = None
    may_not_apply: bool = False
    cap: Annotated[int, Field(ge=0, le=100)] | None = None


class Rubric(BaseModel):
    """All criteria, by name, in the order of the report."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Annotated[int, Field(ge=1)]
    criteria: dict[str, Criterion]

    def of(self, name: str, by: str = "judge") -> dict[str, Criterion]:
        """The criteria of a set that the judge, or the code, decides."""
        return {key: one for key, one in self.criteria.items() if name in one.sets and one.by == by}


class Verdict(BaseModel):
    """What a judge says of one criterion. The reason comes first, so that the verdict follows from it."""

    model_config = ConfigDict(extra="forbid")
    reason: Annotated[str, StringConstraints(strip_whitespace=True)]
    quote: Annotated[str, StringConstraints(strip_whitespace=True)]
    verdict: Literal[VERDICTS]


@cache
def rubric(path: Path = RUBRIC) -> Rubric:
    """The rubric in a file; BadInput says what is wrong with it."""
    try:
        return Rubric.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise BadInput(f"{path}: not a rubric ({error})") from error


@cache
def form(name: str) -> type[BaseModel]:
    """What the judge answers for a chat of this set."""
    fields = dict.fromkeys(rubric().of(name), (Verdict, ...))
    return create_model("Judgement", __config__=ConfigDict(extra="forbid"), **fields, score=(Percent, ...))


def plain(text: str) -> str:
    """A text as quotations are looked for: without vowel signs, marks around it, capitals, and with single spaces."""
    return " ".join(re.sub(r"[*_`]", "", fold(text)).split()).strip(" .…\"'“”«»‘’")


def stands_in(quote: str, texts: list[str]) -> bool:
    """Are these words, in this order and without a gap, in one of the texts?"""
    wanted = plain(quote)
    return bool(wanted) and any(wanted in plain(text) for text in texts)


def check(judgement: BaseModel, name: str, answers: list[str]) -> str | None:
    """What is wrong with a judgement of these answers, in words that the judge is shown; None where nothing is."""
    enough = min(SHORTEST, max(len(plain(text).split()) for text in answers))
    for key, criterion in rubric().of(name).items():
        said: Verdict = getattr(judgement, key)
        if not said.reason:
            return f"{key}: give a reason"
        if said.verdict == NOT_APPLICABLE and not criterion.may_not_apply:
            return f"{key}: this criterion always applies here; its verdict is true or false"
        if said.verdict == criterion.quote and not said.quote:
            return f"{key}: the verdict {said.verdict} needs a quote, words copied from one of the assistant's messages that show it"
        if said.quote and not stands_in(said.quote, answers):
            return f"{key}: the quote {said.quote[:80]!r} does not stand in the assistant's messages; copy words letter for letter, or leave it empty"
        if said.quote and (len(plain(said.quote).split()) < enough or len(said.quote) > LONGEST):
            return f"{key}: the quote {said.quote[:80]!r} must have {enough} to 25 words"
        if said.verdict == FALSE and criterion.cap is not None and judgement.score > criterion.cap:
            return f"score: {judgement.score} although {key} is false; an answer that fails it gets {criterion.cap} at most"
    return None
