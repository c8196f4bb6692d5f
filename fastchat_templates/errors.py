"""What a request is refused with, in OpenAI's error shape: {"error": {"message", "type", "param", "code"}}.

The message is for the client: no path of this machine, no stack, nothing of other people's requests.
"""

import logging
import math

import orjson

logger = logging.getLogger("api")
TYPES = {401: "authentication_error", 429: "rate_limit_error"}
INTERNAL = 50001
BUSY_SECONDS = 1  # what a client is told to wait when the queue of a worker is full
# the codes of our workers; FastChat's own 40303 is its context overflow
WORKER_CODES = {40001: "context_length_exceeded", 40303: "context_length_exceeded", 40002: "invalid_value", 42901: "queue_full"}


class Refused(Exception):
    """An HTTP status with a message for the client; `retry_after` in seconds becomes the header of that name."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.retry_after = status, message, param, code, retry_after

    @property
    def body(self) -> dict:
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"retry-after": str(max(1, math.ceil(self.retry_after)))}

    @property
    def json(self) -> bytes:
        return orjson.dumps(self.body)


def internal(request_id: str) -> Refused:
    """What a client learns of a fault of ours: the number under which the log tells the rest."""
    return Refused(500, f"the server failed at this request; its log says why under the number {request_id}", code="internal_error")


def no_worker(model: str) -> Refused:
    return Refused(503, f"no worker serves {model!r} at the moment; try again", code="no_worker", retry_after=BUSY_SECONDS)


def from_worker(code: int, text: str) -> Refused:
    """A worker's error code as a status: 40xxx is the client's fault, 42xxx a full queue, 503xx a worker that goes down.

    Text of a worker's own failure (5xxxx) may hold a path or a stack, FastChat's worker puts the exception there: it goes to the log.
    """
    if 40000 <= code < 41000:
        return Refused(400, text, code=WORKER_CODES.get(code, "invalid_value"))
    if 42000 <= code < 43000:
        return Refused(429, text, code=WORKER_CODES.get(code, "queue_full"), retry_after=BUSY_SECONDS)
    logger.error("a worker answered with its error %s: %.2000r", code, text)
    if 50300 <= code < 50400:
        return Refused(503, "the worker is going down; try again", code="no_worker", retry_after=BUSY_SECONDS)
    return Refused(500, "the model failed at this request", code="worker_error")
