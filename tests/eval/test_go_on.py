"""A run that is killed goes on with the next task; a model that cannot be scored ends with a line, and the others go on."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import OFFLINE, ROOT, Trained, command

TASKS = [f"bimedix_{lang}_{name}" for lang in ("en", "ar") for name in ("medqa", "anatomy", "pubmedqa")]


def start(*words: object) -> subprocess.Popen:
    line = [sys.executable, "-m", "eval.run", *map(str, words)]
    return subprocess.Popen(line, cwd=ROOT, env=os.environ | OFFLINE, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(found: object, process: subprocess.Popen, seconds: float = 180) -> object:
    """What `found()` gives when it gives something."""
    end = time.monotonic() + seconds
    while not (it := found()):
        assert process.poll() is None and time.monotonic() < end, process.stdout.read()
        time.sleep(0.01)
    return it


def test_no_finished_task_is_scored_again(trained: Trained, tmp_path: Path) -> None:
    """Killed between two tasks, then the same command: what was finished stays as it is, and all is as in an undisturbed run."""
    words = ["--model", trained.merged, "--data", trained.questions, "--tasks", ",".join(TASKS)]
    process = start(*words, "--build", tmp_path / "killed")
    out = tmp_path / "killed" / "eval" / "tiny"
    wait_for(lambda: len(list((out / "tasks").glob("*.json"))) >= 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in (out / "tasks").glob("*.json")}
    assert 2 <= len(before) < len(TASKS) and not (out / "results.json").exists()
    ran = command("eval.run", *words, "--build", tmp_path / "killed")
    assert ran.code == 0 and ran.said.count(": finished before") == len(before), ran.said
    assert {name: (out / "tasks" / name).stat().st_mtime_ns for name in before} == before
    whole = command("eval.run", *words, "--build", tmp_path / "whole")
    assert whole.code == 0, whole.said
    one, other = (json.loads((tmp_path / name / "eval" / "tiny" / "results.json").read_text(encoding="utf-8")) for name in ("killed", "whole"))
    assert set(one["results"]) == set(TASKS) and one["results"] == other["results"] and one["n-samples"] == other["n-samples"]
    again = command("eval.run", *words, "--build", tmp_path / "killed")
    assert again.said.count(": finished before") == len(TASKS) and "Loading weights" not in again.said


def test_other_questions_or_settings_are_scored_anew(trained: Trained, tmp_path: Path) -> None:
    """A result must never stand for questions, a model or settings that it was not made with."""
    questions = trained.copy(trained.questions, tmp_path / "eval")
    words = ["--model", trained.merged, "--data", questions, "--tasks", "bimedix_en_medqa", "--build", tmp_path]
    assert command("eval.run", *words).code == 0
    lines = (questions / "medqa_en.jsonl").read_text(encoding="utf-8").splitlines()
    (questions / "medqa_en.jsonl").write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    ran = command("eval.run", *words)
    assert ran.code == 0 and "finished before" not in ran.said
    found = json.loads((tmp_path / "eval" / "tiny" / "results.json").read_text(encoding="utf-8"))
    assert found["n-samples"]["bimedix_en_medqa"]["effective"] == len(lines) - 1
    fewer = command("eval.run", *words, "--limit", 2)
    assert fewer.code == 0 and "finished before" not in fewer.said
    found = json.loads((tmp_path / "eval" / "tiny" / "results.json").read_text(encoding="utf-8"))
    assert found["n-samples"]["bimedix_en_medqa"]["effective"] == 2
    raw = command("eval.run", *words, "--template", "raw")
    assert raw.code == 0 and "finished before" not in raw.said
    assert json.loads((tmp_path / "eval" / "tiny-raw" / "results.json").read_text(encoding="utf-8"))["chat_template"] is False


@pytest.fixture
def gated_hub() -> Iterator[str]:
    """A Hub that answers to everything as the real one does for a gated model without a token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 (http.server's name)
            self.send_response(401)
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("X-Error-Message", "Access to model somebody/gated is restricted. You must have access to it and be authenticated to access it.")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_one_models_failure_is_one_line(trained: Trained, tmp_path: Path, gated_hub: str) -> None:
    """A gated model, a folder that is none, a set that nobody prepared: each is named, and the good model is scored."""
    models = f"somebody/gated,{tmp_path / 'none'},{trained.merged}"
    questions = trained.copy(trained.questions, tmp_path / "eval")
    (questions / "anatomy_ar.jsonl").unlink()
    words = ["--model", models, "--data", questions, "--tasks", "bimedix_en_medqa,bimedix_ar_anatomy", "--build", tmp_path]
    environment = {name: value for name, value in (os.environ | OFFLINE).items() if name not in ("HF_HUB_OFFLINE", "HF_TOKEN")} | {"HF_ENDPOINT": gated_hub}
    ran = subprocess.run(
        [sys.executable, "-m", "eval.run", *map(str, words)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == 2 and "Traceback" not in said, said
    assert "error: somebody/gated: it is gated: accept its terms on the Hub and set HF_TOKEN" in said
    assert f"error: {tmp_path / 'none'} holds no model" in said
    assert "absent: bimedix_ar_anatomy" in said
    assert [line.split(": ")[1] for line in said.splitlines() if line.startswith("not scored: ")] == ["somebody/gated", str(tmp_path / "none")]
    assert (tmp_path / "eval" / "tiny" / "results.json").is_file()


def test_a_model_that_the_system_kills_does_not_stop_the_others(trained: Trained, tmp_path: Path) -> None:
    """So it goes when memory runs out: no exception, SIGKILL."""
    words = ["--model", f"{trained.base},{trained.merged}", "--data", trained.questions, "--tasks", "bimedix_en_medqa", "--build", tmp_path]
    process = start(*words)
    listed = ["pgrep", "-f", f"eval.score --model {trained.base} .*--out {tmp_path}"]
    (number, *_) = wait_for(lambda: subprocess.run(listed, capture_output=True, text=True, check=False).stdout.split(), process)
    os.kill(int(number), signal.SIGKILL)
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 2 and f"not scored: {trained.base}: it was killed, most likely by the system for want of memory" in said, said
    assert (tmp_path / "eval" / "tiny" / "results.json").is_file()
