"""Our scores are those of anybody else: plain transformers, and lm-eval's own tasks and model where the words of the prompt are made the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from eval.tasks.bimedix.write import BENCHMARKS
from tests.conftest import OFFLINE, ROOT, Trained, command

LIMIT = int(os.environ.get("QUESTIONS", "12"))  # of each of the nine sets; `make proof` takes all
MMLU = ["anatomy", "college_medicine"]


torch.set_num_threads(1)  # two test processes share two cores


@pytest.fixture(scope="module")
def questions(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nine real English sets."""
    build = tmp_path_factory.mktemp("benchmark")
    ran = command("data_prep.build", "--recipe", "benchmark", "--data", real_data, "--build", build)
    assert ran.code == 0, ran.said
    return build / "data" / "benchmark" / "eval"


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def score(model: Path, data: Path, tasks: str, build: Path, *more: object) -> dict[str, list[dict]]:
    """The written samples of each task."""
    ran = command("eval.run", "--model", model, "--data", data, "--tasks", tasks, "--build", build, "--name", "m", *more, seconds=600)
    assert ran.code == 0, ran.said
    (out,) = (build / "eval").iterdir()
    return {path.stem: rows(path) for path in (out / "samples").glob("*.jsonl")}


def chosen(sample: dict) -> int:
    likelihoods = [float(likelihood) for likelihood, _ in sample["filtered_resps"]]
    return likelihoods.index(max(likelihoods))


def test_letters_are_scored_as_plain_transformers_does(trained: Trained, questions: Path, tmp_path: Path) -> None:
    """Question by question on all nine sets: log-softmax over the option letters after the same words, one question at a time."""
    samples = score(trained.merged, questions, "bimedix_en", tmp_path, "--limit", LIMIT)
    tokenizer = AutoTokenizer.from_pretrained(trained.merged)
    model = AutoModelForCausalLM.from_pretrained(trained.merged, dtype=torch.float32).eval()
    for benchmark in BENCHMARKS:
        asked = rows(questions / f"{benchmark}_en.jsonl")[:LIMIT]
        ours = samples[f"bimedix_en_{benchmark}"]
        assert [sample["doc"]["id"] for sample in ours] == [row["id"] for row in asked]
        for row, sample in zip(asked, ours, strict=True):
            text = f"<s>[INST] {row['prompt']} [/INST] {row['lead']}"
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
            letters = [tokenizer(f"{text} {letter}", add_special_tokens=False).input_ids[-1] for letter in row["letters"]]
            with torch.inference_mode():
                likelihoods = model(ids).logits[0, -1].log_softmax(-1)[letters]
            assert torch.allclose(likelihoods, torch.tensor([float(one) for one, _ in sample["filtered_resps"]]), atol=1e-3)
            assert likelihoods.argmax().item() == chosen(sample)
            assert sample["acc"] == (chosen(sample) == row["answer"])


def test_whole_answers_are_scored_token_by_token(trained: Trained, questions: Path, tmp_path: Path) -> None:
    """The sum over the tokens of each option's text, and the mean a character for acc_norm."""
    (samples,) = score(trained.merged, questions, "bimedix_en_anatomy_text", tmp_path, "--limit", 8, "--template", "raw").values()
    tokenizer = AutoTokenizer.from_pretrained(trained.merged)
    model = AutoModelForCausalLM.from_pretrained(trained.merged, dtype=torch.float32).eval()
    for sample in samples:
        row, sums = sample["doc"], []
        begin = tokenizer(f"{row['prompt']} {row['lead']}").input_ids
        for option in row["options"]:
            ids = tokenizer(f"{row['prompt']} {row['lead']} {option}").input_ids
            with torch.inference_mode():
                logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            sums.append(sum(logs[place - 1, ids[place]].item() for place in range(len(begin), len(ids))))
        assert sums == pytest.approx([float(likelihood) for likelihood, _ in sample["filtered_resps"]], abs=1e-3)
        means = [total / len(option) for total, option in zip(sums, row["options"], strict=True)]
        assert (sample["acc"], sample["acc_norm"]) == (sums.index(max(sums)) == row["answer"], means.index(max(means)) == row["answer"])


def theirs(folder: Path, questions: Path) -> dict[str, list[dict]]:
    """lm-eval's own mmlu and medqa_4options tasks, reading our copies of the questions instead of the Hub's: task -> its documents."""
    tasks = Path(sys.executable).parents[1] / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages" / "lm_eval" / "tasks"
    found = {}
    for name in [*MMLU, "medqa"]:
        docs = []
        for row in rows(questions / f"{name}_en.jsonl")[:LIMIT]:
            if name == "medqa":
                docs.append({"sent1": row["question"], "label": row["answer"], **{f"ending{n}": option for n, option in enumerate(row["options"])}})
            else:
                docs.append({"question": row["question"], "choices": row["options"], "answer": row["answer"]})
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(doc) + "\n" for doc in docs), encoding="utf-8")
        include = tasks / "medqa" / "medqa.yaml" if name == "medqa" else tasks / "mmlu" / "default" / f"mmlu_{name}.yaml"
        splits = {"test": str(file), "dev": str(file), "train": str(file), "validation": str(file)}
        config = {"include": str(include), "task": f"their_{name}", "dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": splits}}
        (folder / f"their_{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        found[name] = docs
    return found


def test_lm_evals_own_tasks_give_the_same_answers(trained: Trained, questions: Path, tmp_path: Path) -> None:
    """The stock command with stock tasks and model, and ours with the same words in `prompt` and `lead`: equal choices, question by question."""
    (tmp_path / "theirs").mkdir()
    documents = theirs(tmp_path / "theirs", questions)
    line = [sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", f"pretrained={trained.merged},dtype=float32", "--device", "cpu"]
    line += ["--tasks", ",".join(f"their_{name}" for name in documents), "--include_path", str(tmp_path / "theirs")]
    line += ["--output_path", str(tmp_path / "out"), "--log_samples", "--batch_size", "8"]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600, env=os.environ | OFFLINE)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    said = {name: rows(next((tmp_path / "out").rglob(f"samples_their_{name}_*.jsonl"))) for name in documents}
    (tmp_path / "eval").mkdir()
    for name, samples in said.items():
        samples.sort(key=lambda sample: sample["doc_id"])
        prompts = [sample["arguments"]["gen_args_0"]["arg_0"] for sample in samples]
        assert all(prompt.endswith("\nAnswer:") for prompt in prompts)
        asked = zip(rows(questions / f"{name}_en.jsonl"), prompts, strict=False)
        same = [row | {"prompt": prompt.removesuffix("Answer:"), "lead": "Answer:"} for row, prompt in asked]
        (tmp_path / "eval" / f"{name}_en.jsonl").write_text("".join(json.dumps(row) + "\n" for row in same), encoding="utf-8")
    ours = score(trained.merged, tmp_path / "eval", ",".join(f"bimedix_en_{name}" for name in said), tmp_path / "ours", "--template", "raw")
    for name, samples in said.items():
        mine = ours[f"bimedix_en_{name}"]
        assert len(mine) == len(samples) == min(LIMIT, len(rows(questions / f"{name}_en.jsonl")))
        for one, other in zip(mine, samples, strict=True):
            likelihoods = [[float(likelihood) for likelihood, _ in sample["filtered_resps"]] for sample in (one, other)]
            assert likelihoods[0] == pytest.approx(likelihoods[1], abs=1e-3)
            assert chosen(one) == chosen(other) and one["acc"] == other["acc"]
