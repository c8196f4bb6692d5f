"""The figures of the chat evaluation against values worked out by hand: kappa, its interval, limits of agreement, Wilson, the gap; and the person's sheet."""

import csv
import io
import json
from pathlib import Path

import numpy
import pytest

from data_prep.records import BadInput
from eval.chat_agree import Pairing, agreement, criterion, kappa, pairing, scores
from eval.chat_rubric import rubric
from eval.chat_shares import figures, gap, share, wilson
from eval.chat_sheet import Rating, ratings
from tests.eval.chat_model import JUDGE, MODEL, OTHER, Listening, run, script

T, F, N = "true", "false", "not_applicable"


def pair(number: int, a: str, b: str, scored: tuple = (None, None), repeats: int = 1) -> list[tuple[Rating, Rating]]:
    """The verdicts of two raters on a chat, or on so many of one question."""
    return [
        tuple(
            Rating(f"{number}-{at}", f"open/q{number}:{at}:en", {"safe_advice": verdict}, frozenset(), score)
            for verdict, score in zip((a, b), scored, strict=True)
        )
        for at in range(repeats)
    ]


def table(*rows: tuple[int, str, str], repeats: int = 1) -> list[tuple[Rating, Rating]]:
    """(how many questions, first verdict, second verdict) each."""
    said = [(a, b) for count, a, b in rows for _ in range(count)]
    return [one for number, (a, b) in enumerate(said) for one in pair(number, a, b, repeats=repeats)]


def test_kappa_by_hand() -> None:
    """4 + 3 of 10 the same; by chance 0.6 * 0.5 + 0.4 * 0.5 = 0.5; so (0.7 - 0.5) / 0.5 = 0.4. With the third verdict 0.33 by chance, (0.8 - 0.33) / 0.67."""
    found = criterion(table((4, T, T), (2, T, F), (1, F, T), (3, F, F)), "safe_advice")
    assert (found["n"], found["same"], found["true"]) == (10, 0.7, [6, 5])
    assert found["kappa"] == pytest.approx(0.4) and found["low"] < 0.4 < found["high"]
    found = criterion(table((3, T, T), (1, T, F), (2, F, F), (1, F, N), (3, N, N)), "safe_advice")
    assert found["kappa"] == pytest.approx(0.47 / 0.67) and found["not_applicable"] == [3, 4]
    # worse than chance: each says what the other does not
    assert criterion(table((5, T, F), (5, F, T)), "safe_advice")["kappa"] == pytest.approx(-1)


def test_kappa_is_undefined_where_nobody_varies() -> None:
    """All true by both: the same in every chat, and no kappa, rather than 0 or 1; and no interval where most resamples are so."""
    found = criterion(table((9, T, T)), "safe_advice")
    assert (found["same"], found["kappa"], found["low"], found["undefined"]) == (1.0, None, None, 2000)
    found = criterion(table((9, T, T), (1, F, F)), "safe_advice")
    assert found["kappa"] == 1 and found["low"] is None  # 0.9 ** 10 = 35% of the resamples have no false in them
    assert found["undefined"] == pytest.approx(2000 * 0.9**10, abs=80)
    assert criterion(table((9, T, T)), "language") is None and numpy.isnan(kappa(numpy.zeros((3, 3))))


def test_the_interval_is_over_questions() -> None:
    """Four chats of each question that all say the same are no more evidence than one; the seed alone decides."""
    rows = [(20, T, T), (6, T, F), (5, F, T), (19, F, F)]
    once, fourfold = criterion(table(*rows), "safe_advice"), criterion(table(*rows, repeats=4), "safe_advice")
    assert (fourfold["n"], fourfold["questions"]) == (200, 50)
    assert [fourfold[key] for key in ("kappa", "low", "high")] == pytest.approx([once[key] for key in ("kappa", "low", "high")])
    assert criterion(table(*rows), "safe_advice") == once != criterion(table(*rows), "safe_advice", seed=18)
    # the large-sample standard error sqrt(po (1 - po) / n) / (1 - pe) = sqrt(0.78 * 0.22 / 50) / 0.5 = 0.117
    assert once["kappa"] == pytest.approx(0.56, abs=0.002) and (once["high"] - once["low"]) / 2 == pytest.approx(1.96 * 0.117, rel=0.08)


def test_limits_of_agreement_by_hand() -> None:
    """Differences 0, 5, -5, 10: mean 2.5, squares about it 6.25 + 6.25 + 56.25 + 56.25 = 125, deviation sqrt(125 / 3) = 6.455."""
    found = scores([one for number, both in enumerate([(80, 80), (85, 80), (60, 65), (90, 80), (70, None)]) for one in pair(number, T, T, both)])
    assert found == pytest.approx({"n": 4, "mean": 2.5, "deviation": 6.45497, "low": -10.15175, "high": 15.15175}, abs=1e-4)
    assert scores(pair(1, T, T, (50, 40))) == {"n": 1, "mean": 10, "deviation": None, "low": None, "high": None} and scores(pair(1, T, T)) is None


@pytest.mark.parametrize(("met", "n", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 2, 0.0945, 0.9055)])
def test_wilson(met: int, n: int, low: float, high: float) -> None:
    """For 0 of n the upper end is z² / (n + z²) = 3.8415 / 13.8415; the others as the formula has them."""
    assert wilson(met, n) == pytest.approx((low, high), abs=1e-4)


def test_a_share_of_nothing_is_none() -> None:
    """Not applicable is counted apart and in no denominator."""
    rows = [{"criteria": {"safe_advice": {"verdict": verdict}}} for verdict in (T, T, F, N)]
    assert {key: share(rows, "safe_advice")[key] for key in ("n", "met", "not_applicable")} == {"n": 3, "met": 2, "not_applicable": 1}
    assert share(rows[3:], "safe_advice")["share"] is None and share(rows, "language") is None
    with pytest.raises(ValueError, match="0 of 0"):
        wilson(0, 0)


def test_the_gap_by_hand() -> None:
    """Pairs of one question in both languages; what has no partner is in none. Two questions, of 3 pairs and 1: (1 + 0 + 1 + 0) / 4."""
    values = {
        ("q1", strength, lang): value
        for strength, both in (("mild", (1, 0)), ("strong", (1, 1)), ("neutral", (1, 0)))
        for lang, value in zip(("en", "ar"), both, strict=True)
    }
    values |= {("q2", None, "en"): 1.0, ("q2", None, "ar"): 1.0, ("q3", None, "en"): 0.0}
    found = gap(values, 17)
    assert (found["pairs"], found["questions"], found["gap"]) == (4, 2, 0.5)
    assert (found["low"], found["high"]) == (0, pytest.approx(2 / 3))  # q2 twice, or q1 twice
    assert gap({("q3", None, "en"): 1.0}, 17) is None


def test_the_curve_counts_each_strength_apart() -> None:
    """Refused when asked, believed when a text is wanted."""
    rows = [
        {"id": f"claims/{entry}:{strength}:{lang}", "entry": f"claims/{entry}", "set": "claims", "lang": lang, "strength": strength, "score": 50}
        | {"criteria": {"refuses_false_claim": {"verdict": T if strength == "neutral" or lang == "en" else F}}}
        for entry in "abc"
        for strength in ("neutral", "writing")
        for lang in ("en", "ar")
    ]
    curve = figures(rows, 17)["curve"]
    assert [(lang, strength, cell["met"], cell["n"]) for lang in curve for strength, cell in curve[lang].items() if cell] == [
        ("en", "neutral", 3, 3),
        ("en", "writing", 3, 3),
        ("ar", "neutral", 3, 3),
        ("ar", "writing", 0, 3),
    ]
    assert curve["en"]["mild"] is None


@pytest.fixture(scope="module")
def two_judges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The claims judged twice; the second judge takes every text in favour of a claim for safe."""

    def does(request: dict) -> object:
        said = script(request)
        if request["model"] == OTHER and "اكتب" in request["messages"][1]["content"]:
            return said | {"safe_advice": said["safe_advice"] | {"verdict": T}}
        return said

    build = tmp_path_factory.mktemp("agree")
    with Listening(does).serving():
        assert run("answer", "--model", MODEL, "--only", "urgent", "claims", "--build", build) == 0
        for name in (JUDGE, OTHER):
            assert run("judge", build / "chat" / MODEL, "--model", name) == 0
    return build / "chat" / MODEL


def test_a_person_fills_in_the_sheet(two_judges: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sheet is blind, in the order of a seed, opens in a spreadsheet, is never overwritten; filled in, it is compared with the judge."""
    sheet = tmp_path / "sheet.csv"
    assert run("agree", "--sheet", sheet, two_judges / "answers.jsonl", "--sample", 12) == 0
    assert sheet.read_bytes().startswith(b"\xef\xbb\xbf") and MODEL not in sheet.read_text(encoding="utf-8")
    assert run("agree", "--sheet", sheet, two_judges / "answers.jsonl") == 2 and "somebody may have filled it in" in capsys.readouterr().err
    rows = list(csv.DictReader(io.StringIO(sheet.read_text(encoding="utf-8-sig"))))
    assert len(rows) == 12 and [row["id"] for row in rows] != sorted(row["id"] for row in rows)
    judged = {row["key"]: row for row in map(json.loads, (two_judges / f"judged-{JUDGE}.jsonl").read_text(encoding="utf-8").splitlines())}
    for row in rows:
        row["score"] = str(judged[row["key"]]["score"] - 5) if row["key"] in judged else ""
        for name in rubric().criteria:
            assert (row[name] == "-") == (row["id"].split("/")[0] not in rubric().criteria[name].sets)
            if row[name] == "" and row["key"] in judged:
                verdict = judged[row["key"]]["criteria"][name]["verdict"]
                row[name] = {"true": "TRUE", "false": "لا"}[verdict]  # as a spreadsheet writes it, and in Arabic
    for delimiter in ",;":
        with sheet.open("w", encoding="utf-8", newline="") as out:
            written = csv.DictWriter(out, rows[0], delimiter=delimiter)
            written.writeheader()
            written.writerows(rows)
        assert run("agree", two_judges / f"judged-{JUDGE}.jsonl", sheet, "--out", tmp_path / "agreement.md") == 0
        found = json.loads((tmp_path / "agreement.json").read_text(encoding="utf-8"))
        assert 10 <= found["both"] <= 12 and {one["same"] for one in found["all"]["criteria"].values()} == {1.0}
        assert "language" in found["all"]["criteria"]  # a person can check the code too
        assert found["all"]["score"]["mean"] == 5 and found["all"]["score"]["deviation"] == 0
    assert "For research, not for clinical use" in capsys.readouterr().out
    rows[3]["safe_advice"] = "perhaps"
    with sheet.open("w", encoding="utf-8", newline="") as out:
        written = csv.DictWriter(out, rows[0])
        written.writeheader()
        written.writerows(rows)
    with pytest.raises(BadInput, match=r"sheet\.csv, row 5: column safe_advice: 'perhaps'; write true, false or na"):
        ratings(sheet)


def test_what_the_code_decided_in_both_is_not_compared() -> None:
    """A chat without words fails all by the code; the verdicts of two judges are those on the other chats. A person against the code is compared."""

    def rating(number: int, verdict: str, code: bool) -> Rating:
        return Rating(str(number), f"open/q{number}:en", {"safe_advice": verdict}, frozenset(["safe_advice"] if code else []), None)

    pairs = [(rating(1, T, False), rating(1, F, False)), (rating(2, F, True), rating(2, F, True)), (rating(3, F, True), rating(3, F, False))]
    found = agreement(Pairing(pairs, 0, 0))["all"]["criteria"]["safe_advice"]
    assert (found["n"], found["same"]) == (2, 0.5)
    assert agreement(Pairing(pairs[1:2], 0, 0))["all"]["criteria"] == {}


def test_two_judges_through_the_command(two_judges: Path, tmp_path: Path) -> None:
    """Where they differ, and where they only seem to agree: what code decides is not compared. Groups by language."""
    found = agreement(pairing(two_judges / f"judged-{JUDGE}.jsonl", two_judges / f"judged-{OTHER}.jsonl"))
    assert set(found["all"]["criteria"]) & {"answered", "language", "no_invented_dose"} == set()
    assert (found["both"], found["only_first"]) == (107, 0)
    arabic = found["ar"]["criteria"]["safe_advice"]
    # 44 claims and 10 urgent cases; 22 believed claims are unsafe to the first judge, 11 of them to the second: 43 of 54 the same, by chance 0.5549
    assert (arabic["n"], arabic["true"], arabic["same"]) == (54, [32, 43], pytest.approx(43 / 54))
    chance = (32 * 43 + 22 * 11) / 54**2
    assert arabic["kappa"] == pytest.approx((43 / 54 - chance) / (1 - chance)) and arabic["low"] < arabic["kappa"] < arabic["high"]
    assert found["en"]["criteria"]["safe_advice"]["kappa"] is None and found["all"]["criteria"]["refuses_false_claim"]["kappa"] == 1
    sheet = tmp_path / "other.jsonl"
    sheet.write_text('{"key": "x", "id": "open/a:en", "safe_advice": "na", "score": ""}\n', encoding="utf-8")
    with pytest.raises(BadInput, match="no chat in common"):
        pairing(two_judges / f"judged-{JUDGE}.jsonl", sheet)
    assert ratings(sheet)["x"].verdicts == {"safe_advice": N}
