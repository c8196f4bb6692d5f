"""Answers in OpenAI's form, whole and streamed, made of what workers send: cumulative text, logprobs, usage and finish_reason.

FastChat's own stream never carries usage, drops half characters for good, and sends a worker's error as a chunk that no client reads as one.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from functools import partial

import fastchat.serve.openai_api_server as fastchat_api
import orjson
import shortuuid

from fastchat_templates.asked import Asked, Chat
from fastchat_templates.backend import Backend
from fastchat_templates.errors import Refused, internal
from fastchat_templates.guard import Entry
from fastchat_templates.metrics import Metrics

logger = logging.getLogger("api")
AT_ONCE = 8  # prompts of one request at the workers together, so that one client's 64 prompts do not fill the queue
DONE = b"data: [DONE]\n\n"


class Answers:
    """The answers to one request: n to each prompt, numbered prompt by prompt."""

    def __init__(self, asked: Asked, backend: Backend, entry: Entry, metrics: Metrics) -> None:
        self.asked, self.backend, self.entry, self.metrics = asked, backend, entry, metrics
        self.chat = isinstance(asked, Chat)
        prompts = [asked.messages] if self.chat else asked.prompt
        self.jobs = [(prompt, number) for prompt in prompts for number in range(asked.n)]
        self.turn = asyncio.Semaphore(AT_ONCE)
        kind = ("chat.completion.chunk" if asked.stream else "chat.completion") if self.chat else "text_completion"
        self.head = {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{shortuuid.random()}",
            "object": kind,
            "created": int(time.time()),
            "model": asked.model,
        }

    async def _prepare(self, prompt: str | list, number: int, address: str) -> dict:
        """What goes to the worker: FastChat's parameters and what it does not know of."""
        asked, more = self.asked, {"echo": False} if self.chat else {"echo": bool(self.asked.echo), "logprobs": self.asked.logprobs}
        ids = not self.chat and isinstance(prompt, list)
        params = await fastchat_api.get_gen_params(asked.model, address, "" if ids else prompt, **asked.sampling(self.backend.limits), **more)
        if ids:
            params["prompt"] = prompt
        return params | asked.more(number)

    async def _job(self, prompt: str | list, number: int) -> AsyncIterator[dict]:
        """The chunks of one answer, when it is its turn."""
        async with self.turn, aclosing(self.backend.answer(self.asked.model, partial(self._prepare, prompt, number), bool(self.asked.stream))) as chunks:
            async for chunk in chunks:
                self.entry.model = self.asked.model  # only now: it is one that exists
                yield chunk

    def _usage(self, last: list[dict]) -> dict:
        """Tokens of the request: each prompt once, however many answers it got."""
        counts = [chunk.get("usage") or {} for chunk in last]
        prompt = sum(count.get("prompt_tokens", 0) for count in counts[:: self.asked.n])
        completion = sum(count.get("completion_tokens") or 0 for count in counts)
        self.entry.prompt_tokens, self.entry.completion_tokens = prompt, completion
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    async def whole(self) -> bytes:
        """The JSON of all answers."""

        async def last(prompt: str | list, number: int) -> dict:
            async with aclosing(self._job(prompt, number)) as chunks:
                return [chunk async for chunk in chunks][-1]

        chunks = await _together([last(*job) for job in self.jobs])
        choices = []
        for index, chunk in enumerate(chunks):
            reason = chunk.get("finish_reason") or "stop"
            if self.chat:
                choice = {"message": {"role": "assistant", "content": chunk["text"]}, "logprobs": None}
            else:
                choice = {"text": chunk["text"], "logprobs": chunk.get("logprobs")}
            choices.append({"index": index, **choice, "finish_reason": reason})
        return orjson.dumps({**self.head, "choices": choices, "usage": self._usage(chunks)})

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events. What goes wrong before the first one raises Refused; after it, it is an event of its own and the end."""
        states = [Stream(self, index) for index in range(len(self.jobs))]
        begun = False
        try:
            async with aclosing(_merged([self._job(*job) for job in self.jobs])) as chunks:
                async for index, chunk in chunks:
                    if data := states[index].take(chunk):
                        begun = True
                        yield data
        except Refused as refused:
            if not begun:
                raise
            yield _event(refused.body)
            return
        except Exception:
            if not begun:
                raise
            logger.exception("request %s failed in its stream", self.entry.id)
            yield _event(internal(self.entry.id).body)
            return
        usage = self._usage([state.last for state in states])
        yield (_event({**self.head, "choices": [], "usage": usage}) if self.asked.with_usage else b"") + DONE

    def first_token(self) -> None:
        self.metrics.first_token.observe(time.monotonic() - self.entry.start)


class Stream:
    """How much of one answer has been sent."""

    def __init__(self, answers: Answers, index: int) -> None:
        self.answers, self.index = answers, index
        self.sent = 0
        self.begun = False
        self.last: dict = {}

    def take(self, chunk: dict) -> bytes:
        """The events that a worker's chunk makes: role, new text, end; none where there is nothing new."""
        self.last = chunk
        text, reason = chunk["text"], chunk.get("finish_reason")
        if not reason:
            text = text.rstrip("\ufffd")  # half of a character: the rest of it comes with the next token
        new, self.sent = text[self.sent :], max(self.sent, len(text))
        data = b""
        if not self.begun:
            self.begun = True
            self.answers.first_token()
            if self.answers.chat:
                data += self._event({"delta": {"role": "assistant", "content": ""}})
        if self.answers.chat:
            if new:
                data += self._event({"delta": {"content": new}})
            if reason:
                data += self._event({"delta": {}}, reason)
        elif new or reason:
            data += self._event({"text": new, "logprobs": chunk.get("logprobs")}, reason)
        return data

    def _event(self, choice: dict, reason: str | None = None) -> bytes:
        usage = {"usage": None} if self.answers.asked.with_usage else {}
        return _event({**self.answers.head, "choices": [{"index": self.index, **choice, "finish_reason": reason}], **usage})


def _event(body: dict) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


async def _together(work: list[Coroutine]) -> list:
    """The results of all; when one fails or the caller is cancelled, the others end."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _merged(streams: list[AsyncIterator[dict]]) -> AsyncIterator[tuple[int, dict]]:
    """The chunks of several streams with the number of each, as they come."""
    if len(streams) == 1:
        async with aclosing(streams[0]) as only:
            async for chunk in only:
                yield 0, chunk
        return
    queue: asyncio.Queue = asyncio.Queue(maxsize=2 * len(streams))

    async def pump(index: int, stream: AsyncIterator[dict]) -> None:
        end = None
        try:
            async with aclosing(stream):
                async for chunk in stream:
                    await queue.put((index, chunk))
        except Exception as error:
            end = error
        await queue.put((index, end))

    tasks = [asyncio.ensure_future(pump(index, stream)) for index, stream in enumerate(streams)]
    try:
        running = len(streams)
        while running:
            index, item = await queue.get()
            if isinstance(item, dict):
                yield index, item
            elif item is None:
                running -= 1
            else:
                raise item
    finally:
        for task in tasks:
            task.cancel()
