"""What goes to the Hub: the same rows and no others, in a folder that `datasets` reads, and nothing at all unless it is asked for."""

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import datasets
import pyarrow.parquet
import pytest
from huggingface_hub import DatasetCard

from data_prep import shards
from data_prep.records import EvaluationRow, ShareGPTRow
from tests.conftest import Ran, command, free_port
from tests.data_prep.conftest import Built
from tests.data_prep.handmade import SECRET, question, row, section, small_rows, source, tables, write_small

REPO = "someone/medical-rows"


def publish(folder: Path, *arguments: object, repo: str = REPO, **limits: int) -> Ran:
    return command("data_prep.publish", folder, "--repo", repo, *arguments, seconds=60, **limits)


def loaded(prepared: Path, name: str | None, cache: Path) -> dict[str, list[dict]]:
    """What `datasets.load_dataset` makes of the folder."""
    return {split: list(rows) for split, rows in datasets.load_dataset(str(prepared), name, cache_dir=str(cache)).items()}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built data set with one source, `hospice`, that may not be passed on."""
    return write_small(tmp_path_factory.mktemp("build") / "data" / "small")


@pytest.fixture(scope="module")
def prepared(small: Path) -> Path:
    ran = publish(small)
    assert ran.code == 0, ran.said
    return small.parents[1] / "publish" / "small"


def test_tiny_gives_back_its_rows(tiny: Built, tmp_path: Path) -> None:
    """Every configuration of the head loads, and holds what stands in the JSONL file it is made from."""
    folder = shutil.copytree(tiny.out, tmp_path / "data" / "tiny")
    ran = publish(folder)
    assert ran.code == 0, ran.said
    prepared = tmp_path / "publish" / "tiny"
    rows = loaded(prepared, None, tmp_path / "cache")
    assert rows == {"train": tiny.rows("train.jsonl"), "validation": tiny.rows("validation.jsonl")}
    names = [config["config_name"] for config in DatasetCard.load(prepared / "README.md").data.to_dict()["configs"]]
    assert names[0] == "default" and names[1:] == [Path(file).stem for file in tiny.manifest["outputs"] if file.startswith("eval/")]
    for name in ("medqa_ar", "seen_en"):
        assert loaded(prepared, name, tmp_path / "cache") == {"train" if "seen" in name else "test": tiny.rows(f"eval/{name}.jsonl")}
    assert "left out: no row" in ran.said and section((prepared / "README.md").read_text(encoding="utf-8"), "Left out of this publication")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data", "publish"] and [path.name for path in (tmp_path / "publish").iterdir()] == [
        "tiny"
    ]


def test_closed_source_stays_here(small: Path, prepared: Path, tmp_path: Path) -> None:
    """Rows whose owner does not let us pass them on are in no file, training or evaluation, and no quotation."""
    rows = loaded(prepared, None, tmp_path)
    assert rows["train"] == [r for r in small_rows()["train.jsonl"] if r["source"] != "hospice"] and len(rows["validation"]) == 5
    assert loaded(prepared, "anatomy_en", tmp_path) == {"test": small_rows()["eval/anatomy_en.jsonl"], "dev": small_rows()["eval/anatomy_en_dev.jsonl"]}
    assert not (prepared / "eval" / "hospice_en").exists()
    tables_of = [pyarrow.parquet.read_table(path).to_pylist() for path in prepared.rglob("*.parquet")]
    assert tables_of and SECRET not in json.dumps(tables_of) and "hospice" not in json.dumps(tables_of)
    card = (prepared / "README.md").read_text(encoding="utf-8")
    assert SECRET in (small / "contamination.jsonl").read_text(encoding="utf-8") and SECRET not in card
    assert "(not quoted: its source may not be passed on)" in card and "A | *bold*" not in card and "A \\| \\*bold" in card


def test_card_counts_what_is_published(prepared: Path) -> None:
    """The numbers of the page are those of the rows that people download, and it says what is not among them."""
    card = (prepared / "README.md").read_text(encoding="utf-8")
    why = "its terms do not let us pass it on (by contract)"
    assert tables(section(card, "Left out of this publication"))[0] == [["hospice_en", "hospice", "6", why], ["train", "hospice", "7", why]]
    assert "13 rows that the recipe builds are not here." in card and "63 training and validation rows" in card
    assert not [line for line in tables(section(card, "Rows"))[0] if line[0] == "hospice"] and tables(section(card, "Rows"))[0][-1][3:] == ["58", "5", "63"]
    assert sum(int(rows) for line in tables(section(card, "Tokens"))[1] for rows in line[1:]) == 63
    assert [line[0] for line in tables(section(card, "Question sets for evaluation"))[0]] == ["medqa_en", "anatomy_en", "anatomy_en"]
    assert "hospice" not in section(card, "Sources") + section(card, "Licence") + (prepared / "LICENSE.md").read_text(encoding="utf-8")
    head = DatasetCard(card).data.to_dict()
    assert head["license"] == ["apache-2.0", "cc-by-4.0", "mit"] and "hospice_en" not in [config["config_name"] for config in head["configs"]]
    assert f"datasets.load_dataset('{REPO}')" in card and "For research only. Not for clinical use." in (prepared / "LICENSE.md").read_text(encoding="utf-8")
    manifest = json.loads((prepared / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["recipe"] == "small"  # of ours/small.yaml: where a recipe lies on our disk is nobody's business
    assert all((prepared / picture).is_file() for picture in re.findall(r"\]\((figures/\w+\.png)\)", card))


def test_dry_run_says_what_it_would_do(small: Path, prepared: Path) -> None:
    """Every file with its size, what is left out and why, and the command that uploads."""
    ran = publish(small, "--tokens", 0)
    said = ran.said.splitlines()
    assert ran.code == 0 and said[0] == f"repository: {REPO} on the Hugging Face Hub, a data set; it is made private if it is not there yet"
    listed = {line.split("bytes  ")[1]: int(line.split()[0].replace(",", "")) for line in said if re.match(r" +[\d,]+ bytes  \S+$", line)}
    assert listed == {name: len(content) for name, content in files_of(prepared).items()}
    assert "left out: 13 rows of hospice: its terms do not let us pass it on (by contract)" in said
    assert "nothing was uploaded" in said[-2] and said[-1].endswith(f"-m data_prep.publish {small} --repo {REPO} --tokens 0 --upload")


def test_two_runs_write_the_same_bytes(small: Path, prepared: Path) -> None:
    """An upload of what has not changed changes nothing on the Hub."""
    before = files_of(prepared)
    assert publish(small).code == 0
    assert files_of(prepared) == before


def test_large_sets_come_in_shards(tmp_path: Path) -> None:
    """Several shards, numbered as the Hub has it, give back all rows in their order."""
    rows = [row(n, "medqa", "en", "qa", f"Question {n}?", "Yes.") for n in range(2 * shards.GROUP + 1)]
    folder = write_small(tmp_path / "data" / "small", {"train.jsonl": rows, "validation.jsonl": []})
    assert publish(folder, "--shard-mb", 0.001, "--tokens", 10).code == 0
    prepared = tmp_path / "publish" / "small"
    assert sorted(path.name for path in (prepared / "data").iterdir()) == [f"train-{n:05d}-of-00003.parquet" for n in range(3)]
    assert loaded(prepared, None, tmp_path / "cache") == {"train": rows}


def test_columns_are_those_of_the_rows() -> None:
    """A field added to the rows must come along to the Hub."""
    for kind, schema in ((ShareGPTRow, shards.TRAINING), (EvaluationRow, shards.EVALUATION)):
        assert schema.names == list(kind.model_fields)


@pytest.mark.parametrize(("redistribute", "why"), [(False, "do not let us pass it on (by contract)"), (None, "nothing says that it may be passed on")])
def test_nothing_that_may_be_published(tmp_path: Path, redistribute: bool | None, why: str) -> None:
    """No empty data set, and what nobody has allowed is not allowed."""
    rows = {"train.jsonl": [row(1, "hospice", "en", "qa", "Why?", "So.")], "validation.jsonl": [row(2, "stray", "en", "qa", "Why?", "So.")]}
    folder = write_small(tmp_path / "data" / "small", rows, inputs=[source("hospice", redistribute, "by contract")])
    ran = publish(folder)
    assert ran.code == 2 and "no row may be published" in ran.said and why in ran.said and "stray: no input of the manifest names it" in ran.said
    assert not (tmp_path / "publish").exists()


def test_what_a_model_made_is_judged_by_itself(tmp_path: Path) -> None:
    """Translations and chats bear the source of the row that they come from: they stay here, and the English rows of that source do not.
    What was made of a closed source is closed in any case, also where a user's own file of it says otherwise."""

    def made(name: str, *groups: list[str]) -> dict:
        return source(name, False, "the rows'", registered=name) | {"sources": sorted({of for of, _, _ in groups}), "groups": groups}

    kept = [row(n, "medqa", "en", "mcqa", f"Kept {n}?", "Yes.") for n in range(3)] + [row(9, "medqa", "ar", "qa", "باق؟", "نعم.")]
    gone = [row(1, "medqa", "ar", "mcqa", SECRET, "لا."), row(1, "medqa", "en", "chat", SECRET, "No."), row(1, "hospice", "ar", "qa", SECRET, "لا.")]
    rows = {"train.jsonl": [kept[0], *gone, *kept[1:]], "validation.jsonl": [], "eval/medqa_en.jsonl": [question("medqa:test:1", "medqa", "en")]}
    rows |= {"eval/seen_en.jsonl": [question("medqa:train:0001", "medqa", "en")], "eval/seen_ar.jsonl": [question("medqa:train:0001", "medqa", "ar")]}
    inputs = [source("medqa", True, "MIT"), source("hospice", False, "by contract"), source("ours", True, "MIT") | {"sources": ["hospice"]}]
    inputs += [made("medqa_ar", ["medqa", "ar", "mcqa"]), made("chats_en", ["medqa", "en", "chat"]), made("single_turn_ar", ["hospice", "ar", "qa"])]
    folder = write_small(tmp_path / "data" / "small", rows, inputs=inputs)
    ran = publish(folder)
    assert ran.code == 0, ran.said
    prepared = tmp_path / "publish" / "small"
    assert loaded(prepared, None, tmp_path / "cache") == {"train": kept}
    assert loaded(prepared, "seen_en", tmp_path / "cache") == {"train": rows["eval/seen_en.jsonl"]} and not (prepared / "eval" / "seen_ar").exists()
    for part, count in (("medqa (ar, mcqa)", 2), ("medqa (en, chat)", 1), ("hospice (ar, qa)", 1)):
        assert f"left out: {count} rows of {part}: its terms do not let us pass it on" in ran.said
    card = (prepared / "README.md").read_text(encoding="utf-8")
    assert SECRET not in card and [line[0] for line in tables(section(card, "Licence"))[0]] == ["medqa"]


BAD = {
    "no owner": ("rows", lambda folder: None, ("--repo 'rows': write owner/name",)),
    "no name for the Hub": ("some one/rows", lambda folder: None, ("--repo 'some one/rows'",)),
    "spoiled file": (REPO, lambda folder: (folder / "train.jsonl").write_text("{}"), ("train.jsonl is not the file that was built",)),
    "row of another form": (
        REPO,
        lambda folder: write_small(folder, {"train.jsonl": [row(1, "medqa", "en", "qa", "Why?", "So.") | {"note": 1}], "validation.jsonl": []}),
        ("the row medqa:train:0001:en has the keys", "note"),
    ),
    "value of another type": (
        REPO,
        lambda folder: write_small(folder, {"train.jsonl": [], "validation.jsonl": [], "eval/x_en.jsonl": [question("medqa:1", "x", "en") | {"answer": "B"}]}),
        ("the rows medqa:1:en to medqa:1:en hold a value of another type",),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_leaves_the_last_publication(tmp_path: Path, name: str) -> None:
    repo, spoil, words = BAD[name]
    folder = write_small(tmp_path / "data" / "small")
    (tmp_path / "publish" / "small").mkdir(parents=True)
    (tmp_path / "publish" / "small" / "README.md").write_text("the last publication", encoding="utf-8")
    before = files_of(tmp_path / "publish")
    spoil(folder)
    ran = publish(folder, repo=repo)
    assert ran.code == 2 and "Traceback" not in ran.said and all(word in ran.said for word in words), ran.said
    assert files_of(tmp_path / "publish") == before


def test_full_disk(small: Path, prepared: Path) -> None:
    before = files_of(prepared)
    ran = publish(small, largest_file=5000)
    assert ran.code == 2 and "no room to write" in ran.said and "Traceback" not in ran.said
    assert files_of(prepared.parent) == {f"small/{name}": content for name, content in before.items()}


@contextmanager
def hub_that_answers(status: int) -> Iterator[str]:
    """A server on this machine that answers every request with one status, as the Hub does to a token that it does not accept."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b'{"error": "no"}'
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


TOKEN = "hf_of_a_test"


def refused(monkeypatch: pytest.MonkeyPatch, small: Path, **environment: str | None) -> str:
    """The last line of an upload that cannot work. `command` sets HF_HUB_OFFLINE, so the way to a server of this machine is opened here."""
    for name, value in {"HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "1", **environment}.items():
        monkeypatch.setitem(os.environ, name, value) if value is not None else monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tests.conftest.OFFLINE", {})
    ran = publish(small, "--upload", "--tokens", 9)
    assert ran.code == 2 and "Traceback" not in ran.said and TOKEN not in ran.said, ran.said
    return [line for line in ran.said.splitlines() if line.startswith("error: ")][-1]


def test_upload_without_a_token(monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    assert "set HF_TOKEN in the environment" in refused(monkeypatch, small, HF_TOKEN=None)


def test_upload_offline(monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    assert "HF_HUB_OFFLINE forbids the network" in refused(monkeypatch, small)


def test_upload_without_network(monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    said = refused(monkeypatch, small, HF_HUB_OFFLINE="0", HF_ENDPOINT=f"http://127.0.0.1:{free_port()}")
    assert f"{REPO}: the Hub cannot be reached (ConnectError" in said


@pytest.mark.parametrize(("status", "words"), [(401, "the token is not valid"), (403, "the token may not write there"), (400, "check the name")])
def test_upload_that_the_hub_refuses(monkeypatch: pytest.MonkeyPatch, small: Path, status: int, words: str) -> None:
    with hub_that_answers(status) as address:
        said = refused(monkeypatch, small, HF_HUB_OFFLINE="0", HF_ENDPOINT=address)
    assert f"the Hub refused with status {status}" in said and words in said
