"""Write the data set: ShareGPT rows, question sets, rejects and the contamination report, in one pass over the collected records."""

import json
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep import files
from data_prep.corpus import CODES, LANGS, SPLITS, Corpus
from data_prep.decontaminate import Hit
from data_prep.mix import draw
from data_prep.recipe import Recipe
from data_prep.records import MultipleChoice, Record, Reject
from data_prep.settle import REASONS, USED, Verdicts, explain


class Sheets:
    """JSONL files of one folder, opened when the first row comes, and the rows in each. At most a few dozen stand open."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.rows: Counter[str] = Counter()
        self.open: dict[str, object] = {}

    def add(self, name: str, content: dict) -> None:
        """Append one row to the file called `name`."""
        if name not in self.open:
            self.open[name] = self.stack.enter_context(files.open_lines(self.folder / name))
        self.open[name].write(files.line(content))
        self.rows[name] += 1


def _seen(corpus: Corpus, verdicts: Verdicts, plan: Recipe) -> np.ndarray:
    """The training questions that go into eval/seen_<lang>.jsonl: all, or a seeded choice of so many in each language."""
    index = corpus.index
    seen = (index["kind"] == CODES["mcqa"]) & (verdicts.split == CODES["train"]) & (verdicts.copies > 0)
    for code in range(len(LANGS)) if plan.seen is not None else ():
        mine = np.flatnonzero(seen & (index["lang"] == code))
        seen[mine[np.argsort(draw(index["origin"][mine], plan.seed), kind="stable")[plan.seen :]]] = False
    return seen


def write(corpus: Corpus, verdicts: Verdicts, plan: Recipe, folder: Path) -> tuple[Counter, Counter]:
    """Write everything but the manifest into `folder`; returns the rows of each file, and the training rows by (split, source, lang, kind)."""
    training: Counter[tuple] = Counter()
    seen = _seen(corpus, verdicts, plan)
    with ExitStack() as stack:
        sheets = Sheets(folder, stack)
        for name in ("train.jsonl", "validation.jsonl"):
            (folder / name).touch()
            sheets.rows[name] = 0
        for reject in corpus.rejects():
            sheets.add(f"rejected/{reject['reason']}.jsonl", reject)
        for number, record in tqdm(corpus.records(), total=len(corpus.index), desc="writing", unit=" rows", disable=not sys.stderr.isatty()):
            if REASONS[verdicts.reason[number]]:
                reject = explain(corpus, verdicts, number, record)
                sheets.add(f"rejected/{reject.reason}.jsonl", reject.model_dump())
                continue
            if verdicts.reason[number] != USED:
                continue
            split = SPLITS[verdicts.split[number]]
            if split in ("train", "validation"):
                for row in _rows(record, split, int(verdicts.copies[number]), plan.mcqa_answers):
                    sheets.add(f"{split}.jsonl", row)
                    training[split, row["source"], row["lang"], row["kind"]] += 1
            if isinstance(record, MultipleChoice) and (split != "train" or seen[number]) and split != "validation":
                name = {"test": f"{record.benchmark}_{record.lang}", "dev": f"{record.benchmark}_{record.lang}_dev", "train": f"seen_{record.lang}"}
                sheets.add(f"eval/{name[split]}.jsonl", record.evaluation().model_dump())
        for hit in verdicts.hits:
            sheets.add("contamination.jsonl", _pair(corpus, hit))
    ordered = ["train.jsonl", "validation.jsonl", *sorted(name for name in sheets.rows if name.startswith("eval/"))]
    ordered += [name for name in sheets.rows if name not in ordered]
    return Counter({name: sheets.rows[name] for name in ordered}), training


def _rows(record: Record, split: str, copies: int, answers: list[str]) -> list[dict]:
    """The ShareGPT rows of a record; the second and later copies of one, where a group is upsampled, say so in their id."""
    rows = [row.model_dump(by_alias=True) | {"split": split} for row in record.sharegpt(answers)]
    again = [row | {"id": f"{row['id']}:copy{copy}"} for copy in range(2, copies + 1) for row in rows]
    return rows + again


def _pair(corpus: Corpus, hit: Hit) -> dict:
    """One line of contamination.jsonl: how it was found, and both texts."""
    train, test = corpus.record(hit.row), corpus.record(hit.test)
    texts = {side: next(iter(record.sharegpt(["letter"]))).conversations[0].value for side, record in (("train", train), ("test", test))}
    return {
        "method": hit.method,
        "score": hit.score,
        "train_id": train.id,
        "train_text": texts["train"],
        "test_id": test.id,
        "test_text": texts["test"],
    }


def report_rejects(folder: Path, shown: int = 5) -> None:
    """Print the first few rejects of each reason and where all of them are."""
    for path in sorted(folder.glob("rejected/*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            first = [Reject.model_validate(json.loads(line)) for _, line in zip(range(shown), lines, strict=False)]
            count = len(first) + sum(1 for _ in lines)
        print(f"rejected {count:,} as {path.stem}: all in {path}", file=sys.stderr)
        for reject in first:
            print(f"  {reject}", file=sys.stderr)


def sums(folder: Path, rows: Counter) -> dict[str, dict]:
    """The manifest's `outputs`: rows and sha256 of each file."""
    return {name: {"rows": count, "sha256": files.sha256(folder / name)} for name, count in rows.items()}
