"""A built data set written by hand, with mixing, licences and reports, for the tests of its card and its publication; and how they read a card."""

import hashlib
import json
import re
from pathlib import Path

from tests.conftest import Ran, command

LANGUAGES = {"en": "English", "ar": "Arabic"}
KINDS = {"mcqa": "multiple choice", "qa": "open question", "chat": "chat"}
EN = "Question: Which organ makes insulin? Options: A. Liver B. Pancreas"
AR = "السؤال: أي عضو يصنع الأنسولين؟ الخيارات: أ. الكبد ب. البنكرياس"
SECRET = "Kept by the hospice"  # opens every text of the source that may not be passed on


def row(number: int, source: str, lang: str, kind: str, *said: str, split: str = "train") -> dict:
    """A ShareGPT row."""
    turns = [{"from": "gpt" if place % 2 else "human", "value": text} for place, text in enumerate(said)]
    name = f"{source}:{split}:{number:04d}"
    return {"id": f"{name}:{lang}", "conversations": turns, "lang": lang, "kind": kind, "source": source, "split": split, "origin_id": name}


def question(name: str, benchmark: str, lang: str) -> dict:
    """An evaluation row."""
    of = {"id": f"{name}:{lang}", "benchmark": benchmark, "lang": lang, "prompt": EN, "lead": "The correct answer is", "letters": ["A", "B"], "answer": 1}
    return of | {"question": f"{name}?", "options": ["Liver", "Pancreas"], "context": None, "origin_id": name}


def small_rows() -> dict[str, list[dict]]:
    """Rows of four sources in both languages, chats of one to twelve exchanges among them; `hospice` may not be passed on."""
    train = [row(n, "medqa", "en", "mcqa", f"{EN} {n}", f"{'Insulin ' * n}The correct answer is B.") for n in range(1, 31)]
    train += [row(n, "medqa", "ar", "mcqa", f"{AR} {n}", "الجواب الصحيح هو ب.") for n in range(1, 21)]
    train += [row(n, "اسئلة_المرضى", "ar", "qa", "ما هو فقر الدم؟ " * n, "اكتب إلى doctor@example.org") for n in range(1, 4)]
    train += [row(n, "chats | ours", "en", "chat", *["I feel *weak*.", "Since when?"] * n) for n in (1, 2, 3, 3, 12)]
    train += [row(n, "hospice", "ar" if n % 2 else "en", "chat", *[f"{SECRET}: {n}", f"{SECRET}: rest."] * 2) for n in range(1, 8)]
    return {
        "train.jsonl": train,
        "validation.jsonl": [row(n, "medqa", "en", "mcqa", f"{EN} {n}", "The correct answer is B.", split="validation") for n in range(1, 6)],
        "eval/medqa_en.jsonl": [question(f"medqa:test:{n}", "medqa", "en") for n in range(4)],
        "eval/anatomy_en.jsonl": [question(f"mmlu_anatomy:test:{n}", "anatomy", "en") for n in range(3)],
        "eval/anatomy_en_dev.jsonl": [question(f"mmlu_anatomy:dev:{n}", "anatomy", "en") for n in range(2)],
        "eval/hospice_en.jsonl": [question(f"hospice:test:{n}", "hospice", "en") for n in range(6)],
    }


def hit(number: int, method: str = "similar", source: str = "medqa") -> dict:
    """One line of contamination.jsonl."""
    text = f"A | *bold* <b>question</b> {number}\n" + "x" * 300
    hit = {"method": method, "score": 0.9 - number / 100, "train_id": f"{source}:train:{number}:en", "test_id": f"medqa:test:{number}:en"}
    return hit | {"train_text": f"{SECRET} {text}" if source == "hospice" else text, "test_text": text}


def source(name: str, redistribute: bool | None, licence: str | None, registered: str | None = None, rows: int = 10) -> dict:
    """An entry of the manifest's inputs."""
    hub = {"repository": f"owner/{name}", "config": None, "split": "train", "revision": "ab" * 20} if name == "medqa" else None
    entry = {"file": f"{name}.jsonl", "sha256": "0" * 64, "reader": "tabular", "read": rows, "not_taken": 0, "trimmed": 0, "used": {"train": rows}}
    return entry | {"rejected": {}, "source": registered, "licence": licence, "redistribute": redistribute, "hub": hub, "expected": 12, "sources": [name]}


def write_small(folder: Path, rows: dict[str, list[dict]] | None = None, **changes: object) -> Path:
    """A built data set in the form with mixing, licences and reports, written by hand; `changes` replace keys of its manifest."""
    hits = [hit(n) for n in range(12)] + [hit(n, "exact", "hospice") for n in range(2)]
    files = (small_rows() if rows is None else rows) | {"contamination.jsonl": hits}
    outputs = {}
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in content), encoding="utf-8")
        outputs[file] = {"rows": len(content), "sha256": hashlib.sha256((folder / file).read_bytes()).hexdigest()}
    manifest = {
        "recipe": "ours/small.yaml",
        "config": {"description": "rows of a test", "root": "DATA", "seed": 5},
        "git_commit": "c" * 40 + "-dirty",
        "inputs": [
            source("medqa", True, "MIT"),
            source("mmlu", True, "MIT"),
            source("اسئلة_المرضى", True, "CC BY 4.0"),
            source("chats | ours", True, "Apache-2.0"),
            source("hospice", False, "by contract"),
        ],
        "missing": [{"source": "umls", "why": "it needs a licence", "supply": "sign it | copy the file"}],
        "mix": [
            {"group": {"source": "medqa", "lang": "en"}, "wanted": 40, "had": 30, "built": 30, "repeated": 0, "shortfall": 10},
            {"group": {"source": ["a", "b"], "kind": "qa", "share": 0.5}, "wanted": 1234, "had": 3, "built": 3, "repeated": 1, "shortfall": 1231},
        ],
        "ratio": {"wanted": {"ar": 1.0, "en": 2.0}, "built": {"ar": 27, "en": 43}},
        "rejected": {"empty_answer": 1200, "near_duplicate": 3},
        "deduplication": {"exact": 10, "near": 5, "conflicting": 1, "threshold": 0.8, "permutations": 128},
        "contamination": {"methods": {"exact": 2, "options": 0, "similar": 12}, "against": {"medqa_en": 1273}, "not_checked": ["medqa_ar"]},
        "outputs": outputs,
        "seconds": 1.5,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | changes, ensure_ascii=False), encoding="utf-8")
    return folder


def make_card(folder: Path, *arguments: object, **limits: int) -> Ran:
    return command("data_prep.card", folder, *arguments, seconds=60, **limits)


def text_of(folder: Path) -> str:
    return (folder / "DATASET_CARD.md").read_text(encoding="utf-8")


def section(card: str, title: str) -> str:
    """What stands under a heading."""
    return card.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def tables(text: str) -> list[list[list[str]]]:
    """The Markdown tables of a text, without their headers, escapes undone and thousands joined."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in block.splitlines()[2:]]
        found.append([[re.sub(r"\\(.)", r"\1", re.sub(r"(?<=\d),(?=\d{3})", "", cell)) for cell in line] for line in lines])
    return found


def read_rows(folder: Path) -> list[tuple[str, dict]]:
    lines = [(split, line) for split in ("train", "validation") for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(split, json.loads(line)) for split, line in lines]
