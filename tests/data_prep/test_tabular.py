"""Tables as files: what a CSV or a workbook hides, and faults that cost one row and not the file."""

import datetime
import re
import zipfile
from pathlib import Path

import openpyxl
import pytest

from data_prep.records import BadInput
from tests.data_prep.test_table import ARABIC, ENGLISH, GOOD, HEADER, OURS, read


def csv_file(path: Path, data: bytes) -> Path:
    path.write_bytes(b"q,A,B,C,right\n" + data)
    return path


def test_faults_of_csv_cost_one_row(tmp_path: Path) -> None:
    """A quote that is never closed must not swallow the rows below it."""
    good = ",".join(GOOD).encode()
    for fault, reason in (
        (b'Why?,"x,y,z,A', "malformed_csv"),
        (b'"Why" not?,x,y,z,A', "malformed_csv"),
        (b"Why?,x,y,z", "wrong_number_of_cells"),
        (b"Why?,x,y,z,A,B", "wrong_number_of_cells"),
        (b"Wh\xe9?,x,y,z,A", "wrong_encoding"),
    ):
        records, rejects = read(csv_file(tmp_path / "ours.csv", b"%s\n%s\n%s\n" % (fault, good, b'"Where?",x,y,"z",A')), **ENGLISH)
        assert ([record.row for record in records], rejects) == ([3, 4], [(2, reason)])
    records, rejects = read(csv_file(tmp_path / "ours.csv", b'A 5" tube?,x,"""y""","z\rz",A,,\r\n"Q","' + b"x" * 200_000 + b'",y,z,A\r'), **ENGLISH)
    assert rejects == [] and records[0].question == 'A 5" tube?' and records[0].options == ["x", '"y"', "z\rz"] and len(records[1].options[0]) == 200_000
    assert read(csv_file(tmp_path / "ours.csv", b'"Why" not?,x,y,z,A'), **ENGLISH, quotes=False)[0][0].question == '"Why" not?'


def test_other_encodings_are_said(tmp_path: Path) -> None:
    """Arabic Windows files and UTF-16 are read when the recipe says so, and the message says what to write when it does not."""
    text = ARABIC.read_bytes().decode("utf-8-sig")
    expected = [record.question for record in read(ARABIC, **OURS)[0]]
    for encoding, words in (("utf-16", "encoding: utf-16"), ("cp1256", "encoding: cp1256")):
        path = tmp_path / f"{encoding}.csv"
        path.write_bytes(text.replace("Ｄ", "D").encode(encoding))
        assert [record.question for record in read(path, **OURS, encoding=encoding)[0]] == expected
        with pytest.raises(BadInput, match=words):
            read(path, **OURS)
    with pytest.raises(BadInput, match="not text in utf-16"):
        read(ARABIC, **OURS, encoding="utf-16")


def test_cells_of_a_workbook(tmp_path: Path) -> None:
    """Numbers are read as they are shown; formulas by the value stored with them; what has no text of its own is refused."""
    book = openpyxl.Workbook()
    sheet = book.active
    cells = ["x", 2.0, "=1+1", "=1/0", "#N/A", datetime.date(2024, 5, 1), True, 0.05, "a\rb"]
    for row in [HEADER, *[["Why?", cell, "y", number, "A"] for number, cell in enumerate(cells)], [], GOOD]:
        sheet.append(row)
    sheet["B9"].number_format = "0%"
    sheet["A1000"].number_format = "0.00"  # a row that is formatted and empty
    book.save(tmp_path / "made.xlsx")
    records, rejects = read(tmp_path / "made.xlsx", **ENGLISH)
    assert [(record.row, record.options[0]) for record in records] == [(2, "x"), (3, "2"), (10, "a\rb"), (12, "Heart")]
    assert rejects == [
        (4, "unread_option"),
        (5, "unread_option"),
        (6, "unread_option"),
        (7, "invalid_option"),
        (8, "invalid_option"),
        (9, "unread_option"),
        (11, "empty_row"),
    ]
    with zipfile.ZipFile(tmp_path / "made.xlsx") as made, zipfile.ZipFile(tmp_path / "stored.xlsx", "w") as stored:
        for name in made.namelist():
            data = made.read(name)
            if name.endswith("sheet1.xml"):  # as a spreadsheet program saves it, with the values, and a size that is wrong
                data = data.replace(b"<f>1+1</f><v />", b"<f>1+1</f><v>2</v>").replace(b"<f>1+1</f><v></v>", b"<f>1+1</f><v>2</v>")
                data = re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1"', data)
            stored.writestr(name, data)
    records, _ = read(tmp_path / "stored.xlsx", **ENGLISH)
    assert (4, "2") in [(record.row, record.options[0]) for record in records] and len(records) == 5


def test_sheets_of_a_workbook(tmp_path: Path) -> None:
    """Which of several sheets is said, not guessed; both can be read without a clash of ids."""
    book = openpyxl.Workbook()
    for sheet, question in ((book.active, "One?"), (book.create_sheet("أسئلة"), "Two?")):
        sheet.append(HEADER)
        sheet.append([question, *GOOD[1:]])
    book.save(tmp_path / "ours.xlsx")
    with pytest.raises(BadInput, match="the workbook has the sheets Sheet, أسئلة: say which with `sheet`"):
        read(tmp_path / "ours.xlsx", **ENGLISH)
    with pytest.raises(BadInput, match="sheet is 'Sheet1', but the workbook has Sheet, أسئلة"):
        read(tmp_path / "ours.xlsx", **ENGLISH, sheet="Sheet1")
    ids = [read(tmp_path / "ours.xlsx", **ENGLISH, sheet=sheet)[0][0].id for sheet in ("Sheet", "أسئلة")]
    assert ids == ["ours:train:ours!Sheet-000002:en", "ours:train:ours!أسئلة-000002:en"]


@pytest.mark.parametrize(
    ("name", "data"), [("ours.xlsx", b"PK\x03\x04 cut"), ("ours.xlsx", b""), ("ours.xls", b"x"), ("ours.parquet", b"PAR1"), ("ours.json", b'[{"q": ')]
)
def test_what_is_no_table_at_all(tmp_path: Path, name: str, data: bytes) -> None:
    """The file as a whole is named, with what to do."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=name):
        read(tmp_path / name, **ENGLISH)
