"""Fold people's decisions into the data: which row is settled, and what is written beside the queue that it came from.

`settle` gives each row one state: open (nobody yet), waiting (for a further reader), differ (people decided differently: for adjudication), refused (a
decision that cannot be used, with the reason), or its verdict: accept, minor, major (with the text as people left it), reject. An adjudicator's decision goes
before those of readers. Two people agree when verdict and texts are the same and their scores are at most 20 apart (ours).
An edit passes the rules of data_prep/quality_check.py again: an error that the page did not show before is refused.
`write` writes NAME.reviewed.jsonl (records, read by data_prep/sources/records.py) and NAME.rejected.jsonl beside NAME.review.jsonl, from the ledger alone.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from data_prep import files
from data_prep.quality_check import check
from data_prep.records import KINDS, Record, as_row
from data_prep.review_ledger import Decision, Row
from data_prep.review_page import remark
from data_prep.texts import by_name, nested, with_texts

APART = 20  # points between two scores up to which people agree
SETTLED = ("accept", "minor", "major", "reject")


class Settled(NamedTuple):
    """What became of a row. `people` are the decisions that it rests on, `readers` those of the first reading, `final` is the text that counts, `why` says
    where it is refused or differs."""

    row: Row
    state: str
    people: list[Decision]
    final: dict[str, str]
    readers: list[Decision]
    why: str = ""

    @property
    def score(self) -> float | None:
        """The mean of the scores that the state rests on."""
        scores = [one.said["score"] for one in self.people if one.said["score"] is not None]
        return sum(scores) / len(scores) if scores else None

    @property
    def verdict(self) -> str | None:
        """What people think of the machine's text, also where their edit was refused; None where they have not agreed."""
        return self.people[0].said["verdict"] if self.people and self.state not in ("open", "waiting", "differ") else None


def record_of(row: Row) -> Record:
    """The machine's Arabic record."""
    fields = {name: value for name, value in row.row["record"].items() if name != "kind"}
    return KINDS[row.row["record"]["kind"]](**fields)


def _clean(text: str) -> str:
    return unicodedata.normalize("NFC", text).replace("\r\n", "\n").strip()


def text_of(one: Decision, row: Row) -> dict[str, str]:
    """The texts as one person left them: a missing one is an emptied one. White space at the ends and composition of letters are no edits."""
    machine = by_name(row.row["ar"])
    said = {name: _clean(one.said["texts"].get(name) or "") for name in machine}
    return {name: text if said[name] == _clean(text) else said[name] for name, text in machine.items()}


def differ(people: list[Decision], row: Row) -> list[str]:
    """In what the people who read a row differ: verdict, text, score. Empty where they agree."""
    found = []
    if len({one.said["verdict"] for one in people}) > 1:
        found.append("verdict")
    if "reject" not in {one.said["verdict"] for one in people} and len({tuple(text_of(one, row).items()) for one in people}) > 1:
        found.append("text")
    scores = [one.said["score"] for one in people if one.said["score"] is not None]
    if scores and max(scores) - min(scores) > APART:
        found.append("score")
    return found


def fault(verdict: str | None, score: float | None, final: dict[str, str], row: Row) -> str:
    """Why a decision cannot be used; "" where it can."""
    machine = by_name(row.row["ar"])
    changed = [name for name in machine if final[name] != machine[name]]
    if verdict not in SETTLED:
        return "no verdict; choose one"
    if score is None or not 0 <= score <= 100:
        return "no score from 0 to 100; give one"
    if verdict == "reject":
        return ""
    if empty := [name for name in final if not final[name]]:
        return f"{empty[0]} is empty; write the whole Arabic, or reject the row"
    if verdict == "accept" and changed:
        return f"accepted, but {', '.join(changed)} was changed; call the correction minor or major"
    if verdict != "accept" and not changed:
        return f"a {verdict} correction, but no text was changed; correct it, accept it, or reject it"
    if not changed:
        return ""
    try:
        record = with_texts(record_of(row), final)
    except ValidationError as error:
        return f"no record: {error.errors()[0]['msg']}"
    shown = Counter(flag["rule"] for flag in row.row["rules"]["flags"] if flag["severity"] == "error")
    found = check(row.row["en"], nested(record)).flags
    for flag in found:
        if flag["severity"] == "error" and Counter(one["rule"] for one in found if one["severity"] == "error")[flag["rule"]] > shown[flag["rule"]]:
            return f"the edit breaks a rule ({flag['rule']}, {flag.get('field', 'whole row')}): {remark(flag)}; correct it"
    return ""


def settle(row: Row, decisions: list[Decision]) -> Settled:
    """What became of a row, given the decisions that count (Ledger.last)."""
    readers = [one for one in decisions if one.stage == "review"]
    judges = [one for one in decisions if one.stage == "adjudication"]
    machine = by_name(row.row["ar"])
    if not judges:
        if len(readers) < row.readers:
            return Settled(row, "waiting" if readers else "open", readers, machine, readers)
        if points := differ(readers, row):
            return Settled(row, "differ", readers, machine, readers, f"the readers differ in {', '.join(points)}")
    people = judges[-1:] or readers
    final, verdict = text_of(people[0], row), people[0].said["verdict"]
    scores = [one.said["score"] for one in people]
    why = fault(verdict, None if None in scores else sum(scores) / len(scores), final, row)
    return Settled(row, "refused" if why else verdict, people, machine if verdict == "reject" else final, readers, why)


def _provenance(one: Settled) -> dict:
    machine = by_name(one.row.row["ar"])
    changed = [name for name in machine if one.final[name] != machine[name]]
    found = {"verdict": one.state, "score": one.score, "by": [person.annotator for person in one.people], "at": max(person.at for person in one.people)}
    found |= {"adjudicated": one.people[0].stage == "adjudication", "decisions": [person.name for person in one.people]}
    return found | {"before": {name: machine[name] for name in changed}, "after": {name: one.final[name] for name in changed}}


def _standing(settled: list[Settled]) -> Iterator[Settled]:
    """Of several translations of one id that people settled the one that counts: the current one's, else the last. One of English that has changed never."""
    by_id: dict[str, list[Settled]] = {}
    for one in settled:
        by_id.setdefault(one.row.id, []).append(one)
    for same in by_id.values():
        now = next((one for one in same if one.row.current), None)
        usable = [one for one in same if one.state in SETTLED and one.state != "reject" and (now is None or one.row.row["en"] == now.row.row["en"])]
        if now is not None and now.state == "reject":
            usable = []
        if usable:
            yield max(usable, key=lambda one: (one.row.current, max(person.at for person in one.people)))


def write(settled: Iterable[Settled], build: Path) -> dict[Path, int]:
    """Write what people decided beside each queue; returns the rows of each file. A file without rows is removed; each is written aside and renamed."""
    queues: dict[str, list[Settled]] = {}
    for one in settled:
        queues.setdefault(one.row.queue, []).append(one)
    counts = {}
    for queue, rows in queues.items():
        path = build / queue
        name = path.name.removesuffix(".jsonl").removesuffix(".review")
        reviewed = [as_row(with_texts(record_of(one.row), one.final)) | {"made": one.row.row["made"], "reviewed": _provenance(one)} for one in _standing(rows)]
        rejected = [as_row(record_of(one.row)) | {"made": one.row.row["made"], "reviewed": _provenance(one)} for one in rows if one.state == "reject"]
        for suffix, lines in (("reviewed", reviewed), ("rejected", rejected)):
            out = path.with_name(f"{name}.{suffix}.jsonl")
            if lines:
                files.save(out, "".join(map(files.line, lines)).encode("utf-8"))
                counts[out] = len(lines)
            else:
                out.unlink(missing_ok=True)
    return counts


def compared(one: Settled) -> tuple[dict[str, str], str]:
    """For adjudication: the texts to begin with (the last correction, where there is one), and what each reader decided, a text of Arabic on its own line."""
    machine, lines, begin = by_name(one.row.row["ar"]), [f"{one.why[0].upper()}{one.why[1:]}."], None
    for person in one.people:
        text = text_of(person, one.row)
        lines.append(f"Reader {person.annotator}: {person.said['verdict']}, score {person.said['score']}. {person.said['comment'] or ''}".strip())
        for name in machine:
            if text[name] != machine[name]:
                lines += [f"Reader {person.annotator}'s {name}:", text[name] or "(emptied)"]
                begin = person
    for name, text in machine.items():
        if any(text_of(person, one.row)[name] != text for person in one.people):
            lines += [f"The machine's {name}:", text]
    if begin is None:
        return machine, "\n".join(lines)
    lines.append(f"The boxes begin with reader {begin.annotator}'s text: that is a minor or major correction. To accept, put the machine's text back.")
    text = text_of(begin, one.row)
    return {name: text[name] or machine[name] for name in machine}, "\n".join(lines)
