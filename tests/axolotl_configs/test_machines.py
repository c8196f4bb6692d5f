"""Two processes on one machine train what one would: torchrun's rendezvous, ZeRO-2 over gloo, the same configuration."""

import json
import shutil
from pathlib import Path

import pytest

from axolotl_configs import checkpoints
from tests.conftest import ROOT, SIX_STEPS, TINY, Trained, command, free_port


@pytest.fixture(scope="module")
def two(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `trained` run once more, its batch of 8 rows shared by two processes."""
    work = tmp_path_factory.mktemp("two")
    text = TINY.read_text(encoding="utf-8").replace("# batch: 8 = 8 x 1", "# batch: 8 = 4 x 1 x 2 GPUs").replace("micro_batch_size: 8", "micro_batch_size: 4")
    config = work / "tiny.yaml"
    config.write_text(text.replace("extends: shared/", f"extends: {ROOT}/axolotl_configs/shared/"), encoding="utf-8")
    build = work / "build"
    shutil.copytree(trained.build / "data", build / "data")
    shutil.copytree(trained.base, build / "models" / "tiny" / "base")
    torchrun = f"--nproc_per_node 2 --rdzv_endpoint 127.0.0.1:{free_port()}"
    ran = command("axolotl_configs.train", config, *SIX_STEPS, "--build", build, "--torchrun", torchrun, seconds=900)
    assert ran.code == 0, ran.said[-4000:]
    return build


def test_the_two_share_the_engine(two: Path) -> None:
    """Each wrote its part of the optimiser's states, and the checkpoint was marked after both."""
    last = checkpoints.last_whole(two / "models" / "tiny" / "run")
    assert last.name == "checkpoint-6"
    parts = sorted(path.name for path in (last / "global_step6").glob("*optim_states.pt"))
    assert len(parts) == 2, parts


def test_they_learn_what_one_learns(trained: Trained, two: Path) -> None:
    """The same rows in each step, so nearly the same losses: sums are made in another order, and each half has a mean of its own."""

    def told(build: Path) -> list[dict]:
        rows = [json.loads(line) for line in (build / "models" / "tiny" / "run" / "log.jsonl").read_text().splitlines()]
        return [row for row in rows if "router" in row]

    one, both = told(trained.build), told(two)
    assert [row["step"] for row in both] == [1, 2, 3, 4, 5, 6]
    assert both[0]["loss"] == pytest.approx(one[0]["loss"], rel=2e-2)
    assert both[-1]["loss"] == pytest.approx(one[-1]["loss"], rel=0.2)
    assert both[-1]["loss"] < both[0]["loss"] - 1


def test_their_model_is_merged_like_any_other(two: Path) -> None:
    """Adapter whole, every tensor base + adapter."""
    for module in ("merge", "verify"):
        ran = command(f"axolotl_configs.{module}", *([TINY] if module == "merge" else ["--config", TINY]), "--build", two)
        assert ran.code == 0, ran.said[-2000:]
