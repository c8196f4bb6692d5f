"""The questions of the chat evaluation: our own sets in eval/chats/*.yaml, each entry in both languages, and the rows that are made of them.

An entry of open, history, dose and urgent: {id, en: [messages of the patient], ar: [the same], expects: [what a safe answer holds], must_not: [what it must
not say], doses: [amounts that may be named], switch: the exchange from which the patient goes on in the other language}. An entry of claims has `claim`, the
false one, and en and ar give the question in four strengths. What the judge is told (expects, must_not, doses, claim) is in English. An entry gives a row in
each language (and strength). Errors: BadInput with file, entry and what to do.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from data_prep.files import read_jsonl
from data_prep.records import BadInput, Reject, Text
from data_prep.wording import Lang
from eval.chat_code import NAMES, SHARE, share

FOLDER = Path(__file__).parent / "chats"
SETS = ("open", "history", "dose", "claims", "urgent")
STRENGTHS = ("neutral", "mild", "strong", "writing")  # how strongly a false claim is presupposed, from asking about it to asking for a text in its favour
LANGS: tuple[Lang, Lang] = ("en", "ar")
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Entry(_Form):
    """What every entry has."""

    id: Name
    expects: Annotated[list[Text], Field(min_length=1)]
    must_not: Annotated[list[Text], Field(min_length=1)]
    doses: list[Text] = []

    def versions(self) -> Iterator[tuple[str | None, dict[Lang, list[str]]]]:
        """(strength, the patient's messages by language)."""
        raise NotImplementedError


class Asked(_Entry):
    """A chat of one or more messages. `switch` 2: the first message in one language, all others in the other."""

    en: Annotated[list[Text], Field(min_length=1)]
    ar: Annotated[list[Text], Field(min_length=1)]
    switch: int | None = None

    @model_validator(mode="after")
    def _parallel(self) -> "Asked":
        if len(self.en) != len(self.ar):
            raise ValueError(f"{len(self.en)} messages in English and {len(self.ar)} in Arabic; write the same chat in both")
        if self.switch is not None and not 2 <= self.switch <= len(self.en):
            raise ValueError(f"switch is {self.switch}; it is the number of a message from 2 to {len(self.en)}")
        return self

    def versions(self):
        yield None, {"en": self.en, "ar": self.ar}


class Strengths(_Form):
    """One claim, presupposed ever more strongly."""

    neutral: Text
    mild: Text
    strong: Text
    writing: Text


class Claim(_Entry):
    """A false claim in four strengths."""

    claim: Text
    en: Strengths
    ar: Strengths

    def versions(self):
        for strength in STRENGTHS:
            yield strength, {lang: [getattr(getattr(self, lang), strength)] for lang in LANGS}


class Question(_Form):
    """One row: what the patient says in one language, and what the judge knows of it. `langs`: of each message."""

    id: Text
    entry: Text
    set: Literal[SETS]
    lang: Lang
    strength: Literal[STRENGTHS] | None = None
    patient: Annotated[list[Text], Field(min_length=1)]
    langs: list[Lang]
    expects: list[Text]
    must_not: list[Text]
    doses: list[Text] = []
    claim: Text | None = None
    file: str = Field(default="", exclude=True)
    row: int = Field(default=0, exclude=True)


def load(folder: Path = FOLDER, only: tuple[str, ...] = SETS, langs: tuple[Lang, ...] = LANGS) -> list[Question]:
    """The rows of the sets in a folder, set by set; the file NAME.yaml holds the set NAME."""
    found = [question for name in only for question in _read(folder / f"{name}.yaml", name) if question.lang in langs]
    if not found:
        raise BadInput(f"{folder}: no question in it; it holds {', '.join(f'{name}.yaml' for name in SETS)}")
    return found


def _read(path: Path, name: str) -> Iterator[Question]:
    if name not in SETS:
        raise BadInput(f"there is no set {name!r}; there are {', '.join(SETS)}")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"{path}: there is no such file; name the sets that the folder holds with --only") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(entries, list) or not entries:
        raise BadInput(f"{path}: a list of entries is needed, each begins with `- id:`")
    seen: dict[str, int] = {}
    for row, content in enumerate(entries, start=1):
        where = f"{path}, entry {row}" + (f" ({content['id']})" if isinstance(content, dict) and "id" in content else "")
        try:
            entry = (Claim if name == "claims" else Asked).model_validate(content)
        except ValidationError as error:
            said = "; ".join(f"{'.'.join(map(str, part['loc'])) or 'the entry'}: {part['msg']}" for part in error.errors()[:5])
            raise BadInput(f"{where}: {said}; eval/chat_sets.py has the form") from error
        if entry.id in seen:
            raise BadInput(f"{where}: this id stands already in entry {seen[entry.id]}; rename one of the two")
        seen[entry.id] = row
        yield from _questions(entry, name, where)


def _questions(entry: _Entry, name: str, where: str) -> Iterator[Question]:
    common = {"entry": f"{name}/{entry.id}", "set": name, **entry.model_dump(include={"expects", "must_not", "doses", "claim"})}
    for strength, texts in entry.versions():
        for lang in LANGS:
            for number, text in enumerate(texts[lang], start=1):
                if share(text, lang) < SHARE:
                    raise BadInput(f"{where}: {lang} {strength or number} is not in {NAMES[lang]}; write it in that language ({text[:60]!r})")
            other = "ar" if lang == "en" else "en"
            switch = getattr(entry, "switch", None) or len(texts[lang]) + 1
            langs = [lang if number < switch else other for number in range(1, len(texts[lang]) + 1)]
            patient = [texts[of][number] for number, of in enumerate(langs)]
            names = [name, entry.id, *([strength] if strength else []), lang]
            yield Question(id=f"{names[0]}/{':'.join(names[1:])}", lang=lang, strength=strength, patient=patient, langs=langs, **common)


def read(path: Path, kind: type[_Form] = Question) -> Iterator[_Form | Reject]:
    """The rows of a JSONL file, those that are none as rejects with file, row and what is wrong."""
    for row, content in read_jsonl(path):
        if isinstance(content, Reject):
            yield content
            continue
        try:
            yield kind.model_validate(content | {"file": path.name, "row": row})
        except ValidationError as error:
            said = "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors()[:5])
            yield Reject(reason="invalid_row", file=path.name, row=row, message=f"{said}; correct the row or make the file anew", content=content)
