"""A model that knows the project's own samples, which we wrote in both languages, behind a real endpoint; and a run of the translation command."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep import translate
from data_prep.records import OpenQuestion, Record, as_row
from data_prep.sources import samples
from tests.conftest import ROOT
from tests.data_prep.standin import standin

MODEL = "some-model"


def pairs() -> list[tuple[Record, Record]]:
    """The samples, English and Arabic."""
    found = [record for path in sorted((ROOT / "data_prep" / "samples").glob("*.jsonl")) for record in samples.read(path)]
    return list(zip(found[::2], found[1::2], strict=True))


PAIRS = pairs()
ARABIC = {en.id: translate.texts(ar) for en, ar in PAIRS}
GOOD = {en.id.split(":")[-2]: (en, ARABIC[en.id]) for en, _ in PAIRS if en.split == "train"}


def qa(name: str, question: str, answer: str, **fields: object) -> OpenQuestion:
    return OpenQuestion(**dict(id=f"t:{name}:en", origin_id=f"t:{name}", lang="en", source="t", split="train", question=question, answer=answer) | fields)


def quoted(text: str) -> Iterator[object]:
    """The JSON values that stand in a prompt, in order."""
    at = 0
    while match := re.search(r"[{\[]", text[at:]):
        value, length = json.JSONDecoder().raw_decode(text[at + match.start() :])
        at += match.start() + length
        yield value


@dataclass(frozen=True)
class Asked:
    """One request: which row (by the English texts), `Translation` or `Score`, the round, and what the prompt quotes after the English."""

    english: dict
    form: str
    round: int
    quoted: list
    body: dict


class Model:
    """A model that translates what it was taught. `does` may give another answer: it takes the request and the right answer."""

    def __init__(self, rows: list[tuple[Record, dict[str, str]]], does: Callable[[Asked, dict], object] = lambda asked, right: right) -> None:
        self.known = {json.dumps(translate.texts(record)): arabic for record, arabic in rows}
        self.does, self.asked, self.rounds = does, [], defaultdict(Counter)

    def __call__(self, body: dict) -> object:
        english, *others = quoted(body["messages"][1]["content"])
        form, key = body["response_format"]["json_schema"]["name"], json.dumps(english)
        if len(body["messages"]) == 2:  # else it was shown an error
            self.rounds[key][form] += 1
        asked = Asked(english, form, self.rounds[key][form], others, body)
        self.asked.append(asked)
        return self.does(asked, self.known[key] if form == "Translation" else {"feedback": "", "score": 95})


class Ran:
    """A run of the command over these records, and its files."""

    def __init__(self, folder: Path, rows: list[Record], model: Model, *options: object) -> None:
        folder.mkdir(exist_ok=True)
        source, self.out, self.model = folder / "rows.jsonl", folder / "ar.jsonl", model
        source.write_text("".join(json.dumps(as_row(record), ensure_ascii=False) + "\n" for record in rows), encoding="utf-8")
        with standin(model, MODEL):
            line = ["--in", source, "--out", self.out, "--model", MODEL, "--journal", folder / "journal.sqlite", "--concurrency", 8, *options]
            self.code = translate.main(list(map(str, line)))

    def file(self, suffix: str = "") -> list[dict]:
        path = self.out.with_name(f"ar.{suffix}.jsonl") if suffix else self.out
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line] if path.exists() else []

    def outcomes(self) -> dict[str, str]:
        """What became of each row."""
        found = [(line["id"], "accepted") for line in self.file()] + [(line["id"], line["why"]) for line in self.file("review")]
        found += [(line["id"], line["reason"]) for suffix in ("failed", "unread") for line in self.file(suffix) if "id" in line]
        assert len(found) == len(dict(found)), "a row stands twice"
        return dict(found)
