"""The batching worker as a process, asked in FastChat's own words, beside a controller that writes down what it is told."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import OFFLINE, ROOT, SERVE_PYTHON, Trained, free_port

SECRET = "of this test only"
ROWS, WAITING = 4, 2


class Controller(ThreadingHTTPServer):
    """Takes registrations and heartbeats. `status` answers them all, `known` is what it says of a beat."""

    daemon_threads = True

    def __init__(self) -> None:
        self.registered: list[dict] = []
        self.beats: list[dict] = []
        self.secrets: set[str | None] = set()
        self.known, self.status = True, 200
        super().__init__(("127.0.0.1", 0), _Taken)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Taken(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.secrets.add(self.headers["X-BiMediX-Secret"])
        if self.server.status == 200:
            (self.server.beats if self.path == "/receive_heart_beat" else self.server.registered).append(body)
        answer = json.dumps({"exist": self.server.known}).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Worker:
    """The process, its port and its log."""

    model: Path
    log: Path
    controller: Controller = field(default_factory=Controller)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen = None

    def start(self) -> "Worker":
        line = [SERVE_PYTHON, "-m", "fastchat_templates.worker", "--model-path", self.model, "--model-names", "tiny", "--port", self.port, "--context", 1500]
        line += ["--controller-address", self.controller.url, "--concurrency", ROWS, "--queue", WAITING]
        environment = os.environ | OFFLINE | {"BIMEDIX_SECRET": SECRET, "FASTCHAT_WORKER_HEART_BEAT_INTERVAL": "1"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([str(word) for word in line], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        until(lambda: self.controller.registered or self.process.poll() is not None, 60)
        assert self.process.poll() is None, self.log.read_text()
        return self

    def post(self, path: str, **body: object) -> requests.Response:
        return requests.post(f"http://127.0.0.1:{self.port}/{path}", json=body, timeout=60)

    def chunks(self, prompt: str = "[INST] What is anaemia? [/INST]", **params: object) -> Iterator[dict]:
        """A streamed answer; leaving the iterator hangs up."""
        body = {"prompt": prompt, "temperature": 0, "max_new_tokens": 24, "echo": False} | params
        with requests.post(f"http://127.0.0.1:{self.port}/worker_generate_stream", json=body, timeout=60, stream=True) as answer:
            kept = b""
            for data in answer.iter_content(None):
                *whole, kept = (kept + data).split(b"\0")
                yield from map(json.loads, whole)

    def load(self) -> int:
        return self.post("worker_get_status").json()["queue_length"]


def until(true: Callable[[], object], seconds: float) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def worker(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One for all tests; the last one ends it."""
    started = Worker(trained.merged, tmp_path_factory.mktemp("worker") / "worker.log").start()
    yield started
    started.process.kill()
    said = started.log.read_text(encoding="utf-8")
    assert "Traceback" not in said and SECRET not in said, said[-3000:]


LONG = {"max_new_tokens": 1200, "ignore_eos": True}


def test_the_answer_is_generates(worker: Worker, trained: Trained) -> None:
    """Cumulative text, token for token that of plain transformers; counts exact, the closing token with them; a Conversation that FastChat rebuilds."""
    tokenizer = AutoTokenizer.from_pretrained(trained.merged)
    model = AutoModelForCausalLM.from_pretrained(trained.merged, dtype=torch.float32)
    for prompt in ("[INST] What is anaemia? [/INST]", "[INST] ما هو فقر الدم؟ [/INST]"):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        wanted = model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :]
        chunks = list(worker.chunks(prompt))
        assert chunks[-1]["text"] == tokenizer.decode(wanted, skip_special_tokens=True).rstrip("\ufffd")
        assert all(chunks[-1]["text"].startswith(chunk["text"]) and not chunk["error_code"] for chunk in chunks)
        assert [chunk["finish_reason"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        counted = {"prompt_tokens": ids.shape[1], "completion_tokens": len(wanted), "total_tokens": ids.shape[1] + len(wanted)}
        assert chunks[-1]["usage"] == counted and chunks[-1]["finish_reason"] == "length"
        assert worker.post("count_token", prompt=prompt).json() == {"count": ids.shape[1], "error_code": 0}
        whole = worker.post("worker_generate", prompt=prompt, temperature=0, max_new_tokens=24, echo=False).json()
        assert whole == chunks[-1]
    assert worker.post("worker_get_conv_template").json()["conv"]["name"] == "bimedix"
    assert worker.post("model_details").json() == {"context_length": 1500}


def test_log_probabilities_come_in_openais_lists(worker: Worker, trained: Trained) -> None:
    """Of prompt and answer with `echo`, the same in one piece and streamed; token ids are taken as they are."""
    ids = AutoTokenizer.from_pretrained(trained.merged)("The heart beats.").input_ids
    asked = {"prompt": ids, "temperature": 0, "max_new_tokens": 3, "echo": True, "logprobs": 1}
    lists = worker.post("worker_generate", **asked).json()["logprobs"]
    assert {len(values) for values in lists.values()} == {len(ids) + 3}
    assert lists["token_logprobs"][0] is None and lists["top_logprobs"][0] is None
    for own, best in list(zip(lists["token_logprobs"], lists["top_logprobs"], strict=True))[len(ids) :]:
        assert own == max(best.values())  # greedy
    streamed = [chunk["logprobs"] for chunk in worker.chunks(**asked)]
    assert sum((part["token_logprobs"] for part in streamed), []) == lists["token_logprobs"]


@pytest.mark.parametrize(
    ("path", "body", "code", "words"),
    [
        ("worker_generate", {"prompt": "a " * 2000}, 40001, "2002 tokens"),
        ("worker_generate", {"prompt": "a", "temperature": "hot"}, 40002, "temperature"),
        ("worker_generate", {"prompt": "a", "temperature": -1}, 40002, "temperature"),
        ("worker_generate", {"prompt": [32000]}, 40002, "prompt"),
        ("worker_generate", {"prompt": []}, 40002, "prompt"),
        ("worker_generate", {}, 40002, "prompt"),
        ("worker_generate", {"prompt": "a", "use_beam_search": True}, 40002, "beam"),
        ("count_token", {"prompt": 5}, 40002, "prompt"),
        ("worker_get_embeddings", {"input": ["a"]}, 40002, "embeddings"),
    ],
)
def test_what_cannot_be_answered_is_told(worker: Worker, path: str, body: dict, code: int, words: str) -> None:
    """A code and a sentence, whole and streamed."""
    told = worker.post(path, **body).json()
    assert told["error_code"] == code and words in told["text"]
    if path == "worker_generate" and "prompt" in body:
        assert list(worker.chunks(**({"temperature": 1} | body))) == [told]


def test_half_a_body_is_told(worker: Worker) -> None:
    """JSON that ends too early."""
    answer = requests.post(f"http://127.0.0.1:{worker.port}/worker_generate_stream", data=b'{"prompt": "a', timeout=10)
    assert json.loads(answer.content.rstrip(b"\0"))["error_code"] == 40002


def test_a_busy_worker_answers_questions(worker: Worker) -> None:
    """All rows run and the queue is full: status and counts come at once and are true, one request more is refused; all who leave are forgotten."""
    until(lambda: worker.load() == 0, 10)
    with ThreadPoolExecutor(ROWS + WAITING) as pool:
        streams = [worker.chunks(**LONG) for _ in range(ROWS + WAITING)]
        firsts = [pool.submit(next, stream) for stream in streams]
        until(lambda: worker.load() == ROWS + WAITING, 20)
        start = time.monotonic()
        assert worker.post("count_token", prompt="a b c").json()["count"] == 4
        assert worker.post("worker_get_status").json() == {"model_names": ["tiny"], "speed": 1, "queue_length": ROWS + WAITING}
        assert worker.post("worker_generate", prompt="a").json()["error_code"] == 42901
        assert time.monotonic() - start < 2
        for stream, first in zip(streams, firsts, strict=True):
            first.result()
            stream.close()
    until(lambda: worker.load() == 0, 5)


def test_who_waits_for_the_whole_answer_may_leave_too(worker: Worker) -> None:
    """The row is free long before the answer would have been written."""
    with pytest.raises(requests.Timeout):
        body = {"prompt": "a", "echo": False} | LONG
        requests.post(f"http://127.0.0.1:{worker.port}/worker_generate", json=body, timeout=0.5)
    until(lambda: worker.load() == 0, 1)


def test_registration_is_kept(worker: Worker) -> None:
    """With the secret; a controller that forgot the worker hears again who it is; one that refuses is told of once, with what to do."""
    controller = worker.controller
    assert controller.registered[0] == {
        "worker_name": f"http://127.0.0.1:{worker.port}",
        "check_heart_beat": True,
        "worker_status": {"model_names": ["tiny"], "speed": 1, "queue_length": 0},
        "multimodal": False,
    }
    seen = len(controller.registered)
    until(lambda: controller.beats, 5)
    controller.known = False
    until(lambda: len(controller.registered) > seen, 5)
    controller.known, controller.status = True, 403
    until(lambda: "BIMEDIX_SECRET" in worker.log.read_text(), 5)
    seen, controller.status = len(controller.registered), 200
    until(lambda: len(controller.registered) > seen, 5)
    assert worker.log.read_text().count("BIMEDIX_SECRET") == 1
    assert controller.secrets == {SECRET}


def test_sigterm_cuts_no_answer(worker: Worker) -> None:
    """The end of the module's worker. What runs and what waits is written to its end; new requests are refused, the controller hears of it; status 0."""
    until(lambda: worker.load() == 0, 10)
    with ThreadPoolExecutor(ROWS + 1) as pool:
        answers = [pool.submit(lambda: list(worker.chunks(max_new_tokens=400, ignore_eos=True))) for _ in range(ROWS + 1)]
        until(lambda: worker.load() == ROWS + 1, 20)
        worker.process.send_signal(signal.SIGTERM)
        until(lambda: worker.controller.registered[-1]["worker_status"]["model_names"] == [], 5)
        assert worker.post("worker_generate", prompt="a").json()["error_code"] == 50301
        assert [answer.result()[-1]["usage"]["completion_tokens"] for answer in answers] == [400] * (ROWS + 1)
    assert worker.process.wait(10) == 0
