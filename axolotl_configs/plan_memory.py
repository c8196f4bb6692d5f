"""How much memory a training run needs on each GPU, term by term, from shapes alone; used by plan.py.

Bytes are those of the versions in requirements/main.txt, read off their sources: bitsandbytes (nf4 in blocks of 64 with double quantisation),
PEFT (LoRA on a parameter forms the whole W + B@A of a layer's experts), DeepSpeed (ZeRO-2: parameters whole on each GPU; gradients, float32
copy and optimiser states in N parts), Axolotl (bf16 embeddings and norms, adapters in the engine's type).
"""

from collections import Counter
from dataclasses import dataclass

import torch
from peft import LoraConfig, get_peft_model
from transformers import MixtralConfig, MixtralForCausalLM

GIB = 2**30
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes a weight: 4 bits, an 8-bit scale for 64 of them, a float32 one for 256 scales
STATES = {"paged_adamw_8bit": 2 * (1 + 4 / 256), "adamw_bnb_8bit": 2 * (1 + 4 / 256), "adamw_torch": 8, "adamw_torch_fused": 8}  # bytes a trained parameter
CONTEXT = 1.0 * GIB  # CUDA context, cuBLAS and NCCL
FRAGMENTS = 0.05  # of what is allocated: what PyTorch's allocator cannot use again, with equal shapes at each step


@dataclass
class Parameters:
    """Counts of parameters by kind: of the base, and of what is trained."""

    base: Counter
    trained: Counter

    @property
    def share(self) -> float:
        """Trained, as a share of the base's parameters: what the paper's "about 4% of the original parameters" counts."""
        return self.trained.total() / self.base.total()


def kind(name: str) -> str:
    """What part of a Mixtral a parameter belongs to, from its name in PEFT's model."""
    if ".self_attn." in name:
        return "attention"
    if ".mlp.gate." in name:
        return "router"
    if ".mlp.experts." in name:
        return "experts"
    return "norms" if "norm" in name else "embeddings and head"


def parameters(config: MixtralConfig, settings: dict) -> Parameters:
    """Count on the meta device, with the model that PEFT makes of the configuration: no weight is allocated."""
    with torch.device("meta"):
        model = MixtralForCausalLM(config)
        base = Counter()
        for name, parameter in model.named_parameters():
            base[kind(name)] += parameter.numel()
        lora = LoraConfig(
            r=settings["lora_r"],
            target_modules=settings["lora_target_modules"],
            target_parameters=settings["lora_target_parameters"],
            modules_to_save=settings.get("lora_modules_to_save"),
        )
        trained = Counter()
        for name, parameter in get_peft_model(model, lora).named_parameters():
            if parameter.requires_grad:
                trained[kind(name)] += parameter.numel()
    return Parameters(base, trained)


def terms(config: MixtralConfig, settings: dict, counted: Parameters, gpus: int) -> dict[str, float]:
    """Bytes on each GPU at the worst moment of a step, by what they hold: what is always there, and what the loss, a layer's backward pass or the
    optimiser's step needs, whichever is most."""
    half = 2 if settings.get("bf16") else 4  # bytes of activations, and of what is not quantised
    trained, base = counted.trained.total(), counted.base
    quantised = base["attention"] + (base["experts"] if settings.get("quantize_moe_experts") else 0)
    if not settings.get("load_in_4bit"):
        quantised = 0
    hidden, inner, chosen, layers = config.hidden_size, config.intermediate_size, config.num_experts_per_tok, config.num_hidden_layers
    tokens = settings["micro_batch_size"] * settings["sequence_len"]
    key_values = hidden * config.num_key_value_heads // config.num_attention_heads
    layer_experts = base["experts"] / layers * half
    # in and out of attention and experts, norms in float32, LoRA's inner values; gate, up and their product of each chosen expert. With the experts below
    # within 2% of one real layer traced on the meta device: 10.2 GB at 8,192 tokens
    activations = (tokens * (20 * hidden + 4 * key_values + 8 * settings["lora_r"]) + chosen * tokens * (2 * hidden + 8 * inner)) * half / 2
    found = {
        "nf4 weights": quantised * NF4,
        "other weights (norms, embeddings, head, router)": (base.total() - quantised) * half,
        "adapters": trained * half,
        "float32 copy": trained * 4 / gpus,
        f"optimiser states ({settings['optimizer']})": trained * STATES[settings["optimizer"]] / gpus,
        # reduce_bucket_size `auto` is hidden squared, twice with overlap_comm; allgather_bucket_size 200 million
        "DeepSpeed's buckets": (2 * hidden**2 + 2e8) * half if half == 2 else 2 * hidden**2 * half,
    }
    # ZeRO-2 holds the gradients gathered so far beside the new ones
    gradients = {"gradients": trained * half / gpus * (2 if settings["gradient_accumulation_steps"] > 1 else 1)}
    kept = {"hidden states kept for each layer": layers * tokens * hidden * half}
    # PEFT adds B@A to a layer's experts as a whole: both products and both sums, and the dequantised tensor that is added to
    backward = {"one layer's activations": activations, "one layer's experts, dequantised and adapted": 7 / 3 * layer_experts}
    if not settings.get("gradient_checkpointing"):
        kept = {"activations and adapted experts of all layers": layers * (activations + layer_experts)}
        backward = {}
    moments = [
        gradients | kept | backward,
        gradients | kept | {"logits": tokens * config.vocab_size * 5 * half},  # in both types, and their gradients
        {"gradients": trained * half / gpus, "float32 gradients of the step": trained * 4 / gpus},
    ]
    found |= max(moments, key=lambda moment: sum(moment.values()))
    found["fragmentation (5%)"] = FRAGMENTS * sum(found.values())
    found["CUDA context"] = CONTEXT
    return found


def checkpoint(settings: dict, trained: int) -> float:
    """Bytes of one checkpoint on the disk: the adapter, the engine's copy of it, its float32 copy and the optimiser states."""
    half = 2 if settings.get("bf16") else 4
    return trained * (2 * half + 4 + STATES[settings["optimizer"]])
