"""Where a source comes from: below DATA, from an earlier run, from the Hub; and what is said when it cannot be had."""

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import locate, recipe, registry
from data_prep.records import BadInput
from tests.data_prep.conftest import ROOT, Built, accounted

NOBODY = "http://127.0.0.1:9"  # the port of `discard`: nobody listens


def run(tmp_path: Path, name: str, data: Path | None = None, endpoint: str = NOBODY, **environment: str) -> tuple[Built, float]:
    """Run the command with the Hub at `endpoint`; returns what it left and the seconds."""
    command = [sys.executable, "-m", "data_prep.build", "--recipe", name, "--build", str(tmp_path), *(["--data", str(data)] if data else [])]
    started = time.monotonic()
    settings = os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")} | environment
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, env=settings)
    return Built(ran.returncode, ran.stdout + ran.stderr, tmp_path / "data" / recipe.name_of(name)), time.monotonic() - started


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_network_it_fails_at_once(tmp_path: Path, offline: str) -> None:
    """Within seconds, naming each source, why, and how to supply it; no stack trace, nothing left behind."""
    built, seconds = run(tmp_path, "bimed1.3m", HF_HUB_OFFLINE=offline)
    assert built.ended_badly() and seconds < 30, (seconds, built.said)
    plan = recipe.load("bimed1.3m")
    for source in plan.sources:
        (line,) = [line for line in built.said.splitlines() if line.startswith(f"  {source.name}: ")]
        assert f"its place is DATA/{registry.entries()[source.name].local[0].file}" in line
    assert "DATA=<folder>" in built.said and not built.out.exists() and built.leftovers() == []


def test_a_source_that_needs_a_licence_says_so(tmp_path: Path) -> None:
    """UMLS is never downloaded, whatever the network."""
    built, _ = run(tmp_path, "bimed1.3m")
    (line,) = [line for line in built.said.splitlines() if "umls_definitions" in line]
    assert "needs a licence" in line and "never downloaded" in line


def test_what_is_there_is_built(tmp_path: Path, real_data: Path) -> None:
    """With DATA the sources at hand are built, the others are named in terminal and manifest, and each group's shortfall is told."""
    built, _ = run(tmp_path, "bimed1.3m", real_data)
    assert built.code == 0, built.said
    manifest = built.manifest
    had = {entry["source"] for entry in manifest["inputs"]}
    missing = {entry["source"] for entry in manifest["missing"]}
    assert had | missing == {source.name for source in recipe.load("bimed1.3m").sources} and not had & missing
    assert all(f"missing: {name}: " in built.said for name in missing)
    assert "short of 181,822 rows: source medmcqa_train: medmcqa/selfbiorag_train_1000.json holds 1,000 of 182,822" in built.said
    assert "source medmcqa_validation" not in built.said  # whole
    assert accounted(manifest)
    for entry in manifest["mix"]:
        assert entry["shortfall"] == entry["wanted"] - entry["built"] > 0
        assert f"short of {entry['shortfall']:,} rows: " in built.said
    assert manifest["contamination"]["not_checked"] == ["medqa_5options_test"]
    official = {"anatomy": 135, "clinical_knowledge": 265, "college_biology": 144, "college_medicine": 173, "medical_genetics": 100}
    official |= {"professional_medicine": 272, "medmcqa": 4183, "medqa": 1273, "pubmedqa": 500}
    assert {name.removesuffix("_en"): count for name, count in manifest["contamination"]["against"].items()} == official


@pytest.mark.parametrize(("variant", "trained"), [("bimed1.3m_en", {"en"}), ("bimed1.3m_ar", set())])
def test_the_variants(tmp_path: Path, real_data: Path, variant: str, trained: set[str]) -> None:
    """The English and the Arabic recipe take the rows of their language; the Arabic one has none yet and says so, with its test sets whole."""
    built, _ = run(tmp_path, variant, real_data)
    assert built.code == 0, built.said
    assert {row["lang"] for row in built.rows("train.jsonl")} == trained
    assert len(built.rows("eval/medmcqa_en.jsonl")) == 4183


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """DATA=typo is no reason to go to the network."""
    built, _ = run(tmp_path, "bimed1.3m", tmp_path / "typo")
    assert built.ended_badly() and "there is no such folder" in built.said


class Gate(http.server.BaseHTTPRequestHandler):
    """The Hub's answers to a request for a data set: some want a login, one is gone, one has lost a commit."""

    def do_GET(self) -> None:
        code, error = 200, None
        if "lavita" in self.path:
            code, error = 403, "GatedRepo"
        elif "GBaker" in self.path:
            code, error = 404, "RepoNotFound"
        elif "cais" in self.path:
            code, error = 404, "RevisionNotFound"
        elif "medalpaca" in self.path:
            code = 500
        body = json.dumps({"id": "owner/name", "sha": "a" * 40, "siblings": [], "tags": []} if code == 200 else {"error": "no"}).encode()
        self.send_response(code)
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture()
def gate() -> Iterator[str]:
    """An endpoint on loopback in place of the Hub, which no test may reach."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_each_refusal_of_the_hub_has_its_line(tmp_path: Path, gate: str) -> None:
    """A login, a data set that is gone, a lost commit and a server error are four different things to do."""
    built, _ = run(tmp_path, "bimed1.3m", endpoint=gate)
    assert built.ended_badly(), built.said
    for name, words in {
        "healthcaremagic": "asks for a login: accept its terms on the Hub and set HF_TOKEN",
        "medqa_4options_train": "has no data set GBaker/MedQA-USMLE-4-options",
        "mmlu_anatomy_test": "correct the revision in data_prep/sources/registry.yaml",
        "medical_meadow_mediqa": "cannot be reached for medalpaca/medical_meadow_mediqa",
    }.items():
        assert any(line.startswith(f"  {name}: ") and words in line for line in built.said.splitlines()), (name, built.said)


ROWS = [
    {"id": f"q{number}", "question": f"Question {number}?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": number % 4, "exp": None}
    for number in range(9)
]


@pytest.fixture()
def like_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in the Hub's layout on the disk: `datasets` opens owner/name in the current folder as it opens one on the Hub."""
    (tmp_path / "owner" / "name" / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "owner" / "name" / "data" / "train-00000-of-00001.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_a_hub_data_set_becomes_one_parquet(like_the_hub: Path) -> None:
    """The real loading code, on files of the Hub's form: the rows that come out are those that went in, and the reader takes them."""
    out = like_the_hub / "hub" / "medmcqa_train-aaaaaaaaaaaa.parquet"
    locate.fetch(registry.Hub(repository="owner/name", split="train"), "a" * 40, out)
    assert pq.read_table(out).to_pylist() == ROWS
    assert [path.name for path in out.parent.iterdir()] == [out.name]  # nothing half-written beside it
    source = recipe.Source.model_validate({"from": "medmcqa_train"})
    found = locate.Found(source, out, out.name, "medmcqa", {"split": "train", "answer_base": 0})
    assert [record.answer for record in locate.read(found)] == [row["cop"] for row in ROWS]


def test_a_download_that_fails_is_told(like_the_hub: Path) -> None:
    """A split that the data set does not have: one line, and no file that looks like the data."""
    out = like_the_hub / "hub" / "x-aaaaaaaaaaaa.parquet"
    with pytest.raises(BadInput, match="owner/name at aaaaaaaaaaaa did not download"):
        locate.fetch(registry.Hub(repository="owner/name", split="validation"), "a" * 40, out)
    assert list(out.parent.iterdir()) == []


def test_what_a_model_made_is_found_below_data_first(tmp_path: Path) -> None:
    """A file that the user put below DATA stands before what was made here. Without either it is missing, and nobody asks the Hub."""
    plan = recipe.Recipe.model_validate(
        {"description": "x", "root": "DATA", "mcqa_answers": ["letter"], "sources": [{"from": "medqa_ar"}, {"from": "medquad"}]}
    )
    data, build = tmp_path / "data", tmp_path / "build"
    assert [item.source for item in locate.locate(plan, data, build, ask=False).missing] == ["medqa_ar", "medquad"]
    for folder in (build, data):
        (folder / "generated").mkdir(parents=True)
        (folder / "generated" / "medqa_ar.jsonl").touch()
        for root in (data, None):
            (item,) = locate.locate(plan, root, build, ask=False).found
            wanted = folder if root else build
            assert (item.path, item.file) == (wanted / "generated" / "medqa_ar.jsonl", "generated/medqa_ar.jsonl")


def test_what_was_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    """A second run needs no network for what the first one fetched, pinned or not."""
    hub = tmp_path / "hub"
    hub.mkdir()
    pinned, newest = "medmcqa_train", "medicationqa"
    revision = registry.entries()[pinned].hub.revision
    for name in (f"{pinned}-{revision[:12]}", f"{newest}-bbbbbbbbbbbb"):
        pq.write_table(pa.Table.from_pylist(ROWS), hub / f"{name}.parquet")
    content = {"description": "a test", "root": "DATA", "mcqa_answers": ["letter"], "sources": [{"from": pinned}]}
    (tmp_path / "one.yaml").write_text(json.dumps(content), encoding="utf-8")
    built, _ = run(tmp_path, str(tmp_path / "one.yaml"))
    assert built.code == 0, built.said
    (entry,) = built.manifest["inputs"]
    assert entry["hub"]["revision"] == revision and entry["used"] == {"train": 9} and entry["file"] == f"{pinned}-{revision[:12]}.parquet"
    found = locate._on_the_hub(recipe.Source.model_validate({"from": newest}), hub, locate._NoAnswer("offline", True))
    assert isinstance(found, locate.Found) and found.revision == "bbbbbbbbbbbb"
