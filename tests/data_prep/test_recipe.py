"""The recipes that ship: each loads, and asks only for what its readers can do."""

import inspect
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from data_prep import recipe
from data_prep.build import SAMPLES
from data_prep.sources import READERS
from tests.data_prep.conftest import ROOT

SHIPPED = sorted(recipe.name_of(path.name) for path in recipe.RECIPES.glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipe_fits_its_readers(name: str) -> None:
    """A recipe of a file or a reader's key that does not exist would fail only after minutes of reading the others."""
    plan = recipe.load(name)
    for source in plan.sources:
        if source.registered:
            continue  # tests/data_prep/test_registry.py looks at these
        inspect.signature(READERS[source.reader]).bind(Path(source.file), **source.reader_options())
        assert not Path(source.file).is_absolute() and ".." not in Path(source.file).parts
        assert plan.root == "DATA" or (SAMPLES / source.file).is_file()


def test_the_default_and_the_real_recipe_ship() -> None:
    """`make data` without a word builds `tiny`; README and Makefile name both."""
    assert {"tiny", "local", "benchmark", "bimed1.3m", "bimed1.3m_en", "bimed1.3m_ar"} == set(SHIPPED)


def test_a_recipe_may_stand_anywhere(tmp_path: Path) -> None:
    """A copy of a recipe under another path is the same recipe."""
    copy = tmp_path / "mine.yml"
    copy.write_text((recipe.RECIPES / "tiny.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    assert recipe.load(str(copy)) == recipe.load("tiny")


@pytest.mark.parametrize(("given", "name"), [("bimed1.3m", "bimed1.3m"), ("a/b/bimed1.3m_ar.yaml", "bimed1.3m_ar"), ("mine.yml", "mine"), ("tiny", "tiny")])
def test_a_name_keeps_its_dot(given: str, name: str) -> None:
    """BUILD/data/bimed1 would be another folder than the one that the training configuration reads."""
    assert recipe.name_of(given) == name


@pytest.mark.parametrize("given", ["bimed1.3m", "elsewhere/bimed1.3m.yaml"])
def test_make_keeps_the_dot_too(given: str) -> None:
    """The card is written, and the questions are looked for, where the build puts them."""
    for target in ("data", "publish-data", "eval"):
        said = subprocess.run(["make", "-n", target, f"RECIPE={given}"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert "build/data/bimed1.3m" in said and not re.search(r"build/data/bimed1(?!\.3m)", said), said


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    """All keys of the other, but for those that are set anew."""
    whole, arabic = recipe.load("bimed1.3m"), recipe.load("bimed1.3m_ar")
    assert arabic.languages == ["ar"] and arabic.sources == whole.sources and arabic.mix == whole.mix
    loop = tmp_path / "loop.yaml"
    loop.write_text("extends: loop\n", encoding="utf-8")
    with pytest.raises(recipe.BadInput, match="extends itself"):
        recipe.load(str(loop))


def test_the_mix_is_the_papers() -> None:
    """The counts of arXiv 2412.07769, table 12, and one group of ours that brings Arabic to English to 1:2."""
    groups = recipe.load("bimed1.3m").mix.groups
    paper = [210_169, 115_773, 182_712, 97_523, 20_691, 11_210, 119_879, 156_254, 133_134, 64_235]
    assert [group.rows for group in groups[:10]] == paper
    rows = {lang: sum(group.rows for group in groups if group.lang == lang) for lang in ("en", "ar")}
    assert rows == {"ar": 444_995, "en": 2 * 444_995} and sum(rows.values()) > 1_300_000


@pytest.mark.parametrize("source", [{}, {"from": "nobody"}, {"from": "medquad", "reader": "medquad"}, {"reader": "medquad"}, {"file": "x.xml"}])
def test_a_source_is_registered_or_a_file(tmp_path: Path, source: dict) -> None:
    """One of the two, and a registered one exists."""
    path = tmp_path / "ours.yaml"
    path.write_text(yaml.safe_dump({"description": "a test", "root": "DATA", "mcqa_answers": ["letter"], "sources": [source]}), encoding="utf-8")
    with pytest.raises(recipe.BadInput, match=r"sources.0: .*registry.yaml"):
        recipe.load(str(path))
