"""The run's log counts the router's choices by script, real tokens only, once each; the figures and the page come from it alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import load_from_disk
from PIL import Image
from transformers import AutoModelForCausalLM, AutoTokenizer

from axolotl_configs import curves
from axolotl_configs.config import SCRIPTS
from axolotl_configs.router import PADDING, Choices, scripts
from axolotl_configs.train import tracked
from tests.conftest import Trained, here


def test_tokens_have_the_script_of_their_letters(trained: Trained) -> None:
    """Letters of both languages, what stands for a space before them, bytes, digits, control tokens."""
    tokenizer = AutoTokenizer.from_pretrained(trained.merged)
    table = scripts(tokenizer)
    vocabulary = tokenizer.get_vocab()
    wanted = {
        "▁fever": "latin",
        "ا": "arabic",
        "▁ال": "arabic",
        "5": "other",
        "</s>": "other",
        "<0xD8>": "arabic",
        "<0x41>": "other",
        "▁": "other",
        "Ж": "other",
    }
    assert {token: SCRIPTS[table[vocabulary[token]]] for token in wanted if token in vocabulary} == {
        key: value for key, value in wanted.items() if key in vocabulary
    }
    assert table[tokenizer.pad_token_id] == PADDING
    ids = tokenizer("ما هو فقر الدم", add_special_tokens=False).input_ids
    assert np.mean([SCRIPTS[table[token]] == "arabic" for token in ids]) > 0.7


@pytest.mark.parametrize("checkpointing", [False, True])
def test_choices_are_the_routers(trained: Trained, checkpointing: bool) -> None:
    """Against the logits that the model returns; layers that run again in the backward pass count once, evaluation not at all."""
    model = AutoModelForCausalLM.from_pretrained(trained.base, dtype=torch.float32)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    tokenizer = AutoTokenizer.from_pretrained(trained.merged)
    batch = tokenizer(["What is anaemia?", "ما هو فقر الدم وكيف يعالج؟"], return_tensors="pt", padding=True)
    table = scripts(tokenizer)
    counted = Choices(model, table)
    with torch.no_grad():
        logits = model.eval()(**batch, output_router_logits=True).router_logits
    assert counted.take() == {}
    model.train()(**batch, labels=batch.input_ids).loss.backward()
    found = counted.take()
    kinds = table[batch.input_ids.reshape(-1)]
    assert (kinds == PADDING).any()
    for place, script in enumerate(SCRIPTS):
        for layer, scores in enumerate(logits):
            chosen = scores.topk(2).indices[kinds == place]
            assert found[script][layer] == torch.bincount(chosen.reshape(-1), minlength=8).tolist(), (script, layer)
    assert counted.take() == {}


def test_the_log_of_a_run(trained: Trained) -> None:
    """Each token of each step went to two experts in both layers; padding was not counted."""
    run = trained.adapter.parent / "run"
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "router" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert all({"loss", "learning_rate", "grad_norm", "seconds", "tokens/trainable"} <= row.keys() for row in steps)
    for row in steps:
        for layer in range(2):
            assert sum(sum(row["router"][script][layer]) for script in SCRIPTS) == 2 * row["tokens/real"]
    (prepared,) = (path for path in (run.parent / "prepared").iterdir() if path.is_dir())
    lengths = [len(row["input_ids"]) for row in load_from_disk(str(prepared))]
    assert 6 * 8 * min(lengths) < sum(row["tokens/real"] for row in steps) < steps[-1]["tokens/total"]


def test_figures_and_page(trained: Trained, tmp_path: Path) -> None:
    """By command: four figures in two forms, none empty, a page that says what it is not for."""
    folder = trained.copy(trained.adapter.parent / "run", tmp_path / "tiny" / "run").parent
    ran = here("axolotl_configs.curves", folder)
    assert ran.code == 0, ran.said
    assert {path.name for path in (folder / "figures").iterdir()} == {f"{name}.{form}" for name in curves.TITLES for form in ("svg", "png")}
    for path in (folder / "figures").glob("*.png"):
        assert np.asarray(Image.open(path).convert("L")).std() > 5, path
    page = (folder / "training.md").read_text(encoding="utf-8")
    assert "not for clinical use" in page and "| steps | 6 |" in page and all(f"figures/{name}.svg" in page for name in curves.TITLES)
    (folder / "run" / "log.jsonl").unlink()
    ran = here("axolotl_configs.curves", folder)
    assert ran.code == 2 and "log.jsonl is missing: `make train` writes it" in ran.said


def test_balance_by_hand() -> None:
    """Even is 1; all in one of four is 4."""
    assert curves.balance(np.array([[5, 5, 5, 5], [20, 0, 0, 0], [10, 5, 5, 0]])).tolist() == pytest.approx([1, 4, 2])


def test_trackers_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """None by default; an unknown name is refused."""
    assert tracked({"a": 1}, "") == {"a": 1}
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    assert tracked({}, "wandb,tensorboard") == {"use_wandb": True, "use_tensorboard": True, "wandb_project": "bimedix"}
    with pytest.raises(Exception, match="TRACK=mlfow: mlfow is no tracker; there are wandb, tensorboard, trackio"):
        tracked({}, "mlfow")
