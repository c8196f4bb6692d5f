"""What a training run will need, before anybody pays for it: parameters, memory on each GPU, steps, hours, cost. No GPU, no weights.

    python -m axolotl_configs.plan axolotl_configs/bimedix_bi.yaml
    python -m axolotl_configs.plan axolotl_configs/bimedix_bi.yaml --gpus 4 --gpu-memory 80 --gpu-tflops 989 --efficiency 0.2 --price 3

Shapes come from the base's config.json, or from shared/mixtral_8x7b_shape.json where the base is on the Hub. Tokens come from the rows that
fit.py fitted, packed as Axolotl packs them; without rows from the paper's counts. Status 1 when the run does not fit, with what would make it fit.
Hours are no measurement: the efficiency is an assumption that the first hundred steps of a real run will correct.
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import MixtralConfig

from axolotl_configs import check, plan_memory
from axolotl_configs import config as configs
from axolotl_configs.plan_memory import GIB
from data_prep.files import BadInput

SHAPE = Path(__file__).parent / "shared" / "mixtral_8x7b_shape.json"
# tokens of BiMed1.3M (docs/PAPER.md): stated for both languages and for English, derived for Arabic
PAPER = {"bimed1.3m": 632e6, "bimed1.3m_en": 288e6, "bimed1.3m_ar": 344e6}
ASSUMED_PADDING = 0.03  # of packed batches, where there are no rows to pack


@dataclass
class Work:
    """What a run goes through: `tokens` without padding, `batch_tokens` with, in `steps` optimiser steps."""

    tokens: float
    batch_tokens: float
    steps: int
    source: str


def shape(base: str, folder: Path) -> tuple[MixtralConfig, str]:
    """(the model's configuration, where it was found); `folder` is BUILD/models/NAME, where train.py builds the tiny base."""
    local = Path(base) / "config.json"
    if local.is_file():
        return MixtralConfig.from_json_file(local), str(local)
    if Path(base).name.startswith("Mixtral-8x7B"):
        return MixtralConfig.from_json_file(SHAPE), f"{SHAPE.parent.name}/{SHAPE.name}"
    if Path(base) == folder / "base":
        from axolotl_configs import tiny_base

        return MixtralConfig(vocab_size=32_000, **tiny_base.SIZES), "axolotl_configs/tiny_base.py"
    raise configs.ConfigError(f"the shape of {base} is unknown here; name a folder that holds its config.json")


def packed(lengths: np.ndarray, capacity: int) -> int:
    """Bins of `capacity` tokens that Axolotl's sampler fills with rows of these lengths."""
    from axolotl.utils.samplers.multipack import pack_group

    order = np.random.default_rng(0).permutation(len(lengths))
    bins = 0
    for start in range(0, len(order), 100_000):  # sample_packing_group_size
        group = lengths[order[start : start + 100_000]].astype(np.int64)
        bins += len(pack_group(group, 0, capacity, len(group), 200, False))  # sample_packing_bin_size
    return bins


def work(settings: dict, path: Path, build: Path, tokens: float | None, gpus: int) -> Work:
    """Tokens and steps of a whole run on so many GPUs."""
    batch = settings["micro_batch_size"] * settings["gradient_accumulation_steps"] * gpus
    epochs, length = settings.get("num_epochs") or 1, settings["sequence_len"]
    rows = sorted((configs.model_folder(path, build) / "rows").glob("train.lengths.npy"))
    if tokens is None and rows:
        lengths = np.load(rows[0])
        real, source = float(lengths.sum()), f"{rows[0]}, {len(lengths):,} rows"
        if settings.get("sample_packing"):
            # with FlashAttention, and with plugin.py's attention, a micro batch is one line; else each row of it is filled alone
            real_batches = settings.get("multipack_real_batches", settings["attn_implementation"] != "flash_attention_2")
            joined = 1 if real_batches else settings["micro_batch_size"]
            bins = packed(lengths, length * joined)
            steps = max(1, bins * joined // batch)
            padded = bins * length * joined if settings.get("pad_to_sequence_len") else real
        else:
            steps, padded = max(1, math.ceil(len(lengths) / batch)), real
    else:
        recipe = Path(settings["datasets"][0]["path"]).parent.name
        real = tokens or PAPER.get(recipe)
        if real is None:
            raise configs.ConfigError(f"{path}: no rows yet; `python -m axolotl_configs.fit {path}` counts them, or name --tokens")
        source = "--tokens" if tokens else "the paper's count"
        padded = real / (1 - ASSUMED_PADDING)
        steps = max(1, round(padded / (length * batch)))
    total = settings.get("max_steps") or steps * epochs
    return Work(real * total / steps, padded * total / steps, int(total), source)


def flops(config: MixtralConfig, counted: plan_memory.Parameters, settings: dict, tokens: float) -> float:
    """Of the whole run: 2 a token and active weight in the forward pass, 2 more when a layer runs again for its gradients, 2 for the gradients of
    its input, and 2 for those of W + B@A, which PEFT forms as a whole; attention over half of the sequence besides."""
    chosen = counted.base["experts"] * config.num_experts_per_tok / config.num_local_experts
    active = counted.base.total() - counted.base["experts"] + chosen - counted.base["embeddings and head"] / 2
    passes = 8 if settings.get("gradient_checkpointing") else 6
    attention = 2 * config.num_hidden_layers * settings["sequence_len"] * config.hidden_size  # a token and pass, halved by the causal mask
    # B@A of all experts in full, whatever the tokens: twice forward, twice back
    products = 8 * settings["lora_r"] * counted.base["experts"] * tokens / (settings["micro_batch_size"] * settings["sequence_len"])
    return tokens * passes * (active + attention / 2) + products


def remedies(config: MixtralConfig, settings: dict, gpus: int, need: float) -> list[str]:
    """What would lower the need, in GiB a GPU."""
    tries = {
        f"micro_batch_size {settings['micro_batch_size'] // 2} (and twice the accumulation)": ({"micro_batch_size": settings["micro_batch_size"] // 2}, gpus),
        f"sequence_len {settings['sequence_len'] // 2}": ({"sequence_len": settings["sequence_len"] // 2}, gpus),
        f"lora_r {settings['lora_r'] // 2}": ({"lora_r": settings["lora_r"] // 2}, gpus),
        "optimizer paged_adamw_8bit": ({"optimizer": "paged_adamw_8bit"}, gpus),
        "gradient_checkpointing true": ({"gradient_checkpointing": True}, gpus),
        "quantize_moe_experts true": ({"quantize_moe_experts": True}, gpus),
        f"{gpus * 2} GPUs": ({}, gpus * 2),
    }
    found = []
    for words, (change, number) in tries.items():
        other = settings | change
        if other["micro_batch_size"] >= 1 and (other != settings or number != gpus):
            saved = need - sum(plan_memory.terms(config, other, plan_memory.parameters(config, other), number).values())
            found += [f"{words}: {saved / GIB:.1f} GiB less"] * (saved > 0)
    return found


def plan(path: Path, build: Path, overrides: list[str], args: argparse.Namespace) -> dict:
    """Every figure of the plan, by name; memory in bytes, `fits` tells whether it does."""
    settings = configs.load(path, build, overrides)
    config, shape_source = shape(settings["base_model"], configs.model_folder(path, build))
    if settings["optimizer"] not in plan_memory.STATES:
        raise configs.ConfigError(f"{path}: optimizer {settings['optimizer']} is unknown here; known are {', '.join(plan_memory.STATES)}")
    gpus = args.gpus or check.header(path).get("gpus", 1)
    counted = plan_memory.parameters(config, settings)
    memory = plan_memory.terms(config, settings, counted, gpus)
    run = work(settings, path, build, args.tokens, gpus)
    operations = flops(config, counted, settings, run.batch_tokens)
    hours = operations / (gpus * args.gpu_tflops * 1e12 * args.efficiency) / 3600
    need = sum(memory.values())
    return {
        "config": str(path),
        "shape": shape_source,
        "gpus": gpus,
        "parameters": {"base": dict(counted.base), "trained": dict(counted.trained)},
        "trained": counted.trained.total(),
        "trained_share": counted.share,
        "trained_share_together": counted.trained.total() / (counted.base.total() + counted.trained.total()),
        "memory": memory,
        "need": need,
        "fits": need <= args.gpu_memory * 1e9,
        "remedies": remedies(config, settings, gpus, need) if need > args.gpu_memory * 1e9 else [],
        "checkpoint": plan_memory.checkpoint(settings, counted.trained.total()),
        "tokens": run.tokens,
        "tokens_from": run.source,
        "padding": 1 - run.tokens / run.batch_tokens,
        "steps": run.steps,
        "flops": operations,
        "hours": hours,
        "cost": hours * gpus * args.price,
    }


def told(found: dict, args: argparse.Namespace) -> str:
    """The plan as text."""
    lines = [f"{found['config']} on {found['gpus']} GPUs of {args.gpu_memory:.0f} GB (shape from {found['shape']})", ""]
    for name, count in found["parameters"]["base"].items():
        lines.append(f"  {name:48} {count:>16,}  trained {found['parameters']['trained'].get(name, 0):>14,}")
    share, together = found["trained_share"], found["trained_share_together"]
    lines.append(f"  trained: {found['trained']:,}, {share:.2%} of the base's parameters ({together:.2%} of base and adapter together)")
    lines += ["", "  memory on each GPU, GiB"]
    lines += [f"  {name:48} {size / GIB:8.2f}" for name, size in found["memory"].items()]
    lines.append(f"  {'together':48} {found['need'] / GIB:8.2f} of {args.gpu_memory * 1e9 / GIB:.2f}")
    lines += ["", f"  tokens     {found['tokens']:,.0f} ({found['tokens_from']}), {found['padding']:.1%} padding"]
    lines.append(f"  steps      {found['steps']:,}; a checkpoint has {found['checkpoint'] / GIB:.1f} GiB")
    lines.append(
        f"  work       {found['flops']:.2e} FLOP: {found['hours']:,.1f} hours at {args.efficiency:.0%} of {args.gpu_tflops:.0f} TFLOP/s a GPU (assumed)"
    )
    lines.append(f"  cost       {found['cost']:,.0f} at {args.price:.2f} a GPU hour")
    return "\n".join(lines)


def options() -> argparse.ArgumentParser:
    """The command line; `parse_args([CONFIG])` gives the defaults."""
    parser = configs.parser(__doc__)
    parser.add_argument("--gpus", type=int, help="how many (default: what the configuration's header says)")
    parser.add_argument("--gpu-memory", type=float, default=80, help="of each, in 10^9 bytes (%(default)s)")
    parser.add_argument("--gpu-tflops", type=float, default=312, help="peak of each in bf16; 312 is an A100, 989 an H100 (%(default)s)")
    parser.add_argument("--efficiency", type=float, default=0.2, help="share of that peak that is reached, an assumption (%(default)s)")
    parser.add_argument("--price", type=float, default=2.0, help="of a GPU hour, in any currency (%(default)s)")
    parser.add_argument("--tokens", type=float, help="of one epoch, in place of the rows'")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    return parser


def main() -> None:
    args = options().parse_args()
    try:
        found = plan(args.config, args.build, args.overrides, args)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(found, indent=2) if args.json else told(found, args))
    if not found["fits"]:
        print(f"error: {args.config} does not fit; what would help:\n" + "\n".join(f"  {line}" for line in found["remedies"]), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
