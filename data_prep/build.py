"""Build a data set from a recipe: ShareGPT rows for training and validation, question sets for evaluation, a manifest, the rejects.

    python -m data_prep.build --recipe tiny
    python -m data_prep.build --recipe bimed1.3m --data path/to/copies

Locate, collect, settle, write: each step leaves a whole folder below BUILD/data/.RECIPE.work or none, so a run that was killed goes on where it
stopped, and gives the same bytes. Writes BUILD/data/RECIPE/: train.jsonl, validation.jsonl, eval/<benchmark>_<lang>.jsonl (test questions),
eval/<benchmark>_<lang>_dev.jsonl (few-shot examples), eval/seen_<lang>.jsonl (multiple-choice questions of train.jsonl, to see whether training
took), contamination.jsonl, rejected/<reason>.jsonl and manifest.json. The folder appears when it is whole.
"""

import argparse
import contextlib
import fcntl
import hashlib
import itertools
import json
import pickle
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from data_prep import corpus, files, recipe
from data_prep.locate import Found, Located, locate, read
from data_prep.records import BadInput
from data_prep.settle import Verdicts, account, settle
from data_prep.write import report_rejects, sums, write

SAMPLES = Path(__file__).parent / "samples"


@contextlib.contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """The folder of a build's half-done work, for one build at a time. It stays when the build is killed, and goes when it ends or cannot be done."""
    work = out.parent / f".{out.name}.work"
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = (work / "lock").open("w")
    except OSError as error:  # a file stands in the way, or the place is another's
        raise BadInput(f"{out}: cannot be written ({error}); name a folder that you may write to with BUILD=") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(f"{out}: another build of it is running; wait for its end, or name another folder with BUILD=") from error
        try:
            yield work
        except BadInput:
            shutil.rmtree(work)
            raise
        shutil.rmtree(work)


def root_of(name: str, plan: recipe.Recipe, data: Path | None) -> Path | None:
    """The folder that a recipe's files lie in: the samples', or DATA. BadInput where DATA is needed and not given, or is no folder."""
    if data is None and plan.root == "DATA" and any(source.file for source in plan.sources):
        raise BadInput(f"the recipe {name!r} reads real files: name their folder with DATA=<folder> (docs/DATA.md lists them)")
    if data is not None and not data.is_dir():
        raise BadInput(f"DATA={data}: there is no such folder")
    return SAMPLES if plan.root == "samples" else data


def state(work: Path, plan: recipe.Recipe, located: Located, digests: dict[Path, str], limit: int | None) -> Path:
    """The folder of this very build: same code, recipe, limit, input files, and readers' options. What another build left is removed."""
    parts = [path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py"))] + [plan.model_dump_json().encode(), f"{limit}".encode()]
    parts += [repr((item.file, item.reader, item.options)).encode() for item in located.found] + [digest.encode() for digest in digests.values()]
    key = hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]
    for other in work.iterdir():
        if other.name not in (key, "lock"):
            shutil.rmtree(other)
    (work / key).mkdir(exist_ok=True)
    for half in (work / key).glob(".*"):  # what was written when the build was killed
        shutil.rmtree(half)
    return work / key


def beside(item: Found) -> dict[str, Path]:
    """A reader's key may name a second file of the same owner beside the first (PubMedQA's test ids): what it decides belongs in the account."""
    named = {value: item.path.with_name(value) for value in item.options.values() if isinstance(value, str) and Path(value).name == value}
    return {name: path for name, path in named.items() if path.is_file()}


def collect(located: Located, plan: recipe.Recipe, work: Path, out: Path, limit: int | None) -> corpus.Corpus:
    """Read every source that was not read before, at most `limit` rows of each, and open all of them as one."""
    shards = [work / f"{number:03}" for number in range(len(located.found))]
    for item, shard in zip(located.found, shards, strict=True):
        if not shard.exists():
            with files.written_aside(shard, named=out) as aside:
                rows = tqdm(itertools.islice(read(item), limit), desc=item.file, unit=" rows", disable=not sys.stderr.isatty())
                corpus.collect(rows, aside, plan.mcqa_answers)
    if not (work / "joined").exists():
        with files.written_aside(work / "joined", named=out) as aside:
            corpus.join_words(shards, aside / "words.u32")
    return corpus.Corpus(shards, work / "joined" / "words.u32")


def settled(rows: corpus.Corpus, located: Located, plan: recipe.Recipe, work: Path, out: Path) -> Verdicts:
    """The verdicts, from an earlier run where it came so far."""
    kept = work / "settled" / "verdicts.pickle"  # our own, keyed by our own code: nothing foreign is unpickled
    if not kept.exists():
        with files.written_aside(work / "settled", named=out) as aside:
            takes = [(item.file, item.source.take) for item in located.found]
            (aside / kept.name).write_bytes(pickle.dumps(settle(rows, plan, takes)))
    return pickle.loads(kept.read_bytes())


def tested(written: dict[str, int]) -> dict[str, int]:
    """The test sets among the written files, and their questions: not the few-shot examples, not the questions that were trained on."""
    sets = {Path(file).stem: count for file, count in written.items() if file.startswith("eval/")}
    return {name: count for name, count in sets.items() if not name.startswith("seen_") and not name.endswith("_dev")}


def manifest(
    name: str, plan: recipe.Recipe, located: Located, digests: dict[Path, str], rows: corpus.Corpus, verdicts: Verdicts, written: dict[str, int]
) -> dict:
    """The account of a build, but for the sums of the written files; `written` holds the rows of each."""
    inputs = []
    for shard, item in enumerate(located.found):
        entry = {"file": item.file, "sha256": digests[item.path], "reader": item.reader}
        if second := {name: digests[path] for name, path in beside(item).items()}:
            entry["beside"] = second
        entry |= {"source": item.source.registered, "sources": rows.accounts[shard]["sources"], "groups": rows.accounts[shard]["groups"]}
        of = item.entry or item.source
        entry |= {"licence": of.licence, "redistribute": of.redistribute}
        if item.entry:
            hub = item.entry.hub.model_dump(exclude={"options"}) | {"revision": item.revision} if item.revision else None
            expected = None if "others" in (item.source.model_extra or {}) else item.entry.expected  # a part was asked for
            entry |= {"terms": item.entry.terms, "expected": expected, "hub": hub}
        inputs.append(entry | account(rows, verdicts, shard))
    absent = [item.source for item in located.missing if recipe.registry.entries()[item.source].split == "test"]
    return {
        "recipe": recipe.name_of(name),
        "config": plan.model_dump(by_alias=True),
        "git_commit": files.git_commit(),
        "inputs": inputs,
        "missing": [{"source": item.source, "why": item.why, "supply": item.supply} for item in located.missing],
        "rejected": dict(sorted(sum((Counter(entry["rejected"]) for entry in inputs), Counter()).items())),
        "deduplication": verdicts.deduplication,
        "alignment": verdicts.alignment,
        "contamination": {
            "methods": dict(sorted(Counter(hit.method for hit in verdicts.hits).items())),
            "against": dict(sorted(tested(written).items())),
            "not_checked": absent,
        },
        "mix": verdicts.mix,
        "ratio": verdicts.ratio,
    }


def build(name: str, data: Path | None, build_folder: Path, limit: int | None = None) -> tuple[Path, dict]:
    """Build recipe `name` into BUILD/data/NAME, of at most `limit` rows of each source; returns that folder and the manifest. Raises BadInput for
    what the user can mend."""
    started = time.monotonic()
    plan = recipe.load(name)
    out = build_folder / "data" / recipe.name_of(name)
    located = locate(plan, root_of(name, plan, data), build_folder)
    for item in located.missing:
        print(f"missing: {item}", file=sys.stderr)
    with work_folder(out) as work:
        digests = {path: files.sha256(path) for item in located.found for path in (item.path, *beside(item).values())}
        kept = state(work, plan, located, digests, limit)
        rows = collect(located, plan, kept, out, limit)
        collected = time.monotonic()
        verdicts = settled(rows, located, plan, kept, out)
        with files.written_aside(out, within=work) as aside:
            writing = time.monotonic()
            written, training = write(rows, verdicts, plan, aside)
            if not written["train.jsonl"] and not any(file.startswith("eval/") for file in written):
                first = next(rows.rejects(), None)
                why = f"the first reject: {first['file']}, row {first['row']}: {first['message']}" if first else "check its languages, mix and test sets"
                raise BadInput(f"the recipe {name!r} left no row to write; {why}")
            account_of_all = manifest(name, plan, located, digests, rows, verdicts, written) | {"limit": limit}
            columns = ("split", "source", "lang", "kind", "rows")
            account_of_all["rows"] = [dict(zip(columns, (*group, count), strict=True)) for group, count in sorted(training.items())]
            account_of_all["outputs"] = sums(aside, written)
            steps = {"collect": collected - started, **verdicts.seconds, "write": time.monotonic() - writing}  # of what an earlier run left: as long as it took
            account_of_all["steps"] = {step: round(seconds, 1) for step, seconds in steps.items()}
            account_of_all["seconds"] = round(time.monotonic() - started, 1)
            files.write_json(aside / "manifest.json", account_of_all)
    report_rejects(out)
    return out, account_of_all


def report_shortfall(account_of_all: dict) -> None:
    """Print which sources are smaller than their owners say, and what the mix wanted and did not get."""
    for entry in account_of_all["inputs"]:
        if entry.get("expected") and entry["read"] < entry["expected"]:
            lacks, holds = entry["expected"] - entry["read"], f"{entry['file']} holds {entry['read']:,} of {entry['expected']:,}"
            print(f"short of {lacks:,} rows: source {entry['source']}: {holds}", file=sys.stderr)
    for entry in account_of_all["mix"] or ():
        if entry["shortfall"]:
            group = ", ".join(f"{key} {value if isinstance(value, str) else ' + '.join(value)}" for key, value in entry["group"].items())
            print(f"short of {entry['shortfall']:,} rows: {group}: wanted {entry['wanted']:,}, had {entry['had']:,}, built {entry['built']:,}", file=sys.stderr)
    for benchmark, found in (account_of_all["alignment"] or {}).items():
        if found["pairs"] < max(found["en"], found["ar"]):
            print(f"{benchmark}: {found['pairs']:,} of {found['en']:,} English and {found['ar']:,} Arabic questions are pairs", file=sys.stderr)
    if ratio := account_of_all["ratio"]:
        print(f"languages: wanted {json.dumps(ratio['wanted'])}, built {json.dumps(ratio['built'])} rows", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="tiny", help="a name in data_prep/recipes or a .yaml file (%(default)s)")
    parser.add_argument("--data", type=Path, help="folder of the real files, for recipes that read them")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    parser.add_argument("--limit", type=int, help="rows read of each source, for a quick look; the counts are then not the official ones")
    args = parser.parse_args()
    try:
        out, made = build(args.recipe, args.data, args.build, args.limit)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    report_shortfall(made)
    kept = made["outputs"]
    questions = sum(tested({file: entry["rows"] for file, entry in kept.items()}).values())
    print(
        f"{out}: {kept['train.jsonl']['rows']:,} train, {kept['validation.jsonl']['rows']:,} validation rows, {questions:,} evaluation questions, "
        f"{sum(made['rejected'].values()):,} rejected; train.jsonl sha256 {kept['train.jsonl']['sha256'][:16]}"
    )


if __name__ == "__main__":
    main()
