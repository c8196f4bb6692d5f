"""Which checkpoints of a run are whole: a mark is written last, and a checkpoint without one that agrees with the disk is never resumed from.

transformers writes a checkpoint file by file into the folder that it is resumed from. A process killed in between leaves one that may load and
be wrong (an adapter without its optimiser state), or one that does not load at all.
"""

import json
import os
import re
from pathlib import Path

from data_prep.files import json_text, save

MARK = "whole.json"  # in each checkpoint: its files and their sizes in bytes
FOLDER = re.compile(r"checkpoint-(\d+)")


def _files(checkpoint: Path) -> dict[str, int]:
    return {str(path.relative_to(checkpoint)): path.stat().st_size for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != MARK}


def mark(checkpoint: Path) -> None:
    """Declare a checkpoint whole, once every process has written its part: all its files on the disk first, then the mark."""
    files = _files(checkpoint)
    for name in files:
        with (checkpoint / name).open("rb") as file:
            os.fsync(file.fileno())
    save(checkpoint / MARK, json_text(files).encode())


def fault(checkpoint: Path) -> str | None:
    """What is missing from a checkpoint, in words; None when it is whole."""
    try:
        marked = json.loads((checkpoint / MARK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "was not finished"
    except ValueError:
        return f"has a {MARK} that is cut short"
    found = _files(checkpoint)
    wrong = [name for name, size in marked.items() if found.get(name) != size]
    return f"lacks {', '.join(wrong)} as written" if wrong else None


def step(checkpoint: Path) -> int:
    """The step after which a checkpoint was written, from its name."""
    return int(FOLDER.fullmatch(checkpoint.name)[1])


def all_of(run: Path) -> list[Path]:
    """The checkpoints of a run, whole or not, oldest first."""
    return sorted((path for path in run.glob("checkpoint-*") if FOLDER.fullmatch(path.name)), key=step)


def last_whole(run: Path) -> Path | None:
    """The newest checkpoint that may be resumed from; None when there is none."""
    return next((path for path in reversed(all_of(run)) if fault(path) is None), None)
