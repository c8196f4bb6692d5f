"""Measure the merge against PEFT's `merge_and_unload`: a synthetic Mixtral, memory, time, and every tensor compared.

    python -m axolotl_configs.bench_merge --size-gb 4

Makes a Mixtral of random bfloat16 weights with 32 layers and 8 experts, named as transformers writes it, a layer a file, and an adapter of rank 16 on
attention, experts and router. Each merge is a process of its own: ours, and PEFT's in float32, rounded and saved as it was done before. The base's
files are read once before, so that both find them in the page cache. Status 1 when the peak memory of ours is over a quarter of the model's
size, a tensor differs by more than one bfloat16 rounding, or ours is slower.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

from axolotl_configs import tiny_base
from axolotl_configs.check import ATTENTION, EXPERTS_AND_ROUTER
from axolotl_configs.shards import Tensors, Writer

LAYERS = 32  # as Mixtral-8x7B: its largest part is a 32nd
HIDDEN = 512
GB = 1e9


def make(folder: Path, size: float) -> None:
    """Write `base` and `adapter` below `folder`; `size` in bytes of bfloat16 is the least that the base has."""
    intermediate = 64 * int(-(-size / 2 // (LAYERS * 8 * 3 * HIDDEN * 64)))
    tokenizer = tiny_base.tokenizer()
    shape = tiny_base.SIZES | {"hidden_size": HIDDEN, "intermediate_size": intermediate, "num_hidden_layers": LAYERS}
    config = MixtralConfig(
        vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, pad_token_id=0, dtype=torch.bfloat16, architectures=["MixtralForCausalLM"], **shape
    )
    base, adapter = folder / "base", folder / "adapter"
    base.mkdir(parents=True)
    config.save_pretrained(base)
    tokenizer.save_pretrained(base)
    torch.manual_seed(0)
    writer = Writer(base)

    def some(*sizes: int) -> torch.Tensor:
        return torch.empty(sizes, dtype=torch.bfloat16).normal_(std=0.02)

    writer.add({"model.embed_tokens.weight": some(len(tokenizer), HIDDEN), "lm_head.weight": some(len(tokenizer), HIDDEN), "model.norm.weight": some(HIDDEN)})
    heads = HIDDEN * config.num_key_value_heads // config.num_attention_heads
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        tensors = {f"{name}.self_attn.{part}_proj.weight": some(heads if part in "kv" else HIDDEN, HIDDEN) for part in "qkvo"}
        tensors |= {f"{name}.{norm}.weight": some(HIDDEN) for norm in ("input_layernorm", "post_attention_layernorm")}
        tensors[f"{name}.block_sparse_moe.gate.weight"] = some(8, HIDDEN)
        for expert in range(8):
            for part in (1, 2, 3):
                tensors[f"{name}.block_sparse_moe.experts.{expert}.w{part}.weight"] = some(*((HIDDEN, intermediate) if part == 2 else (intermediate, HIDDEN)))
        writer.add(tensors)
    writer.close()
    with torch.device("meta"):
        model = get_peft_model(
            MixtralForCausalLM(config),
            LoraConfig(r=16, lora_alpha=32, target_modules=sorted(ATTENTION), target_parameters=sorted(EXPERTS_AND_ROUTER)),
            low_cpu_mem_usage=True,
        )
    for parameter_name, parameter in list(model.named_parameters()):
        if ".lora_" in parameter_name:
            module, _, leaf = parameter_name.rpartition(".")
            setattr(model.get_submodule(module), leaf, torch.nn.Parameter(torch.empty(parameter.shape).normal_(std=0.02)))
    model.save_pretrained(adapter)
    tokenizer.save_pretrained(adapter)


def by_peft(folder: Path) -> None:
    """The merge as PEFT does it, the whole model in memory."""
    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32, low_cpu_mem_usage=True)
    model = PeftModel.from_pretrained(model, folder / "adapter").merge_and_unload(safe_merge=True)
    model.to(torch.bfloat16).save_pretrained(folder / "peft")


def by_us(folder: Path) -> None:
    """The merge of merge.py."""
    from axolotl_configs.merge import merge

    merge(str(folder / "base"), folder / "adapter", folder / "ours", torch.bfloat16, "bench", {})


WAYS = {"ours": by_us, "peft": by_peft}


def measured(way: str, folder: Path) -> dict[str, float]:
    """Seconds and peak memory (bytes, resident, imports and mapped files included) of one merge in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "axolotl_configs.bench_merge", "--way", way, "--work", str(folder)], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise SystemExit(f"the merge by {way} failed:\n{ran.stderr[-3000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


def compared(folder: Path) -> tuple[int, int, int]:
    """(tensors, of these not equal to the bit, of these off by more than one bfloat16 rounding)."""
    ours, theirs = Tensors(folder / "ours"), Tensors(folder / "peft")
    if ours.where.keys() != theirs.where.keys():
        raise SystemExit(f"the two merges hold other tensors: {sorted(ours.where.keys() ^ theirs.where.keys())[:5]}")
    unequal, off = 0, 0
    for name in ours.where:
        one, other = ours[name], theirs[name]
        if not torch.equal(one, other):
            unequal += 1
            off += bool(((one.float() - other.float()).abs() > other.float().abs() * torch.finfo(torch.bfloat16).eps).any())
    return len(ours.where), unequal, off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-gb", type=float, default=4.0, help="least size of the base in bfloat16, in 10^9 bytes (%(default)s)")
    parser.add_argument(
        "--work", type=Path, default=Path("build/bench/merge"), help="folder for the models, removed in the end (%(default)s); 3 times the size"
    )
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        began = time.perf_counter()
        WAYS[args.way](args.work)
        # not ru_maxrss: that of a child begins with its parent's
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
        print(json.dumps({"seconds": time.perf_counter() - began, "peak": peak}))
        return
    shutil.rmtree(args.work, ignore_errors=True)
    try:
        make(args.work, args.size_gb * GB)
        size = sum(path.stat().st_size for path in (args.work / "base").glob("*.safetensors"))
        for path in (args.work / "base").glob("*.safetensors"):
            path.read_bytes()
        found = {way: measured(way, args.work) for way in WAYS}
        tensors, unequal, off = compared(args.work)
    finally:
        shutil.rmtree(args.work, ignore_errors=True)
    print(f"a Mixtral of {size / GB:.2f} GB, {tensors} tensors")
    for way, figures in found.items():
        print(f"{way:5} {figures['seconds']:7.1f} s  peak {figures['peak'] / GB:6.2f} GB  {figures['peak'] / size:6.1%} of the model")
    ratio = found["peft"]["seconds"] / found["ours"]["seconds"]
    print(f"ours is {ratio:.2f} times as fast; {unequal} tensors are not equal to the bit, {off} of them by more than one bfloat16 rounding")
    if found["ours"]["peak"] > size / 4 or off or ratio < 1:
        sys.exit(1)


if __name__ == "__main__":
    main()
