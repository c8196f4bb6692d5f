"""The registry of public sources: each row can be read as it says, downloads only what may be, and counts what its owner and the paper count."""

import inspect
from collections import Counter
from pathlib import Path

import pytest
import yaml

from data_prep import recipe, registry
from data_prep.records import BadInput, Reject
from data_prep.sources import READERS

ENTRIES = registry.entries()
KINDS = {
    "mcqa": {"pubmedqa", "medmcqa", "medqa", "mmlu", "mmmlu", "records"},
    "qa": {"chatdoctor", "medical_meadow", "liveqa", "medicationqa", "medquad", "umls", "records"},
}
KINDS["chat"] = {"records"}
# the nine sets of the paper's evaluation
TESTED = {"medmcqa_validation": 4183, "medqa_4options_test": 1273, "mmlu_clinical_knowledge_test": 265, "mmlu_college_biology_test": 144}
TESTED |= {"mmlu_college_medicine_test": 173, "mmlu_medical_genetics_test": 100, "mmlu_professional_medicine_test": 272, "mmlu_anatomy_test": 135}
# arXiv 2412.07769 table 12: the rows of BiMed1.3M
PAPER = {"pubmedqa_ar": 115_773, "medmcqa_ar": 97_523, "medqa_ar": 11_210, "single_turn_ar": 156_254, "chats_en": 133_134, "chats_ar": 64_235}
PAPER_ENGLISH = {("pubmedqa", "mcqa"): 210_169, ("medmcqa", "mcqa"): 182_712, ("medqa", "mcqa"): 20_691}


def forms(name: str) -> list[dict]:
    """The reader's options of every form that a row names."""
    entry = ENTRIES[name]
    return [form.options for form in [*([entry.hub] if entry.hub else []), *entry.local]]


def training(reader: str) -> int:
    return sum(entry.expected for entry in ENTRIES.values() if entry.reader == reader and entry.split == "train")


@pytest.mark.parametrize("name", ENTRIES)
def test_the_reader_takes_what_the_row_gives(name: str) -> None:
    """A reader that does not exist, or a key that it does not have, would stop a build of hours at that source."""
    entry = ENTRIES[name]
    assert entry.reader in KINDS[entry.kind]
    for options in forms(name):
        inspect.signature(READERS[entry.reader]).bind(Path(), **({"split": entry.split} if entry.split else {}), **options)


@pytest.mark.parametrize("name", ENTRIES)
def test_nothing_is_downloaded_that_may_not_be(name: str) -> None:
    """UMLS is licensed to its user, and what a language model makes is not on the Hub: neither may have an address to fetch from."""
    entry = ENTRIES[name]
    if entry.access in ("own_copy", "generated"):
        assert entry.hub is None and not entry.redistribute and entry.terms
    assert not entry.redistribute or entry.licence.split()[0] in ("MIT", "CC", "Apache-2.0")
    if entry.hub is None:
        assert entry.access != "open" or entry.reader == "liveqa"
    assert entry.supply and not entry.supply.endswith(".")  # one sentence that goes on in messages


def test_a_hub_for_a_licensed_source_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Even by a slip of the pen: the schema says no, and names row and reason."""
    rows = {"umls": ENTRIES["umls_definitions"].model_dump() | {"hub": {"repository": "some/body", "split": "train"}}}
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump(rows), encoding="utf-8")
    monkeypatch.setattr(registry, "FILE", tmp_path / "registry.yaml")
    with pytest.raises(BadInput, match="registry.yaml, umls: .*never downloaded"):
        registry.entries.__wrapped__()


def test_local_files_are_told_apart() -> None:
    """Two rows on one file would count it twice; a path that leaves DATA would read what the user did not name."""
    files = Counter(local.file for entry in ENTRIES.values() for local in entry.local)
    assert [file for file, times in files.items() if times > 1] == []
    assert [file for file in files if Path(file).is_absolute() or ".." in Path(file).parts] == []


def test_the_forms_of_one_source_agree() -> None:
    """A parquet of MedMCQA counts answers from 0, the owner's file from 1; which options a form has must follow from its suffix."""
    for name in ("medmcqa_train", "medmcqa_validation"):
        for local in ENTRIES[name].local:
            assert local.options == ({"form": "selfbiorag"} if "selfbiorag" in local.file else {"answer_base": 0 if local.file.endswith(".parquet") else 1})
        assert ENTRIES[name].hub.options == {"answer_base": 0}
    for entry in ENTRIES.values():
        if entry.hub is not None:
            kept = [local.options for local in entry.local if local.file.endswith(".parquet")]
            assert kept == [entry.hub.options]


def test_counts_are_those_of_the_paper_and_of_the_benchmarks() -> None:
    """The mix is measured against these numbers; a slipped digit would be a shortfall or a surplus that is none."""
    assert {name: ENTRIES[name].expected for name in PAPER} == PAPER
    assert {name: ENTRIES[name].expected for name in TESTED} == TESTED
    assert {ENTRIES[name].split for name in TESTED} == {"test"}
    assert ENTRIES["pubmedqa_labelled"].expected == 1000 and ENTRIES["pubmedqa_labelled"].split is None  # 500 train, 500 are tested on
    had = {(reader, "mcqa"): training(reader) for reader in ("pubmedqa", "medmcqa", "medqa")}
    # PubMedQA and MedMCQA have a little more than the paper took; MedQA with four and with five options comes to 335 less
    assert {key: round(had[key] / PAPER_ENGLISH[key], 2) for key in had} == {("pubmedqa", "mcqa"): 1.01, ("medmcqa", "mcqa"): 1.0, ("medqa", "mcqa"): 0.98}
    assert sum(entry.expected for entry in ENTRIES.values() if entry.reader == "mmlu" and entry.split == "test") == 1089


def test_the_page_on_the_data_says_what_the_registry_says() -> None:
    """docs/DATA.md tells people what is read, from where and under which terms: a pin that moves must move there too."""
    page = (recipe.RECIPES.parents[1] / "docs" / "DATA.md").read_text(encoding="utf-8").split("## The sources of bimed1.3m")[1]
    for name, entry in ENTRIES.items():
        shown = f"`{name}`" if entry.reader != "mmlu" else f"`mmlu_<subject>_{entry.split}`"
        line = next(line for line in page.splitlines() if line.startswith(f"| {shown} |"))
        wanted = [entry.licence, entry.kind] + (
            [f"{entry.expected:,}" if entry.expected else "by release", f"`{entry.local[0].file}`"] if entry.reader != "mmlu" else []
        )
        wanted += [entry.hub.repository, f"@ {(entry.hub.revision or 'newest')[:8]}"] if entry.hub else []
        assert [part for part in wanted if part not in line] == [], line
        assert not entry.terms or entry.terms in page


def test_what_a_model_makes_says_from_what() -> None:
    """The command that makes it, and origins that some reader gives: a slip here would be a file without rows. UMLS may go to nobody's endpoint."""
    given = {form.options.get("source") or "_".join(filter(None, (e.reader, form.options.get("part")))) for e in ENTRIES.values() for form in e.local}
    made = {name: entry for name, entry in ENTRIES.items() if entry.made}
    assert set(made) == {*PAPER, "benchmark_ar"} and "umls" in given
    for name, entry in made.items():
        assert set(entry.made.sources) <= given - {"umls"}
        assert name.endswith(f"_{entry.lang}") and f"make {entry.made.step} RECIPE=.. ONLY={name}" in entry.supply
        assert entry.local[0].file == f"generated/{name}.jsonl"


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("medmcqa_ar", {"made": None}, "says by `made` how it comes about"),
        ("medquad", {"made": {"step": "translate", "sources": ["medquad"]}}, "no other does"),
        ("chats_en", {"made": {"step": "translate", "sources": ["medmcqa"]}}, "translate makes no rows of the kind chat"),
        ("medqa_ar", {"lang": "en"}, "translate writes Arabic"),
        ("medqa_ar", {"made": {"step": "invent", "sources": ["medqa"]}}, "'translate' or 'chats'"),
    ],
)
def test_how_it_is_made_must_make_sense(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, changes: dict, words: str) -> None:
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump({name: ENTRIES[name].model_dump() | changes}), encoding="utf-8")
    monkeypatch.setattr(registry, "FILE", tmp_path / "registry.yaml")
    with pytest.raises(BadInput, match=f"registry.yaml, {name}: .*{words}"):
        registry.entries.__wrapped__()


def test_a_recipe_takes_sources_by_name(tmp_path: Path) -> None:
    """MedMCQA's validation set is tested on without a word in the recipe, and the recipe may still say otherwise."""
    text = "description: x\nroot: DATA\nmcqa_answers: [letter]\nsources:\n  - {from: medmcqa_validation}\n  - {from: medquad, split: validation}\n"
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    first, second = recipe.load(str(tmp_path / "x.yaml")).sources
    assert (ENTRIES[first.registered].split, first.reader_options()) == ("test", {})
    assert second.reader_options() == {"split": "validation"}


def test_the_real_files_have_the_rows_that_are_expected(real_data: Path) -> None:
    """Each registered file that is at hand, read as the registry says: as many rows as its owner counts, or as `rows` says of a part."""
    seen = {}
    for name, entry in ENTRIES.items():
        for local in entry.local:
            if not (real_data / local.file).is_file():
                continue
            split = {"split": entry.split} if entry.split else {}
            rows = list(READERS[entry.reader](real_data / local.file, **split, **local.options))
            no_row = sum(isinstance(row, Reject) and row.reason == "no_pairs" for row in rows)  # six files of MedQuAD hold none
            assert len(rows) - no_row == (local.rows or entry.expected), local.file
            records = [row for row in rows if not isinstance(row, Reject)]
            assert {record.split for record in records} == ({entry.split} if entry.split else {"train", "test"})
            assert {record.lang for record in records} == {entry.lang}
            seen[name] = len(records)
            break
    expected = {name: entry.expected for name, entry in ENTRIES.items() if entry.reader == "mmlu"} | {"pubmedqa_labelled": 1000, "genmedgpt": 5452}
    expected |= {"medmcqa_train": 1000, "medmcqa_validation": 4183, "medqa_4options_dev": 1272, "medqa_4options_test": 1273, "medqa_5options_train": 1000}
    assert seen == expected | {"medquad": 16_407}
