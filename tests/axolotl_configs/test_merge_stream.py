"""The merge goes shard by shard and still is PEFT's, to the bit; nothing of an adapter is dropped; the nf4 base is bitsandbytes' own."""

import json
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from bitsandbytes.nn.parametrize import replace_parameter_4bit
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, MixtralForCausalLM

from axolotl_configs import layerwise, nf4, shards
from axolotl_configs import merge as merging
from axolotl_configs.shards import Tensors
from axolotl_configs.verify import PROMPTS, verify
from tests.conftest import TINY, Trained, here

ROUNDED = {"load_in_4bit": True, "quantize_moe_experts": True, "bf16": False}


def merged_by_peft(base: Path, adapter: Path) -> MixtralForCausalLM:
    """The whole model in memory, in float32."""
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).merge_and_unload()


@pytest.fixture
def in_shards(trained: Trained, tmp_path: Path) -> Path:
    """The base as the Hub has large ones: several files and an index, a layer's tensors not all in one."""
    AutoModelForCausalLM.from_pretrained(trained.base).save_pretrained(tmp_path / "base", max_shard_size="5MB")
    AutoTokenizer.from_pretrained(trained.base).save_pretrained(tmp_path / "base")
    assert len(list((tmp_path / "base").glob("*.safetensors"))) > 2
    return tmp_path / "base"


def test_every_tensor_is_pefts(trained: Trained, in_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From files in pieces to files in pieces, with what transformers reads back equal to `merge_and_unload` rounded once."""
    monkeypatch.setattr(shards, "SHARD", 2**20)
    merging.merge(str(in_shards), trained.adapter, tmp_path / "merged", torch.bfloat16, "tiny", {})
    files = sorted(path.name for path in (tmp_path / "merged").glob("*.safetensors"))
    assert files == [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]  # outside of layers, and the two layers
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    wanted = merged_by_peft(trained.base, trained.adapter).to(torch.bfloat16).state_dict()
    assert found.keys() == wanted.keys()
    assert {name for name in found if not torch.equal(found[name], wanted[name])} == set()
    index = json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in wanted.values())
    measured, faults = verify(in_shards, trained.adapter, tmp_path / "merged", torch.bfloat16)
    assert faults == [], measured


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda tensors: tensors.update({"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight": torch.ones(16, 128)}),
            "belong nowhere in this base",
        ),
        (
            lambda tensors: tensors.pop("base_model.model.model.layers.1.mlp.gate.lora_B.weight"),
            r"lacks base_model\.model\.model\.layers\.1\.mlp\.gate\.lora_B",
        ),
        (lambda tensors: tensors["base_model.model.model.layers.1.mlp.experts.lora_B.weight"].fill_(float("nan")), "is not finite after the merge"),
    ],
    ids=["a tensor too many", "a tensor too few", "not a number"],
)
def test_an_adapter_that_does_not_fit_is_refused(trained: Trained, tmp_path: Path, change: object, words: str) -> None:
    """Each would otherwise be a model that is not the one that was trained; no folder appears."""
    adapter = trained.copy(trained.adapter, tmp_path / "adapter")
    tensors = load_file(adapter / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, adapter / "adapter_model.safetensors")
    with pytest.raises(merging.configs.ConfigError, match=words):
        merging.merge(str(trained.base), adapter, tmp_path / "merged", torch.bfloat16, "tiny", {})
    assert not (tmp_path / "merged").exists()


def test_the_attention_of_the_nf4_base_is_bitsandbytes(trained: Trained) -> None:
    """What transformers holds after loading in 4 bits, as training does, against the tensors that the merge adds to."""
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32)
    loaded = AutoModelForCausalLM.from_pretrained(trained.base, quantization_config=settings, dtype=torch.float32)
    base = Tensors(trained.base)
    seen = 0
    for layer in range(2):
        tensors = {name: base[name] for name in base.layers()[layer]}
        rounded = nf4.rounded(tensors, ROUNDED | {"quantize_moe_experts": False})
        for name, module in loaded.named_modules():
            if isinstance(module, Linear4bit) and f"{name}.weight" in rounded:
                held = nf4.dequantize_4bit(module.weight.data, module.weight.quant_state)
                assert torch.equal(held, rounded[f"{name}.weight"]) and not torch.equal(held, tensors[f"{name}.weight"].float()), name
                seen += 1
        assert {name for name in tensors if not torch.equal(tensors[name].float(), rounded[name].float())} == {
            f"model.layers.{layer}.self_attn.{part}_proj.weight" for part in "qkvo"
        }
    assert seen == 8


def test_the_experts_of_the_nf4_base_are_bitsandbytes(trained: Trained) -> None:
    """As Axolotl's `quantize_moe_experts` rounds them on a GPU: all experts of a layer as the one tensor that the model holds."""
    model = AutoModelForCausalLM.from_pretrained(trained.base, dtype=torch.float32)
    base = Tensors(trained.base)
    experts = model.model.layers[1].mlp.experts
    for name in ("gate_up_proj", "down_proj"):
        replace_parameter_4bit(experts, name, compress_statistics=True, quant_type="nf4")
    rounded = nf4.rounded({name: base[name] for name in base.layers()[1]}, ROUNDED)
    for expert in range(8):
        one, two, three = (rounded[f"model.layers.1.block_sparse_moe.experts.{expert}.w{part}.weight"] for part in (1, 2, 3))
        assert torch.equal(torch.cat([one, three]), experts.gate_up_proj[expert])
        assert torch.equal(two, experts.down_proj[expert])


def test_the_nf4_merge_by_command(trained: Trained, tmp_path: Path) -> None:
    """It passes verify, which tells both distances from the trained model: into nf4 the merge is exact, into the published base it is not."""
    out = tmp_path / "merged"
    ran = here("axolotl_configs.merge", TINY, "--build", trained.build, "--into", "nf4", "--out", out)
    assert ran.code == 0 and "into the nf4 base" in ran.said, ran.said
    measured, faults = verify(trained.base, trained.adapter, out, torch.bfloat16)
    assert faults == []
    words = measured[-1].split()
    published, rounded = (float(word) for word in words if "e-" in word or "e+" in word)
    assert rounded < 1e-4 < published
    told = json.loads((out / "merge.json").read_text())
    (out / "merge.json").write_text(json.dumps(told | {"into": "published"}))
    _, faults = verify(trained.base, trained.adapter, out, torch.bfloat16)
    assert len(faults) == 8 and all("self_attn" in fault for fault in faults), faults


def test_logits_layer_by_layer_are_the_models(trained: Trained) -> None:
    """The proof of verify stands on them: unmerged, merged and as written, against whole models in memory."""
    tokenizer = AutoTokenizer.from_pretrained(trained.merged)
    ids = [tokenizer(prompt, return_tensors="pt").input_ids for prompt in PROMPTS]
    whole = AutoModelForCausalLM.from_pretrained(trained.base, dtype=torch.float32).eval()
    adapted = PeftModel.from_pretrained(whole, trained.adapter).eval()
    base, written = Tensors(trained.base), Tensors(trained.merged)

    def layer(tensors: Tensors) -> object:
        return lambda number: {name: tensors[name] for name in tensors.layers()[None if number < 0 else number]}

    versions = {"unmerged": ("unmerged", layer(base)), "merged": ("merged", layer(base)), "written": ("as written", layer(written))}
    with torch.inference_mode():
        found = layerwise.logits(ids, base, trained.adapter, whole.config, versions)
        wanted = {"unmerged": [adapted(prompt).logits for prompt in ids]}
        wanted["merged"] = [adapted.merge_and_unload()(prompt).logits for prompt in ids]
        from_files = AutoModelForCausalLM.from_pretrained(trained.merged, dtype=torch.float32).eval()
        wanted["written"] = [from_files(prompt).logits for prompt in ids]
    for version, tensors in wanted.items():
        for one, other in zip(found[version], tensors, strict=True):
            torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)
