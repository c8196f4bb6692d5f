"""The ledger of human review: every row that was pushed and every decision that was ever pulled, in BUILD/review/ledger.sqlite.

A row is known by its id and a hash of its English and Arabic, so that a row that was translated anew is another one. A decision is known by where it was
made (review or adjudication, project, creation time and number of the annotation) and by when it was last changed, so that pulling again adds nothing,
and a changed decision stands beside the one before. Each page of decisions is one transaction: a killed process leaves whole pages, and the next pull
reads all of them again. Nothing is ever taken out.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from data_prep.journal import canonical
from data_prep.store import Store

_SCHEMA = """
CREATE TABLE rows (key TEXT NOT NULL, id TEXT NOT NULL, queue TEXT NOT NULL, readers INTEGER NOT NULL, weight REAL NOT NULL, current INTEGER NOT NULL,
    row TEXT NOT NULL, PRIMARY KEY (key, queue));
CREATE TABLE decisions (name TEXT NOT NULL, at TEXT NOT NULL, stage TEXT NOT NULL, key TEXT NOT NULL, annotator INTEGER NOT NULL, said TEXT NOT NULL,
    PRIMARY KEY (name, at));
"""


class Row(NamedTuple):
    """A row that people read: `queue` is its file (below BUILD, else whole), `readers` how many read it, `weight` how many rows of the translated file it
    stands for, `current` whether the queue held it at the last push, `row` what translate.py wrote. A row of two queues is read once and counts in both."""

    key: str
    id: str
    queue: str
    readers: int
    weight: float
    current: bool
    row: dict


class Decision(NamedTuple):
    """What one person decided on one row: `said` has verdict, score, comment and texts (by name) as they were sent; `at` is ISO 8601 in UTC."""

    name: str
    at: str
    stage: str
    key: str
    annotator: int
    said: dict


def key_of(row: dict) -> str:
    """Id and content of a queue's row."""
    return f"{row['id']}#{hashlib.sha256(canonical([row['en'], row['ar']])).hexdigest()[:16]}"


class Ledger(Store):
    """One file, one process at a time. Raises BadInput where it is in use, is no ledger, or cannot be written."""

    what, schema, version, synchronous = "ledger", _SCHEMA, 1, "FULL"
    in_use = "another push or pull is using it; wait for its end"
    elsewhere = "name another folder with --build"
    other_version = "move it away, then push and pull again"
    broken = "make room, or restore it from a copy"

    def push(self, queue: str, rows: Iterable[Row]) -> None:
        """Write down all rows of a queue; its earlier rows that are not among them are no longer current. Readers and weight of a known row stay."""
        with self._whole():
            self._db.execute("UPDATE rows SET current = 0 WHERE queue = ?", (queue,))
            for row in rows:
                self._db.execute("INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?, 1, ?)", (*row[:5], json.dumps(row.row, ensure_ascii=False)))
                self._db.execute("UPDATE rows SET current = 1 WHERE key = ? AND queue = ?", (row.key, queue))

    def keep(self, decisions: Iterable[Decision]) -> int:
        """Write down decisions; returns how many are new."""
        with self._whole():
            before = self._db.total_changes
            for one in decisions:
                self._db.execute("INSERT OR IGNORE INTO decisions VALUES (?, ?, ?, ?, ?, ?)", (*one[:5], json.dumps(one.said, ensure_ascii=False)))
            return self._db.total_changes - before

    def rows(self) -> Iterator[Row]:
        """All rows, in the order in which they came."""
        with self._faults():
            for found in self._db.execute("SELECT key, id, queue, readers, weight, current, row FROM rows ORDER BY rowid"):
                yield Row(*found[:5], bool(found[5]), json.loads(found[6]))

    def last(self) -> dict[str, list[Decision]]:
        """The decisions that count, by row: of each person and stage the last one, in order of time."""
        found: dict[tuple[str, str, int], Decision] = {}
        with self._faults():
            for *columns, said in self._db.execute("SELECT name, at, stage, key, annotator, said FROM decisions ORDER BY at, name"):
                one = Decision(*columns, json.loads(said))
                found[one.key, one.stage, one.annotator] = one
        by_row: dict[str, list[Decision]] = {}
        for one in sorted(found.values(), key=lambda one: (one.at, one.name)):
            by_row.setdefault(one.key, []).append(one)
        return by_row

    def count(self) -> tuple[int, int]:
        """How many rows and decisions there are."""
        with self._faults():
            return tuple(self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("rows", "decisions"))
