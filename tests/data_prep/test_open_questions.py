"""The readers of open questions that came with BiMed1.3M, each on a small file of our own with the defects of the real one."""

import json
import shutil
from pathlib import Path

import openpyxl
import pytest

from data_prep.records import BadInput, Reject
from data_prep.sources import READERS
from tests.data_prep.conftest import FIXTURES
from tests.data_prep.test_hub_forms import parquet, read

LIVEQA = FIXTURES / "liveqa"
UMLS = FIXTURES / "umls"


def asked(records: list[dict]) -> dict[str, tuple[str, str]]:
    return {record["id"]: (record["question"], record["answer"].strip()) for record in records}


def test_liveqa_has_a_pair_for_every_answer() -> None:
    """Sub-questions have no words of their own: each of their answers answers the letter, subject line and all."""
    letter = "hiccups\nWhere do they come from, and what helps? &quot;Please&quot; answer."  # escaped twice by the owner, left as it is
    records, rejects = read("liveqa", LIVEQA / "train_1.xml")
    assert asked(records) == {
        "liveqa:train:Q1-1:en": (letter, "A cramp of the diaphragm."),
        "liveqa:train:Q1-2:en": (letter, "Large meals & fizzy drinks."),
        "liveqa:train:Q1-3:en": (letter, "Hold your breath."),
    }
    assert rejects == [("empty_answer", 4)]


def test_liveqa_letters_without_subject_message_or_name() -> None:
    """`No` in the subject means that there is none; a letter that says nothing asks nothing."""
    records, rejects = read("liveqa", LIVEQA / "train_2.xml")
    assert asked(records) == {
        "liveqa:train:1.0-1:en": ("How long does a cold last?", "About a week."),
        "liveqa:train:3.0-1:en": ("snoring", "Sleep on your side."),
    }
    assert rejects == [("empty_question", 3), ("empty_id", 4)]


def test_liveqa_test_file() -> None:
    """Its elements are spelt otherwise; the comments and addresses beside an answer are no part of it; a letter without one is counted."""
    records, rejects = read("liveqa", LIVEQA / "test.xml", split="validation")
    assert asked(records) == {
        "liveqa:validation:TQ1-1:en": ("honey tablets\ndo they hold sugar", "Each tablet holds 2 g of sugar."),
        "liveqa:validation:TQ1-2:en": ("honey tablets\ndo they hold sugar", "Yes."),
    }
    assert rejects == [("empty_answer", 3)]


@pytest.mark.parametrize(("text", "words"), [("<NLM-QUESTIONS><NLM-QUESTION>", "not XML"), ("<html></html>", "holds no <NLM-QUESTION>")])
def test_liveqa_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    """A file cut short, or the page that shows it, is not an empty source."""
    (tmp_path / "l.xml").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=words):
        read("liveqa", tmp_path / "l.xml")


HEADER = ["Question", "Focus (Drug)", "Question Type", "Answer", "Section Title", "URL"]
MEDICINES = [
    ["how long does honey keep", "honey", "Storage", "  For years, if closed. ", "Storage", "https://example.org/1"],
    ["is mint a drug", "mint", "Information", None, None, None],
    [None, None, None, "An answer to nothing.", None, None],
    [None, None, None, None, None, None],
    ["how long does honey keep", "honey", "Storage", "Ask the beekeeper.", None, None],
    ["how much camomile", "camomile", "Dose", 2, None, None],
]


def workbook(path: Path, header: list[str], rows: list[list], sheet: str = "DrugQA") -> Path:
    book = openpyxl.Workbook()
    book.active.title = sheet
    for row in [header, *rows]:
        book.active.append(row)
    book.save(path)
    return path


def test_medicationqa_sheet_and_parquet(tmp_path: Path) -> None:
    """A question that stands twice has two answers, both kept; rows are named by their place below the header."""
    ours = read("medicationqa", workbook(tmp_path / "m.xlsx", HEADER, MEDICINES))
    assert asked(ours[0]) == {
        "medicationqa:train:0001:en": ("how long does honey keep", "For years, if closed."),
        "medicationqa:train:0005:en": ("how long does honey keep", "Ask the beekeeper."),
    }
    assert ours[1] == [("empty_answer", 3), ("empty_question", 4), ("empty_row", 5), ("invalid_answer", 7)]  # as the spreadsheet numbers them
    rows = [dict(zip(HEADER, row, strict=True)) for row in MEDICINES[:5]]
    hub = read("medicationqa", parquet(tmp_path / "m.parquet", rows))
    assert hub == (ours[0], [("empty_answer", 2), ("empty_question", 3), ("empty_row", 4)])


def test_medicationqa_of_another_shape(tmp_path: Path) -> None:
    """Another sheet or another column is no reason to read whatever is there."""
    with pytest.raises(BadInput, match="DrugQA"):
        read("medicationqa", workbook(tmp_path / "m.xlsx", HEADER, MEDICINES, sheet="Sheet1"))
    with pytest.raises(BadInput, match="'Answer', but the file has the columns"):
        read("medicationqa", workbook(tmp_path / "m.xlsx", ["Question", "Reply"], MEDICINES))


ROWS = [
    {"instruction": "Answer this question truthfully", "input": "What is hay fever?", "output": "An allergy to pollen."},
    {"instruction": "Answer this question truthfully", "input": "", "output": "A heading without a question."},
    {"instruction": "Answer this question truthfully", "input": "Why?", "output": "  "},
]


def test_medical_meadow(tmp_path: Path) -> None:
    """The part is the source's name, and the instruction that every row has is not asked."""
    (tmp_path / "m.json").write_text(json.dumps(ROWS), encoding="utf-8")
    ours = read("medical_meadow", tmp_path / "m.json", part="wikidoc")
    assert ours == read("medical_meadow", parquet(tmp_path / "m.parquet", ROWS), part="wikidoc")
    (record,) = ours[0]
    assert (record["source"], record["question"]) == ("medical_meadow_wikidoc", "What is hay fever?")
    assert ours[1] == [("empty_question", 2), ("empty_answer", 3)]


@pytest.mark.parametrize(("part", "words"), [("medqa", "it repeats MedQA"), ("cord19", "title of an abstract"), ("wiki", "it must be one of wikidoc")])
def test_medical_meadow_parts_that_are_left_out(tmp_path: Path, part: str, words: str) -> None:
    """Medical Meadow's medqa as one more source would count MedQA three times; the message says why it is not read."""
    with pytest.raises(BadInput, match=words):
        read("medical_meadow", tmp_path / "m.json", part=part)


def test_icliniq_has_the_doctors_answer(tmp_path: Path) -> None:
    """Two more columns hold answers of models; a column that is not named is an empty answer, not the next best."""
    row = {"input": "My ear rings.", "answer_icliniq": "See a doctor.", "answer_chatgpt": "I am a model.", "answer_chatdoctor": "So am I."}
    path = parquet(tmp_path / "i.parquet", [row])
    assert asked(read("chatdoctor", path, source="icliniq", answer="answer_icliniq")[0]) == {"icliniq:train:000001:en": ("My ear rings.", "See a doctor.")}
    assert read("chatdoctor", path, source="icliniq") == ([], [("empty_answer", 1)])


def test_umls_definitions() -> None:
    """Only definitions in force, in English, of concepts with a preferred English name; each of the others is counted with its reason."""
    records, rejects = read("umls", UMLS / "MRDEF.RRF")
    assert asked(records) == {
        "umls:train:AT1:en": ("What is Heart?", "A hollow muscle that pumps blood."),
        "umls:train:AT2:en": ("What is Heart?", "The pump of the body."),
    }
    assert rejects == [
        ("malformed_row", 8),  # MRCONSO's line that is cut short
        ("other_language", 3),
        ("suppressed", 4),
        ("no_english_name", 5),  # the preferred name is suppressed
        ("no_english_name", 6),  # there is a variant only
        ("empty_answer", 7),
        ("no_atom", 8),
        ("malformed_row", 9),
    ]


def test_umls_without_names(tmp_path: Path) -> None:
    """MRDEF alone defines numbers."""
    shutil.copy(UMLS / "MRDEF.RRF", tmp_path)
    with pytest.raises(BadInput, match="MRCONSO.RRF is missing"):
        read("umls", tmp_path / "MRDEF.RRF")


@pytest.mark.parametrize(
    ("reader", "path", "options"),
    [("liveqa", LIVEQA / "train_1.xml", {}), ("liveqa", LIVEQA / "train_2.xml", {}), ("liveqa", LIVEQA / "test.xml", {}), ("umls", UMLS / "MRDEF.RRF", {})],
)
def test_each_reject_says_what_to_do(reader: str, path: Path, options: dict) -> None:
    """File, row and fix, as for every other source."""
    for reject in READERS[reader](path, **options):
        if isinstance(reject, Reject):
            assert reject.file in (path.name, "MRCONSO.RRF") and reject.content
            assert any(fix in reject.message for fix in ("correct", "nothing to do")), reject.message
