"""A model for the stand-in endpoint that can translate one kind of row: what helps against a symptom, with ages, days and doses.

What it answers depends on the request alone, as in a model at temperature 0. Some rows it translates wrongly at first, a few always; some it scores low.
"""

import hashlib
import json
import re
from collections.abc import Iterator

SYMPTOMS = {"fever": "الحمى", "cough": "السعال", "headache": "الصداع", "diarrhoea": "الإسهال", "back pain": "ألم الظهر", "vomiting": "القيء"}
DRUGS = {"paracetamol": "الباراسيتامول", "ibuprofen": "الإيبوبروفين", "naproxen": "النابروكسين", "aspirin": "الأسبرين"}
FOODS = {"milk": "الحليب", "alcohol": "الكحول", "coffee": "القهوة"}
_QUESTION = re.compile(r"What helps against (.+) for (\d+) days in a patient of (\d+) years\?")
_ANSWER = re.compile(r"Take (\d+) mg of (.+) every (\d+) hours, and do not take it with (.+)\.")


def rows(count: int) -> Iterator[dict]:
    """That many different English records."""
    symptoms, drugs, foods = list(SYMPTOMS), list(DRUGS), list(FOODS)
    for number in range(count):
        question = f"What helps against {symptoms[number % 6]} for {3 + number % 8} days in a patient of {20 + number % 67} years?"
        answer = f"Take {100 + number % 901} mg of {drugs[number % 4]} every {4 + number % 9} hours, and do not take it with {foods[number % 3]}."
        names = {"id": f"scripted:{number}:en", "origin_id": f"scripted:{number}"}
        yield {"kind": "qa", **names, "lang": "en", "source": "scripted", "split": "train", "question": question, "answer": answer}


def _share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) / 2**32


def translate(request: dict) -> object:
    """The script: answers a request for a translation or for a score."""
    user = request["messages"][1]["content"]
    english = json.JSONDecoder().raw_decode(user[user.index("{") :])[0]
    drawn = _share(english["question"] + english["answer"])
    properties = request["response_format"]["json_schema"]["schema"]["properties"]
    again = "earlier translation" in user
    if "score" in properties:
        return {"feedback": "The register is too plain.", "score": 40} if 0.1 < drawn < 0.15 else {"feedback": "", "score": 91 + int(drawn * 9)}
    symptom, days, age = _QUESTION.fullmatch(english["question"]).groups()
    dose, drug, hours, food = _ANSWER.fullmatch(english["answer"]).groups()
    if drawn < 0.03 or drawn < 0.1 and not again:
        dose = str(int(dose) * 10)  # the error that must not pass
    return {
        "question": f"ما الذي يفيد ضد {SYMPTOMS[symptom]} منذ {days} أيام لدى مريض عمره {age} سنة؟",
        "answer": f"تناول {dose} ملغ من {DRUGS[drug]} كل {hours} ساعات، ولا تتناوله مع {FOODS[food]}.",
    }
