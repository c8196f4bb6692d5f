"""The tiny base is Mixtral in small: same bytes for a seed, Mixtral's names on disk, its vocabulary and its reading of prompts."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from axolotl_configs import tiny_base
from tests.conftest import command


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of seed 0."""
    out = tmp_path_factory.mktemp("bases") / "base"
    tiny_base.build(out)
    return out


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> PreTrainedTokenizerBase:
    """Its tokenizer, read back from the files."""
    return AutoTokenizer.from_pretrained(base)


def weights(folder: Path) -> bytes:
    """The bytes of the weights, which lie in one file."""
    (path,) = folder.glob("*.safetensors")
    return path.read_bytes()


def test_a_seed_gives_the_same_bytes(base: Path) -> None:
    """An adapter fits the base it was trained on only if that base can be built again; by command, in another process."""
    again = base.parent / "again"
    ran = command("axolotl_configs.tiny_base", "--out", again)
    assert ran.code == 0, ran.said
    assert re.search(r"again: [\d,]{9} parameters, seed 0", ran.said)
    assert {path.name for path in again.iterdir()} == {path.name for path in base.iterdir()}
    for path in base.iterdir():
        if path.name != "tokenizer_config.json":
            assert (again / path.name).read_bytes() == path.read_bytes(), path.name
    first, second = (json.loads((folder / "tokenizer_config.json").read_text()) for folder in (base, again))
    assert first | {"local_files_only": None} == second | {"local_files_only": None}  # transformers notes there whether it was offline


def test_another_seed_gives_other_weights_and_replaces_the_folder(base: Path, tmp_path: Path) -> None:
    """`--seed` does something, and a second build leaves nothing of the first nor a half-written folder."""
    out = tmp_path / "deep" / "base"
    out.mkdir(parents=True)
    (out / "left.txt").write_text("of an earlier build")
    tiny_base.build(out, seed=1)
    assert weights(out) != weights(base)
    assert not (out / "left.txt").exists()
    assert [path.name for path in out.parent.iterdir()] == ["base"]


def test_tensors_on_disk_have_the_names_of_mixtral(base: Path) -> None:
    """verify.py and vLLM read one tensor per expert, by Mixtral's names, in bfloat16."""
    with safe_open(next(base.glob("*.safetensors")), "pt") as file:
        names = set(file.keys())
        wanted = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
        for layer in range(2):
            own = [f"self_attn.{part}_proj.weight" for part in "qkvo"] + ["input_layernorm.weight", "post_attention_layernorm.weight"]
            own += ["block_sparse_moe.gate.weight"] + [f"block_sparse_moe.experts.{expert}.w{part}.weight" for expert in range(8) for part in (1, 2, 3)]
            wanted |= {f"model.layers.{layer}.{name}" for name in own}
        assert names == wanted
        assert {file.get_tensor(name).dtype for name in names} == {torch.bfloat16}
        assert file.get_tensor("model.layers.0.block_sparse_moe.experts.7.w1.weight").shape == (256, 128)
        assert file.get_tensor("model.layers.0.block_sparse_moe.experts.7.w2.weight").shape == (128, 256)
        assert file.get_tensor("lm_head.weight").shape == (32_000, 128)


def test_config_is_mixtrals(base: Path) -> None:
    """The same class and the same proportions: 8 experts, 2 at a time, 4 query heads to a key head, the paper's router loss."""
    config = json.loads((base / "config.json").read_text())
    assert config["architectures"] == ["MixtralForCausalLM"]
    assert (config["num_local_experts"], config["num_experts_per_tok"]) == (8, 2)
    assert config["num_attention_heads"] == 4 * config["num_key_value_heads"]
    assert config["router_aux_loss_coef"] == 0.02
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"], config["vocab_size"]) == (1, 2, 0, 32_000)


def test_it_loads_and_speaks(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """All weights are found, and random ones still give finite logits over the whole vocabulary."""
    model, found = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, output_loading_info=True)
    assert not any(found.values()), found
    assert sum(parameter.numel() for parameter in model.parameters()) > 9_000_000
    with torch.inference_mode():
        logits = model(**tokenizer("Hello", return_tensors="pt")).logits
    assert logits.shape[-1] == 32_000
    assert logits.isfinite().all()


def test_tokenizer_has_mixtrals_vocabulary(tokenizer: PreTrainedTokenizerBase) -> None:
    """32,000 tokens with the special ones where Mixtral has them."""
    assert len(tokenizer) == 32_000
    assert (tokenizer.bos_token, tokenizer.bos_token_id) == ("<s>", 1)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("</s>", 2)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<unk>", 0)
    assert tokenizer("Hello").input_ids == [1, 22557]  # Mistral v1's id of "▁Hello"


@pytest.mark.parametrize("text", ["[INST] What is gout? [/INST]", "[INST] ما هو النقرس؟ [/INST]", "Hello", "[INST] 🩺 [/INST] نعم"])
def test_bos_in_the_text_and_bos_added_read_alike(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """Training writes `<s>` into the text, servers add it: other ids would serve prompts that were never trained."""
    written = tokenizer("<s>" + text, add_special_tokens=False).input_ids
    assert written == tokenizer(text).input_ids
    assert written.count(1) == 1


@pytest.mark.parametrize(
    "text",
    ["ما أعراض داء السكري من النوع الثاني؟", "Take 5 mg 💊 daily, then rest 😴", "مرحبا 👩🏽‍⚕️ doctor", "مُضَادّ حَيَوِيّ", "5 µg/dL ± 0.5, β₂ → ≤ 37.2°C"],
)
def test_arabic_and_emoji_round_trip(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """What the vocabulary lacks goes through byte fallback: nothing becomes `<unk>`, and decoding gives the text back."""
    ids = tokenizer(text).input_ids
    assert 0 not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text
