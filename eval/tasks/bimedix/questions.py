"""Where the tasks' questions come from: the JSONL files that `make data` prepared, one a benchmark and language."""

from pathlib import Path

import datasets

DEFAULT = Path(__file__).parents[3] / "build" / "data" / "tiny" / "eval"


def load(benchmark: str, lang: str, data: str | None = None, **metadata: object) -> dict[str, datasets.Dataset]:
    """The questions of one task, as lm-eval's `custom_dataset`: {"test": .., "dev": ..}, dev being the few-shot examples where there are any.

    `data` is the folder of the prepared questions: `lm_eval --metadata '{"data": "build/data/local/eval"}'`. Other metadata is not for us.
    """
    folder = Path(data) if data else DEFAULT
    path = folder / f"{benchmark}_{lang}.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f'{path} is missing: `make data` prepares the questions; name their folder with --metadata \'{{"data": ".."}}\'')
    found = {"test": path, "dev": path.with_stem(f"{path.stem}_dev")}
    # an empty `dev` where there are no examples: zero-shot needs none, and few-shot stops instead of showing test questions with their answers
    return {split: datasets.Dataset.from_json(str(file)) if file.is_file() else datasets.Dataset.from_list([]) for split, file in found.items()}
