"""The base as QLoRA's training saw it: weights rounded to nf4 and back, by bitsandbytes itself. Used by merge.py and verify.py.

bitsandbytes rounds blocks of 64 weights to 16 levels times the block's largest, and rounds those scales to 8 bits about their mean over the
whole tensor (double quantisation, as Axolotl asks for). So an expert's weights must be rounded with those of all experts of the layer, in the one
tensor that transformers keeps them in. What Axolotl quantises: the attention's four matrices, and the experts with `quantize_moe_experts`.
"""

import re

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit

KEYS = ("load_in_4bit", "quantize_moe_experts", "bf16")  # of a configuration: what was rounded in training, and in which type
ATTENTION = re.compile(r".*\.self_attn\.[qkvo]_proj\.weight")
EXPERT = re.compile(r"(?P<prefix>.*\.block_sparse_moe\.experts\.)(?P<expert>\d+)\.w(?P<part>[123])\.weight")


def round_trip(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor after nf4 and back, in `dtype`, in which training held it before and computes with it after."""
    quantised, state = quantize_4bit(weight.to(dtype), blocksize=64, compress_statistics=True, quant_type="nf4")
    return dequantize_4bit(quantised, state).reshape(weight.shape)


def rounded(layer: dict[str, torch.Tensor], settings: dict) -> dict[str, torch.Tensor]:
    """The tensors of one decoder layer, by their names on disk, as training with the KEYS of `settings` saw them."""
    if not settings.get("load_in_4bit"):
        return layer
    dtype = torch.bfloat16 if settings.get("bf16") else torch.float32
    found = {name: round_trip(tensor, dtype) if ATTENTION.fullmatch(name) else tensor for name, tensor in layer.items()}
    parts: dict[str, dict[int, str]] = {"1": {}, "2": {}, "3": {}}
    for name in layer:
        if match := EXPERT.fullmatch(name):
            parts[match["part"]][int(match["expert"])] = name
    if settings.get("quantize_moe_experts"):
        experts = range(len(parts["1"]))
        fused = torch.stack([torch.cat([layer[parts["1"][expert]], layer[parts["3"][expert]]]) for expert in experts])  # E x 2I x H
        for expert, both in enumerate(round_trip(fused, dtype)):
            gate, up = both.chunk(2)
            found |= {parts["1"][expert]: gate.contiguous(), parts["3"][expert]: up.contiguous()}
        del fused
        down = round_trip(torch.stack([layer[parts["2"][expert]] for expert in experts]), dtype)  # E x H x I
        found |= {parts["2"][expert]: down[expert].contiguous() for expert in experts}
    return found
