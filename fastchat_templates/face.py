"""The face that every worker shows to controller, API and web page: FastChat's endpoints and wire format, without its semaphore.

An answer is a stream of JSON objects, each ended by a zero byte, whose `text` is the answer so far; errors are such an object too, with `error_code`
and a sentence. A client that leaves cancels its answer, also where it did not ask for a stream.
"""

import argparse
import asyncio
import json
import logging
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict

import fastchat.serve.base_model_worker as fastchat_worker
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from fastchat_templates.registration import Registration
from fastchat_templates.request import BAD_PARAMETER, FAILED, Refused

log = logging.getLogger(__name__)
DRAIN_SECONDS = 20  # for running answers to finish after SIGTERM; the whole stack has 30


class Face(fastchat_worker.BaseModelWorker):
    """What both kinds of worker have in common. A subclass answers `stream`, `count`, `get_queue_length` and `drain`, and sets `context_len`."""

    def __init__(self, controller: str, address: str, model_path: str, names: list[str], concurrency: int) -> None:
        fastchat_worker.logger = log  # else FastChat opens a log file of its own and takes over stdout
        super().__init__(controller, address, address, model_path, names, concurrency)
        self.registration = Registration(controller, address, self.get_status)
        self.closing = False

    async def stream(self, params: object) -> AsyncIterator[dict]:
        """The answer so far, again and again, as dictionaries of the wire format; closing the iterator cancels it. Refused before or amid it."""
        raise NotImplementedError
        yield {}

    async def count(self, prompt: str | list[int]) -> int:
        """Tokens of a prompt."""
        raise NotImplementedError

    def get_queue_length(self) -> int:
        """Requests that run or wait."""
        raise NotImplementedError

    def drain(self, seconds: float) -> None:
        """Refuse new requests and let the accepted ones finish."""
        raise NotImplementedError

    def get_status(self) -> dict:
        """For the controller. A worker that closes down names no model any more, so that nobody is sent here."""
        return {"model_names": [] if self.closing else self.model_names, "speed": 1, "queue_length": self.get_queue_length()}


def refusal(error: Exception) -> dict:
    """An error on the wire: what the client may know of it."""
    if isinstance(error, Refused):
        return {"text": str(error), "error_code": error.code}
    log.error("a request failed", exc_info=error)
    return {"text": "this worker failed on the request", "error_code": FAILED}


class _Answer(StreamingResponse):
    """A stream whose source is closed as soon as the client is gone, not when the garbage collector gets to it."""

    async def __call__(self, scope, receive, send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.body_iterator.aclose()


async def _body(request: Request) -> dict:
    try:
        body = await request.json()
    except ValueError:  # no JSON, no UTF-8
        raise Refused(BAD_PARAMETER, "the body is no JSON") from None
    if not isinstance(body, dict):
        raise Refused(BAD_PARAMETER, "the body is no JSON object")
    return body


async def _wire(request: Request, worker: Face) -> AsyncIterator[bytes]:
    worker.call_ct += 1
    try:
        async with aclosing(worker.stream(await _body(request))) as answer:
            async for news in answer:
                yield json.dumps(news, ensure_ascii=False).encode() + b"\0"
    except Exception as error:  # the last one who can tell the client
        yield json.dumps(refusal(error), ensure_ascii=False).encode() + b"\0"


async def _whole(request: Request, worker: Face) -> dict:
    """The last object of a stream, with the log-probabilities of all."""
    worker.call_ct += 1
    news, scores = {}, None
    async with aclosing(worker.stream(await _body(request))) as answer:
        async for news in answer:
            if news.get("logprobs"):
                scores = {key: (scores[key] if scores else []) + (values or []) for key, values in news["logprobs"].items()}
    return news | ({"logprobs": scores} if scores else {})


async def _unless_gone(request: Request, answer: asyncio.Task) -> dict | None:
    """The answer, or None and its end when the client hangs up first."""
    gone = asyncio.create_task(_hung_up(request))
    await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
    for task in (gone, answer):
        task.cancel()
    try:
        return await answer
    except asyncio.CancelledError:
        return None


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def app(worker: Face) -> FastAPI:
    """The worker's endpoints."""
    served = FastAPI(title="BiMediX worker", docs_url=None, redoc_url=None, openapi_url=None)

    @served.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        return JSONResponse(refusal(error))  # status 200: FastChat's API reads the code from the body and forgets that of any other status

    @served.post("/worker_generate_stream")
    async def generate_stream(request: Request) -> StreamingResponse:
        await request.body()  # before the answer begins: afterwards only a hang-up is listened for
        return _Answer(_wire(request, worker))

    @served.post("/worker_generate")
    async def generate(request: Request) -> JSONResponse:
        await request.body()
        try:
            return JSONResponse(await _unless_gone(request, asyncio.create_task(_whole(request, worker))))
        except Exception as error:
            return JSONResponse(refusal(error))

    @served.post("/worker_get_embeddings")
    async def embeddings() -> JSONResponse:
        raise Refused(BAD_PARAMETER, "this model writes text and gives no embeddings")

    @served.post("/worker_get_status")
    async def status() -> dict:
        return worker.get_status()

    @served.post("/count_token")
    async def count_token(request: Request) -> dict:
        prompt = (await _body(request)).get("prompt")
        if not isinstance(prompt, str | list):
            raise Refused(BAD_PARAMETER, "prompt: text or token ids are wanted")
        return {"count": await worker.count(prompt), "error_code": 0}

    @served.post("/worker_get_conv_template")
    async def conv_template() -> dict:
        return {"conv": asdict(worker.conv)}

    @served.post("/model_details")
    async def model_details() -> dict:
        return {"context_length": worker.context_len}

    return served


class Server(uvicorn.Server):
    """Ends in order on the first SIGTERM or Ctrl-C: no new requests, running answers to their end within DRAIN_SECONDS; at once on the second."""

    def __init__(self, worker: Face, host: str, port: int) -> None:
        super().__init__(uvicorn.Config(app(worker), host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=3))
        self.worker = worker

    def handle_exit(self, sig: int, frame: object) -> None:
        if self.worker.closing:
            super().handle_exit(sig, frame)
            return
        self.worker.closing = True
        log.info("%s: finishing %d answers", signal.Signals(sig).name, self.worker.get_queue_length())
        threading.Thread(target=self._close, daemon=True).start()

    def _close(self) -> None:
        self.worker.registration.leave()
        try:
            self.worker.drain(DRAIN_SECONDS)
        finally:
            self.should_exit = True

    async def startup(self, sockets: list | None = None) -> None:
        """Registered once it listens: the controller may ask back at once."""
        await super().startup(sockets)
        if not self.should_exit:
            self.worker.registration.start()


def add_addresses(parser: argparse.ArgumentParser) -> None:
    """The options that say where a worker listens and who is told."""
    parser.add_argument("--host", default="127.0.0.1", help="(%(default)s)")
    parser.add_argument("--port", type=int, default=21002, help="(%(default)s)")
    parser.add_argument("--controller-address", default="http://127.0.0.1:21001", help="(%(default)s)")
    parser.add_argument("--worker-address", help="where the controller and the API reach this worker (default: http://127.0.0.1:PORT)")


def with_address(args: argparse.Namespace) -> argparse.Namespace:
    """The options with this worker's own address filled in."""
    args.worker_address = args.worker_address or f"http://127.0.0.1:{args.port}"
    return args
