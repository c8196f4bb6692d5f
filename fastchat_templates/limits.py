"""Bounds on what one client may ask for: the options of the API, the reading of a body, the rate.

Stock FastChat has none: `n: 1000000` takes 2.8 GB and hangs it for good (trap 11 of the design).
"""

import argparse
import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields

import orjson

from fastchat_templates.errors import Refused

Receive = Callable[[], Awaitable[dict]]
# a JSON string, also one that never ends; possessive, so that one pass is all: a million quotes cost no more than a million letters
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKET = bytes(set(range(256)) - set(_STEP))
DRAIN = 8  # a body up to this many times too long is read to its end, so that the client hears why instead of a broken pipe


def option(default: float, explain: str) -> float:
    return field(default=default, metadata={"help": explain})


@dataclass(frozen=True)
class Limits:
    """Each field is an option of the API, --max-body and so on, and an error message names the option's value."""

    max_body: int = option(1 << 20, "bytes of a request")
    max_depth: int = option(32, "brackets within brackets in a request's JSON")
    max_messages: int = option(256, "messages of one chat")
    max_characters: int = option(200_000, "characters of all messages or prompts of a request together")
    max_prompts: int = option(64, "prompts in one request to /v1/completions")
    max_n: int = option(4, "answers to one prompt")
    max_answer: int = option(4096, "tokens of one answer; who asks for more gets that many, and finish_reason `length`")
    max_stops: int = option(16, "stop strings (OpenAI takes 4, lm-eval sends more)")
    max_stop_length: int = option(256, "characters of one stop string")
    max_logprobs: int = option(5, "alternatives at each token")
    max_in_flight: int = option(256, "requests that are worked on at once")
    body_seconds: float = option(30, "for a request's body to arrive")
    head_seconds: float = option(10, "for a request's head to arrive")
    stall_seconds: float = option(30, "for a client to take what it asked for, when it does not read")
    answer_seconds: float = option(1800, "for one answer, waiting included")

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        for one in fields(cls):
            parser.add_argument("--" + one.name.replace("_", "-"), type=_positive(one.type), default=one.default, help=one.metadata["help"] + " (%(default)s)")

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Limits":
        return cls(**{one.name: getattr(args, one.name) for one in fields(cls)})


def _positive(kind: type) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return number


class Rates:
    """A token bucket for each caller: `per_minute` requests, a sixth of them at once. 0 means no bound."""

    callers = 10_000  # buckets that are kept, the least recently used goes first: an attacker with many addresses gets no memory

    def __init__(self, per_minute: float) -> None:
        self.speed = per_minute / 60
        self.size = max(1.0, per_minute / 6)
        self.buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count one request; Refused(429) with the seconds until the next one is free."""
        if not self.speed:
            return
        now = time.monotonic()
        left, then = self.buckets.pop(caller, (self.size, now))
        left = min(self.size, left + (now - then) * self.speed)
        self.buckets[caller] = (left - 1 if left >= 1 else left, now)
        while len(self.buckets) > self.callers:
            self.buckets.popitem(last=False)
        if left < 1:
            wait = (1 - left) / self.speed
            raise Refused(429, f"more than {self.speed * 60:g} requests a minute; try again in {wait:.1f} s", code="rate_limit_exceeded", retry_after=wait)


class Left(Exception):
    """The client has gone; nobody reads an answer."""


async def read_body(receive: Receive, announced: int | None, limits: Limits) -> bytes:
    """The whole body. Refused 413 when it is longer than allowed, announced or not, 408 when it takes too long; Left without its end."""
    too_long = Refused(413, f"the request is longer than {limits.max_body} bytes", code="request_too_large")
    if announced is not None and announced > limits.max_body * DRAIN:
        raise too_long
    body, length, more = bytearray(), 0, True
    try:
        async with asyncio.timeout(limits.body_seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Left
                length += len(message["body"])
                more = message["more_body"]
                if length <= limits.max_body:
                    body += message["body"]
                elif length > limits.max_body * DRAIN:
                    break
    except TimeoutError:
        raise Refused(408, f"the request's body did not arrive within {limits.body_seconds:g} s", code="request_timeout") from None
    if length > limits.max_body:
        raise too_long
    return bytes(body)


def depth(body: bytes) -> int:
    """How deep brackets stand within brackets, told without parsing."""
    brackets = _STRING.sub(b"", body).translate(None, _NO_BRACKET)
    level = deepest = 0
    for bracket in brackets:
        level += _STEP[bracket]
        deepest = max(deepest, level)
    return deepest


def parse(body: bytes, limits: Limits) -> dict:
    """The JSON object of a body; Refused(400) for anything else: too deep, NaN, half of a surrogate pair, bytes that are not UTF-8."""
    if body.count(b"[") + body.count(b"{") > limits.max_depth and depth(body) > limits.max_depth:
        raise Refused(400, f"the JSON has more than {limits.max_depth} brackets within brackets", code="invalid_json")
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"the body is not JSON in UTF-8: {str(error)[:200]}", code="invalid_json") from None
    if not isinstance(asked, dict):
        raise Refused(400, "the body must be a JSON object", code="invalid_json")
    return asked
