"""What becomes of a row: agreement, edits that break a rule, translations that were replaced, the ledger's promises. About 2 seconds."""

import json
from pathlib import Path

import pytest

from data_prep import files
from data_prep.records import BadInput, Record
from data_prep.review_fold import settle, write
from data_prep.review_ledger import Ledger, key_of
from data_prep.review_page import label_config, task
from data_prep.review_queue import read
from data_prep.sources import records
from tests.conftest import command
from tests.data_prep.decided import QUEUE, corrected, decision, row


@pytest.mark.parametrize(
    ("one", "other", "state", "why"),
    [
        (("accept", 90, {}), ("accept", 70, {}), "accept", ""),
        (("accept", 90, {}), ("accept", 69, {}), "differ", "score"),
        (("accept", 90, {}), ("minor", 90, {"question": "ما المقصود بفقر الدم؟"}), "differ", "verdict, text"),
        (("minor", 90, {"question": "ما المقصود بفقر الدم؟"}), ("minor", 80, {"question": "  ما المقصود بفقر الدم؟\n"}), "minor", ""),
        (("minor", 90, {"question": "ما المقصود بفقر الدم؟"}), ("minor", 80, {"question": "ما معنى فقر الدم؟"}), "differ", "text"),
        (("reject", 10, {"question": "x"}), ("reject", 5, {}), "reject", ""),
        (("accept", 90, {}), None, "waiting", ""),
    ],
)
def test_two_readers(one: tuple, other: tuple | None, state: str, why: str) -> None:
    """The same verdict and text and scores at most 20 apart are agreement; what is rejected has no text to agree on; a shared row waits for its second."""
    of = row("a", readers=2)
    said = [decision(of, person, *told) for person, told in ((7, one), (8, other)) if told]
    found = settle(of, said)
    assert found.state == state and found.why == (f"the readers differ in {why}" if why else "")


@pytest.mark.parametrize(
    ("verdict", "score", "edits", "why"),
    [
        ("minor", 80, {"answer": "نقص 30 في الهيموغلوبين."}, "the edit breaks a rule (number_"),
        ("minor", 80, {"answer": " "}, "answer is empty"),
        ("accept", 80, {"answer": "قلة الهيموغلوبين."}, "accepted, but answer was changed"),
        ("major", 80, {}, "a major correction, but no text was changed"),
        (None, 80, {}, "no verdict"),
        ("accept", None, {}, "no score"),
        ("accept", 101, {}, "no score from 0 to 100"),
    ],
)
def test_a_decision_that_cannot_be_used_is_refused(verdict: str | None, score: float | None, edits: dict, why: str) -> None:
    """With a reason that says what to do; the machine's row stays out until it is mended."""
    of = row("a")
    found = settle(of, [decision(of, 7, verdict, score, edits)])
    assert found.state == "refused" and why in found.why


def test_what_the_page_showed_may_stand() -> None:
    """A reader who saw the rules' complaint and left it, or corrected something else, decides; a further fault of the same kind is refused."""
    of = row("a", rules=65)
    flag = of.row["rules"]["flags"][0]
    assert settle(of, [decision(of, 7, "accept", 90)]).state == "accept"
    of.row["rules"]["flags"] = [flag | {"rule": "number_added"}]
    assert settle(of, [decision(of, 7, "minor", 90, {"answer": "نقص 30 في الهيموغلوبين."})]).state == "minor"
    assert settle(of, [decision(of, 7, "minor", 90, {"answer": "نقص 30 في 40 من الهيموغلوبين."})]).state == "refused"


def test_the_last_word_of_each_counts_and_the_adjudicator_s_before_all(tmp_path: Path) -> None:
    """Whatever the order in which they are pulled, and however often."""
    of = row("a", readers=2)
    said = [decision(of, 7, "reject", 5, at=1), decision(of, 7, "accept", 90, at=3), decision(of, 8, "accept", 85, at=2)]
    judge = decision(of, 8, "reject", 20, at=4, stage="adjudication")
    for name, order in (("1", said), ("2", said[::-1]), ("3", said + said)):
        with Ledger(tmp_path / name) as ledger:
            ledger.push(QUEUE, [of])
            assert ledger.keep(order) == 3 and ledger.keep(order) == 0
            found = settle(of, ledger.last()[of.key])
            assert (found.state, [one.annotator for one in found.people], found.score) == ("accept", [8, 7], 87.5)
            ledger.keep([judge])
            assert (found := settle(of, ledger.last()[of.key])).state == "reject" and found.people == [judge] and len(found.readers) == 2


def test_a_page_of_decisions_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    """What breaks off in the middle leaves nothing half: the ledger is as it was. Two processes never share it."""
    of = row("a")
    with Ledger(tmp_path / "ledger") as ledger:

        def breaks() -> object:
            yield decision(of, 7, "accept", 90)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ledger.keep(breaks())
        assert ledger.count() == (0, 0) and ledger.keep([decision(of, 7, "accept", 90)]) == 1
        with pytest.raises(BadInput, match="another push or pull is using it"):
            Ledger(tmp_path / "ledger")
    (tmp_path / "text").write_text("no database")
    with pytest.raises(BadInput, match="cannot be used"):
        Ledger(tmp_path / "text")


def test_a_row_that_was_translated_anew(tmp_path: Path) -> None:
    """It is another row. What people made of the old one stands until they decide on the new, but not where its English has changed."""
    old = row("a")
    new = old._replace(row=old.row | {"ar": old.row["ar"] | {"answer": "قلة الهيموغلوبين."}})
    new = new._replace(row=new.row | {"record": new.row["record"] | {"answer": "قلة الهيموغلوبين."}}, key=key_of(new.row))
    other = row("a", english="What is leukaemia?")
    assert len({old.key, new.key, other.key}) == 3

    def folded(*rows_and_verdicts: tuple) -> list[str]:
        found = [settle(of, [decision(of, 7, verdict, 90, at=n)] if verdict else []) for n, (of, verdict) in enumerate(rows_and_verdicts)]
        write(found, tmp_path)
        path = tmp_path / "generated" / "medqa_ar.reviewed.jsonl"
        return [one.answer for one in records.read(path)] if path.exists() else []

    was = old._replace(current=False)
    (tmp_path / "generated").mkdir()
    assert folded((was, "accept"), (new, None)) == ["نقص في الهيموغلوبين."]
    assert folded((was, "accept"), (new, "accept")) == ["قلة الهيموغلوبين."]
    assert folded((new, "accept"), (was, "accept")) == ["قلة الهيموغلوبين."]
    assert folded((was, "accept"), (new, "reject")) == []
    assert folded((was, "accept"), (other, None)) == []


def test_a_row_of_two_queues_counts_in_both(tmp_path: Path) -> None:
    """Two recipes may translate the same question: it is read once, and what people decided is written beside each queue."""
    of = row("a")
    with Ledger(tmp_path / "ledger") as ledger:
        for name in ("one", "two", "one"):
            ledger.push(f"{name}.review.jsonl", [of._replace(queue=f"{name}.review.jsonl")])
        ledger.keep([decision(of, 7, "accept", 90)])
        found = [settle(row, ledger.last()[row.key]) for row in ledger.rows()]
        ledger.push("two.review.jsonl", [])
        assert [row.current for row in ledger.rows()] == [True, False]
    assert write(found, tmp_path) == {tmp_path / "one.reviewed.jsonl": 1, tmp_path / "two.reviewed.jsonl": 1}


def test_people_s_rows_are_read_before_the_machine_s(tmp_path: Path) -> None:
    """As `make data` reads them: the settled one in people's words, the rejected one not, the rest as it was; each that leaves is named."""
    rows = [row("a"), row("b"), row("c"), row("d")]
    said = {"a": ("minor", 80, corrected(rows[0])), "b": ("reject", 10, {})}
    (tmp_path / "generated").mkdir()
    write([settle(of, [decision(of, 7, *said[of.id[0]])] if of.id[0] in said else []) for of in rows], tmp_path)
    path = tmp_path / "generated" / "medqa_ar.jsonl"
    anew = rows[1].row["record"] | {"question": "ما معنى فقر الدم؟"}  # translated again: nobody rejected this one
    files.write_jsonl(path, [of.row["record"] for of in rows[:3]] + [anew])
    found = list(records.read(path, reviewed="medqa_ar.reviewed.jsonl", rejected="medqa_ar.rejected.jsonl"))
    told = [(one.id, one.question) if isinstance(one, Record) else (one.reason, one.row) for one in found]
    plain = rows[0].row["record"]["question"]
    assert told[:4] == [("a:ar", corrected(rows[0])["question"]), ("settled_by_people", 1), ("rejected_by_people", 2), ("c:ar", plain)]
    assert told[4:] == [("b:ar", "ما معنى فقر الدم؟")]
    (tmp_path / "generated" / "medqa_ar.rejected.jsonl").write_text("{\n")
    with pytest.raises(BadInput, match="pull --offline"):
        list(records.read(path, rejected="medqa_ar.rejected.jsonl"))
    line = json.loads((tmp_path / "generated" / "medqa_ar.reviewed.jsonl").read_text(encoding="utf-8"))
    path.write_text(json.dumps(line | {"reviewed": "yes"}) + "\n", encoding="utf-8")
    (reject,) = records.read(path)
    assert reject.reason == "invalid_reviewed" and "how the row was reviewed" in reject.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"score": "high"}, "a score is no number"),
        ({"rules": {}}, "not a row for review"),
        ({"ar": {"question": "x", "answer": "y"}}, "en, ar and record are not one row"),
        ({"en": {"question": "x"}}, "en, ar and record are not one row"),
        ({"record": {"kind": "qa"}}, "not a row for review"),
        ({"made": None, "id": "b:ar"}, "en, ar and record are not one row"),
        (None, "stands already in row 1"),
    ],
)
def test_a_queue_that_is_none_is_refused(tmp_path: Path, change: dict | None, words: str) -> None:
    """With file, row and what to do: a page that shows half a row would be worse."""
    line = row("a").row
    files.write_jsonl(tmp_path / "x.review.jsonl", [line, line | (change or {})] if change is None else [line | change])
    with pytest.raises(BadInput, match=words) as said:
        list(read(tmp_path / "x.review.jsonl", tmp_path, 0.1, 17))
    assert f"x.review.jsonl, row {2 if change is None else 1}" in str(said.value)


def test_the_page_shows_all_that_a_reader_needs() -> None:
    """Every text of both sides, the flag with the words of both sides beneath its text, the right answer, scores; what is HTML in a text stays text."""
    of = row("a", 62, "mcqa", rules=65)
    of.row["en"]["question"] = "<script>alert(1)</script>"
    of.row["rules"]["flags"][0] |= {"field": "options.2"}
    shown = task(of.key, of.row)
    assert [one["title"] for one in shown["fields"]] == ["Question", "Option A, the right answer", "Option B"]
    assert shown["fields"][2]["found"] == "error: x (English: \u20685\u2069)" and shown["fields"][0]["found"] == " "
    assert "machine's score 62, rules' score 65" in shown["about"] and "HyperText" not in label_config(adjudication=True)


def test_a_benchmark_of_what_people_settled_is_built(tmp_path: Path) -> None:
    """All test questions go to people: the machine's file is empty or not there, and the question sets hold what they settled. The account names both files."""
    rows = [row(name, kind="mcqa", split="test") for name in ("a", "b")]
    rows = [of._replace(queue="generated/benchmark_ar.review.jsonl") for of in rows]
    (tmp_path / "generated").mkdir()
    write([settle(of, [decision(of, 7, "minor", 80, corrected(of) | {"option_1": f"حديد {of.id[0]}"})]) for of in rows], tmp_path)
    (tmp_path / "ours.yaml").write_text("description: x\nroot: DATA\nseed: 1\nmcqa_answers: [letter]\nsources:\n  - {from: benchmark_ar}\n", encoding="utf-8")
    for machine in (False, True):
        if machine:
            (tmp_path / "generated" / "benchmark_ar.jsonl").touch()
        ran = command("data_prep.build", "--recipe", tmp_path / "ours.yaml", "--build", tmp_path)
        assert ran.code == 0, ran.said
        questions = (tmp_path / "data" / "ours" / "eval" / "medqa_ar.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["options"][0] for line in questions] == ["حديد a", "حديد b"]
        (entry,) = json.loads((tmp_path / "data" / "ours" / "manifest.json").read_text(encoding="utf-8"))["inputs"]
        assert (list(entry.get("beside", {})), entry["file"]) == (
            (["benchmark_ar.reviewed.jsonl"], "generated/benchmark_ar.jsonl") if machine else ([], "generated/benchmark_ar.reviewed.jsonl")
        )
