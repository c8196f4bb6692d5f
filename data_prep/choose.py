"""Choose the rows that the language-model steps work on: of the built data set, as records, one file for each source that a model makes.

    python -m data_prep.choose --recipe bimed1.3m --data path/to/copies
    python -m data_prep.choose --recipe bimed1.3m --only medmcqa_ar,benchmark_ar

Only rows that stand in train.jsonl or validation.jsonl are chosen: none that is a leak, a copy or not taken. Writes BUILD/generate/RECIPE/NAME.jsonl
(the form of data_prep/sources/records.py, in the order in which the sources are read) and NAME.manifest.json. A recipe that takes generated sources
gets one file for each, with the paper's count of training rows, and `benchmark_ar` with its test questions and few-shot examples. Any other recipe
gets RECIPE_ar, RECIPE_benchmark_ar, RECIPE_chats_en and RECIPE_chats_ar, each of all the rows that fit.
"""

import argparse
import re
import sys
from array import array
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from data_prep import files, matching, recipe, registry
from data_prep.build import beside, root_of
from data_prep.built import SPLITS, Built, open_built
from data_prep.corpus import CODES, strip
from data_prep.locate import Located, locate, read
from data_prep.mix import draw
from data_prep.records import BadInput, Reject, as_row
from data_prep.wording import Lang

STEPS = ("translate", "chats")
REPEATED = "medqa_5options"  # the questions of medqa once more: they keep training clean and are asked of nobody


@dataclass(frozen=True)
class Job:
    """One file to make: by which step, in which language, from which rows. `sources` and `kind`: None takes all; `rows`: the most training rows."""

    name: str
    step: Literal["translate", "chats"]
    lang: Lang
    sources: tuple[str, ...] | None = None
    kind: str | None = None
    rows: int | None = None
    benchmark: bool = False

    @property
    def wanted(self) -> str:
        """What it is made from, in words."""
        if self.benchmark:
            return "test question or few-shot example"
        of = f" of {', '.join(self.sources)}" if self.sources else ""
        return f"row{f' of the kind {self.kind}' if self.kind else ''}{of}"


@dataclass
class Listed:
    """The English rows of train.jsonl and validation.jsonl, each record once: hashes of its id and origin, source, kind, and whether it validates."""

    ids: np.ndarray
    origins: np.ndarray
    source: np.ndarray
    kind: np.ndarray
    held: np.ndarray
    sources: list[str]


def jobs(name: str, plan: recipe.Recipe) -> list[Job]:
    """What the language-model steps can make for a recipe."""
    entries = {source.registered: registry.entries()[source.registered] for source in plan.sources if source.registered}
    made = {name: entry for name, entry in entries.items() if entry.made and name != "benchmark_ar"}
    if made or "benchmark_ar" in entries:
        found = [Job(name, of.made.step, of.lang, tuple(of.made.sources), of.made_from, of.expected) for name, of in made.items()]
        return [*found, Job("benchmark_ar", "translate", "ar", benchmark=True)]
    name = recipe.name_of(name)
    found = [Job(f"{name}_ar", "translate", "ar"), Job(f"{name}_benchmark_ar", "translate", "ar", benchmark=True)]
    return found + [Job(f"{name}_chats_{lang}", "chats", lang, kind="mcqa") for lang in ("en", "ar")]


def asked_for(found: list[Job], step: str | None, only: list[str] | None) -> list[Job]:
    """The jobs of one step, or those that are named. BadInput names the jobs there are."""
    for name in only or ():
        job = next((job for job in found if job.name == name), None)
        if job is None:
            raise BadInput(f"nothing is called {name!r} here: choose from {', '.join(job.name for job in found)}")
        if step not in (None, job.step):
            raise BadInput(f"{name} is made by the step {job.step}: make {job.step} ONLY={name}")
    return [job for job in found if step in (None, job.step) and (not only or job.name in only)]


def unchanged(built: Built, plan: recipe.Recipe, located: Located) -> None:
    """BadInput where the data set was built by another recipe or from other files: its rows could not be told in the sources."""
    again = f"build it again: make data RECIPE={built.recipe}"
    if built.manifest["config"] != plan.model_dump(by_alias=True, mode="json"):
        raise BadInput(f"{built.folder}: it was built before the recipe was changed; {again}")
    before = [entry for entry in built.manifest["inputs"] if not generated(entry["source"])]
    items = [item for item in located.found if not generated(item.source.registered)]
    then, now = [entry["file"] for entry in before], [item.file for item in items]
    if gone := [file for file in then if file not in now]:
        raise BadInput(f"{built.folder}: it was built from {gone[0]}, which is not there now; name the same DATA=<folder>, or {again}")
    if then != now:
        raise BadInput(f"{built.folder}: it was built without {next(file for file in now if file not in then)}; {again}")
    for entry, item in zip(before, items, strict=True):
        sums = {name: files.sha256(path) for name, path in beside(item).items()}
        if (files.sha256(item.path), sums) != (entry["sha256"], entry["beside"]):
            raise BadInput(f"{item.path}: it is not the file that {built.folder} was built from; {again}")


def generated(name: str | None) -> bool:
    """Whether a source is one that a language model makes."""
    return name is not None and registry.entries()[name].made is not None


def listed(built: Built, plan: recipe.Recipe) -> Listed:
    """Read which English records the data set uses. A record has several rows where `mcqa_answers` or `upsample` say so; the ends of their ids tell them."""
    copied = plan.mix is not None and any(group.upsample > 1 for group in plan.mix.groups)
    copy, answer = re.compile(r":copy\d+$"), re.compile(rf":({'|'.join(plan.mcqa_answers)})$")
    ids, origins, of, kinds, held = array("Q"), array("Q"), array("H"), array("B"), array("B")
    codes: dict[str, int] = {}
    for split in SPLITS:
        for row in tqdm(built.rows(f"{split}.jsonl"), desc=f"{split}.jsonl", unit=" rows", disable=None):
            if row["lang"] != "en":
                continue
            name = copy.sub("", row["id"]) if copied else row["id"]
            name = answer.sub("", name) if row["kind"] == "mcqa" and len(plan.mcqa_answers) > 1 else name
            ids.append(matching.key([name]))
            origins.append(matching.key([row["origin_id"]]))
            of.append(codes.setdefault(row["source"], len(codes)))
            kinds.append(CODES[row["kind"]])
            held.append(split == "validation")
    columns = [np.array(column) for column in (ids, origins, of, kinds, held)]
    once = np.unique(columns[0], return_index=True)[1]
    columns = [column[once] for column in columns]
    return Listed(*columns[:4], columns[4].astype(bool), list(codes))


def taken(job: Job, rows: Listed, seed: int) -> tuple[np.ndarray, int]:
    """The ids (hashes) of the rows that a job takes, and how many training rows it could take.

    The draw is the mix's, so the English rows that the mix took first are translated first. Validation rows come in the same share as training rows:
    else a held-out question would have no translation to validate with.
    """
    fits = np.ones(len(rows.ids), bool)
    if job.sources is not None:
        fits &= np.isin(rows.source, [code for code, name in enumerate(rows.sources) if name in job.sources])
    if job.kind is not None:
        fits &= rows.kind == CODES[job.kind]
    order = draw(rows.origins, seed)
    trains = np.flatnonzero(fits & ~rows.held)
    if job.rows is None or len(trains) <= job.rows:
        return rows.ids[fits], len(trains)
    chosen = trains[np.lexsort((rows.ids[trains], order[trains]))[: job.rows]]
    held = np.flatnonzero(fits & rows.held & (order <= order[chosen].max()))
    return rows.ids[np.concatenate([chosen, held])], len(trains)


def questions(built: Built) -> tuple[np.ndarray, int]:
    """The ids (hashes) of the English test questions and few-shot examples, and how many."""
    sets = [file for file in built.sets() if not Path(file).stem.startswith("seen_")]
    rows = (row for file in sets for row in built.rows(file) if row["lang"] == "en" and row["benchmark"] != REPEATED)
    ids = np.array([matching.key([row["id"]]) for row in rows], np.uint64)
    return ids, len(ids)


def write(chosen: dict[Job, np.ndarray], located: Located, built: Built, out: Path) -> dict[str, dict]:
    """Read the sources again and write each job's records; returns rows and sha256 of each file. BadInput where a row is not found again."""
    ids = np.unique(np.concatenate(list(chosen.values())))
    places = {job: np.searchsorted(ids, mine) for job, mine in chosen.items()}
    takes = np.zeros((len(ids), len(chosen)), bool)
    for number, place in enumerate(places.values()):
        takes[place, number] = True
    seen, counts, outputs = np.zeros(len(ids), bool), dict.fromkeys(chosen, 0), {}
    with files.aside(out / "rows") as aside, ExitStack() as stack:
        sheets = [stack.enter_context(files.open_lines(aside / job.name)) for job in chosen]
        for item in (item for item in located.found if not generated(item.source.registered)):
            for record in tqdm(read(item), desc=item.file, unit=" rows", disable=None):
                if isinstance(record, Reject) or record.lang != "en":
                    continue
                name = matching.key([record.id.strip()])
                place = int(np.searchsorted(ids, np.uint64(name)))
                if place == len(ids) or ids[place] != name or seen[place]:  # an id that stands twice belongs to the first, as in the build
                    continue
                seen[place] = True
                line = files.line(strip(as_row(record)))
                for number, job in enumerate(chosen):
                    if takes[place, number]:
                        sheets[number].write(line)
                        counts[job] += 1
        stack.close()
        if not seen.all():
            raise BadInput(f"{built.folder}: {(~seen).sum():,} of its rows are not in the sources; build it again: make data RECIPE={built.recipe}")
        for job, rows in counts.items():
            path = out / f"{job.name}.jsonl"
            outputs[job.name] = {"rows": rows, "sha256": files.sha256(aside / job.name)}
            if not path.is_file() or files.sha256(path) != outputs[job.name]["sha256"]:
                files.put(aside / job.name, path)
    return outputs


def choose(name: str, data: Path | None, build: Path, step: str | None = None, only: list[str] | None = None) -> dict[Job, Path]:
    """Write the files of a recipe's jobs, of one `step` or those named in `only`, and print a line for each. Raises BadInput."""
    plan = recipe.load(name)
    wanted = asked_for(jobs(name, plan), step, only)
    built = open_built(build / "data" / recipe.name_of(name))
    located = locate(plan, root_of(name, plan, data), build, ask=False)
    unchanged(built, plan, located)
    out = build / "generate" / recipe.name_of(name)
    rows = listed(built, plan) if any(not job.benchmark for job in wanted) else None
    found = {job: questions(built) if job.benchmark else taken(job, rows, plan.seed) for job in wanted}
    for job in [job for job, (ids, _) in found.items() if not len(ids)]:
        print(f"{job.name}: {built.folder} holds no English {job.wanted}, so there is nothing to {job.step}", file=sys.stderr)
        del found[job]
    if not found:
        raise BadInput(f"{built.folder}: nothing to choose from; build a recipe with English rows (languages: [en, ar])")
    outputs = write({job: ids for job, (ids, _) in found.items()}, located, built, out)
    made = {}
    for job, (ids, had) in found.items():
        account = {"recipe": recipe.name_of(name), "job": job.__dict__, "seed": plan.seed, "had": had, **outputs[job.name]}
        of = built.sets() if job.benchmark else [f"{split}.jsonl" for split in SPLITS]
        account |= {"built": {file: built.manifest["outputs"][file]["sha256"] for file in of}}
        files.save(out / f"{job.name}.manifest.json", files.json_text(account | {"git_commit": files.git_commit()}).encode())
        made[job] = out / f"{job.name}.jsonl"
        held = len(ids) - min(had, job.rows or had)
        kinds = f"{had:,} questions" if job.benchmark else f"{len(ids) - held:,} of {had:,} training rows, {held:,} validation rows"
        print(f"{made[job]}: {kinds}; sha256 {outputs[job.name]['sha256'][:16]}")
    return made


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which rows."""
    parser.add_argument("--recipe", default="tiny", help="the recipe of a built data set (%(default)s)")
    parser.add_argument("--data", type=Path, help="folder of the real files, the one that it was built from")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    parser.add_argument("--only", type=lambda text: [name for name in text.split(",") if name], help="names of files, with commas (all)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--step", choices=STEPS, help="only the files of this step")
    args = parser.parse_args()
    try:
        choose(args.recipe, args.data, args.build, args.step, args.only)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
