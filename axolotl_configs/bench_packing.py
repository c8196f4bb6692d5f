"""Measure what packing is worth: padding, and real tokens a second packed and unpacked, on the same rows and the same model.

    make data RECIPE=local DATA=../shared/data && python -m axolotl_configs.bench_packing axolotl_configs/local.yaml

Axolotl's own trainer runs the configuration nine times in turns, packed and in two ways not, for a few steps each. Only the packing differs:
a step of each way is one pass over about as many rows. Unpacked means rows of a shuffled batch padded to the longest, and once more with rows of
like length together (`group_by_length`); `--rows N` gathers their step from batches of N rows, which have less padding. The first logging step of
each run is left out: it warms up. Status 1 when packed batches have more than 3% padding, or packed training is less than twice as fast as
unpacked.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from axolotl_configs import config as configs
from axolotl_configs.launch import environment
from axolotl_configs.train import prepare
from data_prep.files import BadInput

WAYS = {
    "packed": {},
    "unpacked": {"sample_packing": False, "pad_to_sequence_len": False, "group_by_length": False},
    "unpacked, by length": {"sample_packing": False, "pad_to_sequence_len": False, "group_by_length": True},
}
TURNS = 3


def run(settings: dict, folder: Path) -> tuple[int, int, float]:
    """(tokens of the batches, real tokens among them, seconds) of a short run, its first logging step left out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    here = settings | {"output_dir": str(folder / "run"), "dataset_prepared_path": str(folder / "prepared"), "save_strategy": "no", "save_steps": None}
    (folder / "config.yaml").write_text(yaml.safe_dump(here), encoding="utf-8")
    line = ["axolotl", "train", str(folder / "config.yaml"), "--launcher", "python"]
    with (folder / "log").open("wb") as log:
        subprocess.run(line, cwd=configs.PROJECT, env=environment(), stdout=log, stderr=log, check=True)
    rows = [json.loads(text) for text in (folder / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if "router" in row]
    real = sum(row["tokens/real"] for row in rows[1:])
    return rows[-1]["tokens/total"] - rows[0]["tokens/total"], real, rows[-1]["seconds"] - rows[0]["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?", default=Path("axolotl_configs/local.yaml"), help="a packed configuration for the CPU (%(default)s)")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    parser.add_argument("--steps", type=int, default=24, help="of each run (%(default)s)")
    parser.add_argument("--rows", type=int, help="micro batch of the unpacked runs (as many as a packed step holds)")
    args = parser.parse_args()
    work = args.build / "bench" / "packing"
    try:
        settings = configs.load(args.config, args.build)
        settings = prepare(settings, configs.model_folder(args.config, args.build))
        counts = json.loads((Path(settings["datasets"][0]["path"]).parent / "manifest.json").read_text(encoding="utf-8"))["files"]
        fitted = next(iter(counts.values()))
        step = round(settings["micro_batch_size"] * settings["sequence_len"] / (fitted["tokens"] / fitted["rows_out"]))  # rows
        rows = args.rows or step
        padded = {"micro_batch_size": rows, "gradient_accumulation_steps": max(1, round(step / rows))}
        length = {"max_steps": args.steps, "logging_steps": max(1, args.steps // 6), "num_epochs": 100}
        found: dict[str, list[tuple[int, int, float]]] = {}
        for way in [*WAYS] * TURNS:
            found.setdefault(way, []).append(run(settings | WAYS[way] | ({} if way == "packed" else padded) | length, work / "run"))
    except (BadInput, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}; the end of {work / 'run' / 'log'} may say more", file=sys.stderr)
        sys.exit(2)
    rates = {}
    for way, runs in found.items():
        all_tokens, real, seconds = (sum(part) for part in zip(*runs, strict=True))
        rates[way] = real / seconds
        each = ", ".join(f"{one_real / one_seconds:,.0f}" for _, one_real, one_seconds in runs)
        print(f"{way:20} {1 - real / all_tokens:6.1%} padding  {rates[way]:8,.0f} real tokens/s ({each})")
    padding = 1 - sum(real for _, real, _ in found["packed"]) / sum(tokens for tokens, *_ in found["packed"])
    print(f"packed is {rates['packed'] / rates['unpacked']:.2f} times as fast as unpacked")
    print(f"packed is {rates['packed'] / rates['unpacked, by length']:.2f} times as fast as unpacked by length")
    shutil.rmtree(work, ignore_errors=True)
    if padding > 0.03 or rates["packed"] < 2 * rates["unpacked"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
