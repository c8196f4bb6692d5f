"""Chats with an OpenAI-compatible server by so many clients at once, with the time of every piece of every answer.

httpx and plain JSON, not the openai package: on two cores the load generator's own work is part of what is measured.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import httpx
import numpy

QUESTIONS = [
    "Explain in detail how the kidneys work.",
    "Which vitamin prevents scurvy, and why?",
    "اشرح عمل القلب بالتفصيل.",
    "What are the side effects of aspirin?",
    "ما هو فقر الدم وما أسبابه؟",
    "Describe the treatment of asthma step by step.",
    "كيف يعالج داء السكري من النوع الثاني؟",
    "What happens in the body during a fever?",
]
PERCENTILES = (50, 95, 99)


@dataclass
class Answer:
    """One request: seconds since it was sent, tokens, or the error that came instead. `exact`: the server said how many tokens it wrote."""

    pieces: list[float] = field(default_factory=list)  # when each piece of text came
    seconds: float = 0.0
    tokens: int = 0
    exact: bool = False
    error: str | None = None

    @property
    def first(self) -> float:
        return self.pieces[0]

    @property
    def between(self) -> float:
        """Mean seconds from token to token after the first piece; several tokens may come in one piece."""
        return (self.pieces[-1] - self.pieces[0]) / max(1, self.tokens - 1)

    @property
    def pauses(self) -> list[float]:
        """Seconds from piece to piece: what a reader sees."""
        return [after - before for before, after in zip(self.pieces, self.pieces[1:], strict=False)]


@dataclass
class Target:
    """A server's address up to /v1, the model's name there, a key or none, and how long answers are."""

    url: str
    model: str
    key: str = ""
    tokens: int = 64
    ignore_eos: bool = False
    temperature: float = 0.0
    timeout: float = 300.0
    with_usage: bool = True  # until the server refuses `stream_options`

    def body(self, number: int) -> dict:
        """The request; the number makes every prompt another one, so that no cache of prompts helps."""
        messages = [{"role": "user", "content": f"({number}) {QUESTIONS[number % len(QUESTIONS)]}"}]
        body = {"model": self.model, "messages": messages, "max_tokens": self.tokens, "temperature": self.temperature, "stream": True}
        return body | ({"stream_options": {"include_usage": True}} if self.with_usage else {}) | ({"ignore_eos": True} if self.ignore_eos else {})


def client(target: Target) -> httpx.AsyncClient:
    """Connections are kept; proxies of the environment are not asked."""
    headers = {"Authorization": f"Bearer {target.key}"} if target.key else {}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(base_url=target.url.rstrip("/") + "/", headers=headers, limits=limits, timeout=target.timeout, trust_env=False)


async def ask(http: httpx.AsyncClient, target: Target, number: int) -> Answer:
    """One streamed answer. What goes wrong is in `error`, never raised."""
    answer, start, ended = Answer(), time.perf_counter(), None
    try:
        async with http.stream("POST", "chat/completions", json=target.body(number)) as response:
            if response.status_code != 200:
                text = (await response.aread()).decode(errors="replace")
                if response.status_code in (400, 422) and target.with_usage and "stream_options" in text:
                    target.with_usage = False
                    return await ask(http, target, number)
                answer.error = f"HTTP {response.status_code}: {text[:200]}"
                return answer
            async for line in response.aiter_lines():
                if not line.startswith("data:") or line.endswith("[DONE]"):
                    continue
                event = json.loads(line[5:])
                if event.get("error") or event.get("error_code"):
                    answer.error = f"in mid-stream: {line[5:205]}"
                    return answer
                if event.get("usage"):
                    answer.tokens, answer.exact = event["usage"]["completion_tokens"], True
                for choice in event.get("choices") or []:
                    ended = choice.get("finish_reason") or ended
                    if (choice.get("delta") or {}).get("content"):
                        answer.pieces.append(time.perf_counter() - start)
    except (httpx.HTTPError, ValueError) as error:
        answer.error = f"{type(error).__name__}: {error}"
        return answer
    answer.seconds = time.perf_counter() - start
    if not answer.exact:  # an answer cut by its length has that length; else a piece is taken for a token
        answer.tokens, answer.exact = (target.tokens, True) if ended == "length" else (len(answer.pieces), False)
    if not answer.pieces:
        answer.error = "no text came"
    return answer


async def level(target: Target, clients: int, requests: int, numbers: Iterator[int]) -> tuple[list[Answer], float]:
    """Answers to so many requests, sent by so many clients, each the next one when the one before is answered; and the seconds of it all."""
    left, answers = iter(range(requests)), []

    async def one(http: httpx.AsyncClient) -> None:
        for _ in left:
            answers.append(await ask(http, target, next(numbers)))

    async with client(target) as http:
        start = time.perf_counter()
        await asyncio.gather(*(one(http) for _ in range(clients)))
        return answers, time.perf_counter() - start


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p95 and p99 with straight lines between the values, as numpy has it; empty without values."""
    return {f"p{p}": float(numpy.percentile(values, p)) for p in PERCENTILES} if values else {}


def summary(answers: list[Answer], seconds: float, clients: int) -> dict:
    """One row of the table; times in seconds."""
    good = [answer for answer in answers if not answer.error]
    tokens = sum(answer.tokens for answer in good)
    return {
        "clients": clients,
        "requests": len(answers),
        "failed": len(answers) - len(good),
        "errors": sorted({answer.error for answer in answers if answer.error})[:5],
        "seconds": seconds,
        "tokens": tokens,
        "tokens_exact": all(answer.exact for answer in good),
        "tokens_per_second": tokens / seconds if seconds else 0.0,
        "first_token": percentiles([answer.first for answer in good]),
        "between_tokens": percentiles([answer.between for answer in good if answer.tokens > 1]),
        "pauses": percentiles([pause for answer in good for pause in answer.pauses]),
        "whole_answer": percentiles([answer.seconds for answer in good]),
    }


async def measure(targets: dict[str, Target], clients: list[int], requests: int | None) -> dict[str, dict]:
    """Per server its first answer (alone, not counted) and a summary per number of clients. Servers take turns, level by level: a busy hour hits all."""
    numbers, found = count(), {}
    for name, target in targets.items():
        answers, seconds = await level(target, 1, 1, numbers)
        found[name] = {"first_answer": {"seconds": seconds, "error": answers[0].error}, "levels": []}
    for many in clients:
        for name, target in targets.items():
            if not found[name]["first_answer"]["error"]:
                answers, seconds = await level(target, many, requests or max(8, 4 * many), numbers)
                found[name]["levels"].append(summary(answers, seconds, many))
    return found
