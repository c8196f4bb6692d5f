"""Two processes on one machine train one model: torchrun's rendezvous, ZeRO-2 over gloo, the same configuration."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from axolotl_configs import checkpoints, config
from axolotl_configs.merge import merge
from axolotl_configs.verify import verify
from tests.conftest import ROOT, SIX_STEPS, TINY, Trained, command, free_port

# three minutes on two cores, more where DeepSpeed compiles its part first: `make proof` runs it
pytestmark = pytest.mark.skipif("PROCESSES" not in os.environ, reason="slow: make proof")


@pytest.fixture(scope="module")
def two(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps of two processes, each with half of the batch."""
    work = tmp_path_factory.mktemp("two")
    text = TINY.read_text(encoding="utf-8").replace("# batch: 8 = 8 x 1", "# batch: 8 = 4 x 1 x 2 GPUs").replace("micro_batch_size: 8", "micro_batch_size: 4")
    path = work / "tiny.yaml"
    path.write_text(text.replace("extends: shared/", f"extends: {ROOT}/axolotl_configs/shared/"), encoding="utf-8")
    build = work / "build"
    shutil.copytree(trained.build / "data", build / "data")
    shutil.copytree(trained.base, build / "models" / "tiny" / "base")
    torchrun = f"--nproc_per_node 2 --rdzv_endpoint 127.0.0.1:{free_port()}"
    ran = command("axolotl_configs.train", path, *SIX_STEPS, "--build", build, "--torchrun", torchrun, seconds=900)
    assert ran.code == 0, ran.said[-4000:]
    return build


def test_the_two_share_the_engine(two: Path) -> None:
    """Each wrote its part of the optimiser's states, and the checkpoint was marked after both."""
    last = checkpoints.last_whole(two / "models" / "tiny" / "run")
    assert last.name == "checkpoint-6"
    parts = sorted(path.name for path in (last / "global_step6").glob("*optim_states.pt"))
    assert len(parts) == 2, parts


def test_one_log_tells_of_both(two: Path) -> None:
    """Each step once, the loss falls, and the router's counts are those of both: on a CPU both see the same rows, so all of them are even."""
    rows = [json.loads(line) for line in (two / "models" / "tiny" / "run" / "log.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "router" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["loss"] < rows[0]["loss"] - 1
    assert all(count % 2 == 0 for row in rows for script in row["router"].values() for layer in script for count in layer)


def test_their_model_is_merged_like_any_other(two: Path, tmp_path: Path) -> None:
    """Adapter whole, every tensor base + adapter."""
    folder = two / "models" / "tiny"
    merge(str(folder / "base"), folder / "adapter", tmp_path / "merged", torch.bfloat16, "tiny", config.load(TINY))
    measured, faults = verify(folder / "base", folder / "adapter", tmp_path / "merged", torch.bfloat16)
    assert faults == [], measured
