"""The configurations pass their check, and the check finds each fault that would cost a training run: one faulty configuration a message."""

import ast
import inspect
import json
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest

from axolotl_configs import check
from axolotl_configs import config as configs
from tests.axolotl_configs.faulty import CASES, FULL, NO_TEMPLATE, TEMPLATE, ZERO_3
from tests.conftest import ROOT, TINY, here

FOLDER = TINY.parent
COMMITTED = sorted(FOLDER.glob("*.yaml"))


def changed(path: Path, change: dict | Callable[[dict], dict]) -> dict:
    """A committed configuration with a change; None takes the key out."""
    config = configs.load(path)
    config |= deepcopy(change(config) if callable(change) else change)
    return {key: value for key, value in config.items() if value is not None}


def said(config: dict, path: Path) -> list[str]:
    """What all rules say, without Axolotl's schema."""
    told = config | check.header(path)
    return [fault for rule in check.RULES for fault in rule(told)]


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_named_and_nothing_else(name: str) -> None:
    """A configuration with one fault gets that fault's line only; a silent rule would let the fault into a run of many GPU hours."""
    _, path, change, message = CASES[name]
    assert said(changed(path, change), path) == [message]


def test_zero_3_is_refused_with_4_bit_only(tmp_path: Path) -> None:
    """ZeRO-3 dies in the middle of a 4-bit run, so the check refuses the pair, and the pair only."""
    engine = json.loads((ROOT / "deepspeed" / "zero2.json").read_text())
    engine["zero_optimization"]["stage"] = 3
    (tmp_path / "zero3.json").write_text(json.dumps(engine))
    config = configs.load(FULL) | {"deepspeed": str(tmp_path / "zero3.json")}
    assert said(config, FULL) == [ZERO_3]
    assert said(config | {"load_in_4bit": False}, FULL) == []


def test_a_template_that_is_not_there_is_missing() -> None:
    """Without the template's file Axolotl would take the path itself for a template."""
    assert said(changed(TINY, {"chat_template_jinja": "nowhere.jinja"}), TINY) == [TEMPLATE, NO_TEMPLATE]


def test_every_message_of_every_rule_has_a_case() -> None:
    """A rule that is written but not listed, or listed but not tested, guards nothing."""
    written = {value for name, value in vars(check).items() if name.startswith("rule_")}
    assert set(check.RULES) == written == {rule for rule, *_ in CASES.values()}
    tested = [message for *_, message in CASES.values()] + [ZERO_3, NO_TEMPLATE]
    for rule in check.RULES:
        for node in ast.walk(ast.parse(inspect.getsource(rule))):
            if isinstance(node, ast.Yield):
                words = [part.value for part in getattr(node.value, "values", [node.value]) if isinstance(part, ast.Constant)]
                assert any(all(word in message for word in words) for message in tested), f"{rule.__name__}: {words} has no case"


def test_an_unknown_key_and_a_wrong_value_are_named() -> None:
    """Axolotl drops a misspelt key without a word and trains with its default."""
    path = FOLDER / "tiny.yaml"
    assert check.faults(changed(path, {"learning_rat": 1e-3}), path) == [
        f"{path}: unknown key learning_rat: not in Axolotl's schema; correct the spelling or take it out"
    ]
    found = check.faults(changed(path, {"sequence_len": "long"}), path)
    assert len(found) == 1
    assert found[0].startswith(f"{path}: Axolotl's schema: ")
    assert "sequence_len" in found[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [("datasets", None), ("datasets", ["train.jsonl"]), ("datasets", "build/data/tiny/train.jsonl"), ("overrides_of_model_config", [0.02]), ("plugins", 3)],
)
def test_a_value_of_another_kind_is_a_fault_not_a_traceback(key: str, value: object) -> None:
    """`datasets:` with nothing behind it, a text for a list, a deepspeed file that is no JSON: named like other faults."""
    found = check.faults(configs.load(TINY) | {key: value}, TINY)
    assert any(key in fault for fault in found), found


def test_all_committed_configurations_pass() -> None:
    """`make check` on a fresh clone."""
    ran = here("axolotl_configs.check")
    assert ran.code == 0, ran.said
    assert len(COMMITTED) >= 5
    for path in COMMITTED:
        assert re.search(rf"{path.name}: ok$", ran.said, re.MULTILINE), ran.said


def test_bad_files_fail_by_name(tmp_path: Path) -> None:
    """One command over a good and four bad files: exit 1, each bad file with its reason, the good one still ok."""
    text = TINY.read_text(encoding="utf-8").replace("extends: shared/", f"extends: {FOLDER}/shared/")
    files = {
        "misspelt.yaml": f"{text}learning_rat: 0.1\n",
        "list.yaml": "- a\n- b\n",
        "broken.yaml": "a: [1, 2\n",
        "empty.yaml": "",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    ran = here("axolotl_configs.check", TINY, *(tmp_path / name for name in [*files, "nowhere.yaml"]))
    assert ran.code == 1
    assert "Traceback" not in ran.said
    assert f"{TINY}: ok" in ran.said
    assert f"{tmp_path / 'misspelt.yaml'}: unknown key learning_rat" in ran.said
    for name in ("list.yaml", "broken.yaml", "empty.yaml"):
        assert f"{tmp_path / name}: not a YAML mapping" in ran.said
    assert f"{tmp_path / 'nowhere.yaml'} is missing" in ran.said
    for path in COMMITTED:
        assert f"axolotl_configs/{path.name}" in ran.said


# docs/PAPER.md, "Paper and ours": what is stated of BiMediX, what is derived, what is stated of BiMediX2, and what is ours
STATED = {"adapter": "qlora", "load_in_4bit": True, "overrides_of_model_config": {"output_router_logits": True, "router_aux_loss_coef": 0.02}}
DERIVED = {"lora_r": 128}
BIMEDIX2 = {"learning_rate": 2e-4, "lr_scheduler": "cosine", "warmup_ratio": 0.03, "num_epochs": 1}
OURS = {
    "base_model": "mistralai/Mixtral-8x7B-v0.1",
    "lora_alpha": 64,
    "lora_dropout": 0,
    "optimizer": "paged_adamw_8bit",
    "sequence_len": 4096,
    "sample_packing": True,
    "attn_implementation": "flash_attention_2",
    "deepspeed": "deepspeed/zero2.json",
    "chat_template_jinja": "fastchat_templates/bimedix.jinja",
}


@pytest.mark.parametrize("gpus", [8, 1])
@pytest.mark.parametrize("name", ["bimedix_ar", "bimedix_bi", "bimedix_en"])
def test_the_full_configurations_hold_the_values_of_the_paper(name: str, gpus: int) -> None:
    """docs/PAPER.md says what is trained; whoever reproduces the paper relies on it."""
    name = name if gpus == 8 else f"{name}_1gpu"
    path = FOLDER / f"{name}.yaml"
    config = configs.load(path)
    for key, value in (STATED | DERIVED | BIMEDIX2 | OURS).items():
        assert config[key] == value, key
    assert set(config["lora_target_parameters"]) == {"mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight"}
    assert check.header(path) == {"global_batch_size": 128, "gpus": gpus}
    assert config["micro_batch_size"] * config["gradient_accumulation_steps"] * gpus == 128
    for data in config["datasets"] + config["test_datasets"]:
        assert (data["roles_to_train"], data["train_on_eos"]) == (["assistant"], "turn")
    others = {other.stem for other in COMMITTED} - {name}
    assert not [other for other in others if f"models/{other}/" in str(config)], "writes into another model's folder"


def test_the_full_configurations_differ_in_data_and_folders_only() -> None:
    """Three models of one paper: another learning rate in one of them would be a slip."""
    of_its_own = {"datasets", "test_datasets", "dataset_prepared_path", "output_dir"}
    bilingual, *others = (configs.load(FOLDER / f"bimedix_{part}.yaml") for part in ("bi", "ar", "en"))
    for other in others:
        assert {key for key in bilingual.keys() | other.keys() if bilingual.get(key) != other.get(key)} == of_its_own


def test_deepspeed_holds_json_only() -> None:
    """A Python file or an `__init__.py` in deepspeed/ would shadow the package of that name for every command run in the project's root."""
    files = list((ROOT / "deepspeed").rglob("*"))
    assert files
    assert {path.suffix for path in files} == {".json"}, files
    for path in files:
        assert json.loads(path.read_text())["zero_optimization"]["stage"] == 2
