"""How long scoring takes beside the forward passes that it needs, in one run: the nine English sets on one model.

    python -m eval.bench --model build/models/tiny/merged --data build/data/benchmark/eval

The plain forward passes are those of the same questions in the same batches, by transformers alone: tokens in, the logits of the last position out. The
two take turns, set by set, so that a busy minute hits both. Scoring is everything from lm-eval's reading of the questions to the written samples; loading
the model is in neither.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

from data_prep import files
from data_prep.files import BadInput
from eval.score import Run


@torch.inference_mode()
def plain(model: torch.nn.Module, rows: list[list[int]], size: int) -> float:
    """Seconds for one forward pass over all rows, longest first, `size` at once."""
    began = time.perf_counter()
    ordered = sorted(rows, key=len, reverse=True)
    for start in range(0, len(ordered), size):
        batch = ordered[start : start + size]
        longest = len(batch[0])
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in batch], device=model.device)
        model(ids, use_cache=False, logits_to_keep=torch.tensor(sorted({len(row) - 1 for row in batch}), device=model.device))
    return time.perf_counter() - began


def bench(args: argparse.Namespace) -> dict:
    """Seconds of both for each set, and their ratio over all."""
    found = {}
    with tempfile.TemporaryDirectory() as out:
        args.out, args.tasks = Path(out), "bimedix_en"
        job = Run(args)
        if job.absent:
            raise BadInput(f"{args.data} lacks {', '.join(job.absent)}: make data RECIPE=benchmark prepares them")
        lm = job.model
        for task in job.tasks:
            began = time.perf_counter()
            made = job.score(task)
            scored = time.perf_counter() - began
            samples = [sample for _, sample in files.read_jsonl(job.out / "samples" / f"{task}.jsonl")]
            rows = [lm.tok_encode(sample["arguments"][0][0]) for sample in samples]
            found[task] = {"questions": made["n-samples"]["effective"], "tokens": sum(map(len, rows)), "scoring": scored}
            found[task]["plain"] = plain(lm.model, rows, args.batch_size)
            print(f"{task}: {len(rows):,} questions, scoring {scored:.1f} s, plain {found[task]['plain']:.1f} s", flush=True)
    total = {key: sum(row[key] for row in found.values()) for key in ("questions", "tokens", "scoring", "plain")}
    return {"sets": found, "total": total, "ratio": total["scoring"] / total["plain"], "threads": torch.get_num_threads()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="build/models/tiny/base", help="(%(default)s)")
    parser.add_argument("--data", type=Path, default=Path("build/data/benchmark/eval"), help="folder of the prepared questions (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--limit", type=int, help="so many questions a set, for a quick look")
    parser.add_argument("--out", type=Path, default=Path("build/bench/eval.json"), help="(%(default)s)")
    parser.set_defaults(name=None, anyway=False, shots=0, template="auto", backend="hf", model_args="", command="")
    args = parser.parse_args()
    out = args.out
    try:
        found = bench(args)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    files.save(out, files.json_text(found).encode())
    total = found["total"]
    print(
        f"{out}: {total['questions']:,} questions, {total['tokens']:,} tokens: scoring {total['scoring']:.0f} s, plain forward passes {total['plain']:.0f} s, "
        f"{found['ratio']:.2f} times; {found['threads']} threads"
    )


if __name__ == "__main__":
    main()
