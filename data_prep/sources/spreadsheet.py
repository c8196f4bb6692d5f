"""One sheet of an .xlsx workbook as rows of cells: values where there are formulas, and never the whole workbook in memory."""

import itertools
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openpyxl
from openpyxl.utils.escape import unescape
from openpyxl.utils.exceptions import InvalidFileException

from data_prep.records import BadInput

# what openpyxl lets through of a workbook that is damaged, protected by a password or none at all
NO_WORKBOOK = (zipfile.BadZipFile, zlib.error, InvalidFileException, SyntaxError, LookupError, ValueError, TypeError, AttributeError, RuntimeError)
NO_WORKBOOK += (ArithmeticError, EOFError, OSError)


@dataclass(frozen=True)
class Unread:
    """A cell that holds neither text nor a plain number: what the file has, and what to do about it."""

    shown: str
    why: str

    def __str__(self) -> str:
        return self.shown


def read_sheet(path: Path, sheet: str | None) -> Iterator[tuple[int, list]]:
    """Yield (row number, cells): texts, numbers, truth values, dates, None where empty, and `Unread` for what is none of these.

    A formula is read as the value that was stored with it; the stored values are opened when the first formula is met, so a sheet without
    one is read once. `sheet` may be left out where the workbook has one sheet. Raises BadInput for what is no workbook.
    """
    stored: Iterator[tuple] | None = None
    reached = 0
    try:
        for number, cells in enumerate(_worksheet(path, sheet, data_only=False).iter_rows(), start=1):
            if any(cell.data_type == "f" for cell in cells):
                stored = stored or iter(_worksheet(path, sheet, data_only=True).iter_rows())
                values = next(itertools.islice(stored, number - reached - 1, None))
                reached = number
                yield number, [_stored(cell, value) if cell.data_type == "f" else _cell(cell) for cell, value in zip(cells, values, strict=True)]
            else:
                yield number, [_cell(cell) for cell in cells]
    except NO_WORKBOOK as error:
        said = f"{type(error).__name__}: {error}"[:300]
        raise BadInput(f"{path}: not a whole .xlsx workbook without a password ({said}); open it in a spreadsheet program and save it as .xlsx") from error


def _worksheet(path: Path, sheet: str | None, data_only: bool) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl tells which drawings and validations it will not keep
        book = openpyxl.load_workbook(path, read_only=True, data_only=data_only, keep_links=False)
    names = [found.title for found in book.worksheets]
    if sheet is None and len(names) != 1:
        raise BadInput(f"recipe, {path.name}: the workbook has the sheets {', '.join(names) or 'none'}: say which with `sheet`")
    if sheet is not None and sheet not in names:
        raise BadInput(f"recipe, {path.name}: sheet is {sheet!r}, but the workbook has {', '.join(names)}")
    found = book[sheet or names[0]]
    found.reset_dimensions()  # some programs write a size that is too small, and cells beyond it would be lost
    return found


def _stored(formula: object, cell: object) -> object:
    if cell.value is None and cell.data_type != "str":  # `str` with nothing in it is a formula that gave an empty text
        shown = getattr(formula.value, "text", formula.value)
        return Unread(str(shown), "is a formula without a stored value: open the file in a spreadsheet program and save it")
    return "" if cell.value is None else _cell(cell)


def _cell(cell: object) -> object:
    value = cell.value
    if isinstance(value, str):
        if cell.data_type == "e":
            return Unread(value, "shows an error: correct it in the spreadsheet")
        return unescape(value)  # a carriage return stands in the file as _x000D_
    if type(value) in (int, float) and set(cell.number_format) & set("%/"):
        return Unread(str(value), f"is a number shown in the form {cell.number_format}: make the cell's format text, and write what should be read")
    return value
