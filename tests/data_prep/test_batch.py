"""Batch files: the same job without the network, on an engine that loses, shuffles and refuses, ends as the online run does."""

import json
import random
from pathlib import Path

import pytest

from data_prep import batch, files
from data_prep.endpoint import serving
from tests.data_prep import scripted
from tests.data_prep.test_llm_run import SCRIPT, outcomes, run, with_rows, written

ROWS = 60


def engine(folder: Path, results: Path, loses: float = 0.0, seed: int = 0) -> list[Path]:
    """What an engine makes of the request files: a result file and an error file, in any order; `loses` is the share that comes back without an answer."""
    rng, done, wrong = random.Random(seed), [], []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            request = json.loads(line)
            assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
            content = json.dumps(scripted.translate(request["body"]), ensure_ascii=False)
            body = {
                "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 9},
            }
            drawn = rng.random()
            if drawn < loses / 3:
                continue
            if drawn < loses:
                failed = {"code": "batch_expired", "message": "too late"} if drawn < loses / 2 else None
                response = None if failed else {"status_code": 503, "request_id": "r", "body": {"error": {"message": "busy"}}}
                wrong.append({"id": "b", "custom_id": request["custom_id"], "response": response, "error": failed})
            else:
                done.append({"id": "b", "custom_id": request["custom_id"], "response": {"status_code": 200, "request_id": "r", "body": body}, "error": None})
    rng.shuffle(done)
    results.mkdir(exist_ok=True)
    found = []
    for name, lines in (("output", done), ("errors", wrong)):
        if lines:
            found.append(results / f"{name}.jsonl")
            files.write_jsonl(found[-1], lines)
    return found


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = with_rows(tmp_path_factory.mktemp("online"), ROWS)
    with serving(script=SCRIPT) as url:
        code, said = run(folder, url)
    assert code == 0, said
    return folder


def test_a_round_trip_gives_what_the_online_run_gives(online: Path, tmp_path: Path) -> None:
    folder = with_rows(tmp_path, ROWS)
    code, said = run(folder, None, "--batch-out", folder / "turn-0")
    results, turns = [], 0
    while code == 3:
        assert "--batch-in" in said and turns < 12, said
        results = engine(folder / f"turn-{turns}", folder / f"results-{turns}", loses=0.3, seed=turns)
        turns += 1
        code, said = run(folder, None, "--batch-in", *reversed(results), "--batch-out", folder / f"turn-{turns}", "--batch-again")
    assert code == 0, said
    assert written(folder) == written(online)
    assert turns > 4, "translation, score and further rounds take turns of their own"


def test_what_is_out_is_not_written_twice(tmp_path: Path) -> None:
    folder = with_rows(tmp_path, 6)
    code, said = run(folder, None, "--batch-out", folder / "one")
    assert code == 3 and "6 requests are in" in said
    code, said = run(folder, None, "--batch-out", folder / "two")
    assert code == 3 and "6 requests stand in an earlier batch" in said and not list((folder / "two").glob("*"))
    code, said = run(folder, None, "--batch-out", folder / "one")
    assert code == 2 and "not empty" in said
    (results,) = engine(folder / "one", folder / "results")
    lines = results.read_text(encoding="utf-8").splitlines()
    foreign = json.dumps(json.loads(lines[0]) | {"custom_id": "0" * 32})
    results.write_text("\n".join([lines[0], lines[0], foreign, "{cut", *lines[1:5]]), encoding="utf-8")
    code, said = run(folder, None, "--batch-in", results)
    assert "5 answers taken, 1 known already, 0 without an answer" in said and "1 of requests that this journal did not write" in said
    assert "1 lines that cannot be read (row 4:" in said and code == 3
    code, said = run(folder, None, "--batch-out", folder / "three")
    assert "5 requests are in" in said and "1 requests stand in an earlier batch" in said, "five scores, and one translation that is still out"


def test_a_refusal_for_good_fails_the_row(tmp_path: Path) -> None:
    folder = with_rows(tmp_path, 1)
    run(folder, None, "--batch-out", folder / "one")
    request = json.loads((folder / "one" / "requests-0001.jsonl").read_text(encoding="utf-8"))
    body = {"error": {"message": "the prompt is too long", "type": "invalid_request_error"}}
    files.write_jsonl(folder / "results.jsonl", [{"id": "b", "custom_id": request["custom_id"], "response": {"status_code": 400, "body": body}, "error": None}])
    code, said = run(folder, None, "--batch-in", folder / "results.jsonl")
    assert code == 0, said
    (row,) = outcomes(folder)["failed"]
    assert row["reason"] == "http_400" and "the prompt is too long" in row["message"]
    with serving(script=SCRIPT) as url:
        code, said = run(folder, url, "--retry-failed")
    assert code == 0 and set(outcomes(folder)) == {""} | ({"review"} & set(outcomes(folder)))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = with_rows(tmp_path, 1)
    for path, message in ((folder / "rows.jsonl", "not the result file of a batch"), (folder / "nowhere.jsonl", "there is no such file")):
        code, said = run(folder, None, "--batch-in", path)
        assert code == 2 and message in said and "Traceback" not in said


def test_files_are_split_at_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's limits are 50,000 requests and 200 MB a file; smaller here, and kept to."""
    from data_prep import translate

    monkeypatch.setattr(batch, "MOST_REQUESTS", 7)
    monkeypatch.setattr(batch, "MOST_BYTES", 45_000)
    folder = with_rows(tmp_path, 30)
    line = ["--in", folder / "rows.jsonl", "--out", folder / "ar.jsonl", "--journal", folder / "journal.sqlite", "--model", "m", "--batch-out", folder / "out"]
    assert translate.main(list(map(str, line))) == 3
    parts = sorted((folder / "out").glob("*.jsonl"))
    counts = [len(path.read_text(encoding="utf-8").splitlines()) for path in parts]
    assert sum(counts) == 30 and max(counts) <= 7 and all(path.stat().st_size <= 45_000 for path in parts) and len(parts) > 4
    ids = [json.loads(line)["custom_id"] for path in parts for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(set(ids)) == 30
