"""Bad rows, generated, and the files that hold them: every form in which an owner, or a user, hands rows to a reader.

Each writer gets the rows (a good one first and last) and returns which rows the file then has, as the reader should number them.
"""

import csv
import datetime
import io
import json
import math
import random
import re
import tarfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import openpyxl
import pyarrow
import pyarrow.parquet
from hypothesis import strategies as st

ROWS = 50  # bad rows of one file
HUGE = "س" * 2**20


def nested(levels: int) -> object:
    """A list in a list in a list .."""
    value: object = "x"
    for _ in range(levels):
        value = [value]
    return value


NASTY = [
    "",
    " ",
    "\0",
    "\x1f",
    "\x85",
    "\ufeff",
    "\u200f\u2067",
    "\ud83d",
    "\udcff",
    "a\r\nb\rc",
    '"',
    "'",
    "<a>&",
    "\u2028",
    "NULL",
    "A+B",
    "=1+1",
    "9" * 5000,
]
NASTY += [
    None,
    True,
    False,
    math.nan,
    math.inf,
    -math.inf,
    0,
    -1,
    2.5,
    10**400,
    [],
    {},
    [[]],
    [None],
    {"A": {"A": "A"}},
    nested(80),
    nested(300),
    {"": "", "\ud83d": 1},
]
TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
VALUE = st.recursive(
    st.sampled_from(NASTY) | TEXT | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=3,
)
# lines that are no JSON object: cut, two objects, keys twice, half a character, deeper than any parser goes, numbers longer than Python reads
LINES = [
    b'{"id": "x", "question": "Wh',
    b"{}{}",
    b"[1, 2]",
    b"nul",
    b'"text"',
    b"NaN",
    b'{"a": 1, "a": 2}',
    b'{"question": "\xe9"}',
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
]
LINES += [b"[" * 100_000, b'{"question": ' * 5_000, b'{"id": ' + b"9" * 5000 + b"}", b'{"id": 1e999}', b"{'id': 1}", b"\0", b'{"question": "\x00"}']


@st.composite
def spoilt(draw: st.DrawFn, good: object) -> object:
    """A good value with something in it taken away, added, or put in the place of another."""
    if isinstance(good, dict) and good and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(good)))
        if not draw(st.integers(0, 6)):
            return {other: value for other, value in good.items() if other != key}
        return good | {key: draw(spoilt(good[key]))}
    if isinstance(good, list) and good and draw(st.booleans()):
        place = draw(st.integers(0, len(good) - 1))
        return [*good[:place], draw(spoilt(good[place])), *good[place + 1 :]]
    return draw(VALUE)


@st.composite
def bad_rows(draw: st.DrawFn, good: dict) -> list[object]:
    """One file's rows: a good one first and last, and in a tenth of the files a text of 1 MB in one."""
    rows = [draw(spoilt(draw(spoilt(good)) if draw(st.booleans()) else good)) for _ in range(ROWS)]
    if "id" in good:  # else most of them would be refused for the id alone
        rows = [row | {"id": f"i{place}"} if isinstance(row, dict) and row.get("id") == good["id"] else row for place, row in enumerate(rows)]
    if not draw(st.integers(0, 9)):
        rows[0] = good | {draw(st.sampled_from(sorted(good))): HUGE}
    return [good, *rows, good]


def as_lines(path: Path, rows: list[object], chance: random.Random) -> list[int]:
    """One object a line, some lines replaced by what is none; the numbers of the lines that are not blank."""
    lines = [json.dumps(row, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass") for row in rows]
    lines[1:-1] = [chance.choice(LINES) if chance.random() < 0.1 else line for line in lines[1:-1]]
    path.write_bytes(b"\n".join(lines))
    return [number for number, line in enumerate(lines, start=1) if line.strip()]


def as_list(path: Path, rows: list[object], chance: random.Random) -> list[int]:
    """One JSON list; half a surrogate pair stands as an escape, since the file as a whole has to be UTF-8."""
    path.write_text(f"[{','.join(map(json.dumps, rows))}]", encoding="utf-8")
    return list(range(1, len(rows) + 1))


def as_object(path: Path, rows: list[object], chance: random.Random) -> list[int]:
    """PubMedQA's form: one object keyed by PMID, with the official ids beside it."""
    text = json.dumps({str(number): row for number, row in enumerate(rows)})
    if path.name == "ori_pqaa.json":  # NaN, half a surrogate pair or a number beyond 64 bits: the parser of the large file calls the whole no JSON
        text = json.dumps(json.loads(text, parse_constant=str, parse_int=lambda digits: int(digits[:9])))
        text = re.sub(r"\\ud[89a-f]..", "", text)
    path.write_text(text, encoding="utf-8")
    path.with_name("test_ground_truth.json").write_text('{"0": "yes", "7": "no"}', encoding="utf-8")
    return list(range(1, len(rows) + 1))


def cells_of(rows: list[object]) -> list[list[str]]:
    """Rows of texts, some too short or too long; what no UTF-8 file can hold is left out of them."""
    plain = [list(row.values()) if isinstance(row, dict) else [row] for row in rows]
    return [[str(cell).encode("utf-8", "ignore").decode() if cell is not None else "" for cell in row] for row in plain]


def as_csv(path: Path, rows: list[object], chance: random.Random) -> list[int]:
    """CSV written by the rules; the user's own has a header, MMLU's none."""
    header = [] if path.name == "mmlu.csv" else [list(rows[0])]
    with path.open("w", encoding="utf-8-sig", newline="") as out:
        csv.writer(out, delimiter="\t" if path.suffix == ".tsv" else ",").writerows(header + cells_of(rows))
    return list(range(1 + len(header), 1 + len(header) + len(rows)))


def as_broken_csv(path: Path, rows: list[object], chance: random.Random) -> None:
    """Quotes that open and do not close, bytes that are not UTF-8, lines of nothing: how many rows that makes only the reader can say."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows([list(rows[0]), *cells_of(rows)])
    odd = [b'"', b'x,"y', b'"a"b,c,d,e,f,g', b"\xff,\xe9,,,,", b"\0", b"", b",,,,,,,,,", b"\r", b'""",",""', b"\xed\xa0\xbd,a,b,c,d,e"]
    lines = out.getvalue().encode().split(b"\r\n")
    lines[2:-2] = [chance.choice(odd) if chance.random() < 0.3 else line for line in lines[2:-2]]
    path.write_bytes(b"\r\n".join(lines))


def as_workbook(path: Path, rows: list[object], chance: random.Random) -> list[int]:
    """What a spreadsheet can hold: typed cells, dates, errors, formulas; control characters and half pairs as the format escapes them."""
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("DrugQA")
    odd = [datetime.datetime(2024, 2, 3), datetime.time(4, 5), datetime.timedelta(days=2), "#N/A", "=A1", True, 0.5, 10**20, "_xd83d_", "_x0000_", "_x000D_"]
    odd += [None, -1, 2.0, "س" * 30_000, "A+B", " ", "\u200f", "\ufeff", "<a>&", "a\nb"]
    sheet.append(list(rows[0]))
    for row in rows:
        cells = list(row.values()) if isinstance(row, dict) else [row]
        whole = row == rows[0]
        sheet.append([cell if whole or (isinstance(cell, str) and cell.isascii() and cell.isprintable()) else chance.choice(odd) for cell in cells])
    book.save(path)
    return list(range(2, len(rows) + 2))


POOLS = [["x", None, "A", " ", "\0", "٢"], [None, 1.0, 2.5, math.nan, math.inf], [None, [], ["x", None], ["x", "y"]], [None, datetime.datetime(2024, 2, 3)]]
POOLS += [[None, b"\xff", b"A"], [None, True, False], [None], [1, -1, None, 2**62], [None, {"A": "x", "B": None}, {"A": None, "B": "y"}]]


def as_parquet(path: Path, rows: list[object], chance: random.Random) -> list[int]:
    """Columns are typed: some are of another type as a whole, in others single values are missing."""
    kept = [row if isinstance(row, dict) else {} for row in rows]
    columns = {name: [row.get(name) if type(row.get(name)) is type(good) else None for row in kept] for name, good in rows[0].items()}
    for name, good in rows[0].items():
        if isinstance(good, (dict, list, int)):
            columns[name] = [good if value else None for value in columns[name]]
        if chance.random() < 0.25:
            columns[name] = chance.choices(chance.choice(POOLS), k=len(rows))
        if all(isinstance(value, str) or value is None for value in columns[name]):
            columns[name] = [value and value.encode("utf-8", "ignore").decode() for value in columns[name]]
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return list(range(1, len(rows) + 1))


def as_archive(path: Path, rows: list[object], chance: random.Random) -> list[tuple[str, int]]:
    """MedQuAD's form: a file of XML a row, some of them not XML, some of another schema."""
    odd = [
        b"",
        b"<",
        b"<Document/>",
        b"<other/>",
        b"<Document><QAPairs>",
        b"\xff",
        b"<Document>&undefined;</Document>",
        b"<a>" * 5000,
        b'<?xml version="1.0" encoding="no"?><a/>',
    ]
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for number, row in enumerate(rows):
            question, answer = (
                f"<{tag}>{escape(str(row.get(tag)))}</{tag}>" if isinstance(row, dict) and row.get(tag) is not None else "" for tag in ("Question", "Answer")
            )
            text = f"<Document><QAPairs><QAPair pid='1'>{question}{answer}</QAPair></QAPairs></Document>".encode("utf-8", "surrogatepass")
            data = text if row == rows[0] or chance.random() < 0.8 else chance.choice(odd)
            member = tarfile.TarInfo(f"{chance.choice(['1', '10'])}_Ours_QA/{number:04d}.xml")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with tarfile.open(path) as archive:
        return [(f"{path.name}!{member.name}", 1) for member in archive]


def as_letters(path: Path, rows: list[object], chance: random.Random) -> list[int]:
    """LiveQA's form: one XML file of letters, whose texts are what XML can hold."""
    letters = []
    for row in rows:
        kept = (
            {tag: "".join(letter for letter in str(value) if letter.isprintable()) for tag, value in row.items() if tag in rows[0]}
            if isinstance(row, dict)
            else {}
        )
        key = f" questionid={quoteattr(kept.pop('questionid'))}" if "questionid" in kept else ""
        letters.append(f"<NLM-QUESTION{key}>{''.join(f'<{tag}>{escape(text)}</{tag}>' for tag, text in kept.items())}</NLM-QUESTION>")
    path.write_text(f"<LiveQA>{''.join(letters)}</LiveQA>", encoding="utf-8")
    return list(range(1, len(rows) + 1))


def as_rrf(path: Path, rows: list[object], chance: random.Random) -> list[int]:
    """UMLS's form: fields that each end in a bar, with a file of names beside it."""
    names = "C1|ENG|P|L1|PF|S1|Y|A1||M1|D1|MSH|MH|D1|Heart|0|N||\n"
    path.with_name("MRCONSO.RRF").write_text(names, encoding="utf-8")
    lines = ["|".join("" if cell is None else str(cell) for cell in [*row.values(), ""]) if isinstance(row, dict) else repr(row) for row in rows]
    data = [line.replace("\n", " ").encode("utf-8", "surrogatepass") for line in lines]
    path.write_bytes(b"\n".join(data))
    return list(range(1, len(rows) + 1))
