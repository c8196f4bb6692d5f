"""One reader, two forms: the same rows in the owner's file and in the Hub's parquet come out as the same records, under the same ids."""

import json
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pyarrow
import pyarrow.parquet
import pytest

from data_prep.records import BadInput, Record, Reject
from data_prep.sources import READERS, medquad
from tests.data_prep.conftest import FIXTURES

DECIDED = ("yes", "no", "maybe")


def read(reader: str, path: Path, **options: object) -> tuple[list[dict], list[tuple[str, int]]]:
    """The records of a file, and its rejects as (reason, row)."""
    items = list(READERS[reader](path, **options))
    records = [item.model_dump() for item in items if isinstance(item, Record)]
    return records, [(item.reason, item.row) for item in items if isinstance(item, Reject)]


def parquet(path: Path, rows: Iterable[dict]) -> Path:
    """What is kept of a Hub source: one parquet file with the Hub's columns."""
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return path


def lines(path: Path, rows: Iterable[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def from_zero(rows: Iterable[dict]) -> list[dict]:
    """MedMCQA as the Hub has it: the same rows, the answer counted from 0."""
    return [row | {"cop": row["cop"] - 1} for row in rows]


def test_medmcqa_from_one_and_from_zero(tmp_path: Path) -> None:
    """Read with the other file's base, every answer would be wrong, and no count would show it."""
    rows = [row for row in rows_of(FIXTURES / "medmcqa" / "original.jsonl") if type(row["cop"]) is int]  # the Hub's column holds nothing else
    ours = read("medmcqa", lines(tmp_path / "train.json", rows), answer_base=1)
    hub = read("medmcqa", parquet(tmp_path / "train.parquet", from_zero(rows)), answer_base=0)
    assert ours == hub
    assert [record["options"][record["answer"]] for record in hub[0]][:2] == ["Left ventricle", "Gallbladder"]
    assert {reason for reason, _ in hub[1]} == {"answer_not_among_options", "empty_id", "empty_option", "empty_question"}


def test_medmcqa_real(real_data: Path, tmp_path: Path) -> None:
    """All 4,183 questions of the test set, in both forms."""
    ours = read("medmcqa", real_data / "medmcqa" / "dev.json", split="test", answer_base=1)
    hub = read("medmcqa", parquet(tmp_path / "hub.parquet", from_zero(rows_of(real_data / "medmcqa" / "dev.json"))), split="test", answer_base=0)
    assert ours == hub and len(hub[0]) == 4183 and hub[1] == []


def as_list(rows: Iterable[dict]) -> list[dict]:
    """MedQA as bigbio/med_qa has it: options as a list of {key, value}."""
    return [row | {"options": [{"key": key, "value": value} for key, value in row["options"].items()]} for row in rows]


def test_medqa_options_as_object_and_as_list(tmp_path: Path) -> None:
    """One order of options in the three forms; the five-option file has names of its own, so that both fit in one data set."""
    rows = [row for row in rows_of(FIXTURES / "medqa" / "original.jsonl") if list(row["options"]) == list("ABCD") and isinstance(row["answer_idx"], str)]
    ours = read("medqa", lines(tmp_path / "m.jsonl", rows), n_options=4)
    assert [record["id"] for record in ours[0]] == ["medqa:train:000001:en"]
    assert ours[1] == [("answer_not_among_options", 2), ("empty_option", 3)]
    assert ours == read("medqa", parquet(tmp_path / "m.parquet", rows), n_options=4)
    assert ours == read("medqa", parquet(tmp_path / "l.parquet", as_list(rows)), form="bigbio", n_options=4)

    five = [row | {"options": row["options"] | {"E": "Toe"}} for row in rows[:1]] + rows[:1]
    ours = read("medqa", lines(tmp_path / "5.jsonl", five), split="test", n_options=5)
    assert [(record["id"], record["benchmark"], len(record["options"])) for record in ours[0]] == [("medqa:test:5options-000001:en", "medqa_5options", 5)]
    assert ours[1] == [("invalid_options", 2)]
    assert ours == read("medqa", parquet(tmp_path / "5.parquet", as_list(five)), split="test", form="bigbio", n_options=5)
    with pytest.raises(BadInput, match="n_options is 3, it must be 4 or 5"):
        read("medqa", tmp_path / "5.jsonl", n_options=3)


@pytest.mark.parametrize("options", [None, [], ["A"], [{"key": "A"}], [{"key": "B", "value": "x"}, {"key": "A", "value": "y"}], {"A": "x", "B": "y"}])
def test_medqa_lists_that_are_none(tmp_path: Path, options: object) -> None:
    """Options out of order would turn the letter of the answer to another text."""
    row = {"question": "Why?", "options": options, "answer_idx": "A"}
    assert read("medqa", lines(tmp_path / "m.jsonl", [row]), form="bigbio") == ([], [("answer_not_among_options", 1)])


def test_medqa_real(real_data: Path, tmp_path: Path) -> None:
    """All 1,273 test questions, in three forms."""
    path = real_data / "medqa" / "US_4options_test.jsonl"
    ours = read("medqa", path, split="test", n_options=4)
    assert ours == read("medqa", parquet(tmp_path / "m.parquet", rows_of(path)), split="test", n_options=4)
    assert ours == read("medqa", parquet(tmp_path / "l.parquet", as_list(rows_of(path))), split="test", form="bigbio", n_options=4)
    assert len(ours[0]) == 1273 and ours[1] == []


def pubmedqa_rows(questions: dict[str, dict]) -> list[dict]:
    """PubMedQA as qiaojin/PubMedQA has it."""
    return [
        {
            "pubid": int(pmid),
            "question": content["QUESTION"],
            "context": {"contexts": content["CONTEXTS"], "labels": content["LABELS"], "meshes": content["MESHES"]},
            "long_answer": content["LONG_ANSWER"],
            "final_decision": content["final_decision"],
        }
        for pmid, content in questions.items()
    ]


@pytest.fixture
def pubmedqa(tmp_path: Path) -> dict[str, dict]:
    """Our labelled questions that have the columns' types, with the ids file beside them; written as the owner writes them."""
    whole = json.loads((FIXTURES / "pubmedqa" / "ori_pqal.json").read_text(encoding="utf-8"))
    texts = {pmid: row for pmid, row in whole.items() if isinstance(row, dict) and all(isinstance(text, str) for text in row.get("CONTEXTS") or [])}
    kept = {pmid: {"CONTEXTS": [], "LABELS": [], "MESHES": [], "LONG_ANSWER": None, "QUESTION": None} | row for pmid, row in texts.items()}
    shutil.copy(FIXTURES / "pubmedqa" / "test_ground_truth.json", tmp_path)
    (tmp_path / "ori.json").write_text(json.dumps(kept), encoding="utf-8")
    return kept


def test_pubmedqa_labelled(pubmedqa: dict[str, dict], tmp_path: Path) -> None:
    """The official test ids hold in both forms, and PMIDs name the questions."""
    ours = read("pubmedqa", tmp_path / "ori.json")
    assert ours == read("pubmedqa", parquet(tmp_path / "hub.parquet", pubmedqa_rows(pubmedqa)))
    assert [record["id"] for record in ours[0] if record["split"] == "test"] == ["pubmedqa:test:1002:en", "pubmedqa:test:1003:en"]
    assert {reason for reason, _ in ours[1]} == {"answer_not_among_options", "empty_question"}


def test_pubmedqa_artificial_is_read_as_a_stream(pubmedqa: dict[str, dict], tmp_path: Path) -> None:
    """Nothing of it is for testing, so no ids file is asked for; a file that is cut short is not half a data set."""
    (tmp_path / "test_ground_truth.json").unlink()
    ours = read("pubmedqa", tmp_path / "ori.json", split="train", test_ids=None)
    assert ours == read("pubmedqa", parquet(tmp_path / "hub.parquet", pubmedqa_rows(pubmedqa)), split="train", test_ids=None)
    assert {record["split"] for record in ours[0]} == {"train"} and len(ours[0]) == 4
    whole = (tmp_path / "ori.json").read_bytes()
    (tmp_path / "ori.json").write_bytes(b"\xef\xbb\xbf" + whole)
    assert read("pubmedqa", tmp_path / "ori.json", split="train", test_ids=None) == ours
    for damaged, words in ((whole[:-40], "not JSON"), (b"[]", "a JSON list, but ori.json is an object keyed by PMID"), (b"", "not JSON")):
        (tmp_path / "ori.json").write_bytes(damaged)
        with pytest.raises(BadInput, match=words):
            read("pubmedqa", tmp_path / "ori.json", test_ids=None)


def test_pubmedqa_without_ids_or_with_others(pubmedqa: dict[str, dict], tmp_path: Path) -> None:
    """A test set drawn from other questions would let official test questions train: the run stops instead."""
    (tmp_path / "test_ground_truth.json").unlink()
    with pytest.raises(BadInput, match="put test_ground_truth.json from PubMedQA's data folder beside it"):
        read("pubmedqa", parquet(tmp_path / "hub.parquet", pubmedqa_rows(pubmedqa)))


def test_pubmedqa_real(real_data: Path, tmp_path: Path) -> None:
    """The Hub has no ids file: what the owners' procedure draws from the questions is their list, question by question."""
    questions = json.loads((real_data / "pubmedqa" / "ori_pqal.json").read_text(encoding="utf-8"))
    ours = read("pubmedqa", real_data / "pubmedqa" / "ori_pqal.json")
    assert ours == read("pubmedqa", parquet(tmp_path / "hub.parquet", pubmedqa_rows(questions)))
    assert sum(record["split"] == "test" for record in ours[0]) == 500 and ours[1] == []
    with pytest.raises(BadInput, match="cannot be told"):  # another order draws others
        read("pubmedqa", parquet(tmp_path / "turned.parquet", pubmedqa_rows(questions)[::-1]))


def test_chatdoctor(tmp_path: Path) -> None:
    """Rows are named by their place in both forms."""
    rows = [row for row in json.loads((FIXTURES / "chatdoctor" / "chatdoctor.json").read_text(encoding="utf-8")) if isinstance(row, dict)]
    (tmp_path / "c.json").write_text(json.dumps(rows), encoding="utf-8")
    ours = read("chatdoctor", tmp_path / "c.json", source="genmedgpt")
    assert ours == read("chatdoctor", parquet(tmp_path / "c.parquet", rows), source="genmedgpt")
    assert [record["id"] for record in ours[0]] == ["genmedgpt:train:000001:en", "genmedgpt:train:000002:en"]
    assert ours[1] == [("empty_answer", 3), ("empty_question", 4)]


def mmlu_rows(path: Path) -> list[dict]:
    """MMLU's test file as cais/mmlu has it, of the rows that its columns can hold."""
    rows = [row.model_dump() for row in READERS["mmlu"](path, benchmark="anatomy") if isinstance(row, Record)]
    return [{"question": row["question"], "subject": "anatomy", "choices": row["options"], "answer": row["answer"]} for row in rows]


def test_mmlu(tmp_path: Path) -> None:
    """Answers as letters and as 0-based numbers; a file of all subjects does not pass for one."""
    rows = mmlu_rows(FIXTURES / "mmlu" / "test.csv")
    others = [rows[0] | {"subject": "virology"}, rows[0] | {"answer": 4}, rows[0] | {"choices": ["a", "b"]}, rows[0] | {"choices": ["a", "", "c", "d"]}]
    ours, _ = read("mmlu", FIXTURES / "mmlu" / "test.csv", benchmark="anatomy")
    hub, rejects = read("mmlu", parquet(tmp_path / "m.parquet", rows + others), benchmark="anatomy")
    assert [record | {"id": "", "origin_id": ""} for record in hub] == [record | {"id": "", "origin_id": ""} for record in ours]  # rejects lie between ours
    assert rejects == [("other_subject", 5), ("answer_not_among_options", 6), ("answer_not_among_options", 7), ("empty_option", 8)]


def medquad_xml(path: Path, source: str, document: str, pairs: list[tuple[int, str, str | None]]) -> list[dict]:
    """Write one of MedQuAD's files; returns its rows as lavita/MedQuAD has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inner = "".join(
        f'<QAPair pid="{pid}"><Question qid="{document}-{pid}">{escape(question)}</Question><Answer>{escape(answer or "")}</Answer></QAPair>'
        for pid, question, answer in pairs
    )
    path.write_text(f"<Document id={quoteattr(document)} source={quoteattr(source)}><QAPairs>{inner}</QAPairs></Document>", encoding="utf-8")
    common = {"document_source": source, "document_id": document}
    return [common | {"question_id": f"{document}-{pid}", "question": question, "answer": answer} for pid, question, answer in pairs]


def test_medquad(tmp_path: Path) -> None:
    """The Hub names neither folder nor file: files that carry the id of another keep names of their own, and removed answers stay removed."""
    folder = tmp_path / "xml"
    rows = medquad_xml(folder / "10_MPlus_ADAM_QA" / "0001.xml", "ADAM", "0001", [(1, "Do you know of a burn?", None), (3, "And of a cut?", None)])
    rows += medquad_xml(folder / "1_CancerGov_QA" / "0013_2.xml", "CancerGov", "0013_2", [(1, "What is a lump?", "A swelling."), (2, "Why & when?", None)])
    rows += medquad_xml(folder / "1_CancerGov_QA" / "0013_2_1.xml", "CancerGov", "0013_2", [(1, "What is a mole?", "A spot."), (4, "Who has one?", "Most.")])
    rows += medquad_xml(folder / "1_CancerGov_QA" / "0013_2_2.xml", "CancerGov", "0013_2", [(2, "Does it itch?", "No.")])
    with tarfile.open(tmp_path / "m.tar.gz", "w:gz") as archive:
        for path in sorted(folder.rglob("*.xml")):
            archive.add(path, arcname=str(path.relative_to(folder)))
    ours, hub = read("medquad", tmp_path / "m.tar.gz"), read("medquad", parquet(tmp_path / "m.parquet", rows))
    assert ours[0] == hub[0]
    names = ["0013_2-1", "0013_2_1-1", "0013_2_1-4", "0013_2_2-2"]
    assert [record["origin_id"] for record in hub[0]] == [f"medquad:train:1_CancerGov_QA/{name}" for name in names]
    assert hub[1] == [("removed_answer", 1), ("removed_answer", 2), ("empty_answer", 4)]
    strange = [rows[2] | {"document_source": "ours"}, rows[2] | {"question_id": "13"}, rows[2] | {"question_id": None}]
    assert read("medquad", parquet(tmp_path / "s.parquet", strange)) == ([], [("invalid_id", 1), ("invalid_id", 2), ("invalid_id", 3)])


def test_medquad_real(real_data: Path, tmp_path: Path) -> None:
    """All 47,441 pairs that the Hub has come out under the archive's names."""
    archive, sources = real_data / "medquad" / "medquad_xml_all.tar.gz", {folder: source for source, folder in medquad.FOLDERS.items()}
    rows = []
    with tarfile.open(archive) as members:
        for member in members:
            if not member.name.endswith(".xml"):
                continue
            root = medquad.ElementTree.fromstring(members.extractfile(member).read())
            for pair in root.findall("QAPairs/QAPair"):
                key = {"document_source": sources[member.name.removeprefix("./").split("/")[0]], "question_id": pair.find("Question").get("qid")}
                rows.append(key | {"question": pair.findtext("Question"), "answer": pair.findtext("Answer") or None})
    ours, hub = read("medquad", archive), read("medquad", parquet(tmp_path / "m.parquet", rows))
    assert ours[0] == hub[0] and len(hub[0]) == 16_407
    assert sorted({reason for reason, _ in hub[1]}) == ["empty_answer", "removed_answer"] and len(hub[1]) == 47_441 - 16_407
