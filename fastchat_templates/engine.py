"""The engine of the batching worker: a thread that lets requests join, takes steps, and hands out text.

    engine = Engine(model, tokenizer); engine.start()
    request = Request(engine.vocabulary, Params(prompt="[INST] Hello [/INST]", echo=False), engine.context, sink=print)
    engine.submit(request)  # sink gets Pieces, from the engine's thread; the last one has a finish_reason or an error

An answer that is cancelled gives its row back at the next step. Codes of Refused go to the client as they are (api.py maps them to HTTP statuses).
"""

import logging
import os
import signal
import threading
import time
from collections import deque

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fastchat_templates.batching import Batch, Reading
from fastchat_templates.request import FAILED, QUEUE_FULL, STOPPING, Params, Refused, Request
from fastchat_templates.sampling import choose, log_probabilities
from fastchat_templates.transcript import Vocabulary

log = logging.getLogger(__name__)
FAILURES = 3  # steps that fail in a row before the worker gives up
PIECE = 512  # prompt tokens that are read between two steps: so long do running answers wait for a newcomer
SCORED_PIECE = 128  # the same where every position's logits are wanted: 128 x 32,000 float32 are 16 MB


class Engine:
    """Model, batch and queue. `rows`: answers at once; `waiting`: requests that may queue beside them before new ones are refused."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, context: int, rows: int = 16, waiting: int = 64) -> None:
        self.model = model.eval()
        self.model.set_attn_implementation("sdpa")  # takes the batch's mask as it is
        if getattr(model.config, "output_router_logits", False):
            model.config.output_router_logits = False  # left on by training; its auxiliary loss fails on a batch of many lengths
        self.vocabulary = Vocabulary(tokenizer)
        self.context, self.rows, self.waiting = context, rows, waiting
        self.eos = frozenset(_ids(model.generation_config.eos_token_id) + _ids(tokenizer.eos_token_id))
        self.batch = Batch(model)
        self.running: list[Request] = []  # in the order of the batch's rows
        self.reading: tuple[Request, Reading] | None = None
        self.queue: deque[Request] = deque()
        self.answered = self.generated = 0  # requests and tokens since the start
        self._open = True
        self._ended = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def warm_up(self, seconds: float = 60) -> None:
        """Run a few short answers, so that the first client does not wait for what torch sets up at first use."""
        done = threading.Semaphore(0)
        params = Params(prompt=[self.vocabulary.tokenizer.convert_tokens_to_ids("a")] * 8, echo=False, max_new_tokens=4, ignore_eos=True)
        count = min(self.rows, self.waiting, 4)
        for _ in range(count):
            self.submit(Request(self.vocabulary, params, self.context, lambda piece: done.release() if piece.finish_reason or piece.error else None))
        for _ in range(count):
            done.acquire(timeout=seconds)

    def submit(self, request: Request) -> None:
        """Queue a request; Refused when the queue is full or the engine is closing."""
        with self._change:
            if not self._open:
                raise Refused(STOPPING, "this worker is shutting down; ask again")
            if self.load >= self.rows + self.waiting:  # by all, so that a burst on an idle worker finds its rows
                raise Refused(QUEUE_FULL, f"{self.load} requests run or wait already; ask again later")
            self.queue.append(request)
            self._change.notify()

    def cancel(self, request: Request) -> None:
        """The client has left: no more pieces, and the row is free at the next step. Harmless after the end."""
        with self._change:
            request.cancelled = True
            if request in self.queue:
                self.queue.remove(request)
            self._change.notify_all()

    @property
    def load(self) -> int:
        """Requests that run or wait."""
        return len(self.running) + (self.reading is not None) + len(self.queue)

    def drain(self, seconds: float) -> bool:
        """Refuse new requests, let those accepted finish for so long, then end the rest with an error. Whether all finished."""
        with self._change:
            self._open = False
            finished = self._change.wait_for(lambda: self.load == 0, seconds)
            self._ended = True
            self._change.notify_all()
        self._thread.join(10)
        return finished

    def _loop(self) -> None:
        failures = 0
        while True:
            with self._change:
                self._change.notify_all()  # drain waits for the load to be 0
                self._change.wait_for(lambda: self._ended or self.load)
                if self._ended:
                    break
            try:
                self._sweep()
                self._admit()
                if self.running:
                    self._step()
                failures = 0
            except Exception:
                log.exception("a step failed")
                failures += 1
                self._fail(FAILED, "the model failed on this request")
                if failures == FAILURES:  # a lost GPU fails for ever: supervision starts a fresh process
                    log.error("%d steps failed in a row: this worker ends", failures)
                    os.kill(os.getpid(), signal.SIGTERM)
        self._fail(STOPPING, "this worker has shut down")
        while self.queue:
            self.queue.popleft().fail(STOPPING, "this worker has shut down")

    def _sweep(self) -> None:
        """Give back the rows of clients that have left."""
        for request in [request for request in self.running if request.cancelled]:
            self._leave(self.running.index(request))
        if self.reading and self.reading[0].cancelled:
            self.reading = None

    def _leave(self, row: int) -> None:
        moved = self.batch.leave(row)
        if moved is not None:
            self.running[row] = self.running[moved]
        self.running.pop()

    def _admit(self) -> None:
        """Read prompts, PIECE tokens at most, while there is a row for them."""
        budget = PIECE
        while budget > 0:
            if not self.reading:
                with self._change:
                    if not self.queue or len(self.running) >= self.rows:
                        return
                    request = self.queue.popleft()
                    scored = request.echo and request.logprobs is not None
                    self.reading = request, Reading(self.model, request.prompt_ids, SCORED_PIECE if scored else PIECE, keep_all=scored)
            request, reading = self.reading
            try:
                start = reading.read
                budget -= reading.advance()
                if reading.keep_all:
                    self._score(request, reading.logits, start)
                if reading.done:
                    self._join(request, reading)
            except Exception:  # the prompt's own fault or want of memory: the others go on
                log.exception("a prompt of %d tokens failed", len(request.prompt_ids))
                request.fail(FAILED, "the model failed on this request")
            if request.ended or reading.done:
                self.reading = None

    def _score(self, request: Request, logits: torch.Tensor, start: int) -> None:
        """Log-probabilities of the prompt's own tokens: position i judges token i + 1."""
        if start == 0:
            request.score([(request.prompt_ids[0], None, None)])
        following = request.prompt_ids[start + 1 : start + 1 + len(logits)]
        found = log_probabilities(logits[: len(following)], following, request.logprobs) if following else []
        request.score([(token, own, best) for token, (own, best) in zip(following, found, strict=True)])

    def _join(self, request: Request, reading: Reading) -> None:
        """The answer's first token, and a row for the others."""
        if request.max_new_tokens == 0:
            request.finish("length")
            self.answered += 1
            return
        self._take([request], reading.logits[-1:])
        if not request.ended:
            self.batch.join(reading)
            self.running.append(request)

    @torch.inference_mode()
    def _take(self, requests: list[Request], logits: torch.Tensor) -> None:
        """Choose and hand on one token for each of these requests."""
        tokens = choose(logits, [(request.settings, request.prompt_ids, request.answer_ids) for request in requests])
        scored = [index for index, request in enumerate(requests) if request.logprobs is not None]
        if scored:
            top = max(requests[index].logprobs for index in scored)
            found = log_probabilities(logits[scored], [tokens[index] for index in scored], top)
            for index, (own, best) in zip(scored, found, strict=True):
                requests[index].score([(tokens[index], own, best[: requests[index].logprobs])])
        now = time.monotonic()
        # about 10 pieces a second and answer at most once many run: every piece costs the worker and the API half a millisecond
        pause = min(0.1, 0.02 + 0.005 * len(requests))
        for request, token in zip(requests, tokens, strict=True):
            request.take(token, self.eos, now, pause)
            self.generated += 1
            self.answered += request.ended

    def _step(self) -> None:
        self._take(self.running, self.batch.step([request.answer_ids[-1] for request in self.running]))
        for row in range(len(self.running) - 1, -1, -1):
            if self.running[row].ended:
                self._leave(row)

    def _fail(self, code: int, message: str) -> None:
        """End all that runs, and start afresh with those who wait."""
        for request in [*self.running, *([self.reading[0]] if self.reading else [])]:
            request.fail(code, message)
        self.running, self.reading, self.batch = [], None, Batch(self.model)


def _ids(value: int | list[int] | None) -> list[int]:
    return [] if value is None else value if isinstance(value, list) else [value]
