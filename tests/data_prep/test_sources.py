"""Each reader on a small file of our own that has the defects of the real ones: what is used, what is rejected and why, what is left alone."""

import json
from pathlib import Path

import pytest

from tests.data_prep.conftest import Built, accounted, build_from, copied_fixtures

CASES = {
    # name: (source of the recipe, rows used by split, rejects by reason, row numbers of the rejects)
    "medmcqa": (
        {"reader": "medmcqa", "file": "medmcqa/original.jsonl", "split": "test", "answer_base": 1},
        {"test": 4},
        {"answer_not_among_options": 4, "duplicate_id": 1, "empty_id": 1, "empty_option": 1, "empty_question": 1},
        [5, 6, 7, 8, 9, 10, 11, 12],
    ),
    "medmcqa counted from 0": (
        {"reader": "medmcqa", "file": "medmcqa/original.jsonl", "split": "test", "answer_base": 0},
        {"test": 3},
        {"answer_not_among_options": 5, "duplicate_id": 1, "empty_id": 1, "empty_option": 1, "empty_question": 1},
        [2, 4, 6, 7, 8, 9, 10, 11, 12],
    ),
    "medmcqa in Self-BioRAG's form": (
        {"reader": "medmcqa", "file": "medmcqa/selfbiorag.jsonl", "split": "test", "form": "selfbiorag"},
        {"test": 2},
        {"answer_not_among_options": 4},
        [3, 4, 5, 6],
    ),
    "medqa": (
        {"reader": "medqa", "file": "medqa/original.jsonl", "split": "test"},
        {"test": 2},
        {"answer_not_among_options": 3, "empty_option": 1},
        [3, 4, 5, 6],
    ),
    "medqa in mediQ's form": (
        {"reader": "medqa", "file": "medqa/mediq.jsonl", "split": "test", "form": "mediq"},
        {"test": 3},
        {"invalid_question": 1},
        [4],
    ),
    "medqa in Self-BioRAG's form": (
        {"reader": "medqa", "file": "medqa/selfbiorag.jsonl", "split": "test", "form": "selfbiorag"},
        {"test": 2},
        {"answer_not_among_options": 2},
        [3, 4],
    ),
    "pubmedqa": (
        {"reader": "pubmedqa", "file": "pubmedqa/ori_pqal.json"},
        {"train": 2, "test": 2},
        {"answer_not_among_options": 1, "empty_question": 1, "invalid_context": 1, "invalid_record": 1},
        [4, 6, 7, 8],
    ),
    "mmlu test": (
        {"reader": "mmlu", "file": "mmlu/test.csv", "benchmark": "anatomy"},
        {"test": 4},
        {"answer_not_among_options": 2, "empty_option": 1},
        [4, 5, 6],
    ),
    "mmlu dev": (
        {"reader": "mmlu", "file": "mmlu/dev.csv", "benchmark": "anatomy", "split": "dev"},
        {"dev": 2},
        {"answer_not_among_options": 1},
        [3],
    ),
    "chatdoctor": (
        {"reader": "chatdoctor", "file": "chatdoctor/chatdoctor.json"},
        {"train": 2},
        {"empty_answer": 1, "empty_question": 1, "invalid_record": 1},
        [3, 4, 5],
    ),
    "medquad": (
        {"reader": "medquad", "file": "medquad.tar.gz"},
        {"train": 4},
        {"empty_answer": 1, "malformed_xml": 1, "no_pairs": 1, "other_schema": 2, "removed_answer": 2},
        [1, 1, 1, 1, 2, 2, 2],
    ),
    "samples": ({"reader": "samples", "file": "samples/good.jsonl"}, {"train": 6, "validation": 2, "test": 2}, {}, []),
}


@pytest.fixture
def read(tmp_path: Path):
    """A function that builds one source of our fixtures, MedQuAD's folder packed as its owner packs it."""

    def build(source: dict, **changes: object) -> Built:
        data = copied_fixtures(tmp_path)
        # one more source, so that `used` is told apart by file
        other = {"reader": "samples", "file": "samples/good.jsonl", "source": "other"}
        return build_from(tmp_path, data, source, other, **changes)

    return build


@pytest.mark.parametrize("name", CASES)
def test_reader_uses_and_rejects(read, name: str) -> None:
    """A reader that guesses, repairs or skips in silence changes these numbers."""
    source, used, rejected, rows = CASES[name]
    built = read(source)
    assert built.code == 0, built.said
    entry = next(entry for entry in built.manifest["inputs"] if entry["file"] == source["file"])
    assert (entry["used"], entry["rejected"]) == (used, rejected)
    assert accounted(built.manifest)
    rejects = [reject for reason in rejected for reject in built.rows(f"rejected/{reason}.jsonl")]
    assert sorted(reject["row"] for reject in rejects) == rows
    for reject in rejects:  # each is told on the terminal, with file, row and fix, and kept with its reason
        assert f"{reject['file']}, row {reject['row']}: {reject['message']}" in built.said
        assert Path(source["file"]).name in reject["file"]
        assert any(fix in reject["message"] for fix in ("correct", "must be", "fetch", "rename or remove", "nothing to do", "a row has")), reject["message"]


def answers(built: Built, file: str) -> list[str]:
    """The text of the right option of each question."""
    return [row["options"][row["answer"]] for row in built.rows(f"eval/{file}.jsonl")]


@pytest.mark.parametrize(
    ("base", "right"), [(1, ["Left ventricle", "Gallbladder", "Gum bleeding", "None of the above"]), (0, ["Right ventricle", "Bow legs", "Potassium"])]
)
def test_medmcqa_counts_from_where_the_recipe_says(read, base: int, right: list[str]) -> None:
    """`cop` off by one gives every question a wrong answer; options keep their order, twins and "none of the above" in place."""
    built = read({"reader": "medmcqa", "file": "medmcqa/original.jsonl", "split": "test", "answer_base": base})
    assert answers(built, "medmcqa_en") == right


def test_medmcqa_explanation_stands_before_the_verdict(read) -> None:
    """The paper's answers explain first; without an explanation the verdict alone remains, never `None`."""
    built = read({"reader": "medmcqa", "file": "medmcqa/original.jsonl", "split": "train"}, mcqa_answers=["explained"])
    said = [row["conversations"][-1]["value"] for row in built.rows("train.jsonl") if row["source"] == "medmcqa"]
    assert said[:2] == ["The left ventricle feeds the systemic circulation. The correct answer is A.", "The correct answer is D."]


def test_selfbiorag_prompts_come_apart(read) -> None:
    """`Option A:` left inside a question, or line breaks inside an option, would be trained on."""
    built = read({"reader": "medqa", "file": "medqa/selfbiorag.jsonl", "split": "test", "form": "selfbiorag"})
    first, second = built.rows("eval/medqa_en.jsonl")
    assert (first["question"], first["options"][-1]) == ("A boy wheezes at night. Which drug opens his airways?", "Insulin")
    assert second["question"] == "Which sign points to appendicitis?\nIt is found by pressing."
    assert answers(built, "medqa_en") == ["Salbutamol", "Rebound pain"]


def test_medqa_white_space_and_fifth_option(read) -> None:
    """Stray spaces around a text are taken off and counted; the fifth option is E, not lost."""
    built = read({"reader": "medqa", "file": "medqa/original.jsonl", "split": "test"})
    first, second = built.rows("eval/medqa_en.jsonl")
    assert first["question"] == "A girl of six limps after a cold. Which joint is most often at fault?"
    assert (first["options"][0], second["letters"][second["answer"]], answers(built, "medqa_en")[1]) == ("Hip", "E", "Radial")
    assert next(entry["trimmed"] for entry in built.manifest["inputs"] if entry["reader"] == "medqa") == 1


def test_mediq_question_is_case_and_question(read) -> None:
    """The question alone ("What is the likeliest cause?") asks nothing; an empty context leaves no leading space."""
    built = read({"reader": "medqa", "file": "medqa/mediq.jsonl", "split": "test", "form": "mediq"})
    assert [row["question"] for row in built.rows("eval/medqa_en.jsonl")] == [
        "A woman of 30 has a throbbing headache. Light makes it worse. What is the likeliest cause?",
        "A child swallowed a coin and breathes well. What comes first?",
        "What is the treatment?",
    ]


def test_pubmedqa_split_label_and_abstract(read) -> None:
    """Test ids train nowhere, the label is `final_decision` (not a model's guess), `<or =5` stays, a null YEAR does not matter."""
    built = read({"reader": "pubmedqa", "file": "pubmedqa/ori_pqal.json"}, mcqa_answers=["explained"])
    assert [row["origin_id"] for row in built.rows("eval/pubmedqa_en.jsonl")] == ["pubmedqa:test:1002", "pubmedqa:test:1003"]
    assert answers(built, "pubmedqa_en") == ["maybe", "no"]
    trained = [row for row in built.rows("train.jsonl") if row["source"] == "pubmedqa"]
    assert [(row["origin_id"], row["conversations"][1]["value"]) for row in trained] == [
        ("pubmedqa:train:1001", "Walking lowered blood pressure. The correct answer is A."),
        ("pubmedqa:train:1005", "It does not. The correct answer is B."),
    ]
    asked = trained[0]["conversations"][0]["value"]
    assert asked.startswith("Context: Forty adults walked daily; a change of <or =5 mmHg was ignored. Pressure fell in 31. Question: Does walking")


def test_mmlu_records_are_not_lines(read) -> None:
    """Quoted cells hold commas and line breaks; cut at line ends, one record would become two broken ones."""
    built = read({"reader": "mmlu", "file": "mmlu/test.csv", "benchmark": "anatomy"})
    rows = [row for row in built.rows("eval/anatomy_en.jsonl") if row["id"].startswith("mmlu")]
    assert (rows[1]["question"], rows[1]["options"][0]) == ('A "green" fracture\nis seen in whom?', "Children, mostly")
    assert rows[0]["question"] == rows[2]["question"]  # the same question twice is what the official file holds: both stay
    assert [row["options"][row["answer"]] for row in rows] == ["Femur", "Children, mostly", "Femur", "Pancreas"]


def test_mmlu_few_shot_answers_are_indices(read) -> None:
    """The dev files number the answer from 0 and have a header, which is no question."""
    built = read({"reader": "mmlu", "file": "mmlu/dev.csv", "benchmark": "anatomy", "split": "dev"})
    assert answers(built, "anatomy_en_dev") == ["Kidney", "Iris"]


def test_medquad_names_pairs_by_folder_file_and_pid(read) -> None:
    """`qid` repeats in the real set: named by it, pairs would be thrown out as duplicates. Entities are read, the root may differ."""
    built = read({"reader": "medquad", "file": "medquad.tar.gz"})
    rows = {row["origin_id"]: row["conversations"][1]["value"] for row in built.rows("train.jsonl") if row["source"] == "medquad"}
    assert rows == {
        "medquad:train:1_Ours_QA/0001-1": "A stretched ligament, sore & swollen.",
        "medquad:train:1_Ours_QA/0001-2": "Anybody who twists a joint.",
        "medquad:train:1_Ours_QA/0002-1": "Blood under the skin.",
        "medquad:train:2_Ours_QA/0001-1": "A change of the skin.",
    }


def test_chatdoctor_leaves_the_instruction_out(read) -> None:
    """The one sentence that is the same in every row belongs into the system message, not in front of each question."""
    built = read({"reader": "chatdoctor", "file": "chatdoctor/chatdoctor.json", "source": "icliniq"})
    asked = [row["conversations"][0]["value"] for row in built.rows("train.jsonl") if row["source"] == "icliniq"]
    assert asked == ["I have had hiccups since noon. What can I do?", "My eyes itch in spring."]
    assert "If you are a doctor" not in json.dumps(built.rows("train.jsonl"))


def test_samples_speak_both_languages(read) -> None:
    """One line gives an English and an Arabic row of one origin; context, explanation and chat turns come along."""
    built = read({"reader": "samples", "file": "samples/good.jsonl"}, mcqa_answers=["letter", "explained"])
    rows = {row["id"]: [turn["value"] for turn in row["conversations"]] for row in built.rows("train.jsonl") if row["source"] == "samples"}
    assert rows["samples:train:s1:en:explained"][1] == "The heart is a pump. The correct answer is A."
    assert rows["samples:train:s1:en:letter"][1] == "The correct answer is A."
    assert "samples:train:s1:ar:explained" not in rows  # no explanation, and the letter row says the rest
    assert rows["samples:train:s4:ar"] == ["كم يحتاج البالغ من النوم؟", "سبع ساعات أو أكثر."]
    assert rows["samples:train:s5:en"] == ["I cough.", "Since when?"]
    (tested,) = [row for row in built.rows("eval/anatomy_ar.jsonl") if row["id"].startswith("samples")]
    assert tested["prompt"] == "السياق: البول سائل. السؤال: أي عضو يصنع البول؟ الخيارات: أ. القلب ب. الكلية ج. الرئة"


def test_the_recipe_may_set_the_split(read) -> None:
    """A user's file that is held out as a whole must not train because its lines say `train`."""
    built = read({"reader": "samples", "file": "samples/good.jsonl", "split": "validation"})
    entry = built.manifest["inputs"][0]
    assert (entry["used"], entry["rejected"]) == ({"validation": 8}, {"in_test_set": 2})  # its test line stands in the other source too
    assert {row["split"] for row in built.rows("validation.jsonl") if row["source"] == "samples"} == {"validation"}
