"""What the pages say can be typed, opened and found."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "eval" / "tasks" / "bimedix" / "README.md"]
TEXTS = {path: path.read_text(encoding="utf-8") for path in PAGES}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))
CODE = re.compile(r"`([^`\n]+)`")


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "Makefile", *sorted((ROOT / "axolotl_configs").glob("*"))], ids=lambda path: path.name)
def test_every_make_command_is_a_target(path: Path) -> None:
    """A page that names a target which is not there stops a newcomer at the first line."""
    if path.is_dir():
        return
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"(?:`|^|&& |command: )make ((?:[a-z-]+ ?)+)", text, re.MULTILINE)
    assert {word for words in named for word in words.split()} - TARGETS <= {"bench-"}, path


def test_the_table_of_targets_is_whole() -> None:
    """The README lists what `make help` lists."""
    table = TEXTS[ROOT / "README.md"].split("## Make targets")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `make ([a-z-]+)`", table, re.MULTILINE)) == TARGETS
    ran = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(re.findall(r"^([a-z-]+) ", ran.stdout, re.MULTILINE)) >= TARGETS


def test_the_table_of_variables_is_whole() -> None:
    """Each variable that can be set is described, and each described one is read."""
    table = TEXTS[ROOT / "README.md"].split("| variable | default |")[1].split("\n## ")[0]
    named = set(CODE.findall(" ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))))
    defined = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE)) | set(re.findall(r"\$\((DATA|[A-Z]+_ARGS)[),]", MAKEFILE))
    assert named == defined


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_named_file_is_there(path: Path) -> None:
    """Links, and what stands in code type and begins with one of our folders."""
    folders = tuple(f"{entry.name}/" for entry in ROOT.iterdir() if entry.is_dir() and entry.name != "build")
    linked = [link.split("#")[0] for link in re.findall(r"\]\((?!http)([^)]+)\)", TEXTS[path])]
    missing = [link for link in linked if link and not (path.parent / link).exists()]
    for word in CODE.findall(TEXTS[path]):
        if word.startswith(folders) and not set(word) & set("<>*$ "):
            missing += [] if (ROOT / word).exists() else [word]
    assert missing == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shell_block_parses(path: Path) -> None:
    """And the modules that it starts are there."""
    for block in re.findall(r"```bash\n(.*?)```", TEXTS[path], re.DOTALL):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)
    for module in re.findall(r"python -m ([a-z_]+\.[a-z_.]+)", TEXTS[path]):
        place = ROOT.joinpath(*module.split("."))
        assert place.with_suffix(".py").is_file() or place.is_dir(), module


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_left_to_fill_in(path: Path) -> None:
    """No placeholder where a measured figure belongs."""
    assert "@@" not in TEXTS[path] and "TODO" not in TEXTS[path]


def test_the_first_page_says_what_it_is_not_for() -> None:
    """Before anything else."""
    assert "for research only. not for clinical use" in TEXTS[ROOT / "README.md"][:200].lower()
    assert "not for clinical use" in TEXTS[ROOT / "docs" / "DATA.md"]
