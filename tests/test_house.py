"""The rules of the house that a change could break without anything failing at once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TOP = {"README.md", "axolotl_configs", "fastchat_templates", "data_prep", "eval", "deepspeed", "Makefile", "tests"}
TOP |= {"requirements", "pyproject.toml", "LICENSE", "CHANGELOG.md", "docs", ".ci", ".gitignore"}
LOCKS = ["main", "serve", "review"]


def tracked() -> list[Path]:
    """The files of the repository; those on the disk where there is no git."""
    ran = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in ran.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_top_level_is_fixed() -> None:
    """One place for each thing."""
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} == TOP


def test_files_are_read_in_one_sitting() -> None:
    """No module of more than 300 lines."""
    assert not [path for path in tracked() if path.suffix == ".py" and len(path.read_text(encoding="utf-8").splitlines()) > 300]


def test_no_file_names_somebodys_machine() -> None:
    """A path of one machine works on that one only. Tests may show such paths as examples of what must not be."""
    private = re.compile(r"(?<![\w.:/<])/(?:home|root|mnt|work|Users)/\w")
    named = [path for path in tracked() if path.suffix != ".jsonl" and ROOT / "tests" not in path.parents and private.search(path.read_text(encoding="utf-8"))]
    assert named == []


def test_deepspeed_is_the_package() -> None:
    """Our folder of that name must never be imported instead: every command runs in the project's root."""
    ran = subprocess.run([sys.executable, "-c", "import deepspeed; print(deepspeed.__version__)"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and re.search(r"^\d+\.\d+", ran.stdout, re.MULTILINE), ran.stderr


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_pins_all_that_is_asked_for(name: str) -> None:
    """Whoever installs next year gets what was tested: every line pinned, none of what the .in names missing or pinned otherwise."""

    def pins(path: Path) -> dict[str, str]:
        lines = [re.sub(r"\s*(#|;).*", "", line).strip() for line in path.read_text(encoding="utf-8").splitlines()]
        found = [re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?(?:==([\w.+-]+))?", line) for line in lines if line]
        assert all(found), [line for line, match in zip((line for line in lines if line), found, strict=True) if not match]
        return {re.sub(r"[-_.]+", "-", match[1]).lower(): match[2] for match in found}

    asked, locked = (pins(ROOT / "requirements" / f"{name}.{kind}") for kind in ("in", "txt"))
    assert all(locked.values()) and not any("+" in pin for pin in locked.values())
    assert {package: locked.get(package) for package in asked} == {package: pin or locked.get(package) for package, pin in asked.items()}
    assert set(asked) <= set(locked)


def test_set_up_has_nothing_to_do_the_second_time() -> None:
    """These tests run in environments that stand: `make setup` says nothing but what make itself says, and changes nothing."""
    stamps = [ROOT / folder / ".built-from" for folder in (".venv", ".venv-serve")]
    before = [stamp.stat().st_mtime_ns for stamp in stamps]
    ran = subprocess.run(["make", "-s", "setup"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
    assert [stamp.stat().st_mtime_ns for stamp in stamps] == before


@pytest.mark.parametrize(("version", "words"), [("3.10", "too old"), ("2.7", "too old"), ("3.12", "too new"), ("3.13", "too new"), (None, "does not run")])
def test_another_python_is_refused_by_name(tmp_path: Path, version: str | None, words: str) -> None:
    """The locks are for one version; pip's own message would be about some package. The interpreter here only says its version."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{f'echo {version}' if version else 'exit 1'}\n")
    python.chmod(0o755)
    line = ["sh", "requirements/setup.sh", str(tmp_path / "env"), "requirements/main.txt"]
    ran = subprocess.run(line, cwd=ROOT, env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)}, capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and words in ran.stderr and "3.11" in ran.stderr
    assert not (tmp_path / "env").exists()


def test_a_package_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    """The end of pip's log and what to check; the next run tries again."""
    lock = tmp_path / "lock.txt"
    lock.write_text("no-such-package-of-anybody @ file:///nowhere/at/all.whl\n")
    line = ["sh", "requirements/setup.sh", str(tmp_path / "env"), str(lock)]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHON": sys.executable}
    ran = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 2 and "could not be had or built" in ran.stderr and "make setup again" in ran.stderr
    assert not (tmp_path / "env" / ".built-from").exists()
