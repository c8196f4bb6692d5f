"""A run that is killed goes on where it was, from a whole checkpoint only, and ends with the weights of a run that nobody disturbed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from axolotl_configs import checkpoints
from tests.conftest import OFFLINE, ROOT, SIX_STEPS, TINY, Ran, Trained, command, here

OFTEN = [*SIX_STEPS, "--set", "save_steps=2"]  # how often a run is saved does not change what it learns


def start(build: Path, *more: object, **environment: str) -> subprocess.Popen:
    """`make train`'s first command, in a group of its own."""
    line = [sys.executable, "-m", "axolotl_configs.train", str(TINY), "--build", str(build), *map(str, (*OFTEN, *more))]
    return subprocess.Popen(line, cwd=ROOT, env=os.environ | OFFLINE | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(path: Path, process: subprocess.Popen, seconds: float = 240) -> None:
    """Until a file or folder is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end, f"{path} never came"
        time.sleep(0.001)


def trainers(build: Path) -> list[int]:
    """The processes that work on a build folder."""
    listed = subprocess.run(["pgrep", "-f", f"{build}/models/tiny/config.yaml"], capture_output=True, text=True, check=False)
    return [int(number) for number in listed.stdout.split()]


@pytest.fixture(scope="module")
def killed(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build folder whose run was killed, all processes at once, while it wrote its second checkpoint."""
    build = tmp_path_factory.mktemp("killed") / "build"
    shutil.copytree(trained.build / "data", build / "data")
    shutil.copytree(trained.base, build / "models" / "tiny" / "base")
    process = start(build)
    second = build / "models" / "tiny" / "run" / "checkpoint-4"
    wait_for(second, process)
    for number in trainers(build):
        os.kill(number, signal.SIGKILL)
    process.wait()
    if (second / checkpoints.MARK).exists():  # the disk was faster than the kill
        (second / checkpoints.MARK).unlink()
    return build


@pytest.fixture(scope="module")
def resumed(killed: Path) -> Ran:
    """The same command again."""
    return command("axolotl_configs.train", TINY, "--build", killed, *OFTEN, seconds=600)


def test_a_half_written_checkpoint_is_never_gone_on_with(killed: Path, resumed: Ran) -> None:
    """The one that the kill cut short is removed, with a word, and the one before it is taken."""
    run = killed / "models" / "tiny" / "run"
    assert resumed.code == 0, resumed.said[-3000:]
    assert f"{run / 'checkpoint-4'} was not finished: removed" in resumed.said
    assert f"going on from {run / 'checkpoint-2'}, step 2" in resumed.said
    assert [checkpoints.step(path) for path in checkpoints.all_of(run)] == [4, 6]
    assert all(checkpoints.fault(path) is None for path in checkpoints.all_of(run))


def test_it_ends_with_the_weights_of_an_undisturbed_run(trained: Trained, killed: Path, resumed: Ran) -> None:
    """Bit for bit, on one thread: optimiser, learning rate, order of the rows and random states all went on."""
    undisturbed = load_file(trained.adapter / "adapter_model.safetensors")
    found = load_file(killed / "models" / "tiny" / "adapter" / "adapter_model.safetensors")
    assert found.keys() == undisturbed.keys()
    assert {name for name, tensor in found.items() if not tensor.equal(undisturbed[name])} == set()


def test_the_log_tells_each_step_once(trained: Trained, killed: Path, resumed: Ran) -> None:
    """The lines of steps that were trained a second time stand once, and say what the undisturbed run's say."""

    def told(build: Path) -> list[tuple]:
        rows = [json.loads(line) for line in (build / "models" / "tiny" / "run" / "log.jsonl").read_text().splitlines()]
        return [(row["step"], row["loss"], row["learning_rate"], row["router"]) for row in rows if "router" in row]

    assert told(killed) == told(trained.build)
    assert [step for step, *_ in told(killed)] == [1, 2, 3, 4, 5, 6]


def test_a_run_that_has_ended_is_not_repeated(killed: Path, resumed: Ran) -> None:
    """`make train` after the end goes straight to merge and verify."""
    adapter = killed / "models" / "tiny" / "adapter" / "adapter_model.safetensors"
    before = adapter.stat().st_mtime_ns
    ran = here("axolotl_configs.train", TINY, "--build", killed, *OFTEN)
    assert ran.code == 0 and "trained before with the same configuration and rows" in ran.said
    assert adapter.stat().st_mtime_ns == before


def test_another_configuration_or_other_rows_are_refused(killed: Path, resumed: Ran) -> None:
    """A run of two halves that fit together in neither data nor settings would be nobody's model."""
    ran = here("axolotl_configs.train", TINY, "--build", killed, *OFTEN, "--set", "learning_rate=0.0001")
    assert ran.code == 2 and "was begun with learning_rate 0.003, now 0.0001" in ran.said and "--fresh" in ran.said, ran.said
    rows = killed / "data" / "tiny" / "train.jsonl"
    whole = rows.read_bytes()
    try:
        rows.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
        ran = here("axolotl_configs.train", TINY, "--build", killed, *OFTEN)
    finally:
        rows.write_bytes(whole)
    assert ran.code == 2 and "other rows in train.jsonl" in ran.said, ran.said
    assert (killed / "models" / "tiny" / "run" / "checkpoint-6").is_dir()


def test_a_folder_of_an_older_run_is_left_alone(trained: Trained, tmp_path: Path) -> None:
    """Checkpoints without a record of what they were begun with are somebody's all the same."""
    build = trained.copy(trained.build, tmp_path / "build")
    (build / "models" / "tiny" / "run.json").unlink()
    ran = here("axolotl_configs.train", TINY, "--build", build, *SIX_STEPS)
    assert ran.code == 2 and "begun by something else" in ran.said and "--fresh" in ran.said
    assert (build / "models" / "tiny" / "run" / "checkpoint-6").is_dir()


def test_trainers_end_with_the_command_and_nobody_trains_twice(killed: Path, resumed: Ran, tmp_path: Path) -> None:
    """SIGKILL of the command alone: the trainers notice. While it runs, a second command is refused. SIGTERM ends all of it."""
    build = shutil.copytree(killed, tmp_path / "build")
    log = build / "models" / "tiny" / "run" / "log.jsonl"
    log.unlink()  # of the run that was copied
    process = start(build, "--fresh", "--set", "max_steps=1000", "--set", "save_steps=500")
    wait_for(log, process)
    ran = here("axolotl_configs.train", TINY, "--build", build)
    assert ran.code == 2 and "another run is training here" in ran.said
    process.kill()
    process.wait()
    end = time.monotonic() + 20
    while trainers(build):
        assert time.monotonic() < end, "a trainer goes on unseen"
        time.sleep(0.1)
    process = start(build, "--set", "max_steps=1000", "--set", "save_steps=500")
    end = time.monotonic() + 60
    while not trainers(build):
        assert process.poll() is None and time.monotonic() < end, "nothing was started"
        time.sleep(0.1)
    time.sleep(3)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not trainers(build)


def test_ended_while_deepspeed_compiles_it_leaves_no_lock(killed: Path, tmp_path: Path) -> None:
    """torch waits without end for a lock file that nobody removes: the next run, and every later one on the machine, would stand still."""
    build = shutil.copytree(killed, tmp_path / "build")
    process = start(build, "--fresh", TORCH_EXTENSIONS_DIR=str(tmp_path / "cache"))
    end = time.monotonic() + 120
    while not (locks := list((tmp_path / "cache").rglob("lock"))):
        assert process.poll() is None and time.monotonic() < end, "nothing was compiled"
        time.sleep(0.01)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not trainers(build)
    assert not any(lock.exists() for lock in locks)


def test_what_is_whole(tmp_path: Path) -> None:
    """A mark counts only for the files that it names, in the sizes that it names."""
    run = tmp_path / "run"
    for step in (2, 10):
        folder = run / f"checkpoint-{step}" / "global_step"
        folder.mkdir(parents=True)
        (folder / "state.pt").write_bytes(b"state")
        checkpoints.mark(folder.parent)
    (run / "checkpoint-final").mkdir()
    assert checkpoints.last_whole(run) == run / "checkpoint-10"
    (run / "checkpoint-10" / "global_step" / "state.pt").write_bytes(b"sta")
    assert checkpoints.fault(run / "checkpoint-10") == "lacks global_step/state.pt as written"
    assert checkpoints.last_whole(run) == run / "checkpoint-2"
    (run / "checkpoint-2" / checkpoints.MARK).write_text('{"global_step')
    assert "cut short" in checkpoints.fault(run / "checkpoint-2")
    assert checkpoints.last_whole(run) is None
