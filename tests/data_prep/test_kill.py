"""A build that is killed: the next one finishes, gives the same bytes, and nothing half-written is ever taken for whole."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from data_prep.bench import synthesise
from tests.data_prep.conftest import ROOT, Built, run_build

MOMENTS = int(os.environ.get("KILLS", "8"))  # 20 in `make proof`


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with every step in it, over 3,000 synthetic rows and the project's samples as test sets."""
    folder = tmp_path_factory.mktemp("killed")
    path = synthesise(3000, folder, tests={"medmcqa": 200, "medqa": 50, "pubmedqa": 50})
    plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(plan | {"hold_out": 0.01}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def undisturbed(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Built, float]:
    """The build that nobody kills, and how long it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run_build(folder / "first", recipe, recipe.parent)  # numba compiles
    started = time.monotonic()
    built = run_build(folder / "build", recipe, recipe.parent)
    assert built.code == 0 and built.manifest["deduplication"]["exact"] and built.manifest["mix"] and built.manifest["contamination"]["methods"]
    return built, time.monotonic() - started


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_killed_at_any_moment(recipe: Path, undisturbed: tuple[Built, float], tmp_path: Path, moment: int) -> None:
    """SIGKILL at a random moment: whatever stands where the output belongs is whole, and the next run gives the undisturbed bytes."""
    whole, seconds = undisturbed
    # one moment in each part of the time that a build takes
    wait = seconds * (moment + random.Random(moment).random()) / MOMENTS
    command = [sys.executable, "-m", "data_prep.build", "--recipe", str(recipe), "--data", str(recipe.parent), "--build", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    process.wait()
    out = tmp_path / "data" / recipe.stem
    if out.exists():
        assert Built(0, "", out).files() == whole.files()
    again = run_build(tmp_path, recipe, recipe.parent)
    assert again.code == 0, again.said
    assert again.files() == whole.files()
    assert again.leftovers() == []


def test_a_finished_step_is_not_done_again(recipe: Path, undisturbed: tuple[Built, float], tmp_path: Path) -> None:
    """What was collected before the kill is used: its folder still stands, with its old time, when the next run has begun."""
    command = [sys.executable, "-m", "data_prep.build", "--recipe", str(recipe), "--data", str(recipe.parent), "--build", str(tmp_path)]
    work = tmp_path / "data" / f".{recipe.stem}.work"
    first = _killed_when(command, work, "joined")
    second = _killed_when(command, work, "settled")
    assert first and all(second[shard] == written for shard, written in first.items())


def _killed_when(command: list[str], work: Path, step: str) -> dict[str, int]:
    """Run until the folder of a step stands, kill, and say when each collected source was written."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list(work.glob(f"*/{step}")) and time.monotonic() < until:
        time.sleep(0.002)
    process.kill()
    process.wait()
    return {path.name: (path / "index.bin").stat().st_mtime_ns for path in work.glob("*/0*")}


def test_two_builds_at_once(recipe: Path, tmp_path: Path) -> None:
    """The second one says that another is running, and touches nothing of it."""
    command = [sys.executable, "-m", "data_prep.build", "--recipe", str(recipe), "--data", str(recipe.parent), "--build", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    work = tmp_path / "data" / f".{recipe.stem}.work"
    until = time.monotonic() + 60
    while not list(work.glob("*/")) and time.monotonic() < until:  # a folder in it: the lock is held
        time.sleep(0.002)
    process.send_signal(signal.SIGSTOP)
    second = run_build(tmp_path, recipe, recipe.parent)
    process.send_signal(signal.SIGCONT)
    assert second.ended_badly() and "another build of it is running" in second.said
    assert process.wait(timeout=120) == 0 and Built(0, "", tmp_path / "data" / recipe.stem).rows("train.jsonl")
