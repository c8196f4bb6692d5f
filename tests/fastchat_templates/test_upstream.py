"""The upstream worker between our API and an OpenAI-compatible engine. The engine is our own API on the real model, and one that does what a test needs."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai
import pytest
import requests

from tests.conftest import SERVE_PYTHON, Trained, command, free_port
from tests.fastchat_templates.guarded import ANAEMIA, KEYS, Guarded, until


class Engine(ThreadingHTTPServer):
    """An engine that lists two models, counts a token a character, and answers as the prompt says: an HTTP status, `endless`, `break`, or one word."""

    daemon_threads = True

    def __init__(self) -> None:
        self.bodies: list[dict] = []
        self.keys: set[str | None] = set()
        self.left = 0
        super().__init__(("127.0.0.1", 0), _Engine)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        pass


class _Engine(BaseHTTPRequestHandler):
    def _json(self, body: dict, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.server.keys.add(self.headers["Authorization"])
        self._json({"data": [{"id": "big", "max_model_len": 200}, {"id": "other"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/tokenize":
            self._json({"count": len(body["prompt"])})
            return
        self.server.bodies.append(body)
        said = body["prompt"]
        if said.isdecimal():
            self._json({"error": {"message": "the engine's words about /srv/models"}}, int(said))
            return
        self.send_response(200)
        self.end_headers()
        try:
            self._event({"choices": [{"text": "wo", "finish_reason": None, "logprobs": None}]})
            while said == "endless":
                time.sleep(0.05)
                self._event({"choices": [{"text": ".", "finish_reason": None}]})
        except OSError:
            self.server.left += 1
            return
        if said != "break":
            self._event({"choices": [{"text": "rd", "finish_reason": "stop"}]})
            self._event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}})
            self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, body: dict) -> None:
        self.wfile.write(b"data: " + json.dumps(body).encode() + b"\n\n")
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


def beside(guarded: Guarded, part: str, base_url: str, model: str, name: str, key: str) -> None:
    """One more worker at the stack's controller."""
    options = ("--base-url", base_url, "--upstream-model", model, "--model-names", name, "--controller-address", guarded.url("controller"))
    port = guarded.ports[part] = free_port()
    guarded.start(part, "fastchat_templates.upstream", *options, "--worker-address", f"http://127.0.0.1:{port}", BIMEDIX_UPSTREAM_KEY=key)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


@pytest.fixture(scope="module")
def stack(guarded: Guarded, engine: Engine) -> Iterator[Guarded]:
    """Two upstream workers beside the others: `far` is the model `tiny` behind our API, `big` is the scripted engine's."""
    beside(guarded, "far", f"{guarded.url('api')}/v1", "tiny", "far", KEYS[0])
    beside(guarded, "big", f"http://127.0.0.1:{engine.server_port}/v1", "big", "big", "the engine's key")
    until(lambda: {"far", "big", "tiny"} <= set(guarded.controller("list_models")["models"]), 60)
    yield guarded
    for part in ("far", "big"):
        guarded.running[part].terminate()
        assert guarded.running[part].wait(10) == 0
        assert "Traceback" not in guarded.log(part) and "the engine's key" not in guarded.log(part)


def test_an_answer_from_afar_is_the_same(stack: Guarded) -> None:
    """Text, tokens, reason and log-probabilities of the model behind two APIs are those of the model itself; whole and streamed."""
    near, far = (stack.openai().chat.completions.create(model=name, messages=ANAEMIA, temperature=0, max_tokens=12) for name in ("tiny", "far"))
    assert far.choices[0].message.content == near.choices[0].message.content
    assert far.usage.model_dump() == near.usage.model_dump() and far.choices[0].finish_reason == near.choices[0].finish_reason
    options = {"messages": ANAEMIA, "temperature": 0, "max_tokens": 12, "stream": True, "stream_options": {"include_usage": True}}
    events = list(stack.openai().chat.completions.create(model="far", **options))
    assert "".join(choice.delta.content or "" for event in events for choice in event.choices) == near.choices[0].message.content
    assert events[-1].usage.model_dump() == near.usage.model_dump()
    options = {"prompt": "The heart", "temperature": 0, "max_tokens": 3, "logprobs": 2, "echo": True}
    near, far = (stack.openai().completions.create(model=name, **options).choices[0] for name in ("tiny", "far"))
    assert far.model_dump() == near.model_dump()


def ask(stack: Guarded, prompt: str, **params: object) -> dict:
    """The scripted engine's answer as the worker passes it on."""
    body = {"prompt": prompt, "echo": False, "max_new_tokens": 20} | params
    return requests.post(f"{stack.url('big')}/worker_generate", json=body, timeout=30).json()


def test_parameters_reach_the_engine(stack: Guarded, engine: Engine) -> None:
    """Under OpenAI's names, with the engine's key; what not every engine knows only where it was asked for; the answer cut to the context's rest."""
    told = ask(stack, "x" * 150, temperature=0.5, top_p=0.9, seed=3, stop=["</s>", "END"], max_new_tokens=100)
    assert told == {"text": "word", "error_code": 0, "finish_reason": "stop", "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}
    body = engine.bodies[-1]
    wanted = {"model": "big", "temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["</s>", "END"], "max_tokens": 50, "echo": False, "stream": True}
    assert {name: body.get(name) for name in wanted} == wanted
    assert not {"top_k", "repetition_penalty", "ignore_eos", "stop_token_ids", "logprobs"} & set(body)
    ask(stack, "hello", top_k=5, repetition_penalty=1.2, ignore_eos=True, logprobs=1)
    assert {"top_k": 5, "repetition_penalty": 1.2, "ignore_eos": True, "logprobs": 1}.items() <= engine.bodies[-1].items()
    assert engine.keys == {"Bearer the engine's key"}


@pytest.mark.parametrize(
    ("prompt", "code", "words"),
    [("400", 40002, "engine's words"), ("429", 42901, "later"), ("503", 50301, "again"), ("500", 50001, "failed"), ("break", 50001, "broke off")]
    + [("x" * 200, 40001, "context")],
)
def test_an_engines_errors_are_ours(stack: Guarded, prompt: str, code: int, words: str) -> None:
    """By their kind; the words of its own failures, which may hold paths, stay in the log."""
    told = ask(stack, prompt)
    assert told["error_code"] == code and words in told["text"]
    assert code == 40002 or "/srv" not in told["text"]


def test_leaving_ends_the_request_to_the_engine(stack: Guarded, engine: Engine) -> None:
    """Through both: the API's client hangs up, and the engine sees it within a second."""
    events = stack.openai().completions.create(model="big", prompt="endless", max_tokens=100, stream=True)
    assert next(iter(events)).choices[0].text
    assert requests.post(f"{stack.url('big')}/worker_get_status", timeout=5).json()["queue_length"] == 1
    events.close()
    until(lambda: engine.left == 1, 2)
    assert requests.post(f"{stack.url('big')}/worker_get_status", timeout=5).json()["queue_length"] == 0


def test_the_api_tells_it_in_openais_shape(stack: Guarded) -> None:
    """A full engine is a 429 to the client."""
    with pytest.raises(openai.RateLimitError):
        stack.openai().completions.create(model="big", prompt="429", max_tokens=5)


def test_speed_measures_a_real_stack(stack: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """eval.speed, whose other tests ask a server of their own, against the real model."""
    monkeypatch.setenv("OPENAI_API_KEY", KEYS[0])
    options = ("--clients", "1,3", "--requests", "3", "--tokens", "8", "--ignore-eos", "--out", tmp_path / "speed")
    ran = command("eval.speed", f"near={stack.url('api')}/v1", *options)
    assert ran.code == 0, ran.said
    levels = json.loads((tmp_path / "speed" / "speed.json").read_text(encoding="utf-8"))["servers"]["near"]["levels"]
    assert [(row["tokens"], row["tokens_exact"], row["failed"]) for row in levels] == [(24, True, 0), (24, True, 0)]


def test_a_model_that_the_engine_lacks_is_named(engine: Engine, trained: Trained) -> None:
    """With those that it has, in one line."""
    options = ("--base-url", f"http://127.0.0.1:{engine.server_port}/v1", "--upstream-model", "huge", "--model-names", "huge", "--port", free_port())
    ran = command("fastchat_templates.upstream", *options, python=SERVE_PYTHON)
    assert ran.code == 1 and "'huge', but big, other" in ran.said and "Traceback" not in ran.said
