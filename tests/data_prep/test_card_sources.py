"""The card of folders that are not as they should be, of samples, and of sources with terms of their own."""

from pathlib import Path

import pytest
import yaml
from huggingface_hub import DatasetCard

from data_prep import registry
from tests.data_prep.handmade import AR, EN, make_card, question, row, section, source, tables, text_of, write_small


def test_licences_known_to_the_hub_are_a_list(tmp_path: Path) -> None:
    folder = write_small(
        tmp_path / "small", inputs=[source("medqa", True, "MIT"), source("mmlu", True, "CC BY 4.0"), source("unused", False, "secret", rows=0)]
    )
    assert make_card(folder).code == 0
    assert DatasetCard(text_of(folder)).data.to_dict()["license"] == ["cc-by-4.0", "mit"]


def test_terms_come_from_the_registry(tmp_path: Path) -> None:
    """A licence alone does not say that ChatDoctor's data is for research only: the registry's sentence stands beside it."""
    name, entry = next((name, entry) for name, entry in registry.entries().items() if entry.terms)
    folder = write_small(tmp_path / "small", inputs=[source("medqa", True, "MIT", registered=name), source("mmlu", True, "MIT")])
    assert make_card(folder).code == 0
    first, second = tables(section(text_of(folder), "Licence"))[0]
    assert first == ["medqa", "MIT", entry.terms, "yes"] and second == ["mmlu", "MIT", "", "yes"]
    assert DatasetCard(text_of(folder)).data.to_dict()["license"] == "other"


def test_sample_says_how_sure_it_is(tmp_path: Path) -> None:
    """A sample's total comes with a standard error that fits, small groups are counted whole, and the seed decides which rows are drawn."""
    rows = [row(n, "medqa", "en", "mcqa", f"{EN} {n}", "word " * (n * 37 % 90 + 1)) for n in range(1000)]
    rows += [row(n, "medqa", "ar", "qa", AR, "كلمة") for n in range(4)]
    folder = write_small(tmp_path / "small", {"train.jsonl": rows, "validation.jsonl": []})
    assert make_card(folder, "--tokens", 0).code == 0
    exact = {tuple(line[:2]): int(line[8]) for line in tables(section(text_of(folder), "Tokens"))[0]}
    assert make_card(folder, "--tokens", 200).code == 0
    sampled = tables(section(text_of(folder), "Tokens"))[0]
    (english, arabic, both) = sampled
    assert arabic[2:4] == ["4", "4"] and int(arabic[8]) == exact["Arabic", "open question"]
    assert english[2] == "1000" and 150 < int(english[3]) < 200
    for line, key in ((english, ("English", "multiple choice")), (both, ("**both**", "**all**"))):
        total, error = (int(part) for part in line[8].split(" ± "))
        assert abs(total - exact[key]) < 4 * error and error < 0.1 * total
    assert "with seed 5; totals and histograms are estimates" in text_of(folder)
    first = text_of(folder)
    assert make_card(folder, "--tokens", 200).code == 0 and text_of(folder) == first


SPOILED = {
    # name: (what to do to the folder, words of the message)
    "another file": (lambda folder: (folder / "eval" / "medqa_en.jsonl").write_text("{}\n"), ("eval/medqa_en.jsonl is not the file that was built",)),
    "a file cut short": (lambda folder: (folder / "train.jsonl").write_text(""), ("train.jsonl is not the file that was built", "build the data set again")),
    "a file missing": (lambda folder: (folder / "validation.jsonl").unlink(), ("validation.jsonl is missing, but the manifest lists it",)),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), ("manifest.json is missing: build the data set first", "make data RECIPE=small")),
    "half a manifest": (lambda folder: (folder / "manifest.json").write_text('{"recipe": '), ("manifest.json: not JSON",)),
    "another manifest": (lambda folder: (folder / "manifest.json").write_text('{"recipe": "x"}'), ("not the manifest of a data set",)),
    "a line that is no row": (
        lambda folder: write_small(folder, {"train.jsonl": [{"id": "x"}], "validation.jsonl": []}),
        ("train.jsonl, row 1: not a ShareGPT row",),
    ),
    "a question without an answer": (
        lambda folder: write_small(folder, {"train.jsonl": [row(1, "medqa", "en", "qa", "Why?")], "validation.jsonl": []}),
        ("train.jsonl, row 1: not a ShareGPT row",),
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_spoiled_folder_gets_no_card(tmp_path: Path, name: str) -> None:
    """A card about files that are not those that were built would be wrong in every number."""
    spoil, words = SPOILED[name]
    folder = write_small(tmp_path / "small")
    spoil(folder)
    ran = make_card(folder)
    assert ran.code == 2 and "Traceback" not in ran.said and all(word in ran.said for word in words), ran.said
    assert not (folder / "DATASET_CARD.md").exists()


def test_full_disk_leaves_the_last_card(tmp_path: Path) -> None:
    """Cut short on the disk, a card is as good as none: the old one stays, with an error that says so."""
    folder = write_small(tmp_path / "small")
    assert make_card(folder).code == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    ran = make_card(folder, "--tokens", 9, largest_file=1000)
    assert ran.code == 2 and "cannot be written" in ran.said and "Traceback" not in ran.said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_evaluation_alone_has_a_card(tmp_path: Path) -> None:
    """A recipe may hold test questions only: no row, no tokens, no picture of them."""
    folder = write_small(tmp_path / "small", {"train.jsonl": [], "validation.jsonl": [], "eval/medqa_en.jsonl": [question("medqa:test:1", "medqa", "en")]})
    ran = make_card(folder)
    assert ran.code == 0, ran.said
    assert "0 training and validation rows, built by" in text_of(folder) and "\n## Rows\n" not in text_of(folder)
    head = yaml.safe_load(text_of(folder).split("---\n")[1])
    assert [config["config_name"] for config in head["configs"]] == ["medqa_en"] and head["language"] == ["en"]
