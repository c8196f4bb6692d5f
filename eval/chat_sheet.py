"""What two raters said: judgements of a model (judged-*.jsonl), or a sheet that a person has filled in; and the sheet itself.

A sheet is CSV (for a spreadsheet) or JSONL, a row for each chat in an order drawn from a seed, without the model's name: key, id, chat, must_say,
must_not_say, a column for each criterion, score (0 to 100), remarks. In a criterion's column stands true, false or na; `-` where the set does not have it;
an empty cell was not judged. Errors: BadInput with file, row and column.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep import files
from data_prep.records import BadInput, Reject
from eval import chat_sets
from eval.chat_answer import Answered
from eval.chat_rubric import FALSE, NOT_APPLICABLE, TRUE, VERDICTS, rubric

WORDS = {"true": TRUE, "yes": TRUE, "نعم": TRUE, "false": FALSE, "no": FALSE, "لا": FALSE, "na": NOT_APPLICABLE, "n/a": NOT_APPLICABLE}
WORDS |= {"not_applicable": NOT_APPLICABLE, "not applicable": NOT_APPLICABLE}
NO_CELL = "-"


class Rating(NamedTuple):
    """What one rater said of one chat. `code`: the criteria that no rater decided but the code."""

    key: str
    id: str
    verdicts: dict[str, str]
    code: frozenset[str]
    score: float | None

    @property
    def entry(self) -> str:
        """The question whatever its language and strength: open/back_pain of open/back_pain:ar."""
        return self.id.split(":")[0]

    @property
    def lang(self) -> str:
        return self.id.rsplit(":", 1)[-1]


def chats(paths: Iterable[Path]) -> list[Answered]:
    """The answered chats of some files, each once. BadInput names the first row that is none."""
    found: dict[str, Answered] = {}
    for path in paths:
        if not path.is_file():
            raise BadInput(f"{path}: there is no such file; `python -m eval.chat answer` writes answers.jsonl")
        for one in chat_sets.read(path, Answered):
            if isinstance(one, Reject):
                raise BadInput(str(one))
            found[one.key] = one
    if not found:
        raise BadInput("no answered chat in these files")
    return list(found.values())


def columns() -> list[str]:
    """The columns of a sheet."""
    return ["key", "id", "chat", "must_say", "must_not_say", *rubric().criteria, "score", "remarks"]


def rows(answered: list[Answered], seed: int, sample: int | None) -> Iterator[dict[str, str]]:
    """The rows of an empty sheet; `sample` takes so many, the same for the same seed."""
    order = sorted(answered, key=lambda one: hashlib.sha256(f"{seed}:{one.key}".encode()).digest())
    for one in order[:sample]:
        said = "\n\n".join(f"[{number}] {turn.patient}\n\n>>> {turn.assistant}" for number, turn in enumerate(one.turns, start=1))
        cells = {name: "" if one.set in criterion.sets else NO_CELL for name, criterion in rubric().criteria.items()}
        must_not = [*one.must_not, *([f"(false claim) {one.claim}"] if one.claim else [])]
        yield {"key": one.key, "id": one.id, "chat": said, "must_say": "\n".join(one.expects), "must_not_say": "\n".join(must_not), **cells} | {
            "score": "",
            "remarks": "",
        }


def write(path: Path, answered: list[Answered], seed: int, sample: int | None) -> int:
    """Write an empty sheet, never over one that stands: a person may have filled it in. Returns its rows."""
    if path.suffix not in (".csv", ".jsonl"):
        raise BadInput(f"{path}: a sheet is .csv or .jsonl; name one of them with --sheet")
    if path.exists():
        raise BadInput(f"{path}: stands already, and somebody may have filled it in; name another file with --sheet")
    made = list(rows(answered, seed, sample))
    if path.suffix == ".jsonl":
        files.save(path, "".join(map(files.line, made)).encode())
        return len(made)
    text = io.StringIO()
    sheet = csv.DictWriter(text, columns())
    sheet.writeheader()
    sheet.writerows(made)  # what a model wrote stands behind [1] in its cell, so that no spreadsheet takes it for a formula
    files.save(path, text.getvalue().encode("utf-8-sig"))  # the mark tells a spreadsheet that it is UTF-8
    return len(made)


def ratings(path: Path) -> dict[str, Rating]:
    """What one rater said, by key."""
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file; name what `eval.chat judge` wrote, or a sheet that was filled in")
    found = {}
    for number, row in _csv(path) if path.suffix == ".csv" else files.read_jsonl(path):
        if isinstance(row, Reject):
            raise BadInput(str(row))
        try:
            rating = _judged(row) if "criteria" in row else _filled(row)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadInput(f"{path.name}, row {number}: {error if isinstance(error, ValueError) else f'no judgement ({error!r})'}") from error
        if rating.key in found and rating != found[rating.key]:
            raise BadInput(f"{path.name}, row {number}: the chat {rating.key} ({rating.id}) stands twice with other verdicts; leave one of them")
        found[rating.key] = rating
    return found


def _csv(path: Path) -> Iterator[tuple[int, dict]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 ({error}); save the sheet as `CSV UTF-8`") from error
    head = text.split("\n", 1)[0]
    sheet = csv.DictReader(io.StringIO(text), delimiter=";" if head.count(";") > head.count(",") else ",")  # some spreadsheets write semicolons
    if missing := {"key", "id"} - set(sheet.fieldnames or ()):
        raise BadInput(f"{path}: no column {' and '.join(sorted(missing))}; fill in the sheet that --sheet wrote and keep its columns")
    yield from enumerate(sheet, start=2)


def _judged(row: dict) -> Rating:
    verdicts = {name: one["verdict"] for name, one in row["criteria"].items()}
    if wrong := set(verdicts.values()) - set(VERDICTS):
        raise ValueError(f"{', '.join(sorted(wrong))} is no verdict")
    return Rating(
        row["key"], row["id"], verdicts, frozenset(name for name, one in row["criteria"].items() if one["by"] == "code"), row["score"] and float(row["score"])
    )


def _filled(row: dict) -> Rating:
    verdicts = {}
    for name in rubric().criteria:
        cell = (row.get(name) or "").strip().lower()
        if cell in ("", NO_CELL):
            continue
        if cell not in WORDS:
            raise ValueError(f"column {name}: {cell!r}; write true, false or na, or leave it empty")
        verdicts[name] = WORDS[cell]
    score = str(row.get("score") or "").strip()
    if score and not (score.isdecimal() and int(score) <= 100):
        raise ValueError(f"column score: {score!r}; write a whole number from 0 to 100, or leave it empty")
    return Rating(row["key"], row["id"], verdicts, frozenset(), float(score) if score else None)
