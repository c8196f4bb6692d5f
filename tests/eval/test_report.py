"""The report says what was scored, how surely, and what was not: a benchmark that nobody ran must never read as a score of 0."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, sem

from eval import published
from eval.report import blocks, report
from eval.report_page import Table, markdown
from eval.report_read import load, name_systems
from eval.tasks.bimedix.write import BENCHMARKS
from tests.conftest import command
from tests.eval.written import bare, both, ours, pattern, questions, samples

WHOLE = {f"{lang}_{benchmark}": (0.5, 100) for lang in ("en", "ar") for benchmark in BENCHMARKS}


def page(*folders: Path, mode: str = "named") -> str:
    """report.md without its pictures' bytes."""
    return markdown(report(list(folders), mode)[1])


def rows(text: str, section: str) -> list[list[str]]:
    """The first table of a section, header first."""
    _, found, rest = text.partition(f"\n## {section}")
    assert found, f"no section {section} in:\n{text}"
    lines = [line for line in rest.split("\n## ")[0].split("\n\n<details>")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if not line.startswith("| ---")]


def row(text: str, section: str, name: str) -> dict[str, str]:
    """The row of that name as header -> cell."""
    header, *others = rows(text, section)
    return next(dict(zip(header, line, strict=True)) for line in others if line[0] == name)


def test_what_was_not_scored_has_no_figure(tmp_path: Path) -> None:
    """A cell that one system lacks, the average over it and the bilingual cell are words; a line names the set; nothing reads 0."""
    scored = {name: score for name, score in WHOLE.items() if name != "ar_medqa"}
    text = page(bare(tmp_path / "whole", **WHOLE), bare(tmp_path / "less", **scored))
    for section in ("Bilingual", "Arabic"):
        cells = row(text, section, "less")
        assert cells["MedQA"] == cells["AVG"] == "not scored"
        assert not [cell for cell in cells.values() if cell.startswith("0.0")]
    assert row(text, "English", "less")["AVG"].startswith("50.0 ± ")
    assert text.count("less was not scored on MedQA (not asked for).") == 2


def test_what_nobody_scored_is_one_line(tmp_path: Path) -> None:
    """The demo's case: no column and no row of words for it, but the reason in a line."""
    folder = ours(tmp_path / "few", both("medqa", 4, pattern(4, 2), pattern(4, 1)), absent=[f"bimedix_{lang}_anatomy" for lang in ("en", "ar")])
    text = page(folder)
    assert rows(text, "English")[0] == ["system", "MedQA"] and "not scored" not in text
    assert len(re.findall("Not scored: CKG, .*Ana, MedMCQA, PubMedQA .*questions not prepared.* AVG needs all nine sets", text)) == 1
    english = ours(
        tmp_path / "other", both("medqa", 4, pattern(4, 2), pattern(4, 1)) | {"bimedix_en_anatomy": samples(questions("anatomy", 4, "en"), pattern(4, 2))}
    )
    assert len(re.findall("Not scored: CKG, .* AVG needs all nine sets", page(english))) == 3  # where the tables differ each says it itself


def test_what_failed_is_told(tmp_path: Path) -> None:
    """With its reason, as eval/run.py wrote it down."""
    folder = ours(tmp_path / "m", both("medqa", 4, pattern(4, 2), pattern(4, 1)), failed={"bimedix_ar_anatomy": "out of memory at batch size 8"})
    assert "Ana failed: out of memory at batch size 8" in page(folder)


def test_a_language_that_nobody_asked(tmp_path: Path) -> None:
    """English sets alone: one line, no Arabic table, no bilingual one."""
    text = page(bare(tmp_path / "m", en_medqa=(0.5, 100)))
    assert "No benchmark in Arabic was scored, so there is no bilingual table either." in text
    assert "## Arabic" not in text and "## Bilingual" not in text


def test_a_score_of_zero_is_a_score(tmp_path: Path) -> None:
    """All wrong is not the same as not asked, and its interval says what can still be."""
    assert row(page(bare(tmp_path / "m", en_medqa=(0.0, 1273))), "English", "m")["MedQA"] == "0.0 ± 0.0 [0.0, 0.3]"


def test_means_are_plain(tmp_path: Path) -> None:
    """Bilingual is the mean of both languages, AVG the mean of the nine, whatever the numbers of questions (as in the paper)."""
    text = page(bare(tmp_path / "m", **WHOLE | {"en_medqa": (0.9, 1000), "ar_medqa": (0.1, 10), "en_anatomy": (0.95, 20)}))
    assert row(text, "Bilingual", "m")["MedQA"].startswith("50.0 ± ")
    assert row(text, "English", "m")["AVG"].startswith(f"{(7 * 50 + 90 + 95) / 9:.1f} ± ")
    assert "cannot be paired" in text  # no samples: the error of the bilingual cells says what it leaves out


def test_the_bilingual_error_is_that_of_the_pairs(tmp_path: Path) -> None:
    """The questions of both languages go together here, so the error is larger than that of independent sets."""
    english, arabic = pattern(200, 120), pattern(200, 100)
    text = page(ours(tmp_path / "m", both("medqa", 200, english, arabic)))
    cell = row(text, "Bilingual", "m")["MedQA"]
    error = 100 * sem((np.array(english, float) + np.array(arabic, float)) / 2)
    assert cell.startswith(f"55.0 ± {error:.1f} [") and error > 3.2  # independent: 2.5
    assert row(text, "Bilingual", "_pairs_")["MedQA"] == "200"


COUNTS = st.integers(1, 9999).flatmap(lambda n: st.tuples(st.integers(0, n).map(lambda right: right / n), st.just(n)))


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from([*WHOLE, "en_seen", "ar_seen"]), COUNTS))
def test_any_scores_make_whole_tables(tmp_path_factory: pytest.TempPathFactory, scored: dict) -> None:
    """Every row has as many cells as its header."""
    folder = tmp_path_factory.mktemp("any")
    systems = [*load(bare(folder / "a", **scored)), *load(bare(folder / "b"))]
    name_systems(systems)
    for table in blocks(systems, "all", {}, []):
        assert not isinstance(table, Table) or {len(line) for line in table.rows} <= {len(table.header)}


def test_a_quick_look_says_so(tmp_path: Path) -> None:
    """Scores of the first few questions must not pass for scores."""
    tasks = both("medqa", 20, pattern(20, 10), pattern(20, 5))
    assert "**first 20 questions of each task only**" in page(ours(tmp_path / "a", tasks, limit=20))
    assert "no chat template: raw prompt" in page(ours(tmp_path / "b", tasks, chat_template=False))
    assert "5-shot" in page(ours(tmp_path / "c", tasks, shots=5))


def planted(folder: Path) -> tuple[Path, Path, tuple[int, int]]:
    """Two systems on 1,000 questions, 3 points apart: 130 are answered right by the first alone, 100 by the second alone."""
    first = [place < 700 for place in range(1000)]
    second = [(130 <= place < 700) or (700 <= place < 800) for place in range(1000)]
    wrong = [False] * 1000
    made = [ours(folder / name, both("medmcqa", 1000, right, wrong)) for name, right in (("ours", first), ("theirs", second))]
    return *made, (130, 100)


def test_a_planted_difference(tmp_path: Path) -> None:
    """Of 3 points on 1,000 questions: the p value is that of scipy's exact test of the discordant pairs, in the Markdown and in the HTML."""
    one, other, (b, c) = planted(tmp_path)
    ran = command("eval.report", one, other, "--out", tmp_path / "out")
    assert ran.code == 0, ran.said
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    found = row(text, "Differences between models", "ours less theirs")
    p = binomtest(b, b + c).pvalue
    assert (found["only first right"], found["only second right"], found["p"]) == ("130", "100", f"{p:.4f}") and 0.04 < p < 0.06
    assert found["difference, points"].startswith("+3.0 [") and found["p, Holm"] == f"{min(1, 2 * p):.2f}"  # two languages in the table
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"<td>{p:.4f}</td>" in html
    for name in ("accuracies", "languages", "calibration"):
        assert (tmp_path / "out" / "figures" / f"{name}.svg").stat().st_size > 5000
        assert (tmp_path / "out" / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert not list((tmp_path / "out").rglob(".*")), "a half-written file was left"


def test_printed_values_stand_beside(tmp_path: Path) -> None:
    """Of the systems that eval/models.yaml ties to the paper; all of the paper's with --published; the wrong average is marked."""
    tasks = {task: rows for name in BENCHMARKS for task, rows in both(name, 8, pattern(8, 5), pattern(8, 4)).items()}
    folder = ours(tmp_path / "run", tasks, name="bimedix-bi")
    text = page(folder)
    assert row(text, "Arabic", "_paper: BiMediX (Bilingual)_")["AVG"] == "56.5 (wrong: 57.3)"
    assert row(text, "Bilingual", "_paper: BiMediX (Bilingual)_")["MedQA"] == "54.0"
    arabic = text.split("\n## Arabic")[1].split("\n## ")[0]
    assert "lies inside our 95% interval in 9 of 9 sets" in arabic and "_paper: Jais-30B_" not in text  # 4 of 8: 21.5 to 78.5
    all_right = {task: rows for name in BENCHMARKS for task, rows in both(name, 8, pattern(8, 8), pattern(8, 8)).items()}
    arabic = page(ours(tmp_path / "best", all_right, name="bimedix-bi")).split("\n## Arabic")[1].split("\n## ")[0]
    assert "lies inside our 95% interval in 1 of 9 sets" in arabic  # 8 of 8: from 67.6 on, and PubMedQA is printed as 78.4
    everything = page(folder, mode="all")
    for lang, section in (("bi", "Bilingual"), ("en", "English"), ("ar", "Arabic")):
        assert {f"_paper: {name}_" for name in published.rows(lang)} <= {line[0] for line in rows(everything, section)}
    assert "paper" not in page(folder, mode="none").lower()


def test_commands_and_versions_stand_under_each_table(tmp_path: Path) -> None:
    """The very command where it was recorded."""
    tasks = both("medqa", 8, pattern(8, 5), pattern(8, 4))
    text = page(ours(tmp_path / "m", tasks, command=["python", "-m", "eval.run", "--model", "some/m"], task_versions={"bimedix_en_medqa": 2.0}, seconds=61.2))
    line = "m: `python -m eval.run --model some/m`; lm_eval 0.4.11; task version 2.0; commit abc; 61 s"
    tables = [part for part in text.split("\n## ")[1:] if "|" in part]
    assert len(tables) >= 4 and all(line in part for part in tables)


def test_answers_that_could_not_be_scored(tmp_path: Path) -> None:
    """Missing, not finite, cut for length and tied, each counted once, and told how many ties were counted right."""
    tasks = both("medqa", 10, pattern(10, 5), pattern(10, 5))
    spoilt = tasks["bimedix_en_medqa"]
    spoilt[0]["filtered_resps"] = []
    spoilt[1]["filtered_resps"][2][0] = float("nan")
    spoilt[2]["filtered_resps"][3][0] = float("-inf")
    spoilt[3]["truncated"] = True
    spoilt[4]["filtered_resps"][1][0] = spoilt[4]["filtered_resps"][0][0] = -0.1
    text = page(ours(tmp_path / "m", tasks))
    found = row(text, "Answers that could not be scored", "m")
    assert found == {
        "system": "m",
        "language": "English",
        "answers": "10",
        "no response": "1",
        "a likelihood that is no number": "2",
        "cut for length": "1",
        "a tie for the likeliest option": "1 (1 counted right)",
        "share": "50.00%",
    }
    assert "None: every option" in page(ours(tmp_path / "whole", both("medqa", 4, pattern(4, 2), pattern(4, 2))))


@pytest.mark.parametrize(
    ("scored", "code"),
    [
        ({"en_seen": (64 / 72, 72), "ar_seen": (1.0, 72)}, 1),
        ({"en_seen": (65 / 72, 72), "ar_seen": (1.0, 72)}, 0),
        ({"en_seen": (1.0, 72), "ar_seen": (0.0, 72)}, 1),
        ({"en_seen": (1.0, 72)}, 1),
    ],
)
def test_the_floor_of_the_demo(tmp_path: Path, scored: dict, code: int) -> None:
    """`make demo` must fail when training did not take, in either language, or when nobody looked."""
    ran = command("eval.report", bare(tmp_path / "tiny", **scored), "--seen-floor", 90)
    assert ran.code == code, ran.said
    assert ("training did not take" in ran.said) == bool(code)
    assert (tmp_path / "tiny" / "report.md").read_text(encoding="utf-8").startswith("# Evaluation\n\n**For research, not for clinical use.**")
    assert "For research, not for clinical use." in (tmp_path / "tiny" / "report.html").read_text(encoding="utf-8")


def test_one_question_makes_a_page(tmp_path: Path) -> None:
    """The smallest run there is."""
    text = page(ours(tmp_path / "m", {"bimedix_ar_medqa": samples(questions("medqa", 1, "ar"), [True])}))
    assert row(text, "Arabic", "m")["MedQA"] == "100.0 [20.7, 100.0]"
