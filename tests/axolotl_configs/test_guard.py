"""A loss that is no number and a full disk end a run with one line that says what to do, and leave nothing that could be taken for a model."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import SIX_STEPS, TINY, Trained, command


@pytest.fixture
def build(trained: Trained, tmp_path: Path) -> Path:
    """Data and base of their own, nothing trained."""
    shutil.copytree(trained.build / "data", tmp_path / "build" / "data")
    shutil.copytree(trained.base, tmp_path / "build" / "models" / "tiny" / "base")
    return tmp_path / "build"


def test_a_loss_that_is_no_number_stops_at_once(build: Path) -> None:
    """A base with one weight that is no number: without the guard transformers logs a loss of 0 and trains to the end."""
    weights = build / "models" / "tiny" / "base" / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.layers.1.self_attn.o_proj.weight"][0, 0] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    ran = command("axolotl_configs.train", TINY, *SIX_STEPS, "--build", build, seconds=300)
    assert ran.code == 2, ran.said[-2000:]
    said = ran.said.splitlines()[-1]
    assert said.startswith("error: the loss was no number in 1 batches between the steps 0 and 1; there is no checkpoint yet. Try a lower learning_rate"), said
    assert not (build / "models" / "tiny" / "adapter").exists()
    assert json.loads((build / "models" / "tiny" / "run.json").read_text())["finished"] is False


def test_a_full_disk_says_so(build: Path) -> None:
    """The checkpoint does not fit (the disk refuses as a quota does): what is full, that the same command goes on, and no adapter."""
    ran = command("axolotl_configs.train", TINY, *SIX_STEPS, "--build", build, seconds=300, largest_file=12 * 2**20)
    assert ran.code == 2, ran.said[-2000:]
    assert "no room to write" in ran.said.splitlines()[-1] and "the same command goes on" in ran.said.splitlines()[-1], ran.said[-2000:]
    assert not (build / "models" / "tiny" / "adapter").exists()
    assert torch.is_tensor(load_file(build / "models" / "tiny" / "base" / "model.safetensors")["lm_head.weight"])
