"""Prove that a merged folder is base + adapter and fit to release, or name the tensor or key that is not.

    python -m axolotl_configs.verify --base build/models/tiny/base --adapter build/models/tiny/adapter --merged build/models/tiny/merged

Three kinds of check, none of which trusts the merge:
- every tensor of the merged files is recomputed from the base's and the adapter's files, `W' = W + alpha/r * B @ A`, by our own arithmetic;
- the logits of PEFT's base + adapter and of the merged model are compared in float32 on English and Arabic prompts, and both with those of
  the model as it was trained, on the base rounded to nf4;
- config, tokenizer and chat template are what the released BiMediX weights lacked (docs/PAPER.md, "Defects").
Exit status 0 when all hold, 1 with one line per fault otherwise. One decoder layer of each model is in memory at a time.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer

from axolotl_configs import config as configs
from axolotl_configs import layerwise, nf4
from axolotl_configs.merge import INTO, TEMPLATE
from axolotl_configs.shards import Tensors, folder_of
from data_prep.files import BadInput, read_json, sha256

LOGIT_LIMIT = 1e-4  # float32, base + adapter against base merged: PEFT's own merge measures 1e-6
EXPERT = re.compile(r"(?P<layer>model\.layers\.\d+)\.block_sparse_moe\.experts\.(?P<expert>\d+)\.w(?P<part>[123])\.weight")
ROUTER = re.compile(r"(?P<layer>model\.layers\.\d+)\.block_sparse_moe\.gate\.weight")
PROMPTS = [
    "Question: Which vitamin deficiency causes scurvy? Options: A. Vitamin A B. Vitamin C C. Vitamin D D. Vitamin K",
    "السؤال: ما الفيتامين الذي يسبب نقصه داء الإسقربوط؟ الخيارات: أ. فيتامين A ب. فيتامين C ج. فيتامين D د. فيتامين K",
]


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


def tensor_faults(base: Tensors, adapter: Adapter, merged: Tensors, dtype: torch.dtype, experts: int, counts: Counter, done: dict) -> Iterator[str]:
    """One line per tensor of the merged files that is not base + adapter; fills `counts` with the changed tensors of each kind.

    `done` is the folder's merge.json: into which base was merged.
    """
    for name in sorted(base.where.keys() - merged.where.keys()):
        yield f"{name} is missing from the merged files"
    for name in sorted(merged.where.keys() - base.where.keys()):
        yield f"{name} is in the merged files but not in the base"
    for layer, names in base.layers().items():
        rounded = {}
        if done["into"] == "nf4" and layer is not None:
            rounded = nf4.rounded({name: base[name] for name in names}, done["trained"])
        for name in names:
            if name in merged.where:
                before = rounded[name] if rounded else base[name]
                yield from _tensor_fault(name, before, merged[name], adapter.expected(name, before, experts), dtype, counts)


def _tensor_fault(
    name: str, before: torch.Tensor, after: torch.Tensor, expected: tuple[str, torch.Tensor], dtype: torch.dtype, counts: Counter
) -> Iterator[str]:
    kind, wanted = expected
    if after.dtype != dtype:
        yield f"{name} is {after.dtype}, expected {dtype}"
    if after.shape != before.shape:
        yield f"{name} has the shape {tuple(after.shape)}, the base's is {tuple(before.shape)}"
        return
    counts[kind] += 1
    if kind == "untouched":
        if not torch.equal(after.to(before.dtype), before):
            yield f"{name} differs from the base, but the adapter does not touch it"
        return
    if torch.equal(after.float(), before.float()) and not torch.equal(wanted.to(dtype), before.to(dtype)):
        yield f"{name} ({kind}) is still the base's: its adapter was dropped"
        return
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


def logit_distances(base: Tensors, adapter: Path, merged: Path, done: dict) -> dict[str, float]:
    """Largest logit differences in float32 over the prompts.

    From base + adapter, unmerged: `in memory` (PEFT's merge of the two), `as written` (the files). From the model as it was trained, the
    base in nf4 and the adapter unmerged: `published` and `nf4`, the merges into each of the two bases.
    """
    config, tokenizer, written = AutoConfig.from_pretrained(base.folder), AutoTokenizer.from_pretrained(merged), Tensors(merged)
    texts = [tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False) for prompt in PROMPTS]
    ids = [tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids for text in texts]
    of_base, of_written = base.layers(), written.layers()

    def published(layer: int) -> layerwise.Layer:
        return {name: base[name] for name in of_base[layer]}

    def as_trained(layer: int) -> layerwise.Layer:
        return nf4.rounded(published(layer), done["trained"])

    def files(layer: int) -> layerwise.Layer:
        return {name: written[name] for name in of_written[None if layer < 0 else layer]}

    versions = {}
    for into, source in zip(INTO, (published, as_trained), strict=True):
        versions |= {f"merged into {into}": ("merged", source), f"unmerged on {into}": ("unmerged", source)}
    found = layerwise.logits(ids, base, adapter, config, versions | {"as written": ("as written", files)})

    def distance(one: str, other: str) -> float:
        return max((mine - wanted).abs().max().item() for mine, wanted in zip(found[one], found[other], strict=True))

    into = done["into"]
    return {
        "in memory": distance(f"merged into {into}", f"unmerged on {into}"),
        "as written": distance("as written", f"unmerged on {into}"),
        "published": distance("merged into published", "unmerged on nf4"),
        "nf4": distance("merged into nf4", "unmerged on nf4"),
    }


def verify(base: Path, adapter: Path, merged: Path, dtype: torch.dtype) -> tuple[list[str], list[str]]:
    """(what was measured, what is wrong), a line each."""
    measured, counts = [], Counter()
    config = json.loads((merged / "config.json").read_text(encoding="utf-8"))
    written, original, changes = Tensors(merged), Tensors(base), Adapter(adapter)
    if not (merged / "merge.json").is_file():
        return measured, ["merge.json is missing: it says into which base was merged; merge again"]
    done = read_json(merged / "merge.json")
    faults = list(config_faults(merged, dtype))
    if done["adapter_sha256"] != sha256(adapter / "adapter_model.safetensors"):
        faults.append(f"merge.json: another adapter than {adapter} was merged")
    faults += tensor_faults(original, changes, written, dtype, config.get("num_local_experts", 0), counts, done)
    measured.append("tensors recomputed: " + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    faults += [f"the adapter changes no {kind} tensor" for kind in ("attention", "experts", "router") if not counts[kind]]
    if faults:  # a model with such faults need not load at all
        return measured, faults
    distances = logit_distances(original, adapter, merged, done)
    in_memory, as_written = distances["in memory"], distances["as written"]
    measured.append(f"largest logit difference, float32: {in_memory:.1e} merged in memory (limit {LOGIT_LIMIT:.0e}), {as_written:.1e} as written in {dtype}")
    if done["trained"]["load_in_4bit"]:
        measured.append(
            f"merged into the {done['into']} base. From the model as it was trained, on the base in nf4: "
            f"{distances['published']:.1e} merged into the base as published, {distances['nf4']:.1e} into the one in nf4"
        )
    for place, found in (("merged in memory", in_memory), ("as written", as_written if dtype == torch.float32 else 0.0)):
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
        measured, faults = verify(folder_of(args.base), args.adapter, args.merged, getattr(torch, args.dtype))
    except (OSError, ValueError, BadInput) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print("\n".join(measured))
    if faults:
        print("\n".join(f"FAULT: {fault}" for fault in faults), file=sys.stderr)
        sys.exit(1)
    print(f"{args.merged}: verified")


if __name__ == "__main__":
    main()
