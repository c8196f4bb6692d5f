"""What lm-eval leaves in its several forms is read as the same; what does not belong together is refused or left out aloud."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.records import BadInput
from eval.report import report
from eval.report_read import load
from tests.conftest import OFFLINE, ROOT, Trained, command
from tests.eval.test_report import page, row, rows
from tests.eval.written import DATE, both, ours, pattern, questions, samples, stock

TASKS = both("medqa", 40, pattern(40, 30), pattern(40, 18, first=5)) | both("anatomy", 10, pattern(10, 3), pattern(10, 5))


def test_stock_folders_are_read_as_ours(tmp_path: Path) -> None:
    """Likelihoods as strings, dates in the names, one folder deeper: the same tables, cell by cell."""
    mine = page(ours(tmp_path / "ours" / "m", TASKS))
    stock(tmp_path / "stock" / "some__m", TASKS, model_name="some/m")
    theirs = page(tmp_path / "stock")
    for section in ("Bilingual", "English", "Arabic", "English against Arabic"):
        assert rows(theirs, section) == rows(mine, section)


def test_older_results_are_not_mixed_in(tmp_path: Path) -> None:
    """lm-eval puts every run of a model into one folder: the newest is read, the others are named."""
    folder = stock(tmp_path / "m", TASKS)
    old = folder / f"results_{DATE.replace('2026', '2025')}.json"
    old.write_text(json.dumps({"results": {"bimedix_en_medqa": {"acc,none": 0.0}}, "n-samples": {"bimedix_en_medqa": {"effective": 40}}}), encoding="utf-8")
    text = page(folder)
    assert row(text, "English", "m")["MedQA"].startswith("75.0") and f"were left out: {old.name}" in text


def test_lm_evals_own_command(trained: Trained, tmp_path: Path) -> None:
    """The real thing: `lm_eval --log_samples` on the untrained base, then the report, which agrees with what lm-eval wrote."""
    tasks = "bimedix_en_medqa,bimedix_ar_medqa"
    line = [sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", f"pretrained={trained.base},dtype=float32", "--device", "cpu"]
    line += ["--include_path", "eval/tasks", "--tasks", tasks, "--metadata", json.dumps({"data": str(trained.questions)})]
    line += ["--output_path", str(tmp_path / "results"), "--log_samples"]
    ran = subprocess.run(line, cwd=ROOT, env=os.environ | OFFLINE, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    (results,) = (tmp_path / "results").glob("*/results_*.json")
    wrote = json.loads(results.read_text(encoding="utf-8"))["results"]
    told = command("eval.report", tmp_path / "results", "--out", tmp_path / "out")
    assert told.code == 0, told.said
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for lang, section in (("en", "English"), ("ar", "Arabic")):
        found = wrote[f"bimedix_{lang}_medqa"]
        assert row(text, section, "base")["MedQA"].startswith(f"{100 * found['acc,none']:.1f} ± {100 * found['acc_stderr,none']:.1f} [")
    assert "no chat template: raw prompt" in text and "zero-shot" in text


def test_questions_that_one_side_lacks_are_left_out_aloud(tmp_path: Path) -> None:
    """Another id here, another wording there: both sides lose them, a line says which, and p is that of the rest."""
    one, two = TASKS, json.loads(json.dumps(TASKS))
    two["bimedix_en_medqa"][0]["doc"]["id"] = "other:1"
    two["bimedix_en_medqa"][1]["doc"]["question"] += " (corrected)"
    text = page(ours(tmp_path / "a", one), ours(tmp_path / "b", two))
    lines = [line for line in text.splitlines() if line.startswith("- a and b: MedQA, English")]
    assert [line.split(": ", 2)[2] for line in lines] == [
        "1 question that only a answered (made:medqa:00000:en)",
        "1 question that only b answered (other:1)",
        "1 question with another wording, options or right answer on each side (made:medqa:00001:en)",
    ]
    assert row(text, "Differences between models", "a less b")["questions"] == "48"


def test_languages_are_paired_by_origin(tmp_path: Path) -> None:
    """A question without a translation, and one that stands twice under one origin, are in the cells of their language and in no pair."""
    tasks = json.loads(json.dumps(TASKS))
    tasks["bimedix_ar_medqa"].pop()
    tasks["bimedix_en_medqa"][1]["doc"]["origin_id"] = "made:medqa:00000"
    text = page(ours(tmp_path / "m", tasks))
    assert {line[1]: line[2] for line in rows(text, "English against Arabic")[1:]} == {"MedQA": "37", "Ana": "10"}
    assert "MedQA, English: 1 question of m whose origin stands several times (made:medqa:00000)" in text
    assert "MedQA: 1 question that m answered in English only (made:medqa:00039)" in text
    assert row(text, "English", "_questions_")["MedQA"] == "40" and row(text, "Arabic", "_questions_")["MedQA"] == "39"


def test_what_each_choice_changes(tmp_path: Path) -> None:
    """One model zero-shot, with five examples, and by whole answers in lm-eval's three metrics: each against the first, on the same questions."""
    text_rows = samples(questions("medqa", 40, "ar"), pattern(40, 24))
    for sample in text_rows:
        sample["acc_norm"], sample["acc_bytes"] = 1.0, sample["acc"]
    zero = TASKS | {"bimedix_ar_medqa_text": text_rows}
    five = both("medqa", 40, pattern(40, 36), pattern(40, 18, first=5))
    text = page(ours(tmp_path / "zero", zero, name="m", shots=0), ours(tmp_path / "five", five, name="m", shots=5))
    header, *found = rows(text, "What each choice changes")
    changes = {(line[1], line[2]): dict(zip(header, line, strict=True)) for line in found}
    assert changes["zero-shot → 5-shot", "English"]["before"] == "75.0" and changes["zero-shot → 5-shot", "English"]["after"] == "90.0"
    assert changes["zero-shot → 5-shot", "English"]["only after right"] == "6"
    assert changes["option letters → whole answers", "Arabic"]["after"] == "60.0"
    assert changes["option letters → whole answers per character", "Arabic"]["after"] == "100.0"
    assert "m (option letters, 5-shot)" in text and "## Differences between models" not in text  # one model has no rival


def test_models_asked_in_different_ways_are_not_tested(tmp_path: Path) -> None:
    """Five examples here, none there: a difference would be that of the examples too. The page says why there is no test."""
    text = page(ours(tmp_path / "a", TASKS, shots=0), ours(tmp_path / "b", TASKS, shots=5))
    assert "None can be tested: no two models were asked the same questions in the same way" in text
    assert "Differences between models" not in page(ours(tmp_path / "c", TASKS))


def test_more_systems_than_colours(tmp_path: Path) -> None:
    """Ten of them: all in the tables, each against the first, eight in the pictures."""
    folders = [ours(tmp_path / f"m{number}", both("medqa", 8, pattern(8, number % 8), pattern(8, 3))) for number in range(10)]
    systems, _, pictures = report(folders)
    text = page(*folders)
    assert len(rows(text, "English")) == 12 and len(rows(text, "Differences between models")) == 1 + 2 * 9
    assert "each is compared with the first" in text and b"the first 8 of 10 systems" in pictures["accuracies"]["svg"]
    assert len({system.label for system in systems}) == 10


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """The same model under the same conditions, twice."""
    text = page(ours(tmp_path / "a", TASKS, name="m"), ours(tmp_path / "b", TASKS, name="m"))
    assert {"m #1", "m #2"} <= {line[0] for line in rows(text, "English")}


def _results(folder: Path, change: Callable[[dict], object]) -> None:
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    change(content)
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")


def _samples(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = folder / "samples" / "bimedix_en_medqa.jsonl"
    path.write_text("".join(change(path.read_text(encoding="utf-8").splitlines(keepends=True))), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda folder: _results(folder, lambda found: found["results"]["bimedix_en_medqa"].update({"acc,none": 0.5})),
            "30 of 40 samples are right, the results say 50.00%",
        ),
        (lambda folder: _results(folder, lambda found: found["results"]["bimedix_en_medqa"].pop("acc,none")), "task bimedix_en_medqa: no accuracy"),
        (lambda folder: _results(folder, lambda found: found.pop("results")), "it has no `results`"),
        (lambda folder: _samples(folder, lambda lines: lines[:-1]), "of 39 samples are right"),
        (lambda folder: _samples(folder, lambda lines: lines[:1] + lines[:-1]), "sample 2: the question 'made:medqa:00000:en' stands twice"),
        (lambda folder: _samples(folder, lambda lines: [*lines[:-1], lines[-1][:50]]), "bimedix_en_medqa.jsonl: line 40: not JSON"),
        (lambda folder: _samples(folder, lambda lines: [lines[0].replace('"options"', '"choices"'), *lines[1:]]), "sample 1: KeyError('options')"),
        (
            lambda folder: _samples(folder, lambda lines: [lines[0].replace('"answer": 0', '"answer": 2'), *lines[1:]]),
            "option 1 is the likeliest and 3 is right",
        ),
        (
            lambda folder: _samples(folder, lambda lines: [lines[0].replace('"answer": 0', '"answer": 4'), *lines[1:]]),
            "sample 1: 4 options, 4 letters, answer 4",
        ),
        (lambda folder: (folder / "results.json").write_text('{"results": {', encoding="utf-8"), "results.json: not JSON"),
        (lambda folder: (folder / "results.json").unlink(), "`make eval` writes it"),
    ],
)
def test_files_that_do_not_belong_together(tmp_path: Path, spoil: Callable[[Path], object], words: str) -> None:
    """A message with folder, task and row; no report on a mixture of runs."""
    folder = ours(tmp_path / "m", TASKS)
    spoil(folder)
    with pytest.raises(BadInput) as told:
        load(folder)
    assert words in str(told.value) and str(folder) in str(told.value)


def test_bad_requests_are_messages(tmp_path: Path) -> None:
    """One line, status 2, nothing written."""
    folder = ours(tmp_path / "m", TASKS)
    for arguments, words in (([tmp_path], "`make eval` writes it"), ([folder, folder], "is named twice")):
        ran = command("eval.report", *arguments, "--out", tmp_path / "out")
        assert ran.code == 2 and words in ran.said and "Traceback" not in ran.said
    assert not (tmp_path / "out").exists()


def test_an_infinite_likelihood_is_no_json(tmp_path: Path) -> None:
    """Python writes it all the same, and it is read: the answer counts as one that could not be scored."""
    tasks = {"bimedix_en_medqa": samples(questions("medqa", 4, "en"), pattern(4, 2))}
    tasks["bimedix_en_medqa"][3]["filtered_resps"][0][0] = -math.inf
    assert row(page(ours(tmp_path / "m", tasks)), "Answers that could not be scored", "m")["share"] == "25.00%"
