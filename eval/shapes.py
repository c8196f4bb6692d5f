"""The paper's headline comparison at a scale that this machine carries: the shape of Mixtral-8x7B against a dense shape of 70B, random weights.

    python -m eval.speed --shapes

Both shapes are scaled by the same factors (a quarter of the layers, an eighth of the widths and of the vocabulary), so the ratios of active, total and
dense parameters stay as they are in full: 12.9 of 46.7 billion against 69 billion. Each writes greedily with transformers' `generate`. What the weights
hold does not matter to the time, but for which experts are chosen: random routers choose them about evenly, as a balanced trained one does.
"""

import json
import os
import time
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM, LlamaConfig, MixtralConfig, PreTrainedModel

from data_prep.files import written_aside

DEPTH, WIDTH = 4, 8  # divisors of the layers and of the widths: matrices shrink by 64, models by about 256
PROMPT, TOKENS, BATCHES = 32, 16, (1, 4, 16)
# heads keep their size of 128, so their number shrinks with the width
SPARSE = dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8)
DENSE = dict(hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64, num_key_value_heads=8)
LIMITS = f"""\
What this can show: the work per token follows the parameters that are active, so the sparse shape is faster where each token reads its own two experts.
The more answers at once, the more experts each step reads, all eight in the end: the advantage in memory traffic shrinks, that in arithmetic stays.

What it cannot show: a GPU's speed, or the paper's 180.6 against 20.9 tokens/s (second-hand; against Jais-30B, not a 70B; hardware and engine unknown).
Weights {DEPTH * WIDTH * WIDTH} times smaller sit closer to the caches of a processor. In full size the sparse model needs 93 GB for its weights in 16 bits,
the dense one 138 GB, so on few GPUs they do not even run on the same number of them.
"""


def scaled(shape: dict[str, int], depth: int = DEPTH, width: int = WIDTH) -> dict[str, int]:
    """The shape with fewer layers and narrower ones; at least one of anything."""
    return {name: max(1, size // (depth if name == "num_hidden_layers" else width)) for name, size in shape.items()}


def build(sparse: bool, depth: int = DEPTH, width: int = WIDTH) -> PreTrainedModel:
    """A model of the shape with random float32 weights."""
    shape = scaled(SPARSE if sparse else DENSE, depth, width)
    more = {"vocab_size": 32000 // width, "max_position_embeddings": 4096, "head_dim": shape["hidden_size"] // shape["num_attention_heads"]}
    config = MixtralConfig(**shape, **more, num_local_experts=8, num_experts_per_tok=2) if sparse else LlamaConfig(**shape, **more)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def parameters(model: PreTrainedModel) -> tuple[int, int]:
    """(all, those that one token uses): of the experts, the chosen ones."""
    total = sum(weights.numel() for weights in model.parameters())
    experts = sum(weights.numel() for name, weights in model.named_parameters() if ".experts." in name)
    chosen = getattr(model.config, "num_experts_per_tok", 1) / getattr(model.config, "num_local_experts", 1)
    return total, round(total - experts * (1 - chosen))


@torch.inference_mode()
def rate(model: PreTrainedModel, batch: int, tokens: int = TOKENS) -> float:
    """Tokens/s of so many answers at once, prompts read and all."""
    ids = torch.randint(3, model.config.vocab_size, (batch, PROMPT), generator=torch.Generator().manual_seed(batch))
    options = dict(attention_mask=torch.ones_like(ids), do_sample=False, eos_token_id=None, pad_token_id=0)
    model.generate(ids, max_new_tokens=1, **options)
    start = time.perf_counter()
    model.generate(ids, min_new_tokens=tokens, max_new_tokens=tokens, **options)
    return batch * tokens / (time.perf_counter() - start)


def _threads() -> int:
    """One core stays free: a step whose last thread is off the core waits for it, and on a shared machine that becomes what is measured."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


def compare(depth: int = DEPTH, width: int = WIDTH, batches: tuple[int, ...] = BATCHES, tokens: int = TOKENS) -> dict:
    """Parameters and tokens/s of both shapes, one model in memory at a time."""
    torch.set_num_threads(_threads())
    found = {"depth_divisor": depth, "width_divisor": width, "prompt": PROMPT, "tokens": tokens, "threads": torch.get_num_threads(), "shapes": {}}
    found["load_average"] = os.getloadavg()[0]
    for name in ("sparse", "dense"):
        model = build(name == "sparse", depth, width)
        total, active = parameters(model)
        rates = {str(batch): rate(model, batch, tokens) for batch in tqdm(batches, desc=name, unit="batch")}
        found["shapes"][name] = {"parameters": total, "active": active, "tokens_per_second": rates}
        del model
    return found


def page(found: dict) -> str:
    """speed.md of the shapes."""
    sparse, dense = found["shapes"]["sparse"], found["shapes"]["dense"]
    batches = list(sparse["tokens_per_second"])
    lines = [["shape, scaled down", "parameters", "active", *(f"{batch} at once, tokens/s" for batch in batches)]]
    lines.append(["---"] * len(lines[0]))
    for name, shape in (("sparse: Mixtral-8x7B", sparse), ("dense: 70B", dense)):
        rates = [f"{shape['tokens_per_second'][batch]:.1f}" for batch in batches]
        lines.append([name, f"{shape['parameters'] / 1e6:.0f} M", f"{shape['active'] / 1e6:.0f} M", *rates])
    ratios = [f"{sparse['tokens_per_second'][batch] / dense['tokens_per_second'][batch]:.1f}x" for batch in batches]
    lines.append(["**sparse against dense**", f"{sparse['parameters'] / dense['parameters']:.2f}", f"{sparse['active'] / dense['active']:.2f}", *ratios])
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    threads = "1 thread" if found["threads"] == 1 else f"{found['threads']} threads"
    how = (
        f"Random weights, float32, {threads} of a CPU, prompts of {found['prompt']} tokens, answers of {found['tokens']}; layers divided by "
        f"{found['depth_divisor']}, widths and vocabulary by {found['width_divisor']}; load average {found['load_average']:.1f}."
    )
    return f"# Sparse against dense\n\n**For research, not for clinical use.**\n\n{rows}\n\n{how}\n\n{LIMITS}"


def measure(out: Path) -> str:
    """Compare, write the folder; returns the page."""
    found = compare()
    text = page(found)
    with written_aside(out) as aside:
        (aside / "speed.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (aside / "speed.md").write_text(text, encoding="utf-8")
    return text
