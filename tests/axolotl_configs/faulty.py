"""Faults that a configuration can have, one in each case, and what the checker must say of it."""

from collections.abc import Callable

from axolotl_configs import check
from tests.conftest import TINY

FULL = TINY.parent / "bimedix_bi.yaml"
NO_EXPERTS = "lora_target_parameters lacks mlp.experts.down_proj, mlp.experts.gate_up_proj: experts and router must be adapted"
SHAREGPT = "dataset build/data/tiny/train.jsonl: type must be chat_template with field_messages conversations (`type: sharegpt` is refused by Axolotl)"
MAPPING = "dataset build/data/tiny/train.jsonl: message_property_mappings must be {role: from, content: value}"
ZERO_3 = "ZeRO-3 with load_in_4bit fails (Axolotl's Mixtral patch, bitsandbytes while saving); use ZeRO-2"
NO_TEMPLATE = "chat_template_jinja: nowhere.jinja is missing"
BATCH = "micro_batch_size and gradient_accumulation_steps must be whole numbers from 1"
TEMPLATE = f"chat_template must be jinja and chat_template_jinja {check.TEMPLATE}: serving and evaluation use that one"


def dataset(**changes: object) -> Callable[[dict], dict]:
    """A change of the first training data set."""
    return lambda config: {"datasets": [config["datasets"][0] | changes]}


# (rule, configuration, the change, the message that must appear and no other)
CASES = {
    "all linears": (
        check.rule_targets,
        TINY,
        {"lora_target_linear": True},
        "lora_target_linear trains attention only in transformers 5; use lora_target_modules and lora_target_parameters",
    ),
    "an attention target": (check.rule_targets, TINY, {"lora_target_modules": ["q_proj", "k_proj", "v_proj"]}, "lora_target_modules lacks o_proj"),
    "no attention": (check.rule_targets, TINY, {"lora_target_modules": None}, "lora_target_modules lacks k_proj, o_proj, q_proj, v_proj"),
    "no experts": (check.rule_targets, TINY, {"lora_target_parameters": ["mlp.gate.weight"]}, NO_EXPERTS),
    "no router": (
        check.rule_targets,
        FULL,
        {"lora_target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]},
        "lora_target_parameters lacks mlp.gate.weight: experts and router must be adapted",
    ),
    "a kernel": (
        check.rule_kernels,
        FULL,
        {"lora_mlp_kernel": None},
        "lora_mlp_kernel must be false: Axolotl switches it on otherwise, beside adapters on parameters",
    ),
    "dropout": (check.rule_dropout, TINY, {"lora_dropout": 0.05}, "lora_dropout is 0.05; with lora_target_parameters it must be 0"),
    "experts in bf16": (
        check.rule_quantised_experts,
        FULL,
        {"quantize_moe_experts": None},
        "quantize_moe_experts must be true: the experts stay in bf16 otherwise (90 GB)",
    ),
    "quantised experts without CUDA": (
        check.rule_quantised_experts,
        TINY,
        {"quantize_moe_experts": True},
        "quantize_moe_experts needs CUDA; leave it out of a configuration for the CPU",
    ),
    "no DeepSpeed": (check.rule_deepspeed, TINY, {"deepspeed": None}, "deepspeed names no configuration; use deepspeed/zero2.json"),
    "no such DeepSpeed file": (check.rule_deepspeed, FULL, {"deepspeed": "deepspeed/zero9.json"}, "deepspeed: deepspeed/zero9.json is missing"),
    "DeepSpeed file that is none": (
        check.rule_deepspeed,
        TINY,
        {"deepspeed": "README.md"},
        "deepspeed: README.md is not JSON (Expecting value: line 1 column 1 (char 0))",
    ),
    "use_cpu": (check.rule_deepspeed, TINY, {"use_cpu": True}, "use_cpu silently turns DeepSpeed off; leave it out"),
    "no router loss": (
        check.rule_router,
        TINY,
        {"overrides_of_model_config": {"router_aux_loss_coef": 0.02}},
        "overrides_of_model_config.output_router_logits must be true while training (merge.py turns it off for serving)",
    ),
    "another router loss": (
        check.rule_router,
        FULL,
        {"overrides_of_model_config": {"output_router_logits": True, "router_aux_loss_coef": 0.001}},
        "overrides_of_model_config.router_aux_loss_coef is 0.001; the paper's is 0.02",
    ),
    "router loss left to Mixtral": (
        check.rule_router,
        FULL,
        {"overrides_of_model_config": {"output_router_logits": True}},
        "overrides_of_model_config.router_aux_loss_coef is None; the paper's is 0.02",
    ),
    "a built-in template": (check.rule_template, TINY, {"chat_template": "mistral_v1"}, TEMPLATE),
    "another template file": (check.rule_template, TINY, {"chat_template_jinja": "README.md"}, TEMPLATE),
    "loss on the questions": (check.rule_template, TINY, {"train_on_inputs": True}, "train_on_inputs must be false: the loss is on the answers"),
    "sharegpt": (check.rule_template, TINY, dataset(type="sharegpt"), SHAREGPT),
    "other messages": (check.rule_template, TINY, dataset(field_messages="messages"), SHAREGPT),
    "no mapping": (check.rule_template, TINY, dataset(message_property_mappings=None), MAPPING),
    "no output folder": (check.rule_paths, TINY, {"output_dir": None}, "output_dir is not set; it belongs below build/"),
    "no folder for prepared data": (check.rule_paths, FULL, {"dataset_prepared_path": ""}, "dataset_prepared_path is not set; it belongs below build/"),
    "no guard": (
        check.rule_plugins,
        TINY,
        {"plugins": ["axolotl_configs.plugin.CpuPlugin", "axolotl_configs.router.RouterPlugin"]},
        "plugins lacks axolotl_configs.guard.GuardPlugin; every configuration extends shared/recipe.yaml, which names it",
    ),
    "no log": (
        check.rule_plugins,
        FULL,
        {"plugins": ["axolotl_configs.guard.GuardPlugin"]},
        "plugins lacks axolotl_configs.router.RouterPlugin; every configuration extends shared/recipe.yaml, which names it",
    ),
    "cut through answers": (
        check.rule_packing,
        FULL,
        {"excess_length_strategy": "truncate"},
        "excess_length_strategy is truncate; it must be raise: fit.py has split or set aside what is too long, with a count",
    ),
    "packed without FlashAttention": (
        check.rule_packing,
        FULL,
        {"attn_implementation": "sdpa"},
        "sample_packing with attn_implementation sdpa; on GPUs it needs flash_attention_2, which keeps the rows apart without a mask",
    ),
    "packed and padded on the CPU": (
        check.rule_packing,
        TINY,
        {"sample_packing": True},
        "sample_packing on the CPU needs multipack_real_batches: false and pad_to_sequence_len: false; plugin.py keeps rows apart in one line",
    ),
    "never saved": (
        check.rule_saving,
        FULL,
        {"save_strategy": "no"},
        "save_strategy must be steps, with save_steps: a run that breaks goes on from its last checkpoint",
    ),
    "one checkpoint": (
        check.rule_saving,
        TINY,
        {"save_total_limit": 1},
        "save_total_limit must be 2 or more: the one before is removed before the new one is whole",
    ),
    "no seed": (check.rule_saving, TINY, {"seed": None}, "seed is not set; without it no run can be repeated"),
    "float32 on GPUs": (check.rule_gpu, FULL, {"bf16": False}, "bf16 must be true on GPUs: float32 activations and adapters take twice the memory"),
    "all activations": (
        check.rule_gpu,
        FULL,
        {"gradient_checkpointing": None},
        "gradient_checkpointing must be true on GPUs: the activations of all layers at once do not fit (`plan` tells how much)",
    ),
    "half a batch": (
        check.rule_batch,
        FULL,
        {"micro_batch_size": 1},
        "the header says a global batch of 128, but micro_batch_size x gradient_accumulation_steps x 8 GPUs is 64",
    ),
    "twice the batch": (
        check.rule_batch,
        TINY,
        {"gradient_accumulation_steps": 2},
        "the header says a global batch of 8, but micro_batch_size x gradient_accumulation_steps x 1 GPUs is 16",
    ),
    "no batch": (check.rule_batch, TINY, {"micro_batch_size": 0}, BATCH),
    "accumulation in words": (check.rule_batch, TINY, {"gradient_accumulation_steps": "auto"}, BATCH),
}
