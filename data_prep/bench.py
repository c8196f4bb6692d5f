"""Time a build on N synthetic rows, step by step, and near-deduplication against a plain datasketch loop: `make bench-data`.

    python -m data_prep.bench --rows 1000000

Writes synthetic rows with the lengths of the real sources (log-normal, measured on the files of docs/DATA.md), 5% exact and 5% near copies, 1% leaks,
into BUILD/bench, builds them at a tenth of N and at N, each in a process of its own, and prints seconds, rows a second and peak memory of each
step. Ratios are of one run on one machine. BUILD/bench/data.json holds the figures; the rows are removed at the end.
"""

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from datasketch import MinHash, MinHashLSH

from data_prep import dedup, files, matching
from data_prep.build import build

# share of the rows, language, kind, and (log-mean, log-sd) of the words in question, option and rest
SHAPES = [
    ("pubmedqa", 0.19, "en", "mcqa", (2.54, 0.33), (0.0, 0.0), (5.32, 0.29)),
    ("pubmedqa", 0.10, "ar", "mcqa", (2.54, 0.33), (0.0, 0.0), (5.32, 0.29)),
    ("medmcqa", 0.17, "en", "mcqa", (2.40, 0.66), (0.90, 0.61), None),
    ("medmcqa", 0.09, "ar", "mcqa", (2.40, 0.66), (0.90, 0.61), None),
    ("medqa", 0.02, "en", "mcqa", (4.75, 0.42), (1.10, 0.64), None),
    ("medqa", 0.01, "ar", "mcqa", (4.75, 0.42), (1.10, 0.64), None),
    ("medquad", 0.10, "en", "qa", (1.95, 0.33), None, (4.88, 0.93)),
    ("medquad", 0.08, "ar", "qa", (1.95, 0.33), None, (4.88, 0.93)),
    ("chats", 0.16, "en", "chat", (3.10, 0.35), None, (4.60, 0.40)),
    ("chats", 0.08, "ar", "chat", (3.10, 0.35), None, (4.60, 0.40)),
]
TESTS = {"medmcqa": 4183, "medqa": 1273, "pubmedqa": 500}  # in each language
COPIES, NEAR, LEAKS = 0.05, 0.05, 0.01
LETTERS = {"en": "abcdefghijklmnopqrstuvwxyz", "ar": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي"}
SAMPLE = 20_000  # rows of the comparison with datasketch
COMPARED = ("collect", "decontaminate", "deduplicate", "mix", "write")


class Words:
    """Texts of made-up words of one language. Words are as unevenly frequent as in real text (Zipf), 200,000 different ones."""

    def __init__(self, lang: str, seed: int) -> None:
        rng = random.Random(f"{seed}:{lang}")
        self.random = np.random.default_rng(seed)
        self.words = ["".join(rng.choices(LETTERS[lang], k=rng.randint(2, 10))) for _ in range(200_000)]
        self.cumulative = np.cumsum(1 / (np.arange(len(self.words)) + 2.7))
        self.cumulative /= self.cumulative[-1]

    def text(self, shape: tuple[float, float] | None) -> str:
        """A text whose length follows `shape`, the mean and deviation of the logarithm of its words."""
        if shape is None:
            return ""
        count = max(int(np.exp(self.random.normal(*shape))), 1)
        return " ".join(self.words[place] for place in np.searchsorted(self.cumulative, self.random.random(count)))


def changed(text: str, words: Words, rng: random.Random, one_in: int) -> str:
    """The text with one word in `one_in` replaced, at least one."""
    found = text.split()
    for place in rng.sample(range(len(found)), max(len(found) // one_in, 1)):
        found[place] = words.text((0.0, 0.0))
    return " ".join(found)


def record(number: int, shape: tuple, words: Words, split: str) -> dict:
    """A synthetic record in the form that data_prep/sources/records.py reads."""
    source, _, lang, kind, question, option, rest = shape
    common = {
        "kind": kind,
        "id": f"{source}:{split}:{number}:{lang}",
        "origin_id": f"{source}:{split}:{number}",
        "lang": lang,
        "source": source,
        "split": split,
    }
    if kind == "mcqa":
        options = ["yes", "no", "maybe"] if source == "pubmedqa" else [words.text(option) for _ in range(4)]
        return common | {"benchmark": source, "question": words.text(question), "options": options, "answer": number % 3, "context": words.text(rest) or None}
    if kind == "qa":
        return common | {"question": words.text(question), "answer": words.text(rest)}
    turns = [words.text(question if place == 0 else rest) for place in range(4)]
    return common | {"turns": [{"from": "gpt" if place % 2 else "human", "value": turn} for place, turn in enumerate(turns)]}


def _again(row: dict, number: int) -> dict:
    """A training row that says what `row` says, under another id."""
    origin = f"{row['source']}:train:{number}"
    return row | {"split": "train", "id": f"{origin}:{row['lang']}", "origin_id": origin}


def _rows(rows: int, asked: list[dict], words: dict[str, Words], rng: random.Random) -> Iterator[dict]:
    """Training records, of which some say what an earlier one says and some ask what a test question asks."""
    recent: list[dict] = []
    for number in range(rows):
        shape, kind_of = rng.choices(SHAPES, [shape[1] for shape in SHAPES])[0], rng.random()
        if recent and kind_of < COPIES + NEAR:
            row = _again(rng.choice(recent), number)
            key = "answer" if row["kind"] == "qa" else "question"
            if kind_of >= COPIES and row["kind"] != "chat":
                row[key] = changed(row[key], words[row["lang"]], rng, 20)
        elif kind_of < COPIES + NEAR + LEAKS:
            test = rng.choice(asked)
            row = _again(test, number) | {"question": changed(test["question"], words[test["lang"]], rng, 5)}
        else:
            row = record(number, shape, words[shape[2]], "train")
            if len(recent) < 10_000:
                recent.append(row)
            else:
                recent[rng.randrange(10_000)] = row
        yield row


def synthesise(rows: int, folder: Path, seed: int = 7, tests: dict[str, int] = TESTS) -> Path:
    """Write `rows` training records and test questions (so many of each set and language) below `folder`, and the recipe that builds them; returns
    the recipe's path."""
    rng, words = random.Random(seed), {lang: Words(lang, seed) for lang in LETTERS}
    shapes = {(shape[0], shape[2]): shape for shape in SHAPES}
    asked = [record(n, shapes[name, lang], words[lang], "test") for name, count in tests.items() for lang in LETTERS for n in range(count)]
    files.write_jsonl(folder / "tests.jsonl", asked)
    files.write_jsonl(folder / "rows.jsonl", _rows(rows, asked, words, rng))
    groups = [{"source": source, "lang": lang, "rows": int(0.8 * share * rows)} for source, share, lang, *_ in SHAPES]
    plan = {"description": "synthetic rows", "root": "DATA", "mcqa_answers": ["letter"], "seen": 1000, "deduplicate": {}, "hold_out": 0.002}
    plan |= {"mix": {"groups": groups, "ratio": {"ar": 1, "en": 2}}}
    plan["sources"] = [{"reader": "records", "file": "rows.jsonl"}, {"reader": "records", "file": "tests.jsonl"}]
    (folder / "bench.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
    return folder / "bench.yaml"


def build_once(recipe: Path) -> dict:
    """Build in this process: seconds of each step, and the peak memory of the process in MiB."""
    out, manifest = build(str(recipe), recipe.parent, recipe.parent)
    read = sum(entry["read"] for entry in manifest["inputs"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = manifest["contamination"]["methods"], manifest["deduplication"]
    return {"rows": read, "steps": manifest["steps"], "seconds": manifest["seconds"], "peak_mib": round(peak), "found": found}


def against_datasketch(seed: int = 11) -> dict:
    """Near-deduplication of short questions, 5% of them near copies, by us and by a plain MinHashLSH loop with the same bands."""
    words, rng = Words("en", seed), random.Random(seed)
    texts = [words.text((2.40, 0.66)) for _ in range(SAMPLE)]
    for place in rng.sample(range(SAMPLE // 2, SAMPLE), SAMPLE // 20):
        texts[place] = changed(texts[rng.randrange(SAMPLE // 2)], words, rng, 20)
    threshold, permutations = 0.8, 128
    bands = dedup.bands_for(threshold, permutations)

    def ours(texts: list[str]) -> set[tuple[int, int]]:
        hashed = [matching.hashes(matching.words(text)) for text in texts]
        lengths = np.array([len(text) for text in hashed])
        starts = np.cumsum(lengths) - lengths
        guards = np.zeros(len(texts), np.uint64)
        pairs = dedup.near_pairs(np.concatenate(hashed), starts, lengths, lengths, guards, threshold, permutations, first_only=False)
        return {(int(later), int(earlier)) for later, earlier in pairs}

    ours(texts[:100])  # numba compiles at the first call
    started = time.perf_counter()
    found = ours(texts)
    mine = time.perf_counter() - started
    started = time.perf_counter()
    index, theirs = MinHashLSH(num_perm=permutations, params=bands), set()
    for number, text in enumerate(texts):
        split = matching.words(text)
        sketch = MinHash(num_perm=permutations)
        sketch.update_batch([" ".join(pair).encode() for pair in zip(split, split[1:], strict=False)] or [word.encode() for word in split])
        theirs |= {(number, other) for other in index.query(sketch)}
        index.insert(number, sketch)
    loop = time.perf_counter() - started
    sets = [set(zip(split, split[1:], strict=False)) or set(split) for split in map(matching.words, texts)]
    true = {(one, other) for one, other in theirs if len(sets[one] & sets[other]) >= threshold * len(sets[one] | sets[other])}
    return {
        "rows": SAMPLE,
        "ours_rows_per_s": round(SAMPLE / mine),
        "datasketch_rows_per_s": round(SAMPLE / loop),
        "times_as_fast": round(loop / mine, 1),
        "pairs_of_datasketch_at_the_threshold": len(true),
        "of_them_found": round(len(true & found) / max(len(true), 1), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="synthetic training rows (%(default)s); a tenth of them is built first")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)  # the child: build this recipe and print the figures as JSON
    args = parser.parse_args()
    if args.one:
        print(json.dumps(build_once(args.one)))
        return
    folder, runs = args.build / "bench", []
    shutil.rmtree(folder, ignore_errors=True)
    for rows in (args.rows // 10, args.rows):
        recipe = synthesise(rows, folder / str(rows))
        command = [sys.executable, "-m", "data_prep.bench", "--one", str(recipe)]
        if not runs:
            subprocess.run(command, check=True, capture_output=True)  # numba compiles once for all runs
        runs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]))
        shutil.rmtree(folder / str(rows))
        print(f"\n{runs[-1]['rows']:,} rows read: {runs[-1]['seconds']:,.1f} s, peak {runs[-1]['peak_mib']:,} MiB; found {runs[-1]['found']}")
        for step in COMPARED:
            seconds = runs[-1]["steps"][step]
            rate = f"{runs[-1]['rows'] / seconds:>12,.0f} rows/s" if seconds else ""
            print(f"  {step:<14}{seconds:>9.1f} s {rate}")
    small, large = (run["rows"] / run["seconds"] for run in runs)
    print(f"\nrows a second: {small:,.0f} at {runs[0]['rows']:,}, {large:,.0f} at {runs[1]['rows']:,}: {large / small:.0%}")
    compared = against_datasketch()
    print("near-deduplication of short questions: " + ", ".join(f"{key} {value:,}" for key, value in compared.items()))
    files.write_json(folder / "data.json", {"runs": runs, "rows_per_s_kept": round(large / small, 3), "near_deduplication": compared})
    print(f"{folder / 'data.json'}: {len(runs)} runs")


if __name__ == "__main__":
    main()
