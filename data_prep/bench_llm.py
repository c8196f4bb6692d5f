"""Measure the client of the language-model steps: real translation runs against an endpoint that takes 200 ms for every answer. `make bench-llm`.

    python -m data_prep.bench_llm --rows 100000

Translates --rows synthetic rows and a hundredth of them, each in a process of its own, with 64 requests at once; the endpoint (data_prep/endpoint.py)
is a third process on the same machine and answers by the schema, so each row takes two requests. Prints requests a second against the ideal (64 / 0.2 s
= 320) and the peak memory of the client. The clock runs from the first request to the last answer; start and writing of the outputs are told apart.
BUILD/bench/llm.json holds the figures; what was written is removed at the end.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from data_prep import files, translate
from data_prep.endpoint import serving

LATENCY, CONCURRENCY = 0.2, 64
WORDS = ("fever", "cough", "patient", "history", "of", "with", "the", "a", "and", "pain", "chronic", "acute", "treatment", "dose", "daily", "renal", "artery")


def rows(path: Path, count: int) -> None:
    """Write open questions of 12 words with answers of 60, about a row of MedMCQA."""
    rng = random.Random(17)

    def text(words: int) -> str:
        return " ".join(rng.choices(WORDS, k=words)).capitalize() + "."

    made = ({"kind": "qa", "id": f"bench:{n}:en", "origin_id": f"bench:{n}", "lang": "en", "source": "bench", "split": "train"} for n in range(count))
    files.write_jsonl(path, (row | {"question": text(12), "answer": text(60)} for row in made))


def _scripted(request: dict) -> dict:
    """What the endpoint answers: a good score, or Arabic that stands for anything."""
    names = request["response_format"]["json_schema"]["schema"]["properties"]
    return {name: {"score": 95, "feedback": ""}.get(name, "يعاني المريض من ألم مزمن في البطن منذ يومين مع حمى وسعال") for name in names}


def client(folder: Path) -> None:
    """The measured process: translate, and print the figures as one JSON line."""
    log = folder / "arrivals.jsonl"
    status = translate.main(
        ["--in", str(folder / "rows.jsonl"), "--out", str(folder / "rows_ar.jsonl"), "--build", str(folder), "--model", "bench", "--rounds", "1"]
    )
    ended = time.time()
    with log.open() as lines:
        at = [json.loads(line)["at"] for line in lines]
    manifest = files.read_json(folder / "rows_ar.manifest.json")
    sent = max(at) - min(at) + LATENCY
    memory = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {"status": status, "rows": manifest["rows"], "requests": len(at), "seconds": sent, "per_second": len(at) / sent}
            | {"start": manifest["seconds"] - sent - (ended - max(at) - LATENCY), "write": ended - max(at) - LATENCY}
            | {"peak_mib": memory.ru_maxrss / 1024, "cpu_ms_per_request": (memory.ru_utime + memory.ru_stime) / len(at) * 1000}
        )
    )


def measure(count: int, folder: Path) -> dict:
    """One run over `count` rows in `folder`; the figures."""
    rows(folder / "rows.jsonl", count)
    with serving(latency=LATENCY, log=folder / "arrivals.jsonl", script="data_prep.bench_llm:_scripted", models="bench") as url:
        line = [sys.executable, "-m", "data_prep.bench_llm", "--client", str(folder)]
        run = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OPENAI_BASE_URL": url})
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the large run (%(default)s)")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    parser.add_argument("--client", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.client:
        client(args.client)
        return
    ideal, found = CONCURRENCY / LATENCY, []
    for count in (max(args.rows // 100, 1), args.rows):
        folder = args.build / "bench" / f"llm-{count}"
        shutil.rmtree(folder, ignore_errors=True)
        found.append(measure(count, folder))
        shutil.rmtree(folder)
        one = found[-1]
        pace, of_ideal = f"{one['per_second']:.1f} a second", f"{one['per_second'] / ideal:.1%} of {ideal:.0f}"
        print(f"{count:,} rows: {one['requests']:,} requests in {one['seconds']:.1f} s, {pace} ({of_ideal}), {one['cpu_ms_per_request']:.2f} ms of CPU each")
        print(f"  start {one['start']:.1f} s, writing {one['write']:.1f} s; peak memory {one['peak_mib']:.0f} MiB")
    files.save(args.build / "bench" / "llm.json", files.json_text({"latency": LATENCY, "concurrency": CONCURRENCY, "runs": found}).encode())
    print(f"{args.build / 'bench' / 'llm.json'}: memory {found[1]['peak_mib'] / found[0]['peak_mib']:.2f} times as much for {args.rows:,} rows")


if __name__ == "__main__":
    main()
