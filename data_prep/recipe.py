"""Read a recipe: data_prep/recipes/NAME.yaml says which sources to read and what to make of them."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data_prep import registry
from data_prep.records import BadInput, Split
from data_prep.sources import READERS
from data_prep.wording import Lang

RECIPES = Path(__file__).parent / "recipes"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Source(BaseModel):
    """One source: a row of the registry (`from`), or a file and the reader that understands it. Other keys go to the reader (`form`, ..).

    Of a file that the registry does not know, the recipe may say the `licence` and whether its rows may stand in a published set (`redistribute`).
    """

    model_config = ConfigDict(extra="allow", populate_by_name=True, serialize_by_alias=True)
    registered: str | None = Field(default=None, alias="from")
    reader: Literal[tuple(READERS)] | None = None
    file: str | None = None  # below the recipe's root
    split: Split | None = None  # overrides what the reader would say
    take: int | None = Field(default=None, gt=0)  # a seeded sample of so many, translations of one another counted once; the others are not_taken
    licence: str | None = None
    redistribute: bool | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "Source":
        if (self.registered is None) == (self.reader is None) or (self.reader is None) != (self.file is None):
            raise ValueError("a source has either `from` (a name of data_prep/sources/registry.yaml) or both `reader` and `file`")
        if self.registered is not None and self.registered not in registry.entries():
            raise ValueError(f"no source {self.registered!r} in data_prep/sources/registry.yaml: it has {', '.join(registry.entries())}")
        if self.registered is not None and (self.licence or self.redistribute is not None):
            raise ValueError("`licence` and `redistribute` of a registered source are the registry's; take them out of the recipe")
        return self

    @property
    def name(self) -> str:
        """What messages and the manifest call it."""
        return self.registered or str(self.file)

    def reader_options(self) -> dict[str, object]:
        """The reader's own keys, and the split where the recipe sets one."""
        return {**(self.model_extra or {}), **({"split": self.split} if self.split else {})}


class Deduplication(_Strict):
    """Copies among training and validation rows: `near` is the Jaccard similarity of word pairs from which two texts are one (dedup.py)."""

    near: float = Field(default=0.8, gt=0, le=1)
    permutations: int = Field(default=128, gt=0)


class Decontamination(_Strict):
    """When a training row asks what a test question asks (decontaminate.py)."""

    ngram: int = Field(default=13, ge=5)  # words of a common passage, GPT-3's number
    passage: float = Field(default=0.5, gt=0, le=1)  # the share of the test question that it must make up
    similarity: float = Field(default=0.7, gt=0, le=1)  # share of words in the same order


class Group(_Strict):
    """Training rows of one source, kind or language, and how many of them: `rows`, or a `share` of the mix's total. A row belongs to the first
    group that fits. `upsample` allows each row so many times in all where there are too few."""

    source: str | list[str] | None = None
    kind: Literal["mcqa", "qa", "chat"] | None = None
    lang: Lang | None = None
    rows: int | None = Field(default=None, ge=0)
    share: float | None = Field(default=None, gt=0, le=1)
    upsample: int = Field(default=1, ge=1, le=255)

    @model_validator(mode="after")
    def _one_measure(self) -> "Group":
        if (self.rows is None) == (self.share is None):
            raise ValueError("a group says how many rows it takes by `rows` or by `share`, one of the two")
        return self


class Mix(_Strict):
    """Which training rows are written. `ratio` is that of the languages; `when_short`: build what there is and report the ratio, or cut the rest down."""

    total: int | None = Field(default=None, gt=0)
    groups: list[Group] = Field(min_length=1)
    ratio: dict[Lang, float] | None = None
    when_short: Literal["report", "cut"] = "report"

    @model_validator(mode="after")
    def _shares_of_something(self) -> "Mix":
        shares = [group.share for group in self.groups if group.share is not None]
        if shares and (self.total is None or sum(shares) > 1 + 1e-9):
            raise ValueError("groups with `share` need the mix's `total`, and their shares add up to 1 at most")
        return self


class Recipe(_Strict):
    """A whole recipe. `root` is `samples` (the project's own) or `DATA` (the folder given on the command line)."""

    description: str
    root: Literal["samples", "DATA"]
    seed: int = 0
    mcqa_answers: list[Literal["letter", "explained"]] = Field(min_length=1)
    languages: list[Lang] = Field(default=["en", "ar"], min_length=1)  # of what is written for training; test sets stay whole
    deduplicate: Deduplication | None = None
    decontaminate: Decontamination = Decontamination()
    hold_out: float = Field(default=0.0, ge=0, lt=1)  # share of the training questions, with their translations, that becomes validation
    seen: int | None = Field(default=None, ge=0)  # most questions in eval/seen_<lang>.jsonl; all where it is absent
    mix: Mix | None = None
    sources: list[Source] = Field(min_length=1)


def name_of(recipe: str) -> str:
    """The name of a recipe given as a name or as a path: bimed1.3m keeps its dot."""
    return Path(recipe).name.removesuffix(".yaml").removesuffix(".yml")


def load(name: str) -> Recipe:
    """The recipe called `name`, or a path to a YAML file; BadInput names the key that is wrong and those that exist.

    A recipe may take all keys of another (`extends: bimed1.3m`) and set some of them anew.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    try:
        return Recipe.model_validate(_read(name, path))
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in e['loc']) or 'recipe'}: {e['msg']} (found {e['input']!r})" for e in error.errors()]
        known = ", ".join(Recipe.model_fields)
        raise BadInput(
            f"{path}:\n" + "\n".join(lines) + f"\nkeys of a recipe: {known}; of a source: from, reader, file, split, take and its reader's"
        ) from error


def _read(name: str, path: Path) -> object:
    if not path.is_file():
        known = ", ".join(sorted(name_of(recipe.name) for recipe in RECIPES.glob("*.yaml")))
        raise BadInput(f"there is no recipe {name!r}: choose one of {known}, or name a .yaml file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not YAML in UTF-8 ({error})") from error
    if isinstance(content, dict) and isinstance(content.get("extends"), str):
        base = content.pop("extends")
        if base == name_of(str(path)):
            raise BadInput(f"{path}: it extends itself; name the recipe that it is made from")
        extended = _read(base, RECIPES / f"{base}.yaml")
        return {**extended, **content} if isinstance(extended, dict) else content
    return content
