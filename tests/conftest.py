"""What tests of several stages share: one short real training run, the way to start our commands, the two environments."""

import contextlib
import importlib
import io
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]
TINY = ROOT / "axolotl_configs" / "tiny.yaml"
SERVE_PYTHON = ROOT / ".venv-serve" / "bin" / "python"
# one thread for each command: two test processes share two cores, and sums in one order make equal runs equal to the bit
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}


# the first of two test processes trains the model that many tests share, while the other has a hundred seconds of files that need none
ORDER = ("tests/axolotl_configs/test_guard.py", "tests/data_prep/", "tests/eval/", "tests/axolotl_configs/", "tests/fastchat_templates/")
SIX_STEPS = ["--set", "max_steps=6", "--set", "save_steps=6", "--set", "warmup_steps=0", "--set", "logging_steps=1"]  # of axolotl_configs/tiny.yaml


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of the files; that of the tests in a file stays."""
    items.sort(key=lambda item: next((place for place, start in enumerate(ORDER) if item.nodeid.startswith(start)), len(ORDER)))


@dataclass
class Ran:
    """A command that has ended."""

    code: int
    said: str  # stdout and stderr


def command(module: str, *arguments: object, python: Path | str = sys.executable, seconds: float = 300, largest_file: int | None = None) -> Ran:
    """Run `python -m module arguments` in the project's root, offline; `largest_file` in bytes makes the disk refuse more, as a quota does."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    line = [str(python), "-m", module, *map(str, arguments)]
    less_room = limit if largest_file is not None else None
    run = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds, env=os.environ | OFFLINE, preexec_fn=less_room)
    return Ran(run.returncode, run.stdout + run.stderr)


def here(module: str, *arguments: object) -> Ran:
    """`python -m module arguments` in this process, which has imported what it needs: eight seconds less a command. For what starts and trains nothing."""
    said, before = io.StringIO(), sys.argv
    sys.argv = [module, *map(str, arguments)]
    code: object = 0
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            importlib.import_module(module).main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    if isinstance(code, str):  # sys.exit's way to print a line
        code, _ = 1, said.write(code)
    return Ran(code or 0, said.getvalue())


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Trained:
    """What data, train and merge left in a build folder."""

    build: Path
    said: str

    @property
    def base(self) -> Path:
        return self.build / "models" / "tiny" / "base"

    @property
    def adapter(self) -> Path:
        return self.build / "models" / "tiny" / "adapter"

    @property
    def merged(self) -> Path:
        return self.build / "models" / "tiny" / "merged"

    @property
    def questions(self) -> Path:
        return self.build / "data" / "tiny" / "eval"

    def copy(self, folder: Path, to: Path) -> Path:
        """A copy of one of the folders that a test may spoil."""
        return shutil.copytree(folder, to)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], str]) -> tuple[Path, str]:
    """A folder that the processes of one test run share: the first that asks fills it, `make` says with what. Gives the folder and what was said."""
    root = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder, said = root / name, root / f"{name}.said"
    with FileLock(root / f"{name}.lock"):
        if not said.exists():
            shutil.rmtree(folder, ignore_errors=True)
            said.write_text(make(folder), encoding="utf-8")
    return folder, said.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real files; they are not part of the repository, so a checkout without them skips."""
    folder = Path(os.environ.get("BIMEDIX_DATA") or ROOT / ".." / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip(f"the real data are not here: no folder {folder} (BIMEDIX_DATA names another; docs/DATA.md says where to get the files)")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Six steps of axolotl_configs/tiny.yaml through the public commands: every tensor has moved, nothing is learnt. About a minute."""
    return Trained(*once(tmp_path_factory, "trained", _train))


def _train(build: Path) -> str:
    said = ""
    for module, *arguments in (
        ("data_prep.build", "--recipe", "tiny"),
        ("axolotl_configs.train", TINY, *SIX_STEPS),
        ("axolotl_configs.merge", TINY),
    ):
        ran = command(module, *arguments, "--build", build, seconds=600)
        assert ran.code == 0, f"{module}: {ran.said[-5000:]}"
        said += ran.said
    return said
