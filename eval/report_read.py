"""Read what lm-eval left: the folders that eval/run.py writes, or those of the stock `lm_eval --output_path .. --log_samples`.

`load(folder)` gives systems: one a model, condition and way of scoring. A system's cells hold every answered question, so that the report can pair
them; where no samples were kept, a cell holds the accuracy and n only. What does not fit together (samples of another run, a question twice) is a BadInput.
"""

import json
import math
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from data_prep.records import BadInput
from eval.tasks.bimedix.write import BENCHMARKS

SETS = [*BENCHMARKS, "seen"]
SCORINGS = {"letter": "option letters", "text": "whole answers", "norm": "whole answers per character", "bytes": "whole answers per byte"}
NORMED = {"acc_norm": ("norm", len), "acc_bytes": ("bytes", lambda option: len(option.encode()))}  # lm-eval's metrics for options of unequal length
PROBLEMS = {"missing": "no response", "not finite": "a likelihood that is no number", "cut": "cut for length", "tie": "a tie for the likeliest option"}


@dataclass(frozen=True, slots=True)
class Question:
    """A question as it was asked; `answer` is the place of the right option."""

    id: str
    origin: str
    question: str
    options: tuple[str, ...]
    letters: tuple[str, ...]
    answer: int
    context: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a system made of a question: right or wrong as lm-eval counted it, a log-likelihood an option, the likeliest option, and what went wrong."""

    question: Question
    right: bool
    scores: tuple[float | None, ...]
    chosen: int | None
    problem: str | None


@dataclass(frozen=True)
class Cell:
    """One task of a system: accuracy from 0 to 1 over n questions, and the answers by question id where samples were kept."""

    accuracy: float
    n: int
    answers: dict[str, Answer] | None


@dataclass(eq=False)
class Run:
    """What is known about one run of the harness."""

    folder: Path
    name: str
    model: str
    data: str | None = None
    chat_template: bool | None = None
    shots: int | None = None
    limit: float | None = None
    command: str | None = None
    absent: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    task_versions: dict[str, object] = field(default_factory=dict)
    seconds: float | None = None
    others: dict[str, dict] = field(default_factory=dict)  # lm-eval's own tasks, with their scores
    left_out: list[str] = field(default_factory=list)  # older results in the same folder


@dataclass(eq=False)
class System:
    """A row of the tables: a run under one way of scoring. `cells` by (language, set)."""

    run: Run
    scoring: str
    cells: dict[tuple[str, str], Cell]
    label: str = ""


def task_parts(task: str) -> tuple[str, str, str] | None:
    """(language, set, scoring) of one of our tasks, else None."""
    head, _, rest = task.partition("_")
    lang, _, name = rest.partition("_")
    scoring = "text" if name.endswith("_text") else "letter"
    name = name.removesuffix("_text")
    return (lang, name, scoring) if head == "bimedix" and lang in ("en", "ar") and name in SETS else None


def load(folder: Path) -> list[System]:
    """The systems of a folder: of eval/run.py (results.json), of lm-eval (results_<date>.json), or of lm-eval one folder deeper, one a model."""
    if (folder / "results.json").is_file():
        return _systems(*_ours(folder))
    if any(folder.glob("results_*.json")):
        return _systems(*_stock(folder))
    deeper = sorted({path.parent for path in folder.glob("*/results_*.json")})
    if not deeper:
        raise BadInput(f"{folder} holds no results.json: `make eval` writes it (nor results_*.json of lm_eval --output_path)")
    return [system for one in deeper for system in _systems(*_stock(one))]


def _json(path: Path) -> dict:
    try:
        found = orjson.loads(path.read_bytes())
    except ValueError as error:
        raise BadInput(f"{path}: not JSON ({error}); the run that wrote it was cut short: run it again") from error
    if not isinstance(found, dict) or not isinstance(found.get("results"), dict):
        raise BadInput(f"{path}: not a results file of lm-eval: it has no `results`")
    return found


def _ours(folder: Path) -> tuple[Run, dict, dict[str, Path]]:
    found = _json(folder / "results.json")
    run = Run(folder=folder, name=str(found.get("name") or folder.name), model=str(found.get("model", folder.name)))
    for key in ("data", "chat_template", "shots", "limit", "git_commit", "seconds"):
        setattr(run, key, found.get(key))
    for key in ("absent", "failed", "versions", "task_versions"):
        setattr(run, key, found.get(key) or getattr(run, key))
    run.command = shlex.join(map(str, found["command"])) if found.get("command") else None
    if run.shots is None:
        run.shots = _shots(found)
    samples = {path.stem: path for path in folder.glob("samples/*.jsonl")}
    return run, found, samples


def _stock(folder: Path) -> tuple[Run, dict, dict[str, Path]]:
    *older, newest = sorted(folder.glob("results_*.json"))
    found = _json(newest)
    config = found.get("config") or {}
    model = str(found.get("model_name") or (config.get("model_args") or {}).get("pretrained") or folder.name)
    parts = [part for part in model.split("/") if part and part != "merged"]
    run = Run(folder=folder, name=parts[-1] if parts else folder.name, model=model)
    run.chat_template, run.shots, run.limit = bool(found.get("chat_template")), _shots(found), config.get("limit")
    run.versions = {name: found[key] for name, key in (("lm_eval", "lm_eval_version"), ("transformers", "transformers_version")) if found.get(key)}
    run.task_versions, run.git_commit, run.left_out = found.get("versions") or {}, found.get("git_hash"), [path.name for path in older]
    run.seconds = float(found["total_evaluation_time_seconds"]) if found.get("total_evaluation_time_seconds") else None
    date = newest.stem.removeprefix("results_")
    samples = {path.name.removeprefix("samples_").removesuffix(f"_{date}.jsonl"): path for path in folder.glob(f"samples_*_{date}.jsonl")}
    return run, found, samples


def _shots(found: dict) -> int | None:
    """The one number of examples of our tasks; None where it is not said or differs."""
    numbers = {shots for task, shots in (found.get("n-shot") or {}).items() if task_parts(task)}
    return numbers.pop() if len(numbers) == 1 else None


def _systems(run: Run, found: dict, samples: dict[str, Path]) -> list[System]:
    cells: dict[str, dict] = {scoring: {} for scoring in SCORINGS}
    groups = {task for task, members in (found.get("group_subtasks") or {}).items() if members} | set(found.get("groups") or {})
    for task, scores in found["results"].items():
        parts = task_parts(task)
        if parts is None:
            if task not in groups:
                run.others[task] = scores
            continue
        lang, name, scoring = parts
        if not isinstance(scores.get("acc,none"), int | float):
            raise BadInput(f"{run.folder}: task {task}: no accuracy (acc,none) in the results; run it again")
        rows = read_samples(samples[task]) if task in samples else None
        counted = (found.get("n-samples") or {}).get(task, {}).get("effective")
        n = len(rows) if rows is not None and counted is None else counted
        if not n:
            raise BadInput(f"{run.folder}: task {task}: neither n-samples nor samples say how many questions were asked")
        cells[scoring][lang, name] = _cell(run, task, scores["acc,none"], n, rows, "acc")
        for metric, (normed, _) in NORMED.items():
            if scoring == "text" and isinstance(scores.get(f"{metric},none"), int | float):
                cells[normed][lang, name] = _cell(run, task, scores[f"{metric},none"], n, rows, metric)
    systems = [System(run, scoring, inside) for scoring, inside in cells.items() if inside]
    return systems or [System(run, "letter", {})]


def _cell(run: Run, task: str, accuracy: float, n: int, rows: list[dict] | None, metric: str) -> Cell:
    """A task's cell; BadInput where the samples are not those that the accuracy was counted from."""
    if rows is None:
        return Cell(float(accuracy), n, None)
    where = f"{run.folder}: task {task}"
    answers: dict[str, Answer] = {}
    for place, row in enumerate(rows, start=1):
        answer = read_answer(row, metric, f"{where}: sample {place}")
        if answer.question.id in answers:
            raise BadInput(f"{where}: sample {place}: the question {answer.question.id!r} stands twice; run the task again")
        answers[answer.question.id] = answer
    right = sum(answer.right for answer in answers.values())
    if len(answers) != n or abs(right / n - accuracy) > 1e-6:
        counted = f"{right} of {len(answers)} samples are right, the results say {100 * accuracy:.2f}% of {n} questions"
        raise BadInput(f"{where}: {counted}: samples and results are of different runs; run the task again")
    return Cell(float(accuracy), n, answers)


def read_samples(path: Path) -> list[dict]:
    """The logged samples of one task, those of lm-eval's unfiltered answers where it logged several."""
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if line.strip():
            try:
                rows.append(orjson.loads(line))
            except ValueError:
                rows.append(_lenient(line, f"{path}: line {number}"))
    return [row for row in rows if row.get("filter", "none") == "none"]


def _lenient(line: bytes, where: str) -> dict:
    """A line with NaN or Infinity, which Python writes and JSON does not know."""
    try:
        return json.loads(line)
    except ValueError as error:
        raise BadInput(f"{where}: not JSON ({error}); the run that wrote it was cut short: run it again") from error


def read_answer(row: dict, metric: str, where: str) -> Answer:
    """One logged sample; `metric` is acc, or acc_norm or acc_bytes, whose log-likelihoods are divided by the option's length."""
    doc = row.get("doc") or {}
    try:
        question = Question(
            id=str(doc["id"]),
            origin=str(doc.get("origin_id") or doc["id"]),
            question=str(doc["question"]),
            options=tuple(map(str, doc["options"])),
            letters=tuple(map(str, doc["letters"])),
            answer=int(doc["answer"]),
            context="\n".join(map(str, context)) if isinstance(context := doc.get("context"), list) else context,
        )
        right = float(row[metric]) == 1.0
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{where}: {error!r}: `doc` with id, question, options, letters and answer, and `{metric}` are needed") from error
    if not 0 <= question.answer < len(question.options) == len(question.letters):
        counts = f"{len(question.options)} options, {len(question.letters)} letters, answer {question.answer}"
        raise BadInput(f"{where}: {counts}: a letter an option and the place of the right one, from 0, are needed")
    scores = _scores(row, len(question.options))
    if metric in NORMED:
        length = NORMED[metric][1]
        scores = tuple(score if score is None else score / max(1, length(option)) for score, option in zip(scores, question.options, strict=True))
    problem = "cut" if row.get("truncated") else None
    if None in scores:
        problem, chosen = "missing", None
    elif not all(map(math.isfinite, scores)):
        problem, chosen = "not finite", None
    else:
        chosen = scores.index(max(scores))
        if problem is None and scores.count(scores[chosen]) > 1:
            problem = "tie"
        if metric == "acc" and problem is None and right != (chosen == question.answer):
            raise BadInput(f"{where}: `acc` is {row[metric]}, yet option {chosen + 1} is the likeliest and {question.answer + 1} is right; run the task again")
    return Answer(question, right, scores, chosen, problem)


def _scores(row: dict, options: int) -> tuple[float | None, ...]:
    """A log-likelihood an option; stock lm-eval logs them as strings. None where there is none."""
    found = []
    for response in (row.get("filtered_resps") or [])[:options]:
        try:
            found.append(float(response[0]))
        except (TypeError, ValueError, IndexError):
            found.append(None)
    return tuple(found + [None] * (options - len(found)))


def name_systems(systems: list[System]) -> None:
    """Give every system a label: the name, and where a name has several systems what tells them apart."""
    for system in systems:
        run, same = system.run, [other for other in systems if other.run.name == system.run.name]
        said = [
            (SCORINGS[system.scoring], {other.scoring for other in same}),
            ("shots not said" if run.shots is None else f"{run.shots}-shot", {other.run.shots for other in same}),
            ("chat template" if run.chat_template else "raw prompt", {bool(other.run.chat_template) for other in same}),
        ]
        aspects = [words for words, values in said if len(values) > 1]
        system.label = f"{run.name} ({', '.join(aspects)})" if aspects else run.name
    for label in {system.label for system in systems}:
        same = [system for system in systems if system.label == label]
        for number, system in enumerate(same, start=1):
            if len(same) > 1:
                system.label = f"{label} #{number}"
