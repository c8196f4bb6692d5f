"""Translate English records into Arabic field by field, score each translation, and do it again with what was found until it is good enough.

    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 python -m data_prep.translate --in rows.jsonl --out rows_ar.jsonl --model NAME

In: English records in this project's own form (data_prep/sources/records.py). One request translates all texts of a row under one schema with a key for
each (question, option_1, .., explanation, turn_1, ..), so no text can vanish; the index of the right answer never goes to the model. The rules of
data_prep/quality_check.py judge the Arabic, a second request scores it from 0 to 100, and what both found goes into the next round's request. The first
round that reaches both lines ends the loop; the best one is kept. Out, each in files beside --out:
- accepted (--out itself): Arabic records in the same form, with `made` (step, by, prompts, score, rules, rounds, round);
- review (.review.jsonl): `why` is benchmark (every row of a test or dev split), low_score, sampled (a seeded share of the others) or repeats (the same
  Arabic stands for other English in this file). A row holds `en` and `ar` by field, `score`, `rules` (score, flags with evidence), `feedback`, all
  `rounds`, and `record`, the Arabic record as it would be accepted;
- failed (.failed.jsonl) and unread (.unread.jsonl): with the reason.
`--examples` shows the model what medical readers corrected (data_prep/translate_examples.py); it belongs to the journal's key and the manifest.
Source: the figure described in docs/PAPER.md under "Data" (translate, score 0-100 in a loop; low scores and a random part of the high ones to doctors, the
others accepted; A to D become أ ب ج د). Threshold, rounds, share and prompts are ours. For research only, not for clinical use: no doctor has read what
is accepted here.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, create_model

from data_prep import llm_run, prompts, quality_check, translate_examples
from data_prep.answers import Percent
from data_prep.llm import Ask
from data_prep.llm_run import Job, Outcome, Planned
from data_prep.quality_check import LINE, Checked, check
from data_prep.quality_file import Repeats
from data_prep.ranges import within
from data_prep.records import BadInput, Record, Reject, as_row
from data_prep.texts import drawn, in_arabic, nested, texts
from data_prep.translate_examples import Examples

THRESHOLD, ROUNDS, REVIEW_SHARE, SEED = 80, 3, 0.1, 17  # ours
PROMPTS = ("translate", "translate_again", "score")
WITH = ("translate_with", "translate_again_with", "score")  # where there are examples
FILES = {"accepted": "", "review": "review", "failed": "failed"}
SCORE_ROOM = 1024  # 120 words of feedback that quote Arabic at a token a letter
# Arabic has 0.91 characters for one of English (the 1,536 pairs of TICO-19). Under Mixtral's tokenizer, near a token a letter, these are 0.84 tokens for a
# character of English, and never more than 1.94 in texts of over 30 characters. 16,000: what many services let an answer have at most
RATIO, ROOM, ROOM_PER_CHARACTER, MOST_ROOM = 0.91, 512, 2, 16_000
STAND_IN = "يشكو المريض من ألم في الصدر منذ يومين، ولا يعاني من الحمى. "
_HERE = Path(__file__).parent
_RULES = [*_HERE.glob("quality_[cnstw]*.py"), *(_HERE / "words").iterdir(), _HERE / "wording.py"]


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; write the whole Arabic of this text")
    return text


# as validators, not as pattern, minimum and maximum: of these keywords some strict modes know nothing, and some match a pattern against the whole text
_Arabic = Annotated[str, AfterValidator(_filled)]


class Score(BaseModel):
    """What the scoring request answers. The feedback comes first, so that the number follows from it."""

    model_config = ConfigDict(extra="forbid")
    feedback: str
    score: Percent


class Limits(NamedTuple):
    """What decides the outcome of a row besides the answers."""

    threshold: int = THRESHOLD
    rounds: int = ROUNDS
    review_share: float = REVIEW_SHARE
    seed: int = SEED


class Round(NamedTuple):
    """One translation with what was found of it."""

    arabic: Record
    rules: Checked
    score: int
    feedback: str

    def passes(self, limits: Limits) -> bool:
        """Whether the model's score and the rules' both reach their lines."""
        return self.score >= limits.threshold and self.rules.score >= LINE

    def remarks(self) -> list[str]:
        """What the next round is told: the model's words, then each flag of the rules with its evidence."""
        said = [self.feedback.strip()] if self.feedback.strip() else []
        for flag in self.rules.flags:
            name, _, number = flag.get("field", "").partition(".")
            where = f"{name.removesuffix('s')}_{number}" if number else name
            evidence = "; ".join(f"{side}: {flag['evidence'][key]}" for side, key in (("English", "en"), ("Arabic", "ar")) if flag["evidence"][key])
            said.append(f"{where}: {flag['message']} ({evidence})")
        return said or [f"The reviewer gave {self.score} of 100 and no reason: compare every sentence."]

    def written(self) -> dict:
        """As it stands among the `rounds` of a row for review."""
        return {"score": self.score, "rules": self.rules.score, "feedback": self.feedback, "ar": nested(self.arabic)}


@lru_cache
def schema(names: tuple[str, ...]) -> type[BaseModel]:
    """The form of an answer with these keys, all of them required and none empty."""
    return create_model("Translation", __config__=ConfigDict(extra="forbid"), **dict.fromkeys(names, (_Arabic, ...)))


def room(english: dict[str, str]) -> int:
    """The tokens that the Arabic of these texts may take."""
    return min(ROOM + ROOM_PER_CHARACTER * sum(map(len, english.values())), MOST_ROOM)


def _prompts(shown: list[dict]) -> tuple[str, ...]:
    """The prompts of a row's first round, of its later ones, and of the score."""
    return WITH if shown else PROMPTS


async def _round(record: Record, ask: Ask, before: Round | None, shown: list[dict]) -> Round:
    english = texts(record)
    first, again, _ = _prompts(shown)
    words = {"examples": prompts.quoted(shown)} if shown else {}
    if before is None:
        prompt = prompts.load(first)
    else:
        prompt = prompts.load(again)
        words |= {"arabic": prompts.quoted(texts(before.arabic)), "feedback": prompts.quoted(before.remarks())}
    answer = await ask(prompt, schema(tuple(english)), {"english": prompts.quoted(english)} | words, room(english))
    arabic = in_arabic(record, answer.model_dump())
    both = {"english": prompts.quoted(english), "arabic": prompts.quoted(texts(arabic))}
    said = await ask(prompts.load("score"), Score, both, SCORE_ROOM)
    return Round(arabic, check(nested(record), nested(arabic)), said.score, said.feedback)


async def work(record: Record, ask: Ask, limits: Limits, examples: Examples | None = None) -> Outcome:
    """One row from start to end. The outcome holds all that a reviewer needs, also of an accepted row: `sift` may still send it to review."""
    rounds: list[Round] = []
    shown = examples.for_row(record) if examples else []
    while len(rounds) < limits.rounds and not (rounds and rounds[-1].passes(limits)):
        rounds.append(await _round(record, ask, rounds[-1] if rounds else None, shown))
        if rounds[-1] in rounds[:-1]:
            del rounds[-1]  # what was said changed nothing: the next request would be an earlier one, word for word, and the journal has its answer
            break
    # the lines differ where --threshold is not 80: a round that reaches both goes before one that is better by the lower of its scores; max takes the first
    best = max(rounds, key=lambda one: (one.passes(limits), min(one.score, one.rules.score), one.score))
    if record.split in ("test", "dev"):
        why = "benchmark"
    elif not best.passes(limits):
        why = "low_score"
    else:
        why = "sampled" if drawn(limits.seed, record.id) < limits.review_share else None
    first, again, score = _prompts(shown)
    used = [first, *([again] if len(rounds) > 1 else []), score]
    made = {"step": "translate", "by": ask.model, "prompts": {name: prompts.load(name).version for name in used}}
    made |= {"examples": examples.sha256} if shown else {}
    arabic, row = best.arabic, as_row(best.arabic)
    return Outcome(
        "review" if why else "accepted",
        {"id": arabic.id, "origin_id": arabic.origin_id, "kind": row["kind"], "source": arabic.source, "split": arabic.split, "why": why}
        | {"score": best.score, "rules": best.rules._asdict(), "feedback": best.feedback, "en": nested(record), "ar": nested(arabic)}
        | {"record": row, "rounds": [one.written() for one in rounds]}
        | {"made": made | {"score": best.score, "rules": best.rules.score, "rounds": len(rounds), "round": rounds.index(best) + 1}},
    )


def sift(outcomes: Callable[[], Iterator[Outcome]]) -> Iterator[Outcome]:
    """The outcomes of a file in order as they are written: accepted rows bare, those whose Arabic also stands for other English to review."""
    repeats = Repeats()
    for name, row in outcomes():
        if name in ("accepted", "review"):
            repeats.add(row["id"], row["en"], row["ar"])
    if found := repeats.find():
        repeats.examples(row for name, row in outcomes() if name in ("accepted", "review"))
    for name, row in outcomes():
        if name in ("accepted", "review"):
            flags = list(repeats.flags(row)) if found else []
            if name == "accepted" and any(flag["severity"] == "error" for flag in flags):
                name, row = "review", row | {"why": "repeats"}
            if name == "accepted":
                row = row["record"] | {"made": row["made"]}
            elif flags:
                flags = row["rules"]["flags"] + flags
                row = row | {"rules": Checked(quality_check.score(flags), flags)._asdict()}
        yield Outcome(name, row)


def plan(record: Record, examples: Examples | None = None) -> Iterator[Planned]:
    """The requests of one round, for --dry-run; a row that is not good enough at once takes more."""
    english = texts(record)
    arabic = prompts.quoted({name: (STAND_IN * (len(text) // len(STAND_IN) + 1))[: max(1, round(RATIO * len(text)))] for name, text in english.items()})
    shown = examples.for_row(record) if examples else []
    words = {"english": prompts.quoted(english)} | ({"examples": prompts.quoted(shown)} if shown else {})
    yield Planned(prompts.load(_prompts(shown)[0]), schema(tuple(english)), words, room(english), arabic)
    yield Planned(prompts.load("score"), Score, {"english": prompts.quoted(english), "arabic": arabic}, SCORE_ROOM, '{"feedback": "", "score": 95}')


def fits(record: Record) -> Reject | None:
    """Why a record cannot be translated: it is not English, or its id does not say so (two ids could become one)."""
    if record.lang != "en":
        reason, message = "other_language", f"lang is {record.lang!r}: only English is translated; leave the row out"
    elif not record.id.endswith(":en"):
        reason, message = "invalid_id", f"the id {record.id!r} does not end in :en, which becomes :ar; add it"
    else:
        return None
    return Reject(reason=reason, file=record.file, row=record.row, message=message, content=record.model_dump(by_alias=True))


def job(limits: Limits = Limits(), examples: Examples | None = None) -> Job:  # noqa: B008 (a tuple of numbers)
    """The step as data_prep/llm_run.py runs it. Without examples its settings, and so the journal's keys, are what they are without the option."""
    names = dict.fromkeys((*PROMPTS, *WITH)) if examples else PROMPTS
    versions = {name: prompts.load(name).version for name in names}
    return Job(
        name="translate",
        work=lambda record, ask: work(record, ask, limits, examples),
        settings=limits._asdict() | {"line": LINE, "prompts": versions} | ({"examples": examples.sha256} if examples else {}),
        files=FILES,
        plan=lambda record: plan(record, examples),
        fits=fits,
        sift=sift,
        code=(Path(__file__), _HERE / "texts.py", *sorted(_RULES), *(prompts.FOLDER / f"{name}.yaml" for name in names))
        + ((_HERE / "translate_examples.py",) if examples else ()),
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threshold", type=within(int, 0, 100), default=THRESHOLD, help="the model's score from which a row is accepted (%(default)s)")
    parser.add_argument("--rounds", type=within(int, 1, 20), default=ROUNDS, help="translations of a row at most (%(default)s)")
    parser.add_argument("--review-share", type=within(float, 0, 1), default=REVIEW_SHARE, help="share of the good rows that people read (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of that share (%(default)s)")
    parser.add_argument("--examples", type=Path, help="JSONL of corrected translations to show: BUILD/review/report/examples.jsonl (none)")
    llm_run.add_options(parser)
    args = parser.parse_args(arguments)
    try:
        examples = translate_examples.load(args.examples) if args.examples else None
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return llm_run.main(job(Limits(args.threshold, args.rounds, args.review_share, args.seed), examples), args)


if __name__ == "__main__":
    sys.exit(main())
