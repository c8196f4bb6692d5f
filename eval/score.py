"""Score one model, task by task: what eval/run.py starts for each model.

    python -m eval.score --model build/models/tiny/merged --data build/data/tiny/eval --tasks bimedix_bi --out build/eval/tiny

Each task is written when it is finished (OUT/tasks/<task>.json, OUT/samples/<task>.jsonl) under a key of all that decides it, so that a run that was
killed goes on with the next task. results.json, in lm-eval's words, is written in the end from all finished tasks of the same settings.
"""

import argparse
import hashlib
import json
import logging
import os
import shlex
import sys
import time
from functools import cached_property
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # nothing forks here while it tokenizes

import lm_eval
import torch
import transformers
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager, get_task_dict

from data_prep import files
from data_prep.files import BadInput, git_commit, read_json
from eval import models
from eval.backend import context_of, load_model, out_of_memory
from eval.tasks.bimedix import write

TASKS = Path(__file__).parent / "tasks"
OURS = write.names()


def members(of_group: dict) -> list[str]:
    """The tasks of one of lm-eval's own groups (mmlu, ..), as lm-eval nests them."""
    return [name for key, of in of_group.items() for name in (members(of) if isinstance(of, dict) else [key])]


class Run:
    """One model under one set of settings, and the folder of its results."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.out = args, args.out
        self.manager = TaskManager(include_path=str(TASKS), metadata={"data": str(args.data.resolve())})
        tasks = write.expand(args.tasks.split(","))
        if unknown := [task for task in tasks if task not in OURS and task not in self.manager.all_tasks]:
            ours = ", ".join(write.groups())
            raise BadInput(f"there is no task {unknown[0]!r}: ours are {ours} and their members; `lm_eval ls tasks` lists lm-eval's")
        tasks = [
            name for task in tasks for name in ([task] if task in OURS or task in self.manager.all_subtasks else members(get_task_dict([task], self.manager)))
        ]
        self.absent = [task for task in tasks if task in OURS and not self._questions(task).is_file()]
        self.tasks = [task for task in tasks if task not in self.absent]
        self.failed: dict[str, str] = {}
        versions = {"lm_eval": lm_eval.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
        self.settings = {"model": args.model, "backend": args.backend, "model_args": args.model_args, "shots": args.shots, "template": args.template}
        self.settings |= {"limit": args.limit, "versions": versions}
        if (row := models.row(args.model)) is not None:
            self.settings["row"] = row.model_dump()

    def _questions(self, task: str) -> Path:
        benchmark, lang, _, _ = OURS[task]
        return self.args.data / f"{benchmark}_{lang}.jsonl"

    @cached_property
    def model(self) -> LM:
        """Loaded when the first task that is not finished asks for it."""
        return load_model(self.args.model, self.args.backend, self.args.model_args, self.args.batch_size, self.args.anyway)

    @cached_property
    def chat(self) -> bool:
        """Whether questions are put in the model's chat template."""
        if self.args.template != "auto":
            return self.args.template == "chat"
        if (row := models.row(self.args.model)) is not None and row.prompt == "raw":
            return False
        return getattr(getattr(self.model, "tokenizer", None), "chat_template", None) is not None

    @cached_property
    def _weights(self) -> list:
        """What tells a trained-again model in the same folder from the old one."""
        folder = Path(self.args.model)
        found = [folder / "config.json", *sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*.jinja"))] if folder.is_dir() else []
        return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in found if path.is_file()]

    def key(self, task: str) -> str:
        """Of all that decides a task's scores."""
        path = self._questions(task) if task in OURS else None
        read = [path, path.with_stem(f"{path.stem}_dev")] if path else []
        decides = [self.settings, self._weights, [files.sha256(file) for file in read if file.is_file()]]
        decides += [file.read_text(encoding="utf-8") for file in (TASKS / "bimedix" / f"{task}.yaml", TASKS / "bimedix" / "questions.py") if file.is_file()]
        decides += [(TASKS / "bimedix" / OURS[task][3]).read_text(encoding="utf-8")] if task in OURS else []
        return hashlib.sha256(json.dumps(decides, default=str).encode()).hexdigest()

    def finished(self, task: str) -> dict | None:
        """The result of a task that was scored before under the same key."""
        path = self.out / "tasks" / f"{task}.json"
        known = read_json(path) if path.is_file() and (self.out / "samples" / f"{task}.jsonl").is_file() else None
        return known if known and known["key"] == self.key(task) else None

    def score(self, task: str) -> dict:
        """Score one task and write it down; the samples first, so that a result without samples is never taken for whole."""
        began = time.monotonic()
        cut = getattr(self.model, "cut", set())
        tasks = get_task_dict([task], self.manager)
        if self.args.shots:
            if task in OURS and (examples := len(tasks[task].dataset["dev"])) < self.args.shots:
                raise ValueError(f"there are {examples} examples in its dev split, and {self.args.shots} are asked for: a smaller --shots does")
            tasks[task].set_config(key="num_fewshot", value=self.args.shots)
        tasks[task].set_fewshot_seed(seed=0)
        # not simple_evaluate, which asks pip for its packages after every task: a second each
        found = evaluate(
            lm=self.model,
            task_dict=tasks,
            limit=self.args.limit,
            bootstrap_iters=0,  # the standard error of an accuracy has a closed form
            log_samples=True,
            apply_chat_template=self.chat,
            fewshot_as_multiturn=self.chat,
        )
        (rows,) = found["samples"].values()
        if cut:
            rows = [row | {"truncated": context_of(row) in cut} for row in rows]
        lines = (json.dumps(row, ensure_ascii=False, default=str) for row in sorted(rows, key=lambda row: row["doc_id"]))
        files.save(self.out / "samples" / f"{task}.jsonl", ("\n".join(lines) + "\n").encode())
        made = {"key": self.key(task), "chat_template": self.chat, "seconds": round(time.monotonic() - began, 2)}
        made |= {name: found[name][task] for name in ("results", "configs", "versions", "n-samples", "n-shot")}
        files.save(self.out / "tasks" / f"{task}.json", files.json_text(json.loads(json.dumps(made, default=str))).encode())
        return made

    def results(self) -> dict:
        """What results.json holds: every finished task of these settings, also those that an earlier command asked for."""
        done = {path.stem: self.finished(path.stem) for path in sorted((self.out / "tasks").glob("*.json"))}
        done = {task: made for task, made in done.items() if made}
        found = {"name": self.args.name or self.out.name, "model": self.args.model, "data": str(self.args.data), "backend": self.args.backend}
        found |= {"chat_template": next(iter(done.values()))["chat_template"], "shots": self.args.shots, "limit": self.args.limit}
        found |= {"command": shlex.split(self.args.command), "absent": self.absent, "failed": self.failed, "git_commit": git_commit()}
        found |= {"versions": self.settings["versions"], "seconds": round(sum(made["seconds"] for made in done.values()), 1)}
        for name in ("results", "configs", "n-samples", "n-shot"):
            found[name] = {task: made[name] for task, made in done.items()}
        return found | {"task_versions": {task: made["versions"] for task, made in done.items()}}


def run(args: argparse.Namespace) -> dict:
    """Score what is not finished; returns what results.json holds. Raises BadInput."""
    job = Run(args)
    for task in job.tasks:
        if job.finished(task):
            print(f"{task}: finished before")
            continue
        try:
            job.score(task)
        except ValueError as error:  # lm-eval's and ours: no examples to show, a set of another form
            job.failed[task] = str(error).splitlines()[0]
            print(f"error: {task}: {job.failed[task]}", file=sys.stderr)
    if len(job.failed) == len(job.tasks):
        raise BadInput(f"no task could be scored: {next(iter(job.failed.values()), 'none of their questions are prepared')}")
    found = job.results()
    files.save(args.out / "results.json", files.json_text(found).encode())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the prepared questions")
    parser.add_argument("--tasks", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--name", help="of the model in reports")
    parser.add_argument("--anyway", action="store_true", help="also where models.yaml says that it does not fit into the memory")
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--template", default="auto")
    parser.add_argument("--backend", default="hf")
    parser.add_argument("--model-args", default="")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--command", default="", help="what the user typed, for the record")
    args = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # two lines of advice for each task otherwise
    try:
        found = run(args)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        print(f"error: {args.model}: out of memory; what is finished is kept: a smaller --batch-size, or a machine with more, goes on", file=sys.stderr)
        sys.exit(2)
    questions = sum(counts["effective"] for counts in found["n-samples"].values())
    print(f"{args.out}/results.json: {questions:,} questions in {len(found['results'])} tasks; absent: {', '.join(found['absent']) or 'none'}")


if __name__ == "__main__":
    main()
