"""A user's own questions from a CSV, TSV, XLSX, JSON, JSONL or parquet file, by the columns that the recipe names (docs/OWN_DATA.md).

What can be read in one way only becomes a record; any other row becomes a reject with its number and what to do. Nothing is guessed:
how the answer names the right option, the language, the delimiter and an encoding other than UTF-8 are said by the recipe.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data_prep.quoting import quotable
from data_prep.records import BadInput, MultipleChoice, OpenQuestion, Record, Reject, attempt
from data_prep.sources import choices, tabular
from data_prep.sources.choices import Refusal
from data_prep.sources.tabular import Column, Layout
from data_prep.wording import Lang

LANGS = {name: lang for lang, names in {"en": "en eng english", "ar": "ar ara arabic عربي عربية عربى العربية"}.items() for name in names.split()}
LANGS |= dict.fromkeys(("إنجليزي", "انجليزي", "إنجليزية", "انجليزية", "الإنجليزية", "الانجليزية"), "en")
ORIGIN = re.compile(r"\w+:(?:train|validation|dev|test):.+", re.DOTALL)  # a whole origin_id, as the rows of a data set carry it


class Columns(BaseModel):
    """Which column holds what: a name of the header, or a number from 1. `options` is a list where each option has its own column."""

    model_config = ConfigDict(extra="forbid", strict=True)
    question: Column
    answer: Column
    options: Column | Annotated[list[Column], Field(min_length=2, max_length=10)] | None = None
    id: Column | None = None
    explanation: Column | None = None
    context: Column | None = None
    origin_id: Column | None = None
    benchmark: Column | None = None


class Plan(Layout):
    """The keys of a source that is read with `table`, beside those of every source."""

    source: str = Field(pattern=r"^\w+$")
    kind: Literal["mcqa", "qa"]
    columns: Columns
    lang: Lang | None = None
    lang_column: Column | None = None
    answer: Literal["letter", "index0", "index1", "text"] | None = None
    options_separator: str | None = Field(default=None, min_length=1)
    letters: Annotated[list[str], Field(min_length=2, max_length=5)] | None = None
    benchmark: str | None = Field(default=None, pattern=r"^\w+$")

    @model_validator(mode="after")
    def _fits_together(self) -> "Plan":
        if (self.lang is None) == (self.lang_column is None):
            raise ValueError("say the language once: `lang: ar` or `lang: en` for the whole file, or `lang_column` for a column that holds it")
        if self.kind == "mcqa" and (self.answer is None or self.columns.options is None):
            raise ValueError("`kind: mcqa` needs `columns: {options: ..}`, and `answer: letter`, `index0`, `index1` or `text`: how the column names the option")
        of_mcqa = {"answer", "options_separator", "letters", "benchmark"} & self.model_fields_set
        of_mcqa |= {f"columns.{key}" for key in ("options", "context", "explanation", "benchmark") if getattr(self.columns, key) is not None}
        if self.kind == "qa" and of_mcqa:
            raise ValueError(f"{', '.join(sorted(of_mcqa))}: only for `kind: mcqa`; an open question has a question and an answer in free text")
        if self.letters and len({choices.fold(letter) for letter in self.letters if len(choices.fold(letter)) == 1}) < len(self.letters):
            raise ValueError("`letters` are single letters, each another one, in the order of the options")
        return self


def read(path: Path, split: str = "train", **options: object) -> Iterator[Record | Reject]:
    """Yield a record or a reject for each row below the header. `options` are the keys of `Plan`.

    Raises BadInput when a key of the recipe is wrong, when a column is not in the file, and when the file as a whole cannot be read.
    """
    plan = _plan(path, options)
    if plan.kind == "qa" and split not in ("train", "validation"):
        raise BadInput(f"recipe, {path.name}: split is {split!r}, but open questions are for train and validation: there is no evaluation of them")
    table = tabular.open_table(path, plan)
    keys = _keys(table, plan)
    letters = choices.alphabet(plan.letters)
    firsts: dict[bytes, int] = {}  # what a row says, hashed -> the first row that says it
    absent = {column for key in keys.values() for column in (key if isinstance(key, list) else [key])}
    names: dict[str, None] = {}  # of the columns seen, in JSON and parquet
    rows = False
    for number, cells in table.rows:
        if isinstance(cells, Reject):
            yield cells
            continue
        rows = True
        absent -= cells.keys()
        if absent and len(names) < 40:
            names |= dict.fromkeys(cells)
        record = _record(table, number, cells, keys, letters, plan, split, firsts)
        yield record.model_copy(update={"content": quotable(cells)}) if isinstance(record, Reject) else record
    if rows and absent and table.keys is None:
        columns = ", ".join(repr(name)[:60] for name in names)
        raise BadInput(f"recipe, {path.name}: columns {', '.join(map(repr, sorted(absent)))}: in no row of the file; it has {columns}; correct the recipe")


def _plan(path: Path, options: dict[str, object]) -> Plan:
    try:
        return Plan.model_validate(options)
    except ValidationError as error:
        lines = []
        for fault in error.errors():
            where = ".".join(str(part) for part in fault["loc"])
            found = f" (found {fault['input']!r})" if where and fault["type"] != "missing" else ""
            lines.append(f"{where}: {fault['msg'].removeprefix('Value error, ')}{found}".removeprefix(": ")[:400])
        known = f"keys of a source read with `table`: {', '.join(Plan.model_fields)}; of columns: {', '.join(Columns.model_fields)}"
        raise BadInput("\n  ".join([f"recipe, {path.name}:", *dict.fromkeys(lines)]) + f"\n{known} (docs/OWN_DATA.md)") from error


def _keys(table: tabular.Table, plan: Plan) -> dict[str, object]:
    """Field -> key of its column in the rows, a list of keys for the options; fields that the recipe does not name are left out."""
    keys: dict[str, object] = {}
    for field, column in plan.columns:
        if isinstance(column, list):
            keys[field] = [table.key(one, f"columns.{field}") for one in column]
        elif column is not None:
            keys[field] = [table.key(column, f"columns.{field}")] if field == "options" else table.key(column, f"columns.{field}")
    if plan.lang_column is not None:
        keys["lang"] = table.key(plan.lang_column, "lang_column")
    return keys


def _record(
    table: tabular.Table, row: int, cells: dict, keys: dict, letters: dict[str, int], plan: Plan, split: str, firsts: dict[bytes, int]
) -> Record | Reject:
    try:
        said = {field: choices.text(cells.get(key), field) for field, key in keys.items() if field not in ("options", "answer")}
        lang = plan.lang or _lang(said["lang"])
        if "id" in said and said["id"] is None:
            raise Refusal("empty_id", "id: is empty; correct the row in the file, or take the id out of the recipe: rows are then named by their number")
        name = said["id"].strip() if "id" in said else f"{table.path.stem}{f'!{plan.sheet}' if plan.sheet else ''}-{row:06d}"
        fields = dict(question=said["question"], answer=cells.get(keys["answer"]), lang=lang, source=plan.source, split=split)
        if plan.kind == "mcqa":
            found = choices.options([cells.get(key) for key in keys["options"]], plan.options_separator, letters)
            fields |= dict(options=found, answer=choices.answer(fields["answer"], plan.answer, found, letters))
            fields |= dict(context=said.get("context"), explanation=said.get("explanation"))
            fields |= dict(benchmark=(said.get("benchmark") or plan.benchmark or plan.source).strip())
        else:
            fields |= dict(answer=choices.text(fields["answer"], "answer"))
    except Refusal as refusal:
        return Reject(reason=refusal.reason, file=table.file, row=row, message=str(refusal))
    own = f"{plan.source}:{split}:{name}"
    origin = (said.get("origin_id") or "").strip()
    origin_id = origin if ORIGIN.fullmatch(origin) else f"{plan.source}:{split}:{origin}" if origin else own
    record = attempt(MultipleChoice if plan.kind == "mcqa" else OpenQuestion, table.file, row, None, id=f"{own}:{lang}", origin_id=origin_id, **fields)
    if isinstance(record, Reject):
        return record
    first = firsts.setdefault(hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode()).digest(), row)
    if first == row:
        return record
    message = f"says what row {first} says; remove one of the two"
    return Reject(reason="duplicate_row", file=table.file, row=row, message=message)


def _lang(said: str | None) -> str:
    name = re.sub(r"[-_](?:[a-z]{2}|[0-9]{3})$", "", (said or "").strip().casefold())  # ar-SA
    if name not in LANGS:
        raise Refusal("invalid_lang" if said else "empty_lang", f"lang: is {(said or '')[:80]!r}; write ar or en")
    return LANGS[name]
