"""Where the tasks' questions come from: the JSONL files that `make data` prepared, one a benchmark and language.

lm-eval loads this file by its path, from any working directory: it imports nothing of ours.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import datasets

DEFAULT = Path(__file__).parents[3] / "build" / "data" / "tiny" / "eval"
WESTERN, INDIC = "0123456789", "٠١٢٣٤٥٦٧٨٩"
# options that speak of others lose their sense in another order
SPEAKS_OF_OTHERS = re.compile(
    r"\b(all|none|both|neither|any|either) of (the|these|them)\b|\b(all|none|both|neither)\b\s*$|\b(above|below|options?|choices?)\b|\b[A-E] (and|or|&) [A-E]\b"
    r"|سبق|أعلاه|ما ذكر|المذكور|كلاهما|كليهما|الخيار|[أبجده] و ?[أبجده](\s|$)|(جميع|كل) (ال)?(خيارات|إجابات|ما)",
    re.IGNORECASE,
)


def load(benchmark: str, lang: str, data: str | None = None, form: str | None = None, **metadata: object) -> dict[str, datasets.Dataset]:
    """The questions of one task, as lm-eval's `custom_dataset`: {"test": .., "dev": ..}, dev being the few-shot examples where there are any.

    `data` is the folder of the prepared questions: `lm_eval --metadata '{"data": "build/data/local/eval"}'`. Other metadata is not for us.
    `form` asks for the questions as a probe has them: rotated1 to rotated3 (each option that many places up), western or indic (digits).
    """
    folder = Path(data) if data else DEFAULT
    path = folder / f"{benchmark}_{lang}.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f'{path} is missing: `make data` prepares the questions; name their folder with --metadata \'{{"data": ".."}}\'')
    change = probe(form) if form else None
    test, dev = _rows(path), _rows(path.with_stem(f"{path.stem}_dev"))
    test = [row for row in map(change, test) if row] if change else test
    # an empty `dev` where there are no examples: zero-shot needs none, and few-shot stops instead of showing test questions with their answers
    return {"test": datasets.Dataset.from_list(test), "dev": datasets.Dataset.from_list(dev)}


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()] if path.is_file() else []


def probe(form: str) -> Callable[[dict], dict | None]:
    """What makes a question that of a probe; None for a question that the probe does not touch."""
    if form.startswith("rotated"):
        return lambda row: rotated(row, int(form.removeprefix("rotated")))
    to = {"western": (INDIC, WESTERN), "indic": (WESTERN, INDIC)}[form]
    return lambda row: in_digits(row, to)


def rotated(row: dict, by: int) -> dict | None:
    """The question with option number `by` + 1 in the first place, and so on round; None where an option speaks of others, or there are too few."""
    options = row["options"]
    if by >= len(options) or any(SPEAKS_OF_OTHERS.search(option) for option in options):
        return None
    turned = options[by:] + options[:by]
    prompt = row["prompt"].removesuffix(_lettered(row["letters"], options)) + _lettered(row["letters"], turned)
    return row | {"prompt": prompt, "options": turned, "answer": (row["answer"] - by) % len(options)}


def in_digits(row: dict, from_to: tuple[str, str]) -> dict | None:
    """The question with its digits written in one way; None where it has none. Words with Latin letters (CD4, B12) keep theirs, as Arabic texts do."""
    table = str.maketrans(*from_to)

    def change(text: str) -> str:
        return re.sub(r"\S+", lambda word: word[0] if re.search("[A-Za-z]", word[0]) else word[0].translate(table), text)

    if not any(re.search(f"[{WESTERN}{INDIC}]", word) and not re.search("[A-Za-z]", word) for word in row["prompt"].split()):
        return None
    texts = {key: change(row[key]) for key in ("prompt", "question", "context") if row[key] is not None}
    return row | texts | {"options": [change(option) for option in row["options"]]}


def _lettered(letters: list[str], options: list[str]) -> str:
    return " ".join(f"{letter}. {option}" for letter, option in zip(letters, options, strict=True))
