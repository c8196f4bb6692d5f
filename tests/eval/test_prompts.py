"""Every word that a model reads, verbatim: a change of a prompt is a change of the benchmark, and raises its version."""

import json
from pathlib import Path

import pytest
import yaml

from data_prep.records import MultipleChoice
from eval.score import TASKS
from tests.conftest import Trained, command

ENGLISH = ("Which organ pumps blood?", ["Liver", "Heart"], 1), ("Which organ makes bile?", ["Liver", "Heart"], 0)
ARABIC = ("أي عضو يضخ الدم؟", ["الكبد", "القلب"], 1), ("أي عضو يفرز الصفراء؟", ["الكبد", "القلب"], 0)
ASKED = {
    "en": "Question: Which organ pumps blood? Options: A. Liver B. Heart",
    "ar": "السؤال: أي عضو يضخ الدم؟ الخيارات: أ. الكبد ب. القلب",
}
SHOWN = {
    "en": "Question: Which organ makes bile? Options: A. Liver B. Heart",
    "ar": "السؤال: أي عضو يفرز الصفراء؟ الخيارات: أ. الكبد ب. القلب",
}
LEAD = {"en": "The correct answer is", "ar": "الجواب الصحيح هو"}
LETTERS = {"en": [" A", " B"], "ar": [" أ", " ب"]}


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One question and one example in each language."""
    folder = tmp_path_factory.mktemp("prompts")
    for lang, both in (("en", ENGLISH), ("ar", ARABIC)):
        for split, (text, options, answer) in zip(("test", "dev"), both, strict=True):
            fields = dict(id=f"m:{split}:{lang}", origin_id=f"m:{split}", lang=lang, source="m", split=split, benchmark="anatomy")
            row = MultipleChoice(question=text, options=options, answer=answer, **fields).evaluation().model_dump()
            (folder / f"anatomy_{lang}{'_dev' if split == 'dev' else ''}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return folder


def read(model: Path, questions: Path, build: Path, *more: object) -> dict[str, list[list[str]]]:
    """task -> what lm-eval gave to the model: (context, continuation) of each option."""
    tasks = ",".join(f"bimedix_{lang}_anatomy{suffix}" for lang in ("en", "ar") for suffix in ("", "_text"))
    ran = command("eval.run", "--model", model, "--data", questions, "--tasks", tasks, "--build", build, *more)
    assert ran.code == 0, ran.said
    (out,) = (build / "eval").iterdir()
    return {path.stem: json.loads(path.read_text(encoding="utf-8"))["arguments"] for path in (out / "samples").glob("*.jsonl")}


def test_chat_with_an_example(trained: Trained, questions: Path, tmp_path: Path) -> None:
    """The example is a whole exchange, the question the next turn, the words before the letter open the answer."""
    found = read(trained.merged, questions, tmp_path, "--shots", 1)
    for lang in ("en", "ar"):
        letter, text = LETTERS[lang][0], ENGLISH[1][1][0] if lang == "en" else ARABIC[1][1][0]
        context = f"<s>[INST] {SHOWN[lang]} [/INST] {LEAD[lang]}{letter}</s>[INST] {ASKED[lang]} [/INST] {LEAD[lang]}"
        assert found[f"bimedix_{lang}_anatomy"] == [[context, letter] for letter in LETTERS[lang]]
        whole = context.replace(f"{LEAD[lang]}{letter}</s>", f"{LEAD[lang]} {text}</s>")
        assert found[f"bimedix_{lang}_anatomy_text"] == [[whole, f" {option}"] for option in (ENGLISH if lang == "en" else ARABIC)[0][1]]


def test_bare_prompt_with_an_example(trained: Trained, questions: Path, tmp_path: Path) -> None:
    """An empty line between example and question, a space before the answer."""
    found = read(trained.merged, questions, tmp_path, "--shots", 1, "--template", "raw")
    for lang in ("en", "ar"):
        context = f"{SHOWN[lang]} {LEAD[lang]}{LETTERS[lang][0]}\n\n{ASKED[lang]} {LEAD[lang]}"
        assert found[f"bimedix_{lang}_anatomy"] == [[context, letter] for letter in LETTERS[lang]]


def test_without_examples_there_is_no_few_shot(trained: Trained, questions: Path, tmp_path: Path) -> None:
    """Asked for more examples than there are: one line, no score. Test questions are never shown instead."""
    command_line = ("--model", trained.merged, "--data", questions, "--tasks", "bimedix_en_anatomy", "--build", tmp_path)
    ran = command("eval.run", *command_line, "--shots", 5)
    assert ran.code == 2 and "error: " in ran.said and "Traceback" not in ran.said, ran.said
    assert not list(tmp_path.rglob("results.json"))


def test_the_tasks_say_their_version() -> None:
    """Groups and tasks alike; it stands in every result."""
    folder = TASKS / "bimedix"
    template = yaml.safe_load((folder / "_letter_yaml").read_text(encoding="utf-8").replace("!function ", ""))
    groups = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in folder.glob("_*.yaml")]
    assert {template["metadata"]["version"], *(group["metadata"]["version"] for group in groups)} == {2.0}
