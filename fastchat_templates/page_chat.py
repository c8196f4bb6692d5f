"""The conversation behind the web page: one question goes to a worker as FastChat's page would send it, the answer comes back piece by piece.

FastChat's own handlers are not used: they write messages and IP addresses to a log, ask a rate limiter on port 9090 before each answer, put
errors (with addresses of this network) into the conversation, where the model reads them in the next turn, and cannot be stopped. What is
used is its State (conversation template, id), its limits, its log format and its wire: address from the controller, then
`/worker_generate_stream`, JSON ended by a zero byte, the text so far in each piece.

Everything is asynchronous: an answer costs a task, where FastChat's costs one of 200 threads.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import fastchat.serve.gradio_web_server as fastchat_web
import httpx
from fastchat.constants import CONVERSATION_TURN_LIMIT, INPUT_CHAR_LEN_LIMIT, WORKER_API_TIMEOUT

log = logging.getLogger("bimedix.web")

CURSOR = "▌"  # stands where the next word will
UPDATE_SECONDS = 0.05  # a browser draws the whole bubble anew at each update: 20 a second look smooth, one for each token would be 100
# what the worker's error codes mean to a reader; the last digits are details, and a message of the worker's is never shown
CODES = {429: "busy", 503: "restarting"}
EXACT_CODES = {40001: "too_long", 40303: "too_long"}  # ours; FastChat's CONTEXT_OVERFLOW
ALWAYS = {"repetition_penalty": 1.0, "echo": False}  # as FastChat's page sends them
PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
CODE = re.compile(r"(```.*?(?:```|$)|`[^`\n]*`)", re.DOTALL)


class Refused(Exception):
    """No answer, or no more of it; the argument is a key of `outcomes` in page/words.yaml."""


class Chat(fastchat_web.State):
    """One visitor's conversation with one model."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.reading: asyncio.Task | None = None
        self.settings: dict[str, float] = {}

    @property
    def busy(self) -> bool:
        return self.reading is not None

    def turns(self) -> list[tuple[str, str | None]]:
        """(question, answer) of each turn; None for an answer that has not begun or never came."""
        said = [text for _, text in self.conv.messages]
        return list(zip(said[::2], said[1::2], strict=True))

    def ask(self, question: str) -> None:
        """Open a turn. One that got no answer is dropped: the model was trained on turns that alternate."""
        if self.turns() and not self.turns()[-1][1]:
            del self.conv.messages[-2:]
        for role, text in zip(self.conv.roles, (question, None), strict=True):
            self.conv.append_message(role, text)

    def shown(self) -> list[dict[str, str]]:
        """The messages as Gradio's chatbot takes them: Markdown."""
        messages = []
        for number, (question, answer) in enumerate(self.turns(), 1):
            messages.append({"role": "user", "content": literal(question)})
            writing = CURSOR if self.busy and number == len(self.turns()) else ""
            if answer or writing:
                messages.append({"role": "assistant", "content": markdown(answer or "") + writing})
        return messages

    def record(self) -> dict:
        """What a visitor may copy and save: each message as it was written."""
        said = [(role, text) for turn in self.turns() for role, text in zip(("user", "assistant"), turn, strict=True) if text]
        return {"model": self.model_name, "settings": self.settings, "messages": [{"role": role, "content": text} for role, text in said]}


def literal(text: str) -> str:
    """Markdown that shows a text letter for letter: somebody who types `5 * 3 * 2` or `<b>` is shown that."""
    text = re.sub(r"^[ \t]+", lambda blank: "\u00a0" * len(blank[0].expandtabs(4)), text, flags=re.MULTILINE)
    return PUNCTUATION.sub(r"\\\1", text)


def markdown(text: str) -> str:
    """A model's Markdown without what would swallow text or fetch a picture: no HTML (`<normal`), no lone tilde (`~5 to ~10`), no star between digits."""
    parts = CODE.split(text)
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"<|!(?=\[)|(?<!~)~(?!~)|(?<=\d)\*(?=\d)", r"\\\g<0>", parts[index])
    return "".join(parts)


class Workers:
    """The way to the workers through one controller."""

    def __init__(self, controller_url: str, log_messages: bool = False) -> None:
        self.controller_url, self.log_messages = controller_url.rstrip("/"), log_messages
        self.client: httpx.AsyncClient | None = None

    def connect(self) -> httpx.AsyncClient:
        """The one client; made at the first question, in the loop that serves the page."""
        if self.client is None:
            patience = httpx.Timeout(WORKER_API_TIMEOUT, connect=5)
            # as many connections as there are questions; the worker's queue sets the limit
            self.client = httpx.AsyncClient(timeout=patience, trust_env=False, limits=httpx.Limits(max_connections=None))
        return self.client

    async def models(self) -> list[str]:
        """The names of the models that are served now; none where the controller does not answer."""
        try:
            response = await self.connect().post(f"{self.controller_url}/list_models", timeout=5)
            return sorted(response.raise_for_status().json()["models"])
        except (httpx.HTTPError, ValueError, KeyError) as error:
            log.warning("the controller did not say which models it has: %s", type(error).__name__)
            return []

    async def address(self, model: str) -> str:
        """Where a worker of the model listens; Refused where there is none."""
        try:
            response = await self.connect().post(f"{self.controller_url}/get_worker_address", json={"model": model}, timeout=10)
            address = response.raise_for_status().json()["address"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise Refused("unreachable") from error
        if not address:
            raise Refused("unreachable")
        return address

    async def pieces(self, chat: Chat) -> AsyncIterator[tuple[str, str | None]]:
        """(text so far, reason of the end or None) as the worker writes; Refused when it does not, or not to the end."""
        conv = chat.conv
        ask = {"model": chat.model_name, "prompt": conv.get_prompt(), "stop": conv.stop_str, "stop_token_ids": conv.stop_token_ids}
        address = await self.address(chat.model_name)
        reason, rest = None, b""
        try:
            async with self.connect().stream("POST", f"{address}/worker_generate_stream", json=ask | chat.settings | ALWAYS) as response:
                async for block in response.aiter_bytes():
                    *whole, rest = (rest + block).split(b"\0")
                    for chunk in whole:
                        text, reason = _piece(chunk)
                        yield text, reason
                if rest:  # an error that is sent as a plain body has no zero byte
                    yield _piece(rest)
        except httpx.ConnectError as error:
            raise Refused("unreachable") from error
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise Refused("broken") from error

    async def read(self, chat: Chat) -> str:
        """Let the last turn's answer grow; returns how it went: a finish reason or a key of `outcomes`."""
        reason, text = None, ""
        try:
            async with aclosing(self.pieces(chat)) as pieces:
                async for text, end in pieces:
                    chat.conv.update_last_message(text.strip())
                    reason = end or reason
        except Refused as refused:
            return refused.args[0]
        return (reason or "stop") if text.strip() else "empty"

    async def answer(self, chat: Chat) -> AsyncIterator[str]:
        """Answer the last question: yields "" whenever there is more to show, then the outcome, once. Closing it, or cancelling
        `chat.reading`, ends the worker's work too: the connection is closed."""
        began, shown = time.time(), "nothing yet"
        chat.conv.update_last_message(None)
        reading = chat.reading = asyncio.create_task(self.read(chat))
        try:
            while not reading.done():
                if chat.turns()[-1][1] != shown:
                    shown = chat.turns()[-1][1]
                    yield ""
                await asyncio.wait({reading}, timeout=UPDATE_SECONDS)
        finally:
            reading.cancel()
            chat.reading = None
        outcome = "stopped" if reading.cancelled() else reading.result()
        log.info("answered: model %.60r, outcome %s, %d characters, %.1f s", chat.model_name, outcome, len(chat.turns()[-1][1] or ""), time.time() - began)
        self.write_down(chat, began)
        yield outcome

    def write_down(self, chat: Chat, began: float) -> None:
        """With --log-messages: a line in FastChat's conversation log, without the visitor's address."""
        if not self.log_messages:
            return
        line = {"type": "chat", "model": chat.model_name, "gen_params": chat.settings, "start": round(began, 4), "finish": round(time.time(), 4)}
        with open(fastchat_web.get_conv_log_filename(), "a", encoding="utf-8") as file:
            file.write(json.dumps(line | {"tstamp": line["finish"], "state": chat.dict()}, ensure_ascii=False) + "\n")


def _piece(chunk: bytes) -> tuple[str, str | None]:
    """Text so far and reason of the end in one piece of the stream; Refused where it carries an error."""
    data = json.loads(chunk)
    if code := data["error_code"]:
        log.warning("the worker answered with error %s", code)
        raise Refused(EXACT_CODES.get(code) or CODES.get(code // 100) or ("refused" if 40000 <= code < 50000 else "broken"))
    return data["text"], data.get("finish_reason")


def problem(chat: Chat | None, question: str) -> str | None:
    """Why a question is not sent, as a key of `outcomes`."""
    if len(question) > INPUT_CHAR_LEN_LIMIT:
        return "too_long"  # FastChat cuts it off and says nothing
    if chat and len(chat.turns()) >= CONVERSATION_TURN_LIMIT:
        return "turns"
    return None
