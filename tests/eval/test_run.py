"""Scoring through lm-evaluation-harness: the model sees the prepared prompt, and the written accuracy is what its likelihoods say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lm_eval.tasks import TaskManager, get_task_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from data_prep.files import BadInput
from eval import backend, models
from eval.score import TASKS
from eval.tasks.bimedix import write
from tests.conftest import OFFLINE, ROOT, Trained, command

FOLDER = TASKS / "bimedix"
SCORED = "bimedix_en_anatomy,bimedix_ar_medqa,bimedix_en_seen"


@pytest.fixture(scope="module")
def results(trained: Trained) -> dict:
    """The first questions of three tasks, scored by command."""
    ran = command("eval.run", "--model", trained.merged, "--tasks", SCORED, "--limit", 4, "--build", trained.build)
    assert ran.code == 0, ran.said
    assert not list((trained.build / "eval").glob(".*")), "a half-written folder was left"
    return json.loads((trained.build / "eval" / "tiny" / "results.json").read_text(encoding="utf-8"))


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_task_files_are_the_generated_ones() -> None:
    """They differ in names only: one edited by hand would score another way than its neighbours."""
    generated = write.files()
    assert {path.name for path in FOLDER.glob("*.yaml")} == set(generated)
    for name, content in generated.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == content, name


def test_our_groups_are_lm_evals() -> None:
    """`--tasks bimedix_bi` means the same through eval/run.py and through the `lm_eval` command."""
    known = TaskManager(include_path=str(TASKS)).all_tasks
    for group, members in write.groups().items():
        assert {group, *members, *write.expand([group])} <= set(known)
    assert len(write.expand(["bimedix_bi"])) == len(write.expand(["bimedix_bi_text"])) == 18 and len(write.expand(["bimedix_probes"])) == 9 * 3 + 9 * 5


def test_lm_evals_own_check_passes() -> None:
    """`lm-eval validate` knows every group and task."""
    line = [Path(sys.executable).with_name("lm-eval"), "validate", "--tasks", ",".join(write.groups()), "--include_path", TASKS]
    ran = subprocess.run(list(map(str, line)), cwd=ROOT.parent, capture_output=True, text=True, check=False, timeout=300, env=os.environ | OFFLINE)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "All tasks found and valid" in ran.stdout + ran.stderr or "valid" in (ran.stdout + ran.stderr).lower()


def test_prompts_are_the_prepared_ones(trained: Trained) -> None:
    """All questions of the sample sets: the prompt verbatim, then the lead, then one of the letters, and the right one is the target."""
    manager = TaskManager(include_path=str(TASKS), metadata={"data": str(trained.questions)})
    names = [f"bimedix_{lang}_{benchmark}" for lang in write.LANGS for benchmark in [*write.BENCHMARKS, "seen"]]
    for name, task in get_task_dict(names, manager).items():
        _, lang, benchmark = name.split("_", 2)
        prepared = rows(trained.questions / f"{benchmark}_{lang}.jsonl")
        assert len(task.eval_docs) == len(prepared)
        for doc, row in zip(task.eval_docs, prepared, strict=True):
            assert task.doc_to_text(doc) == row["prompt"]
            assert task.doc_to_choice(doc) == row["letters"]
            assert int(task.doc_to_target(doc)) == row["answer"]
            assert row["prompt"].count(f" {row['letters'][row['answer']]}. {row['options'][row['answer']]}") >= 1


def test_what_the_model_reads(results: dict, trained: Trained) -> None:
    """The chat template around the prompt, the lead as the answer's opening, the letter after a space; results name all that was used."""
    (first, *_) = rows(trained.build / "eval" / "tiny" / "samples" / "bimedix_ar_medqa.jsonl")
    row = rows(trained.questions / "medqa_ar.jsonl")[0]
    said = [tuple(pair) for pair in first["arguments"]]
    assert [continuation for _, continuation in said] == [" أ", " ب", " ج", " د"]
    assert {context for context, _ in said} == {f"<s>[INST] {row['prompt']} [/INST] {row['lead']}"}
    assert results["chat_template"] is True and results["limit"] == 4
    assert results["command"][:4] == ["python", "-m", "eval.run", "--model"]
    assert results["model"] == str(trained.merged) and results["data"] == str(trained.questions)
    assert set(results["results"]) == set(SCORED.split(",")) and results["absent"] == []
    assert {"lm_eval", "torch"} <= set(results["versions"])


def test_the_accuracy_is_what_the_likelihoods_say(results: dict, trained: Trained) -> None:
    """Recomputed twice: from the written likelihoods, and from the weights with transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(trained.merged)
    model = AutoModelForCausalLM.from_pretrained(trained.merged, dtype=torch.float32).eval()
    for task in SCORED.split(","):
        right = []
        for sample in rows(trained.build / "eval" / "tiny" / "samples" / f"{task}.jsonl"):
            written = [float(response[0][0]) for response in sample["resps"]]
            letters, prompt, lead = (sample["doc"][key] for key in ("letters", "prompt", "lead"))
            context = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False) + f" {lead}"
            begin = tokenizer(context, add_special_tokens=False).input_ids
            for letter, likelihood in zip(letters, written, strict=True):
                ids = tokenizer(f"{context} {letter}", add_special_tokens=False).input_ids
                assert ids[: len(begin)] == begin
                with torch.inference_mode():
                    logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
                ours = sum(logs[place - 1, ids[place]].item() for place in range(len(begin), len(ids)))
                assert ours == pytest.approx(likelihood, abs=1e-3)
            right.append(written.index(max(written)) == sample["doc"]["answer"])
        assert results["results"][task]["acc,none"] == pytest.approx(sum(right) / len(right))
        assert results["n-samples"][task]["effective"] == len(right) == 4


def test_a_base_without_template_reads_the_bare_prompt(trained: Trained, tmp_path: Path) -> None:
    """The untrained base; the benchmarks that were not prepared are named."""
    questions = trained.copy(trained.questions, tmp_path / "eval")
    (questions / "medqa_ar.jsonl").unlink()
    tasks = "bimedix_en_medqa,bimedix_ar_medqa"
    ran = command(
        "eval.run", "--model", trained.base, "--data", questions, "--tasks", tasks, "--limit", 2, "--build", tmp_path, "--name", "untrained", "--batch-size", 3
    )
    assert ran.code == 0, ran.said
    assert "absent: bimedix_ar_medqa" in ran.said
    found = json.loads((tmp_path / "eval" / "untrained" / "results.json").read_text(encoding="utf-8"))
    assert found["chat_template"] is False and found["absent"] == ["bimedix_ar_medqa"]


def test_bad_requests_are_messages(trained: Trained, tmp_path: Path) -> None:
    """Each with its fix, before a model is loaded for hours, and without an output folder."""
    (tmp_path / "empty").mkdir()
    asked = {
        "there is no task 'bimedix_fr'": ["--model", trained.merged, "--tasks", "bimedix_fr"],
        "holds no model (no config.json)": ["--model", tmp_path / "empty", "--data", trained.questions],
        "holds none of the questions": ["--model", trained.merged, "--data", tmp_path / "empty"],
        "make data RECIPE=benchmark prepares the questions": ["--model", "somebody/a-model"],
    }
    for words, arguments in asked.items():
        ran = command("eval.run", *arguments, "--build", tmp_path)
        assert ran.code == 2 and words in ran.said and "Traceback" not in ran.said, ran.said
    assert not list(tmp_path.rglob("results.json"))


def test_few_shot_examples_are_the_dev_questions(trained: Trained, tmp_path: Path) -> None:
    """Were they test questions, a question could stand in its own prompt with its answer."""
    questions = trained.copy(trained.questions, tmp_path / "eval")
    (questions / "anatomy_en_dev.jsonl").write_bytes((questions / "clinical_knowledge_en.jsonl").read_bytes())
    manager = TaskManager(include_path=str(TASKS), metadata={"data": str(questions)})
    task = get_task_dict(["bimedix_en_anatomy"], manager)["bimedix_en_anatomy"]
    task.set_config(key="num_fewshot", value=2)
    task.set_fewshot_seed(1234)
    dev = [row["prompt"] for row in rows(questions / "anatomy_en_dev.jsonl")]
    for doc in task.eval_docs:
        context = task.fewshot_context(doc, 2, gen_prefix=task.doc_to_prefix(doc))
        assert sum(prompt in context for prompt in dev) == 2
        assert context.count(doc["prompt"]) == 1


def test_a_row_of_the_table_is_loaded_as_it_says(trained: Trained, tmp_path: Path) -> None:
    """From a Hub cache that holds the tiny model at the row's commit in the place of Mixtral: the row's prompt format, its name in the results."""
    row = models.row("mixtral-8x7b")
    snapshot = tmp_path / "hub" / f"models--{row.hub_id.replace('/', '--')}" / "snapshots" / row.revision
    trained.copy(trained.merged, snapshot)
    words = ["--model", "mixtral-8x7b", "--data", trained.questions, "--tasks", "bimedix_en_medqa", "--build", tmp_path, "--limit", 2]
    line = [sys.executable, "-m", "eval.run", *map(str, words)]
    environment = os.environ | OFFLINE | {"HF_HUB_CACHE": str(tmp_path / "hub")}
    ran = subprocess.run([*line, "--anyway"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads((tmp_path / "eval" / "mixtral-8x7b" / "results.json").read_text(encoding="utf-8"))
    assert (found["name"], found["chat_template"]) == ("mixtral-8x7b", False) and row.prompt == "raw"
    (first, *_) = rows(tmp_path / "eval" / "mixtral-8x7b" / "samples" / "bimedix_en_medqa.jsonl")
    assert first["arguments"][0][0] == f"{first['doc']['prompt']} {first['doc']['lead']}"


def test_a_row_that_does_not_fit_is_refused_before_it_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """150 GB would come over the network first."""
    monkeypatch.setattr(backend, "memory_gb", lambda: 24.0)
    with pytest.raises(BadInput, match=r"med42-70b: it needs \d+ GB of memory \(69 billion parameters\), and here are 24; --anyway tries it"):
        backend.load_model("med42-70b", "hf", "", 8)
    with pytest.raises(BadInput, match="jais-30b: .* loads only with Python code of its own"):
        backend.load_model("jais-30b", "hf", "", 8)


def test_weights_that_are_not_there_are_not_made_up(trained: Trained, tmp_path: Path) -> None:
    """The authors' published weights were saved without the class that has a head: such a model would answer at random, and look like a model."""
    broken = trained.copy(trained.merged, tmp_path / "broken")
    for path in broken.glob("*.safetensors"):
        tensors = {name: tensor for name, tensor in load_file(path).items() if name != "lm_head.weight"}
        save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"its files lack 1 tensors of MixtralForCausalLM \(lm_head.weight"):
        backend.load_model(str(broken), "hf", "", 8)
    with pytest.raises(BadInput, match="trust_remote_code: code that comes with a model is never run"):
        backend.load_model(str(broken), "hf", "trust_remote_code=True", 8)
