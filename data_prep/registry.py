"""The registry of public sources: data_prep/sources/registry.yaml, one row a source, checked here.

A recipe takes a source by its name (`from: medmcqa_train`). What the row says decides where the rows come from: the first of its local files
that lies below DATA, else the Hub at the pinned revision. A source that needs a licence or a login, or that is made by a language model, is
never downloaded: the user's own copy is read, or what `make translate` and `make chats` wrote, or the source is reported as missing.
"""

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data_prep.records import BadInput, Split
from data_prep.wording import Lang

FILE = Path(__file__).parent / "sources" / "registry.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hub(_Strict):
    """A data set on the Hugging Face Hub; `options` are the reader's for this form. Without a revision the newest is taken and recorded."""

    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    config: str | None = None
    split: str
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    options: dict[str, object] = {}


class Local(_Strict):
    """A file below DATA that stands in for the Hub's; `rows` where it is a part of the whole."""

    file: str
    options: dict[str, object] = {}
    rows: int | None = None


class Made(_Strict):
    """How a generated source comes about: the step, and the `source` of the English records that it takes. A translation keeps the kind of a record,
    a chat is made from a multiple-choice question."""

    step: Literal["translate", "chats"]
    sources: list[str] = Field(min_length=1)


class Entry(_Strict):
    """One source. `split` is null where the reader decides row by row, `lang` is that of its rows, `expected` what its owner
    counts (null where that differs from release to release)."""

    describes: str
    home: str
    licence: str
    terms: str | None = None
    access: Literal["open", "login", "own_copy", "generated"]
    redistribute: bool
    lang: Lang
    kind: Literal["mcqa", "qa", "chat"]
    reader: str
    split: Split | None
    expected: int | None = Field(gt=0)
    columns: list[str]
    hub: Hub | None = None
    made: Made | None = None
    local: list[Local] = Field(min_length=1)
    supply: str

    @model_validator(mode="after")
    def _downloads_only_what_may_be(self) -> "Entry":
        if self.access in ("own_copy", "generated") and self.hub is not None:
            raise ValueError(f"a source with access {self.access} is never downloaded, so it has no hub")
        return self

    @model_validator(mode="after")
    def _says_how_it_is_made(self) -> "Entry":
        if (self.access == "generated") != (self.made is not None):
            raise ValueError("a source with access generated says by `made` how it comes about, and no other does")
        if self.made and (self.made.step == "chats") != (self.kind == "chat"):
            raise ValueError(f"the step {self.made.step} makes no rows of the kind {self.kind}")
        if self.made and self.made.step == "translate" and self.lang != "ar":
            raise ValueError("the step translate writes Arabic")
        return self

    @property
    def made_from(self) -> str | None:
        """The kind of the records that a generated source is made from."""
        return self.made and ("mcqa" if self.made.step == "chats" else self.kind)


@cache
def entries() -> dict[str, Entry]:
    """All rows of the registry by name, in the file's order; BadInput names the row and the key that is wrong."""
    rows = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    found = {}
    for name, row in rows.items():
        try:
            found[name] = Entry.model_validate(row)
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInput(f"{FILE.name}, {name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return found
