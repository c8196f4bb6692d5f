"""Definitions of the UMLS Metathesaurus (nlm.nih.gov/research/umls): "What is <name>?", answered by the definition, from a user's own licensed copy.

MRDEF.RRF has the definitions, MRCONSO.RRF beside it the names, both rows of fields that each end in `|`. The name is the concept's preferred English
one (LAT=ENG, TS=P, STT=PF, ISPREF=Y) that is not suppressed. A definition has no language of its own: it has that of the atom that it belongs to. MRCONSO
has millions of rows, so both files are read as streams, and only what the definitions ask for stays in memory.
"""

from collections.abc import Iterator
from pathlib import Path

from data_prep.records import BadInput, OpenQuestion, Record, Reject, attempt

MRDEF = ("CUI", "AUI", "ATUI", "SATUI", "SAB", "DEF", "SUPPRESS", "CVF")
MRCONSO = ("CUI", "LAT", "TS", "LUI", "STT", "SUI", "ISPREF", "AUI", "SAUI", "SCUI", "SDUI", "SAB", "TTY", "CODE", "STR", "SRL", "SUPPRESS", "CVF")
PREFERRED = {"LAT": "ENG", "TS": "P", "STT": "PF", "ISPREF": "Y", "SUPPRESS": "N"}


def read(path: Path, split: str = "train", names: str = "MRCONSO.RRF") -> Iterator[Record | Reject]:
    """Yield one open question a definition of `path` (MRDEF.RRF), named by its ATUI; `names` is MRCONSO.RRF beside it."""
    names_file = path.with_name(names)
    if not names_file.is_file():
        raise BadInput(f"{names_file} is missing: it holds the names of what {path.name} defines; both stand in the META folder of a UMLS release")
    defined: dict[str, str] = {}  # concept -> its name
    langs: dict[str, str] = {}  # atom of a definition -> its language
    for _, content in _rows(path, MRDEF):
        if not isinstance(content, Reject):
            defined[content["CUI"]] = langs[content["AUI"]] = ""
    for _, content in _rows(names_file, MRCONSO):
        if isinstance(content, Reject):
            yield content
            continue
        if content["AUI"] in langs:
            langs[content["AUI"]] = content["LAT"]
        if defined.get(content["CUI"]) == "" and all(content[key] == value for key, value in PREFERRED.items()):
            defined[content["CUI"]] = content["STR"].strip()
    for row, content in _rows(path, MRDEF):
        yield content if isinstance(content, Reject) else _record(path.name, row, content, split, defined[content["CUI"]], langs[content["AUI"]])


def _record(file: str, row: int, content: dict, split: str, name: str, lang: str) -> Record | Reject:
    reasons = {
        "suppressed": (content["SUPPRESS"] != "N", "the owner marks the definition as suppressed; nothing to do"),
        "no_atom": (not lang, f"its atom {content['AUI']} is not in MRCONSO, so its language is unknown; take both files from one release, or nothing to do"),
        "other_language": (lang != "ENG", f"the definition is in the language {lang}; nothing to do"),
        "no_english_name": (not name, f"the concept {content['CUI']} has no preferred English name in MRCONSO that is not suppressed; nothing to do"),
    }
    for reason, (holds, message) in reasons.items():
        if holds:
            return Reject(reason=reason, file=file, row=row, message=message, content=content)
    origin_id = f"umls:{split}:{content['ATUI']}"
    common = dict(id=f"{origin_id}:en" if content["ATUI"] else None, origin_id=origin_id, lang="en", source="umls", split=split)
    return attempt(OpenQuestion, file, row, content, question=f"What is {name}?", answer=content["DEF"], **common)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict | Reject]]:
    """Each line as {column: text}; a line with another number of fields, or that is not UTF-8, comes as a Reject."""
    with path.open("rb") as lines:
        for row, line in enumerate(lines, start=1):
            try:
                cells = line.decode("utf-8").rstrip("\r\n").split("|")
                if len(cells) != len(columns) + 1 or cells[-1]:  # every field ends in |, the last too
                    raise ValueError(f"{len(cells) - 1} fields, {len(columns)} are needed, each followed by |")
                yield row, dict(zip(columns, cells, strict=False))
            except ValueError as error:  # of which UnicodeDecodeError is a kind
                message = f"not a row of {path.name} ({error}); is the release whole? correct or remove the line"
                text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
                yield row, Reject(reason="malformed_row", file=path.name, row=row, message=message, content=text)
