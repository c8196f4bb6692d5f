"""The model card that goes with merged weights: what it is, what it came from, under which terms, what it is not for."""

import json
from pathlib import Path

import torch


def model_card(name: str, base: str, adapter: Path, dtype: torch.dtype) -> str:
    """The README.md of a merged folder. Only the last part of a local base path is named: no private path goes into a release."""
    origin = base if not Path(base).exists() else f"a local folder called `{Path(base).name}`"
    rank = adapter_rank(adapter)
    return f"""---
language: [en, ar]
library_name: transformers
pipeline_tag: text-generation
tags: [medical, mixtral, moe]
license: other
---

# {name}

**For research, not for clinical use.** The answers can be wrong; nobody should be treated by them.

A bilingual English and Arabic medical chat model, rebuilt after BiMediX (arXiv 2402.13253) with the public recipe of this project.

- Base: {origin}
- Training: QLoRA of rank {rank} on attention, experts and router; adapter merged in float32, written in {str(dtype).removeprefix("torch.")}
- Prompt: the chat template in the tokenizer, `<s>[INST] question [/INST] answer</s>`
- Terms: those of the base model and of each data source the model was trained on (docs/DATA.md); the code is Apache-2.0
"""


def adapter_rank(adapter: Path) -> int:
    """LoRA rank, from adapter_config.json."""
    return json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"]
