"""TRACK sends a run's figures to the real wandb (offline), tensorboard and trackio, in one run."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import OFFLINE, ROOT, SIX_STEPS, TINY, Trained

# a training run of its own, about a minute: `make proof` runs it
pytestmark = pytest.mark.skipif("PROCESSES" not in os.environ, reason="slow: make proof")


def test_each_tracker_has_the_loss_of_each_step(trained: Trained, tmp_path: Path) -> None:
    """What each of them keeps on the disk, read back."""
    shutil.copytree(trained.build / "data", tmp_path / "data")
    shutil.copytree(trained.base, tmp_path / "models" / "tiny" / "base")
    line = [sys.executable, "-m", "axolotl_configs.train", str(TINY), *SIX_STEPS, "--build", str(tmp_path)]
    environment = os.environ | OFFLINE | {"TRACK": "wandb,tensorboard,trackio", "WANDB_MODE": "offline"}
    environment |= {"WANDB_DIR": str(tmp_path), "TRACKIO_DIR": str(tmp_path / "trackio")}
    ran = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (events,) = {path.parent for path in tmp_path.rglob("events.out.tfevents.*")}
    board = EventAccumulator(str(events)).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as trackio:
        assert trackio.execute("SELECT count(*) FROM metrics WHERE CAST(metrics AS TEXT) LIKE '%train/loss%'").fetchone()[0] >= 6
    (offline,) = tmp_path.rglob("run-*.wandb")
    assert b"train/loss" in offline.read_bytes()
