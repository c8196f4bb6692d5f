"""How the tests run the command that users run, and where rows come from: our own fixtures, or the real files where they are at hand."""

import json
import resource
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, settings

from data_prep.recipe import name_of
from tests.conftest import once

# the cores are shared with training runs: slow is no failure here
settings.register_profile("shared cores", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared cores")

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"


@dataclass
class Built:
    """What `python -m data_prep.build` left behind."""

    code: int
    said: str
    out: Path

    def rows(self, file: str) -> list[dict]:
        """The objects of one JSONL file of the output."""
        with (self.out / file).open(encoding="utf-8") as lines:  # not splitlines(): a text may hold U+2028
            return [json.loads(line) for line in lines]

    def files(self) -> dict[str, bytes]:
        """Every file of the output by its name; of the manifest what does not depend on the clock and on commits made meanwhile."""
        found = {str(path.relative_to(self.out)): path.read_bytes() for path in sorted(self.out.rglob("*")) if path.is_file()}
        if "manifest.json" in found:
            found["manifest.json"] = json.dumps({key: value for key, value in self.manifest.items() if key not in ("seconds", "steps", "git_commit")}).encode()
        return found

    @property
    def manifest(self) -> dict:
        return json.loads((self.out / "manifest.json").read_text(encoding="utf-8"))

    def leftovers(self) -> list[str]:
        """What stands beside the output folder and is not it."""
        return [path.name for path in self.out.parent.glob("*") if path != self.out] if self.out.parent.exists() else []

    def ended_badly(self) -> bool:
        """Stopped with the exit code and the one-line form of an error that users can mend, and not with a traceback."""
        return self.code == 2 and "error: " in self.said and "Traceback" not in self.said


def run_build(build: Path, recipe: str | Path = "tiny", data: Path | None = None, *options: str, largest_file: int | None = None) -> Built:
    """Run the command; `largest_file` in bytes makes the disk refuse more, as a quota does (EFBIG, one of the errors of a full disk)."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    command = [sys.executable, "-m", "data_prep.build", "--recipe", str(recipe), "--build", str(build), *(["--data", str(data)] if data else []), *options]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, preexec_fn=limit if largest_file is not None else None)
    return Built(run.returncode, run.stdout + run.stderr, build / "data" / name_of(str(recipe)))


def write_recipe(path: Path, *sources: dict, **changes: object) -> Path:
    """A recipe over the folder given as --data."""
    plan = {"description": "a test", "root": "DATA", "mcqa_answers": ["letter"], "sources": list(sources)}
    path.write_text(yaml.safe_dump({key: value for key, value in (plan | changes).items() if value is not None}, allow_unicode=True), encoding="utf-8")
    return path


def build_from(tmp_path: Path, data: Path, *sources: dict, **changes: object) -> Built:
    """Build a recipe of these sources, written for the occasion."""
    return run_build(tmp_path / "build", write_recipe(tmp_path / "ours.yaml", *sources, **changes), data)


def copied_fixtures(tmp_path: Path) -> Path:
    """Our fixtures as a data folder, MedQuAD's files packed as its owner packs them."""
    data = shutil.copytree(FIXTURES, tmp_path / "data")
    with tarfile.open(data / "medquad.tar.gz", "w:gz") as archive:
        archive.add(data / "medquad", arcname=".")
    return data


def accounted(manifest: dict) -> bool:
    """Every row read from every source is used, not taken or rejected, and the rejects of the sources are the rejects of the whole."""
    of_all = Counter()
    for entry in manifest["inputs"]:
        of_all.update(entry["rejected"])
        if entry["read"] != sum(entry["used"].values()) + entry["not_taken"] + sum(entry["rejected"].values()):
            return False
    return dict(of_all) == manifest["rejected"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The tiny recipe, built once for the tests that only look."""
    return _shared(tmp_path_factory, "tiny")


def _shared(factory: pytest.TempPathFactory, recipe: str, data: Path | None = None) -> Built:
    def make(folder: Path) -> str:
        built = run_build(folder, recipe, data)
        assert built.code == 0, built.said
        return built.said

    folder, said = once(factory, recipe, make)
    return Built(0, said, folder / "data" / recipe)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """All of the project's samples; the tiny recipe may take a part of them."""
    names = ("mcqa.jsonl", "qa.jsonl", "chat.jsonl")
    folder = tmp_path_factory.mktemp("samples")
    built = build_from(folder, folder, *({"reader": "samples", "file": name} for name in names), root="samples")
    assert built.code == 0 and not built.manifest["rejected"], built.said
    return built


@pytest.fixture(params=["tiny", "samples"])
def either(request: pytest.FixtureRequest) -> Built:
    """What must be so of the tiny recipe and of all samples alike."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def local(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The local recipe on the real files."""
    return _shared(tmp_path_factory, "local", real_data)
