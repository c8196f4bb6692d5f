"""Score models on the prepared question sets with lm-evaluation-harness, one model after the other.

    python -m eval.run --model build/models/tiny/merged --tasks bimedix_bi,bimedix_seen
    python -m eval.run --model mixtral-8x7b,bimedix-bi --tasks bimedix_bi --shots 5

A model is the name of a row of eval/models.yaml, a folder or a Hub id. Each is scored by a process of its own (eval/score.py), so that one that runs out
of memory, is gated or absent ends with a line, and the others go on. Writes BUILD/eval/NAME/ (results.json, samples/<task>.jsonl); NAME ends in -raw or
-5shot where the template or the examples are not the usual ones. What was scored before, with the same model, questions and settings, is not scored again.
With --report all models are put into one report, in the folder of the first.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from data_prep.files import BadInput, read_json
from eval.tasks.bimedix import write

TEMPLATES = ("auto", "chat", "raw")


def name_of(model: str) -> str:
    """What a model's outputs are called: the folder above `merged`, the last part of a Hub id or path, or the row of models.yaml."""
    path = Path(model)
    return path.parent.name if path.name == "merged" and path.parent.name else path.name


def folder_of(build: Path, name: str, shots: int, template: str) -> Path:
    """Where the results of a model stand for given settings."""
    return build / "eval" / (name + ("" if template == "auto" else f"-{template}") + (f"-{shots}shot" if shots else ""))


def questions_of(model: str, build: Path) -> Path:
    """The prepared questions for a model: those of the data set that its run.json names, else those of the recipe `benchmark`."""
    record = Path(model).parent / "run.json"
    if Path(model).is_dir() and record.is_file():
        return Path(read_json(record)["data"]) / "eval"
    benchmark = build / "data" / "benchmark" / "eval"
    if not benchmark.is_dir():
        raise BadInput(
            f"{model} was not trained here and {benchmark} is not there: make data RECIPE=benchmark prepares the questions, or name others with RECIPE=, --data"
        )
    return benchmark


def check(model: str, data: Path, tasks: str) -> None:
    """BadInput for what can be told without loading anything: a folder without a model, questions that nobody prepared."""
    if os.sep in model and not (Path(model) / "config.json").is_file() and (Path(model).exists() or model.startswith(("build/", "/", "."))):
        raise BadInput(f"{model} holds no model (no config.json): run `make train`, or name a model with MODEL=")
    names, ours = write.expand(tasks.split(",")), write.names()
    if all(name in ours and not (data / "{}_{}.jsonl".format(*ours[name])).is_file() for name in names):
        raise BadInput(f"{data} holds none of the questions of {tasks}: `make data` prepares them")


def score(command: list[str]) -> str | None:
    """Run one model's process; returns why it failed, None when it did not."""
    with subprocess.Popen(command) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()  # it got the signal too
            raise
    if code == -signal.SIGKILL:
        return "it was killed, most likely by the system for want of memory: use a machine with more, or a smaller --batch-size"
    return None if code == 0 else f"exit status {code}, see above"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="build/models/tiny/merged", help="rows of models.yaml, folders or Hub ids, comma between (%(default)s)")
    parser.add_argument("--name", help="of the output folder, for one model (default: from the model)")
    parser.add_argument("--data", type=Path, help="folder of the prepared questions (default: of the data that the model was trained on, or of `benchmark`)")
    parser.add_argument("--tasks", default="bimedix_bi,bimedix_seen", help="lm-eval tasks or groups, comma between (%(default)s)")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    parser.add_argument("--shots", type=int, default=0, help="examples before the question, from the dev split in its language (%(default)s)")
    parser.add_argument("--template", choices=TEMPLATES, default="auto", help="auto: chat where the model has a chat template (%(default)s)")
    parser.add_argument("--backend", default="hf", help="lm-eval's name of what runs the model: hf, vllm, local-completions, .. (%(default)s)")
    parser.add_argument("--model-args", default="", help="more for the backend, as lm-eval has them: base_url=..,num_concurrent=8")
    parser.add_argument("--batch-size", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--report", action="store_true", help="then write the report of all that was scored")
    parser.add_argument("--anyway", action="store_true", help="load a row of models.yaml also where it says that it does not fit into the memory")
    parser.add_argument("--limit", type=int, help="so many questions a task, for a quick look")
    args = parser.parse_args()
    models = [model for model in args.model.split(",") if model]
    if args.name and len(models) > 1:
        parser.error("--name is for one model")
    failed, done = {}, []
    for model in models:
        out = folder_of(args.build, args.name or name_of(model), args.shots, args.template)
        try:
            data = args.data or questions_of(model, args.build)
            check(model, data, args.tasks)
        except BadInput as error:
            print(f"error: {error}", file=sys.stderr)
            failed[model] = "see above"
            continue
        words = ["--model", model, "--data", data, "--tasks", args.tasks, "--out", out, "--shots", args.shots, "--template", args.template]
        words += ["--backend", args.backend, "--model-args", args.model_args, "--batch-size", args.batch_size, *(["--limit", args.limit] if args.limit else [])]
        words += ["--name", args.name or name_of(model), *(["--anyway"] if args.anyway else [])]
        why = score([sys.executable, "-m", "eval.score", *map(str, words), "--command", shlex.join(["python", "-m", "eval.run", *sys.argv[1:]])])
        if why:
            failed[model] = why
        else:
            done.append(out)
    for model, why in failed.items():
        print(f"not scored: {model}: {why}", file=sys.stderr)
    reported = subprocess.run([sys.executable, "-m", "eval.report", *map(str, done)], check=False).returncode if args.report and done else 0
    sys.exit(2 if failed else reported)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted: finished tasks are kept; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
