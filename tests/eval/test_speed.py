"""The load generator: its arithmetic against sums done by hand, its clock against a server whose pauses are known."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import pytest
import torch

from eval import shapes
from eval.load import Answer, Target, level, measure, percentiles, summary
from eval.speed import table
from tests.conftest import command, free_port

PAUSE = 0.05


class Server(ThreadingHTTPServer):
    """Streams four words, PAUSE before each. `say` decides what else: usage, finish_reason, errors."""

    daemon_threads = True

    def __init__(self) -> None:
        self.say: set[str] = {"usage"}
        self.bodies: list[dict] = []
        self.keys: set[str | None] = set()
        self.now = self.most = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server, body = self.server, json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            server.bodies.append(body)
            server.keys.add(self.headers["Authorization"])
            server.now += 1
            server.most = max(server.most, server.now)
        refused = "strict" in server.say and "stream_options" in body
        self.send_response(400 if refused else 500 if "fail" in server.say else 200)
        self.end_headers()
        if refused:
            self.wfile.write(b'{"error": "unknown field stream_options"}')
        elif "fail" not in server.say:
            self._answer(server.say)
        with server.lock:
            server.now -= 1

    def _answer(self, say: set[str]) -> None:
        self._event({"choices": [{"delta": {"role": "assistant"}, "finish_reason": None}]})
        for _ in range(4):
            time.sleep(PAUSE)
            self._event({"choices": [{"delta": {"content": "two words "}, "finish_reason": None}]})
        if "error" in say:
            self._event({"error": {"message": "the worker is gone"}})
            return
        self._event({"choices": [{"delta": {}, "finish_reason": "length" if "cut" in say else "stop"}]})
        if "usage" in say:
            self._event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 8, "total_tokens": 11}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, body: dict) -> None:
        self.wfile.write(b"data: " + json.dumps(body).encode() + b"\n\n")
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.shutdown()


def run(target: Target, clients: int = 1, requests: int = 1) -> tuple[list[Answer], float]:
    return asyncio.run(level(target, clients, requests, count()))


def test_percentiles_by_hand() -> None:
    """Straight lines between the values: of 1 to 5, p95 lies at 1 + 0.95 * 4."""
    assert percentiles([5, 1, 4, 2, 3]) == pytest.approx({"p50": 3, "p95": 4.8, "p99": 4.96})
    assert percentiles([7.0]) == {"p50": 7, "p95": 7, "p99": 7}
    assert percentiles([]) == {}


def test_a_row_by_hand() -> None:
    """Two good answers and a failed one: 9 tokens in 3 s; the failed one counts as failed and in no time."""
    good = [Answer([0.1, 0.5, 0.9], 1.0, 5, True), Answer([0.3, 0.4, 0.9], 1.2, 4, True)]
    row = summary([*good, Answer(error="HTTP 500")], 3.0, 2)
    assert (row["requests"], row["failed"], row["tokens"], row["tokens_per_second"], row["errors"]) == (3, 1, 9, 3.0, ["HTTP 500"])
    assert row["first_token"]["p50"] == pytest.approx(0.2)
    assert row["between_tokens"]["p50"] == pytest.approx((0.8 / 4 + 0.6 / 3) / 2)
    assert row["pauses"]["p50"] == pytest.approx(0.4) and row["whole_answer"]["p99"] == pytest.approx(1.198)
    cells = table({"ours": {"levels": [row]}}).splitlines()[-1].split(" | ")
    assert cells[:5] == ["| ours", "2", "3", "1", "3"] and cells[5].startswith("200 / ")


def test_the_clock(server: Server) -> None:
    """First piece after one pause, the last after four; eight tokens in four pieces."""
    ((answer,), seconds) = run(Target(server.url, "any", key="secret"))
    assert answer.error is None and (answer.tokens, answer.exact, len(answer.pieces)) == (8, True, 4)
    assert PAUSE <= answer.first < PAUSE + 0.2 and 4 * PAUSE <= answer.seconds <= seconds < 4 * PAUSE + 0.5
    assert answer.between == pytest.approx((answer.pieces[-1] - answer.pieces[0]) / 7)
    assert min(answer.pauses) > 0.5 * PAUSE and server.keys == {"Bearer secret"}


def test_so_many_clients_and_no_more(server: Server) -> None:
    """Seven requests by three clients: never more than three at once, all answered, no two the same."""
    answers, _ = run(Target(server.url, "any"), clients=3, requests=7)
    assert len(answers) == 7 and server.most == 3
    assert len({body["messages"][0]["content"] for body in server.bodies}) == 7


@pytest.mark.parametrize(("say", "tokens", "exact"), [({"usage"}, 8, True), ({"cut"}, 50, True), (set(), 4, False), ({"strict", "cut"}, 50, True)])
def test_tokens_where_the_server_does_not_count(server: Server, say: set[str], tokens: int, exact: bool) -> None:
    """An answer cut by its length has that length; else a piece counts as a token, and the table says ~. Without stream_options where they are refused."""
    server.say = say
    ((answer,), seconds) = run(Target(server.url, "any", tokens=50))
    assert (answer.error, answer.tokens, answer.exact) == (None, tokens, exact)
    assert ("| ~" in table({"any": {"levels": [summary([answer], seconds, 1)]}})) is not exact


@pytest.mark.parametrize(("say", "words"), [({"fail"}, "HTTP 500"), ({"error"}, "the worker is gone")])
def test_errors_are_counted_not_raised(server: Server, say: set[str], words: str) -> None:
    """Before the first piece or in mid-stream."""
    server.say = say
    ((answer,), _) = run(Target(server.url, "any"))
    assert words in answer.error


def test_servers_take_turns(server: Server) -> None:
    """Side by side, level by level, each with an answer first that is not counted."""
    targets = {name: Target(server.url, name) for name in ("one", "two")}
    found = asyncio.run(measure(targets, [1, 2], 2))
    assert [body["model"] for body in server.bodies] == ["one", "two", "one", "one", "two", "two", "one", "one", "two", "two"]
    assert [row["clients"] for row in found["two"]["levels"]] == [1, 2]


def test_the_command_writes_its_folder(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table, numbers and both figures; the key comes from the environment and goes nowhere but to the server."""
    monkeypatch.setenv("OPENAI_API_KEY", "a-secret-key")
    ran = command("eval.speed", f"here={server.url}", "--model", "any", "--clients", "1,2", "--requests", "2", "--ignore-eos", "--out", tmp_path / "speed")
    assert ran.code == 0, ran.said
    assert {path.name for path in (tmp_path / "speed").iterdir()} == {"speed.md", "speed.json", "speed.svg", "speed.png"}
    written = json.loads((tmp_path / "speed" / "speed.json").read_text(encoding="utf-8"))
    assert [row["tokens"] for row in written["servers"]["here"]["levels"]] == [16, 16]
    page = (tmp_path / "speed" / "speed.md").read_text(encoding="utf-8")
    assert page.count("| here |") == 2 and "not for clinical use" in page and page in ran.said
    assert server.keys == {"Bearer a-secret-key"} and all(body["ignore_eos"] for body in server.bodies)
    assert "a-secret-key" not in ran.said + page + json.dumps(written)


@pytest.mark.parametrize(("url", "words"), [("localhost:8000", "begins with http://"), ("http://127.0.0.1:PORT/v1", "gave no answer")])
def test_a_server_that_is_none_is_named(tmp_path: Path, url: str, words: str) -> None:
    """One line, no folder. The port is found in the test: a name with a port of its own would differ between the processes of one run."""
    ran = command("eval.speed", url.replace("PORT", str(free_port())), "--out", tmp_path / "speed")
    assert ran.code == 1 and words in ran.said and "Traceback" not in ran.said and not (tmp_path / "speed").exists()


def test_a_folder_of_other_things_is_left_alone(server: Server, tmp_path: Path) -> None:
    """The output folder is replaced as a whole."""
    (tmp_path / "thesis.tex").write_text("years")
    ran = command("eval.speed", server.url, "--out", tmp_path)
    assert ran.code == 1 and "thesis.tex" in ran.said and (tmp_path / "thesis.tex").exists() and not server.bodies


def test_the_shapes_are_the_real_ones() -> None:
    """At full scale, without memory: 46.7 billion parameters with 12.9 active, against 69.0; scaled down, the shares stay."""
    with torch.device("meta"):
        full = {sparse: shapes.parameters(shapes.build(sparse, 1, 1)) for sparse in (True, False)}
        small = {sparse: shapes.parameters(shapes.build(sparse)) for sparse in (True, False)}
    assert [round(number / 1e9, 1) for number in (*full[True], *full[False])] == [46.7, 12.9, 69.0, 69.0]
    for one in (full, small):
        assert one[True][1] / one[True][0] == pytest.approx(0.28, abs=0.01)
        assert one[True][1] / one[False][1] == pytest.approx(0.19, abs=0.01)


def test_shapes_are_compared_and_the_limits_said() -> None:
    """A small part of the real run: rates for both, their ratio, and what it cannot show."""
    threads = torch.get_num_threads()
    try:
        found = shapes.compare(depth=40, width=64, batches=(1, 2), tokens=3)
    finally:
        torch.set_num_threads(threads)
    sparse, dense = (found["shapes"][name]["tokens_per_second"] for name in ("sparse", "dense"))
    page = shapes.page(found)
    assert f"{sparse['2'] / dense['2']:.1f}x" in page and "cannot show" in page and "Random weights" in page and "not for clinical use" in page
