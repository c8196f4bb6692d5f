"""The values that the paper printed, read from eval/published.yaml with their averages recomputed.

python -m eval.published        # the tables as Markdown, the recomputed average beside the printed one
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from data_prep.records import BadInput
from eval.tasks.bimedix.write import BENCHMARKS

FILE = Path(__file__).parent / "published.yaml"
TABLES = {"bi": "Bilingual", "en": "English", "ar": "Arabic"}
KEYS = {"table", "model", "source", "cells", "average", "average_note", "note"}
TOLERANCE = 0.05 + 1e-9  # cells and averages are printed with one decimal


@dataclass(frozen=True)
class Published:
    """One printed row: accuracies in percent by question set, the average as printed, and what is to be said about it."""

    table: str
    model: str
    source: str
    cells: dict[str, float]
    average: float
    average_note: str = ""
    note: str = ""

    @property
    def recomputed(self) -> float:
        """Plain mean of the nine cells, as the other averages are made."""
        return sum(self.cells.values()) / len(self.cells)

    @property
    def wrong(self) -> bool:
        """Whether the printed average is not that of its cells."""
        return abs(self.recomputed - self.average) > TOLERANCE


def read(path: Path = FILE) -> list[Published]:
    """The rows of a file in its order; BadInput that names file and row."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if content.get("sets") != BENCHMARKS:
        raise BadInput(f"{path}: sets: the nine sets in the order of eval/tasks/bimedix/write.py are needed")
    found = []
    for place, fields in enumerate(content["rows"], start=1):
        where = f"{path}: row {place} ({fields.get('table')}, {fields.get('model')})"
        if others := set(fields) - KEYS:
            raise BadInput(f"{where}: unknown key {', '.join(sorted(others))}; known are {', '.join(sorted(KEYS))}")
        cells = fields.get("cells") or []
        if fields.get("table") not in TABLES or len(cells) != len(BENCHMARKS) or not all(0 <= cell <= 100 for cell in cells):
            raise BadInput(f"{where}: a table of {', '.join(TABLES)} and {len(BENCHMARKS)} cells in percent are needed")
        row = Published(**fields | {"cells": dict(zip(BENCHMARKS, cells, strict=True))})
        if row.wrong != bool(row.average_note):
            raise BadInput(f"{where}: the cells average {row.recomputed:.2f}, {row.average} is printed: average_note must say so, if and only if they differ")
        found.append(row)
    if len({(row.table, row.model) for row in found}) < len(found):
        raise BadInput(f"{path}: a model stands twice in one table")
    return found


@cache
def rows(table: str) -> dict[str, Published]:
    """The rows of one table (bi, en, ar) by the name that the paper gives the model."""
    return {row.model: row for row in read() if row.table == table}


def main() -> None:
    for table, title in TABLES.items():
        print(f"## {title}\n\n| model | {' | '.join(BENCHMARKS)} | AVG printed | recomputed |\n|{'---|' * (len(BENCHMARKS) + 3)}")
        for row in rows(table).values():
            marked = f"**{row.recomputed:.1f}: the printed one is wrong**" if row.wrong else f"{row.recomputed:.1f}"
            print(f"| {row.model} | {' | '.join(f'{cell:.1f}' for cell in row.cells.values())} | {row.average:.1f} | {marked} |")
        print("".join(f"\n{row.model}: {row.note}\n" for row in rows(table).values() if row.note))


if __name__ == "__main__":
    main()
