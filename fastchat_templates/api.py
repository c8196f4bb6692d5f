"""The OpenAI-compatible API: FastChat's application with a guard before it and routes that keep what they promise.

    BIMEDIX_API_KEYS=key-1,key-2 python -m fastchat_templates.api --controller-address http://127.0.0.1:21001 --port 8000

Routes: /v1/models, /v1/chat/completions, /v1/completions, /health, /metrics. Without keys it serves this machine only and asks for none.
FastChat's own routes fail at role `tool`, at `n: 1000000`, at a worker that dies, and print file paths (trap 11 of the design).
"""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

os.environ.setdefault("LOGDIR", "")  # FastChat would leave log files in the current folder

import fastchat.serve.openai_api_server as fastchat_api
import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request

from fastchat_templates.answers import Answers
from fastchat_templates.asked import Asked, Chat, Completion, read
from fastchat_templates.backend import Backend
from fastchat_templates.errors import Refused, internal
from fastchat_templates.guard import GONE, Guard, Keys, Protocol, refuse_strangers
from fastchat_templates.limits import Left, Limits, Rates, parse, read_body
from fastchat_templates.metrics import Metrics

RATES = {True: 600, False: 6000}  # requests a minute and caller, with keys and without; no client of ours comes near 100 a second
LOGGED = 4000  # characters of a request that --log-messages writes


class Api:
    """The routes, on FastChat's application."""

    def __init__(self, backend: Backend, limits: Limits, metrics: Metrics, log_messages: bool) -> None:
        self.backend, self.limits, self.metrics, self.log_messages = backend, limits, metrics, log_messages

    def application(self) -> FastAPI:
        """FastChat's application with our routes in the place of its own, and its way to the workers replaced by ours."""
        app = fastchat_api.app
        fastchat_api.fetch_remote = self.backend.fetch
        app.router.routes.clear()  # also the pages of /docs, which load scripts from elsewhere
        app.exception_handlers.clear()
        for kind, handler in ((Refused, _refused), (HTTPException, _no_such_route), (Left, _left), (Exception, _failed)):
            app.add_exception_handler(kind, handler)
        for path, endpoint, method in (
            ("/health", self.health, "GET"),
            ("/metrics", self.prometheus, "GET"),
            ("/v1/models", self.models, "GET"),
            ("/v1/models/{model:path}", self.model, "GET"),
            ("/v1/chat/completions", self.chat, "POST"),
            ("/v1/completions", self.completions, "POST"),
            ("/v1/embeddings", self.embeddings, "POST"),
        ):
            app.add_api_route(path, endpoint, methods=[method], response_model=None)

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            await self.backend.start()
            yield
            await self.backend.stop()

        app.router.lifespan_context = lifespan
        return app

    async def health(self) -> Response:
        return JSONResponse({"status": "ok"})

    async def prometheus(self) -> Response:
        workers = []
        with suppress(Refused):  # counts are told without the controller too
            workers = await self.backend.workers()
        self.metrics.seen(workers)
        return Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def models(self) -> Response:
        cards = [_card(name) for name in await self.backend.models()]
        return JSONResponse(fastchat_api.ModelList(data=cards).model_dump())

    async def model(self, model: str) -> Response:
        if model not in await self.backend.models():
            raise Refused(404, "this model does not exist; /v1/models lists those that do", param="model", code="model_not_found")
        return JSONResponse(_card(model).model_dump())

    async def embeddings(self) -> Response:
        raise Refused(404, "this server makes no embeddings", code="unsupported")

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, Chat)

    async def completions(self, request: Request) -> Response:
        return await self._answer(request, Completion)

    async def _answer(self, request: Request, kind: type[Asked]) -> Response:
        entry = request.state.entry
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json":
            # also keeps web pages from sending requests through a visitor's browser, which needs no leave for other types
            raise Refused(415, "the Content-Type must be application/json", code="unsupported_media_type")
        length = request.headers.get("content-length", "")
        body = await read_body(request.receive, int(length) if length.isdecimal() else None, self.limits)
        entry.body_read = True
        if self.log_messages:
            entry.messages = ascii(body[:LOGGED].decode("utf-8", "replace"))
        asked = read(kind, parse(body, self.limits), self.limits)
        answers = Answers(asked, self.backend, entry, self.metrics)
        if not asked.stream:
            return Response(await _while_there(request, answers.whole()), media_type="application/json")
        events = answers.events()
        first = await _while_there(request, anext(events))  # an error until here has a status of its own
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        return StreamingResponse(_again(first, events), media_type="text/event-stream", headers=headers)


async def _while_there(request: Request, work: Coroutine) -> Any:
    """The result of `work`; Left, and the work is ended, when the client goes before it comes."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Left
        return task.result()
    finally:
        task.cancel()
        leaving.cancel()


async def _again(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(rest):
        yield first
        async for event in rest:
            yield event


def _card(name: str) -> fastchat_api.ModelCard:
    return fastchat_api.ModelCard(id=name, root=name, owned_by="bimedix", permission=[fastchat_api.ModelPermission()])


async def _refused(_: Request, refused: Refused) -> Response:
    return Response(refused.json, refused.status, {"content-type": "application/json", **refused.headers})


async def _no_such_route(request: Request, error: HTTPException) -> Response:
    """The framework's own refusals, of a path or a method, in OpenAI's shape."""
    return await _refused(request, Refused(error.status_code, f"{error.detail}: {request.method} is not answered at this path", code="not_found"))


async def _left(_: Request, __: Left) -> Response:
    return Response(status_code=GONE)  # for the log; nobody reads it


async def _failed(request: Request, _: Exception) -> Response:
    return await _refused(request, internal(request.state.entry.id))  # the guard logs what it was


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; another than loopback needs an API key (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="(%(default)s)")
    parser.add_argument("--controller-address", default="http://127.0.0.1:21001", help="(%(default)s)")
    rates = f"requests a minute of one key, or of one address without keys; 0 for no bound ({RATES[True]} with keys, {RATES[False]} without)"
    parser.add_argument("--rate", type=float, help=rates)
    parser.add_argument("--allow-origin", action="append", default=[], metavar="URL", help="let web pages of this origin ask (none)")
    parser.add_argument("--log-messages", action="store_true", help="write what people ask into the log; without it no text of theirs is kept")
    parser.add_argument("--ssl-certfile", help="serve https (none)")
    parser.add_argument("--ssl-keyfile", help="its key (none)")
    Limits.add_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    try:
        keys = Keys.load()
    except ValueError as error:
        sys.exit(f"error: {error}")
    refuse_strangers(args, keys)
    from fastchat_templates import conversation  # transformers and torch, 4 s: what is wrong with the options is told before

    conversation.register()
    limits, metrics = Limits.of(args), Metrics()
    backend = Backend(args.controller_address, os.environ.get("BIMEDIX_SECRET", ""), limits)
    app = Api(backend, limits, metrics, args.log_messages).application()
    rates = Rates(RATES[bool(keys.digests)] if args.rate is None else args.rate)
    app = Guard(app, keys, limits, rates, metrics)
    if args.allow_origin:
        app = CORSMiddleware(app, allow_origins=args.allow_origin, allow_methods=["GET", "POST"], allow_headers=["authorization", "content-type"])
    Protocol.limits = limits
    uvicorn.run(
        app,
        host=args.host,
        port=args.port,
        http=Protocol,
        ws="none",
        log_config=None,  # FastChat's format for every line
        access_log=False,  # the guard writes a line of its own
        proxy_headers=False,  # or any client could say that it is another one
        server_header=False,
        timeout_keep_alive=20,  # above the 5 s after which httpx drops an idle connection, so that it is never the server that goes first
        timeout_graceful_shutdown=25,  # answers that are being written are finished
        ssl_certfile=args.ssl_certfile,
        ssl_keyfile=args.ssl_keyfile,
    )


if __name__ == "__main__":
    main()
