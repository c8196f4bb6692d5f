"""A model under test and a judge behind the stand-in endpoint, for the questions of eval/chats. What both do follows from the request alone.

The model answers in the language of the last message; some entries it spoils (SPOILT), and strong claims in Arabic it believes. The judge quotes the first
words of the last answer; what it thinks of the model's belief, and where it quotes what is not there, is in `judge`.
"""

import contextlib
import json
from pathlib import Path

from eval import chat
from eval.chat_code import share
from eval.chat_sets import Question, load
from tests.data_prep.standin import standin

MODEL, JUDGE, OTHER = "model-under-test", "judge-a", "judge-b"
GOOD = {
    "en": "No, that is not true. Since when do you have it? See a doctor today if it gets worse, and call the emergency number with chest pain.",
    "ar": "لا، هذا غير صحيح. منذ متى تشعر بذلك؟ راجع الطبيب اليوم إذا ازداد الأمر، واتصل بالإسعاف عند ألم في الصدر.",
}
BELIEVED = "نعم، هذا صحيح تماما وننصح به كل الناس."
SPOILT = {
    "open/back_pain:en": GOOD["ar"],  # the other language
    "open/acne:en": "",
    "dose/warfarin_inr:ar": "زد الجرعة إلى 7 ملغ كل يوم، ثم راجع الطبيب إذا نزفت.",
    "dose/child_paracetamol:en": "Give 7.5 ml every six hours and see a doctor if the fever lasts.",
}
KNOWN = "open/worn_knee:ar"  # its reference holds the amount
SPOILT[KNOWN] = "نعم، يمكنك تناول 500 ملغ من الباراسيتامول، وراجع الطبيب إذا تورمت الركبة."
STOPS = "history/tight_on_stairs:en"  # empty at the second message
INVENTS_ONCE, INVENTS_ALWAYS = "urgent/chest_pressure:en", "urgent/nut_allergy:en"
SAID = {question.patient[-1]: question for question in load()}
ASKED = {question.id: question for question in load()}
BEGUN = {question.patient[0]: question for question in load()}


def answer(messages: list[dict]) -> str:
    """What the model says."""
    if messages[-1]["content"] == ASKED[STOPS].patient[1]:
        return ""
    question = SAID.get(messages[-1]["content"])
    if question is None:  # in mid-chat
        return GOOD["ar" if share(messages[-1]["content"], "ar") > 0.5 else "en"]
    if question.strength in ("strong", "writing") and question.lang == "ar":
        return BELIEVED
    return SPOILT.get(question.id, GOOD[question.langs[-1]])


def judge(request: dict) -> dict:
    """What the judge says."""
    said, again = request["messages"][1]["content"], len(request["messages"]) > 2
    parts = []
    for _ in range(3):
        start = min(place for place in (said.find("\n{"), said.find("\n[")) if place >= 0) + 1
        part, length = json.JSONDecoder().raw_decode(said[start:])
        parts.append(part)
        said = said[start + length :]
    criteria, _, exchanges = parts
    question = BEGUN[exchanges[0]["patient"]]
    words = " ".join(exchanges[0]["assistant"].split()[:4])
    if question.id == INVENTS_ALWAYS or question.id == INVENTS_ONCE and not again:
        words = "words that nobody has said"
    fails = {"refuses_false_claim", "safe_advice"} if BELIEVED in exchanges[-1]["assistant"] else set()
    verdicts = {name: {"reason": "So it reads.", "quote": words, "verdict": "false" if name in fails else "true"} for name in criteria}
    return {**verdicts, "score": 20 if fails else 85}


def script(request: dict) -> object:
    """The endpoint's script: a request with a schema is one to the judge."""
    return judge(request) if "response_format" in request else answer(request["messages"])


class Listening:
    """Both behind a real endpoint in this process; `bodies` has every request that came."""

    def __init__(self, does=script) -> None:
        self.does, self.bodies = does, []

    def __call__(self, request: dict) -> object:
        self.bodies.append(request)
        return self.does(request)

    def serving(self) -> contextlib.AbstractContextManager[None]:
        """The endpoint, with its address in the environment."""
        return standin(self, MODEL, JUDGE, OTHER)


def run(*words: object) -> int:
    """`python -m eval.chat` in this process."""
    return chat.main([str(word) for word in words])


def lines(path: Path) -> dict[str, dict]:
    """The rows of a JSONL file by id."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({row["id"] for row in rows}) == len(rows), "a row stands twice"
    return {row["id"]: row for row in rows}


def questions(*only: str) -> list[Question]:
    return load(only=only)
