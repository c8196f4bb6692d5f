"""Build a data set from a recipe: ShareGPT rows for training and validation, question sets for evaluation, a manifest, the rejects.

    python -m data_prep.build --recipe tiny
    python -m data_prep.build --recipe local --data ../shared/data

Writes BUILD/data/RECIPE/: train.jsonl, validation.jsonl, eval/<benchmark>_<lang>.jsonl (test questions), eval/<benchmark>_<lang>_dev.jsonl
(few-shot examples), eval/seen_<lang>.jsonl (the multiple-choice questions of train.jsonl, to see whether training took),
rejected/<reason>.jsonl and manifest.json. The folder appears when it is whole. Two runs write the same bytes, but for the seconds in the manifest.
"""

import argparse
import random
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from pydantic import BaseModel
from tqdm import tqdm

from data_prep import files, recipe
from data_prep.records import BadInput, EvaluationRow, MultipleChoice, OpenQuestion, Record, Reject, ShareGPTRow
from data_prep.sources import READERS

SAMPLES = Path(__file__).parent / "samples"
SHOWN = 5  # rejects of one reason printed to the terminal; all of them are in rejected/


class DataSet:
    """What is gathered from the sources, ready to be written. Every row read ends as used, rejected or not taken, and is counted so."""

    def __init__(self) -> None:
        self.records: list[Record] = []  # filled by settle()
        self.gathered: list[list[Record]] = []  # one list a source
        self.rejects: list[Reject] = []
        self.inputs: list[dict] = []  # the manifest's account, one entry a source
        self.ids: dict[str, Record] = {}

    def gather(self, source: recipe.Source, path: Path, seed: int) -> None:
        """Read one source into records and rejects."""
        if not path.is_file():
            raise BadInput(
                f"{path} is missing: the recipe names it for the reader {source.reader!r}; fetch it (docs/DATA.md says where) or take it out of the recipe"
            )
        try:
            rows = READERS[source.reader](path, **source.reader_options())
        except TypeError as error:
            raise BadInput(f"recipe, source {source.file}: {error}; data_prep/sources/{source.reader}.py names the reader's keys") from error
        entry = {"file": source.file, "sha256": files.sha256(path), "reader": source.reader, "read": 0, "not_taken": 0, "trimmed": 0}
        # a reader's key may name a second file of the same owner beside the first (PubMedQA's test ids): what it decides belongs in the account
        beside = {name: path.with_name(name) for name in source.reader_options().values() if isinstance(name, str)}
        if found := {name: files.sha256(second) for name, second in beside.items() if second.is_file()}:
            entry["beside"] = found
        records, rejects = [], []
        for row in tqdm(rows, desc=source.file, unit=" rows", disable=not sys.stderr.isatty()):
            entry["read"] += 1
            row = self._unique(row)
            if isinstance(row, Reject):
                rejects.append(row)
                continue
            stripped = _strip(row)
            entry["trimmed"] += stripped != row
            records.append(stripped)
        origins = list(dict.fromkeys(record.origin_id for record in records))
        if source.take is not None and source.take < len(origins):
            chosen = set(random.Random(f"{seed}:{source.file}").sample(origins, source.take))
            taken = [record for record in records if record.origin_id in chosen]
            entry["not_taken"] = len(records) - len(taken)
            records = taken
        entry["rejected"] = Counter(reject.reason for reject in rejects)
        self.gathered.append(records)
        self.rejects += rejects
        self.inputs.append(entry)

    def settle(self) -> None:
        """When all sources are read: take out what the test sets hold, wherever these stand in the recipe, and close the account."""
        tested = {_key(record): record.id for records in self.gathered for record in records if record.split == "test"}
        for entry, records in zip(self.inputs, self.gathered, strict=True):
            kept, leaks = _without_leaks(records, tested)
            entry["used"] = dict(Counter(record.split for record in kept))
            entry["rejected"] = dict(sorted((entry["rejected"] + Counter(reject.reason for reject in leaks)).items()))
            self.records += kept
            self.rejects += leaks

    def _unique(self, row: Record | Reject) -> Record | Reject:
        if isinstance(row, Reject):
            return row
        first = self.ids.setdefault(row.id, row)
        if first is row:
            return row
        message = f"the id {row.id} stands already in {first.file}, row {first.row}; ids are unique: rename or remove one of the two"
        return Reject(reason="duplicate_id", file=row.file, row=row.row, message=message, content=row.model_dump())


def _without_leaks(records: list[Record], tested: dict[tuple, str]) -> tuple[list[Record], list[Reject]]:
    """Split off training and validation rows that ask what a test question asks: same words, same options in any order.

    What leaks in one language leaks in all: a translation words the same question otherwise, so rows go by their origin.
    """
    trains = [record for record in records if record.split in ("train", "validation")]
    twins = {record.origin_id: tested[_key(record)] for record in trains if _key(record) in tested}
    kept, leaks = [], []
    for record in records:
        twin = twins.get(record.origin_id)
        if twin is None:
            kept.append(record)
            continue
        message = f"{record.id} asks what the test question {twin} asks, so it may not train; nothing to do"
        leaks.append(Reject(reason="in_test_set", file=record.file, row=record.row, message=message, content=record.model_dump()))
    return kept, leaks


def _strip(record: Record) -> Record:
    """White space around a text is no part of it; inside nothing is touched."""

    def clean(value: object) -> object:
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, list):
            return [clean(item) for item in value]
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        return value

    content = clean(record.model_dump(by_alias=True))
    return type(record).model_validate(content | {"file": record.file, "row": record.row})


def _key(record: Record) -> tuple:
    """What a question asks, for comparison only: letters and digits in lower case."""

    def plain(text: str) -> str:
        return "".join(character for character in text.casefold() if character.isalnum())

    if isinstance(record, MultipleChoice):
        return (plain(record.question), plain(record.context or ""), *sorted(plain(option) for option in record.options))
    if isinstance(record, OpenQuestion):
        return (plain(record.question),)
    return (record.id,)


def outputs(records: list[Record], answers: list[str]) -> dict[str, list[BaseModel]]:
    """File name -> rows, for everything that is written but the rejects."""
    rows: dict[str, list[BaseModel]] = {"train.jsonl": [], "validation.jsonl": []}
    sets: dict[str, list[EvaluationRow]] = defaultdict(list)
    for record in records:
        if record.split in ("train", "validation"):
            rows[f"{record.split}.jsonl"] += list[ShareGPTRow](record.sharegpt(answers))
        if isinstance(record, MultipleChoice):
            name = {"test": f"{record.benchmark}_{record.lang}", "dev": f"{record.benchmark}_{record.lang}_dev"}
            name |= {"train": f"seen_{record.lang}"}
            if record.split in name:
                sets[f"eval/{name[record.split]}.jsonl"].append(record.evaluation())
    return rows | dict(sorted(sets.items()))


def build(name: str, data: Path | None, out: Path) -> dict:
    """Build recipe `name` into the folder `out`; returns the manifest. Raises BadInput for what the user can mend."""
    started = time.monotonic()
    plan = recipe.load(name)
    if plan.root == "DATA" and data is None:
        raise BadInput(f"the recipe {name!r} reads real files: name their folder with DATA=<folder> (docs/DATA.md lists them)")
    root = SAMPLES if plan.root == "samples" else data
    gathered = DataSet()
    for source in plan.sources:
        gathered.gather(source, root / source.file, plan.seed)
    gathered.settle()
    rows = outputs(gathered.records, plan.mcqa_answers)
    if not rows["train.jsonl"] and not any(file.startswith("eval/") for file in rows):
        raise BadInput(f"the recipe {name!r} left no row to write; the first reject: {next(iter(gathered.rejects), 'none')}")
    for reject in gathered.rejects:
        rows.setdefault(f"rejected/{reject.reason}.jsonl", []).append(reject)
    with files.written_aside(out) as aside:
        written = {file: {"rows": files.write_jsonl(aside / file, content), "sha256": files.sha256(aside / file)} for file, content in rows.items()}
        manifest = {
            "recipe": name,
            "config": plan.model_dump(),
            "git_commit": files.git_commit(),
            "inputs": gathered.inputs,
            "rejected": dict(sorted(Counter(reject.reason for reject in gathered.rejects).items())),
            "outputs": written,
            "seconds": round(time.monotonic() - started, 1),
        }
        files.write_json(aside / "manifest.json", manifest)
    report_rejects(gathered.rejects, out)
    return manifest


def report_rejects(rejects: list[Reject], out: Path) -> None:
    """Print the first few rejects of each reason and where all of them are."""
    for reason, count in sorted(Counter(reject.reason for reject in rejects).items()):
        print(f"rejected {count:,} as {reason}: all in {out}/rejected/{reason}.jsonl", file=sys.stderr)
        for reject in [reject for reject in rejects if reject.reason == reason][:SHOWN]:
            print(f"  {reject}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="tiny", help="a name in data_prep/recipes or a .yaml file (%(default)s)")
    parser.add_argument("--data", type=Path, help="folder of the real files, for recipes that read them")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    args = parser.parse_args()
    out = args.build / "data" / Path(args.recipe).stem
    try:
        manifest = build(args.recipe, args.data, out)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    kept = manifest["outputs"]
    tested = sum(entry["rows"] for file, entry in kept.items() if file.startswith("eval/") and "seen_" not in file and not file.endswith("_dev.jsonl"))
    print(
        f"{out}: {kept['train.jsonl']['rows']:,} train, {kept['validation.jsonl']['rows']:,} validation rows, {tested:,} evaluation questions, "
        f"{sum(manifest['rejected'].values()):,} rejected; train.jsonl sha256 {kept['train.jsonl']['sha256'][:16]}"
    )


if __name__ == "__main__":
    main()
