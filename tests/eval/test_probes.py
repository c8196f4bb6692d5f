"""The probes change the form of a question and nothing else, and their shares are those that one counts by hand."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.records import MultipleChoice
from eval.tasks.bimedix import questions
from tests.conftest import Trained, command

WORDS = st.text(alphabet="abc xyz", min_size=1, max_size=12).filter(str.strip)


def question(lang: str, text: str, options: list[str], answer: int) -> dict:
    """As `make data` writes it."""
    fields = dict(source="s", split="test", benchmark="anatomy", question=text, options=options, answer=answer)
    return MultipleChoice(id=f"s:1:{lang}", origin_id="s:1", lang=lang, **fields).evaluation().model_dump()


@given(st.lists(WORDS, min_size=2, max_size=5, unique=True), st.integers(0, 4), st.integers(1, 3))
def test_a_rotated_question_is_the_question_with_its_options_moved(options: list[str], answer: int, by: int) -> None:
    """Worded as the builder of all prompts words it, the same option right."""
    row = question("en", "Which one?", options, answer % len(options))
    turned = questions.rotated(row, by)
    if by >= len(options):
        assert turned is None
        return
    moved = options[by:] + options[:by]
    assert turned == question("en", "Which one?", moved, moved.index(options[row["answer"]]))


@pytest.mark.parametrize(
    "option",
    ["All of the above", "None of these", "Both A and B", "A and C", "both of them", "All", "كل ما سبق", "لا شيء مما سبق", "أ و ج", "جميع ما ذكر", "كلاهما"],
)
def test_options_that_speak_of_others_are_not_moved(option: str) -> None:
    """In another place they would mean something else."""
    assert questions.rotated(question("ar", "أي مما يلي؟", ["الكبد", "القلب", "الرئة", option], 3), 1) is None


@pytest.mark.parametrize("option", ["Abovo", "Vitamin A", "Overall health", "Small bowel", "الكلية", "السابقة للولادة", "أنبوب"])
def test_other_options_are(option: str) -> None:
    """Most questions must stay in the probe."""
    assert questions.rotated(question("ar", "أي مما يلي؟", ["الكبد", "القلب", "الرئة", option], 3), 1)["options"][2] == option


def test_digits_are_written_in_the_other_way_and_names_are_not() -> None:
    """Doses change their look, CD4 and B12 do not; a question without digits is not in the probe."""
    row = question("ar", "جرعة 250 ملغ من B12 مع CD4 و ٣ مرات", ["5 أيام", "10 أيام"], 1)
    indic, western = questions.probe("indic")(row), questions.probe("western")(row)
    assert indic == question("ar", "جرعة ٢٥٠ ملغ من B12 مع CD4 و ٣ مرات", ["٥ أيام", "١٠ أيام"], 1)
    assert western == question("ar", "جرعة 250 ملغ من B12 مع CD4 و 3 مرات", ["5 أيام", "10 أيام"], 1)
    assert questions.probe("indic")(question("ar", "ما فيتامين B12؟", ["هذا", "ذاك"], 0)) is None


def sample(name: str, likelihoods: list[float], answer: int) -> dict:
    doc = {"id": name, "origin_id": name, "answer": answer, "options": [str(number) for number in likelihoods]}
    return {"doc": doc, "filtered_resps": [[str(one), "False"] for one in likelihoods]}


def test_shares_are_those_counted_by_hand(tmp_path: Path) -> None:
    """Three questions in English, rotated once and twice; two of them in Arabic."""
    (tmp_path / "samples").mkdir()
    written = {
        # q1: option 0 each time (at place 2 after one step, at 1 after two); q2: always the first letter; q3: a tie is no choice
        "bimedix_en_anatomy": [sample("q1", [0, -1, -2], 0), sample("q2", [0, -1, -2], 1), sample("q3", [0, 0, -2], 0)],
        "bimedix_en_anatomy_rotated1": [sample("q1", [-1, -2, 0], 2), sample("q2", [0, -1, -2], 0), sample("q3", [0, -1, -2], 2)],
        "bimedix_en_anatomy_rotated2": [sample("q1", [-1, 0, -2], 1), sample("q2", [0, -1, -2], 2), sample("q3", [0, -1, -2], 1)],
        "bimedix_ar_anatomy": [sample("q1", [0, -1, -2], 0), sample("q2", [-1, 0, -2], 1)],
    }
    for task, samples in written.items():
        (tmp_path / "samples" / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples), encoding="utf-8")
    ran = command("eval.probes", tmp_path)
    assert ran.code == 0, ran.said
    found = json.loads((tmp_path / "probes.json").read_text(encoding="utf-8"))
    order = found["order"]["anatomy_en"]
    assert (order["n"], order["same"], order["always_right"]) == (3, pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert order["accuracy"] == pytest.approx([1 / 3, 2 / 3, 1 / 3]) and order["mean_accuracy"] == pytest.approx(4 / 9)
    language = found["language"]["anatomy"]
    # English chose 0 and 0, Arabic 0 and 1: by chance 2/2 * 1/2
    assert (language["n"], language["same"], language["by_chance"]) == (2, 0.5, 0.5)
    text = (tmp_path / "probes.md").read_text(encoding="utf-8")
    assert "not for clinical use" in text and "Not scored" in text


def test_the_probes_run_on_a_model(trained: Trained, tmp_path: Path) -> None:
    """The public commands on our own questions; rotating changes what is read."""
    tasks = ["bimedix_ar_medqa", *(f"bimedix_ar_medqa_{form}" for form in ("rotated1", "rotated2", "rotated3", "western", "indic")), "bimedix_en_medqa"]
    ran = command("eval.run", "--model", trained.merged, "--data", trained.questions, "--tasks", ",".join(tasks), "--build", tmp_path)
    assert ran.code == 0, ran.said
    ran = command("eval.probes", tmp_path / "eval" / "tiny")
    assert ran.code == 0 and re.search(r"options in another order [1-9]", ran.said), ran.said
    found = json.loads((tmp_path / "eval" / "tiny" / "probes.json").read_text(encoding="utf-8"))
    plain = (trained.questions / "medqa_ar.jsonl").read_text(encoding="utf-8").splitlines()
    assert found["language"]["medqa"]["n"] == len(plain) and found["order"]["medqa_ar"]["n"] <= len(plain)
