"""The record types: what may pass from stage to stage, and what a reject says of the rest."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_prep.records import Chat, EvaluationRow, MultipleChoice, OpenQuestion, Record, Reject, ShareGPTRow, attempt

COMMON = {"id": "ours:train:1:en", "origin_id": "ours:train:1", "lang": "en", "source": "ours", "split": "train"}
MCQ = COMMON | {"benchmark": "anatomy", "question": "Which?", "options": ["one", "two"], "answer": 1}
TURNS = [{"from": "human", "value": "Hello."}, {"from": "gpt", "value": "Hello."}]
TEXT = st.text(max_size=20)


def blank(text: str) -> bool:
    return not text.strip()


@given(text=TEXT)
@example(text="\x1c\x1f")
@example(text="\u2003\u00a0")
@example(text="\u200b")
@example(text="\ud800")
def test_a_text_is_kept_or_refused_as_empty(text: str) -> None:
    """What `strip` would leave empty is empty; all else passes unchanged, but for half surrogate pairs, which no file can hold."""
    row = attempt(OpenQuestion, "f", 1, None, **COMMON, question="Why?", answer=text)
    if blank(text):
        assert (row.reason, str(row)) == ("empty_answer", "f, row 1: answer: is empty; correct the row in the file or leave it out")
    elif re.search("[\ud800-\udfff]", text):
        assert row.reason == "invalid_answer"
    else:
        assert row.answer == text


@given(options=st.lists(TEXT, max_size=7), answer=st.integers(-3, 8))
def test_a_question_needs_two_to_five_options_and_its_answer_among_them(options: list[str], answer: int) -> None:
    """A negative index would silently take the last option."""
    row = attempt(MultipleChoice, "f", 1, None, **MCQ | {"options": options, "answer": answer})
    good = 2 <= len(options) <= 5 and 0 <= answer < len(options) and not any(map(blank, options))
    assert isinstance(row, MultipleChoice if good else Reject)
    if not good:
        expected = "empty_option" if any(map(blank, options)) else "invalid_record"
        assert row.reason == expected
        assert "correct the row in the file or leave it out" in row.message


@given(roles=st.lists(st.sampled_from(["human", "gpt"]), max_size=7))
def test_turns_alternate_from_human_to_gpt(roles: list[str]) -> None:
    """Two turns of one side in a row break the chat template."""
    turns = [{"from": role, "value": "text"} for role in roles]
    good = bool(roles) and roles == ["human", "gpt"] * (len(roles) // 2)
    row = attempt(Chat, "f", 1, None, **COMMON, turns=turns)
    assert isinstance(row, Chat if good else Reject)
    fields = COMMON | {"conversations": turns, "kind": "chat"}
    if good:
        (written,) = row.sharegpt(["letter"])
        assert written.model_dump(by_alias=True)["conversations"] == turns
        assert ShareGPTRow.model_validate(fields) == written
    else:
        with pytest.raises(ValidationError):
            ShareGPTRow.model_validate(fields)


@given(
    lang=st.sampled_from(["en", "ar"]),
    question=TEXT.filter(str.strip),
    options=st.lists(TEXT.filter(str.strip), min_size=2, max_size=5),
    context=st.none() | TEXT.filter(str.strip),
    data=st.data(),
)
def test_training_and_evaluation_ask_the_same(lang: str, question: str, options: list[str], context: str | None, data: st.DataObject) -> None:
    """One letter of difference between the trained prompt and the scored one costs accuracy that nobody can explain."""
    answer = data.draw(st.integers(0, len(options) - 1))
    record = MultipleChoice(**MCQ | {"lang": lang, "question": question, "options": options, "context": context, "answer": answer})
    (row,), tested = record.sharegpt(["letter"]), record.evaluation()
    assert row.conversations[0].value == tested.prompt
    assert row.conversations[1].value == f"{tested.lead} {tested.letters[tested.answer]}."
    assert EvaluationRow.model_validate(tested.model_dump()) == tested
    assert (row.id, row.origin_id, row.split) == (record.id, record.origin_id, record.split)


@pytest.mark.parametrize(
    ("answers", "explanation", "said"),
    [
        (["letter"], "Why.", {"1:en": "The correct answer is B."}),
        (["explained"], "Why.", {"1:en": "Why. The correct answer is B."}),
        (["explained"], None, {"1:en": "The correct answer is B."}),
        (["letter", "explained"], "Why.", {"1:en:letter": "The correct answer is B.", "1:en:explained": "Why. The correct answer is B."}),
        (["letter", "explained"], None, {"1:en:letter": "The correct answer is B."}),
    ],
)
def test_forms_of_an_answer(answers: list[str], explanation: str | None, said: dict[str, str]) -> None:
    """Two forms of one question need two ids; without an explanation the same row must not train twice."""
    rows = MultipleChoice(**MCQ | {"explanation": explanation}).sharegpt(answers)
    assert {row.id: row.conversations[1].value for row in rows} == {f"ours:train:{name}": value for name, value in said.items()}


WRONG = [
    # (kind, changes to a good record, reason)
    (MultipleChoice, {"answer": "B"}, "invalid_answer"),
    (MultipleChoice, {"answer": True}, "invalid_answer"),
    (MultipleChoice, {"answer": 1.0}, "invalid_answer"),
    (MultipleChoice, {"answer": None}, "empty_answer"),
    (MultipleChoice, {"options": "ab"}, "invalid_options"),
    (MultipleChoice, {"options": [1, 2]}, "invalid_option"),
    (MultipleChoice, {"options": None}, "empty_options"),
    (MultipleChoice, {"lang": "fr"}, "invalid_lang"),
    (MultipleChoice, {"split": "training"}, "invalid_split"),
    (MultipleChoice, {"id": ""}, "empty_id"),
    (MultipleChoice, {"benchmark": "a/b"}, "invalid_benchmark"),
    (MultipleChoice, {"benchmark": ""}, "empty_benchmark"),
    (MultipleChoice, {"explanation": " "}, "empty_explanation"),
    (MultipleChoice, {"hint": "x"}, "invalid_hint"),
    (OpenQuestion, {"question": "Why?", "answer": "So.", "split": "dev"}, "invalid_split"),
    (Chat, {"turns": TURNS, "split": "test"}, "invalid_split"),
    (Chat, {"turns": [*TURNS, TURNS[0]]}, "invalid_record"),
    (Chat, {"turns": [TURNS[0] | {"from": "system"}, TURNS[1]]}, "invalid_turn"),
]


@pytest.mark.parametrize(("kind", "changes", "reason"), WRONG)
def test_reason_names_the_field(kind: type[Record], changes: dict, reason: str) -> None:
    """Rejects are filed by reason: `invalid_answer` sends the user to the answer; nothing is coerced ("B", 1.0 and True are no index)."""
    good = MCQ if kind is MultipleChoice else COMMON
    row = attempt(kind, "ours.jsonl", 7, {"the": "row"}, **good | changes)
    assert isinstance(row, Reject)
    assert (row.reason, row.file, row.row, row.content) == (reason, "ours.jsonl", 7, {"the": "row"})


def test_where_a_record_was_read_is_not_written() -> None:
    """`file` and `row` are for messages; in the output they would differ from one copy of the data to another."""
    record = MultipleChoice(**MCQ, file="/home/somebody/ours.jsonl", row=3)
    assert not {"file", "row"} & set(record.model_dump())
    assert "somebody" not in record.evaluation().model_dump_json() + next(record.sharegpt(["letter"])).model_dump_json()
