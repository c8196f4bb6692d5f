"""Read the queues that translate.py writes for people: NAME.review.jsonl, each row with English, Arabic, scores, flags and the record that it would become."""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from data_prep import files
from data_prep.records import BadInput, Reject
from data_prep.review_fold import record_of
from data_prep.review_ledger import Row, key_of
from data_prep.texts import by_name, drawn, nested

KEYS = ("id", "source", "kind", "split", "why", "score", "rules", "feedback", "en", "ar", "record", "made")


def found(build: Path, needed: bool = True) -> list[Path]:
    """All queues of BUILD/generated. BadInput where there is none and one is `needed`: people may still work on what was pushed before."""
    paths = sorted((build / "generated").glob("*.review.jsonl"))
    if needed and not paths:
        raise BadInput(f"{build / 'generated'} holds no .review.jsonl file: run make translate first, or name a queue with --queue (make review IN=..)")
    return paths


def name_of(path: Path, build: Path) -> str:
    """How the ledger calls a queue: its path below BUILD, else the whole path."""
    path, build = path.resolve(), build.resolve()
    return str(path.relative_to(build)) if path.is_relative_to(build) else str(path)


def _share(path: Path) -> float:
    """The share of good rows that translate.py sent to people, as its manifest beside the queue says; 1 where there is none: a row then stands for itself."""
    beside = path.with_name(f"{path.name.removesuffix('.review.jsonl')}.manifest.json")
    try:
        return float(json.loads(beside.read_text(encoding="utf-8"))["settings"]["review_share"]) or 1.0
    except FileNotFoundError:
        return 1.0
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{beside}: not the manifest of a translation ({type(error).__name__}: {error}); restore it, or take it away") from error


def _kept(row: dict) -> dict:
    """A row as the ledger keeps it: without the earlier rounds, half of its size, which nobody is shown."""
    return {name: value for name, value in row.items() if name != "rounds"}


def read(path: Path, build: Path, shared: float, seed: int) -> Iterator[Row]:
    """The rows of a queue. `shared` of them, drawn by seed and id, have two readers. BadInput names file, line and fix of the first row that is none."""
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file; name a .review.jsonl file that make translate wrote")
    share, keys, queue = _share(path), {}, name_of(path, build)
    for line, row in files.read_jsonl(path):
        if isinstance(row, Reject):
            raise BadInput(str(row))
        where = f"{path}, row {line}"
        if missing := [key for key in KEYS if key not in row]:
            raise BadInput(f"{where}: it has no {missing[0]!r}; a queue is what data_prep.translate writes as .review.jsonl")
        try:
            key = key_of(row)
            made = Row(key, row["id"], queue, 2 if drawn(seed, key) < shared else 1, 1 / share if row["why"] == "sampled" else 1.0, True, _kept(row))
            same = nested(record_of(made)) == row["ar"] and list(by_name(row["en"])) == list(by_name(row["ar"])) and row["id"] == row["record"]["id"]
            scores = (row["score"], row["rules"]["score"], *(flag["severity"] for flag in row["rules"]["flags"]))
        except (ValidationError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadInput(f"{where}: not a row for review ({type(error).__name__}: {str(error)[:200]}); write the queue again with make translate") from error
        if not same or not all(isinstance(score, int | float) for score in scores[:2]):
            raise BadInput(f"{where}: en, ar and record are not one row, or a score is no number; write the queue again with make translate")
        if row["id"] in keys:
            raise BadInput(f"{where}: the id {row['id']!r} stands already in row {keys[row['id']]}; remove one of them")
        keys[row["id"]] = line
        yield made
