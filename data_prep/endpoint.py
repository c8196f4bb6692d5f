"""An OpenAI-compatible server on loopback that stands in for a language model where the client is tested and measured. It translates nothing.

    python -m data_prep.endpoint --port 8000 --latency 0.2 --faults 0.3 --log build/endpoint.jsonl
    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none make translate

Serves POST /v1/chat/completions (not streaming) and GET /v1/models. The content of an answer comes from a script, a Python function that is given the
body of the request and gives back a text, or an object to be written as JSON; the default fills the request's own JSON schema with fixed values.
A share of the arrivals fails as real services fail; which ones, follows from the seed and the payload, not from the order of arrival.
The log has one line for each arrival, written before anything is sent: {"n": which arrival of this process, "at": seconds since 1970, "key": the
payload's hash, "kind": "ok", the fault, or why it was turned away, "status": the HTTP status, null where none is sent}. It holds no text and no secret.
"""

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from aiohttp import web

from data_prep.endpoint_faults import ANSWERED, KINDS, UNSENT, Answer, Faults, answer, by_schema, error, payload_hash

__all__ = ["ANSWERED", "KINDS", "Endpoint", "payload_hash", "serving"]
ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"  # it knows no encryption and trusts whoever asks: never another address
START = 60  # seconds that a start may take; it takes about one


class Endpoint:
    """The server, to be run with `listening`.

    In: `script(request body) -> text or object`; `faults`, see endpoint_faults.Faults; `log`, a file that is appended to; `latency` in seconds plus up to
    `jitter`; `retry_after` of a 429 and `hang` of a timeout in seconds; `key`, the bearer key that is asked for; `quota`, how many answers are given
    before all is refused; `models`, the only names known (none: any name is taken). Errors: OSError where the log cannot be opened.
    """

    def __init__(
        self,
        script: Callable[[dict], object] = by_schema,
        *,
        faults: Faults | None = None,
        log: Path | None = None,
        latency: float = 0.0,
        jitter: float = 0.0,
        retry_after: float = 0.05,
        hang: float = 30.0,
        key: str | None = None,
        quota: int | None = None,
        models: tuple[str, ...] = (),
    ) -> None:
        self.script, self.faults, self.key, self.quota, self.models = script, faults or Faults(), key, quota, models
        self.latency, self.jitter, self.retry_after, self.hang = latency, jitter, retry_after, hang
        self.arrived = self.answered = 0
        self.log = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    @contextlib.asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[int]:
        """Listens on 127.0.0.1 while the block runs; gives the port, a free one where 0 is asked for."""
        server = web.Server(self.handle, access_log=None, handler_cancellation=True)  # a client that has gone must not hold a hanging answer
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, port, backlog=1024).start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request, whatever it is."""
        allowed = self.key is None or request.headers.get("Authorization") == f"Bearer {self.key}"
        where = f"{request.method} {request.path}"
        if where == "POST /v1/chat/completions":
            return await self.chat(request, allowed)
        if not allowed:
            return _response(_unknown_key())
        if where == "GET /v1/models":
            known = [{"id": name, "object": "model", "created": 0, "owned_by": "nobody"} for name in self.models or ("stand-in",)]
            return _response(Answer(200, json.dumps({"object": "list", "data": known}).encode(), {"Content-Type": "application/json"}))
        return _response(error(404, f"Invalid URL ({where})", "invalid_request_error", None))

    async def chat(self, request: web.BaseRequest, allowed: bool) -> web.StreamResponse:
        """One arrival: its kind, the line in the log, the time it takes, the answer or what becomes of it."""
        raw = await request.read()
        body = _body(raw)
        key = payload_hash(body) if body is not None else None
        kind, sent = self._turned_away(body, allowed)
        if kind is None:
            kind, form = self.faults.draw(key)
            if kind not in UNSENT:
                try:
                    content = self.script(body)
                    content = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
                    sent = answer(kind, form, body, key, content, self.retry_after)
                except Exception as wrong:  # whatever the script did: a client would send a 500 again for ever
                    traceback.print_exc()
                    kind, sent = "script_error", error(400, f"the endpoint's script failed: {wrong!r}", "invalid_request_error", "script_error")
        self.arrived += 1
        self.answered += kind in ANSWERED
        self._write({"n": self.arrived, "at": round(time.time(), 6), "key": key, "kind": kind, "status": sent and sent.status})
        if self.latency or self.jitter:
            await asyncio.sleep(self.latency + random.random() * self.jitter)
        if kind == "timeout":
            await asyncio.sleep(self.hang)
        if kind in UNSENT or kind == "cut":
            return await _broken(request, kind, sent)
        return _response(sent)

    def _turned_away(self, body: dict | None, allowed: bool) -> tuple[str, Answer] | tuple[None, None]:
        """Why this request is refused before the model is asked, and in what words; None where it is not."""
        if not allowed:
            return "401", _unknown_key()
        if body is None or body.get("stream"):
            what = "a JSON object with model and messages is needed" if body is None else "this endpoint does not stream"
            return "400", error(400, what, "invalid_request_error", None)
        if self.models and body["model"] not in self.models:
            return "404", error(404, f"The model {body['model']!r} does not exist", "invalid_request_error", "model_not_found")
        if self.quota is not None and self.answered >= self.quota:
            return "quota", error(429, "You exceeded your current quota; check your plan.", "insufficient_quota", "insufficient_quota")
        return None, None

    def _write(self, entry: dict) -> None:
        if self.log is not None:
            os.write(self.log, json.dumps(entry).encode() + b"\n")  # straight to the system: a killed endpoint has logged what it sent


def _body(raw: bytes) -> dict | None:
    """The request, or None where it is no chat request."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    right = isinstance(body, dict) and isinstance(body.get("model"), str) and isinstance(body.get("messages"), list) and body["messages"]
    return body if right and all(isinstance(message, dict) for message in body["messages"]) else None


def _unknown_key() -> Answer:
    return error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")


def _response(sent: Answer) -> web.Response:
    return web.Response(status=sent.status, body=sent.body, headers=sent.headers)


async def _broken(request: web.BaseRequest, kind: str, sent: Answer | None) -> web.StreamResponse:
    """Ends the connection: after half of the body (cut), in silence (timeout), or with a reset."""
    response = web.StreamResponse()
    if kind == "cut":
        response = web.StreamResponse(status=sent.status, headers=sent.headers | {"Content-Length": str(len(sent.body))})
        await response.prepare(request)
        await response.write(sent.body[: len(sent.body) // 2])
    if request.transport is not None:
        if kind == "reset":  # no lingering: the system sends RST in place of FIN
            request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return response


@contextlib.contextmanager
def serving(**options: object) -> Iterator[str]:
    """Runs the command below in a process of its own while the block runs; gives the base URL.

    In: the command's options by name, lists for those with commas: `serving(faults=0.3, kinds=["429", "cut"], log=path, script="module:function")`.
    Errors: RuntimeError where it does not listen; what it said stands on stderr. The process ends with the block, or with the caller, however that ends.
    """
    with tempfile.TemporaryDirectory() as folder:
        port = Path(folder) / "port"
        line = [sys.executable, "-m", "data_prep.endpoint", "--port-file", str(port), "--until-stdin-closes"]
        for name, value in options.items():
            if value is not None:
                value = value.absolute() if isinstance(value, Path) else value
                line += [f"--{name.replace('_', '-')}", ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)]
        with subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE) as process:
            try:
                until = time.monotonic() + START
                while not port.exists():
                    if process.poll() is not None or time.monotonic() > until:
                        raise RuntimeError(f"the endpoint does not listen (exit status {process.returncode}); what it said stands above")
                    time.sleep(0.01)
                yield f"http://{HOST}:{int(port.read_text())}/v1"
            finally:
                process.kill()


def _script(name: str) -> Callable[[dict], object]:
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as wrong:
        raise argparse.ArgumentTypeError(f"{name!r} is no module:function that can be imported from {ROOT.name}/ ({wrong})") from wrong


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if unknown := set(kinds) - set(KINDS):
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    return kinds


def _share(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share; give a number from 0 to 1")
    return float(text)


async def serve(endpoint: Endpoint, port: int, port_file: Path | None, until_stdin_closes: bool) -> None:
    """Listens until it is stopped; writes the port into `port_file` once it listens."""
    async with endpoint.listening(port) as found:
        if port_file is None:
            print(f"http://{HOST}:{found}/v1: a stand-in for tests, it translates nothing; Ctrl-C ends it", flush=True)
        else:
            aside = port_file.with_name(f".{port_file.name}.part")
            aside.write_text(f"{found}\n")
            aside.replace(port_file)
        stop = asyncio.Event()
        if until_stdin_closes:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0: any free port (%(default)s)")
    parser.add_argument("--port-file", type=Path, help="file to write the port into once it listens")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the process that started it")
    parser.add_argument("--script", type=_script, default=by_schema, metavar="MODULE:FUNCTION", help="what answers; default: fill the request's schema")
    parser.add_argument("--models", type=lambda text: tuple(text.split(",")), default=(), help="names known, with commas; default: any name is taken")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each answer takes (%(default)s)")
    parser.add_argument("--jitter", type=float, default=0.0, help="up to so many seconds more (%(default)s)")
    parser.add_argument("--faults", type=_share, default=0.0, help="share of the arrivals that fail (%(default)s)")
    parser.add_argument("--kinds", type=_kinds, default=KINDS, help=f"how they fail, with commas; default: all of {','.join(KINDS)}")
    parser.add_argument("--permanent", type=_share, default=0.0, help="share of the payloads that fail each time they come (%(default)s)")
    parser.add_argument("--permanent-kind", choices=KINDS, default="500", metavar="KIND", help="how those fail (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults (%(default)s)")
    parser.add_argument("--retry-after", type=float, default=0.05, help="seconds to wait that a 429 names (%(default)s)")
    parser.add_argument("--hang", type=float, default=30.0, help="seconds until a timeout is cut (%(default)s)")
    parser.add_argument("--key", help="answer 401 where this made-up key does not come as the bearer's")
    parser.add_argument("--quota", type=int, help="answers given before all is refused as insufficient_quota")
    parser.add_argument("--log", type=Path, help="JSONL file that gets a line for each arrival")
    args = vars(parser.parse_args())
    where = [args.pop(name) for name in ("port", "port_file", "until_stdin_closes")]
    drawn = [args.pop(name) for name in ("faults", "kinds", "seed", "permanent", "permanent_kind")]
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(Endpoint(faults=Faults(*drawn), **args), *where))
    except OSError as wrong:  # the port is taken, the log cannot be opened
        parser.error(str(wrong))


if __name__ == "__main__":
    main()
