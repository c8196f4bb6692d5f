"""The journal of the language-model steps: every answer that was paid for and what became of every row, in one SQLite file.

An answer is found by the hash of its request, so a request that was answered is never sent again, whatever the output is called and however often
a run is killed. A row's outcome is found by the hash of the row and of all that decides it, so a finished row is not worked on again. Each write is
a transaction of its own: a killed process loses nothing that was written; a power cut may lose the last few seconds (WAL, synchronous=NORMAL).
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from data_prep.store import Store

FAILED = "failed"  # the outcome of rows that got no answer of use
_SCHEMA = """
CREATE TABLE answers (key BLOB PRIMARY KEY, content TEXT, finish TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL);
CREATE TABLE outcomes (key BLOB PRIMARY KEY, name TEXT NOT NULL, row TEXT NOT NULL);
CREATE TABLE batched (key BLOB PRIMARY KEY, characters INTEGER NOT NULL);
CREATE TABLE totals (requests INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER, prompt_characters INTEGER, completion_characters INTEGER, usd REAL);
INSERT INTO totals VALUES (0, 0, 0, 0, 0, 0.0);
"""


class Answer(NamedTuple):
    """What a model answered: `content` (None where it refused without a word), why it ended (`finish`: stop, length, refusal, ..), tokens.

    A `finish` that starts with http_ is the endpoint's refusal of a request of a batch, and `content` its message.
    """

    content: str | None
    finish: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Outcome(NamedTuple):
    """What became of a row: the outcome's name, and the row that is written to its file."""

    name: str
    row: dict


class Totals(NamedTuple):
    """All that a journal has seen: answered requests, tokens, characters, money."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    prompt_characters: int
    completion_characters: int
    usd: float


def canonical(value: object) -> bytes:
    """JSON in one form only: sorted keys, no spaces, real characters."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def key_of(value: object) -> bytes:
    """The 16-byte key of a request or row."""
    return hashlib.sha256(canonical(value)).digest()[:16]


class Journal(Store):
    """One file, one process at a time; without a path one in memory. Raises BadInput where it is in use, is no journal, or cannot be written."""

    what, schema, version, synchronous = "journal", _SCHEMA, 1, "NORMAL"
    in_use = "another run is using this journal; wait for its end, or name another with --journal"
    elsewhere = "name another place with --journal"
    other_version = "name another with --journal"
    broken = "make room, or name another with --journal"

    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        with self._faults():
            self.totals = Totals(*self._db.execute("SELECT * FROM totals").fetchone())

    def answer(self, key: bytes) -> Answer | None:
        """The answer to a request, where there is one."""
        with self._faults():
            row = self._db.execute("SELECT content, finish, prompt_tokens, completion_tokens FROM answers WHERE key = ?", (key,)).fetchone()
        return Answer(*row) if row else None

    def keep(self, key: bytes, answer: Answer, characters: int = 0, usd: float = 0.0) -> None:
        """Write down an answer and what it cost; `characters` are those of the request. An earlier answer to the same request gives way."""
        more = Totals(1, answer.prompt_tokens, answer.completion_tokens, characters, len(answer.content or ""), usd)
        totals = Totals(*(old + new for old, new in zip(self.totals, more, strict=True)))
        with self._whole():
            self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", (key, *answer))
            self._db.execute("DELETE FROM batched WHERE key = ?", (key,))
            self._db.execute(f"UPDATE totals SET {', '.join(f'{name} = ?' for name in Totals._fields)}", totals)
        self.totals = totals

    def outcome(self, key: bytes) -> Outcome | None:
        """What became of a row, where it is known."""
        with self._faults():
            found = self._db.execute("SELECT name, row FROM outcomes WHERE key = ?", (key,)).fetchone()
        return Outcome(found[0], json.loads(found[1])) if found else None

    def name_of(self, key: bytes) -> str | None:
        """The outcome's name alone."""
        with self._faults():
            found = self._db.execute("SELECT name FROM outcomes WHERE key = ?", (key,)).fetchone()
        return found[0] if found else None

    def settle(self, key: bytes, outcome: Outcome) -> None:
        """Write down what became of a row."""
        with self._faults():
            self._db.execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?)", (key, outcome.name, json.dumps(outcome.row, ensure_ascii=False)))

    def batch(self, requests: Iterable[tuple[bytes, int]]) -> None:
        """Remember that these requests, key and characters, stand in batch files."""
        with self._whole():
            self._db.executemany("INSERT OR IGNORE INTO batched VALUES (?, ?)", requests)

    def batched(self, key: bytes) -> int | None:
        """The characters of a request that stands in a batch file and has no answer yet; None where it does not."""
        with self._faults():
            found = self._db.execute("SELECT characters FROM batched WHERE key = ?", (key,)).fetchone()
        return found and found[0]

    def unbatch(self, key: bytes) -> None:
        """A request came back from a batch without an answer: the next batch holds it again."""
        with self._faults():
            self._db.execute("DELETE FROM batched WHERE key = ?", (key,))
