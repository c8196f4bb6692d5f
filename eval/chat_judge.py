"""The second stage: each chat of answers.jsonl is judged, by code where code can tell, else by a model behind any OpenAI-compatible server.

The judge sees the chat, the reference and the criteria of the set, never the name of the model that answered; the order is drawn from the seed. A judgement
that cannot be (eval/chat_rubric.py) is asked for once more with what is wrong with it, then it fails. A chat without any words in it is not sent: all criteria
of the judge are false, its score is 0. Out: {id, entry, set, lang, strength, model, key, judge, criteria: {name: {verdict, reason, quote, by}}, score, made}.
"""

import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from data_prep import prompts
from data_prep.llm import Ask
from data_prep.llm_run import Job, Outcome, Planned
from data_prep.quality_words import WORDS
from data_prep.records import BadInput, Reject
from eval import chat_code, chat_rubric, chat_sets
from eval.chat_answer import Answered, row
from eval.chat_rubric import FALSE, TRUE, rubric
from eval.chat_sets import FOLDER, NAMES

ROOM = 3000  # tokens: 7 criteria of a reason of 40 words and a quotation of 25, which takes a token a letter in Arabic under some vocabularies
_HERE = Path(__file__).parent
_READERS = [f"{name}.py" for name in ("chat_doses", "quality_numbers", "quality_words", "quality_text")]  # what the verdicts of the code follow from
_RULES = (*(Path(prompts.__file__).parents[1] / name for name in _READERS), *sorted(WORDS.iterdir()))


def by_code(answered: Answered) -> dict[str, dict]:
    """The verdicts of the code."""
    turns = [turn.model_dump() for turn in answered.turns]
    found = {
        "answered": chat_code.answered(turns, len(answered.patient)),
        "language": chat_code.language(turns),
        "no_invented_dose": chat_code.no_invented_dose(turns, [*answered.doses, *answered.expects, *([answered.claim] if answered.claim else [])]),
    }
    return {
        name: {
            "verdict": FALSE if found[name] else TRUE,
            "reason": found[name][0] if found[name] else "",
            "quote": found[name][1] if found[name] else "",
            "by": "code",
        }
        for name in rubric().of(answered.set, "code")
    }


def words_of(answered: Answered) -> dict[str, str]:
    """What the judge is told."""
    reference = {"must_say": answered.expects, "must_not_say": answered.must_not, "known_amounts": answered.doses, "false_claim": answered.claim}
    chat = [
        {"exchange": number, "language": NAMES[turn.lang], "patient": turn.patient, "assistant": turn.assistant}
        for number, turn in enumerate(answered.turns, start=1)
    ]
    criteria = {name: one.asks for name, one in rubric().of(answered.set).items()}
    reference = {name: value for name, value in reference.items() if value}
    return {"criteria": prompts.quoted(criteria), "reference": prompts.quoted(reference), "chat": prompts.quoted(chat)}


async def work(answered: Answered, ask: Ask, seed: int) -> Outcome:
    """One chat."""
    verdicts = by_code(answered)
    if answered.answers:
        check = functools.partial(chat_rubric.check, name=answered.set, answers=answered.answers)
        judgement = await ask(prompts.load("judge", FOLDER), chat_rubric.form(answered.set), words_of(answered), ROOM, check)
        said = judgement.model_dump()
        score = said.pop("score")
        verdicts |= {name: one | {"by": "judge"} for name, one in said.items()}
    else:
        nothing = {"verdict": FALSE, "reason": "there is no answer to judge", "quote": "", "by": "code"}
        verdicts |= dict.fromkeys(rubric().of(answered.set), nothing)
        score = 0
    return Outcome("judged", _judged(answered, ask.model, verdicts, score, prompts.load("judge", FOLDER).label, seed))


def _judged(answered: Answered, judge: str, verdicts: dict[str, dict], score: int | None, prompt: str | None, seed: int) -> dict:
    """A row of judged-JUDGE.jsonl."""
    head = answered.model_dump(include={"id", "entry", "set", "lang", "strength", "model"}, exclude_none=True)
    ordered = {name: verdicts[name] for name in rubric().criteria if name in verdicts}
    made = {"step": "chat-judgements", "prompt": prompt, "rubric": rubric().version, "seed": seed}
    return head | {"key": answered.key, "judge": judge, "criteria": ordered, "score": score, "made": made}


def code_only(path: Path, seed: int) -> Iterator[dict]:
    """The rows of a judgement without a judge: what code can tell, no score. BadInput names the first row that cannot be read."""
    for answered in shuffled(path, seed):
        if isinstance(answered, Reject):
            raise BadInput(str(answered))
        yield _judged(answered, "code", by_code(answered), None, None, seed)


def plan(answered: Answered) -> Iterator[Planned]:
    """The request of one chat, for --dry-run."""
    if answered.answers:
        one = {"reason": "x" * 120, "quote": "x" * 60, "verdict": TRUE}
        said = json.dumps({**dict.fromkeys(rubric().of(answered.set), one), "score": 90})
        yield Planned(prompts.load("judge", FOLDER), chat_rubric.form(answered.set), words_of(answered), ROOM, said)


def shuffled(path: Path, seed: int) -> Iterator[Answered | Reject]:
    """The rows of answers.jsonl in an order that follows from the seed and nothing else; what cannot be read comes first."""
    rows = list(chat_sets.read(path, Answered))
    yield from (one for one in rows if isinstance(one, Reject))
    good = [one for one in rows if not isinstance(one, Reject)]
    yield from sorted(good, key=lambda one: hashlib.sha256(f"{seed}:{one.key}".encode()).digest())


def job(seed: int) -> Job:
    """The stage as data_prep/llm_run.py runs it."""
    return Job(
        name="chat-judgements",
        work=lambda answered, ask: work(answered, ask, seed),
        settings={"prompt": prompts.load("judge", FOLDER).label, "rubric": rubric().version, "seed": seed},
        files={"judged": "", "failed": "failed"},
        plan=plan,
        fits=lambda answered: None,
        read=lambda path: shuffled(path, seed),
        row=row,
        code=(Path(__file__), *(_HERE / f"chat_{name}.py" for name in ("code", "rubric")), *_RULES, chat_rubric.RUBRIC, FOLDER / "judge.yaml"),
    )
