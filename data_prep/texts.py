"""The texts of a record: by the names under which they are translated and reviewed, field by field, and back into a record.

question, answer                                       an open question
context, question, option_1, option_2, .., explanation a multiple-choice question
turn_1, turn_2, ..                                     a chat
"""

import hashlib

from data_prep.records import Chat, MultipleChoice, OpenQuestion, Record


def texts(record: Record) -> dict[str, str]:
    """The texts of a record by the keys under which they are translated, in reading order."""
    if isinstance(record, Chat):
        return {f"turn_{number}": turn.value for number, turn in enumerate(record.turns, start=1)}
    if isinstance(record, OpenQuestion):
        return {"question": record.question, "answer": record.answer}
    options = {f"option_{number}": option for number, option in enumerate(record.options, start=1)}
    found = {"context": record.context, "question": record.question} | options | {"explanation": record.explanation}
    return {name: text for name, text in found.items() if text is not None}


def in_arabic(record: Record, arabic: dict[str, str]) -> Record:
    """The Arabic record: the English one with its texts exchanged; all else (the right answer, split, origin) stays. The id ends in :ar."""
    fields = record.model_dump(by_alias=True) | {"id": f"{record.id.removesuffix(':en')}:ar", "lang": "ar"}
    if isinstance(record, Chat):
        fields["turns"] = [turn | {"value": arabic[f"turn_{number}"]} for number, turn in enumerate(fields["turns"], start=1)]
    else:
        if isinstance(record, MultipleChoice):
            fields["options"] = [arabic[f"option_{number}"] for number in range(1, len(record.options) + 1)]
        fields |= {name: text for name, text in arabic.items() if name in fields}
    return type(record)(**fields)


def nested(record: Record) -> dict:
    """The texts of a record as the rules and the review take them: `question`, `options` (a list), .., or `turns` (from, value)."""
    names = {"context", "question", "options", "explanation", "turns"} | ({"answer"} if isinstance(record, OpenQuestion) else set())
    return record.model_dump(by_alias=True, include=names, exclude_none=True)


def drawn(seed: int, name: str) -> float:
    """A number from 0 to 1 that follows from seed and id alone, so that neither order nor company of a row decides who reads it."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:6]) / 2**48


def by_name(parts: dict) -> dict[str, str]:
    """What `nested` gives, under the names that `texts` has."""
    found = {}
    for name, value in parts.items():
        if name == "turns":
            found |= {f"turn_{number}": turn["value"] for number, turn in enumerate(value, start=1)}
        elif name == "options":
            found |= {f"option_{number}": option for number, option in enumerate(value, start=1)}
        else:
            found[name] = value
    return found


def with_texts(record: Record, arabic: dict[str, str]) -> Record:
    """An Arabic record with other texts: a reader's. ValidationError where one of them is empty."""
    return in_arabic(record, arabic).model_copy(update={"id": record.id})
