"""The card says what is in the files: its numbers are counted again here from the rows, its head is one that the Hub reads, two runs write the same."""

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import DatasetCard
from PIL import Image

from axolotl_configs.tiny_base import tokenizer
from tests.conftest import ROOT
from tests.data_prep.conftest import Built
from tests.data_prep.handmade import KINDS, LANGUAGES, make_card, read_rows, section, tables, text_of, write_small


@pytest.fixture(scope="module")
def tiny_card(tiny: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe's folder with its card, apart from what other tests look at."""
    folder = shutil.copytree(tiny.out, tmp_path_factory.mktemp("card") / "data" / "tiny")
    ran = make_card(folder)
    assert ran.code == 0, ran.said
    assert "DATASET_CARD.md: 210 rows, 3 figures; sha256 " in ran.said
    return folder


@pytest.fixture(scope="module")
def small_card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_small(tmp_path_factory.mktemp("card") / "data" / "small")
    ran = make_card(folder)
    assert ran.code == 0, ran.said
    return folder


@pytest.fixture(params=["tiny_card", "small_card"])
def carded(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def test_rows_are_counted(carded: Path) -> None:
    """Each count by source, language, kind and split, and each sum, is that of the rows."""
    by = Counter((r["source"], LANGUAGES[r["lang"]], KINDS[r["kind"]], split) for split, r in read_rows(carded))
    (found,) = tables(section(text_of(carded), "Rows"))
    lines = [line for line in found if line[2]]
    assert {tuple(line[:3]) for line in lines} == {key[:3] for key in by} and len(lines) == len({key[:3] for key in by})
    for name, lang, kind, *counts in lines:
        assert list(map(int, counts)) == [by[name, lang, kind, "train"], by[name, lang, kind, "validation"], int(counts[0]) + int(counts[1])]
    totals = {line[1]: int(line[5]) for line in found if not line[2]}
    assert totals == {
        "English": sum(n for key, n in by.items() if key[1] == "English"),
        "Arabic": sum(n for key, n in by.items() if key[1] == "Arabic"),
        "**both**": by.total(),
    }
    assert f"{by.total():,} training and validation rows in English and Arabic" in text_of(carded)


def test_tokens_are_those_of_the_chat_template(carded: Path) -> None:
    """Mean, median, percentile, maximum and total equal what the project's tokenizer and template make of the rows, the base that is trained."""
    mixtral, template = tokenizer(), (ROOT / "fastchat_templates" / "bimedix.jinja").read_text(encoding="utf-8")
    lengths: dict[tuple, list[int]] = {}
    roles = {"human": "user", "gpt": "assistant"}
    for _, r in read_rows(carded):
        chat = [{"role": roles[turn["from"]], "content": turn["value"]} for turn in r["conversations"]]
        count = len(mixtral.apply_chat_template(chat, chat_template=template, tokenize=True, return_dict=False))
        for key in ((LANGUAGES[r["lang"]], KINDS[r["kind"]]), (LANGUAGES[r["lang"]], "**all**"), ("**both**", "**all**")):
            lengths.setdefault(key, []).append(count)
    measured, octaves = tables(section(text_of(carded), "Tokens"))
    assert {tuple(line[:2]) for line in measured} == set(lengths)
    for lang, kind, rows, counted, mean, median, p95, longest, total in measured:
        of = np.sort(lengths[lang, kind])
        assert int(rows) == int(counted) == len(of) and int(total) == of.sum() and int(longest) == of[-1]
        assert float(mean) == pytest.approx(of.mean(), abs=0.051)
        assert int(median) == of[-(-len(of) // 2) - 1] and int(p95) == of[-(-len(of) * 95 // 100) - 1]
    for span, *rows in octaves:
        low, high = map(int, span.split(" to "))
        assert [int(n) for n in rows] == [sum(low <= length <= high for length in lengths[lang, "**all**"]) for lang in ("English", "Arabic")]
    assert sum(int(n) for _, *rows in octaves for n in rows) == len(lengths["**both**", "**all**"])


def test_exchanges_are_counted(carded: Path) -> None:
    """Chats by exchanges; those of more than ten stand together."""
    by = Counter((min(len(r["conversations"]) // 2, 11), LANGUAGES[r["lang"]]) for _, r in read_rows(carded) if r["kind"] == "chat")
    (found,) = tables(section(text_of(carded), "Exchanges"))
    assert {(11 if "more" in n else int(n), lang): int(count) for n, *counts in found for lang, count in zip(LANGUAGES.values(), counts, strict=True)} == {
        (n, lang): by[n, lang] for n in {key[0] for key in by} for lang in LANGUAGES.values()
    }


def test_question_sets_are_listed(carded: Path) -> None:
    """Every file of eval/ with its number of questions, under the configuration that the head gives it."""
    manifest = json.loads((carded / "manifest.json").read_text(encoding="utf-8"))
    (found,) = tables(section(text_of(carded), "Question sets for evaluation"))
    listed = {f"eval/{name}{'_dev' if split == 'dev' else ''}.jsonl": int(count) for name, split, _, count in found}
    assert listed == {file: entry["rows"] for file, entry in manifest["outputs"].items() if file.startswith("eval/")}


def test_head_is_one_that_the_hub_reads(carded: Path) -> None:
    """The library of the Hub reads the head, and its values are among those that the Hub knows."""
    data = DatasetCard(text_of(carded)).data.to_dict()
    manifest = json.loads((carded / "manifest.json").read_text(encoding="utf-8"))
    assert data["language"] == ["en", "ar"] and data["size_categories"] == ["n<1K"]
    assert set(data["task_categories"]) == {"question-answering", "multiple-choice", "text-generation"}
    configs = {config["config_name"]: {part["split"]: part["path"] for part in config["data_files"]} for config in data["configs"]}
    assert configs.pop("default") == {"train": "data/train-*.parquet", "validation": "data/validation-*.parquet"}
    files = [Path(file).stem for file in manifest["outputs"] if file.startswith("eval/")]
    assert set(configs) == {name.removesuffix("_dev") for name in files}
    assert all(re.fullmatch(r"\w+", split) and path == f"eval/{name}/{split}-*.parquet" for name, parts in configs.items() for split, path in parts.items())
    if manifest["recipe"] == "tiny":
        assert data["license"] == "apache-2.0" and "license_name" not in data
    else:  # one licence is a contract that the Hub has no name for
        assert (data["license"], data["license_name"], data["license_link"]) == ("other", "terms-of-each-source", "LICENSE.md")


def test_notice_comes_first_in_both_languages(carded: Path) -> None:
    """Nobody reads a number before reading what the data is not for."""
    body = text_of(carded).split("\n---\n", 1)[1]
    first = body.split("## ", 1)[0]
    assert first.index("**For research only. Not for clinical use.**") < first.index("**للبحث العلمي فقط، وليس للاستخدام السريري.**")
    assert "This is not the authors' data" in first


def test_what_is_not_there_is_left_out(tiny_card: Path) -> None:
    """The sample recipe mixes nothing and removes no duplicates: no empty section, no invented number."""
    card = text_of(tiny_card)
    titles = re.findall(r"^## (.*)$", card, re.MULTILINE)
    assert not {"Wanted and built", "Duplicates", "Left out of this publication", "How to load it"} & set(titles)
    assert section(card, "Rejected rows").strip() == section(card, "Missing sources").strip() == "none"
    assert tables(section(card, "Contamination")) == [] and "No training row asks what a test question asks." in card
    assert "medqa\\_ar (4 questions)" in card and "0 rows hold something that reads like an e-mail address." in card
    assert "make data RECIPE=tiny\n" in card and "DATA=" not in card
    assert {path.stem for path in (tiny_card / "figures").iterdir()} == {"rows_by_source", "tokens_per_row", "exchanges_per_chat"}


def test_manifest_of_an_earlier_build(tmp_path: Path, tiny_card: Path) -> None:
    """Keys that manifests did not have at first: the card is written, and says what it does not know."""
    manifest = json.loads((tiny_card / "manifest.json").read_text(encoding="utf-8"))
    later = {"missing", "mix", "ratio", "deduplication", "contamination", "rows"}
    of_input = {"source", "sources", "licence", "redistribute", "hub", "expected"}
    old = {key: value for key, value in manifest.items() if key not in later}
    old["inputs"] = [{key: value for key, value in entry.items() if key not in of_input} for entry in manifest["inputs"]]
    folder = shutil.copytree(tiny_card, tmp_path / "tiny")
    (folder / "manifest.json").write_text(json.dumps(old), encoding="utf-8")
    assert make_card(folder).code == 0
    assert section(text_of(folder), "Rows") == section(text_of(tiny_card), "Rows")
    assert "\n## Contamination\n" not in text_of(folder) and "There is no contamination report" in text_of(folder)
    old["config"]["root"] = "DATA"
    (folder / "manifest.json").write_text(json.dumps(old), encoding="utf-8")
    assert make_card(folder).code == 0
    assert ["samples", "not stated", "", "not known"] in tables(section(text_of(folder), "Licence"))[0]


def test_account_of_the_build(small_card: Path) -> None:
    """Sources, mixing, ratio, rejects, missing sources, duplicates: the manifest's numbers, in their places."""
    card = text_of(small_card)
    names, origin, *numbers = tables(section(card, "Sources"))[0][0]
    assert (names, numbers) == ("medqa", ["10", "12", "10"]) and f"owner/medqa @ `{'ab' * 20}` (train)" in origin
    assert "file chats | ours.jsonl" in tables(section(card, "Sources"))[0][3][1]
    assert tables(section(card, "Wanted and built"))[0] == [
        ["medqa, en", "40", "30", "30", "0", "10"],
        ["a + b, qa", "1234", "3", "3", "1", "1231"],
        ["**all**", "1274", "33", "33", "1", "1241"],
    ]
    assert "Arabic to English: wanted 1:2, built 27:43 rows (1:1.59)." in card
    assert tables(section(card, "Rejected rows"))[0] == [["`empty_answer`", "1200"], ["`near_duplicate`", "3"], ["**all**", "1203"]]
    assert tables(section(card, "Missing sources"))[0] == [["umls", "it needs a licence", "sign it | copy the file"]]
    assert [line[1] for line in tables(section(card, "Duplicates"))[0]] == ["10", "5", "1"] and "128 permutations, similarity of 0.8" in card
    assert "3 rows hold something that reads like an e-mail address (اسئلة\\_المرضى 3)." in card
    assert ["hospice", "by contract", "", "no"] in tables(section(card, "Licence"))[0]
    assert f"at commit `{'c' * 40}`, with files that differed from it" in card and "make data RECIPE=small DATA=<" in card


def test_hits_are_shown_with_both_texts(small_card: Path) -> None:
    """The first ten of each method, shortened, on one line, and harmless as Markdown and HTML."""
    told = section(text_of(small_card), "Contamination")
    methods, *shown = tables(told)
    assert [(line[0], line[2]) for line in methods] == [("`exact`", "2"), ("`options`", "0"), ("`similar`", "12")]
    assert "Compared with: medqa\\_en (1,273 questions)." in told and "because they were not there: medqa\\_ar." in told
    exact, similar = shown
    assert "### `similar`: 10 of 12 hits" in told and "### `exact`: 2 of 2 hits" in told
    assert [line[1] for line in similar] == [f"medqa:train:{n}:en" for n in range(10)] and len(exact) == 2
    score, _, trained, tested_id, tested = similar[3]
    assert (score, tested_id) == ("0.87", "medqa:test:3:en") and trained == tested == "A | *bold* <b>question</b> 3 " + "x" * 170 + "…"
    assert "<b>" not in told and "\\<b\\>" in told


def test_two_runs_write_the_same_bytes(tmp_path: Path, carded: Path) -> None:
    """Cards and pictures can be compared and cached; nothing else in the folder changes."""
    again = shutil.copytree(carded, tmp_path / carded.name)
    (again / "figures" / "of_an_earlier_build.png").write_bytes(b"old")
    (again / ".DATASET_CARD.md.part").write_bytes(b"cut sh")
    assert make_card(again).code == 0
    first, second = ({str(path.relative_to(of)): path.read_bytes() for path in of.rglob("*") if path.is_file()} for of in (carded, again))
    assert first == second


def test_pictures_are_whole(carded: Path) -> None:
    """Each picture that the card shows is there in both forms, readable and without a date."""
    shown = re.findall(r"!\[[\w ]+\]\(figures/(\w+)\.png\)", text_of(carded))
    assert sorted(f"{name}.{form}" for name in shown for form in ("png", "svg")) == sorted(path.name for path in (carded / "figures").iterdir())
    for name in shown:
        with Image.open(carded / "figures" / f"{name}.png") as picture:
            picture.load()
            assert picture.size[0] == 1200 and len(picture.getcolors(10**6)) > 10
        svg = (carded / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        assert ElementTree.fromstring(svg).tag.endswith("svg") and "dc:date" not in svg
