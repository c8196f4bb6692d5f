"""Logits of a Mixtral, merged or not, with one decoder layer in memory; used by verify.py.

Hidden states of several models are carried from layer to layer side by side: base + adapter as PEFT computes it, the merge of the two in memory,
and whatever was written. The one layer is transformers' own, below PEFT's own modules, in float32.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import MixtralConfig, MixtralForCausalLM

from axolotl_configs.shards import Tensors

Layer = dict[str, torch.Tensor]  # the tensors of one decoder layer, by their names on disk
PREFIX = "base_model.model."


class OneLayer:
    """A Mixtral of one decoder layer without last norm and head, with an adapter on it; the tensors of any layer can be put in."""

    def __init__(self, adapter: Path, config: MixtralConfig) -> None:
        lora = LoraConfig.from_pretrained(adapter)
        lora.modules_to_save = None
        small = MixtralConfig.from_dict(config.to_dict() | {"num_hidden_layers": 1, "layer_types": None, "vocab_size": 1, "pad_token_id": 0})
        small.output_router_logits = False
        self.adapter = Tensors(adapter)
        self.experts = config.num_local_experts
        model = MixtralForCausalLM(small).float().eval()
        model.model.norm = torch.nn.Identity()
        self.model = get_peft_model(model, lora).eval()
        self.lora = {name: module for name, module in self.model.named_modules() if isinstance(module, LoraLayer)}
        self.base = {name.replace(".base_layer", ""): parameter for name, parameter in self.model.named_parameters() if ".lora_" not in name}

    def put(self, layer: int, tensors: Layer) -> None:
        """Let this be layer `layer`, with the adapter unmerged."""
        start = f"model.layers.{layer}."
        with torch.no_grad():
            for module in self.lora.values():
                module.merged_adapters.clear()  # the base's values are written anew below
            for name, module in self.lora.items():
                for part in ("lora_A", "lora_B"):
                    getattr(module, part)["default"].weight.copy_(self.adapter[f"{name.replace('.layers.0.', f'.layers.{layer}.')}.{part}.weight"])
            for name, parameter in self.base.items():
                disk = name.removeprefix(PREFIX).replace("model.layers.0.", start)
                if disk.endswith("experts.gate_up_proj") or disk.endswith("experts.down_proj"):
                    self._put_experts(parameter, f"{start}block_sparse_moe.experts.", tensors)
                elif disk.startswith(start):
                    parameter.copy_(tensors[disk.replace(".mlp.gate.", ".block_sparse_moe.gate.")])

    def _put_experts(self, parameter: torch.Tensor, start: str, tensors: Layer) -> None:
        for expert in range(self.experts):
            one, two, three = (f"{start}{expert}.w{part}.weight" for part in (1, 2, 3))
            if parameter.shape[1] == tensors[two].shape[0] and parameter.shape[2] == tensors[two].shape[1]:
                parameter[expert].copy_(tensors[two])
            else:
                parameter[expert].copy_(torch.cat([tensors[one], tensors[three]]))

    def merge(self) -> None:
        """Merge the adapter into what was put in, by PEFT."""
        for module in self.lora.values():
            module.merge()

    def run(self, hidden: list[torch.Tensor], adapted: bool) -> list[torch.Tensor]:
        """The layer on each of the hidden states (1 x T x H), with or without the adapter."""
        inner = self.model.get_base_model().model
        if adapted:
            return [inner(inputs_embeds=state, use_cache=False).last_hidden_state for state in hidden]
        with self.model.disable_adapter():
            return [inner(inputs_embeds=state, use_cache=False).last_hidden_state for state in hidden]


@torch.inference_mode()
def logits(
    ids: list[torch.Tensor], base: Tensors, adapter: Path, config: MixtralConfig, versions: dict[str, tuple[str, Callable[[int], Layer]]]
) -> dict[str, list[torch.Tensor]]:
    """Logits (1 x T x V, float32) of each prompt (1 x T token ids) under each version of a model.

    A version is a way and a source of layers: ("unmerged" | "merged", layer number -> the base's tensors, to which the adapter comes), or
    ("as written", layer number -> tensors as they are). Embeddings, last norm and head of the first two are the adapter's where it holds them,
    else the base's; of the last, what its source gives for layer -1.
    """
    one = OneLayer(adapter, config)

    def outside(version: str, name: str) -> torch.Tensor:
        way, source = versions[version]
        if way == "as written":
            return source(-1)[name].float()
        saved = f"{PREFIX}{name}"
        return (one.adapter[saved] if saved in one.adapter.where else base[name]).float()

    hidden = {version: [torch.nn.functional.embedding(prompt, outside(version, "model.embed_tokens.weight")) for prompt in ids] for version in versions}
    for layer in range(config.num_hidden_layers):
        read = None
        for version, (way, source) in versions.items():
            if source is not read:  # neighbours with one source share what it gave: one layer is held, and rounded to nf4 once
                tensors, read = source(layer), source
            one.put(layer, tensors)
            if way == "merged":
                one.merge()
            hidden[version] = one.run(hidden[version], adapted=way != "as written")
    found = {}
    for version, states in hidden.items():
        norm, head = outside(version, "model.norm.weight"), outside(version, "lm_head.weight")
        found[version] = [torch.nn.functional.rms_norm(state, norm.shape, norm, config.rms_norm_eps) @ head.T for state in states]
    return found
