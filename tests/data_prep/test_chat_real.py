"""The rules for chats on what people wrote: our own chats and questions, real patients and doctors, real questions with their misspellings."""

import json
from pathlib import Path

from data_prep import chat_answers
from data_prep.chat_rules import Violation, check
from data_prep.records import MultipleChoice, Reject
from data_prep.sources import READERS
from tests.conftest import ROOT
from tests.data_prep.chatting import question

SAMPLES = ROOT / "data_prep" / "samples"


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_our_own_chats_break_no_rule() -> None:
    """The 30 sample chats in both languages, which doctors' advice with its doses makes realistic: without a question to hold them against."""
    found = []
    for row in lines(SAMPLES / "chat.jsonl"):
        for lang in ("en", "ar"):
            turns = [turn["value"] for turn in row[lang]]
            exchanges = list(zip(turns[::2], turns[1::2], strict=True))
            found += [(row["id"], lang, one.rule) for one in check(exchanges, [lang] * len(exchanges))]
    assert found == []


def of_texts(patient: str, assistant: str, lang: str) -> list[Violation]:
    """What the rules find in one exchange by itself, without those about the course of a whole chat."""
    return [one for one in check([(patient, assistant)], [lang]) if one.rule not in ("exchanges", "no_question", "no_doctor")]


def sample_questions() -> list[tuple[MultipleChoice, list[str]]]:
    """Our questions, with the options in Arabic."""
    rows = [(row["en"], row["ar"]["options"], "ABCDE".index(row["answer"])) for row in lines(SAMPLES / "mcqa.jsonl")]
    return [(question(question=en["question"], options=en["options"], answer=answer), arabic) for en, arabic, answer in rows]


def test_the_answer_is_known_again_in_arabic() -> None:
    """Our questions: the right option in our Arabic passes but for 1 of 126, and no wrong one is held against it; of the wrong ones 1 in 5 is found."""
    refused, found, wrongs = [], 0, 0
    for source, arabic in sample_questions():
        for place, option in enumerate(arabic):
            missed = chat_answers.missing(source, option, "ar") or chat_answers.other(source, option, "ar")
            if place == source.answer:
                refused += [source.options[place]] if missed else []
            else:
                found, wrongs = found + bool(missed), wrongs + 1
    assert refused == ["Trinucleotide repeat expansion"]
    assert found >= 0.2 * wrongs


def test_an_opening_rarely_seems_to_name_an_answer() -> None:
    """Every option of our questions against the openings of our chats, which are about other things: at most 3 in 1,000 seem to be named."""
    openings = [(row[lang][0]["value"], lang) for row in lines(SAMPLES / "chat.jsonl")[:10] for lang in ("en", "ar")]
    options = [option for source, _ in sample_questions() for option in source.options]
    named = [(option, text) for option in options for text, lang in openings if chat_answers.named(option, text, lang)]
    assert len(named) <= 0.003 * len(options) * len(openings)


def test_answers_of_real_questions(real_data: Path) -> None:
    """MedMCQA, misspellings and all: a chat that concludes the right option is never refused, one that concludes another is in at least 92 of 100."""
    path = real_data / "medmcqa" / "dev.json"
    rows = [row for row in READERS["medmcqa"](path, "train", answer_base=1) if not isinstance(row, Reject)][::8]
    refused, found, wrongs = [], 0, 0
    for row in rows:
        for place, option in enumerate(row.options):
            conclusion = f"This is most likely {option}, which fits what you told me."
            missed = chat_answers.missing(row, conclusion, "en") or chat_answers.other(row, conclusion, "en")
            if place == row.answer:
                refused += [option] if missed else []
            else:
                found, wrongs = found + bool(missed), wrongs + 1
    assert len(rows) > 500 and refused == [] and found >= 0.92 * wrongs, found / wrongs


def test_real_patients_and_doctors_are_left_alone(real_data: Path) -> None:
    """ChatDoctor's texts one by one. What is found there is there: the next speaker in the text (1 answer in 100), a loop."""
    rows = [row for row in READERS["chatdoctor"](real_data / "chatdoctor" / "chatdoctor5k.json", "train") if not isinstance(row, Reject)]
    found = [one for row in rows[::3] for one in of_texts(row.question, row.answer, "en")]
    assert not [one for one in found if one.turn == "patient 1"]
    labels = [one for one in found if one.rule == "role_label"]
    assert {one.evidence.strip(" .?") for one in labels} == {"patient:"} and len(labels) < 0.01 * len(rows[::3])
    assert len(found) - len(labels) <= 2, found


def test_real_arabic_is_left_alone(real_data: Path) -> None:
    """The Arabic of TICO-19, which is about health in general: 20 of 1,536 texts, all for English titles, addresses, marks or Chinese that stand there."""
    rows = lines(real_data / "tico19" / "pairs.jsonl")
    found = [one for row in rows for one in of_texts("نعم.", row["ar"], "ar")]
    assert len(found) <= 20 and {one.rule for one in found} <= {"language", "control_marks", "link", "markup", "other_script", "repetition"}
