"""Merge an adapter into its base and write a model folder that transformers, vLLM and FastChat load as it is.

    python -m axolotl_configs.merge axolotl_configs/tiny.yaml
    python -m axolotl_configs.merge axolotl_configs/tiny.yaml --into nf4

What PEFT would add to each tensor is asked of PEFT's own modules, a module at a time, and added in float32 to the base's tensors as they
come from the files; the sum is rounded once, to bfloat16. So the result is `merge_and_unload`'s to the bit, with about a layer in memory instead of
4 bytes a parameter (190 GB for Mixtral-8x7B). Axolotl's own merge (`memory_efficient`) drops every expert adapter of a Mixtral and exits 0.

QLoRA trained against the base's rounding to nf4. `--into published` (the default) merges into the base as it was published, `--into nf4` into
what training saw; verify.py tells how far the logits of each are from those of the model that was trained.
"""

import argparse
import ctypes
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, MixtralConfig, MixtralForCausalLM

from axolotl_configs import config as configs
from axolotl_configs import nf4
from axolotl_configs.card import model_card
from axolotl_configs.shards import Tensors, Writer, folder_of
from axolotl_configs.tiny_base import HOW_IT_WAS_LOADED
from data_prep.files import BadInput, sha256, write_json, written_aside

TEMPLATE = configs.PROJECT / "fastchat_templates" / "bimedix.jinja"
INTO = ("published", "nf4")
PAIR = 2  # experts


class Deltas:
    """What a LoRA adapter adds to the tensors of a Mixtral, by PEFT's modules; every tensor of the adapter must be asked for once."""

    def __init__(self, folder: Path, config: MixtralConfig) -> None:
        self.tensors = Tensors(folder)
        self.left = set(self.tensors.where)
        lora = LoraConfig.from_pretrained(folder)
        lora.modules_to_save = None
        one_layer = MixtralConfig.from_dict(config.to_dict() | {"num_hidden_layers": 1, "layer_types": None})
        with torch.device("meta"):  # modules without weights: those of each layer are put in when it is its turn
            model = get_peft_model(MixtralForCausalLM(one_layer), lora, low_cpu_mem_usage=True)
        self.modules = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
        self.experts = {name: module.num_experts for name, module in self.modules.items() if isinstance(module, ParamWrapper)}

    def _take(self, name: str) -> torch.Tensor:
        if name not in self.left:
            raise configs.ConfigError(f"{self.tensors.folder} lacks {name}, which its adapter_config.json promises: train again, or copy the adapter whole")
        self.left.discard(name)
        return self.tensors[name].float()

    def saved(self, name: str) -> torch.Tensor | None:
        """The tensor that was trained as a whole (`modules_to_save`) in place of the base's tensor `name`."""
        saved = f"base_model.model.{name}"
        return self._take(saved) if saved in self.left else None

    def of_layer(self, layer: int) -> Iterator[tuple[str, torch.Tensor]]:
        """(name on disk, what is added to it, float32) for each tensor of a layer that LoRA touches, a few at a time in memory."""
        for module_name, module in self.modules.items():
            name = module_name.replace(".layers.0.", f".layers.{layer}.")
            low, high = self._take(f"{name}.lora_A.weight"), self._take(f"{name}.lora_B.weight")
            disk = name.removeprefix("base_model.model.")
            if not isinstance(module, ParamWrapper):
                yield f"{disk}.weight", _delta(module, low, high)
                continue
            experts = self.experts[module_name]
            # PEFT wants to know type and place of what it adds to: a stand-in of one element says so
            stand_in = torch.zeros(1).expand(module.get_param().shape)
            setattr(module.get_base_layer(), module.parameter_name, torch.nn.Parameter(stand_in, requires_grad=False))
            if experts == 1:
                yield f"{disk.replace('.mlp.', '.block_sparse_moe.')}.weight", _delta(module, low, high)
                continue
            # PEFT holds the deltas of all experts of a layer twice (for Mixtral-8x7B 7.5 GB); it is asked for two experts at a time
            low = low.reshape(experts, -1, low.shape[1])
            high = high.reshape(high.shape[0], -1, experts)
            for first in range(0, experts, PAIR):
                pair = slice(first, first + PAIR)
                module.num_experts = len(range(experts)[pair])
                deltas = _delta(module, low[pair].flatten(0, 1), high[..., pair].flatten(1))
                for expert, delta in enumerate(deltas, start=first):
                    yield from _of_expert(f"{disk.split('.mlp.')[0]}.block_sparse_moe.experts.{expert}", module.parameter_name, delta)
                del deltas, delta

    def close(self) -> None:
        """ConfigError when the adapter holds tensors that nobody asked for: they would be dropped without a word."""
        if self.left:
            some = ", ".join(sorted(self.left)[:3])
            raise configs.ConfigError(f"{self.tensors.folder} holds {len(self.left)} tensors that belong nowhere in this base ({some}): it is another model's")


def _delta(module: LoraLayer, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    module.lora_A["default"].weight = torch.nn.Parameter(low, requires_grad=False)
    module.lora_B["default"].weight = torch.nn.Parameter(high, requires_grad=False)
    return module.get_delta_weight("default")


def _of_expert(expert: str, parameter: str, delta: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """transformers keeps an expert as two tensors, gate_up_proj (2I x H) and down_proj; on disk they are w1 (gate), w3 (up) and w2 (down)."""
    if parameter == "down_proj":
        yield f"{expert}.w2.weight", delta
    else:
        gate, up = delta.chunk(2)
        yield f"{expert}.w1.weight", gate
        yield f"{expert}.w3.weight", up


def merged_tensors(base: Tensors, deltas: Deltas, dtype: torch.dtype, rounding: dict | None) -> Iterator[dict[str, torch.Tensor]]:
    """The merged tensors in `dtype`, a layer at a time; `rounding` says how training rounded the base that is merged into, None for the base as it is."""
    for layer, names in base.layers().items():
        done: dict[str, torch.Tensor] = {}
        if layer is None:
            for name in names:
                saved = deltas.saved(name)
                done[name] = (base[name] if saved is None else saved).to(dtype)
        else:
            rounded = nf4.rounded({name: base[name] for name in names}, rounding) if rounding else {}
            for name, delta in deltas.of_layer(layer):
                if name not in base.where:
                    raise configs.ConfigError(f"{base.folder} has no {name}, which the adapter changes: it is not the base that was trained")
                done[name] = ((rounded.pop(name) if rounded else base[name]).float().add_(delta)).to(dtype)
            done |= {name: base[name].to(dtype) for name in names if name not in done}
        for name, tensor in done.items():
            if not tensor.isfinite().all():
                raise configs.ConfigError(f"{name} is not finite after the merge: the adapter is broken, train again")
        yield done


def merge(base: str, adapter: Path, merged: Path, dtype: torch.dtype, name: str, settings: dict, into: str = "published") -> int:
    """Write base + adapter to the folder `merged`, which appears when it is whole; returns the bytes of its tensors.

    `base` is a folder or a Hub id, `settings` the configuration that was trained, `into` one of INTO. merge.json in the folder says what was done.
    """
    # glibc keeps freed blocks of up to 32 MiB for itself, 200 MB in a merge of 4 GB; blocks from 1 MiB on now go back at once (-3: M_MMAP_THRESHOLD)
    if hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(-3, 2**20)
    if not (adapter / "adapter_model.safetensors").is_file():
        raise configs.ConfigError(f"{adapter} holds no adapter_model.safetensors: run `make train` first")
    config = AutoConfig.from_pretrained(base)
    if config.model_type != "mixtral":
        raise configs.ConfigError(f"{base} is a {config.model_type} model: this merge knows Mixtral's tensors only")
    tensors, deltas = Tensors(folder_of(base)), Deltas(adapter, config)
    trained = {key: bool(settings.get(key)) for key in nf4.KEYS}
    with written_aside(merged) as aside:
        writer = Writer(aside)
        for layer in merged_tensors(tensors, deltas, dtype, trained if into == "nf4" else None):
            writer.add(layer)
        size = writer.close()
        deltas.close()
        tokenizer = AutoTokenizer.from_pretrained(adapter)
        tokenizer.chat_template = TEMPLATE.read_text(encoding="utf-8")
        bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        # trained with the router's logits for its auxiliary loss; served without: they break batched generation (a size mismatch in that loss)
        served = dict(output_router_logits=False, use_cache=True, pad_token_id=pad, architectures=["MixtralForCausalLM"], dtype=dtype)
        for key, value in served.items():
            setattr(config, key, value)
        config.save_pretrained(aside)
        GenerationConfig(bos_token_id=bos, eos_token_id=eos, pad_token_id=pad).save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        # save_pretrained moves the template into a file of its own; vLLM and older loaders look for it in tokenizer_config.json
        settings = json.loads((aside / "tokenizer_config.json").read_text(encoding="utf-8"))
        settings = {key: value for key, value in settings.items() if key not in HOW_IT_WAS_LOADED} | {"chat_template": tokenizer.chat_template}
        write_json(aside / "tokenizer_config.json", settings)
        done = {"into": into, "trained": trained, "dtype": str(dtype).removeprefix("torch."), "adapter_sha256": sha256(adapter / "adapter_model.safetensors")}
        write_json(aside / "merge.json", done)
        (aside / "README.md").write_text(model_card(name, base, adapter.parent, done), encoding="utf-8")
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="the configuration that was trained")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    parser.add_argument("--base", help="folder or Hub id (default: the configuration's base_model)")
    parser.add_argument("--into", choices=INTO, default="published", help="the base as published, or rounded to nf4 as training saw it (%(default)s)")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="of the written weights (%(default)s)")
    parser.add_argument("--out", type=Path, help="folder to write (default: BUILD/models/NAME/merged)")
    args = parser.parse_args()
    try:
        settings = configs.load(args.config, args.build)
        folder = configs.model_folder(args.config, args.build)
        out = args.out or folder / "merged"
        size = merge(args.base or settings["base_model"], folder / "adapter", out, getattr(torch, args.dtype), args.config.stem, settings, args.into)
    except (BadInput, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{out}: merged in float32 into the {args.into} base, written in {args.dtype}, {size / 2**20:,.1f} MiB")


if __name__ == "__main__":
    main()
