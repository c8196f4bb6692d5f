"""Packed rows do not see each other: the loss of every token is that of its row alone, through the batches that Axolotl makes."""

import json

import numpy as np
import pytest
import torch
from axolotl.utils.collators import V2BatchSamplerDataCollatorForSeq2Seq
from axolotl.utils.samplers import MultipackBatchSampler
from axolotl.utils.trainer import add_position_ids
from datasets import load_from_disk
from peft import PeftModel
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.modeling_flash_attention_utils import prepare_fa_kwargs_from_position_ids

from axolotl_configs.plugin import attend_by_row, labelled_logits
from tests.conftest import ROOT, Trained

LENGTH = 1024
BOTH = ("en", "ar")


@pytest.fixture(scope="module")
def tokenizer(trained: Trained) -> PreTrainedTokenizerBase:
    """The trained model's."""
    return AutoTokenizer.from_pretrained(trained.merged)


@pytest.fixture(scope="module")
def rows(trained: Trained, tokenizer: PreTrainedTokenizerBase) -> list[dict]:
    """Rows as Axolotl prepared them for training, of at most LENGTH tokens: English and Arabic, single questions and chats of several turns."""
    (prepared,) = (path for path in (trained.adapter.parent / "prepared").iterdir() if path.is_dir())
    found = [row for row in load_from_disk(str(prepared)) if len(row["input_ids"]) <= LENGTH][:40]
    texts = [tokenizer.decode(row["input_ids"]) for row in found]
    assert any("؟" in text for text in texts) and any("Question:" in text for text in texts)
    assert any(text.count("[INST]") > 1 for text in texts), "no chat of several turns"
    return [add_position_ids({"input_ids": row["input_ids"], "labels": row["labels"]}) for row in found]


@pytest.fixture(scope="module")
def model(trained: Trained) -> PeftModel:
    """Base and adapter unmerged, LoRA on attention, experts and router; made for sdpa as the CPU configurations are."""
    base = AutoModelForCausalLM.from_pretrained(trained.base, dtype=torch.float32, attn_implementation="sdpa")
    base.config.use_cache = False  # as Axolotl's loader sets it, and GuardPlugin makes sure: with a cache transformers looks for no borders
    adapted = PeftModel.from_pretrained(base, trained.adapter).eval()
    attend_by_row(adapted)
    return adapted


def batches(rows: list[dict], tokenizer: PreTrainedTokenizerBase, of: int) -> list[tuple[list[list[int]], dict[str, torch.Tensor]]]:
    """(rows of each bin, the batch) as Axolotl's sampler and collator make them from all rows, `of` bins of LENGTH tokens each."""
    lengths = np.array([len(row["input_ids"]) for row in rows])
    sampler = MultipackBatchSampler(
        SequentialSampler(rows), batch_size=of, batch_max_len=LENGTH, lengths=lengths, group_size=1000, bin_size=200, drop_last=False
    )
    collator = V2BatchSamplerDataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=LENGTH)
    return [(bins, dict(collator([[dict(rows[place]) for place in one] for one in bins]))) for bins in sampler]


@torch.inference_mode()
def losses(model: torch.nn.Module, **inputs: torch.Tensor) -> torch.Tensor:
    """The loss of each next token, B x (T - 1)."""
    labels = inputs.pop("labels")
    logits = model(**inputs).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none")


def differences(model: PeftModel, rows: list[dict], packed: list, **changes: object) -> list[float]:
    """For each packed row but the first of its bin: by how much its worst token's loss differs from the row's alone."""
    found = []
    for bins, batch in packed:
        inputs = {key: batch[key] for key in ("input_ids", "position_ids", "labels")} | {key: make(batch) for key, make in changes.items()}
        together = losses(model, **inputs)
        for row, bin_ in enumerate(bins):
            start = 0
            for place in bin_:
                size = len(rows[place]["input_ids"])
                alone = losses(model, **{key: torch.tensor([rows[place][key]]) for key in ("input_ids", "labels")})
                if start:
                    found.append((together[row, start : start + size - 1] - alone[0]).abs().max().item())
                start += size
    assert len(found) > 10
    return found


@pytest.mark.parametrize("of", [1, 2], ids=["by row", "by mask"])
def test_each_row_has_the_loss_that_it_has_alone(model: PeftModel, rows: list[dict], tokenizer: PreTrainedTokenizerBase, of: int) -> None:
    """In both languages, in the middle of others and before padding; float32. A line alone goes through plugin.py's attention, two through a mask."""
    packed = batches(rows, tokenizer, of)
    assert any(len(bin_) > 3 for bins, _ in packed for bin_ in bins)
    assert "attention_mask" not in packed[0][1], "Axolotl leaves it out; with it transformers would not look for borders"
    assert max(differences(model, rows, packed)) < 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_mask": lambda batch: torch.ones_like(batch["input_ids"])},
        {"position_ids": lambda batch: torch.arange(LENGTH).expand_as(batch["input_ids"])},
        {"use_cache": lambda batch: True},
    ],
    ids=["a plain causal mask", "positions that run on", "a cache"],
)
def test_a_leak_would_be_seen(model: PeftModel, rows: list[dict], tokenizer: PreTrainedTokenizerBase, changes: dict) -> None:
    """The same comparison on batches in which rows do see each other; with plugin.py's attention even a wrong mask and a cache would not make them."""
    model.get_base_model().set_attn_implementation("sdpa")
    assert min(differences(model, rows, batches(rows, tokenizer, of=1), **changes)) > 1e-2


def test_flash_attention_is_given_the_borders(rows: list[dict], tokenizer: PreTrainedTokenizerBase) -> None:
    """On a GPU rows are kept apart by the lengths that transformers reads off the positions; padding at the end is a piece of its own."""
    for bins, batch in batches(rows, tokenizer, of=1):
        (borders, _), _ = prepare_fa_kwargs_from_position_ids(batch["position_ids"])
        wanted = np.cumsum([0] + [len(rows[place]["input_ids"]) for place in bins[0]]).tolist()
        assert borders.tolist() == wanted + [LENGTH] * (wanted[-1] < LENGTH)


def test_the_loss_of_a_packed_batch_is_that_of_its_answers(model: PeftModel, rows: list[dict], tokenizer: PreTrainedTokenizerBase) -> None:
    """The mean over the labelled tokens of all rows, with logits only where there is a label: no row's first token is predicted from the row before."""
    attend_by_row(model)
    _, batch = batches(rows, tokenizer, of=2)[0]
    inputs = {key: batch[key] for key in ("input_ids", "position_ids", "labels")}
    with torch.inference_mode():
        wanted = losses(model, **inputs).sum() / (inputs["labels"][:, 1:] != -100).sum()
        stock = model(**inputs, output_router_logits=False).loss
        labelled_logits(model)
        fewer = model(**inputs, output_router_logits=False).loss
    torch.testing.assert_close(stock, wanted)
    torch.testing.assert_close(fewer, wanted)
    starts = batch["position_ids"] == 0
    assert (batch["labels"][starts] == -100).all()


def test_the_packed_configurations_say_so() -> None:
    """The GPU ones stand on FlashAttention, the CPU one on a block mask."""
    from axolotl_configs import config

    packed = {
        path.stem: config.load(path)["attn_implementation"] for path in sorted((ROOT / "axolotl_configs").glob("*.yaml")) if config.load(path)["sample_packing"]
    }
    assert packed.pop("local") == "sdpa"
    assert set(packed.values()) == {"flash_attention_2"} and len(packed) == 6, json.dumps(packed)
