"""The figures of human review equal those worked out by hand, beside each. About 5 seconds."""

import json
from pathlib import Path

import pytest

from data_prep import review_figures
from data_prep.review_ledger import Ledger
from tests.data_prep.decided import QUEUE, corrected, decision, row
from tests.data_prep.reviewing import environment, review

# name, source, kind, machine's score, sampled, reader 7's verdict and score, reader 8's, the adjudicator's
SCRIPT = [
    ("r01", "medqa", "mcqa", 40, False, ("accept", 80), ("accept", 90), None),
    ("r02", "medqa", "mcqa", 90, True, ("accept", 95), ("accept", 95), None),
    ("r03", "medqa", "mcqa", 92, True, ("accept", 90), ("accept", 85), None),
    ("r04", "medquad", "qa", 85, True, ("accept", 90), ("accept", 70), None),
    ("r05", "medquad", "qa", 60, False, ("minor", 70), ("minor", 75), None),
    ("r06", "medquad", "qa", 70, False, ("minor", 65), ("minor", 65), None),
    ("r07", "medqa", "mcqa", 50, False, ("accept", 90), ("minor", 70), ("major", 40)),
    ("r08", "medqa", "mcqa", 95, True, ("minor", 60), ("accept", 80), ("reject", 10)),
    ("r09", "medquad", "qa", 20, False, ("reject", 5), ("reject", 10), None),
    ("r10", "medquad", "qa", 55, False, ("reject", 30), ("minor", 50), None),
    ("r11", "medqa", "mcqa", 75, False, ("major", 50), None, None),  # the rules found an error
    ("r12", "medqa", "mcqa", 30, False, ("major", 35), None, None),  # a test question
]


def scripted(build: Path) -> None:
    """The ledger that these decisions leave."""
    with Ledger(build / "review" / "ledger.sqlite") as ledger:
        for name, source, kind, score, sampled, *people in SCRIPT:
            one = row(name, score, kind, 2 if people[1] else 1, 10.0 if sampled else 1.0, 65 if name == "r11" else 100, source=source)
            if name == "r12":
                one = row(name, score, kind, source=source, split="test")
            ledger.push(f"{QUEUE}{name}", [one._replace(queue=f"{QUEUE}{name}")])
            for who, (person, said) in enumerate(zip((7, 8, 9), people, strict=True)):
                if said:
                    edits = corrected(one) if said[0] in ("minor", "major") else {}
                    ledger.keep([decision(one, person, *said, edits, at=who, stage="adjudication" if person == 9 else "review")])


def test_the_figures_are_those_by_hand(tmp_path: Path) -> None:
    """Shares, kappa, correlation and thresholds of twelve rows; the page says them, the picture is drawn, corrections become examples."""
    environment()
    scripted(tmp_path)
    ran = review("report", "--build", tmp_path)
    assert ran.code == 0, ran.said
    out = tmp_path / "review" / "report"
    found = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert found["states"] == {"accept": 4, "minor": 2, "major": 3, "reject": 2, "differ": 1} and (found["rows"], found["judged"]) == (12, 11)
    shares = {(one["source"], one["kind"]): [one["rows"], *(one[verdict] for verdict in ("accept", "minor", "major", "reject"))] for one in found["shares"]}
    assert shares == {
        ("medqa", "mcqa"): [7, 3 / 7, 0, 3 / 7, 1 / 7],  # r01 r02 r03; none; r07 r11 r12; r08
        ("medquad", "qa"): [4, 1 / 4, 2 / 4, 0, 1 / 4],  # r04; r05 r06; none; r09. r10 is not settled
        ("all", "mcqa"): [7, 3 / 7, 0, 3 / 7, 1 / 7],
        ("all", "qa"): [4, 1 / 4, 2 / 4, 0, 1 / 4],
        ("all", "all"): [11, 4 / 11, 2 / 11, 3 / 11, 2 / 11],
    }
    # 7 of 10 verdicts are the same; reader 7 said accept 5, minor 3, reject 2, reader 8 accept 5, minor 4, reject 1: by chance 0.25 + 0.12 + 0.02
    # differences of the scores: 10 + 0 + 5 + 20 + 5 + 0 + 20 + 20 + 5 + 20 = 105
    assert found["agreement"] == {"rows": 10, "same": 7, "kappa": pytest.approx((0.7 - 0.39) / 0.61), "apart": 10.5}
    assert found["pairs"] == [{"readers": [7, 8]} | found["agreement"]]
    # ranks of the 11 settled rows differ by 0, 1, 6, 0, 2, 0, 2, 0, 2, 0, 9: squares 130; 1 - 6 * 130 / (11 * (121 - 1))
    assert found["spearman"] == pytest.approx(1 - 780 / 1320) and found["scored"] == 11
    # majors: r07 at 50, r12 at 30, r11 in any case; below 51 lie r01 r07 r09 r12, with r11 5 of 11; sampled rows stand for 10: 4 * 10 + 7 = 47
    # with the rejected also r09 and r08 at 95: below 96 lies every row
    assert found["thresholds"] == {
        "major": {"rows read": {"threshold": 51, "caught": 1.0, "cost": 5 / 11}, "all rows": {"threshold": 51, "caught": 1.0, "cost": 5 / 47}},
        "major or reject": {"rows read": {"threshold": 96, "caught": 1.0, "cost": 1.0}, "all rows": {"threshold": 96, "caught": 1.0, "cost": 1.0}},
    }
    page = (out / "report.md").read_text(encoding="utf-8")
    assert "For research, not for clinical use." in page and "| medqa | mcqa | 7 | 42.9% | 0.0% | 42.9% | 14.3% |" in page
    assert "| 7 and 8 | 10 | 7 | 0.508 | 10.5 |" in page and "| major | all rows | 51 | 100.0% | 10.6% |" in page and "0.409" in page
    assert (out / "scores.png").read_bytes()[:4] == b"\x89PNG" and b"<svg" in (out / "scores.svg").read_bytes()
    examples = [json.loads(text) for text in (out / "examples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(one["id"], one["verdict"]) for one in examples] == [("r07:ar", "major"), ("r11:ar", "major"), ("r05:ar", "minor"), ("r06:ar", "minor")]
    assert examples[2]["arabic"]["question"].startswith("ما المقصود") and examples[2]["english"]["question"] == "What is anaemia?"


def test_what_cannot_be_worked_out_is_not_made_up(tmp_path: Path) -> None:
    """One row, one verdict: no kappa, no correlation, no threshold, and the page says so. Nothing pushed: an error."""
    assert "nothing was pushed" in review("report", "--build", tmp_path / "none").said
    with Ledger(tmp_path / "review" / "ledger.sqlite") as ledger:
        ledger.push(QUEUE, [one := row("a")])
        ledger.keep([decision(one, 7, "accept", 90)])
    assert review("report", "--build", tmp_path).code == 0
    found = json.loads((tmp_path / "review" / "report" / "report.json").read_text(encoding="utf-8"))
    assert (found["spearman"], found["agreement"]["kappa"], found["thresholds"]["major"]["all rows"]) == (None, None, None)
    page = (tmp_path / "review" / "report" / "report.md").read_text(encoding="utf-8")
    assert page.count("not defined") == 3 and "no faulty row" in page


def test_kappa_is_that_of_the_textbooks() -> None:
    """Cohen's own kind of table: 20 both yes, 15 both no, 5 and 10 apart of 50: observed 0.7, by chance 0.5, so 0.4. Always the same word: not defined."""
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    assert review_figures.kappa(pairs) == pytest.approx(0.4)
    assert review_figures.kappa([("yes", "no"), ("no", "yes")]) == pytest.approx(-1)
    assert review_figures.kappa([("yes", "yes")] * 3) is None and review_figures.kappa([]) is None


def test_the_threshold_catches_95_of_100_and_no_more_than_it_must() -> None:
    """20 faulty rows at 1 to 20 and 80 good ones at 50: 19 of 20 lie below 20, and 19 of 100 rows are sent. Ties at the line go together."""
    rows = [(score, False, True, 1.0) for score in range(1, 21)] + [(50, False, False, 1.0)] * 80
    assert review_figures.cut(rows) == (20, pytest.approx(0.95), pytest.approx(0.19))
    assert review_figures.cut([(100, False, True, 1.0)]) == (101, 1.0, 1.0)
    assert review_figures.cut([(90, True, True, 1.0), (10, False, False, 1.0)]) == (0, 1.0, 0.5)
    assert review_figures.cut([(90, False, False, 1.0)]) is None
