"""The command that judges a file: rows in, the same rows with score and flags out, rejects beside them, texts that repeat, nothing left behind."""

import hashlib
import json
from pathlib import Path

import pytest

from data_prep.quality import judge, rejected_beside
from data_prep.quality_file import Repeats
from tests.conftest import command

FEVER = {"id": "a", "en": "The patient has a fever.", "ar": "المريض يعاني من الحمى."}
COUGH = {"id": "b", "en": "The doctor examined the heart and the lungs.", "ar": "فحص الطبيب القلب والرئتين."}


def rows(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write(path: Path, *content: dict | str) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)) + "\n" for line in content), encoding="utf-8")
    return path


def rules(row: dict) -> dict[str, str]:
    return {flag["rule"]: flag["severity"] for flag in row["flags"]}


def test_the_command(tmp_path: Path) -> None:
    """Rows keep their order and keys; the closing line has path, counts and checksum; the report names the rules; nothing is left aside."""
    source = write(tmp_path / "pairs.jsonl", FEVER | {"note": "kept"}, COUGH | {"ar": "Here is the translation: فحص الطبيب القلب."})
    out, page = tmp_path / "out" / "checked.jsonl", tmp_path / "out" / "report.md"
    ran = command("data_prep.quality", "--in", source, "--out", out, "--report", page)
    assert ran.code == 0, ran.said
    found = rows(out)
    assert [row["id"] for row in found] == ["a", "b"] and found[0]["note"] == "kept"
    assert found[0]["score"] == 100 and found[0]["flags"] == [] and found[1]["score"] < 80 and "chatter" in rules(found[1])
    assert ran.said.splitlines()[-1] == f"{out}: 2 pairs, 1 below 80, 0 rejected; sha256 {hashlib.sha256(out.read_bytes()).hexdigest()[:16]}"
    assert "| chatter | error | 1 | 50.00% |" in page.read_text(encoding="utf-8")
    assert sorted(path.name for path in out.parent.iterdir()) == ["checked.jsonl", "report.md"]
    assert "pairs a second" in command("data_prep.quality", "--in", source, "--bench").said


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{broken", "malformed_json"),
        ('{"id": "x", "en": "a", "en": "b", "ar": "c"}', "malformed_json"),
        (FEVER | {"id": ""}, "empty_id"),
        (FEVER | {"id": 7}, "empty_id"),
        (FEVER | {"en": "  "}, "empty_en"),
        ({"id": "x", "en": "Fever."}, "empty_ar"),
        (FEVER | {"ar": ["a"]}, "invalid_form"),
        (FEVER | {"en": 3}, "invalid_form"),
        ({"id": "x", "en": {"title": "Fever"}, "ar": {"title": "حمى"}}, "invalid_form"),
        ({"id": "x", "en": {"options": "Fever"}, "ar": {"options": ["حمى"]}}, "invalid_form"),
        ({"id": "x", "en": [{"value": 3}], "ar": []}, "invalid_form"),
        ('{"id": "x", "en": "Fever \\ud800", "ar": "حمى"}', "invalid_text"),
    ],
)
def test_bad_rows_are_rejected_with_place_and_fix(tmp_path: Path, row: dict | str, reason: str) -> None:
    """A row that cannot be judged is counted and kept with file, row and fix; the others are judged."""
    out = tmp_path / "checked.jsonl"
    account = judge(write(tmp_path / "pairs.jsonl", FEVER, row, COUGH), out)
    assert account.rejected == {reason: 1} and [row["id"] for row in rows(out)] == ["a", "b"]
    reject = rows(rejected_beside(out))[0]
    assert reject["reason"] == reason and reject["file"] == "pairs.jsonl" and reject["row"] == 2 and ";" in reject["message"]
    judge(write(tmp_path / "pairs.jsonl", FEVER), out)
    assert not rejected_beside(out).exists()


def test_an_empty_translation_is_no_reject(tmp_path: Path) -> None:
    """Nothing in the Arabic is what the rules are for."""
    out = tmp_path / "checked.jsonl"
    judge(write(tmp_path / "pairs.jsonl", FEVER | {"ar": ""}), out)
    assert rules(rows(out)[0]) == {"empty": "error"}


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    """No file, no row, no place to write: one line that says what to do, exit code 2, and the old output stays."""
    out = write(tmp_path / "checked.jsonl", "old")
    for source in (tmp_path / "none.jsonl", write(tmp_path / "empty.jsonl"), write(tmp_path / "bad.jsonl", "{")):
        ran = command("data_prep.quality", "--in", source, "--out", out)
        assert ran.code == 2 and ran.said.count("error: ") == 1 and "Traceback" not in ran.said and out.read_text(encoding="utf-8") == "old\n"
    ran = command("data_prep.quality", "--in", write(tmp_path / "pairs.jsonl", FEVER), "--out", out / "below" / "x.jsonl")
    assert ran.code == 2 and "cannot be written" in ran.said
    assert not list(tmp_path.glob(".*"))


def test_the_same_arabic_for_different_english(tmp_path: Path) -> None:
    """Both rows are flagged, each with the other as evidence; vowel signs and digits make no other Arabic."""
    out = tmp_path / "checked.jsonl"
    judge(write(tmp_path / "pairs.jsonl", FEVER, COUGH, FEVER | {"id": "c", "en": "The doctor ordered a fever chart.", "ar": "المريضُ يعاني من الحمى"}), out)
    found = rows(out)
    assert [rules(row).get("same_arabic") for row in found] == ["error", None, "error"]
    assert found[0]["flags"][-1]["other"] == "c" and "chart" in found[0]["flags"][-1]["evidence"]["en"] and found[0]["score"] < 80


def test_near_wordings_and_short_texts_are_only_warned_of(tmp_path: Path) -> None:
    """Flu and influenza are one word in Arabic, and two wordings of one sentence may have one translation, but not with another number."""
    pairs = [("Flu", "الإنفلونزا"), ("Influenza", "الإنفلونزا")]
    pairs += [("The patient has a high fever.", "المريض يعاني من حمى شديدة."), ("The patient has high fever.", "المريض يعاني من حمى شديدة.")]
    pairs += [("Take 5 tablets of it.", "تناول خمسة أقراص منه."), ("Take 6 tablets of it.", "تناول خمسة أقراص منه.")]
    out = tmp_path / "checked.jsonl"
    judge(write(tmp_path / "pairs.jsonl", *({"id": str(n), "en": en, "ar": ar} for n, (en, ar) in enumerate(pairs))), out)
    assert [rules(row)["same_arabic"] for row in rows(out)] == ["warning"] * 4 + ["error"] * 2


def test_the_same_english_for_different_arabic(tmp_path: Path) -> None:
    """Two translations of one text may both be right: a warning with both; an id that stands twice is told the second time."""
    out = tmp_path / "checked.jsonl"
    judge(write(tmp_path / "pairs.jsonl", FEVER, FEVER | {"ar": "لدى المريض حمى."}, FEVER | {"id": "d"}), out)
    found = rows(out)
    assert [rules(row).get("same_english") for row in found] == ["warning"] * 3 and [rules(row).get("same_id") for row in found] == [None, "warning", None]


def test_repeats_are_found_across_records() -> None:
    """Objects and lists are compared by all that they say; a file without repeats needs no second look."""
    repeats = Repeats()
    for name, en, ar in (
        ("1", {"question": "A fever?"}, {"question": "حمى؟"}),
        ("2", [{"from": "human", "value": "A cough"}], [{"from": "human", "value": "سعال"}]),
    ):
        repeats.add(name, en, ar)
    assert not repeats.find()
