"""Merge an adapter into its base and write a model folder that transformers, vLLM and FastChat load as it is.

    python -m axolotl_configs.merge axolotl_configs/tiny.yaml

PEFT adds the adapter in float32; Axolotl's own merge (`memory_efficient`) drops every expert adapter of a Mixtral and exits 0.
The result is rounded once, to bfloat16. It needs 4 bytes of memory a parameter: about 190 GB for Mixtral-8x7B.
The base that is merged into is the original one, not the nf4-rounded one that QLoRA trained against; verify.py reports what that changes.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from axolotl_configs import config as configs
from axolotl_configs.card import model_card
from axolotl_configs.tiny_base import HOW_IT_WAS_LOADED, save_weights
from data_prep.files import BadInput, write_json, written_aside

TEMPLATE = configs.PROJECT / "fastchat_templates" / "bimedix.jinja"


def merge(base: str, adapter: Path, merged: Path, dtype: torch.dtype = torch.bfloat16, name: str = "bimedix") -> None:
    """Write base + adapter to the folder `merged`, which appears when it is whole. `base` is a folder or a Hub id."""
    if not (adapter / "adapter_model.safetensors").is_file():
        raise configs.ConfigError(f"{adapter} holds no adapter_model.safetensors: run `make train` first")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, low_cpu_mem_usage=True)
    model = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)  # safe: stops at a NaN
    model.to(dtype)
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    tokenizer.chat_template = TEMPLATE.read_text(encoding="utf-8")
    # trained with the router's logits for its auxiliary loss; served without: they break batched generation (a size mismatch in that loss)
    model.config.output_router_logits = False
    model.config.use_cache = True
    model.config.pad_token_id = tokenizer.pad_token_id
    eos = tokenizer.eos_token_id
    model.generation_config = GenerationConfig(bos_token_id=tokenizer.bos_token_id, eos_token_id=eos, pad_token_id=tokenizer.pad_token_id)
    with written_aside(merged) as aside:
        save_weights(model, aside)
        tokenizer.save_pretrained(aside)
        # save_pretrained moves the template into a file of its own; vLLM and older loaders look for it in tokenizer_config.json
        settings = json.loads((aside / "tokenizer_config.json").read_text(encoding="utf-8"))
        settings = {key: value for key, value in settings.items() if key not in HOW_IT_WAS_LOADED} | {"chat_template": tokenizer.chat_template}
        write_json(aside / "tokenizer_config.json", settings)
        (aside / "README.md").write_text(model_card(name, base, adapter, dtype), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="the configuration that was trained")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    parser.add_argument("--base", help="folder or Hub id (default: the configuration's base_model)")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="of the written weights (%(default)s)")
    parser.add_argument("--out", type=Path, help="folder to write (default: BUILD/models/NAME/merged)")
    args = parser.parse_args()
    try:
        settings = configs.load(args.config, args.build)
        folder = configs.model_folder(args.config, args.build)
        out = args.out or folder / "merged"
        merge(args.base or settings["base_model"], folder / "adapter", out, getattr(torch, args.dtype), args.config.stem)
    except (BadInput, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    print(f"{out}: merged in float32, written in {args.dtype}, {size / 2**20:,.1f} MiB")


if __name__ == "__main__":
    main()
