"""Reading rows with their numbers, and writing folders that only appear when they are whole."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

import pyarrow
import pyarrow.parquet

from data_prep.records import BadInput, Reject

FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict:
    """An object as JSON has it; ValueError where a key stands twice: of two answers Python would take the last and say nothing."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return found


def parse(text: str) -> object:
    """The JSON value of a text; ValueError where it is none, RecursionError where it nests without end."""
    return json.loads(text, object_pairs_hook=_no_key_twice)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict | Reject]]:
    """Yield (line number from 1, object) for each line; a line that is no UTF-8 JSON object comes as a Reject. Empty lines are passed over."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                content = parse(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                if not isinstance(content, dict):
                    raise ValueError(f"a JSON {type(content).__name__} where an object is needed")
                yield number, content
            except (ValueError, RecursionError) as error:  # the first is also UnicodeDecodeError and JSONDecodeError, the second nesting without end
                message = f"not a JSON object ({error}); each line holds one object in UTF-8: correct or remove the line"
                text = line.decode("utf-8", "backslashreplace").rstrip("\n")
                yield number, Reject(reason="malformed_json", file=path.name, row=number, message=message, content=text)


def first_character(path: Path) -> bytes:
    """The first byte of a text file that is neither white space nor a byte-order mark: it tells a JSON list from an object or lines."""
    with path.open("rb") as text:
        return text.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def read_rows(path: Path) -> Iterator[tuple[int, dict | Reject]]:
    """Yield (row number from 1, object) of a .jsonl, .json or .parquet file; what is no object comes as a Reject.

    Owners call two forms .json: a file whose first character is `[` is a list, any other holds one object a line. Parquet is read in batches.
    Raises BadInput when the file as a whole cannot be read.
    """
    if path.suffix == ".parquet":
        yield from _read_parquet(path)
        return
    if path.suffix == ".jsonl" or first_character(path) != b"[":
        yield from read_jsonl(path)
        return
    for row, content in enumerate(read_json(path), start=1):
        if not isinstance(content, dict):
            message = f"a JSON {type(content).__name__} where an object is needed; correct or remove it"
            content = Reject(reason="invalid_record", file=path.name, row=row, message=message, content=content)
        yield row, content


def _read_parquet(path: Path) -> Iterator[tuple[int, dict]]:
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            row = 0
            for batch in table.iter_batches(batch_size=1000):
                for content in batch.to_pylist():
                    row += 1
                    yield row, content
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not a whole parquet file ({error}); fetch the file again, it may be cut short") from error


def read_json(path: Path) -> object:
    """The one JSON value that a file holds; BadInput with the place of the fault where it holds none."""
    try:
        return parse(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON ({error}); fetch the file again, it may be cut short") from error


def open_lines(path: Path) -> TextIO:
    """A JSONL file to write into, with its folder.

    Half a surrogate pair, which a reject may quote, has no UTF-8 form: it alone stands as the escape, which JSON readers understand.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w", encoding="utf-8", errors="backslashreplace")


def line(row: dict) -> str:
    """One row as a line of a JSONL file, with real characters rather than \\u escapes."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def write_jsonl(path: Path, rows: Iterable[dict]) -> int:
    """Write a JSONL file; returns how many rows."""
    count = 0
    with open_lines(path) as out:
        for count, row in enumerate(rows, start=1):  # noqa: B007 (the count is what is returned)
            out.write(line(row))
    return count


def json_text(value: object) -> str:
    """One JSON value, indented, with real characters."""
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def write_json(path: Path, value: object) -> None:
    """Write one indented JSON value."""
    path.write_text(json_text(value), encoding="utf-8")


def save(path: Path, content: bytes) -> None:
    """Write a file aside and rename it when it is whole; a full disk is a BadInput and leaves the old file."""
    aside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(aside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise BadInput(f"{path}: cannot be written ({error.strerror}); make room, or free the place") from error


@contextlib.contextmanager
def aside(out: Path) -> Iterator[Path]:
    """A folder beside the file `out` for what is being written; it goes in the end, whatever happens. A full disk becomes a BadInput."""
    folder = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.part-", dir=out.parent))
        yield folder
    except OSError as error:
        if folder is None or error.errno in FULL_DISK or error.errno in (errno.EACCES, errno.EISDIR):
            raise BadInput(f"{out}: cannot be written ({error.strerror}): nothing was changed; make room or name another file with --out") from error
        raise
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def put(written: Path, path: Path) -> None:
    """Let a file that was written aside take the place of `path`."""
    with written.open("rb") as content:
        os.fsync(content.fileno())  # a rename must not overtake the data
    written.replace(path)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def git_commit() -> str | None:
    """The commit of this checkout, with `-dirty` where tracked files differ from it; None outside a checkout."""
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.strip() or None


@contextlib.contextmanager
def written_aside(folder: Path, within: Path | None = None, named: Path | None = None) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` only when the block ends well; on any error it is removed.

    It stands beside `folder`, or in `within` on the same disk, where the caller finds what a killed process left. A full disk becomes a BadInput
    that names `named`, else `folder`, and says how much room is left; `folder` stays as it was.
    """
    aside, within, named = None, within or folder.parent, named or folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.part-", dir=within))
        aside.chmod(0o755)  # mkdtemp makes it 0700
        yield aside
        for path in aside.rglob("*"):
            if path.is_file():
                with path.open("rb") as written:
                    os.fsync(written.fileno())  # a rename must not overtake the data
        previous = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old-", dir=within))
        if folder.exists():
            folder.rename(previous / "old")
        aside.rename(folder)
        shutil.rmtree(previous)
    except OSError as error:
        if error.errno in FULL_DISK:
            free = shutil.disk_usage(next(parent for parent in folder.parents if parent.exists())).free / 2**20
            raise BadInput(
                f"{named}: no room to write ({error.strerror}; {free:,.0f} MiB free): nothing was changed; make room, or name another folder with BUILD="
            ) from error
        if aside is None:  # it could not even begin: a file stands in the way, or the place is another's
            raise BadInput(f"{named}: cannot be written ({error}); name a folder that you may write to with BUILD=") from error
        raise
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
