"""The upstream worker: FastChat's worker endpoints in front of any OpenAI-compatible engine (vLLM, SGLang, our own API on another machine).

    python -m fastchat_templates.upstream --base-url http://gpu-1:8000/v1 --upstream-model bimedix-bi --model-names bimedix-bi --port 21003 \\
        --worker-address http://127.0.0.1:21003 --controller-address http://127.0.0.1:21001

Prompts go through /v1/completions as they are, so the chat template stays the one of conversation.py. The engine's key is BIMEDIX_UPSTREAM_KEY.
Several of these, each with a model of its own, may stand beside one controller. FastChat's own vllm_worker imports an engine that vLLM removed.
"""

import argparse
import json
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator

import httpx

from fastchat_templates import conversation
from fastchat_templates.face import Face, Server, add_addresses, with_address
from fastchat_templates.request import BAD_PARAMETER, FAILED, QUEUE_FULL, STOPPING, TOO_LONG, Params, Refused

log = logging.getLogger("upstream")
PLAIN = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "logprobs", "echo")  # of the same name in OpenAI's completions
CHARACTERS_A_TOKEN = 3  # where the engine cannot count: about what English has; Arabic has fewer, and the engine itself refuses what is too long


class Upstream(Face):
    """The face of one model of one engine."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args.controller_address, args.worker_address, args.upstream_model, args.model_names, args.concurrency)
        self.model, self.limit = args.upstream_model, args.concurrency + args.queue
        key = os.environ.get("BIMEDIX_UPSTREAM_KEY", "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # connections at once are bounded here, by `limit`; an engine thinks for minutes, but is reached or not within seconds
        wait, limits = httpx.Timeout(args.timeout, connect=5), httpx.Limits(max_connections=None)
        self.engine = httpx.AsyncClient(base_url=args.base_url.rstrip("/") + "/", headers=headers, timeout=wait, limits=limits, trust_env=False)
        self.root = args.base_url.rstrip("/").removesuffix("/v1")
        self.context_len = args.context
        self.running = 0
        self._done = threading.Condition()

    def get_queue_length(self) -> int:
        return self.running

    def drain(self, seconds: float) -> None:
        with self._done:
            if not self._done.wait_for(lambda: self.running == 0, seconds):
                log.warning("answers that were not finished after %.0f s were ended", seconds)

    async def count(self, prompt: str | list[int]) -> int:
        """Tokens of a prompt: vLLM and SGLang count them at /tokenize; elsewhere a guess by the characters."""
        if isinstance(prompt, list):
            return len(prompt)
        try:
            answer = await self.engine.post(f"{self.root}/tokenize", json={"model": self.model, "prompt": prompt}, timeout=10)
            return int(answer.raise_for_status().json()["count"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return -(-len(prompt) // CHARACTERS_A_TOKEN)

    async def room(self, params: Params) -> int:
        """max_new_tokens, cut to what the context has left; engines refuse what would pass it. Refused(40001) where nothing is left."""
        most = len(params.prompt if isinstance(params.prompt, list) else params.prompt.encode()) + 1  # no token without a byte
        if most + params.max_new_tokens <= self.context_len:
            return params.max_new_tokens
        tokens = await self.count(params.prompt)
        if tokens + min(1, params.max_new_tokens) > self.context_len:
            raise Refused(TOO_LONG, f"the prompt has {tokens} tokens, and this model's context holds {self.context_len} with the answer; shorten it")
        return min(params.max_new_tokens, self.context_len - tokens)

    def body(self, params: Params, max_tokens: int) -> dict:
        """The request to the engine. What not every engine knows is sent only where it was asked for."""
        body = {"model": self.model, "prompt": params.prompt, "max_tokens": max_tokens, "stream": True, "stream_options": {"include_usage": True}}
        body |= {name: value for name in PLAIN if (value := getattr(params, name)) is not None}
        if params.stop:
            body["stop"] = params.stop
        if params.top_k > 0:
            body["top_k"] = params.top_k
        if params.repetition_penalty != 1:
            body["repetition_penalty"] = params.repetition_penalty
        if params.stop_token_ids:
            body["stop_token_ids"] = params.stop_token_ids
        if params.ignore_eos:
            body["ignore_eos"] = True
        return body

    async def stream(self, params: object) -> AsyncIterator[dict]:
        asked = Params.read(params)
        if self.closing:
            raise Refused(STOPPING, "this worker is shutting down; ask again")
        if self.running >= self.limit:
            raise Refused(QUEUE_FULL, f"{self.running} requests are waiting for the engine already; ask again later")
        with self._done:
            self.running += 1
        try:
            # leaving this block, also by the client's leave, closes the connection: engines then stop the answer
            async with self.engine.stream("POST", "completions", json=self.body(asked, await self.room(asked))) as response:
                if response.status_code != 200:
                    raise refused(response.status_code, await response.aread())
                async for news in self._read(response):
                    yield news
        except (httpx.ConnectError, httpx.ConnectTimeout):  # the API then asks another worker, if there is one
            log.error("the engine cannot be reached")
            raise Refused(STOPPING, "the engine behind this worker cannot be reached") from None
        except httpx.HTTPError as error:
            log.error("the engine failed: %r", error)
            raise Refused(FAILED, "the engine behind this worker does not answer") from error
        finally:
            with self._done:
                self.running -= 1
                self._done.notify_all()

    async def _read(self, response: httpx.Response) -> AsyncIterator[dict]:
        """Server-sent events as the wire's objects. The one with the finish_reason is the last, and waits for the usage that comes after it."""
        news = {"text": "", "error_code": 0, "usage": {}, "finish_reason": None}
        last = None
        async for line in response.aiter_lines():
            data = line.removeprefix("data:").strip()
            if not line.startswith("data:") or data == "[DONE]":
                continue
            try:
                event = json.loads(data)
                if "error" in event:
                    raise refused(event["error"].get("code") or 500, data.encode())
                news["usage"] = event.get("usage") or news["usage"]
                for choice in event.get("choices", []):
                    news["text"] += choice.get("text") or ""
                    reason = choice.get("finish_reason")
                    current = news | {"finish_reason": reason} | ({"logprobs": choice["logprobs"]} if choice.get("logprobs") else {})
                    if reason:
                        last = current
                    elif choice.get("text") or choice.get("logprobs"):
                        yield current
            except (ValueError, AttributeError, KeyError, TypeError):
                raise Refused(FAILED, "the engine behind this worker answered what is no completion") from None
        if last is None:
            raise Refused(FAILED, "the engine behind this worker broke off")
        yield last | {"usage": news["usage"]}


def refused(status: int | str, content: bytes) -> Refused:
    """An engine's error as ours. Its words go to the client for faults of the client only: others may hold paths."""
    try:
        error = json.loads(content)
        message = str((error.get("error") or error)["message"])[:300]
    except (ValueError, KeyError, TypeError, AttributeError):
        message = ""
    log.warning("the engine answered %s: %.300s", status, message or content.decode(errors="replace"))
    if status in (400, 413, 422):
        long = "context" in message.lower() or "length" in message.lower()
        return Refused(TOO_LONG if long else BAD_PARAMETER, message or "the engine refused the request")
    if status == 429:
        return Refused(QUEUE_FULL, "the engine has too many requests; ask again later")
    if status == 503:
        return Refused(STOPPING, "the engine takes no requests now; ask again")
    return Refused(FAILED, "the engine behind this worker failed on the request")


def look(args: argparse.Namespace, seconds: float = 600) -> None:
    """Wait until the engine lists the model (a large one takes minutes to load); its context length where it tells. Ends the program with one line."""
    key = os.environ.get("BIMEDIX_UPSTREAM_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    deadline, told = time.monotonic() + seconds, False
    while True:
        try:
            answer = httpx.get(f"{args.base_url.rstrip('/')}/models", headers=headers, timeout=10, trust_env=False)
            if answer.status_code in (401, 403):
                sys.exit(f"error: the engine at {args.base_url} refuses the key: set BIMEDIX_UPSTREAM_KEY")
            models = {model["id"]: model for model in answer.raise_for_status().json()["data"]}
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            sys.exit(f"error: {args.base_url!r} is no address of an engine: http://HOST:PORT/v1 is wanted")
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            if time.monotonic() > deadline:
                sys.exit(f"error: the engine at {args.base_url} did not list its models within {seconds:.0f} s")
            if not told:
                log.info("waiting for the engine at %s", args.base_url)
            told = True
            time.sleep(1)
            continue
        if args.upstream_model not in models:
            sys.exit(f"error: the engine at {args.base_url} has no model {args.upstream_model!r}, but {', '.join(sorted(models)) or 'none'}")
        args.context = args.context or models[args.upstream_model].get("max_model_len") or 32768  # Mixtral's own
        return


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", required=True, help="the engine's address, up to /v1")
    parser.add_argument("--upstream-model", required=True, help="the model's name there")
    parser.add_argument("--model-names", type=lambda names: names.split(","), required=True, help="what our clients call it, comma between several")
    add_addresses(parser)
    parser.add_argument("--concurrency", type=int, default=256, help="answers at once; the engine has its own limit (%(default)s)")
    parser.add_argument("--queue", type=int, default=256, help="requests beyond, which wait at the engine; the next ones are refused with 429 (%(default)s)")
    parser.add_argument("--context", type=int, help="tokens of prompt and answer together (default: what the engine says, else 32768)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds without a sign of life from the engine (%(default)s)")
    return with_address(parser.parse_args())


def main() -> None:
    args = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request otherwise
    conversation.register()
    look(args)
    log.info("%s is %s at %s", ",".join(args.model_names), args.upstream_model, args.base_url)
    Server(Upstream(args), args.host, args.port).run()


if __name__ == "__main__":
    main()
