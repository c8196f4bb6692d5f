"""Prove that a merged folder is base + adapter and fit to release, or name the tensor or key that is not.

    python -m axolotl_configs.verify --base build/models/tiny/base --adapter build/models/tiny/adapter --merged build/models/tiny/merged

Three kinds of check, none of which trusts the merge:
- every tensor of the merged files is recomputed from the base's and the adapter's files, `W' = W + alpha/r * B @ A`, by our own arithmetic;
- the logits of PEFT's base + adapter and of the merged model are compared in float32 on English and Arabic prompts;
- config, tokenizer and chat template are what the released BiMediX weights lacked (docs/PAPER.md, "Defects").
Exit status 0 when all hold, 1 with one line per fault otherwise. Tensors are read one at a time; the logits load both models in float32.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from axolotl_configs import config as configs
from axolotl_configs.merge import TEMPLATE

LOGIT_LIMIT = 1e-4  # float32, base + adapter against base merged: PEFT's own merge measures 1e-6
EXPERT = re.compile(r"(?P<layer>model\.layers\.\d+)\.block_sparse_moe\.experts\.(?P<expert>\d+)\.w(?P<part>[123])\.weight")
ROUTER = re.compile(r"(?P<layer>model\.layers\.\d+)\.block_sparse_moe\.gate\.weight")
PROMPTS = [
    "Question: Which vitamin deficiency causes scurvy? Options: A. Vitamin A B. Vitamin C C. Vitamin D D. Vitamin K",
    "السؤال: ما الفيتامين الذي يسبب نقصه داء الإسقربوط؟ الخيارات: أ. فيتامين A ب. فيتامين C ج. فيتامين D د. فيتامين K",
]


class Tensors:
    """The tensors of a folder's safetensors files by name, read when asked for."""

    def __init__(self, folder: Path) -> None:
        self.where: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                with safe_open(path, "pt") as file:
                    self.where |= dict.fromkeys(file.keys(), path)
            except SafetensorError as error:
                raise ValueError(f"{path} cannot be read ({error}): write or fetch it again, it may be cut short") from error
        if not self.where:
            raise FileNotFoundError(f"{folder} holds no .safetensors file")

    def __getitem__(self, name: str) -> torch.Tensor:
        with safe_open(self.where[name], "pt") as file:
            return file.get_tensor(name)


class Adapter:
    """What a LoRA adapter of PEFT adds to each tensor of a Mixtral checkpoint, from its files alone."""

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        self.scale = settings["lora_alpha"] / (settings["r"] ** 0.5 if settings.get("use_rslora") else settings["r"])
        self.tensors = Tensors(folder)
        self.cached: dict[str, torch.Tensor] = {}

    def _pair(self, module: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        name = f"base_model.model.{module}"
        if f"{name}.lora_A.weight" not in self.tensors.where:
            return None
        if module not in self.cached:
            self.cached = {module: (self.tensors[f"{name}.lora_A.weight"].float(), self.tensors[f"{name}.lora_B.weight"].float())}
        return self.cached[module]

    def expected(self, name: str, base: torch.Tensor, experts: int) -> tuple[str, torch.Tensor]:
        """(kind, W') for the checkpoint tensor `name`: attention, experts, router or saved when the adapter speaks of it, else `untouched`."""
        saved = f"base_model.model.{name}"
        if saved in self.tensors.where:
            return "saved", self.tensors[saved].float()
        if match := EXPERT.fullmatch(name):
            return self._expert(match, base, experts)
        kind, module = "attention", name.removesuffix(".weight")
        if match := ROUTER.fullmatch(name):
            kind, module = "router", f"{match['layer']}.mlp.gate"
        pair = self._pair(module)
        if pair is None:
            return "untouched", base
        low, high = pair
        return kind, base.float() + self.scale * high @ low

    def _expert(self, match: re.Match, base: torch.Tensor, experts: int) -> tuple[str, torch.Tensor]:
        # on disk each expert has w1 (gate), w3 (up) and w2 (down); in memory, where LoRA acts, gate and up are one tensor (2I x H) of all
        # experts. PEFT keeps one A (experts*r x in) and one B (out x r*experts) for it, and nests the wrappers of one module.
        rows, columns = base.shape
        down = match["part"] == "2"
        for wrapper in ("mlp.experts", "mlp.experts.base_layer"):
            pair = self._pair(f"{match['layer']}.{wrapper}")
            if pair is None or pair[0].shape[1] != columns or pair[1].shape[0] != (rows if down else 2 * rows):
                continue
            low = pair[0].reshape(experts, -1, columns)[int(match["expert"])]
            high = pair[1].reshape(pair[1].shape[0], -1, experts)[..., int(match["expert"])]
            delta = self.scale * high @ low
            half = {"1": slice(0, rows), "3": slice(rows, 2 * rows), "2": slice(None)}[match["part"]]
            return "experts", base.float() + delta[half]
        return "untouched", base


def tensor_faults(base: Tensors, adapter: Adapter, merged: Tensors, dtype: torch.dtype, experts: int, counts: Counter) -> Iterator[str]:
    """One line per tensor of the merged files that is not base + adapter; fills `counts` with the changed tensors of each kind."""
    for name in sorted(base.where.keys() - merged.where.keys()):
        yield f"{name} is missing from the merged files"
    for name in sorted(merged.where.keys() - base.where.keys()):
        yield f"{name} is in the merged files but not in the base"
    for name in sorted(base.where.keys() & merged.where.keys()):
        before, after = base[name], merged[name]
        if after.dtype != dtype:
            yield f"{name} is {after.dtype}, expected {dtype}"
        if after.shape != before.shape:
            yield f"{name} has the shape {tuple(after.shape)}, the base's is {tuple(before.shape)}"
            continue
        kind, wanted = adapter.expected(name, before, experts)
        counts[kind] += 1
        if kind == "untouched":
            if not torch.equal(after.to(before.dtype), before):
                yield f"{name} differs from the base, but the adapter does not touch it"
            continue
        if torch.equal(after.float(), before.float()) and not torch.equal(wanted.to(dtype), before.to(dtype)):
            yield f"{name} ({kind}) is still the base's: its adapter was dropped"
            continue
        # one rounding to the written type (bfloat16 keeps 8 bits), and float32's own noise of the matrix product
        allowed = wanted.abs() * torch.finfo(dtype).eps + 1e-6
        wrong = ~((after.float() - wanted).abs() <= allowed)  # not `>`: a NaN is neither, and is wrong
        if wrong.any():
            worst = (after.float() - wanted).abs().max().item()
            yield f"{name} ({kind}) is not W + scale*B@A: {int(wrong.sum())} of {wrong.numel()} elements, at most {worst:.2e} off"


def config_faults(merged: Path, dtype: torch.dtype) -> Iterator[str]:
    """One line per key of the merged folder's config, tokenizer or template that would bite whoever loads it."""
    config = json.loads((merged / "config.json").read_text(encoding="utf-8"))
    wanted = {"architectures": ["MixtralForCausalLM"], "dtype": str(dtype).removeprefix("torch."), "use_cache": True, "output_router_logits": False}
    for key, value in wanted.items():
        if config.get(key) != value:
            yield f"config.json: {key} is {config.get(key)!r}, expected {value!r}"
    for file in ("config.json", "generation_config.json", "tokenizer_config.json", "README.md"):
        path = merged / file
        if not path.is_file():
            yield f"{file} is missing"
        elif found := re.search(r"(?<![\w:/.<\[])/(?:[\w.-]+/)+[\w.-]*", path.read_text(encoding="utf-8")):
            yield f"{file}: holds the private path {found[0]}"
    tokenizer = AutoTokenizer.from_pretrained(merged)
    template = TEMPLATE.read_text(encoding="utf-8")
    if tokenizer.chat_template != template:
        yield f"the tokenizer's chat template is not {TEMPLATE.name}"
        return
    generation = json.loads((merged / "generation_config.json").read_text(encoding="utf-8")) if (merged / "generation_config.json").is_file() else {}
    for file, content in (("generation_config.json", generation), ("config.json", config)):
        if content.get("eos_token_id") != tokenizer.eos_token_id:
            yield f"{file}: eos_token_id is {content.get('eos_token_id')!r}, the tokenizer's is {tokenizer.eos_token_id}"
    text = tokenizer.apply_chat_template([{"role": "user", "content": PROMPTS[1]}], tokenize=False)
    written = tokenizer(text, add_special_tokens=False).input_ids
    added = tokenizer(text.removeprefix(tokenizer.bos_token)).input_ids
    if written != added or written.count(tokenizer.bos_token_id) != 1:
        yield "the tokenizer reads a prompt differently with BOS in its text and with BOS added: served prompts would not be the trained ones"


@torch.inference_mode()
def logit_distances(base: str, adapter: Path, merged: Path) -> tuple[float, float]:
    """Largest logit differences in float32 over the prompts: (PEFT's base + adapter against that merged in memory, against the written files)."""
    tokenizer = AutoTokenizer.from_pretrained(merged)
    texts = [tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False) for prompt in PROMPTS]
    ids = [tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids for text in texts]

    def logits(model: torch.nn.Module) -> list[torch.Tensor]:
        return [model(input_ids=prompt).logits for prompt in ids]

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
    reference = logits(model)
    in_memory = logits(model.merge_and_unload())
    del model
    written = logits(AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval())

    def distance(found: list[torch.Tensor]) -> float:
        return max((mine - wanted).abs().max().item() for mine, wanted in zip(found, reference, strict=True))

    return distance(in_memory), distance(written)


def verify(base: Path, adapter: Path, merged: Path, dtype: torch.dtype) -> tuple[list[str], list[str]]:
    """(what was measured, what is wrong), a line each."""
    measured, counts = [], Counter()
    config = json.loads((merged / "config.json").read_text(encoding="utf-8"))
    faults = list(config_faults(merged, dtype))
    changes = Adapter(adapter)
    faults += tensor_faults(Tensors(base), changes, Tensors(merged), dtype, config.get("num_local_experts", 0), counts)
    measured.append("tensors recomputed: " + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    faults += [f"the adapter changes no {kind} tensor" for kind in ("attention", "experts", "router") if not counts[kind]]
    if faults:  # a model with such faults need not load at all
        return measured, faults
    in_memory, written = logit_distances(str(base), adapter, merged)
    measured.append(f"largest logit difference, float32: {in_memory:.1e} merged in memory (limit {LOGIT_LIMIT:.0e}), {written:.1e} as written in {dtype}")
    for place, found in (("merged in memory", in_memory), ("as written", written if dtype == torch.float32 else 0.0)):
        if not found <= LOGIT_LIMIT:
            faults.append(f"logits of base + adapter and of the model {place} differ by {found:.1e}, more than {LOGIT_LIMIT:.0e}")
    return measured, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="folder or Hub id of the base model")
    parser.add_argument("--adapter", type=Path, help="folder of the PEFT adapter")
    parser.add_argument("--merged", type=Path, help="folder of the merged model")
    parser.add_argument("--config", type=Path, help="take what is not named from this configuration and BUILD/models/NAME")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="that the merged weights must have (%(default)s)")
    args = parser.parse_args()
    try:
        if args.config:
            folder = configs.model_folder(args.config, args.build)
            args.base = args.base or configs.load(args.config, args.build)["base_model"]
            args.adapter, args.merged = args.adapter or folder / "adapter", args.merged or folder / "merged"
        if not (args.base and args.adapter and args.merged):
            parser.error("name --base, --adapter and --merged, or --config")
        base = Path(args.base)
        if not base.is_dir():
            base = Path(snapshot_download(args.base, allow_patterns=["*.safetensors", "*.json"]))
        measured, faults = verify(base, args.adapter, args.merged, getattr(torch, args.dtype))
    except (OSError, ValueError, configs.ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print("\n".join(measured))
    if faults:
        print("\n".join(f"FAULT: {fault}" for fault in faults), file=sys.stderr)
        sys.exit(1)
    print(f"{args.merged}: verified")


if __name__ == "__main__":
    main()
