"""FastChat's controller, for workers that are allowed to be workers, and never waiting for one that hangs.

    BIMEDIX_SECRET=.. python -m fastchat_templates.controller --port 21001 --allow-worker 10.0.0.7:21002

- CVE-2024-10044: stock, anyone who reaches the controller registers any URL as a worker, and the controller fetches it. Here registration and heart
  beats need the header X-BiMediX-Secret, or without a secret the loopback; and a worker's address must be http(s) and on the list (default loopback).
- CVE-2026-6607: stock, asynchronous routes call workers with blocking calls, so one that hangs stops every answer. Here no call blocks.
- Stock lists a killed worker for 90 s. Here each worker is asked every 2 s, and at once when the API says that it failed; one that refuses the
  connection is dropped. A worker is listed from its first answer on.

What needs no secret on the loopback: lists and addresses of workers, which FastChat's page and API ask for without one.
"""

import argparse
import asyncio
import hmac
import ipaddress
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

os.environ.setdefault("LOGDIR", "")  # FastChat would leave log files in the current folder

import aiohttp
import fastchat.serve.controller as fastchat_controller
import uvicorn
from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from fastchat_templates.allowed import Allowed

logger = logging.getLogger("controller")
SECRET_HEADER = b"x-bimedix-secret"
WITH_SECRET = ("/register_worker", "/receive_heart_beat")
PROBE_SECONDS = 2.0  # between two questions to a worker
ANSWER_SECONDS = 3.0  # for a worker to answer one
WAIT_SECONDS = 60.0  # for a worker that registered before it listens, as FastChat's own does
MAX_BODY = 65536
MAX_WORKERS = 1000


class Status(BaseModel):
    """What /worker_get_status of a worker says."""

    model_names: list[str] = Field(max_length=100)
    speed: float = Field(gt=0, le=1e6)
    queue_length: int = Field(ge=0, le=1_000_000)


class Named(BaseModel):
    worker_name: str = Field(max_length=300)


class Registration(Named):
    check_heart_beat: bool = True
    worker_status: Status | None = None
    multimodal: bool = False


class HeartBeat(Named):
    queue_length: int = Field(ge=0, le=1_000_000)


class Wanted(BaseModel):
    model_config = ConfigDict(extra="ignore")
    model: str = Field(max_length=300)
    exclude: list[str] = Field(default=[], max_length=10)  # workers that a client has just tried


class Controller(fastchat_controller.Controller):
    """FastChat's, whose dictionary `worker_info` holds workers that answer; those that have registered only wait beside it."""

    def __init__(self, dispatch_method: str, allowed: Allowed, expire: float) -> None:
        # without FastChat's thread, which sleeps 90 s at a time and changes the dictionary while it is read
        self.worker_info: dict[str, fastchat_controller.WorkerInfo] = {}
        self.dispatch_method = fastchat_controller.DispatchMethod.from_str(dispatch_method)
        self.allowed, self.expire, self.started = allowed, expire, time.time()
        self.waiting: dict[str, tuple[float, bool]] = {}  # worker: when it registered, multimodal
        self.probing: dict[str, asyncio.Task] = {}
        self.session: aiohttp.ClientSession = None

    def register(self, asked: Registration) -> str | None:
        """Note a worker, to be asked at once; the reason why not, if there is one. What a known one says of itself holds at once: it may name no model."""
        name = asked.worker_name.rstrip("/")
        if reason := self.allowed.refusal(name):
            return reason
        if name not in self.worker_info:
            if len(self.waiting) + len(self.worker_info) >= MAX_WORKERS:
                return f"there are {MAX_WORKERS} workers"
            self.waiting[name] = (time.time(), asked.multimodal)
        elif asked.worker_status:
            self._note(name, asked.worker_status, asked.multimodal)
        self.probe(name)
        return None

    def heart_beat(self, name: str, queue_length: int) -> bool:
        """Whether the worker is known; one that is not registers again."""
        name = name.rstrip("/")
        if info := self.worker_info.get(name):
            info.queue_length, info.last_heart_beat = queue_length, time.time()
        return name in self.worker_info or name in self.waiting

    def probe(self, name: str) -> asyncio.Task:
        """Ask a worker for its status, once at a time."""
        if name not in self.probing:
            task = self.probing[name] = asyncio.create_task(self._probe(name))
            task.add_done_callback(lambda _: self.probing.pop(name, None))
        return self.probing[name]

    async def _probe(self, name: str) -> bool:
        """Whether it answered. What it says becomes its entry; one that refuses the connection, or was silent for too long, loses it."""
        info = self.worker_info.get(name)
        try:
            async with self.session.post(name + "/worker_get_status", allow_redirects=False) as response:
                response.raise_for_status()
                status = Status.model_validate_json(await response.content.read(MAX_BODY))
        except (aiohttp.ClientError, TimeoutError, ValidationError) as error:
            now = time.time()
            if name in self.waiting:
                if now - self.waiting[name][0] > WAIT_SECONDS:
                    self.drop(name, f"not one answer since it registered: {error!r}")
            elif info and (isinstance(error, aiohttp.ClientConnectorError) or now - info.last_heart_beat > self.expire):
                self.drop(name, repr(error))
            return False
        if info is None and name not in self.waiting:
            return False  # dropped meanwhile
        multimodal = info.multimodal if info else self.waiting.pop(name)[1]
        if info is None:
            logger.info("worker %s serves %s", name, ", ".join(status.model_names))
        self._note(name, status, multimodal)
        return True

    def _note(self, name: str, status: Status, multimodal: bool) -> None:
        self.worker_info[name] = fastchat_controller.WorkerInfo(status.model_names, status.speed, status.queue_length, True, time.time(), multimodal)

    def drop(self, name: str, reason: str) -> None:
        self.waiting.pop(name, None)
        if self.worker_info.pop(name, None):
            logger.warning("worker %s is dropped: %s", name, reason)

    async def failed(self, name: str) -> bool:
        """A client says that a worker failed: ask it, and drop it when it does not answer. Whether it was dropped."""
        if name not in self.worker_info or await self.probe(name):
            return False
        self.drop(name, "a request to it failed, and it does not answer")
        return True

    def choose(self, wanted: Wanted) -> str:
        """FastChat's choice among the workers, without those that the client has tried; empty where there is none."""
        every = self.worker_info
        self.worker_info = {name: info for name, info in every.items() if name not in wanted.exclude}
        try:
            return self.get_worker_address(wanted.model)
        finally:
            self.worker_info = every

    async def watch(self) -> None:
        """Ask every worker, for ever; those that wait for their first answer more often."""
        rounds = 0
        while True:
            for name in [*self.waiting, *(self.worker_info if rounds % 4 == 0 else ())]:
                self.probe(name)
            rounds += 1
            await asyncio.sleep(PROBE_SECONDS / 4)


class Door:
    """Who may ask what: with the secret everything, without it only the loopback, and there no registration either where a secret is set."""

    def __init__(self, app: ASGIApp, secret: str) -> None:
        self.app, self.secret = app, secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            knows = bool(self.secret) and hmac.compare_digest(headers.get(SECRET_HEADER, b""), self.secret)
            near = bool(scope["client"]) and ipaddress.ip_address(scope["client"][0]).is_loopback
            if not knows and (not near or (self.secret and scope["path"] in WITH_SECRET)):
                logger.warning("refused %s from %s", ascii(scope["path"][:80]), scope["client"])
                await JSONResponse({"detail": "the header X-BiMediX-Secret is missing or wrong"}, 403)(scope, receive, send)
                return
            if int(headers.get(b"content-length", b"0")) > MAX_BODY or b"transfer-encoding" in headers:
                await JSONResponse({"detail": "the body is too long"}, 413, {"connection": "close"})(scope, receive, send)
                return
        await self.app(scope, receive, send)


def application(controller: Controller) -> ASGIApp:
    """FastChat's routes, those that block or trust replaced; the ones that make the controller a worker of another controller are gone."""
    app = fastchat_controller.app
    fastchat_controller.controller = controller
    kept = ("/list_models", "/list_multimodal_models", "/list_language_models", "/test_connection")
    app.router.routes[:] = [route for route in app.router.routes if route.path in kept]

    async def register_worker(asked: Registration) -> dict:
        if reason := controller.register(asked):
            logger.warning("refused worker %s: %s", ascii(asked.worker_name), reason)
            raise HTTPException(403, f"the worker's address is refused: {reason}")
        return {"registered": True}

    async def receive_heart_beat(beat: HeartBeat) -> dict:
        return {"exist": controller.heart_beat(beat.worker_name, beat.queue_length)}

    async def refresh_all_workers() -> dict:
        return {}  # workers are asked all the time; FastChat's page insists on asking for it

    async def get_worker_address(wanted: Wanted) -> dict:
        return {"address": controller.choose(wanted), "up_seconds": time.time() - controller.started}

    async def worker_failed(worker: Named) -> dict:
        return {"dropped": await controller.failed(worker.worker_name)}

    async def list_workers() -> dict:
        every = controller.worker_info.items()
        return {"workers": [{"worker_name": name, "models": info.model_names, "queue_length": info.queue_length} for name, info in every]}

    for endpoint in (register_worker, receive_heart_beat, refresh_all_workers, get_worker_address, worker_failed, list_workers):
        app.add_api_route(f"/{endpoint.__name__}", endpoint, methods=["POST"])

    @asynccontextmanager
    async def lifespan(_: ASGIApp) -> AsyncIterator[None]:
        wait = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        # a connection each time: what counts is whether the worker takes new ones
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(timeout=wait, cookie_jar=aiohttp.DummyCookieJar(), connector=connector) as controller.session:
            watching = asyncio.create_task(controller.watch())
            yield
            watching.cancel()

    app.router.lifespan_context = lifespan
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="(%(default)s)")
    parser.add_argument("--port", type=int, default=21001, help="(%(default)s)")
    parser.add_argument("--dispatch-method", choices=["lottery", "shortest_queue"], default="shortest_queue", help="(%(default)s)")
    parser.add_argument("--allow-worker", action="append", metavar="HOST[:PORT]", help="who may be a worker, any number of times (loopback)")
    parser.add_argument("--expire-seconds", type=float, default=10, help="a worker that says nothing for so long is dropped (%(default)s)")
    args = parser.parse_args()
    try:
        allowed = Allowed(args.allow_worker or ["127.0.0.0/8", "::1", "localhost"])
    except argparse.ArgumentTypeError as error:
        parser.error(f"--allow-worker: {error}")
    fastchat_controller.logger.setLevel(logging.WARNING)  # it writes a line for each request
    logger.setLevel(logging.INFO)
    app = application(Controller(args.dispatch_method, allowed, args.expire_seconds))
    door = Door(app, os.environ.get("BIMEDIX_SECRET", ""))
    uvicorn.run(door, host=args.host, port=args.port, log_config=None, access_log=False, proxy_headers=False, server_header=False, ws="none")


if __name__ == "__main__":
    main()
