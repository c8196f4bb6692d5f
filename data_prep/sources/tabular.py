"""Open a user's table as rows: CSV, TSV, XLSX, JSON, JSONL or parquet, told by the suffix of its name. Nothing is sniffed.

A row is numbered as a spreadsheet numbers it: the header is row 1 and the first row of data row 2, and a quoted cell with line breaks is
part of one row. JSON and parquet have no header: their rows are counted from 1, those of JSONL by lines.
"""

import codecs
import csv
import itertools
import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from data_prep.files import read_jsonl, read_rows
from data_prep.records import BadInput, Reject
from data_prep.sources.spreadsheet import Unread, read_sheet

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": None}
SHEETS = {".xlsx", ".xlsm"}
OBJECTS = {".json", ".jsonl", ".parquet"}
LONGEST = 2**26  # characters of one CSV row: a quote that is open for longer was never closed
csv.field_size_limit(LONGEST)  # the module's own limit, 131,072 characters, is shorter than some articles
UNDECODED = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of bytes that are not in the encoding
Column = Annotated[str, Field(min_length=1)] | Annotated[int, Field(gt=0)]  # a header's name, or the number of a column from 1


class Layout(BaseModel):
    """The recipe's keys that say how a file is laid out. `header` is the number of the row that names the columns, or false for none."""

    model_config = ConfigDict(extra="forbid", strict=True)
    header: bool | Annotated[int, Field(gt=0)] = True
    sheet: str | None = None  # XLSX
    encoding: str | None = None  # CSV; UTF-8 where none is named
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)  # CSV; else by suffix
    quotes: bool = True  # CSV; false where a quotation mark is a character like any other


@dataclass
class Table:
    """`keys` names each column (its number where it has no name of its own), or is None where each row names its own, as JSON does."""

    path: Path
    file: str  # as rejects name it
    header: list[str]  # the names as they stand
    keys: list[str | int] | None
    rows: Iterator[tuple[int, dict | Reject]]
    ragged: bool = False  # rows may be wider than the header

    def key(self, column: str | int, of: str) -> str | int:
        """The key of a column in the rows; BadInput says which columns there are. `of` is the recipe's key that names the column."""
        if self.keys is None and isinstance(column, int):
            raise BadInput(f"recipe, {self.path.name}: {of} is column {column}, but in this file columns have names only: write the name, in quotes")
        if self.keys is None:
            return column
        if isinstance(column, int):
            if column > len(self.keys) and not self.ragged:
                raise BadInput(f"recipe, {self.path.name}: {of} is column {column}, but {self._columns()}")
            return self.keys[column - 1] if column <= len(self.keys) else column
        places = [number for number, name in enumerate(self.header, start=1) if name == plain_name(column)]
        if len(places) > 1:
            numbers = " and ".join(str(number) for number in places)
            raise BadInput(f"recipe, {self.path.name}: {of} is {column!r}, but columns {numbers} both have that name: write the number of the right one")
        if not places:
            raise BadInput(f"recipe, {self.path.name}: {of} is {column!r}, but {self._columns()}; correct the recipe, or `header`, `delimiter` or `encoding`")
        return self.keys[places[0] - 1]

    def _columns(self) -> str:
        names = ", ".join(f"{number} {name!r}" if name else f"{number} without a name" for number, name in enumerate(self.header[:40], start=1))
        return f"the file has the columns {names or 'none'}"[:2000]


def open_table(path: Path, layout: Layout) -> Table:
    """The table in a file. Raises BadInput where the file cannot be read as a whole, or a key of the layout does not belong to its form."""
    suffix = path.suffix.lower()
    forms = {"sheet": SHEETS, "encoding": set(DELIMITERS), "delimiter": set(DELIMITERS), "quotes": set(DELIMITERS), "header": SHEETS | set(DELIMITERS)}
    if suffix not in SHEETS | OBJECTS | set(DELIMITERS):
        known = ", ".join(sorted(SHEETS | OBJECTS | set(DELIMITERS)))
        raise BadInput(f"{path}: no table is read from a file that ends in {suffix or 'nothing'!r}; save it as one of {known}")
    for key in layout.model_fields_set & set(forms):
        if suffix not in forms[key] and getattr(layout, key) is not None:
            raise BadInput(f"recipe, {path.name}: the key `{key}` belongs to {', '.join(sorted(forms[key]))}; take it out of the recipe")
    if suffix in OBJECTS:
        return Table(path, path.name, [], None, _objects(path))
    ragged = suffix in SHEETS
    file = f"{path.name}!{layout.sheet}" if layout.sheet else path.name
    rows = read_sheet(path, layout.sheet) if ragged else _csv(path, suffix, layout)
    header, rows = _header(path, layout, rows)
    keys = [name if name and header.count(name) == 1 else number for number, name in enumerate(header, start=1)]
    return Table(path, file, header, keys, _filled(file, keys, rows, ragged), ragged)


def blank(value: object) -> bool:
    """Nothing to see: no value, NaN (a missing number), an empty list or object, or white space and invisible marks only."""
    if isinstance(value, str):
        return all(character.isspace() or unicodedata.category(character) in ("Cc", "Cf") for character in value)
    return value is None or value != value or value == [] or value == {}


def plain_name(name: object) -> str:
    """A column's name for comparison: invisible marks and white space around and between words do not count."""
    visible = "".join(character for character in str(name) if unicodedata.category(character) != "Cf")
    return " ".join(visible.split())


def _header(path: Path, layout: Layout, rows: Iterator[tuple[int, list | Reject]]) -> tuple[list[str], Iterator[tuple[int, list | Reject]]]:
    """The names of the columns, empty strings where they have none, and the rows below."""
    if layout.header is False:
        above = []  # the first row that can be read says how many columns there are
        for row in rows:
            above.append(row)
            if not isinstance(row[1], Reject):
                return [""] * len(row[1]), itertools.chain(above, rows)
        return [], iter(above)
    wanted = int(layout.header)
    for number, cells in rows:
        if number == wanted and isinstance(cells, Reject):
            raise BadInput(f"{path}: row {number} should name the columns: {cells.message}")
        if number == wanted:
            return ["" if blank(cell) else plain_name(cell.shown if isinstance(cell, Unread) else cell) for cell in cells], rows
    raise BadInput(f"{path}: has no row {wanted} that could name the columns; is it the right file, or does `header` in the recipe name another row?")


def _filled(file: str, keys: list, rows: Iterable[tuple[int, list | Reject]], ragged: bool) -> Iterator[tuple[int, dict | Reject]]:
    """Cells become dictionaries. Empty rows are rejects, but for those below the last filled one, of which a spreadsheet may hold a million."""
    empty = None  # the first of a run of empty rows
    for number, cells in rows:
        if not isinstance(cells, Reject) and all(blank(cell) for cell in cells):
            empty = empty or number
            continue
        for passed in range(empty, number) if empty else ():
            yield passed, Reject(reason="empty_row", file=file, row=passed, message="no cell is filled; remove the row")
        empty = None
        if isinstance(cells, Reject):
            yield number, cells
            continue
        extra = cells[len(keys) :]
        if not ragged and (len(cells) < len(keys) or not all(blank(cell) for cell in extra)):
            message = f"{len(cells)} cells, but the table has {len(keys)} columns; a cell that holds the delimiter or a line break needs quotes around it"
            yield number, Reject(reason="wrong_number_of_cells", file=file, row=number, message=message, content=cells)
            continue
        numbered = range(len(keys) + 1, len(cells) + 1) if ragged else ()
        yield number, dict(zip(itertools.chain(keys, numbered), cells, strict=False))


def _objects(path: Path) -> Iterator[tuple[int, dict | Reject]]:
    for number, row in read_jsonl(path) if path.suffix.lower() == ".jsonl" else read_rows(path):
        if not isinstance(row, Reject) and all(blank(value) for value in row.values()):
            row = Reject(reason="empty_row", file=path.name, row=number, message="no value is filled; remove the row")
        yield number, row


class _Lines:
    """The lines of a text, one at a time, with those that the row at hand has used: after a fault all but the first are read again."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.source, self.waiting, self.used, self.size = iter(lines), deque(), [], 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self.size > LONGEST:
            raise csv.Error(f"the row does not end within {LONGEST:,} characters")
        line = self.waiting.popleft() if self.waiting else next(self.source)
        self.used.append(line)
        self.size += len(line)
        return line

    def start(self, again: bool = False) -> None:
        """Begin a row; `again` gives back what the faulty row before has used beyond its first line."""
        if again:
            self.waiting.extendleft(reversed(self.used[1:]))
        self.used, self.size = [], 0


def _csv(path: Path, suffix: str, layout: Layout) -> Iterator[tuple[int, list | Reject]]:
    delimiter = layout.delimiter or DELIMITERS[suffix]
    if delimiter is None:
        raise BadInput(f"recipe, {path.name}: a {suffix} file says nothing of its delimiter; add `delimiter` to the source in the recipe")
    encoding = layout.encoding or "utf-8"
    try:
        encoding = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
        "".encode(encoding)
    except (LookupError, UnicodeError) as error:
        raise BadInput(f"recipe, {path.name}: encoding is {encoding!r}, which is none; write utf-8, utf-16, cp1256 (Arabic Windows) or the like") from error
    with path.open("rb") as start:
        if layout.encoding is None and start.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise BadInput(f"{path}: begins with the mark of UTF-16; add `encoding: utf-16` to the source in the recipe, or save the file as UTF-8")
    dialect = dict(delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if layout.quotes else csv.QUOTE_NONE, strict=True)
    try:
        with path.open(encoding=encoding, errors="surrogateescape", newline="") as text:
            lines = _Lines(text)
            reader = csv.reader(lines, **dialect)
            for number in itertools.count(1):
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    message = (
                        f"not a row of CSV ({error}); close the quote, double those inside it, or write `quotes: false` in the recipe if they quote nothing"
                    )
                    content = lines.used[0].rstrip("\r\n").encode(errors="surrogateescape").decode(errors="backslashreplace")
                    cells = Reject(reason="malformed_csv", file=path.name, row=number, message=message, content=content)
                    lines.start(again=True)
                    reader = csv.reader(lines, **dialect)
                if cells is None:
                    return
                if not isinstance(cells, Reject) and any(UNDECODED.search(line) for line in lines.used if not line.isascii()):
                    message = (
                        f"holds bytes that are not {encoding.upper()}; save the file in it, or name the file's encoding in the recipe (`encoding: cp1256`)"
                    )
                    content = [cell.encode(errors="surrogateescape").decode(errors="backslashreplace") for cell in cells]
                    cells = Reject(reason="wrong_encoding", file=path.name, row=number, message=message, content=content)
                lines.start()
                yield number, cells
    except UnicodeError as error:
        raise BadInput(f"{path}: not text in {encoding} ({error}); name the right `encoding` in the recipe") from error
