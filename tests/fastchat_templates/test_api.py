"""The guarded API over HTTP: what it refuses and how, keys, rates, log and metrics. Workers that fail are in test_failures.py, clients in test_clients.py."""

import re
import socket
import time

import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.conftest import SERVE_PYTHON, command
from tests.fastchat_templates.guarded import ANAEMIA, KEYS, STRICT, Guarded, error_of, until

CHAT, TEXT = "chat/completions", "completions"
PICTURE = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]


def user(content: object) -> list[dict]:
    return [{"role": "user", "content": content}]


BAD = {
    "no message": (CHAT, {"messages": []}, "messages"),
    "messages of another kind": (CHAT, {"messages": "hello"}, "messages"),
    "a message of another kind": (CHAT, {"messages": ["hello"]}, "messages[0]"),
    "the role tool": (CHAT, {"messages": [*ANAEMIA, {"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages[1].role"),
    "an unknown role": (CHAT, {"messages": [{"role": "doctor", "content": "x"}]}, "messages[0].role"),
    "a role that is no text": (CHAT, {"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
    "no role": (CHAT, {"messages": [{"content": "x"}]}, "messages[0].role"),
    "two turns of the user": (CHAT, {"messages": ANAEMIA * 2}, "messages[1].role"),
    "a system message later": (CHAT, {"messages": [*ANAEMIA, {"role": "system", "content": "x"}]}, "messages[1].role"),
    "only a system message": (CHAT, {"messages": [{"role": "system", "content": "x"}]}, "messages"),
    "the assistant last": (CHAT, {"messages": [*ANAEMIA, {"role": "assistant", "content": "x"}]}, "messages"),
    "empty content": (CHAT, {"messages": user("")}, "messages[0].content"),
    "no content": (CHAT, {"messages": user(None)}, "messages[0].content"),
    "no parts": (CHAT, {"messages": user([])}, "messages[0].content"),
    "a picture": (CHAT, {"messages": user(PICTURE)}, "messages[0].content"),
    "a part without text": (CHAT, {"messages": user([{"type": "text"}])}, "messages[0].content"),
    "too many messages": (CHAT, {"messages": ANAEMIA * 300}, "messages"),
    "too many characters": (CHAT, {"messages": user("x" * 6000)}, "messages"),
    "a million answers": (CHAT, {"n": 1_000_000}, "n"),
    "no answer": (CHAT, {"n": 0}, "n"),
    "a number as text": (CHAT, {"n": "2"}, "n"),
    "no tokens": (CHAT, {"max_tokens": 0}, "max_tokens"),
    "tokens below zero": (CHAT, {"max_completion_tokens": -1}, "max_completion_tokens"),
    "half a token": (CHAT, {"max_tokens": 1.5}, "max_tokens"),
    "a huge number": (CHAT, {"max_tokens": 10**30}, "max_tokens"),
    "hot": (CHAT, {"temperature": 2.1}, "temperature"),
    "cold": (CHAT, {"temperature": -1}, "temperature"),
    "temperature true": (CHAT, {"temperature": True}, "temperature"),
    "top_p": (CHAT, {"top_p": 1.5}, "top_p"),
    "stop of another kind": (CHAT, {"stop": [1]}, "stop"),
    "too many stops": (CHAT, {"stop": ["x"] * 17}, "stop"),
    "a long stop": (CHAT, {"stop": "x" * 300}, "stop"),
    "tools": (CHAT, {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    "a JSON schema": (CHAT, {"response_format": {"type": "json_object"}}, "response_format"),
    "logprobs of a chat": (CHAT, {"logprobs": True}, "logprobs"),
    "stream options": (CHAT, {"stream_options": 5}, "stream_options"),
    "a model that is no text": (CHAT, {"model": 5}, "model"),
    "no prompt": (TEXT, {}, "prompt"),
    "an empty prompt": (TEXT, {"prompt": ""}, "prompt[0]"),
    "an empty list": (TEXT, {"prompt": []}, "prompt"),
    "mixed prompts": (TEXT, {"prompt": ["x", [1]]}, "prompt[1]"),
    "tokens below nought": (TEXT, {"prompt": [1, -2]}, "prompt[0]"),
    "tokens that are none": (TEXT, {"prompt": [[1, "x"]]}, "prompt[0]"),
    "too many prompts": (TEXT, {"prompt": ["x"] * 65}, "prompt"),
    "too many logprobs": (TEXT, {"prompt": "x", "logprobs": 50}, "logprobs"),
    "a suffix": (TEXT, {"prompt": "x", "suffix": "y"}, "suffix"),
    "the best of many": (TEXT, {"prompt": "x", "best_of": 20}, "best_of"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_told_what_is_wrong(guarded: Guarded, case: str) -> None:
    """400 in OpenAI's shape, with the field's name; stock answers some with a bare 500 and others with nonsense."""
    path, body, param = BAD[case]
    answer = guarded.post(path, **body)
    assert answer.status_code == 400, answer.text
    assert error_of(answer)["param"] == param and error_of(answer)["type"] == "invalid_request_error"


RAW = {
    "no JSON": (b"hello", 400),
    "half of it": (b'{"model": "tiny", "messages": [', 400),
    "a list": (b"[1]", 400),
    "deep": (b'{"model": ' + b"[" * 200 + b"]" * 200 + b"}", 400),
    "deep enough to end a parser": (b"[" * 9000 + b"]" * 9000, 400),
    "not a number": (b'{"model": "tiny", "temperature": NaN}', 400),
    "half of a surrogate pair": (b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud83d"}]}', 400),
    "bytes that are no UTF-8": (b'{"model": "tiny", "messages": [{"role": "user", "content": "\xff\xfe"}]}', 400),
    "too long": (b'{"model": "' + b"x" * 30_000 + b'"}', 413),
    "far too long": (b'{"model": "' + b"x" * 400_000 + b'"}', 413),
    "nothing": (b"", 400),
}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("case", RAW)
def test_a_body_that_is_none(guarded: Guarded, case: str, chunked: bool) -> None:
    """Also when its length is not announced."""
    body, status = RAW[case]
    pieces = (body[start : start + 1000] for start in range(0, len(body), 1000)) if chunked else body
    try:
        answer = requests.post(f"{guarded.url('strict')}/v1/{CHAT}", data=pieces, headers={"content-type": "application/json"}, timeout=30)
    except requests.ConnectionError:
        assert case == "far too long"  # more than eight times too long: not read to its end
        return
    assert answer.status_code == status, answer.text
    error_of(answer)


def test_other_routes_and_types(guarded: Guarded) -> None:
    """What is not there is a 404, and a form is no JSON: a web page cannot make a visitor's browser ask."""
    url = guarded.url("strict")
    assert error_of(requests.get(f"{url}/v1/nothing", timeout=9))["code"] == "not_found"
    assert requests.get(f"{url}/v1/{CHAT}", timeout=9).status_code == 405
    assert requests.post(f"{url}/v1/{CHAT}", data={"model": "tiny"}, timeout=9).status_code == 415
    assert error_of(guarded.post("embeddings", input="x"))["code"] == "unsupported"
    for path in ("docs", "openapi.json", "api/v1/token_check", "api/v1/chat/completions"):
        assert requests.get(f"{url}/{path}", timeout=9).status_code == 404


def test_an_unknown_model_is_told_which_there_are(guarded: Guarded) -> None:
    answer = guarded.post(model="gpt-5")
    assert answer.status_code == 404
    error = error_of(answer)
    assert error["code"] == "model_not_found" and "slow, tiny, twin" in error["message"]


@pytest.mark.parametrize("key", ["", "wrong", KEYS[0][:-1], KEYS[0] + "x", "ключ"])
def test_without_a_key_nothing_is_answered(guarded: Guarded, key: str) -> None:
    """Not the models either, nor metrics; only /health, for probes."""
    headers = {"Authorization": f"Bearer {key}".encode()} if key else {}
    for path in ("v1/models", "metrics", "v1/nothing"):
        answer = requests.get(f"{guarded.url('api')}/{path}", headers=headers, timeout=9)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert error_of(answer)["code"] == "invalid_api_key"
    assert requests.get(f"{guarded.url('api')}/health", timeout=9).json() == {"status": "ok"}


def test_both_keys_open(guarded: Guarded) -> None:
    for key in KEYS:
        assert requests.get(f"{guarded.url('api')}/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=9).ok


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7"])
def test_another_host_needs_a_key(host: str) -> None:
    """Said in one line before anything starts."""
    ran = command("fastchat_templates.api", "--host", host, python=SERVE_PYTHON)
    assert ran.code != 0 and "there is no API key" in ran.said and len(ran.said.splitlines()) == 1


def test_keys_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """A key file that is missing or empty must not mean that no key is needed."""
    (tmp_path / "empty").write_text("# no key\n")
    for name, words in (("empty", "holds no key"), ("missing", "cannot be read")):
        monkeypatch.setenv("BIMEDIX_API_KEYS_FILE", str(tmp_path / name))
        ran = command("fastchat_templates.api", python=SERVE_PYTHON)
        assert ran.code != 0 and words in ran.said and len(ran.said.splitlines()) == 1


def test_a_body_that_does_not_come(guarded: Guarded) -> None:
    """Half a body, then silence: 408 after the time for bodies. Half a head: the connection is closed."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\ncontent-type: application/json\r\n"
    for sent, said in ((head + b"content-length: 100\r\n\r\n{", b"408"), (head, b"")):
        with socket.create_connection(("127.0.0.1", guarded.ports["strict"]), timeout=10) as connection:
            connection.sendall(sent)
            start = time.monotonic()
            heard = b"".join(iter(lambda c=connection: c.recv(4096), b""))
            assert said in heard[:30] and bool(heard) == bool(said)
            assert STRICT["head-seconds"] - 0.1 < time.monotonic() - start < 4


class From(HTTPAdapter):
    """Requests from another address of the loopback, a caller of its own for an API without keys."""

    def init_poolmanager(self, *arguments: object, **more: object) -> None:
        super().init_poolmanager(*arguments, **more, source_address=("127.0.0.77", 0))


def test_more_than_the_rate_is_told_when_to_come_again(guarded: Guarded) -> None:
    """A bucket of 100 (a sixth of 600 a minute) for an address without keys; Retry-After is true, and others are not held up."""
    url = f"{guarded.url('strict')}/v1/nothing"
    with requests.Session() as session:
        session.mount("http://", From())
        answers = [session.get(url, timeout=9) for _ in range(130)]
        refused = answers[-1]
        assert answers[0].status_code == 404 and refused.status_code == 429
        assert error_of(refused)["code"] == "rate_limit_exceeded" and error_of(refused)["type"] == "rate_limit_error"
        assert requests.get(url, timeout=9).status_code == 404
        time.sleep(int(refused.headers["retry-after"]))
        assert session.get(url, timeout=9).status_code == 404


def test_web_pages_of_other_origins(guarded: Guarded) -> None:
    """No page may ask, but those that an option names."""
    ask = {"Origin": "https://clinic.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    assert requests.options(f"{guarded.url('strict')}/v1/{CHAT}", headers=ask, timeout=9).headers["access-control-allow-origin"] == ask["Origin"]
    for part, origin in (("strict", "https://evil.example"), ("api", ask["Origin"])):
        answer = requests.options(f"{guarded.url(part)}/v1/{CHAT}", headers=ask | {"Origin": origin}, timeout=9)
        assert "access-control-allow-origin" not in answer.headers


def test_log_and_metrics_tell_no_secrets(guarded: Guarded) -> None:
    """One line a request, with tokens and the key's number; no text unless it was asked for, no key ever, no line that a client writes."""
    said = "Mrs Smith's blood count"
    answer = guarded.post(part="api", key=KEYS[1], messages=user(said), max_tokens=3)
    usage = answer.json()["usage"]
    requests.get(f"{guarded.url('api')}/v1/x%0a2026-01-01 forged", headers={"Authorization": f"Bearer {KEYS[0]}"}, timeout=9)
    until(lambda: "forged" in guarded.log("api"), 5)
    lines = guarded.log("api").splitlines()
    assert not any(line.startswith("2026-01-01 forged") for line in lines)
    (line,) = [line for line in lines if answer.headers["x-request-id"] in line]
    assert f"/v1/{CHAT} 200 " in line and f"tokens={usage['prompt_tokens']}+{usage['completion_tokens']} " in line and "caller=key2 model=tiny" in line
    metrics = requests.get(f"{guarded.url('api')}/metrics", headers={"Authorization": f"Bearer {KEYS[0]}"}, timeout=9).text
    for found in (
        r'bimedix_requests_total\{route="/v1/chat/completions",status="200"\} [1-9]',
        r'bimedix_tokens_total\{kind="completion",model="tiny"\} [1-9]',
    ):
        assert re.search(found, metrics)
    assert 'bimedix_workers{model="tiny"} 1.0' in metrics and "forged" not in metrics
    assert "bimedix_in_flight 1.0" in metrics and "process_resident_memory_bytes" in metrics
    for text in (guarded.log("api"), metrics):
        assert said not in text and not any(key in text for key in KEYS)
    guarded.post(messages=user(said))
    until(lambda: said in guarded.log("strict").replace("\\'", "'"), 5)
