"""Requests that no client should send, thousands of them, while a normal client goes on: no 5xx, no hang, no growth.

FUZZ_REQUESTS=5000 .venv/bin/pytest tests/fastchat_templates/test_fuzz.py -s     # 300 without it; FUZZ_SEED chooses others
"""

import json
import os
import random
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil

from tests.fastchat_templates.guarded import KEYS, Guarded

REQUESTS, SEED = int(os.environ.get("FUZZ_REQUESTS", "300")), int(os.environ.get("FUZZ_SEED", "5"))
AT_ONCE = 6
ANSWER_SECONDS = 30  # on a busy machine; an answer that takes longer is a hang
GROWTH = 100_000_000  # bytes
WORDS = ["anaemia", "</s>", "[INST]", "[/INST]", "<s>", "<unk>", "😀", "{{", "%s", "ﷺ", "فقر الدم", "\n", "\\ud83d"]
WORDS += ["\u202e", "\u0000", "\ufffd", "e\u0301" * 9, "\u200f"]
JUNK = json.loads('[null, true, false, 0, -1, 1, 1.5, 1e308, -1e308, 9223372036854775808, "", "x", "\\u0000", [], {}, [null], [[]], {"a": {}}]')
JUNK += [10**30, -(10**30), "x" * 5000, ["x"] * 100, [1] * 100]
FIELDS = ["model", "messages", "prompt", "temperature", "top_p", "top_k", "n", "max_tokens", "max_completion_tokens", "stop", "stream", "stream_options"]
FIELDS += ["seed", "logprobs", "echo", "frequency_penalty", "presence_penalty", "repetition_penalty", "ignore_eos", "tools", "response_format", "logit_bias"]
PATHS = ["/", "/v1/models", "/v1/models/%00%0a", "/metrics", "/health", "/v1/embeddings", "/../etc/passwd", "/%2e%2e/", "//", "/docs", "/" + "x" * 900]
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"]
Asked = tuple[list[bytes], bool]  # what goes over the wire, piece by piece, and whether there must be an answer


def text(dice: random.Random) -> str:
    return " ".join(dice.choices(WORDS, k=dice.randint(1, 12)))


def body(dice: random.Random) -> tuple[str, dict]:
    """A request that is right, with any of the options."""
    options = {"model": "tiny", "max_tokens": dice.randint(1, 4), "temperature": dice.choice([0, 0.7, 2]), "top_p": dice.random()}
    options |= {"seed": dice.randint(-9, 2**40), "n": dice.randint(1, 2), "stop": dice.choice([None, "x", ["\n", "</s>"]])}
    options |= {"stream": dice.random() < 0.3, "stream_options": {"include_usage": True}}
    if dice.random() < 0.6:
        turns = [{"role": ("user", "assistant")[turn % 2], "content": text(dice)} for turn in range(dice.choice([1, 1, 3]))]
        return "chat/completions", options | {"messages": turns}
    prompt = dice.choice([text(dice), [text(dice), text(dice)], [dice.randrange(32000) for _ in range(9)], [[5, 6], [7]]])
    return "completions", options | {"prompt": prompt, "echo": dice.random() < 0.5, "logprobs": dice.choice([None, 0, 1, 5])}


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    every = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {KEYS[0]}", "Content-Type: application/json", "Connection: close", *lines]
    return "\r\n".join([*every, "", ""]).encode("latin-1")


def whole(path: str, data: bytes, dice: random.Random) -> Asked:
    """The request with its length, or in pieces without it."""
    if dice.random() < 0.7:
        return [head(f"/v1/{path}", f"Content-Length: {len(data)}") + data], True
    size = max(1, len(data) // 3)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return [head(f"/v1/{path}", "Transfer-Encoding: chunked"), *(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"], True


def right(dice: random.Random) -> Asked:
    path, asked = body(dice)
    return whole(path, json.dumps(asked, ensure_ascii=dice.random() < 0.5).encode(), dice)


def wrong_types(dice: random.Random) -> Asked:
    path, asked = body(dice)
    for field in dice.sample(FIELDS, dice.randint(1, 3)):
        asked[field] = dice.choice(JUNK)
    return whole(path, json.dumps(asked).encode(), dice)


def wrong_messages(dice: random.Random) -> Asked:
    parts = [{"type": "text", "text": text(dice)}, {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, {"type": "text"}, dice.choice(JUNK)]
    turns = [{"role": dice.choice(["user", "assistant", "system", "developer", "tool", "function", "", 5, None])} for _ in range(dice.randint(1, 5))]
    for turn in turns:
        turn["content"] = dice.choice([text(dice), dice.choice(JUNK), dice.choices(parts, k=2)])
    dice.choice(turns).update({dice.choice(["tool_calls", "name", "role", "content"]): dice.choice(JUNK)})
    return whole("chat/completions", json.dumps({"model": "tiny", "max_tokens": 2, "messages": turns}).encode(), dice)


def huge(dice: random.Random) -> Asked:
    """Bodies, numbers, depth, and lists beyond any use."""
    deep = dice.choice([30, 100, 5000, 100_000])
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
    data = [
        json.dumps(asked | {"n": 10 ** dice.randint(1, 12), "max_tokens": 10 ** dice.randint(1, 18)}).encode(),
        json.dumps(asked | {"messages": [{"role": "user", "content": "y " * dice.choice([90_000, 500_000, 1_500_000])}]}).encode(),
        json.dumps(asked | {"messages": [{}] * dice.choice([300, 200_000])}).encode(),
        json.dumps({"model": "tiny", "prompt": [[0]] * dice.choice([65, 100_000])}).encode(),
        json.dumps({"model": "tiny", "prompt": [1] * dice.choice([5000, 150_000, 300_000])}).encode(),
        b'{"model": "tiny", "messages": ' + b"[" * deep + b"]" * deep + b"}",
        b'{"a":' * deep + b"1" + b"}" * deep,
        b'{"model": "' + b'\\"' * dice.choice([100, 400_000]),
        b'{"model": ' + b"9" * dice.choice([400, 100_000]) + b"}",
    ]
    return whole(dice.choice(["chat/completions", "completions"]), dice.choice(data), dice)


def garbage(dice: random.Random) -> Asked:
    alone = b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud83d\\ud83d"}]}'
    return whole("chat/completions", dice.choice([dice.randbytes(dice.randint(0, 3000)), alone, b"", b"null", b"NaN", b"\xff"]), dice)


def other_paths(dice: random.Random) -> Asked:
    return [head(dice.choice(PATHS), "Content-Length: 0", method=dice.choice(METHODS))], True


def no_http(dice: random.Random) -> Asked:
    """Not HTTP, or heads beyond its rules: an answer or a closed connection."""
    lines = [dice.randbytes(200) + b"\r\n\r\n", b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n", b"\r\n" * 500, b"\x16\x03\x01\x02\x00\x01"]
    lines += [head("/v1/models", f"X: {'x' * 100_000}", method="GET"), head("/v1/completions", "Content-Length: -5")]
    lines += [head("/v1/completions", "Content-Length: 5", "Transfer-Encoding: chunked") + b"zz\r\n"]
    return [dice.choice(lines)], False


def half(dice: random.Random) -> Asked:
    """The beginning of a right request, and no more: the server must not wait for ever."""
    pieces, _ = right(dice)
    data = b"".join(pieces)
    return [data[: dice.randrange(1, len(data) - 6)]], False


def slow(dice: random.Random) -> Asked:
    """A right request, some of its bytes at a time."""
    pieces, _ = right(dice)
    data = b"".join(pieces)
    size = max(1, len(data) // dice.randint(3, 8))
    return [data[start : start + size] for start in range(0, len(data), size)], True


# how often each one comes, of 100
KINDS = {right: 14, wrong_types: 30, wrong_messages: 14, huge: 8, garbage: 8, other_paths: 8, no_http: 5, half: 5, slow: 8}


class Fuzz:
    """Sends requests and counts what comes of them."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: Counter[str] = Counter()
        self.faults: list[str] = []
        self.parked: list[socket.socket] = []

    def ask(self, number: int) -> None:
        """Send one, chosen by its number alone, so that it can be sent again."""
        dice = random.Random(SEED * 1_000_003 + number)
        (kind,) = dice.choices(list(KINDS), list(KINDS.values()))
        pieces, answered = kind(dice)
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS)
        try:
            for piece in pieces:
                connection.sendall(piece)
                if kind is slow:
                    time.sleep(dice.random() * 0.2)
            if kind is half:
                self.parked.append(connection)
                self.seen["half"] += 1
                return
            if dice.random() < 0.05:
                self.seen["left"] += 1  # the client goes before the answer
            else:
                said = b"".join(iter(lambda: connection.recv(65536), b""))
                status = said[9:12].decode("latin-1") if said.startswith(b"HTTP/1.1 ") else "closed"
                self.seen[status] += 1
                told = b"Traceback" in said or b"site-packages" in said or b'"code":"internal' in said
                if status[0] == "5" or told or (status == "closed" and answered):
                    self.faults.append(f"{number} {kind.__name__}: {said[:300]!r} to {b''.join(pieces)[:600]!r}")
        except TimeoutError:
            self.faults.append(f"{number} {kind.__name__}: no answer within {ANSWER_SECONDS} s to {b''.join(pieces)[:600]!r}")
        except ConnectionError as error:  # a body far too long is not read to its end, and the answer to it may be lost
            self.seen["reset"] += 1
            if kind is not no_http and sum(map(len, pieces)) < 1 << 20:
                self.faults.append(f"{number} {kind.__name__}: {error!r} to {b''.join(pieces)[:600]!r}")
        connection.close()

    def still_open(self) -> int:
        """Connections with half a request that the server has not ended within the time for heads and bodies."""
        until, count = time.monotonic() + 8, 0
        for connection in self.parked:
            connection.settimeout(max(0.1, until - time.monotonic()))
            try:
                while connection.recv(65536):
                    pass
            except TimeoutError:
                count += 1
            except ConnectionError:
                pass
            connection.close()
        return count


def test_thousands_of_bad_requests(guarded: Guarded) -> None:
    fuzz = Fuzz(guarded.ports["api"])
    process = {part: psutil.Process(guarded.running[part].pid) for part in ("api", "worker", "controller")}
    over = threading.Event()
    waits: list[float] = []

    def normal() -> None:
        while not over.is_set():
            start = time.monotonic()
            answer = guarded.post(part="api", key=KEYS[1], max_tokens=4, temperature=0)
            waits.append(time.monotonic() - start)
            if not (answer.ok and answer.json()["usage"]["completion_tokens"]):
                fuzz.faults.append(f"a normal request: {answer.status_code} {answer.text[:300]}")
            over.wait(0.2)

    warm = min(100, REQUESTS // 3)
    with ThreadPoolExecutor(AT_ONCE + 1) as pool:
        list(pool.map(fuzz.ask, range(warm)))
        if REQUESTS > 1000:
            # the longest prompts that there can be, which take seconds: what the worker takes for them, it keeps
            assert guarded.post("completions", "api", KEYS[0], prompt=[[5] * 4000] * 4, echo=True, logprobs=1).ok
        before = {part: one.memory_info().rss for part, one in process.items()}
        start = time.monotonic()
        client = pool.submit(normal)
        try:
            list(pool.map(fuzz.ask, range(warm, REQUESTS)))
        finally:
            over.set()
        client.result()
    seconds = time.monotonic() - start
    growth = {part: one.memory_info().rss - before[part] for part, one in process.items()}
    megabytes = {part: round(grown / 1e6) for part, grown in growth.items()}
    figures = f"{REQUESTS} requests, {seconds:.0f} s: {dict(sorted(fuzz.seen.items()))}; growth in MB {megabytes}; {len(waits)} normal requests"
    print(f"{figures}, the slowest {max(waits):.2f} s, median {sorted(waits)[len(waits) // 2]:.3f} s")
    assert fuzz.faults == []
    assert fuzz.seen["200"] and fuzz.seen["400"] and fuzz.seen["413"] and fuzz.seen["half"]
    assert fuzz.still_open() == 0
    assert max(growth.values()) < GROWTH, figures
    assert len(waits) > seconds / 10 and max(waits) < 10
