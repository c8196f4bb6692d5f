"""The API's way to the controller and the workers: never waits for the dead, and tries another worker before it gives up.

Stock FastChat waits up to three hours for a worker's answer, and a worker killed in mid-stream leaves the client hanging.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import aiohttp
import orjson

from fastchat_templates.errors import Refused, from_worker, no_worker
from fastchat_templates.limits import Limits
from fastchat_templates.registration import HEADER

logger = logging.getLogger("api")
TRIES = 3  # workers asked before a 503
# a client hears of a worker's end within 5 s: after 1.5 s of silence the worker is asked whether it lives, and has 2.5 s to say so
SILENCE_SECONDS = 1.5
ALIVE_SECONDS = 2.5
CONTROLLER_SECONDS = 10
YOUNG_SECONDS = 15  # workers find a new controller by their heart beats, every 5 s
SHUTTING_DOWN = range(50300, 50400)
_JSON = {"content-type": "application/json"}


class WorkerGone(Exception):
    """The worker cannot be reached, closed the connection before its answer was whole, or does not say that it lives."""


class Backend:
    """One session for all requests, opened by start()."""

    def __init__(self, controller: str, secret: str, limits: Limits) -> None:
        self.controller, self.secret, self.limits = controller.rstrip("/"), secret, limits
        self.session: aiohttp.ClientSession = None
        self.reports: set[asyncio.Task] = set()
        self.last: dict[str, str] = {}  # model: the worker that the controller named last

    async def start(self) -> None:
        wait = aiohttp.ClientTimeout(total=None, sock_connect=ALIVE_SECONDS)
        # limit=0: the number of requests is bounded at the front; no proxy of the environment between us and the workers
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), timeout=wait, trust_env=False)

    async def stop(self) -> None:
        await self.session.close()

    async def _post(self, url: str, body: Any, seconds: float, headers: dict | None = None) -> Any:
        """The JSON of an answer; redirects are not followed. ClientError or TimeoutError."""
        wait = aiohttp.ClientTimeout(total=seconds)
        async with self.session.post(url, data=orjson.dumps(body), headers=_JSON | (headers or {}), timeout=wait, allow_redirects=False) as response:
            response.raise_for_status()
            return orjson.loads(await response.read())

    async def _ask_controller(self, path: str, body: Any = None) -> Any:
        try:
            return await self._post(self.controller + path, body, CONTROLLER_SECONDS, {HEADER: self.secret})
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            logger.error("the controller did not answer %s: %r", path, error)
            raise Refused(503, "the controller does not answer; try again", code="no_controller", retry_after=1) from None

    async def fetch(self, url: str, pload: Any = None, name: str | None = None) -> Any:
        """In the place of FastChat's fetch_remote, which waits for three hours and opens a session for each call."""
        answer = await self._post(url, pload, ALIVE_SECONDS)
        return answer[name] if name else answer

    async def models(self) -> list[str]:
        return sorted((await self._ask_controller("/list_models"))["models"])

    async def workers(self) -> list[dict]:
        return (await self._ask_controller("/list_workers"))["workers"]

    async def _address(self, model: str, without: list[str]) -> str:
        """A worker of the model. While the controller is away, or so young that workers have yet to come back to it, the one it named last."""
        try:
            told = await self._ask_controller("/get_worker_address", {"model": model, "exclude": without})
        except Refused:
            if model not in self.last:
                raise
            told = {"address": "", "up_seconds": 0}
        if told["address"]:
            self.last[model] = told["address"]
            return told["address"]
        last = self.last.get(model)
        if last and last not in without and told["up_seconds"] < YOUNG_SECONDS:
            return last
        if last or without or not (models := await self.models()):
            raise no_worker(model)
        raise Refused(404, f"the model {model!r} does not exist; the models are {', '.join(models)}", param="model", code="model_not_found")

    def _failed(self, address: str, error: Exception) -> None:
        """Tell the controller, which asks the worker itself and drops it when it does not answer; the client does not wait for that."""
        logger.warning("the worker %s does not answer: %r", address, error)

        async def report() -> None:
            with suppress(Refused):  # logged there
                await self._ask_controller("/worker_failed", {"worker_name": address})

        task = asyncio.ensure_future(report())
        self.reports.add(task)
        task.add_done_callback(self.reports.discard)

    async def _alive(self, address: str) -> bool:
        try:
            await self._post(address + "/worker_get_status", None, ALIVE_SECONDS)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False
        return True

    async def _check(self, address: str, deadline: float) -> None:
        """Nothing came for a while: go on waiting only for a worker that says it lives, and not for ever."""
        if time.monotonic() > deadline:
            raise Refused(504, f"no answer within {self.limits.answer_seconds:g} s", code="timeout")
        if not await self._alive(address):
            raise WorkerGone(f"silent for {SILENCE_SECONDS + ALIVE_SECONDS} s")

    async def _patiently(self, address: str, deadline: float, wait: Awaitable) -> Any:
        """The result of `wait`, for as long as the worker lives."""
        task = asyncio.ensure_future(wait)
        try:
            while not (await asyncio.wait({task}, timeout=SILENCE_SECONDS))[0]:
                await self._check(address, deadline)
            return task.result()
        finally:
            task.cancel()

    async def _chunks(self, address: str, params: dict, deadline: float) -> AsyncIterator[dict]:
        """What a worker streams: JSON ended by a zero byte each. WorkerGone when it ends without a finish_reason or an error_code."""
        response, kept, done = None, b"", False
        post = self.session.post(address + "/worker_generate_stream", data=orjson.dumps(params), headers=_JSON, allow_redirects=False)
        try:
            response = await self._patiently(address, deadline, post)
            while not response.content.at_eof():
                try:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        kept += await response.content.readany()
                except TimeoutError:
                    await self._check(address, deadline)
                *whole, kept = kept.split(b"\0")
                for text in whole:
                    if text:
                        chunk = _chunk(text)
                        done = bool(chunk.get("finish_reason") or chunk["error_code"])
                        yield chunk
            if kept:  # a refusal without the zero byte
                yield _chunk(kept)
            elif not done:
                raise WorkerGone("the stream ended early")
        except (aiohttp.ClientError, ConnectionError) as error:
            raise WorkerGone(repr(error)) from error
        finally:
            if response is not None:
                response.close()  # before its end: the worker sees that nobody reads any more

    async def _whole(self, address: str, params: dict, deadline: float) -> AsyncIterator[dict]:
        """The whole answer of a worker, as a stream of one."""

        async def post() -> bytes:
            async with self.session.post(address + "/worker_generate", data=orjson.dumps(params), headers=_JSON, allow_redirects=False) as response:
                return await response.read()

        try:
            yield _chunk(await self._patiently(address, deadline, post()))
        except (aiohttp.ClientError, ConnectionError) as error:
            raise WorkerGone(repr(error)) from error

    async def answer(self, model: str, prepare: Callable[[str], Awaitable[dict]], stream: bool) -> AsyncIterator[dict]:
        """The chunks of one answer. `prepare(address)` gives what is sent to the worker at that address.

        Until the first chunk has come another worker can take over; after it, a worker's end is a Refused(503).
        """
        tried: list[str] = []
        deadline = time.monotonic() + self.limits.answer_seconds
        while len(tried) < TRIES:
            address = await self._address(model, tried)
            tried.append(address)
            begun = False
            try:
                try:
                    params = await prepare(address)
                except (aiohttp.ClientError, TimeoutError, KeyError, ValueError) as error:
                    raise WorkerGone(repr(error)) from error
                async with aclosing((self._chunks if stream else self._whole)(address, params, deadline)) as chunks:
                    async for chunk in chunks:
                        code = chunk["error_code"]
                        if code in SHUTTING_DOWN and not begun:
                            break
                        if code:
                            raise from_worker(code, str(chunk.get("text", "")))
                        begun = True
                        yield chunk
                if begun:
                    return
            except WorkerGone as error:
                self._failed(address, error)
                if begun:
                    raise Refused(503, "the worker is gone in the middle of the answer; try again", code="worker_gone") from None
        raise no_worker(model)


def _chunk(text: bytes) -> dict:
    """A worker's JSON; WorkerGone when it is something else, as a page that says Internal Server Error is."""
    try:
        chunk = orjson.loads(text)
    except orjson.JSONDecodeError:
        chunk = None
    if not isinstance(chunk, dict) or not isinstance(chunk.get("error_code"), int):
        raise WorkerGone(f"an answer that is none: {text[:200]!r}")
    return chunk
