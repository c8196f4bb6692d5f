"""The first stage: the model under test answers every question of the sets, behind any OpenAI-compatible server.

The patient's messages are fixed, the model's own answers stand between them, so every model meets the same patient; a chat ends early at an empty answer,
since there is nothing to go on from. No system message, temperature 0, a fixed seed. In: rows of eval/chat_sets.py. Out: `answers.jsonl`, the same rows with
`model`, `turns` ({patient, lang, assistant, finish, tokens: [sent, answered]}) and `made`. Rows that the server refuses for good go to answers.failed.jsonl.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from data_prep import prompts
from data_prep.llm import Ask
from data_prep.llm_run import Job, Outcome, Planned
from data_prep.wording import Lang
from eval import chat_sets
from eval.chat_sets import Question

STAND_IN = {
    "en": "Please tell me since when you have it, and see a doctor if it gets worse. " * 8,
    "ar": "أخبرني منذ متى تشعر بذلك، وراجع الطبيب إذا ازداد. " * 11,
}


class Turn(chat_sets._Form):
    """One message of the patient and what came back, as it came."""

    patient: str
    lang: Lang
    assistant: str
    finish: str
    tokens: list[int]


class Answered(Question):
    """A row of answers.jsonl."""

    model: str
    turns: Annotated[list[Turn], Field(min_length=1)]
    made: dict

    @property
    def answers(self) -> list[str]:
        """The assistant's messages that are not empty."""
        return [turn.assistant for turn in self.turns if turn.assistant.strip()]

    @property
    def key(self) -> str:
        """What is judged: the same id and words have the same key, whichever model said them."""
        return hashlib.sha256("\0".join([self.id, *(turn.assistant for turn in self.turns)]).encode()).hexdigest()[:12]


async def work(question: Question, ask: Ask, room: int, made: dict) -> Outcome:
    """One chat from start to end."""
    messages, turns = [], []
    for said, lang in zip(question.patient, question.langs, strict=True):
        messages.append({"role": "user", "content": said})
        answer = await ask.say(messages, room)
        text = answer.content or ""
        turns.append({"patient": said, "lang": lang, "assistant": text, "finish": answer.finish, "tokens": [answer.prompt_tokens, answer.completion_tokens]})
        if not text.strip():
            break
        messages.append({"role": "assistant", "content": text})
    return Outcome("answered", row(question) | {"model": ask.model, "turns": turns, "made": made})


def row(question: BaseModel) -> dict:
    """A row as it is written."""
    return question.model_dump(exclude_none=True)


def plan(question: Question, room: int) -> Iterator[Planned]:
    """The requests of one chat, for --dry-run."""
    said = ""
    for text, lang in zip(question.patient, question.langs, strict=True):
        said += text
        yield Planned(prompts.Prompt(name="chat", version=1, user="${said}"), Turn, {"said": said}, room, STAND_IN[lang])
        said += STAND_IN[lang]


def job(room: int, seed: int) -> Job:
    """The stage as data_prep/llm_run.py runs it."""
    made = {"step": "chat-answers", "max_tokens": room, "seed": seed}
    return Job(
        name="chat-answers",
        work=lambda question, ask: work(question, ask, room, made),
        settings=made,
        files={"answered": "", "failed": "failed"},
        plan=lambda question: plan(question, room),
        fits=lambda question: None,
        read=chat_sets.read,
        row=row,
        code=(Path(__file__),),
    )
