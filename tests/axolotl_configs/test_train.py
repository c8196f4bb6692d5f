"""A short real training run: the DeepSpeed engine ran, the adapter reaches all parts, only answers are learnt, bad input trains nothing."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from datasets import load_from_disk
from safetensors.torch import load_file
from transformers import AutoTokenizer

from axolotl_configs import config as configs
from tests.conftest import TINY, Trained, command, here


@pytest.fixture(scope="module")
def folder(trained: Trained) -> Path:
    """All that training wrote for the configuration."""
    return trained.adapter.parent


def test_the_deepspeed_engine_ran(folder: Path) -> None:
    """Without `global_step6` the engine was passed by silently, and a checkpoint could not be resumed on GPUs either."""
    engine = folder / "run" / "checkpoint-6" / "global_step6"
    assert [path for path in engine.iterdir() if "optim_states" in path.name and path.stat().st_size], list(engine.iterdir())
    state = json.loads((folder / "run" / "checkpoint-6" / "trainer_state.json").read_text())
    assert state["global_step"] == 6
    losses = [step["loss"] for step in state["log_history"] if "loss" in step]
    assert len(losses) == 6
    assert all(0 < loss < 100 for loss in losses)


def test_the_adapter_reaches_attention_experts_router_and_embeddings(trained: Trained) -> None:
    """An adapter without experts or router is what the project exists to avoid; a B of zeros would be there but untrained."""
    tensors = load_file(trained.adapter / "adapter_model.safetensors")
    modules = [f"self_attn.{part}_proj" for part in "qkvo"] + ["mlp.gate", "mlp.experts", "mlp.experts.base_layer"]
    wanted = {f"base_model.model.model.layers.{layer}.{module}.lora_{side}.weight" for layer in range(2) for module in modules for side in "AB"}
    wanted |= {"base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight"}
    assert tensors.keys() == wanted
    for name, tensor in tensors.items():
        assert tensor.isfinite().all(), name
        assert tensor.abs().max() > 0, f"{name} was not trained"
    # rank 16 for each of 8 experts, over the joined gate and up projection (2 x 256) and the down projection
    experts = "base_model.model.model.layers.1.mlp.experts"
    assert {tuple(tensors[f"{experts}{part}.lora_B.weight"].shape) for part in ("", ".base_layer")} == {(128, 128), (512, 128)}


def test_what_axolotl_was_given_is_kept(trained: Trained, folder: Path) -> None:
    """config.yaml is the record of the run: the file's values, its paths in this build folder, the overrides of the command."""
    overrides = ["max_steps=6", "save_steps=6", "warmup_steps=0", "logging_steps=1"]
    given = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    wanted = configs.load(TINY, trained.build, overrides)
    wanted["datasets"][0]["path"] = str(folder / "rows" / "train.jsonl")  # what fit.py left of the rows
    assert given == wanted
    assert given["max_steps"] == 6
    assert str(folder / "config.yaml") in trained.said


def test_logs_are_kept_and_nothing_half_written(folder: Path) -> None:
    """Logs say why a run failed; hidden leftovers would fill the disk with copies of the weights."""
    for log in ("preprocess.log", "train.log"):
        assert (folder / log).stat().st_size > 1000, log
    assert {path.name for path in folder.iterdir()} == {
        "base",
        "config.yaml",
        "preprocess.log",
        "prepared",
        "run",
        "train.log",
        "adapter",
        "merged",
        "rows",
        "run.json",
        "train.lock",
    }
    for name in ("adapter_config.json", "tokenizer.json"):
        assert (folder / "adapter" / name).is_file()


def test_labels_are_the_answers_and_their_eos(trained: Trained, folder: Path) -> None:
    """Every row as Axolotl prepared it: loss on questions would teach to ask, an answer without EOS would never end."""
    tokenizer = AutoTokenizer.from_pretrained(trained.merged)
    eos = tokenizer.eos_token_id
    lines = (trained.build / "data" / "tiny" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    talks = [json.loads(line)["conversations"] for line in lines]
    wanted = Counter(tuple(turn["value"] for turn in talk if turn["from"] == "gpt") for talk in talks)
    (prepared,) = (path for path in (folder / "prepared").iterdir() if path.is_dir())
    found: Counter = Counter()
    texts: Counter = Counter()
    for row in load_from_disk(str(prepared)):
        answers: list[list[int]] = [[]]
        for token, label in zip(row["input_ids"], row["labels"], strict=True):
            if label == -100:
                assert not answers[-1], "an answer ends without EOS"
                continue
            assert label == token
            if token == eos:
                answers.append([])
            else:
                answers[-1].append(token)
        assert not answers.pop(), "the last answer ends without EOS"
        found[tuple(tokenizer.decode(answer).strip() for answer in answers)] += 1
        texts[tuple(row["input_ids"])] += 1
    assert found == wanted
    assert sum(found.values()) == len(lines)
    # the whole row, question included, is what the served template makes of the same turns
    roles = {"human": "user", "gpt": "assistant"}
    chats = [[{"role": roles[turn["from"]], "content": turn["value"]} for turn in talk] for talk in talks]
    served = [tokenizer(tokenizer.apply_chat_template(chat, tokenize=False), add_special_tokens=False).input_ids for chat in chats]
    assert texts == Counter(map(tuple, served))


def test_missing_data_is_refused_with_advice(tmp_path: Path) -> None:
    """`make train` before `make data`: the file and the command that writes it."""
    ran = command("axolotl_configs.train", TINY, "--build", tmp_path / "b")
    assert ran.code == 2, ran.said
    assert f"error: {tmp_path / 'b' / 'data' / 'tiny' / 'train.jsonl'} is missing: `make data RECIPE=tiny` writes it" in ran.said
    assert "Traceback" not in ran.said
    assert not (tmp_path / "b" / "models" / "tiny" / "run").exists()


def test_unknown_key_trains_nothing(tmp_path: Path) -> None:
    """A misspelt `--set` stops before anything is written, and names the key."""
    ran = here("axolotl_configs.train", TINY, "--build", tmp_path / "b", "--set", "max_step=6")
    assert ran.code == 2, ran.said
    assert "unknown key max_step:" in ran.said
    assert "Traceback" not in ran.said
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(("arguments", "words"), [(["nowhere.yaml"], "nowhere.yaml is missing"), ([TINY, "--set", "max_steps"], "overrides are KEY=VALUE")])
def test_what_cannot_be_read_trains_nothing(tmp_path: Path, arguments: list, words: str) -> None:
    """A wrong CONFIG or a `--set` without `=`: one line and exit 2."""
    ran = here("axolotl_configs.train", *arguments, "--build", tmp_path / "b")
    assert ran.code == 2, ran.said
    assert f"error: {words}" in ran.said
    assert "Traceback" not in ran.said
    assert not (tmp_path / "b").exists()
