"""The report says what was scored, how surely, and what was not: a benchmark that nobody ran must never read as a score of 0."""

import json
import math
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.report import Cell, cells, mean, report
from eval.tasks.bimedix.write import BENCHMARKS
from tests.conftest import command


def results(**accuracies: tuple[float, int]) -> dict:
    """What eval/run.py writes, for tasks named without their `bimedix_`: (accuracy from 0 to 1, questions)."""
    return {
        "model": "some/model",
        "data": "build/data/any/eval",
        "chat_template": True,
        "limit": None,
        "git_commit": "abc",
        "versions": {"lm_eval": "0.4.11"},
        "results": {f"bimedix_{task}": {"acc,none": accuracy} for task, (accuracy, _) in accuracies.items()},
        "n-samples": {f"bimedix_{task}": {"effective": n} for task, (_, n) in accuracies.items()},
    }


def lines(text: str, model: str) -> list[list[str]]:
    """The cells of a model's rows, one list a table."""
    return [[cell.strip() for cell in line.split("|")[2:-1]] for line in text.splitlines() if line.startswith(f"| {model} |")]


WHOLE = {f"{lang}_{benchmark}": (0.5, 100) for lang in ("en", "ar") for benchmark in BENCHMARKS}


def test_what_was_not_scored_is_absent() -> None:
    """A missing cell, the averages over it and the bilingual cell read `absent`; nothing reads 0."""
    scored = {name: score for name, score in WHOLE.items() if name != "ar_medqa"}
    bilingual, english, arabic = lines(report({"m": results(**scored)}), "m")
    place = BENCHMARKS.index("medqa")
    assert bilingual[place] == arabic[place] == bilingual[-1] == arabic[-1] == "absent"
    assert english[-1].startswith("50.0 ± ")
    assert not [cell for row in (bilingual, english, arabic) for cell in row if cell.startswith("0.0")]


def test_a_score_of_zero_is_a_score() -> None:
    """All wrong is not the same as not asked."""
    _, english, _ = lines(report({"m": results(en_medqa=(0.0, 1273))}), "m")
    assert english[BENCHMARKS.index("medqa")] == "0.0 ± 0.0 (n=1,273)"


def test_means_are_plain() -> None:
    """Bilingual is the mean of both languages, AVG the mean of the nine, whatever the numbers of questions (as in the paper)."""
    scored = WHOLE | {"en_medqa": (0.9, 1000), "ar_medqa": (0.1, 10), "en_anatomy": (0.95, 4)}
    bilingual, english, _ = lines(report({"m": results(**scored)}), "m")
    assert bilingual[BENCHMARKS.index("medqa")].startswith("50.0 ± ") and bilingual[BENCHMARKS.index("medqa")].endswith("(n=1,010)")
    assert english[-1].startswith(f"{(7 * 50 + 90 + 95) / 9:.1f} ± ")


@given(st.lists(st.booleans(), min_size=2, max_size=300))
def test_the_standard_error_is_lm_evals(right: list[bool]) -> None:
    """Sample standard deviation over the root of n, as lm-eval gives it for an accuracy."""
    (cell,) = cells(results(en_medqa=(sum(right) / len(right), len(right)))).values()
    assert math.isclose(cell.error, 100 * numpy.std(right, ddof=1) / math.sqrt(len(right)), abs_tol=1e-9)


@given(st.lists(st.builds(Cell, st.floats(0, 100), st.floats(0, 50), st.integers(1, 5000)), min_size=1, max_size=9))
def test_a_mean_lies_between(some: list[Cell]) -> None:
    """And is as sure as its cells together, at the least as the least sure of them."""
    found = mean(some)
    assert min(cell.accuracy for cell in some) - 1e-9 <= found.accuracy <= max(cell.accuracy for cell in some) + 1e-9
    assert found.error <= max(cell.error for cell in some) + 1e-9
    assert found.n == sum(cell.n for cell in some)
    assert mean([*some, None]) is None


@given(st.dictionaries(st.sampled_from([*WHOLE, "en_seen", "ar_seen"]), st.tuples(st.floats(0, 1), st.integers(1, 9999))))
def test_any_scores_make_whole_tables(scored: dict) -> None:
    """Every row has as many cells as its header."""
    widths = {line.count("|") for table in report({"a": results(**scored), "b": results()}).split("\n## ")[1:4] for line in table.splitlines() if "|" in line}
    assert widths == {len(BENCHMARKS) + 3}


def test_a_quick_look_says_so() -> None:
    """Scores of the first few questions must not pass for scores."""
    assert "first 20 questions of each task only" in report({"m": results(**WHOLE) | {"limit": 20}})
    assert "no chat template: raw prompt" in report({"m": results(**WHOLE) | {"chat_template": False}})


@pytest.mark.parametrize(
    ("scored", "code"),
    [
        ({"en_seen": (0.9, 72), "ar_seen": (1.0, 72)}, 0),
        ({"en_seen": (0.89, 72), "ar_seen": (1.0, 72)}, 1),
        ({"en_seen": (1.0, 72), "ar_seen": (0.0, 72)}, 1),
        ({"en_seen": (1.0, 72)}, 1),
    ],
)
def test_the_floor_of_the_demo(tmp_path: Path, scored: dict, code: int) -> None:
    """`make demo` must fail when training did not take, in either language, or when nobody looked."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "results.json").write_text(json.dumps(results(**scored)))
    ran = command("eval.report", tmp_path / "tiny", "--seen-floor", 90)
    assert ran.code == code, ran.said
    assert ("training did not take" in ran.said) == bool(code)
    assert (tmp_path / "tiny" / "report.md").read_text(encoding="utf-8").startswith("# Evaluation\n\n**For research, not for clinical use.**")


def test_no_results_no_report(tmp_path: Path) -> None:
    """The message says which command writes them."""
    ran = command("eval.report", tmp_path)
    assert ran.code == 2 and "`make eval` writes it" in ran.said and "Traceback" not in ran.said
