"""Score a model on the prepared question sets with lm-evaluation-harness.

    python -m eval.run --model build/models/tiny/merged --data build/data/tiny/eval --tasks bimedix_bi,bimedix_seen

Writes BUILD/eval/NAME/: results.json (lm-eval's results, configuration and versions), samples/<task>.jsonl (every question's scores).
A benchmark whose questions are not among the prepared ones is written down as absent.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from data_prep.files import BadInput, git_commit, read_json, write_json, written_aside
from eval.tasks.bimedix.write import BENCHMARKS, LANGS

TASKS = Path(__file__).parent / "tasks"
GROUPS = {f"bimedix_{lang}": [f"bimedix_{lang}_{benchmark}" for benchmark in BENCHMARKS] for lang in LANGS}
GROUPS["bimedix_bi"] = [task for lang in LANGS for task in GROUPS[f"bimedix_{lang}"]]
GROUPS["bimedix_seen"] = [f"bimedix_{lang}_seen" for lang in LANGS]


def expand(names: list[str], data: Path) -> tuple[list[str], list[str]]:
    """(tasks to run, tasks of ours whose questions are absent), groups of ours taken apart. Other lm-eval tasks pass through."""
    tasks = list(dict.fromkeys(task for name in names for task in GROUPS.get(name, [name])))
    ours = {task for members in GROUPS.values() for task in members}
    known = TaskManager(include_path=str(TASKS)).all_tasks
    for task in tasks:
        if task not in ours and task not in known:
            raise BadInput(f"there is no task {task!r}: ours are {', '.join(GROUPS)} and their members; `lm_eval ls tasks` lists lm-eval's")
    absent = [task for task in tasks if task in ours and not (data / f"{_question_set(task)}.jsonl").is_file()]
    return [task for task in tasks if task not in absent], absent


def _question_set(task: str) -> str:
    _, lang, benchmark = task.split("_", 2)
    return f"{benchmark}_{lang}"


def run(model: str, data: Path, names: list[str], out: Path, batch_size: int, limit: int | None) -> dict:
    """Score `model` (a folder or Hub id) on the tasks; writes the folder `out` and returns what results.json holds."""
    if os.sep in model and not (Path(model) / "config.json").is_file() and (Path(model).exists() or model.startswith(("build/", "/", "."))):
        raise BadInput(f"{model} holds no model (no config.json): run `make train`, or name a model with MODEL=")
    tasks, absent = expand(names, data)
    if not tasks:
        raise BadInput(f"{data} holds none of the questions of {', '.join(names)}: `make data` prepares them")
    # float32 on a CPU: bfloat16 is emulated there, at half the speed
    device, dtype = ("cuda", "auto") if torch.cuda.is_available() else ("cpu", "float32")
    lm = HFLM(pretrained=model, device=device, dtype=dtype, batch_size=batch_size)
    chat = lm.tokenizer.chat_template is not None
    found = lm_eval.simple_evaluate(
        model=lm,
        tasks=tasks,
        task_manager=TaskManager(include_path=str(TASKS), metadata={"data": str(data.resolve())}),
        apply_chat_template=chat,
        limit=limit,
        bootstrap_iters=0,  # the standard error of an accuracy has a closed form
    )
    samples = found.pop("samples")
    written = {
        "model": model,
        "data": str(data),
        "chat_template": chat,
        "limit": limit,
        "absent": absent,
        "git_commit": git_commit(),
        "versions": {"lm_eval": lm_eval.__version__, "torch": torch.__version__},
        **{key: found[key] for key in ("results", "configs", "versions", "n-samples", "n-shot") if key != "versions"},
        "task_versions": found["versions"],
    }
    with written_aside(out) as aside:
        (aside / "samples").mkdir()
        for task, rows in samples.items():
            lines = (json.dumps(row, ensure_ascii=False, default=str) for row in rows)
            (aside / "samples" / f"{task}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        write_json(aside / "results.json", json.loads(json.dumps(written, default=str)))
    return written


def questions_of(model: Path) -> Path:
    """The prepared questions that belong to a model that `make train` made: those of the data set that its run.json names."""
    record = model.parent / "run.json"
    if not (model.is_dir() and record.is_file()):
        raise BadInput(f"{model} was not trained here, so say which questions it shall answer: RECIPE=<recipe of `make data`>, or --data <folder>")
    return Path(read_json(record)["data"]) / "eval"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="build/models/tiny/merged", help="folder or Hub id (%(default)s)")
    parser.add_argument("--name", help="of the output folder (default: from the model's folder)")
    parser.add_argument("--data", type=Path, help="folder of the prepared questions (default: of the data that the model was trained on)")
    parser.add_argument("--tasks", default="bimedix_bi,bimedix_seen", help="lm-eval tasks or groups, comma between (%(default)s)")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--limit", type=int, help="so many questions a task, for a quick look")
    args = parser.parse_args()
    path = Path(args.model)
    name = args.name or (path.parent.name if path.name == "merged" else path.name)
    out = args.build / "eval" / name
    try:
        found = run(args.model, args.data or questions_of(path), args.tasks.split(","), out, args.batch_size, args.limit)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    questions = sum(counts["effective"] for counts in found["n-samples"].values())
    print(f"{out}/results.json: {questions:,} questions in {len(found['results'])} tasks; absent: {', '.join(found['absent']) or 'none'}")


if __name__ == "__main__":
    main()
