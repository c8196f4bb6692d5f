"""Find the file of each source of a recipe: below DATA, in BUILD from an earlier run, or on the Hugging Face Hub.

All sources are looked for before the first one is read, so that a run without network says within seconds what it cannot have, and how to supply
it. A source of the Hub is kept as one parquet file, BUILD/hub/<source>-<revision>.parquet, which appears when it is whole. What the language-model
steps made is BUILD/generated/<source>.jsonl; what people made of it (data_prep/review.py) stands beside it and is read with it.
"""

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from data_prep import recipe, registry
from data_prep.records import BadInput, Record, Reject
from data_prep.sources import READERS

PATIENCE = 5  # seconds that the Hub may take to say whether it has a repository


@dataclass
class Found:
    """A source whose file is known. `file` is its name in messages, `revision` that of the Hub where it comes from there."""

    source: recipe.Source
    path: Path
    file: str
    reader: str
    options: dict[str, object]
    entry: registry.Entry | None = None
    revision: str | None = None


@dataclass
class Missing:
    """A source that cannot be had: why, and how to supply it. `unreachable`: it is on the Hub, and the Hub does not answer."""

    source: str
    why: str
    supply: str
    unreachable: bool = False

    def __str__(self) -> str:
        return f"{self.source}: {self.why}; {self.supply}"


@dataclass
class Located:
    """All sources of a recipe, in its order."""

    found: list[Found] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


def locate(plan: recipe.Recipe, root: Path | None, build: Path, ask: bool = True) -> Located:
    """Find every source. `root` is DATA or the samples' folder, `build` the folder of all outputs. With `ask` false the Hub is left alone: what is there
    is found, the rest is missing, and nothing is raised.

    A file that the recipe names itself must be there (BadInput). A registered source may be missing: with DATA the others are built and the gap is
    reported; without DATA an unreachable Hub stops the run (BadInput naming each missing source).
    """
    hub = build / "hub"
    each = [_below_data(source, root) or _made_here(source, build / "generated") for source in plan.sources]
    asked = dict.fromkeys(_asked(source) for source, found in zip(plan.sources, each, strict=True) if found is None)
    answers = dict.fromkeys(asked, _NoAnswer("it was not fetched", unreachable=False))
    if ask:
        with ThreadPoolExecutor(16) as pool:  # a Hub that does not answer costs its patience once
            answers = dict(zip(asked, pool.map(lambda question: _newest(*question) if question else None, asked), strict=True))
    each = [found or _on_the_hub(source, hub, answers[_asked(source)]) for source, found in zip(plan.sources, each, strict=True)]
    located = Located([item for item in each if isinstance(item, Found)], [item for item in each if isinstance(item, Missing)])
    if ask and located.missing and (not located.found or (root is None and any(item.unreachable for item in located.missing))):
        lines = "\n".join(f"  {item}" for item in located.missing)
        raise BadInput(
            f"{len(located.missing)} of {len(plan.sources)} sources cannot be had:\n{lines}\nput copies below one folder and name it with DATA=<folder>"
        )
    for item in located.found:
        if item.revision and not item.path.is_file():
            fetch(item.entry.hub, item.revision, item.path)
    return located


def _below_data(source: recipe.Source, root: Path | None) -> Found | None:
    """The source's file below DATA, where there is one."""
    if source.reader is not None:
        path = root / source.file
        if not path.is_file():
            raise BadInput(
                f"{path} is missing: the recipe names it for the reader {source.reader!r}; fetch it (docs/DATA.md says where) or take it out of the recipe"
            )
        return Found(source, path, source.file, source.reader, source.reader_options())
    entry = registry.entries()[source.registered]
    for local in entry.local if root is not None else []:
        if (path := root / local.file).is_file() or (entry.made and "reviewed" in _by_people(path)):
            return _with_people(source, path, local.file, entry, local.options)
    return None


def _by_people(path: Path) -> dict[str, str]:
    """The files of people's review beside what a model made, by the reader's keys."""
    named = {key: path.with_name(f"{path.stem}.{key}.jsonl") for key in ("reviewed", "rejected")}
    return {key: file.name for key, file in named.items() if file.is_file()}


def _with_people(source: recipe.Source, path: Path, file: str, entry: registry.Entry, options: dict[str, object]) -> Found:
    """A source's file with those of people's review beside it. Where people have all rows (a test set) theirs may be the only one."""
    people = _by_people(path) if entry.made else {}
    if not path.is_file() and "reviewed" in people:
        path, file, people = path.with_name(people["reviewed"]), str(Path(file).with_name(people["reviewed"])), {}
    return Found(source, path, file, entry.reader, _options(source, entry, options | people), entry)


def _made_here(source: recipe.Source, generated: Path) -> Found | None:
    """What `make translate` or `make chats` wrote for the source, where they did."""
    entry = registry.entries()[source.registered] if source.registered else None
    path = generated / f"{source.registered}.jsonl"
    if entry is None or entry.made is None or not (path.is_file() or "reviewed" in _by_people(path)):
        return None
    return _with_people(source, path, f"{generated.name}/{path.name}", entry, {})


def _options(source: recipe.Source, entry: registry.Entry, of_form: dict[str, object]) -> dict[str, object]:
    return ({"split": entry.split} if entry.split else {}) | of_form | source.reader_options()


def _asked(source: recipe.Source) -> tuple[str, str | None] | None:
    """What the Hub is asked for a source: repository and revision; None where there is nothing to ask."""
    hub = registry.entries()[source.registered].hub
    return (hub.repository, hub.revision) if hub else None


def _on_the_hub(source: recipe.Source, hub: Path, answer: "str | _NoAnswer | None") -> Found | Missing:
    """The source from an earlier run or from the Hub, whose answer is a commit; Missing says why not."""
    entry = registry.entries()[source.registered]
    rows = f" ({entry.expected:,} rows)" if entry.expected else ""
    place = f"{entry.supply.rstrip('.')}; its place is DATA/{entry.local[0].file}{rows}"
    if entry.access == "own_copy":
        return Missing(source.name, f"it needs a licence ({entry.licence}) and is never downloaded", place)
    if entry.access == "generated":
        return Missing(source.name, "made by a language model, not published", f"{place}, or BUILD/generated/{source.name}.jsonl")
    if entry.hub is None:
        return Missing(source.name, "not on the Hub in a form that loads", place)
    kept = sorted(hub.glob(f"{source.name}-{(entry.hub.revision or '')[:12]}*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    if kept and (entry.hub.revision or not isinstance(answer, str)):  # without a pin and a Hub: what was fetched last
        revision = entry.hub.revision or kept[-1].stem.rsplit("-", 1)[1]
        return Found(source, kept[-1], kept[-1].name, entry.reader, _options(source, entry, entry.hub.options), entry, revision)
    if isinstance(answer, _NoAnswer):
        return Missing(source.name, answer.why, place, answer.unreachable)
    path = hub / f"{source.name}-{answer[:12]}.parquet"
    return Found(source, path, path.name, entry.reader, _options(source, entry, entry.hub.options), entry, answer)


@dataclass
class _NoAnswer:
    """Why the Hub gave no commit; `unreachable`: another time it may."""

    why: str
    unreachable: bool


def _newest(repository: str, revision: str | None) -> str | _NoAnswer:
    """The commit that the Hub serves for a repository, at its pin where it has one."""
    import httpx  # late, as in fetch: a build without the Hub need not wait for them
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return HfApi().dataset_info(repository, revision=revision, timeout=PATIENCE).sha
    except GatedRepoError:
        return _NoAnswer(f"{repository} asks for a login: accept its terms on the Hub and set HF_TOKEN", False)
    except RevisionNotFoundError:
        return _NoAnswer(f"the Hub's {repository} has no commit {revision}: correct the revision in data_prep/sources/registry.yaml", False)
    except RepositoryNotFoundError:
        return _NoAnswer(f"the Hub has no data set {repository}, or it is private", False)
    except (HfHubHTTPError, OfflineModeIsEnabled, httpx.HTTPError, OSError) as error:
        return _NoAnswer(f"the Hub cannot be reached for {repository} ({type(error).__name__})", True)


def fetch(hub: registry.Hub, revision: str, out: Path) -> None:
    """Download one split of a Hub data set at `revision` into the parquet file `out`. BadInput when the download fails."""
    import datasets
    import httpx

    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        rows = datasets.load_dataset(hub.repository, hub.config, split=hub.split, revision=revision)
        with tempfile.TemporaryDirectory(prefix=f".{out.stem}-", dir=out.parent) as aside:
            rows.to_parquet(Path(aside) / out.name)
            os.replace(Path(aside) / out.name, out)
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        raise BadInput(f"{hub.repository} at {revision[:12]} did not download ({type(error).__name__}: {error}); run the command again") from error


def read(found: Found) -> Iterator[Record | Reject]:
    """The rows of a found source; BadInput where the recipe gives the reader a key that it does not have."""
    try:
        return READERS[found.reader](found.path, **found.options)
    except TypeError as error:
        raise BadInput(f"recipe, source {found.source.name}: {error}; data_prep/sources/{found.reader}.py names the reader's keys") from error
