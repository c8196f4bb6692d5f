"""The plan's counts are PEFT's, its bytes those of a real run, and a run that cannot fit is refused with what would help."""

import json
import re
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from axolotl_configs import check, plan_memory
from axolotl_configs import config as configs
from axolotl_configs import plan as planning
from tests.conftest import TINY, Trained, command, here

FOLDER = TINY.parent
FULL = sorted(FOLDER.glob("bimedix_*.yaml"))


def planned(path: Path, build: Path = Path("nowhere"), *more: str) -> dict:
    """All figures of a plan."""
    args = planning.options().parse_args([str(path), *more])
    return planning.plan(path, build, args.overrides, args)


@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
def test_the_full_configurations_fit_and_train_the_papers_share(path: Path) -> None:
    """About 4% of the original parameters; on the machine that the header names."""
    found = planned(path)
    assert 0.038 <= found["trained_share"] <= 0.042
    assert found["trained"] == 1_803_583_488
    assert found["fits"] and found["gpus"] == check.header(path)["gpus"]
    assert found["steps"] > 100 and found["hours"] > 1 and 0 < found["padding"] < 0.05


def test_counts_are_pefts_on_the_instantiated_model(trained: Trained) -> None:
    """Of base and adapter, trained and not, to the last parameter: the model that training saved."""
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(trained.base), trained.adapter, is_trainable=True)
    counted = plan_memory.parameters(model.config, configs.load(TINY))
    of_training, of_all = model.get_nb_trainable_parameters()
    assert (counted.trained.total(), counted.base.total() + counted.trained.total()) == (of_training, of_all)
    by_kind: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            by_kind[plan_memory.kind(name)] = by_kind.get(plan_memory.kind(name), 0) + parameter.numel()
    assert by_kind == dict(counted.trained)


def test_bytes_are_those_of_the_tiny_run(trained: Trained) -> None:
    """Within 15% where a CPU shows them: weights as loaded in 4 bits, adapter, float32 copy with optimiser states, the whole checkpoint."""
    found = planned(TINY, trained.build)
    memory = found["memory"]
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    loaded = AutoModelForCausalLM.from_pretrained(trained.base, quantization_config=settings, dtype=torch.float32)
    size = {True: 0, False: 0}
    for parameter in loaded.parameters():
        quantised = hasattr(parameter, "quant_state")
        size[quantised] += parameter.nbytes
        if quantised:
            state = parameter.quant_state
            size[True] += state.absmax.nbytes + state.state2.absmax.nbytes
    run = trained.adapter.parent / "run" / "checkpoint-6"
    states = next((run / "global_step6").glob("*optim_states.pt")).stat().st_size
    measured = {
        "nf4 weights": size[True],
        "other weights (norms, embeddings, head, router)": size[False],
        "adapters": (trained.adapter / "adapter_model.safetensors").stat().st_size,
    }
    for term, bytes_ in measured.items():
        assert memory[term] == pytest.approx(bytes_, rel=0.15), term
    assert memory["float32 copy"] + memory["optimiser states (adamw_torch_fused)"] == pytest.approx(states, rel=0.15)
    assert found["checkpoint"] == pytest.approx(sum(path.stat().st_size for path in run.rglob("*") if path.is_file()), rel=0.15)


def test_rows_are_packed_as_axolotl_packs_them(trained: Trained) -> None:
    """Tokens and steps come from the rows that were fitted."""
    rows = json.loads((trained.adapter.parent / "rows" / "manifest.json").read_text())["files"]["train.jsonl"]
    found = planned(TINY, trained.build, "--set", "max_steps=", "--set", "num_epochs=1")
    assert (found["tokens"], found["steps"]) == (rows["tokens"], -(-rows["rows_out"] // 8))
    changes = ["max_steps=", "num_epochs=1", "sample_packing=true", "pad_to_sequence_len=true", "micro_batch_size=1"]
    packed = planned(TINY, trained.build, *(word for change in changes for word in ("--set", change)))
    least = rows["tokens"] / 2048
    assert least <= packed["steps"] <= least * 1.1 and packed["padding"] == pytest.approx(1 - least / packed["steps"])


def test_a_run_that_cannot_fit_is_refused() -> None:
    """Status 1, what would help and by how much; with that done it fits."""
    line = [FULL[0], "--gpus", "1", "--gpu-memory", "56"]
    ran = command("axolotl_configs.plan", *line)
    assert ran.code == 1 and "does not fit; what would help" in ran.said
    saved = {words: float(number) for words, number in re.findall(r"^  (.+): ([\d.]+) GiB less$", ran.said, re.MULTILINE)}
    assert {"lora_r 64", "2 GPUs", "sequence_len 2048", "micro_batch_size 1 (and twice the accumulation)"} <= set(saved)
    before, after = (planned(FULL[0], Path("nowhere"), *map(str, line[1:]), *more)["need"] for more in ((), ("--set", "lora_r=64")))
    assert saved["lora_r 64"] == pytest.approx((before - after) / 2**30, abs=0.06)
    assert planned(FULL[0], Path("nowhere"), *map(str, line[1:]), "--set", "lora_r=64")["fits"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--set", "optimizer=lion"], "optimizer lion is unknown here"), (["--set", "base_model=somebody/else"], "the shape of somebody/else is unknown here")],
)
def test_what_cannot_be_planned_is_named(arguments: list[str], words: str) -> None:
    """One line, exit 2."""
    ran = here("axolotl_configs.plan", FULL[0], *arguments)
    assert ran.code == 2 and f"{words}" in ran.said and "Traceback" not in ran.said


def test_the_table_is_what_plan_says() -> None:
    """axolotl_configs/README.md: one line a configuration, its figures computed anew."""
    rows = {}
    for text in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines():
        if text.startswith("| `") and ".yaml`" in text.split("|")[1] and "shared/" not in text:
            cells = [cell.strip() for cell in text.strip("|").split("|")]
            rows[cells[0].strip("`")] = cells[1:]
    assert rows.keys() == {path.name for path in FOLDER.glob("*.yaml")}
    for path in FULL:
        found, cells = planned(path), rows[path.name]
        assert cells[3:] == [
            str(check.header(path)["global_batch_size"]),
            str(configs.load(path)["sequence_len"]),
            f"{found['trained_share']:.2%}",
            f"{found['need'] / 2**30:.0f} of 75 GiB",
            f"{found['hours']:.0f}",
            f"{found['cost']:.0f}",
        ]
