"""A user's own tables: what can be read in one way only is read, from every form alike; the rest is told by row, reason and fix."""

import csv
import json
import re
import shutil
from pathlib import Path

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from data_prep.records import BadInput, Record, Reject
from data_prep.sources import table
from tests.conftest import ROOT
from tests.data_prep.conftest import FIXTURES, accounted, build_from, run_build

ARABIC = FIXTURES / "table" / "arabic.csv"
COLUMNS = {"id": "ID", "question": "السؤال", "options": ["أ", "ب", "ج", "د"], "answer": "الجواب", "explanation": "الشرح"}
OURS = {"source": "our_hospital", "kind": "mcqa", "lang": "ar", "columns": COLUMNS, "answer": "letter"}
ENGLISH = {"source": "ours", "kind": "mcqa", "lang": "en", "answer": "letter", "columns": {"question": "q", "options": ["A", "B", "C"], "answer": "right"}}
HEADER = ["q", "A", "B", "C", "right"]
GOOD = ["Which organ pumps blood?", "Heart", "Liver", "Lung", "A"]


def read(path: Path, **options: object) -> tuple[list[Record], list[tuple[int, str]]]:
    """The records, and (row, reason) of the rejects."""
    rows = list(table.read(path, **options))
    return [row for row in rows if not isinstance(row, Reject)], [(row.row, row.reason) for row in rows if isinstance(row, Reject)]


def write(path: Path, rows: list[list]) -> Path:
    """A table in the form that the name's suffix says; the first row is the header."""
    named = [dict(zip(rows[0], row, strict=False)) for row in rows[1:]]
    if path.suffix in (".csv", ".tsv", ".txt"):
        with path.open("w", encoding="utf-8", newline="") as out:
            csv.writer(out, delimiter={".csv": ",", ".tsv": "\t", ".txt": "|"}[path.suffix]).writerows(rows)
    elif path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(path)
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(named), path)
    else:
        lines = [json.dumps(row, ensure_ascii=False) for row in named]
        path.write_text("\n".join(lines) if path.suffix == ".jsonl" else f"[{','.join(lines)}]", encoding="utf-8")
    return path


def test_a_dirty_csv() -> None:
    """A byte-order mark, line breaks in cells, letters of all kinds, an unnamed column; each bad row by its own reason."""
    records, rejects = read(ARABIC, **OURS)
    assert [(record.id, record.row, record.answer, len(record.options)) for record in records] == [
        ("our_hospital:train:q1:ar", 2, 0, 3),
        ("our_hospital:train:q2:ar", 3, 1, 4),
        ("our_hospital:train:q3:ar", 4, 2, 4),
        ("our_hospital:train:q4:ar", 5, 0, 4),
        ("our_hospital:train:q5:ar", 6, 3, 4),
    ]
    assert records[1].question == "أي عضو\r\nيصنع الصفراء؟" and records[1].explanation is None
    assert rejects == [
        (7, "several_answers"),
        (8, "answer_not_among_options"),
        (9, "empty_option"),
        (10, "empty_row"),
        (11, "duplicate_row"),
        (12, "empty_question"),
        (13, "empty_answer"),
        (14, "several_answers"),
        (15, "wrong_number_of_cells"),
        (16, "empty_id"),
        (17, "answer_not_among_options"),
        (18, "answer_not_among_options"),
    ]  # the two empty rows at the end are none


def test_the_command_words_arabic(tmp_path: Path) -> None:
    """Through the public command: Arabic words, Arabic letters, each row accounted for, and the notice of which file and row."""
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(ARABIC, data / "questions.csv")
    built = build_from(tmp_path, data, {"reader": "table", "file": "questions.csv", "split": "train", **OURS}, mcqa_answers=["explained"])
    assert built.code == 0, built.said
    first = built.rows("train.jsonl")[0]
    assert first == {
        "id": "our_hospital:train:q1:ar",
        "conversations": [
            {"from": "human", "value": "السؤال: أي عضو يضخ الدم؟ الخيارات: أ. القلب ب. الكبد ج. الرئة"},
            {"from": "gpt", "value": "القلب عضلة تضخ الدم. الجواب الصحيح هو أ."},
        ],
        "lang": "ar",
        "kind": "mcqa",
        "source": "our_hospital",
        "split": "train",
        "origin_id": "our_hospital:train:q1",
    }
    assert len(built.rows("train.jsonl")) == 5 and accounted(built.manifest)
    assert "questions.csv, row 7: the answer is 'أ+ب': a question has one right option" in built.said
    assert built.rows("rejected/several_answers.jsonl")[0]["content"]["السؤال"] == "أي عظم أطول؟"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".xlsx", ".json", ".jsonl", ".parquet"])
def test_every_form_gives_the_same_records(tmp_path: Path, suffix: str) -> None:
    """Who saves a table in another form gets the same data set."""
    rows = [["ID", "السؤال", "أ", "ب", "ج", "د", "الجواب", "الشرح"]]
    rows += [
        ["1", "سؤال ١", "نعم", "لا", None, None, "أ", "لأن"],
        ["2", "سؤال ٢", "نعم", "لا", "ربما", None, "ج", None],
        ["3", "سؤال ٣", "نعم", None, "لا", None, "أ", None],
    ]
    path = write(tmp_path / f"ours{suffix}", rows)
    records, rejects = read(path, **OURS, **({"delimiter": "|"} if suffix == ".txt" else {}))
    first, of_last = (1, 3) if suffix in (".json", ".jsonl", ".parquet") else (2, 4)  # these have no header row
    assert [(record.id, record.row - first, record.options, record.answer, record.explanation) for record in records] == [
        ("our_hospital:train:1:ar", 0, ["نعم", "لا"], 0, "لأن"),
        ("our_hospital:train:2:ar", 1, ["نعم", "لا", "ربما"], 2, None),
    ]
    assert rejects == [(of_last, "empty_option")]


def test_other_letters(tmp_path: Path) -> None:
    """Some books letter أ ب ت ث: there ج would be the fifth, so the recipe says the order."""
    path = write(tmp_path / "ours.csv", [HEADER, [*GOOD[:-1], "ت"], ["q2", "1", "2", "3", "ج"]])
    assert read(path, **ENGLISH)[1] == [(2, "answer_not_among_options")]
    records, rejects = read(path, **ENGLISH, letters=["أ", "ب", "ت", "ث", "ج"])
    assert [record.answer for record in records] == [2] and rejects == [(3, "answer_not_among_options")]


BAD_KEYS = {
    # name: (changes to the keys, None takes one away; words of the message)
    "no answer form": ({"answer": None}, ("answer: letter`, `index0`, `index1` or `text`", "docs/OWN_DATA.md")),
    "unknown answer form": ({"answer": "index"}, ("answer: Input should be 'letter'", "found 'index'")),
    "no language": ({"lang": None}, ("`lang: ar` or `lang: en`", "lang_column")),
    "two languages": ({"lang_column": "q"}, ("say the language once",)),
    "unknown key": ({"colums": {}}, ("colums: Extra inputs", "keys of a source read with `table`: ", "options_separator")),
    "unknown column key": ({"columns": {"question": "q", "answer": "right", "choices": "A"}}, ("columns.choices", "of columns: question, answer, options")),
    "no options": ({"columns": {"question": "q", "answer": "right"}}, ("`columns: {options: ..}`",)),
    "column not there": (
        {"columns": ENGLISH["columns"] | {"question": "Question"}},
        ("columns.question is 'Question'", "1 'q', 2 'A', 3 'B', 4 'C', 5 'right'"),
    ),
    "column beyond": ({"columns": ENGLISH["columns"] | {"question": 9}}, ("columns.question is column 9", "5 'right'")),
    "column 0": ({"columns": ENGLISH["columns"] | {"question": 0}}, ("columns.question", "greater than 0")),
    "open question with options": ({"kind": "qa", "answer": None}, ("columns.options: only for `kind: mcqa`",)),
    "source that is no name": ({"source": "our hospital"}, ("source: ", "found 'our hospital'")),
    "sheet of a CSV": ({"sheet": "Sheet1"}, ("the key `sheet` belongs to .xlsm, .xlsx",)),
    "unknown encoding": ({"encoding": "arabic-windows"}, ("encoding is 'arabic-windows'", "cp1256")),
    "long delimiter": ({"delimiter": ";;"}, ("delimiter: ", "at most 1")),
    "wrong delimiter": ({"delimiter": ";"}, ("columns.question is 'q'", "1 'q,A,B,C,right'", "`delimiter`")),
    "no such header": ({"header": 7}, ("has no row 7", "`header`")),
    "letters twice": ({"letters": ["a", "A"]}, ("single letters, each another one",)),
    "open questions to be tested": ({"kind": "qa", "answer": None, "columns": {"question": "q", "answer": "A"}, "split": "test"}, ("split is 'test'",)),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_wrong_key_is_told(tmp_path: Path, name: str) -> None:
    """The message names the recipe's key, what there is, and the fix; nothing is read by a guess."""
    changes, words = BAD_KEYS[name]
    path = write(tmp_path / "ours.csv", [HEADER, GOOD])
    with pytest.raises(BadInput) as bad:
        list(table.read(path, **{key: value for key, value in (ENGLISH | changes).items() if value is not None}))
    assert all(word in str(bad.value) for word in ("ours.csv", *words)), bad.value


def test_columns_by_number_and_name(tmp_path: Path) -> None:
    """Without a header, with titles above it, without a name, and with a name twice."""
    numbers = {"question": 1, "options": [2, 3, 4], "answer": 5}
    path = write(tmp_path / "bare.csv", [GOOD])
    assert [record.row for record in read(path, **ENGLISH | {"columns": numbers, "header": False})[0]] == [1]
    path = write(tmp_path / "titled.csv", [["Question bank 2024"], [], HEADER, GOOD])
    assert [record.row for record in read(path, **ENGLISH, header=3)[0]] == [4]
    path = write(tmp_path / "unnamed.csv", [["q", "", "", " ", "\ufeffright \r\n"], GOOD])
    assert read(path, **ENGLISH | {"columns": numbers | {"answer": "right"}})[0][0].options == GOOD[1:4]
    path = write(tmp_path / "twice.csv", [["q", "A", "A", "C", "right"], GOOD])
    with pytest.raises(BadInput, match=r"columns.options is 'A', but columns 2 and 3 both have that name"):
        read(path, **ENGLISH)
    assert read(path, **ENGLISH | {"columns": numbers})[0][0].options == GOOD[1:4]


def test_names_of_json_keys(tmp_path: Path) -> None:
    """A key that no row has is a slip in the recipe; one that some rows lack is empty there."""
    path = tmp_path / "ours.jsonl"
    path.write_text('{"q": "Why?", "o": ["x", "y"]}\n{}\n{"q": "How?", "o": ["x", "y"], "r": 1}\n{"q": "How?", "o": ["x"', encoding="utf-8")
    keys = ENGLISH | {"answer": "index0", "columns": {"question": "q", "options": "o", "answer": "r"}}
    records, rejects = read(path, **keys)
    assert [record.answer for record in records] == [1] and rejects == [(1, "empty_answer"), (2, "empty_row"), (4, "malformed_json")]
    with pytest.raises(BadInput, match="'right'.*in no row of the file; it has 'q', 'o', 'r'"):
        read(path, **keys | {"columns": keys["columns"] | {"answer": "right"}})
    with pytest.raises(BadInput, match="columns have names only"):
        read(path, **keys | {"columns": keys["columns"] | {"answer": 3}})


def test_languages_and_origins(tmp_path: Path) -> None:
    """A column says the language; a translation names the row that it comes from, in this file or in another set."""
    rows = [["n", "of", "language", "set", *HEADER]]
    rows += [
        ["1", None, "en", "anatomy", *GOOD],
        ["2", "1", "العربية", "anatomy", "س", "أ1", "ب2", None, "ب"],
        ["3", "medmcqa:test:abc", "AR-sa", None, "ص", "1", "2", None, "B"],
    ]
    rows += [
        ["1", None, "Arabic", None, "ض", "1", "2", None, "B"],
        ["5", None, "fr", None, *GOOD],
        ["6", None, None, None, *GOOD],
        ["7", None, "en", "a b", *GOOD],
    ]
    keys = {key: value for key, value in ENGLISH.items() if key != "lang"} | {"lang_column": "language"}
    keys["columns"] = ENGLISH["columns"] | {"id": "n", "origin_id": "of", "benchmark": "set"}
    records, rejects = read(write(tmp_path / "ours.xlsx", rows), **keys, split="test", benchmark="other")
    assert [(record.id, record.origin_id, record.benchmark) for record in records] == [
        ("ours:test:1:en", "ours:test:1", "anatomy"),
        ("ours:test:2:ar", "ours:test:1", "anatomy"),
        ("ours:test:3:ar", "medmcqa:test:abc", "other"),
        ("ours:test:1:ar", "ours:test:1", "other"),
    ]
    assert rejects == [(6, "invalid_lang"), (7, "empty_lang"), (8, "invalid_benchmark")]


def test_open_questions(tmp_path: Path) -> None:
    """Question and answer in free text; rows without an id are named by file and row."""
    path = write(tmp_path / "ours.tsv", [["سؤال", "جواب"], ["ما الصداع؟", "ألم في الرأس."], ["ما السعال؟", ""], ["ما الصداع؟", "ألم في الرأس."]])
    records, rejects = read(path, source="ours", kind="qa", lang="ar", columns={"question": "سؤال", "answer": "جواب"})
    assert [(record.id, record.question, record.answer) for record in records] == [("ours:train:ours-000002:ar", "ما الصداع؟", "ألم في الرأس.")]
    assert rejects == [(3, "empty_answer"), (4, "duplicate_row")]


def test_the_page_can_be_followed(tmp_path: Path) -> None:
    """docs/OWN_DATA.md: its tables and recipes, typed as they stand, give the rows and the rejects that it shows."""
    page = (ROOT / "docs" / "OWN_DATA.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"`(\w+\.\w+)`:\n\n```\w+\n(.*?)```", page, re.DOTALL))
    for name, text in blocks.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert set(blocks) == {"questions.csv", "ours.yaml", "both.jsonl", "answers.csv", "two.yaml"}
    ours, two = (run_build(tmp_path / "build", tmp_path / name, tmp_path) for name in ("ours.yaml", "two.yaml"))
    assert ours.code == two.code == 0 and accounted(ours.manifest) and accounted(two.manifest), ours.said + two.said
    shown = re.search(r"```json\n(.*?)```", page, re.DOTALL)[1].splitlines()
    assert ours.rows("train.jsonl") == [json.loads(line) for line in shown]
    assert ours.manifest["rejected"] == {"several_answers": 1, "answer_not_among_options": 1}
    assert two.manifest["rejected"] == {} and [row["lang"] for row in two.rows("train.jsonl")] == ["en", "ar", "ar", "ar", "ar"]
    assert "أ. القلب ب. الكبد ج. الرئة" in two.rows("train.jsonl")[1]["conversations"][0]["value"]


def test_the_page_names_every_key() -> None:
    """A key that the page does not tell is one that nobody finds."""
    page = (ROOT / "docs" / "OWN_DATA.md").read_text(encoding="utf-8")
    assert [key for key in [*table.Plan.model_fields, *table.Columns.model_fields] if f"`{key}`" not in page] == []
