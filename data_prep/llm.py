"""Ask a language model behind any OpenAI-compatible endpoint, once: answers are checked against a schema and kept in the journal.

`Asker` holds the connection, the journal and the meter; `Asker.row()` gives a step the `Ask` for one row. A request goes out again only when it was not
answered: after 408, 409, 429 and 5xx, a timeout, a cut connection, or a body without an answer in it; Retry-After is honoured. An answer of the wrong form
is an answer: it is paid for and kept, and the model is shown the error once. The key comes from the environment alone (OPENAI_API_KEY).
"""

import asyncio
import functools
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import httpx2
import openai
import orjson
import stamina
import stamina.instrumentation
from pydantic import BaseModel

from data_prep import prompts
from data_prep.answers import NoAnswer, RowFailed, Schema, answer_of, json_schema, read_answer, retry_after, said
from data_prep.journal import Answer, Journal, key_of
from data_prep.records import BadInput

stamina.instrumentation.set_on_retry_hooks([])  # the meter counts retries; a line for each would bury everything else
LONGEST_WAIT = 600  # seconds of Retry-After from which a run stops rather than wait: a quota of the day, not a burst
POOL = 8  # requests at once for each client: httpcore2 looks through all connections of a pool for every request; 2% more requests a second
PACE = 0.003  # seconds between two requests at most, see _turn
AGAIN = {408, 409, 429}  # and 5xx
NO_MORE_MONEY = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}


class Stop(Exception):
    """The run cannot go on: the budget is used up, the key is refused, nobody answers, somebody pressed Ctrl-C. What was answered is kept."""


class Waiting(Exception):
    """A request was written to a batch file: the row goes on when its answer is read in."""


@dataclass(frozen=True)
class Settings:
    """How requests are made. `body` is merged into every request (null takes a key out), prices are US dollars per million tokens."""

    model: str
    base_url: str | None = None
    concurrency: int = 64
    timeout: float = 120.0  # seconds a request may take from end to end
    attempts: int = 8
    wait: float = 0.5  # seconds before a request goes out again, doubled each time up to 30: with 8 attempts about a minute
    price_in: float | None = None
    price_out: float | None = None
    budget_usd: float | None = None
    body: dict = field(default_factory=dict)

    def cost(self, answer: Answer) -> float:
        """What an answer costs in US dollars."""
        return (answer.prompt_tokens * (self.price_in or 0) + answer.completion_tokens * (self.price_out or 0)) / 1e6


@dataclass
class Meter:
    """What this run has sent and spent."""

    sent: int = 0
    answered: int = 0
    reasked: int = 0
    from_journal: int = 0
    in_flight: int = 0
    retries: Counter = field(default_factory=Counter)


Send = Callable[[bytes, dict], Awaitable[Answer]]  # key and body of a request


class Ask(Protocol):
    """What a step asks with: one request, one checked answer. Raises RowFailed, Stop, Waiting."""

    model: str

    async def __call__(
        self, prompt: prompts.Prompt, schema: type[Schema], words: dict[str, str], room: int, check: Callable[[Schema], str | None] | None = None
    ) -> Schema:
        """The answer to `prompt` with its `words`, in at most `room` tokens; `check` says what else is wrong with a valid answer."""

    async def say(self, messages: list[dict[str, str]], room: int) -> Answer:
        """The model's own words after these messages, of whatever form, in at most `room` tokens."""


class Asker:
    """Sends requests through `send` (the endpoint's own unless another is given, as the batch files do) and keeps the answers."""

    def __init__(self, settings: Settings, journal: Journal, send: Send | None = None) -> None:
        self.settings, self.journal, self.meter = settings, journal, Meter()
        self.stopped: str | None = None  # why nothing more is sent
        self._began, self._next = time.process_time(), 0.0
        self._send = send or self._online
        self._key = os.environ.get("OPENAI_API_KEY", "")
        ways = {"api_key": self._key or "none", "base_url": settings.base_url, "max_retries": 0, "timeout": settings.timeout}
        self._clients = [] if send else [openai.AsyncOpenAI(**ways) for _ in range(-(-settings.concurrency // POOL))]

    def row(self, fresh: bool = False) -> Ask:
        """The Ask of one row. `fresh`: answers that cannot be used are not taken from the journal but asked for anew."""
        return _RowAsk(self, fresh)

    def body(self, prompt: prompts.Prompt, schema: type[BaseModel], words: dict[str, str], room: int) -> dict:
        """The body of a request, the same for the same words."""
        form = {"type": "json_schema", "json_schema": {"name": schema.__name__.strip("_"), "strict": True, "schema": json_schema(schema)}}
        body = {"model": self.settings.model, "messages": prompt.messages(words), "response_format": form, "temperature": 0, "max_tokens": room}
        return {key: value for key, value in (body | self.settings.body).items() if value is not None}

    async def ask(self, prompt: prompts.Prompt, schema: type[Schema], words: dict, room: int, check: Callable | None, fresh: bool) -> Schema:
        """See Ask; `fresh` as in `row`."""
        body, read = self.body(prompt, schema, words, room), functools.partial(read_answer, schema=schema, check=check)
        answer = await self._answer(prompt, body, read, fresh)
        try:
            return read(answer)
        except RowFailed as error:
            if answer.finish.startswith("http_"):
                raise
            self.meter.reasked += 1
            again = prompts.load("reask")
            shown = {"role": "assistant", "content": answer.content or "(no answer)"}
            body = body | {"messages": [*body["messages"], shown, *again.messages({"error": error.message})]}
            return read(await self._answer(prompt, body, read, fresh, again))

    async def say(self, messages: list[dict[str, str]], room: int, fresh: bool) -> Answer:
        """See Ask; `fresh` as in `row`."""
        body = {"model": self.settings.model, "messages": messages, "temperature": 0, "max_tokens": room} | self.settings.body
        return said(await self._answer(None, {key: value for key, value in body.items() if value is not None}, said, fresh))

    async def _answer(self, prompt: prompts.Prompt | None, body: dict, read: Callable, fresh: bool, again: prompts.Prompt | None = None) -> Answer:
        """The answer to a request: from the journal, else from the endpoint, and then into the journal."""
        labels = [part.label for part in (prompt, again) if part]
        key = key_of({"prompts": labels, "body": body})
        if answer := self.journal.answer(key):
            try:
                if fresh:
                    read(answer)
                self.meter.from_journal += 1
                return answer
            except RowFailed:
                pass  # the row is tried anew, and this answer is why it failed
        answer = await self._send(key, body)
        self.meter.answered += 1
        self.journal.keep(key, answer, characters(body), self.settings.cost(answer))
        return answer

    async def _online(self, key: bytes, body: dict) -> Answer:
        """One request to the endpoint, as often as it takes."""
        error = None
        try:
            async for attempt in stamina.retry_context(
                on=self._backoff, attempts=self.settings.attempts, timeout=None, wait_initial=self.settings.wait, wait_max=30, wait_jitter=self.settings.wait
            ):
                with attempt:
                    await self._turn()
                    self._may_send()
                    self.meter.sent += 1
                    self.meter.in_flight += 1
                    try:
                        answer = await self._once(body)
                    finally:
                        self.meter.in_flight -= 1
            return answer
        except openai.APIStatusError as found:
            error, reason = found, f"http_{found.status_code}"
        except (TimeoutError, openai.APITimeoutError) as found:
            error, reason = found, "timeout"
        except openai.APIConnectionError as found:
            error, reason = found, "connection"
        except NoAnswer as found:
            error, reason = found, found.reason
        if (why := self._why_to_stop(error)) is not None:
            self.stopped = self.stopped or why
            raise Stop(self.stopped)
        raise RowFailed(reason, self._said(error), transport=True)

    async def _once(self, body: dict) -> Answer:
        async with asyncio.timeout(self.settings.timeout):  # the client's own bounds each read, not the whole: a dripping answer would never end
            response = await self._clients[self.meter.sent % len(self._clients)].post("/chat/completions", cast_to=httpx2.Response, body=body)
        try:
            return answer_of(orjson.loads(response.content))
        except orjson.JSONDecodeError as error:
            raise NoAnswer("broken_answer", "the endpoint's answer is no JSON") from error

    async def _turn(self) -> None:
        """Let requests leave one by one, as far apart as the client itself works on one.

        Answers that come together are worked on together and would go out together again, round after round: with 64 at once and an endpoint of 200 ms
        each then waited some 40 ms for the others (81% of the ideal, 89% with this).
        """
        now = time.monotonic()
        pace = min((time.process_time() - self._began) / max(self.meter.sent, 1), PACE)
        self._next = max(self._next + pace, now)
        if self._next > now:
            await asyncio.sleep(self._next - now)

    def _may_send(self) -> None:
        """Stop before a request that the run may not make. The requests in flight and this one are reckoned at the mean of those before."""
        budget, meter, totals = self.settings.budget_usd, self.meter, self.journal.totals
        if self.stopped is None and budget is not None:
            expected = (meter.in_flight + 1) * (totals.usd / totals.requests if totals.requests else 0.0)
            if totals.usd + expected > budget:
                self.stopped = f"the budget of {budget:,.2f} USD is used up ({totals.usd:,.4f} spent); raise --budget-usd to go on"
        if self.stopped is not None:
            raise Stop(self.stopped)

    def _backoff(self, error: Exception) -> bool | float:
        """Whether and after how many seconds a request goes out again."""
        if isinstance(error, Stop) or self._why_to_stop(error) is not None:
            return False
        if isinstance(error, openai.APIStatusError):
            if error.status_code not in AGAIN and error.status_code < 500:
                return False
            self.meter.retries[f"http_{error.status_code}"] += 1
            wait = retry_after(error.response.headers)
            return wait + random.uniform(0, 0.1 * wait + 0.01) if wait is not None else True  # never earlier than asked, and not all at once
        names = {TimeoutError: "timeout", openai.APITimeoutError: "timeout", openai.APIConnectionError: "connection"}
        name = error.reason if isinstance(error, NoAnswer) else names.get(type(error))
        if name is None:
            return False
        self.meter.retries[name] += 1
        return True

    def _why_to_stop(self, error: Exception) -> str | None:
        """What makes every further request useless."""
        if not isinstance(error, openai.APIStatusError):
            return None
        if error.status_code in (401, 403):
            return f"the endpoint refuses the key ({self._said(error)}); set OPENAI_API_KEY"
        if error.status_code == 404:
            return f"the endpoint does not know the model or the path ({self._said(error)}); correct --model or OPENAI_BASE_URL"
        if error.status_code == 402 or error.code in NO_MORE_MONEY:
            return f"the account has no more money ({self._said(error)})"
        wait = retry_after(error.response.headers)
        if error.status_code == 429 and wait is not None and wait > LONGEST_WAIT:
            return f"the endpoint asks to wait for {wait / 60:,.0f} minutes; run the same command again then"
        return None

    def _said(self, error: Exception) -> str:
        """An error in one line, without the key."""
        text = " ".join(str(error.message if isinstance(error, openai.APIError) else error).split())[:300] or type(error).__name__
        return text.replace(self._key, "***") if self._key else text

    async def models(self) -> list[str] | None:
        """The names of the models that the endpoint serves, None where it does not say. Raises Stop where it cannot be reached or refuses the key."""
        try:
            listed = await self._clients[0].with_options(max_retries=2, timeout=20).models.list()
            return [model.id for model in listed.data]
        except openai.APIConnectionError as error:
            raise Stop(f"nobody answers at {self.settings.base_url} ({self._said(error)}); start the endpoint or correct OPENAI_BASE_URL") from error
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise Stop(self._why_to_stop(error)) from error
            return None
        except (openai.APIError, ValueError, TypeError):
            return None

    async def close(self) -> None:
        """Let the connections go."""
        for client in self._clients:
            await client.close()


@dataclass(frozen=True)
class _RowAsk:
    """The Ask of one row."""

    asker: Asker
    fresh: bool

    @property
    def model(self) -> str:
        return self.asker.settings.model

    async def __call__(self, prompt, schema, words, room, check=None):
        return await self.asker.ask(prompt, schema, words, room, check, self.fresh)

    async def say(self, messages, room):
        return await self.asker.say(messages, room, self.fresh)


def characters(body: dict) -> int:
    """How many characters the messages of a request hold."""
    return sum(len(message["content"]) for message in body["messages"])


def endpoint() -> str:
    """The endpoint's address from OPENAI_BASE_URL; OpenAI's own where there is a key and no address. BadInput where there is neither."""
    if url := os.environ.get("OPENAI_BASE_URL"):
        return url
    if os.environ.get("OPENAI_API_KEY"):
        return "https://api.openai.com/v1"
    raise BadInput("no endpoint: set OPENAI_BASE_URL (and OPENAI_API_KEY where it asks for a key); README.md shows it with vLLM, OpenAI and make serve")
