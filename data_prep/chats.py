"""Turn multiple-choice questions into chats between a patient and a medical assistant, in English, in Arabic, or changing from one to the other.

    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 python -m data_prep.chats --in questions.jsonl --out chats_en.jsonl --lang en --model NAME

In: English multiple-choice records of the splits train and validation (data_prep/sources/records.py); a chat made from a test question would leak it, so
such rows are refused. One request writes the chat. The rules of data_prep/chat_rules.py check it; a chat that keeps them goes to a second request, which
judges it by seven criteria and a score from 0 to 100. What either of them finds goes into the next round's request. How many exchanges a chat has (3 to 6) and
whether and where it changes its language follows from seed and id. Out, in files beside --out:
- accepted (--out itself): chat records in the same form, with `made` (step, by, prompts, score, rounds, switched: the exchange of the change, or false);
- rejected (.rejected.jsonl): no round was good enough; `reason` is the first rule or criterion that the last one failed, `failures` all of them, `chat` it;
- failed (.failed.jsonl) and unread (.unread.jsonl): with the reason.
Source: docs/PAPER.md under "Data": the course of a chat is that of the published example, all else is ours. For research only, not
for clinical use: no doctor has read what is accepted here.
"""

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from data_prep import llm_run, prompts
from data_prep.answers import Percent
from data_prep.chat_rules import check
from data_prep.llm import Ask
from data_prep.llm_run import Job, Outcome, Planned
from data_prep.ranges import within
from data_prep.records import MultipleChoice, Record, Reject, as_row
from data_prep.wording import Lang

SWITCH_SHARE, ROUNDS, THRESHOLD, SEED = 0.1, 3, 80, 17  # ours
EXCHANGES = {3: 40, 4: 35, 5: 15, 6: 10}  # paper: the example has 3; how often each is ours, in percent
PROMPTS = ("chat", "chat_again", "judge_chat")
FILES = {"accepted": "", "rejected": "rejected", "failed": "failed"}
# tokens: 12 messages of 120 words at 1.5 tokens a word are 2,200 in English; Arabic takes up to three times as many, near a token a letter under Mixtral's
ROOM = {"en": 3000, "ar": 8000}
JUDGE_ROOM = 600  # 100 words of feedback that may quote Arabic
# characters of an exchange, JSON and all, for --dry-run: those of our sample chats have 379 in English and 330 in Arabic; a model says more, as a guess
STAND_IN = {"en": (600, "Since when do you have this pain, and does it get worse at night? "), "ar": (520, "منذ متى تشعر بهذا الألم، وهل يزداد في الليل؟ ")}
NAMES = {"en": "English", "ar": "Arabic"}
_HERE = Path(__file__).parent
_RULES = (*_HERE.glob("chat_*.py"), *(_HERE / f"quality_{name}.py" for name in ("numbers", "text", "words")), *(_HERE / "words").iterdir())


class Exchange(BaseModel):
    """What a patient says and what the assistant replies, without the white space around it."""

    model_config = ConfigDict(extra="forbid")
    patient: Annotated[str, StringConstraints(strip_whitespace=True)]
    assistant: Annotated[str, StringConstraints(strip_whitespace=True)]


class Written(BaseModel):
    """What the writing request answers. How many exchanges there are is left to the rules: an answer of the wrong form has no second round."""

    model_config = ConfigDict(extra="forbid")
    exchanges: list[Exchange]
    conclusion: Annotated[str, StringConstraints(strip_whitespace=True)]


class Judgement(BaseModel):
    """What the judging request answers. The feedback comes first, so that the verdicts follow from it."""

    model_config = ConfigDict(extra="forbid")
    feedback: str
    agrees_with_answer: Annotated[bool, Field(strict=True)]
    hides_diagnosis_at_first: Annotated[bool, Field(strict=True)]
    asks_before_concluding: Annotated[bool, Field(strict=True)]
    safe_advice: Annotated[bool, Field(strict=True)]
    says_when_to_see_a_doctor: Annotated[bool, Field(strict=True)]
    no_mention_of_question: Annotated[bool, Field(strict=True)]
    natural: Annotated[bool, Field(strict=True)]
    score: Percent

    def failures(self, threshold: int) -> list[dict]:
        """The criteria that are not met, and a score below the threshold."""
        found = [{"rule": name, "message": f"the judge says that this is not so: {name}"} for name, value in self if value is False]
        if self.score < threshold:
            found.append({"rule": "low_score", "message": f"the judge gives {self.score} of 100, {threshold} are needed"})
        return found


class Limits(NamedTuple):
    """What decides the outcome of a row besides the answers."""

    lang: Lang
    switch_share: float = SWITCH_SHARE
    rounds: int = ROUNDS
    threshold: int = THRESHOLD
    seed: int = SEED


class Course(NamedTuple):
    """How a chat shall be: its exchanges, and the one (from 1) at which the patient goes on in the other language; None where never."""

    exchanges: int
    switched: int | None

    def langs(self, first: Lang, exchanges: int | None = None) -> list[Lang]:
        """The language of each exchange, of the planned or of another number of them."""
        other: Lang = "ar" if first == "en" else "en"
        return [other if self.switched and number >= self.switched else first for number in range(1, (exchanges or self.exchanges) + 1)]


def name_of(record: Record, lang: Lang) -> str:
    """The id of a chat: medmcqa:train:1:en becomes medmcqa:train:1:chat:ar."""
    return f"{record.id.removesuffix(':en')}:chat:{lang}"


def course(record: Record, limits: Limits) -> Course:
    """Drawn from seed and id alone, so that neither order nor company of a row changes it."""
    draw = random.Random(hashlib.sha256(f"{limits.seed}:{name_of(record, limits.lang)}".encode()).digest())
    exchanges = draw.choices(list(EXCHANGES), list(EXCHANGES.values()))[0]
    return Course(exchanges, draw.randint(2, exchanges) if draw.random() < limits.switch_share else None)


def words_of(record: MultipleChoice, plan: Course, lang: Lang) -> dict[str, str]:
    """What every prompt is told: the question without letters, how many exchanges, the language of each."""
    others = [option for place, option in enumerate(record.options) if place != record.answer]
    source = {"context": record.context, "question": record.question, "right_answer": record.options[record.answer], "other_answers": others}
    source = {name: text for name, text in (source | {"explanation": record.explanation}).items() if text}
    languages = "; ".join(f"exchange {number}: {NAMES[of]}" for number, of in enumerate(plan.langs(lang), start=1))
    return {"source": prompts.quoted(source), "exchanges": str(plan.exchanges), "languages": languages}


def _room(langs: list[Lang]) -> int:
    return max(ROOM[lang] for lang in langs)


async def _write(record: MultipleChoice, ask: Ask, plan: Course, lang: Lang, number: int, before: Written | None, failures: list[dict]) -> Written:
    """The chat of one round; from the second on the model sees the chat before and what is wrong with it."""
    words, room = words_of(record, plan, lang), _room(plan.langs(lang))
    if before is None:
        return await ask(prompts.load("chat"), Written, words, room)
    wrong = [failure["message"] for failure in failures]
    words |= {"chat": prompts.quoted(before.model_dump()), "failures": prompts.quoted(wrong), "round": str(number)}
    return await ask(prompts.load("chat_again"), Written, words, room)


def _breaches(record: MultipleChoice, plan: Course, lang: Lang, chat: Written) -> list[dict]:
    """What the rules find."""
    exchanges = [(exchange.patient, exchange.assistant) for exchange in chat.exchanges]
    found = check(exchanges, plan.langs(lang, len(exchanges)) if exchanges else [], chat.conclusion, record)
    failures = [{"rule": one.rule, "turn": one.turn, "evidence": one.evidence, "message": str(one)} for one in found]
    if plan.switched and 3 <= len(exchanges) < plan.switched:
        said = f"the patient never goes on in the other language; exchange {plan.switched} is to be the first"
        failures.append({"rule": "no_switch", "turn": "chat", "evidence": f"{len(exchanges)} exchanges", "message": said})
    return failures


async def work(record: MultipleChoice, ask: Ask, limits: Limits) -> Outcome:
    """One row from start to end: rounds of writing and judging until a chat has no failure. What the rules refuse is not judged: that would be paid for."""
    plan, lang = course(record, limits), limits.lang
    chat, judgement, failures, used = None, None, [], {}
    for number in range(1, limits.rounds + 1):
        chat, judgement = await _write(record, ask, plan, lang, number, chat, failures), None
        used |= dict.fromkeys(("chat",) if number == 1 else ("chat", "chat_again"))
        failures = _breaches(record, plan, lang, chat)
        if not failures:
            said = {"chat": prompts.quoted([exchange.model_dump() for exchange in chat.exchanges])}
            words = words_of(record, plan._replace(exchanges=len(chat.exchanges)), lang) | said  # it may be another number than was asked for
            judgement = await ask(prompts.load("judge_chat"), Judgement, words, JUDGE_ROOM)
            used["judge_chat"] = None
            failures = judgement.failures(limits.threshold)
            if failures and judgement.feedback.strip():
                failures.append({"rule": "feedback", "message": judgement.feedback.strip()})
        if not failures:
            break
    made = {"step": "chats", "by": ask.model, "prompts": {name: prompts.load(name).version for name in used}}
    made |= {"score": judgement.score if judgement else None, "rounds": number, "switched": plan.switched or False}
    head = {"kind": "chat", "id": name_of(record, lang), "origin_id": record.origin_id, "lang": lang, "source": record.source, "split": record.split}
    if not failures:
        turns = [{"from": role, "value": text} for one in chat.exchanges for role, text in (("human", one.patient), ("gpt", one.assistant))]
        return Outcome("accepted", head | {"turns": turns, "made": made})
    first = {"reason": failures[0]["rule"], "message": failures[0]["message"], "failures": failures}
    return Outcome(
        "rejected", head | first | {"chat": chat.model_dump(), "judgement": judgement and judgement.model_dump(), "question": as_row(record), "made": made}
    )


def plan(record: MultipleChoice, limits: Limits) -> Iterator[Planned]:
    """The requests of one round, for --dry-run; a chat that is not good enough at once takes more."""
    drawn, words = course(record, limits), words_of(record, course(record, limits), limits.lang)
    langs = drawn.langs(limits.lang)
    said = [(text * (length // len(text) + 1))[:length] for length, text in (STAND_IN[lang] for lang in langs)]
    chat = prompts.quoted(said)
    yield Planned(prompts.load("chat"), Written, words, _room(langs), chat)
    verdict = {name: 90 if name == "score" else "" if name == "feedback" else True for name in Judgement.model_fields}
    yield Planned(prompts.load("judge_chat"), Judgement, words | {"chat": chat}, JUDGE_ROOM, json.dumps(verdict))


def fits(record: Record) -> Reject | None:
    """Why no chat can be made from a record."""
    if not isinstance(record, MultipleChoice):
        reason, message = "not_multiple_choice", "chats are made from multiple-choice questions; leave the row out"
    elif record.lang != "en":
        reason, message = "other_language", f"lang is {record.lang!r}: chats, Arabic ones too, are made from the English questions; leave the row out"
    elif record.split not in ("train", "validation"):
        reason, message = "test_question", f"split is {record.split!r}: a chat made from a question of a benchmark would leak it; leave the row out"
    elif not record.id.endswith(":en"):
        reason, message = "invalid_id", f"the id {record.id!r} does not end in :en, which becomes :chat:en; add it"
    else:
        return None
    return Reject(reason=reason, file=record.file, row=record.row, message=message, content=as_row(record))


def job(limits: Limits) -> Job:
    """The step as data_prep/llm_run.py runs it."""
    versions = {name: prompts.load(name).version for name in PROMPTS}
    return Job(
        name="chats",
        work=lambda record, ask: work(record, ask, limits),
        settings=limits._asdict() | {"prompts": versions},
        files=FILES,
        plan=lambda record: plan(record, limits),
        fits=fits,
        code=(Path(__file__), *sorted(_RULES), *(prompts.FOLDER / f"{name}.yaml" for name in PROMPTS)),
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lang", choices=list(NAMES), required=True, help="language in which a chat begins")
    parser.add_argument("--switch-share", type=within(float, 0, 1), default=SWITCH_SHARE, help="share of the chats that change to the other one (%(default)s)")
    parser.add_argument("--rounds", type=within(int, 1, 20), default=ROUNDS, help="chats written for a row at most (%(default)s)")
    parser.add_argument("--threshold", type=within(int, 0, 100), default=THRESHOLD, help="the judge's score from which a chat is accepted (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of exchanges and changes of language (%(default)s)")
    llm_run.add_options(parser)
    args = parser.parse_args(arguments)
    return llm_run.main(job(Limits(args.lang, args.switch_share, args.rounds, args.threshold, args.seed)), args)


if __name__ == "__main__":
    sys.exit(main())
