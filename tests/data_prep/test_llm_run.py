"""A step over a file, through its command and a real endpoint that fails: nothing is lost, doubled or asked again, whatever happens to the run.

FAULTY_ROWS and KILLS make the runs as large as in `make proof`.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from data_prep import files
from data_prep.endpoint import serving
from data_prep.journal import Journal
from tests.conftest import ROOT
from tests.data_prep import scripted
from tests.data_prep.test_llm import SECRET, arrivals, resent

FAULTY_ROWS = int(os.environ.get("FAULTY_ROWS", "600"))
KILLS = int(os.environ.get("KILLS", "5"))
SCRIPT = "tests.data_prep.scripted:translate"
OUTPUTS = ("", "review", "failed", "unread")


def start(folder: Path, url: str | None, *options: object, **environment: str) -> subprocess.Popen:
    """The command over rows.jsonl of a folder."""
    line = [sys.executable, "-m", "data_prep.translate", "--in", folder / "rows.jsonl", "--out", folder / "ar.jsonl", "--journal", folder / "journal.sqlite"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    environment = clean | ({"OPENAI_BASE_URL": url} if url else {}) | environment
    line += ["--model", "stand-in", "--wait", "0.01", *options]
    return subprocess.Popen(list(map(str, line)), cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(folder: Path, url: str | None, *options: object, **environment: str) -> tuple[int, str]:
    """Exit status and what was said."""
    process = start(folder, url, *options, **environment)
    said, _ = process.communicate(timeout=600)
    return process.returncode, said


def written(folder: Path) -> dict[str, bytes]:
    """The outputs, byte by byte."""
    paths = {suffix: folder / f"ar{'.' if suffix else ''}{suffix}.jsonl" for suffix in OUTPUTS}
    return {suffix: path.read_bytes() for suffix, path in paths.items() if path.exists()}


def outcomes(folder: Path) -> dict[str, list[dict]]:
    return {suffix: [json.loads(line) for line in content.decode().split("\n") if line] for suffix, content in written(folder).items()}


def with_rows(folder: Path, count: int) -> Path:
    folder.mkdir(exist_ok=True)
    files.write_jsonl(folder / "rows.jsonl", scripted.rows(count))
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 150 rows that nothing disturbed."""
    folder = with_rows(tmp_path_factory.mktemp("undisturbed"), 150)
    with serving(script=SCRIPT, log=folder / "log") as url:
        code, said = run(folder, url)
    assert code == 0, said
    return folder


def test_the_outcomes(undisturbed: Path) -> None:
    """Each row is in one file, in the order of the input; what the script does wrong is not accepted."""
    found = outcomes(undisturbed)
    ids = [row["id"] for rows in found.values() for row in rows]
    assert sorted(ids) == sorted(f"scripted:{number}:ar" for number in range(150)) and set(found) == {"", "review"}
    order = [int(row["id"].split(":")[1]) for row in found[""]]
    assert order == sorted(order) and len(order) > 100
    english = {row["origin_id"]: row for row in scripted.rows(150)}
    for row in found[""]:
        dose = english[row["origin_id"]]["answer"].split()[1]
        assert f"تناول {dose} ملغ" in row["answer"], "a wrong dose was accepted"
    assert {row["why"] for row in found["review"]} == {"low_score", "sampled"}
    manifest = json.loads((undisturbed / "ar.manifest.json").read_text())
    assert manifest["rows"] == 150 and manifest["undone"] == 0
    assert manifest["outcomes"] == {"accepted": len(found[""]), "review": len(found["review"])}
    assert manifest["outputs"]["ar.jsonl"] == {"rows": len(found[""]), "sha256": files.sha256(undisturbed / "ar.jsonl")}


def test_a_faulty_endpoint_loses_nothing(tmp_path: Path) -> None:
    """30% of the arrivals fail in every way there is, and 1% of the requests every time."""
    folder = with_rows(tmp_path, FAULTY_ROWS)
    ways = {"faults": 0.3, "hang": 4, "permanent": 0.01, "seed": 7}
    with serving(script=SCRIPT, log=folder / "log", **ways) as url:
        code, said = run(folder, url, "--timeout", 3)
        assert code == 0, said
        first = written(folder)
        found = outcomes(folder)
        ids = Counter(row["id"].rsplit(":", 1)[0] for rows in found.values() for row in rows)
        assert ids == Counter(f"scripted:{number}" for number in range(FAULTY_ROWS)), "a row is lost or doubled"
        assert all(row["reason"] and row["message"] and row["record"]["question"] for row in found["failed"])
        assert 0 < len(found["failed"]) < 0.2 * FAULTY_ROWS and len(found[""]) > 0.5 * FAULTY_ROWS
        assert not resent(folder / "log")
        kinds = Counter(arrival["kind"] for arrival in arrivals(folder / "log"))
        assert len(kinds) == 16 and 0.25 < 1 - kinds["ok"] / kinds.total() < 0.36

        sent = kinds.total()
        code, said = run(folder, url)
        assert code == 0 and written(folder) == first and len(arrivals(folder / "log")) == sent, "a finished run is finished"

        code, said = run(folder, url, "--retry-failed", "--timeout", 3)
        assert len(outcomes(folder)["failed"]) < 0.7 * len(found["failed"])
        rest = {row["id"] for row in outcomes(folder)["failed"]}
        again = {row["id"] for rows in outcomes(folder).values() for row in rows}
        assert len(again) == FAULTY_ROWS and rest <= {row["id"] for row in found["failed"]}, "only the failed rows are worked on"


def test_killed_at_any_moment(undisturbed: Path, tmp_path: Path) -> None:
    """SIGKILL at random moments of one job; what comes out in the end is what an undisturbed run writes, and no kept answer was asked for again."""
    folder = with_rows(tmp_path, 150)
    with serving(script=SCRIPT, log=folder / "log", latency=0.03) as url:
        rng, kept, lost = random.Random(11), 0, 0
        for _ in range(KILLS):
            before = len(arrivals(folder / "log"))
            process = start(folder, url, "--concurrency", 4)
            if rng.random() < 0.2:  # some kills hit the start
                time.sleep(rng.uniform(0, 1))
            else:  # the work takes some 3 s, spread over the kills
                while len(arrivals(folder / "log")) == before and process.poll() is None:
                    time.sleep(0.01)
                time.sleep(rng.uniform(0, 3 / KILLS))
            process.kill()
            process.communicate()
            if (folder / "journal.sqlite").exists():
                with Journal(folder / "journal.sqlite") as journal:
                    kept = journal.totals.requests
                under_way = len(arrivals(folder / "log")) - kept - lost
                assert 0 <= under_way <= 4
                lost += under_way
            assert not (folder / "ar.jsonl").exists() or written(folder) == written(undisturbed)
        assert kept > 20, "the kills came before anything was done"
        code, said = run(folder, url)
    assert code == 0, said
    assert written(folder) == written(undisturbed)
    assert len(resent(folder / "log")) <= lost, "an answer that was kept was asked for again"
    assert not list(folder.glob(".*part*"))


def test_the_budget_stops_within_a_wave(undisturbed: Path, tmp_path: Path) -> None:
    folder = with_rows(tmp_path, 150)
    prices = ("--price-in", 1, "--price-out", 4, "--concurrency", 8)
    with serving(script=SCRIPT, log=folder / "log", latency=0.02) as url:
        code, said = run(folder, url, *prices, "--budget-usd", 0.1)
        assert code == 3 and "budget" in said
        with Journal(folder / "journal.sqlite") as journal:
            spent, each = journal.totals.usd, journal.totals.usd / journal.totals.requests
        assert 0.1 - 9 * each < spent <= 0.1 + 8 * each
        part = outcomes(folder)
        assert 0 < sum(map(len, part.values())) < 150
        manifest = json.loads((folder / "ar.manifest.json").read_text())
        assert manifest["undone"] == 150 - sum(map(len, part.values()))
        sent = len(arrivals(folder / "log"))
        code, said = run(folder, url, *prices, "--budget-usd", 0.1)
        assert code == 3 and len(arrivals(folder / "log")) <= sent + 1, "the same budget is not spent twice"
        code, said = run(folder, url, *prices, "--budget-usd", 100)
    assert code == 0 and written(folder) == written(undisturbed) and not resent(folder / "log")


def test_an_endpoint_that_goes_away_fails_no_row(undisturbed: Path, tmp_path: Path) -> None:
    folder = with_rows(tmp_path, 150)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving(script=SCRIPT, log=folder / "log", latency=0.05, port=port) as url:
        process = start(folder, url, "--concurrency", 8, "--attempts", 3)
        while len(arrivals(folder / "log")) < 60:
            time.sleep(0.05)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 3 and "no answer" in said and "failed" not in outcomes(folder), said
    code, said = run(folder, url, "--attempts", 2)
    assert code == 2 and "nobody answers" in said and "Traceback" not in said
    with serving(script=SCRIPT, log=folder / "log", port=port) as url:
        code, said = run(folder, url)
    assert code == 0 and written(folder) == written(undisturbed), said


def test_a_model_that_cannot_do_it_is_not_paid_for_every_row(tmp_path: Path) -> None:
    folder = with_rows(tmp_path, 300)
    with serving(log=folder / "log", faults=1, kinds=["bad_content"]) as url:
        code, said = run(folder, url, "--concurrency", 8)
    assert code == 3 and "rows one after the other failed, the last for invalid_json" in said
    assert 50 <= len(outcomes(folder)["failed"]) <= 58 and len(arrivals(folder / "log")) <= 2 * 58


def test_ctrl_c_waits_for_what_is_paid(undisturbed: Path, tmp_path: Path) -> None:
    folder = with_rows(tmp_path, 150)
    with serving(script=SCRIPT, log=folder / "log", latency=0.1) as url:
        process = start(folder, url, "--concurrency", 8)
        while len(arrivals(folder / "log")) < 30:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 3 and "interrupted" in said and "Traceback" not in said
        sent = len(arrivals(folder / "log"))
        with Journal(folder / "journal.sqlite") as journal:
            assert journal.totals.requests == sent < 200, "an answer was thrown away"
        code, said = run(folder, url)
    assert code == 0 and written(folder) == written(undisturbed) and not resent(folder / "log")


def test_a_dry_run_sends_nothing_and_is_near(undisturbed: Path, tmp_path: Path) -> None:
    folder = with_rows(tmp_path, 150)
    code, said = run(folder, None, "--dry-run", "--price-in", 1, "--price-out", 4)
    assert code == 0 and "150 are left; they make at least 300 requests" in said and "USD" in said
    assert sorted(path.name for path in folder.iterdir()) == ["rows.jsonl"]
    tokens = [int(number.replace(",", "")) for number in said.split("about ")[1].split(" (")[0].replace(" tokens in", "").replace(" out", "").split(", ")]
    with Journal(undisturbed / "journal.sqlite") as journal:
        spent = journal.totals
    first = spent.requests / 300  # rounds and re-asks make more requests than are known beforehand
    assert 0.8 < tokens[0] * first / spent.prompt_tokens < 1.25


def test_limit_takes_the_first_rows(undisturbed: Path, tmp_path: Path) -> None:
    folder = with_rows(tmp_path, 150)
    with serving(script=SCRIPT, log=folder / "log") as url:
        code, said = run(folder, url, "--limit", 40)
        assert code == 0 and sum(map(len, outcomes(folder).values())) == 40
        sent = len(arrivals(folder / "log"))
        code, said = run(folder, url)
    assert code == 0 and written(folder) == written(undisturbed) and sent < len(arrivals(folder / "log")) and not resent(folder / "log")


def test_the_key_is_written_nowhere(tmp_path: Path) -> None:
    folder = with_rows(tmp_path, 10)
    with serving(script=SCRIPT, key=SECRET, log=folder / "log") as url:
        code, said = run(folder, url, OPENAI_API_KEY=SECRET)
        assert code == 0 and SECRET not in said
        code, wrong = run(folder, url, "--retry-failed", OPENAI_API_KEY=f"{SECRET}9")
        assert code == 2 and "refuses the key" in wrong and SECRET not in wrong
    assert len(written(folder)) and all(SECRET.encode() not in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_rows_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    folder = with_rows(tmp_path, 4)
    good = (folder / "rows.jsonl").read_text().splitlines()
    arabic = json.loads(good[2]) | {"lang": "ar"}
    bad = [good[0], "{", json.dumps(arabic), good[1], '{"kind": "qa", "id": "x"}', good[1]]
    (folder / "rows.jsonl").write_text("\n".join([*bad, good[3]]), encoding="utf-8")
    with serving(script=SCRIPT) as url:
        code, said = run(folder, url)
    assert code == 0, said
    unread = outcomes(folder)["unread"]
    assert [(row["row"], row["reason"]) for row in unread] == [(2, "malformed_json"), (3, "other_language"), (5, "invalid_origin_id"), (6, "duplicate_id")]
    assert all(row["file"] == "rows.jsonl" and row["message"] for row in unread) and sum(map(len, outcomes(folder).values())) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--in", "nowhere.jsonl"), "nowhere.jsonl: there is no such file"),
        (("--budget-usd", 5), "--budget-usd needs --price-in and --price-out"),
        (("--concurrency", 0), "it must be at least 1"),
        (("--model", "another"), "does not serve 'another': it has stand-in"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(options: tuple, message: str, tmp_path: Path) -> None:
    folder = with_rows(tmp_path, 2)
    with serving(script=SCRIPT) as url:
        code, said = run(folder, url, *options)
    assert code == 2 and message in said and "Traceback" not in said


def test_without_an_endpoint_it_says_what_to_set(tmp_path: Path) -> None:
    code, said = run(with_rows(tmp_path, 2), None)
    assert code == 2 and "OPENAI_BASE_URL" in said and "Traceback" not in said
