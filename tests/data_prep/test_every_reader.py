"""10,000 generated bad rows through every reader: nothing crashes, and each row comes out once, as record or reject, that can be written and read again.

A reader that has no form here fails the first test: whoever adds a reader adds what its files look like. `BAD_ROW_FILES=200` runs 10,000 rows through
each form instead of all, which takes about ten minutes.
"""

import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from data_prep import files
from data_prep.records import BadInput, MultipleChoice, Record, Reject
from data_prep.sources import READERS
from tests.data_prep.bad_rows import (
    ROWS,
    as_archive,
    as_broken_csv,
    as_csv,
    as_letters,
    as_lines,
    as_list,
    as_object,
    as_parquet,
    as_rrf,
    as_workbook,
    bad_rows,
)

EXAMPLES = int(os.environ.get("BAD_ROW_FILES", "12"))  # files of each form
MCQ = {"question": "Why?", "options": {"A": "x", "B": "y", "C": "z"}, "answer_idx": "B", "explanation": "So."}
PROMPT = {"instances": {"input": "QUESTION: Why?\nOption A: x\nOption B: y\n", "output": "Answer: (A)"}}
SAMPLE = {"question": "Why?", "options": ["x", "y"], "explanation": "So."}


@dataclass(frozen=True)
class Form:
    """What a reader's file looks like: a good row, how rows are written, and how many records a row gives."""

    reader: str
    file: str
    good: dict
    write: Callable
    options: dict = field(default_factory=dict)
    each: int = 1


PUBMED = {"QUESTION": "Why?", "CONTEXTS": ["a", "b"], "final_decision": "yes", "LONG_ANSWER": "So."}
HUB = {"pubid": 1, "question": "Why?", "context": {"contexts": ["a"]}, "long_answer": "So.", "final_decision": "no"}
MEADOW = {"instruction": "Answer.", "input": "Why?", "output": "So."}
MRDEF = ["CUI", "AUI", "ATUI", "SATUI", "SAB", "DEF", "SUPPRESS", "CVF"]
RECORD = {
    "kind": "mcqa",
    "id": "r",
    "origin_id": "o",
    "lang": "en",
    "source": "s",
    "split": "train",
    "benchmark": "b",
    "question": "Why?",
    "options": ["x", "y"],
    "answer": 1,
}
OPTION = {"question": "Why?", "opa": "x", "opb": "y", "opc": "z", "opd": "w"}
TABLE = {"ID": "1", "السؤال": "لماذا؟", "أ": "س", "ب": "ص", "ج": "ع", "answer": "ب", "why": "لأن"}
OURS = {
    "source": "ours",
    "kind": "mcqa",
    "lang": "ar",
    "answer": "letter",
    "columns": {"question": "السؤال", "options": ["أ", "ب", "ج"], "answer": "answer", "explanation": "why"},
}
ONE = OURS | {"answer": "index1", "options_separator": "lettered", "columns": {"question": "q", "options": "all", "answer": "right", "id": "n"}}
LETTERED = {"n": "1", "q": "Why?", "all": "A) x B) y", "right": 1}
OPEN = {"source": "ours", "kind": "qa", "lang_column": "lang", "columns": {"question": "q", "answer": "a", "origin_id": "of"}}
MMMLU = {"Question": "لماذا؟", "A": "س", "B": "ص", "C": "ع", "D": "ل", "Answer": "B", "Subject": "anatomy"}
FORMS = {
    "samples": Form("samples", "s.jsonl", {"id": "s", "split": "train", "benchmark": "b", "answer": "A", "en": SAMPLE, "ar": SAMPLE}, as_lines, each=2),
    "pubmedqa": Form("pubmedqa", "ori_pqal.json", PUBMED, as_object),
    "medqa": Form("medqa", "m.jsonl", MCQ, as_lines),
    "medqa, mediQ": Form("medqa", "m.jsonl", MCQ | {"context": ["a", "b"]}, as_lines, {"form": "mediq"}),
    "medqa, Self-BioRAG": Form("medqa", "m.jsonl", PROMPT, as_lines, {"form": "selfbiorag"}),
    "medmcqa": Form("medmcqa", "m.json", {"id": "i", "cop": 1, "exp": "So."} | OPTION, as_lines, {"answer_base": 1}),
    "medmcqa, Self-BioRAG": Form("medmcqa", "m.json", PROMPT, as_lines, {"form": "selfbiorag"}),
    "medqa, parquet": Form("medqa", "m.parquet", MCQ, as_parquet),
    "medmcqa, parquet": Form("medmcqa", "m.parquet", {"id": "i", "cop": 1, "exp": "So."} | OPTION, as_parquet, {"answer_base": 0}),
    "mmlu, parquet": Form("mmlu", "m.parquet", {"question": "Why?", "choices": ["x", "y", "z", "w"], "answer": 1}, as_parquet, {"benchmark": "anatomy"}),
    "pubmedqa, streamed": Form("pubmedqa", "ori_pqaa.json", PUBMED, as_object, {"test_ids": None}),
    "pubmedqa, parquet": Form("pubmedqa", "p.parquet", HUB, as_parquet, {"test_ids": None}),
    "mmlu": Form("mmlu", "mmlu.csv", OPTION | {"answer": "B"}, as_csv, {"benchmark": "anatomy"}),
    "mmmlu": Form("mmmlu", "mmlu_AR-XY.csv", MMMLU, as_csv),
    "mmmlu, parquet": Form("mmmlu", "m.parquet", MMMLU, as_parquet),
    "medquad": Form("medquad", "m.tar.gz", {"Question": "Why?", "Answer": "So."}, as_archive),
    "medquad, parquet": Form("medquad", "m.parquet", {"document_source": "CDC", "question_id": "1-1", "question": "Why?", "answer": "So."}, as_parquet),
    "chatdoctor": Form("chatdoctor", "c.json", MEADOW, as_list),
    "medical_meadow": Form("medical_meadow", "c.json", MEADOW, as_list, {"part": "wikidoc"}),
    "medical_meadow, parquet": Form("medical_meadow", "c.parquet", MEADOW, as_parquet, {"part": "mediqa"}),
    "liveqa": Form("liveqa", "l.xml", {"questionid": "Q1", "SUBJECT": "Why?", "MESSAGE": "So?", "ANSWER": "So."}, as_letters),
    "medicationqa": Form("medicationqa", "m.xlsx", {"Question": "Why?", "Answer": "So.", "URL": "u"}, as_workbook),
    "medicationqa, parquet": Form("medicationqa", "m.parquet", {"Question": "Why?", "Answer": "So."}, as_parquet),
    "umls": Form("umls", "MRDEF.RRF", dict(zip(MRDEF, ["C1", "A1", "AT1", "", "MSH", "A pump.", "N", ""], strict=True)), as_rrf),
    "records": Form("records", "r.jsonl", RECORD, as_lines),
    "table, CSV": Form("table", "t.csv", TABLE, as_csv, OURS),
    "table, broken CSV": Form("table", "t.csv", TABLE, as_broken_csv, OURS),
    "table, TSV": Form("table", "t.tsv", LETTERED, as_csv, ONE),
    "table, XLSX": Form("table", "t.xlsx", TABLE, as_workbook, OURS),
    "table, JSON lines": Form("table", "t.jsonl", TABLE, as_lines, OURS),
    "table, JSON list": Form("table", "t.json", LETTERED, as_list, ONE),
    "table, parquet": Form("table", "t.parquet", TABLE, as_parquet, OURS),
    "table, options in a list": Form("table", "t.parquet", LETTERED | {"all": ["x", "y"]}, as_parquet, ONE | {"options_separator": "\n"}),
    "table, open questions": Form("table", "t.jsonl", {"q": "Why?", "a": "So.", "lang": "en", "of": "x"}, as_lines, OPEN),
}


def test_every_reader_has_a_form() -> None:
    """And all forms together see at least 10,000 rows."""
    assert {form.reader for form in FORMS.values()} == set(READERS)
    assert len(FORMS) * EXAMPLES * ROWS >= 10_000


def written(item: Record | Reject) -> list:
    """What the build writes of a record or reject."""
    if isinstance(item, Reject):
        return [item]
    return [item, *item.sharegpt(["letter", "explained"]), *([item.evaluation()] if isinstance(item, MultipleChoice) else [])]


@pytest.mark.parametrize("name", FORMS)
def test_bad_rows(name: str) -> None:
    """No exception; each row of the file once; what comes out stands the way to the disk and back."""
    form = FORMS[name]
    seen = Counter()

    @settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(rows=bad_rows(form.good), seed=st.integers(0, 2**32))
    def run(rows: list[object], seed: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / form.file
            expected = form.write(path, rows, random.Random(seed))
            items = list(READERS[form.reader](path, **form.options))
            assert all(isinstance(item, (Record, Reject)) for item in items)
            times = Counter((item.file, item.row) for item in items)
            if expected is None:  # numbered without a gap, the good row at the end among them
                numbers = [item.row for item in items]
                assert numbers == list(range(2, 2 + len(numbers))) and len(numbers) > ROWS / 2
            else:
                assert {place if place in expected else place[1] for place in times} == set(expected)
                assert all(file.startswith(path.name) for file, _ in times)
            once = {(item.file, item.row) for item in items if isinstance(item, Reject) and item.reason == "malformed_json"}
            assert all(count == (1 if place in once else form.each) for place, count in times.items())
            out = [row for item in items for row in written(item)]
            assert files.write_jsonl(Path(folder) / "out.jsonl", (item.model_dump(by_alias=True) for item in out)) == len(out)
            back = [row for _, row in files.read_jsonl(Path(folder) / "out.jsonl")]
            assert [json.dumps(row) for row in back] == [json.dumps(json.loads(json.dumps(row.model_dump(by_alias=True)))) for row in out]
            seen.update(rows=ROWS, records=sum(isinstance(item, Record) for item in items), rejects=sum(isinstance(item, Reject) for item in items))

    run()
    assert seen["rows"] >= EXAMPLES * ROWS and seen["records"] >= EXAMPLES / 2 and seen["rejects"] >= EXAMPLES, seen


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(
    "data", [b"", b"\x00\xff\xfe" * 50, b"[" * 100_000, b'{"a": [', b"PK\x03\x04", b"PAR1PAR1", b"\x1f\x8b\x08"], ids=lambda data: ascii(data[:9])
)
def test_what_is_no_such_file(tmp_path: Path, name: str, data: bytes) -> None:
    """Any file may be named by mistake: its rows are rejects, or one message names it."""
    form = FORMS[name]
    path = tmp_path / form.file
    path.with_name("test_ground_truth.json").write_text("{}", encoding="utf-8")
    path.write_bytes(data)
    try:
        items = list(READERS[form.reader](path, **form.options))
    except BadInput as error:
        assert path.name in str(error)
    else:
        assert all(isinstance(item, Reject) for item in items)
