"""Writes folders as lm-eval leaves them, with answers that a test decides: scores, samples and results that belong together.

The questions are numbered sentences; what matters is who answers which of them right. Everything comes from the arguments, nothing is drawn at random.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path

LETTERS = {"en": ["A", "B", "C", "D"], "ar": ["أ", "ب", "ج", "د"]}
ARABIC = ["الكبد", "القلب", "الرئة", "الكلية"]
ENGLISH = ["The liver", "The heart", "The lung", "The kidney"]
DATE = "2026-01-31T10-00-00.123456"


def questions(name: str, n: int, lang: str) -> list[dict]:
    """n prepared questions of a set."""
    found = []
    for number in range(n):
        options = (ENGLISH if lang == "en" else ARABIC)[:]
        question = f"Which organ does case {number} of {name} concern?" if lang == "en" else f"أي عضو تخص الحالة رقم {number} من مجموعة {name}؟"
        origin = f"made:{name}:{number:05d}"
        doc = {"id": f"{origin}:{lang}", "origin_id": origin, "benchmark": name, "lang": lang, "question": question, "options": options, "context": None}
        found.append(
            doc | {"letters": LETTERS[lang], "answer": number % 4, "prompt": question, "lead": "The correct answer is" if lang == "en" else "الجواب الصحيح هو"}
        )
    return found


def sample(place: int, doc: dict, right: bool, sure: float = 0.7) -> dict:
    """A logged sample: the chosen option has the share `sure` of the likelihood, the others the rest in equal parts but for a hair."""
    chosen = doc["answer"] if right else (doc["answer"] + 1) % len(doc["options"])
    others = (1 - sure) / (len(doc["options"]) - 1)
    scores = [math.log(sure) if option == chosen else math.log(others) - option / 1000 for option in range(len(doc["options"]))]
    responses = [[score, option == chosen] for option, score in enumerate(scores)]
    return {"doc_id": place, "doc": doc, "target": doc["answer"], "filtered_resps": responses, "filter": "none", "acc": float(right)}


def samples(docs: list[dict], right: Iterable[bool], sure: float = 0.7) -> list[dict]:
    """A whole task."""
    return [sample(place, doc, bool(one), sure) for place, (doc, one) in enumerate(zip(docs, right, strict=True))]


def _results(tasks: dict[str, list[dict]]) -> dict:
    results, counts = {}, {}
    for task, rows in tasks.items():
        metrics = [metric for metric in ("acc", "acc_norm", "acc_bytes") if metric in rows[0]]
        results[task] = {"alias": task, **{f"{metric},none": sum(row[metric] for row in rows) / len(rows) for metric in metrics}}
        counts[task] = {"original": len(rows), "effective": len(rows)}
    return {"results": results, "n-samples": counts, "n-shot": dict.fromkeys(tasks, 0)}


def ours(folder: Path, tasks: dict[str, list[dict]], **fields: object) -> Path:
    """A folder as eval/run.py writes it; `fields` go into results.json."""
    (folder / "samples").mkdir(parents=True)
    for task, rows in tasks.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "samples" / f"{task}.jsonl").write_text(lines, encoding="utf-8")
    known = {"model": f"some/{folder.name}", "data": "build/data/any/eval", "chat_template": True, "limit": None, "git_commit": "abc", "absent": []}
    written = known | {"versions": {"lm_eval": "0.4.11"}} | _results(tasks) | fields
    (folder / "results.json").write_text(json.dumps(written, ensure_ascii=False), encoding="utf-8")
    return folder


def stock(folder: Path, tasks: dict[str, list[dict]], **fields: object) -> Path:
    """A folder as `lm_eval --output_path --log_samples` writes it: likelihoods as strings, the date in every name."""
    folder.mkdir(parents=True, exist_ok=True)
    for task, rows in tasks.items():
        logged = [row | {"target": str(row["target"]), "filtered_resps": [[str(one) for one in pair] for pair in row["filtered_resps"]]} for row in rows]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in logged)
        (folder / f"samples_{task}_{DATE}.jsonl").write_text(lines, encoding="utf-8")
    known = {"model_name": f"some/{folder.name}", "config": {"model": "hf", "limit": None}, "lm_eval_version": "0.4.11", "transformers_version": "5.16.1"}
    (folder / f"results_{DATE}.json").write_text(json.dumps(known | _results(tasks) | fields), encoding="utf-8")
    return folder


def bare(folder: Path, **accuracies: tuple[float, int]) -> Path:
    """A folder with results alone, as older runs left them, for tasks named without their `bimedix_`: (accuracy from 0 to 1, questions)."""
    folder.mkdir(parents=True)
    results = {f"bimedix_{task}": {"acc,none": accuracy} for task, (accuracy, _) in accuracies.items()}
    counts = {f"bimedix_{task}": {"effective": n} for task, (_, n) in accuracies.items()}
    known = {"model": "some/model", "data": "build/data/any/eval", "chat_template": True, "limit": None, "git_commit": "abc", "versions": {"lm_eval": "0.4.11"}}
    (folder / "results.json").write_text(json.dumps(known | {"results": results, "n-samples": counts}), encoding="utf-8")
    return folder


def pattern(n: int, right: int, first: int = 0) -> list[bool]:
    """n answers of which `right` in a row are right, from place `first` on and around the end."""
    return [(place - first) % n < right for place in range(n)]


def both(name: str, n: int, english: list[bool], arabic: list[bool]) -> dict[str, list[dict]]:
    """A set in both languages, paired by origin."""
    return {f"bimedix_{lang}_{name}": samples(questions(name, n, lang), right) for lang, right in (("en", english), ("ar", arabic))}
