"""The merged folder is base + adapter and fit to release, and each way in which it could not be is found and named."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from axolotl_configs.verify import verify
from tests.conftest import TINY, Ran, Trained, command, here

LAYER = "model.layers.1"
EXPERT = f"{LAYER}.block_sparse_moe.experts.3"
ROUTER = f"{LAYER}.block_sparse_moe.gate.weight"
ATTENTION = f"{LAYER}.self_attn.v_proj.weight"
DROPPED = "is still the base's: its adapter was dropped"
Change = Callable[[Path, Path], None]


def weights(change: Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], None]) -> Change:
    """A change of the merged tensors, given theirs and the base's."""

    def spoil(folder: Path, base: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors, load_file(base / "model.safetensors"))
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def back(name: str) -> Change:
    """One tensor put back to the base's: its adapter was dropped."""
    return weights(lambda tensors, base: tensors.update({name: base[name].clone()}))


def element(name: str, factor: float) -> Change:
    """The largest element of one tensor multiplied."""

    def change(tensors: dict[str, torch.Tensor], base: dict[str, torch.Tensor]) -> None:
        tensors[name].view(-1)[tensors[name].abs().argmax()] *= factor

    return weights(change)


def swapped(tensors: dict[str, torch.Tensor], base: dict[str, torch.Tensor]) -> None:
    """Gate and up projection of an expert exchanged: same shapes, another model."""
    one, three = f"{EXPERT}.w1.weight", f"{EXPERT}.w3.weight"
    tensors[one], tensors[three] = tensors[three], tensors[one]


def key(file: str, name: str, value: object) -> Change:
    """One key of one JSON file set; None takes it out."""

    def spoil(folder: Path, base: Path) -> None:
        content = json.loads((folder / file).read_text(encoding="utf-8")) | {name: value}
        text = json.dumps({name: value for name, value in content.items() if value is not None}, ensure_ascii=False)
        (folder / file).write_text(text, encoding="utf-8")

    return spoil


def template(folder: Path, base: Path) -> None:
    """A space more in the chat template, in both places that hold it."""
    text = (folder / "chat_template.jinja").read_text(encoding="utf-8").replace("[INST] ", "[INST]  ")
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    key("tokenizer_config.json", "chat_template", text)(folder, base)


def card(folder: Path, base: Path) -> None:
    """No model card."""
    (folder / "README.md").unlink()


# name: (the change, what the only fault must say)
FAULTS: dict[str, tuple[Change, str]] = {
    **{f"expert w{part}": (back(f"{EXPERT}.w{part}.weight"), rf"{EXPERT}\.w{part}\.weight \(experts\) {DROPPED}") for part in (1, 2, 3)},
    "router": (back(ROUTER), rf"{ROUTER} \(router\) {DROPPED}"),
    "attention": (back(ATTENTION), rf"{ATTENTION} \(attention\) {DROPPED}"),
    "embeddings": (back("lm_head.weight"), rf"lm_head\.weight \(saved\) {DROPPED}"),
    "an expert's element": (element(f"{EXPERT}.w2.weight", 1.03), rf"{EXPERT}\.w2\.weight \(experts\) is not W \+ scale\*B@A: 1 of 32768 elements"),
    "a router's element": (element(ROUTER, 1.03), rf"{ROUTER} \(router\) is not W \+ scale\*B@A: 1 of 1024 elements"),
    "an embedding's element": (element("model.embed_tokens.weight", 1.03), r"model\.embed_tokens\.weight \(saved\) is not .* 1 of 4096000 elements"),
    "a norm's element": (element("model.norm.weight", 1.03), r"model\.norm\.weight differs from the base, but the adapter does not touch it"),
    "missing tensor": (weights(lambda tensors, base: tensors.pop(ROUTER)), rf"{ROUTER} is missing from the merged files"),
    "tensor too many": (weights(lambda tensors, base: tensors.update(extra=torch.ones(2))), "extra is in the merged files but not in the base"),
    "shape": (weights(lambda tensors, base: tensors.update({ROUTER: tensors[ROUTER][:4].clone()})), rf"{ROUTER} has the shape \(4, 128\)"),
    "dtype": (weights(lambda tensors, base: tensors.update({ROUTER: tensors[ROUTER].float()})), rf"{ROUTER} is torch\.float32, expected torch\.bfloat16"),
    "not a number": (element(ROUTER, float("nan")), rf"{ROUTER} \(router\) is not W"),
    "MixtralModel": (key("config.json", "architectures", ["MixtralModel"]), r"config\.json: architectures is \['MixtralModel'\]"),
    "router logits": (key("config.json", "output_router_logits", True), r"config\.json: output_router_logits is True, expected False"),
    "no cache": (key("config.json", "use_cache", False), r"config\.json: use_cache is False, expected True"),
    "dtype in config.json": (key("config.json", "dtype", "float32"), r"config\.json: dtype is 'float32', expected 'bfloat16'"),
    "private path": (key("config.json", "_name_or_path", "/home/somebody/models/base"), r"config\.json: holds the private path /home/somebody/"),
    "private path of the tokenizer": (
        key("tokenizer_config.json", "name_or_path", "/data/base/"),
        r"tokenizer_config\.json: holds the private path /data/base/",
    ),
    "template": (template, r"chat template is not bimedix\.jinja"),
    "eos to generate with": (key("generation_config.json", "eos_token_id", 7), r"generation_config\.json: eos_token_id is 7, the tokenizer's is 2"),
    "no eos to generate with": (key("generation_config.json", "eos_token_id", None), r"generation_config\.json: eos_token_id is None, the tokenizer's is 2"),
    "eos in config.json": (key("config.json", "eos_token_id", 7), r"config\.json: eos_token_id is 7, the tokenizer's is 2"),
    "no card": (card, r"README\.md is missing"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault_is_found_and_named(trained: Trained, tmp_path: Path, name: str) -> None:
    """A copy of the merged folder with one thing changed: that thing is named, and nothing else is."""
    change, words = FAULTS[name]
    merged = trained.copy(trained.merged, tmp_path / "merged")
    change(merged, trained.base)
    _, faults = verify(trained.base, trained.adapter, merged, torch.bfloat16)
    assert len(faults) == 1, faults
    assert re.match(rf"(the tokenizer's )?{words}", faults[0]), faults


def test_swapped_halves_of_an_expert_are_found(trained: Trained, tmp_path: Path) -> None:
    """w1 and w3 have one shape and one adapter tensor: an exchange loads without a word."""
    merged = trained.copy(trained.merged, tmp_path / "merged")
    weights(swapped)(merged, trained.base)
    _, faults = verify(trained.base, trained.adapter, merged, torch.bfloat16)
    assert [fault.split()[0] for fault in faults] == [f"{EXPERT}.w1.weight", f"{EXPERT}.w3.weight"]


def run_verify(trained: Trained, *more: object) -> Ran:
    """The command, on the folders of the configuration."""
    return here("axolotl_configs.verify", "--config", TINY, "--build", trained.build, *more)


def differences(said: str) -> list[float]:
    """The logit differences that the command printed: merged in memory, as written."""
    return [float(number) for number in re.findall(r"([\d.]+e[+-]\d+) (?:merged in memory|as written)", said)]


@pytest.mark.parametrize("name", ["expert w1", "router", "MixtralModel"])
def test_the_command_fails_by_name(trained: Trained, tmp_path: Path, name: str) -> None:
    """The three faults that matter most, as `make train` would meet them: exit 1 and the tensor or key."""
    change, words = FAULTS[name]
    merged = trained.copy(trained.merged, tmp_path / "merged")
    change(merged, trained.base)
    ran = run_verify(trained, "--merged", merged)
    assert ran.code == 1, ran.said
    assert re.search(f"FAULT: {words}", ran.said), ran.said
    assert ": verified" not in ran.said


def test_a_good_merge_passes(trained: Trained) -> None:
    """All 65 tensors are recomputed, and the merge in float32 gives the logits of base + adapter."""
    ran = command("axolotl_configs.verify", "--config", TINY, "--build", trained.build)
    assert ran.code == 0, ran.said
    assert "tensors recomputed: 8 attention, 48 experts, 2 router, 2 saved, 5 untouched" in ran.said
    assert "merged: verified" in ran.said
    in_memory, written = differences(ran.said)
    assert in_memory <= 1e-4
    assert written > in_memory  # bfloat16


def test_a_merge_written_in_float32_has_the_same_logits(trained: Trained, tmp_path: Path) -> None:
    """The files themselves, not only the merge in memory; and a wrong --dtype is told, not rounded away."""
    out = tmp_path / "deep" / "float32"
    ran = here("axolotl_configs.merge", TINY, "--build", trained.build, "--dtype", "float32", "--out", out)
    assert ran.code == 0, ran.said
    assert [path.name for path in out.parent.iterdir()] == ["float32"]
    ran = run_verify(trained, "--merged", out, "--dtype", "float32")
    assert ran.code == 0, ran.said
    assert len(differences(ran.said)) == 2
    assert max(differences(ran.said)) <= 1e-4
    _, faults = verify(trained.base, trained.adapter, out, torch.bfloat16)
    assert "config.json: dtype is 'float32', expected 'bfloat16'" in faults
    assert f"{ROUTER} is torch.float32, expected torch.bfloat16" in faults


def test_an_adapter_without_experts_is_a_fault(trained: Trained, tmp_path: Path) -> None:
    """A merge can be right and the training wrong: base + such an adapter is no BiMediX."""
    adapter = trained.copy(trained.adapter, tmp_path / "adapter")
    path = adapter / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if ".experts" not in name}, path, metadata={"format": "pt"})
    _, faults = verify(trained.base, adapter, trained.merged, torch.bfloat16)
    assert "the adapter changes no experts tensor" in faults


def test_the_card_says_what_it_is_not_for(trained: Trained) -> None:
    """Nobody may take the weights for a doctor, nor learn from them who built them where."""
    text = (trained.merged / "README.md").read_text(encoding="utf-8")
    assert "not for clinical use" in text
    assert "a local folder called `base`" in text
    assert "QLoRA of rank 16" in text
    assert str(trained.build) not in text


def test_merge_leaves_nothing_half_written(trained: Trained) -> None:
    """The folder appears whole; a hidden part would be a second copy of the weights."""
    assert not list(trained.merged.parent.glob(".*"))
    assert trained.merged.stat().st_mode & 0o777 == 0o755


def test_merge_before_training_says_so(tmp_path: Path) -> None:
    """`merge` without an adapter: exit 2, what to run first, no folder."""
    ran = here("axolotl_configs.merge", TINY, "--build", tmp_path)
    assert ran.code == 2, ran.said
    assert "adapter_model.safetensors: run `make train` first" in ran.said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", ["merge", "verify"])
def test_a_base_that_is_not_there_is_named(trained: Trained, tmp_path: Path, module: str) -> None:
    """A misspelt --base: exit 2 and its name, no traceback, and the merged folder stays as it was."""
    before = (trained.merged / "model.safetensors").stat().st_mtime_ns
    which = [TINY] if module == "merge" else ["--config", TINY]
    ran = here(f"axolotl_configs.{module}", *which, "--build", trained.build, "--base", tmp_path / "no-base")
    assert ran.code == 2, ran.said
    assert "no-base" in ran.said
    assert "Traceback" not in ran.said
    assert (trained.merged / "model.safetensors").stat().st_mtime_ns == before


def test_a_file_cut_short_is_named(trained: Trained, tmp_path: Path) -> None:
    """A download or a copy that broke off: the file is named, no traceback."""
    merged = trained.copy(trained.merged, tmp_path / "merged")
    with (merged / "model.safetensors").open("r+b") as file:
        file.truncate(100_000)
    ran = run_verify(trained, "--merged", merged)
    assert ran.code != 0
    assert "Traceback" not in ran.said
    assert "model.safetensors" in ran.said


def test_verify_before_the_merge_says_so(trained: Trained, tmp_path: Path) -> None:
    """Nothing to verify is an error, not a pass."""
    ran = run_verify(trained, "--merged", tmp_path / "nowhere")
    assert ran.code == 2, ran.said
    assert "nowhere" in ran.said
    shutil.copytree(trained.merged, tmp_path / "empty", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(FileNotFoundError, match=r"empty holds no \.safetensors file"):
        verify(trained.base, trained.adapter, tmp_path / "empty", torch.bfloat16)


def test_a_full_disk_leaves_the_last_merge(trained: Trained, tmp_path: Path) -> None:
    """Weights are what fills a disk: exit 2 with the way out, the merged folder of before still whole. The disk refuses here as a quota does."""
    build = trained.copy(trained.build, tmp_path / "build")
    folder = build / "models" / "tiny"
    before = {path.name: path.read_bytes() for path in (folder / "merged").iterdir()}
    ran = command("axolotl_configs.merge", TINY, "--build", build, largest_file=2**20)
    assert ran.code == 2, ran.said
    assert "make room" in ran.said and "Traceback" not in ran.said, ran.said
    assert {path.name: path.read_bytes() for path in (folder / "merged").iterdir()} == before
    assert not list(folder.glob(".*"))
