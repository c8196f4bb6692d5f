"""The collected rows of all sources on the disk, and an index of them in memory: what every later step works on.

A source is collected into one folder: `records.jsonl` (the records, stripped), `words.u32` (their normalised words as 32-bit hashes, one text
after another), `index.bin` (one `INDEX` row a record), `rejects.jsonl` and `account.json`. A million rows take about 110 MB of memory.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import orjson

from data_prep import files, matching
from data_prep.records import KINDS, MultipleChoice, OpenQuestion, Record, Reject, kind_of

LANGS, SPLITS = ("en", "ar"), ("train", "validation", "dev", "test")
CODES = {name: code for names in (LANGS, tuple(KINDS), SPLITS) for code, name in enumerate(names)}
FLUSH = 10_000  # index rows held as Python numbers at a time
INDEX = np.dtype(
    [
        ("at", "i8"),  # the record's line in records.jsonl: where it begins
        ("start", "i8"),  # its words: where they begin, and how many are the question's, the options', and the rest (context, answer, later turns)
        ("question_words", "i4"),
        ("option_words", "i4"),
        ("rest_words", "i4"),
        ("id", "u8"),  # 64-bit hashes, for equality
        ("origin", "u8"),
        ("question", "u8"),
        ("asked", "u8"),  # question, options in any order and context; a chat's turns
        ("said", "u8"),  # the right option or the answer
        ("guard", "u8"),  # what near copies must agree in
        ("source", "u2"),
        ("shard", "u2"),
        ("lang", "u1"),
        ("kind", "u1"),
        ("split", "u1"),
        ("rows", "u1"),  # ShareGPT rows that it gives
    ]
)


def _texts(record: Record) -> tuple[list[str], list[list[str]], list[str], list[str]]:
    """The words of question, options (sorted: their order is no part of the question), the rest, and what is said in answer."""
    if isinstance(record, MultipleChoice):
        options = [matching.words(option) for option in record.options]
        return matching.words(record.question), sorted(options), matching.words(record.context or ""), options[record.answer]
    if isinstance(record, OpenQuestion):
        answer = matching.words(record.answer)
        return matching.words(record.question), [], answer, answer
    first, *others = (matching.words(turn.value) for turn in record.turns)
    return first, [], [word for turn in others for word in turn], []


def strip(content: object) -> object:
    """White space around a text is no part of it; inside nothing is touched."""
    if isinstance(content, str):
        return content.strip()
    if isinstance(content, list):
        return [strip(item) for item in content]
    if isinstance(content, dict):
        return {key: strip(item) for key, item in content.items()}
    return content


def _entry(record: Record, kind: str, source: int, at: int, start: int, rows: int) -> tuple[tuple, np.ndarray]:
    """A record's INDEX row, and its words as hashes: question, options, the rest."""
    question, options, rest, said = _texts(record)
    in_options = [word for option in options for word in option]
    asked = (question,) if kind == "qa" else (question, *options, rest)
    # near copies agree in numbers and negations, and an MCQ's in the right answer; other numbers in the wrong options make no other question
    fixed = (record.lang, kind, matching.guard(question + rest), said if kind == "mcqa" else "")
    hashed = (matching.key([record.id]), matching.key([record.origin_id]), matching.key(question), matching.key(*asked), matching.key(said))
    places = (at, start, len(question), len(in_options), len(rest))
    codes = (source, 0, CODES[record.lang], CODES[kind], CODES[record.split], rows)
    return (*places, *hashed, matching.key([repr(fixed)]), *codes), matching.hashes(question + in_options + rest)


def collect(rows: Iterable[Record | Reject], folder: Path, answers: list[str]) -> dict:
    """Write one source's rows into `folder`; returns the account: read, trimmed, rejected by reason, the names of the sources in it, and the groups
    (source, language, kind)."""
    counts, sources, groups, pending = {"read": 0, "trimmed": 0}, {}, set(), []
    rejected: dict[str, int] = {}
    at = start = 0
    with (
        (folder / "records.jsonl").open("wb") as records,
        (folder / "words.u32").open("wb") as words,
        (folder / "index.bin").open("wb") as index,
        files.open_lines(folder / "rejects.jsonl") as rejects,
    ):
        for row in rows:
            counts["read"] += 1
            if isinstance(row, Reject):
                rejected[row.reason] = rejected.get(row.reason, 0) + 1
                rejects.write(files.line(row.model_dump()))
                continue
            kind = kind_of(row)
            content = row.model_dump(by_alias=True)
            stripped = strip(content)
            if stripped != content:
                counts["trimmed"] += 1
                row = type(row).model_validate(stripped | {"file": row.file, "row": row.row})
            line = orjson.dumps({"kind": kind, "file": row.file, "row": row.row} | stripped) + b"\n"
            gives = sum(1 for _ in row.sharegpt(answers))
            entry, text = _entry(row, kind, sources.setdefault(row.source, len(sources)), at, start, gives)
            groups.add((row.source, row.lang, kind))
            pending.append(entry)
            records.write(line)
            words.write(text.tobytes())
            at, start = at + len(line), start + len(text)
            if len(pending) == FLUSH:
                index.write(np.array(pending, dtype=INDEX).tobytes())
                pending.clear()
        index.write(np.array(pending, dtype=INDEX).tobytes())
    account = counts | {"rejected": dict(sorted(rejected.items())), "sources": list(sources), "groups": sorted(groups)}
    files.write_json(folder / "account.json", account)
    return account


class Corpus:
    """All collected sources as one: `index` (INDEX rows, in the recipe's order), `words` (uint32, on the disk), and the records themselves."""

    def __init__(self, shards: list[Path], words: Path) -> None:
        self.shards = shards
        self.accounts = [json.loads((shard / "account.json").read_text(encoding="utf-8")) for shard in shards]
        self.sources = list(dict.fromkeys(name for account in self.accounts for name in account["sources"]))
        parts, base = [], 0
        for number, (shard, account) in enumerate(zip(shards, self.accounts, strict=True)):
            part = np.fromfile(shard / "index.bin", dtype=INDEX)
            names = np.array([self.sources.index(name) for name in account["sources"]], dtype="u2")
            if len(part):
                part["source"] = names[part["source"]]
            part["shard"] = number
            part["start"] += base
            base += (shard / "words.u32").stat().st_size // 4
            parts.append(part)
        self.index = np.concatenate(parts) if parts else np.empty(0, INDEX)
        self.words = np.memmap(words, dtype=np.uint32, mode="r").view(np.ndarray) if base else np.empty(0, np.uint32)

    def record(self, number: int) -> Record:
        """The record at one place of the index."""
        with (self.shards[self.index["shard"][number]] / "records.jsonl").open("rb") as lines:
            lines.seek(int(self.index["at"][number]))
            return restore(lines.readline())

    def records(self) -> Iterator[tuple[int, Record]]:
        """Every record with its place, in order, read as a stream."""
        number = 0
        for shard in self.shards:
            with (shard / "records.jsonl").open("rb") as lines:
                for line in lines:
                    yield number, restore(line)
                    number += 1

    def rejects(self) -> Iterator[dict]:
        """What the readers rejected, in order."""
        for shard in self.shards:
            with (shard / "rejects.jsonl").open(encoding="utf-8") as lines:
                yield from map(json.loads, lines)


def restore(line: bytes) -> Record:
    """A record from its line in records.jsonl."""
    content = orjson.loads(line)
    return KINDS[content.pop("kind")].model_validate(content)


def join_words(shards: list[Path], out: Path) -> None:
    """Put the words of all sources into one file, in their order."""
    with out.open("wb") as joined:
        for shard in shards:
            with (shard / "words.u32").open("rb") as words:
                while block := words.read(2**24):
                    joined.write(block)
