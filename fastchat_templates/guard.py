"""What stands before the API's routes: keys, rates, the access log, and errors that tell a client nothing of this machine.

An ASGI application around another one, and the HTTP protocol that does not wait for clients that never finish a request or never read.
"""

import argparse
import asyncio
import hashlib
import hmac
import ipaddress
import logging
import os
import socket
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from fastchat_templates.errors import Refused, internal
from fastchat_templates.limits import Limits, Rates
from fastchat_templates.metrics import Metrics

logger = logging.getLogger("api")
OPEN = ("/health",)  # asked by supervision and load balancers, which hold no key
GONE = 499  # nginx's number for a client that left; only in log and metrics


class Keys:
    """The API keys, of which only digests are kept."""

    def __init__(self, keys: list[str]) -> None:
        self.digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    @classmethod
    def load(cls) -> "Keys":
        """From BIMEDIX_API_KEYS (with commas) and the file BIMEDIX_API_KEYS_FILE (one a line, # starts a comment); ValueError on what cannot be a key."""
        keys = os.environ.get("BIMEDIX_API_KEYS", "").split(",")
        if name := os.environ.get("BIMEDIX_API_KEYS_FILE"):
            try:
                lines = Path(name).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"BIMEDIX_API_KEYS_FILE={name} cannot be read: {error}") from None
            found = [line.partition("#")[0].strip() for line in lines]
            if not any(found):
                raise ValueError(f"BIMEDIX_API_KEYS_FILE={name} holds no key")
            keys += found
        keys = [key for word in keys if (key := word.strip())]
        if any(not key.isascii() or not key.isprintable() or " " in key for key in keys):
            raise ValueError("an API key may hold printable ASCII without spaces only, as it travels in a header")
        return cls(keys)

    def number(self, authorization: str) -> int | None:
        """Which key, from 1, a header `Bearer KEY` holds; None for none. As long for a right key as for a wrong one: all are compared."""
        kind, _, given = authorization.partition(" ")
        digest = hashlib.sha256(given.strip().encode()).digest()
        found = None
        for number, known in enumerate(self.digests, 1):
            if hmac.compare_digest(digest, known):
                found = number
        return found if kind.lower() == "bearer" else None


def loopback(host: str) -> bool:
    """Whether an address, or every address of a name, is this machine's own loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        return all(ipaddress.ip_address(found[4][0]).is_loopback for found in socket.getaddrinfo(host, None))
    except (OSError, UnicodeError):
        return False


@dataclass
class Entry:
    """What is known of one request; the routes fill in model and tokens, the log line is made of it."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    start: float = field(default_factory=time.monotonic)
    caller: str = "-"
    model: str = "-"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    status: int = 0
    body_read: bool = False
    messages: str = ""  # only with --log-messages


class Guard:
    """Let in, count, log. Everything that goes wrong within leaves as an error in OpenAI's shape."""

    def __init__(self, app: ASGIApp, keys: Keys, limits: Limits, rates: Rates, metrics: Metrics) -> None:
        self.app, self.keys, self.limits, self.rates, self.metrics = app, keys, limits, rates, metrics
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        entry = scope["state"]["entry"] = Entry()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", entry.id.encode())]
                if not entry.body_read and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
                    message["headers"].append((b"connection", b"close"))  # the rest of the body is not wanted
            await send(message)

        self.in_flight += 1
        self.metrics.in_flight.set(self.in_flight)
        try:
            self._admit(scope, entry)
            await self.app(scope, receive, sending)
        except Refused as refused:
            await answer(refused, sending)
        except asyncio.CancelledError:
            entry.status = entry.status or GONE
            raise
        except Exception:
            # told in the log, once; whoever holds the connection learns a number
            logger.exception("request %s failed", entry.id)
            if not entry.status:
                await answer(internal(entry.id), sending)
        finally:
            self.in_flight -= 1
            self.metrics.in_flight.set(self.in_flight)
            self._note(scope, entry)

    def _admit(self, scope: Scope, entry: Entry) -> None:
        """Name the caller and count the request against its rate; Refused 401 without a key of ours, 429 when there are too many."""
        address = scope["client"][0] if scope["client"] else "-"
        entry.caller = address
        if scope["path"] in OPEN:
            return
        if self.keys.digests:
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"").decode("latin-1")
            number = self.keys.number(given)
            if number is None:
                self.rates.take(address)  # so that keys cannot be guessed at any speed
                raise Refused(401, "no valid API key: send it as `Authorization: Bearer KEY`", code="invalid_api_key")
            entry.caller = f"key{number}"
        self.rates.take(entry.caller)
        if self.in_flight > self.limits.max_in_flight:
            raise Refused(429, f"{self.limits.max_in_flight} requests are being worked on; try again", code="too_many_requests", retry_after=1)

    def _note(self, scope: Scope, entry: Entry) -> None:
        seconds = time.monotonic() - entry.start
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(route, entry.status).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        for kind in ("prompt", "completion"):
            if count := getattr(entry, f"{kind}_tokens"):
                self.metrics.tokens.labels(entry.model, kind).inc(count)
        # what a client chose is cut and stripped of line breaks, so that nobody writes lines of their own into the log
        path = ascii(scope["path"][:80])[1:-1]
        tokens = f"{entry.prompt_tokens}+{entry.completion_tokens}"
        text = f" messages={entry.messages}" if entry.messages else ""
        line = "%s %s %s %.0fms caller=%s model=%s tokens=%s id=%s%s"
        logger.info(line, scope["method"], path, entry.status, seconds * 1000, entry.caller, entry.model, tokens, entry.id, text)


async def answer(refused: Refused, send: Send) -> None:
    """Send an error as a whole response."""
    headers = {"content-type": "application/json", **refused.headers}
    if refused.status == 401:
        headers["www-authenticate"] = "Bearer"
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": [*raw, (b"content-length", b"%d" % len(refused.json))]})
    await send({"type": "http.response.body", "body": refused.json})


class Protocol(H11Protocol):
    """uvicorn's, which waits for ever for the end of a request's head, and for a client that does not read what it asked for."""

    limits = Limits()
    head = stalled = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.head = self.loop.call_later(self.limits.head_seconds, transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._cancel("head")
        elif self.head is None:  # the next request on this connection has begun, and not yet come to the end of its head
            self.head = self.loop.call_later(self.limits.head_seconds, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stalled = self.loop.call_later(self.limits.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel("stalled")

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel("head")
        self._cancel("stalled")
        super().connection_lost(exc)

    def _cancel(self, timer: str) -> None:
        if handle := getattr(self, timer):
            handle.cancel()
            setattr(self, timer, None)


def refuse_strangers(args: argparse.Namespace, keys: Keys) -> None:
    """End the process, with one line, when it would serve other machines without a key."""
    if not keys.digests and not loopback(args.host):
        sys.exit(f"error: --host {args.host} is open to other machines and there is no API key: set BIMEDIX_API_KEYS or BIMEDIX_API_KEYS_FILE")
