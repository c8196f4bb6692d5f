"""The recipes that ship: each loads, and asks only for what its readers can do."""

import inspect
from pathlib import Path

import pytest

from data_prep import recipe
from data_prep.build import SAMPLES
from data_prep.sources import READERS

SHIPPED = sorted(path.stem for path in recipe.RECIPES.glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipe_fits_its_readers(name: str) -> None:
    """A recipe of a file or a reader's key that does not exist would fail only after minutes of reading the others."""
    plan = recipe.load(name)
    for source in plan.sources:
        inspect.signature(READERS[source.reader]).bind(Path(source.file), **source.reader_options())
        assert not Path(source.file).is_absolute() and ".." not in Path(source.file).parts
        assert plan.root == "DATA" or (SAMPLES / source.file).is_file()


def test_the_default_and_the_real_recipe_ship() -> None:
    """`make data` without a word builds `tiny`; README and Makefile name both."""
    assert {"tiny", "local"} <= set(SHIPPED)


def test_a_recipe_may_stand_anywhere(tmp_path: Path) -> None:
    """A copy of a recipe under another path is the same recipe."""
    copy = tmp_path / "mine.yml"
    copy.write_text((recipe.RECIPES / "tiny.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    assert recipe.load(str(copy)) == recipe.load("tiny")
