"""Check configurations without a GPU: against Axolotl's own schema, and against rules that it does not know or does not enforce.

    python -m axolotl_configs.check                      # every configuration of this folder
    python -m axolotl_configs.check axolotl_configs/tiny.yaml

Exit status 0 when all pass, 1 with one line per fault otherwise. Each rule says what to do instead.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from axolotl_configs import config as configs

ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
EXPERTS_AND_ROUTER = {"mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight"}
TEMPLATE = "fastchat_templates/bimedix.jinja"
# what the two kinds of machine can do, for the schema: it asks the GPU otherwise. 8 x 80 GB is the paper-sized run's machine
CUDA = {"bf16": True, "fp8": True, "n_gpu": 8, "n_node": 1, "compute_capability": "sm_90", "tf32": True}
CPU = {"bf16": False, "fp8": False, "n_gpu": 1, "n_node": 1, "compute_capability": None, "tf32": False}
KINDS = dict.fromkeys(["datasets", "test_datasets", "plugins", "lora_target_modules", "lora_target_parameters"], list)
KINDS |= {"overrides_of_model_config": dict, "deepspeed": str, "chat_template_jinja": str}
NAMES = {list: "list", dict: "mapping", str: "text"}


def runs_on_cpu(config: dict) -> bool:
    """Whether a configuration is made for a machine without a GPU: it names the plugin that such a run needs."""
    return any("CpuPlugin" in plugin for plugin in config.get("plugins") or [])


def rule_targets(config: dict) -> Iterator[str]:
    """Experts and router are no nn.Linear in transformers 5: `lora_target_linear` trains attention only."""
    if config.get("lora_target_linear"):
        yield "lora_target_linear trains attention only in transformers 5; use lora_target_modules and lora_target_parameters"
    if missing := ATTENTION - set(config.get("lora_target_modules") or []):
        yield f"lora_target_modules lacks {', '.join(sorted(missing))}"
    if missing := EXPERTS_AND_ROUTER - set(config.get("lora_target_parameters") or []):
        yield f"lora_target_parameters lacks {', '.join(sorted(missing))}: experts and router must be adapted"


def rule_kernels(config: dict) -> Iterator[str]:
    """Axolotl switches its LoRA kernels on by itself where the configuration is silent; that they know of lora_target_parameters is said nowhere."""
    for kernel in ("lora_qkv_kernel", "lora_o_kernel", "lora_mlp_kernel", "lora_embedding_kernel"):
        if config.get(kernel) is not False:
            yield f"{kernel} must be false: Axolotl switches it on otherwise, beside adapters on parameters"


def rule_dropout(config: dict) -> Iterator[str]:
    """PEFT has no dropout on parameters."""
    if config.get("lora_target_parameters") and config.get("lora_dropout", 0) != 0:
        yield f"lora_dropout is {config['lora_dropout']}; with lora_target_parameters it must be 0"


def rule_quantised_experts(config: dict) -> Iterator[str]:
    """Without quantize_moe_experts the experts stay in bf16: 90 GB for Mixtral-8x7B."""
    if config.get("adapter") == "qlora" and not runs_on_cpu(config) and not config.get("quantize_moe_experts"):
        yield "quantize_moe_experts must be true: the experts stay in bf16 otherwise (90 GB)"
    if runs_on_cpu(config) and config.get("quantize_moe_experts"):
        yield "quantize_moe_experts needs CUDA; leave it out of a configuration for the CPU"


def rule_deepspeed(config: dict) -> Iterator[str]:
    """ZeRO-3 and 4-bit do not go together on these pins; `use_cpu` silently turns DeepSpeed off."""
    if not config.get("deepspeed"):
        yield "deepspeed names no configuration; use deepspeed/zero2.json"
        return
    path = configs.PROJECT / config["deepspeed"]
    if not path.is_file():
        yield f"deepspeed: {config['deepspeed']} is missing"
        return
    try:
        engine = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        yield f"deepspeed: {config['deepspeed']} is not JSON ({error})"
        return
    if engine.get("zero_optimization", {}).get("stage") == 3 and config.get("load_in_4bit"):
        yield "ZeRO-3 with load_in_4bit fails (Axolotl's Mixtral patch, bitsandbytes while saving); use ZeRO-2"
    if config.get("use_cpu"):
        yield "use_cpu silently turns DeepSpeed off; leave it out"


def rule_router(config: dict) -> Iterator[str]:
    """The paper trains with the router's auxiliary loss, coefficient 0.02; without output_router_logits there is no such loss."""
    model = config.get("overrides_of_model_config") or {}
    if not model.get("output_router_logits"):
        yield "overrides_of_model_config.output_router_logits must be true while training (merge.py turns it off for serving)"
    if model.get("router_aux_loss_coef") != 0.02:
        yield f"overrides_of_model_config.router_aux_loss_coef is {model.get('router_aux_loss_coef')}; the paper's is 0.02"


def rule_template(config: dict) -> Iterator[str]:
    """One chat template in training, serving and evaluation; loss on the answers and their EOS only."""
    if config.get("chat_template") != "jinja" or config.get("chat_template_jinja") != TEMPLATE:
        yield f"chat_template must be jinja and chat_template_jinja {TEMPLATE}: serving and evaluation use that one"
    if config.get("train_on_inputs"):
        yield "train_on_inputs must be false: the loss is on the answers"
    for dataset in [*config.get("datasets", []), *config.get("test_datasets", [])]:
        if dataset.get("type") != "chat_template" or dataset.get("field_messages") != "conversations":
            yield f"dataset {dataset.get('path')}: type must be chat_template with field_messages conversations (`type: sharegpt` is refused by Axolotl)"
        if dataset.get("message_property_mappings") != {"role": "from", "content": "value"}:
            yield f"dataset {dataset.get('path')}: message_property_mappings must be {{role: from, content: value}}"


def rule_paths(config: dict) -> Iterator[str]:
    """Files of the project that a configuration names exist; outputs go below build/."""
    if config.get("chat_template_jinja") and not (configs.PROJECT / config["chat_template_jinja"]).is_file():
        yield f"chat_template_jinja: {config['chat_template_jinja']} is missing"
    for key in ("output_dir", "dataset_prepared_path"):
        if not config.get(key):
            yield f"{key} is not set; it belongs below build/"


def rule_plugins(config: dict) -> Iterator[str]:
    """Without GuardPlugin runs differ from one another, NaN goes on and a checkpoint is never whole; without RouterPlugin there is no log to draw."""
    for plugin in ("axolotl_configs.guard.GuardPlugin", "axolotl_configs.router.RouterPlugin"):
        if plugin not in (config.get("plugins") or []):
            yield f"plugins lacks {plugin}; every configuration extends shared/recipe.yaml, which names it"


def rule_packing(config: dict) -> Iterator[str]:
    """Packed rows must not see each other, and nothing may be cut through an answer."""
    if config.get("excess_length_strategy") != "raise":
        found = config.get("excess_length_strategy")
        yield f"excess_length_strategy is {found}; it must be raise: fit.py has split or set aside what is too long, with a count"
    if not config.get("sample_packing"):
        return
    if not runs_on_cpu(config) and config.get("attn_implementation") != "flash_attention_2":
        found = config.get("attn_implementation")
        yield f"sample_packing with attn_implementation {found}; on GPUs it needs flash_attention_2, which keeps the rows apart without a mask"
    if runs_on_cpu(config) and (config.get("multipack_real_batches") is not False or config.get("pad_to_sequence_len") is not False):
        yield "sample_packing on the CPU needs multipack_real_batches: false and pad_to_sequence_len: false; plugin.py keeps rows apart in one line"


def rule_saving(config: dict) -> Iterator[str]:
    """A run must be gone on with after any break, and equal runs must be equal."""
    if config.get("save_strategy") != "steps" or not config.get("save_steps"):
        yield "save_strategy must be steps, with save_steps: a run that breaks goes on from its last checkpoint"
    if (config.get("save_total_limit") or 2) < 2:
        yield "save_total_limit must be 2 or more: the one before is removed before the new one is whole"
    if not isinstance(config.get("seed"), int):
        yield "seed is not set; without it no run can be repeated"


def rule_gpu(config: dict) -> Iterator[str]:
    """What a run of this size needs on a GPU."""
    if runs_on_cpu(config):
        return
    if not config.get("bf16"):
        yield "bf16 must be true on GPUs: float32 activations and adapters take twice the memory"
    if not config.get("gradient_checkpointing"):
        yield "gradient_checkpointing must be true on GPUs: the activations of all layers at once do not fit (`plan` tells how much)"


def rule_batch(config: dict) -> Iterator[str]:
    """The header says the global batch; micro batch x accumulation x GPUs must give it."""
    if any(not isinstance(config.get(key), int) or config[key] < 1 for key in ("micro_batch_size", "gradient_accumulation_steps")):
        yield "micro_batch_size and gradient_accumulation_steps must be whole numbers from 1"
        return
    wanted, gpus = config.get("global_batch_size"), config.get("gpus", 1)
    found = config["micro_batch_size"] * config["gradient_accumulation_steps"] * gpus
    if wanted is not None and wanted != found:
        yield f"the header says a global batch of {wanted}, but micro_batch_size x gradient_accumulation_steps x {gpus} GPUs is {found}"


RULES: list[Callable[[dict], Iterator[str]]] = [
    rule_targets,
    rule_kernels,
    rule_dropout,
    rule_quantised_experts,
    rule_deepspeed,
    rule_router,
    rule_template,
    rule_paths,
    rule_plugins,
    rule_packing,
    rule_saving,
    rule_gpu,
    rule_batch,
]


def kind_faults(config: dict) -> Iterator[str]:
    """Keys that the rules look into and that hold another kind of value than a list, a mapping or a text."""
    for key, kind in KINDS.items():
        if key in config and not isinstance(config[key], kind):
            yield f"{key} must be a {NAMES[kind]}, not {config[key]!r}; correct it or take it out"
        elif kind is list and key.endswith("datasets"):
            yield from (f"{key}: each one is a mapping with path and type, not {item!r}" for item in config.get(key, []) if not isinstance(item, dict))


def header(path: Path) -> dict[str, int]:
    """`global_batch_size` and `gpus` from the line `# batch: 128 = 2 x 8 x 8 GPUs` of a configuration's header."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# batch:"):
            numbers = [int(word) for word in line.replace("=", " ").split() if word.isdigit()]
            return {"global_batch_size": numbers[0], "gpus": numbers[-1] if "GPU" in line else 1}
    return {}


def schema_fault(config: dict) -> str | None:
    """What Axolotl's schema says against the configuration, in its words; None when it says nothing. An unknown key is a fault."""
    from axolotl.utils.config import prepare_plugins, validate_config  # 10 s to import: only when there is something to check
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.schemas.config import AxolotlInputConfig
    from pydantic import ValidationError

    logging.getLogger("axolotl").setLevel(logging.ERROR)
    unknown = sorted(set(config) - {name for key, field in AxolotlInputConfig.model_fields.items() for name in (key, field.alias)})
    if unknown:
        return f"unknown key {', '.join(unknown)}: not in Axolotl's schema; correct the spelling or take it out"
    cpu = runs_on_cpu(config)
    try:
        # the CPU plugin is not prepared: it would open a process group
        validate_config(DictDefault(config | {"plugins": None}), capabilities=CPU if cpu else CUDA, env_capabilities={"torch_version": "2.13.0"})
        if not cpu:
            prepare_plugins(DictDefault(config))
    except (ValidationError, ValueError, ImportError) as error:
        return f"Axolotl's schema: {error}"
    return None


def faults(config: dict, path: Path) -> list[str]:
    """Everything that is wrong with a configuration, a line each."""
    found = list(kind_faults(config))
    if not found:  # neither the rules nor Axolotl's own validators can read a text where a list belongs
        told = config | header(path)
        schema = schema_fault(config)
        found = [fault for rule in RULES for fault in rule(told)] + ([schema] if schema else [])
    return [f"{path}: {fault}" for fault in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", type=Path, nargs="*", help="(default: every configuration of axolotl_configs/)")
    args = parser.parse_args()
    paths = args.configs or sorted(Path(__file__).parent.glob("*.yaml"))
    found = []
    for path in paths:
        try:
            wrong = faults(configs.load(path), path)
        except configs.ConfigError as error:
            wrong = [str(error)]
        found += wrong
        print(f"{path}: {'FAILED' if wrong else 'ok'}")
    if found:
        print("\n".join(found), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
