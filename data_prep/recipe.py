"""Read a recipe: data_prep/recipes/NAME.yaml says which files to read, with which reader, and what to make of them."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_prep.records import BadInput, Split
from data_prep.sources import READERS

RECIPES = Path(__file__).parent / "recipes"


class Source(BaseModel):
    """One file and the reader that understands it. Keys that are not named here go to the reader (`answer_base`, `form`, ..)."""

    model_config = ConfigDict(extra="allow")
    reader: Literal[tuple(READERS)]
    file: str  # below the recipe's root
    split: Split | None = None  # overrides what the reader would say
    take: int | None = Field(default=None, gt=0)  # a seeded sample of so many, translations of one another counted once; the others are not_taken

    def reader_options(self) -> dict[str, object]:
        """The reader's own keys, and the split where the recipe sets one."""
        return {**(self.model_extra or {}), **({"split": self.split} if self.split else {})}


class Recipe(BaseModel):
    """A whole recipe. `root` is `samples` (the project's own) or `DATA` (the folder given on the command line)."""

    model_config = ConfigDict(extra="forbid")
    description: str
    root: Literal["samples", "DATA"]
    seed: int = 0
    mcqa_answers: list[Literal["letter", "explained"]] = Field(min_length=1)
    sources: list[Source] = Field(min_length=1)


def load(name: str) -> Recipe:
    """The recipe called `name`, or a path to a YAML file; BadInput names the key that is wrong and those that exist."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.yaml")))
        raise BadInput(f"there is no recipe {name!r}: choose one of {known}, or name a .yaml file")
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not YAML in UTF-8 ({error})") from error
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in e['loc']) or 'recipe'}: {e['msg']} (found {e['input']!r})" for e in error.errors()]
        known = ", ".join(Recipe.model_fields)
        raise BadInput(f"{path}:\n" + "\n".join(lines) + f"\nkeys of a recipe: {known}; of a source: reader, file, split, take and its reader's") from error
