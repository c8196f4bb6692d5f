"""A built data set, BUILD/data/RECIPE/, as the steps after the build read it: the manifest with every key, the files checked, the rows streamed.

Manifests differ: the sample recipe knows nothing of mixing, older ones nothing of licences. What a manifest leaves out is filled in here and
nowhere else, with a value that means "not known" (null, or an empty list), so that later steps ask for one form only.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from data_prep import files, registry
from data_prep.records import BadInput

SPLITS = ("train", "validation")
ABSENT = {"missing": [], "mix": None, "ratio": None, "deduplication": None, "contamination": None}
ABSENT_OF_INPUT = {"source": None, "sources": None, "licence": None, "redistribute": None, "terms": None, "hub": None, "expected": None}
ABSENT_OF_INPUT |= {"beside": {}, "groups": []}
OUR_SAMPLES = {"licence": "Apache-2.0", "redistribute": True}  # data_prep/samples, under the licence of the code


@dataclass(frozen=True)
class Built:
    """The folder and its manifest, complete. `open_built` makes one."""

    folder: Path
    manifest: dict

    @property
    def recipe(self) -> str:
        """The recipe's name; of a recipe that was named by its path, the last part: no private path goes into a release."""
        return Path(self.manifest["recipe"]).name.removesuffix(".yaml").removesuffix(".yml")

    def rows(self, file: str) -> Iterator[dict]:
        """The rows of one JSONL file of the folder; BadInput names the line that is none."""
        with (self.folder / file).open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield self.row(file, number, line)

    def row(self, file: str, number: int, line: bytes) -> dict:
        """One line as an object."""
        try:
            content = json.loads(line)
            if not isinstance(content, dict):
                raise ValueError(f"a JSON {type(content).__name__} where an object is needed")
            return content
        except ValueError as error:
            raise BadInput(f"{self.folder / file}, row {number}: not a JSON object ({error}); build the data set again") from error

    def sets(self) -> list[str]:
        """The question sets of eval/, as the manifest lists them."""
        return [file for file in self.manifest["outputs"] if file.startswith("eval/")]

    def withheld(self) -> dict[str, str]:
        """Part -> why its rows may not be published. A row does not know its file: one closed input closes the whole part, and a closed source what a
        language model made of it."""
        closed = {}
        for entry in self.manifest["inputs"]:
            for name in entry["parts"]:
                if entry["redistribute"] is False:
                    closed[name] = f"its terms do not let us pass it on ({entry['terms'] or entry['licence'] or 'no licence stated'})"
                elif entry["redistribute"] is None:
                    closed.setdefault(name, "nothing says that it may be passed on: neither the registry nor the recipe")
        of_source = {_part(*group): group[0] for entry in self.manifest["inputs"] for group in entry["groups"]}
        return {part: closed[source] for part, source in of_source.items() if part in self.known and source in closed} | closed

    @cached_property
    def sources(self) -> set[str]:
        """The record sources that the manifest names."""
        return {name for entry in self.manifest["inputs"] for name in entry["sources"]}

    @cached_property
    def known(self) -> set[str]:
        """The parts that the manifest names: a record source, or source, language and kind of what a language model made from it."""
        return {name for entry in self.manifest["inputs"] for name in entry["parts"]}

    def part_of(self, row: dict) -> str:
        """The part that a row belongs to: its source, but for the translations and chats of that source, which have terms of their own."""
        source = self.source_of(row)
        part = _part(source, row.get("lang"), row.get("kind", "mcqa"))  # an evaluation row is a question
        return part if part in self.known else source

    def source_of(self, row: dict) -> str:
        """The record source of a row. An evaluation row does not say it: its id opens with it (medqa:test:..), MMLU's with the subject too (mmlu_anatomy)."""
        if row.get("source"):
            return row["source"]
        opening = row["id"].split(":", 1)[0]
        return max((name for name in self.sources if f"{opening}_".startswith(f"{name}_")), key=len, default=opening)


def _part(source: str, lang: str | None, kind: str) -> str:
    return f"{source} ({lang}, {kind})"


def config_of(file: str) -> tuple[str, str]:
    """The Hub's config and split of a file of eval/: test questions, few-shot examples, or the questions of train.jsonl (`seen_`)."""
    name = Path(file).stem
    if name.endswith("_dev"):
        return name.removesuffix("_dev"), "dev"
    return name, "train" if name.startswith("seen_") else "test"


def open_built(folder: Path) -> Built:
    """Read the manifest and compare every file with the sum that stands there. Raises BadInput where the folder is not what was built."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise BadInput(f"{path} is missing: build the data set first (make data RECIPE={folder.name}), or name its folder")
    manifest = files.read_json(path)
    if not isinstance(manifest, dict) or not {"recipe", "config", "inputs", "outputs", "rejected"} <= manifest.keys():
        raise BadInput(f"{path}: not the manifest of a data set; build the data set again")
    for file, entry in tqdm(manifest["outputs"].items(), desc="sums", unit=" files", disable=None):
        if not (folder / file).is_file():
            raise BadInput(f"{folder / file} is missing, but the manifest lists it; build the data set again")
        if files.sha256(folder / file) != entry["sha256"]:
            raise BadInput(f"{folder / file} is not the file that was built: its sha256 is not the manifest's; build the data set again")
    return Built(folder, complete(manifest))


def complete(manifest: dict) -> dict:
    """The manifest with every key that later steps ask for, and with the registry's description of each input."""
    samples = manifest["config"].get("root") == "samples"
    inputs = []
    for entry in manifest["inputs"]:
        entry = ABSENT_OF_INPUT | entry
        if samples and entry["source"] is None:
            entry |= {key: value for key, value in OUR_SAMPLES.items() if entry[key] is None}
        known = registry.entries().get(entry["source"]) if entry["source"] else None
        entry |= {
            "sources": entry["sources"] or [entry["reader"]],  # before they were written down, records bore the reader's name
            "terms": entry["terms"] or (known and known.terms),  # as they were when it was built
            "describes": known and known.describes,
        }
        made = entry["groups"] if known and known.made else []  # by a language model, from rows that bear the same source
        entry["parts"] = [_part(*group) for group in made] or entry["sources"]
        inputs.append(entry)
    return ABSENT | manifest | {"inputs": inputs}
