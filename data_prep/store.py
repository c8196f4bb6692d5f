"""A SQLite file that one process at a time holds: the frame of the journal of paid answers and of the ledger of human review."""

import contextlib
import fcntl
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Self

from data_prep.records import BadInput


class Store:
    """One file, one process at a time; without a path one in memory. Raises BadInput where it is in use, is another file, or cannot be written.

    A class of it names itself and says what a person can do about each of these.
    """

    what: ClassVar[str]
    schema: ClassVar[str]  # SQL that makes the tables
    version: ClassVar[int]
    synchronous: ClassVar[str]  # SQLite's: NORMAL may lose the last few seconds in a power cut, FULL nothing
    in_use: ClassVar[str]
    elsewhere: ClassVar[str]
    other_version: ClassVar[str]
    broken: ClassVar[str]

    def __init__(self, path: Path | None) -> None:
        self.path, self._lock = path, None
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._lock = path.with_name(f"{path.name}.lock").open("w")
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(f"{path}: {self.in_use}") from error
        except OSError as error:
            raise BadInput(f"{path}: cannot be written ({error.strerror}); {self.elsewhere}") from error
        with self._faults():
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={self.synchronous}")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found == 0 and not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                self._db.executescript(f"BEGIN; {self.schema} PRAGMA user_version={self.version}; COMMIT;")
            elif found != self.version:
                raise BadInput(f"{path}: not a {self.what} of this version ({found} where {self.version} is needed); {self.other_version}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        if self._lock is not None:
            self._lock.close()

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """What SQLite cannot do, as a BadInput."""
        try:
            yield
        except sqlite3.Error as error:
            raise BadInput(f"{self.path}: the {self.what} cannot be used ({error}); {self.broken}") from error

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """All of the block or nothing of it."""
        with self._faults():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has ended it already
                    self._db.execute("ROLLBACK")
                raise
