"""One request to the engine: its parameters as FastChat's API sends them, and its answer as it grows.

The errors that a worker knows, as `error_code` on the wire (FastChat's numbering, by the HTTP status in front): 42901 queue full, 40001 prompt longer
than the context, 40002 bad parameter, 50001 internal, 50301 shutting down.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fastchat_templates.sampling import Settings
from fastchat_templates.transcript import Transcript, Vocabulary

TOO_LONG, BAD_PARAMETER, QUEUE_FULL, FAILED, STOPPING = 40001, 40002, 42901, 50001, 50301
Scored = tuple[int, float | None, list[tuple[int, float]] | None]  # token, its log-probability, the best tokens with theirs


class Refused(Exception):
    """A request that is not answered: code and a sentence for the client."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Params(BaseModel):
    """The body of /worker_generate_stream. What FastChat sends as null is left at its default; unknown fields are ignored."""

    model_config = ConfigDict(allow_inf_nan=False)

    prompt: str | list[int]
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, ge=0, le=1)
    top_k: int = Field(-1, ge=-1)
    repetition_penalty: float = Field(1.0, gt=0)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    max_new_tokens: int = Field(256, ge=0)
    stop: list[str] = []
    stop_token_ids: list[int] = []
    seed: int | None = None
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool = True
    ignore_eos: bool = False  # for load tests: the answer ends at max_new_tokens
    use_beam_search: bool = False
    best_of: int = 1
    images: list = []

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: object) -> object:
        return {key: value for key, value in values.items() if value is not None} if isinstance(values, dict) else values

    @field_validator("stop", mode="before")
    @classmethod
    def _as_list(cls, stop: object) -> object:
        return [stop] if isinstance(stop, str) else stop

    @classmethod
    def read(cls, body: object) -> "Params":
        """Refused with one sentence where the body is not what a worker takes."""
        try:
            params = cls.model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"] if part not in ("str", "list[int]"))
            raise Refused(BAD_PARAMETER, f"{field}: {first['msg']}" if field else first["msg"]) from None
        if params.use_beam_search or params.best_of != 1 or params.images:
            raise Refused(BAD_PARAMETER, "this worker offers no beam search, no best_of and no images")
        return params


@dataclass
class Piece:
    """News of an answer: text since the last piece, tokens so far, log-probabilities since the last piece, and at the end why it ended."""

    text: str
    completion_tokens: int
    scored: list[Scored]
    finish_reason: str | None = None
    error: Refused | None = None


class Request:
    """Parameters, prompt tokens, answer so far. Refused when the prompt leaves no room for an answer in the context.

    An answer whose `max_new_tokens` would pass the context ends with it. Tokenised as FastChat's worker does: special tokens in the text count, for
    conversation.py has already made harmless what a user typed.
    """

    def __init__(self, vocabulary: Vocabulary, params: Params, context: int, sink: Callable[[Piece], None]) -> None:
        self.vocabulary, self.sink = vocabulary, sink
        given = params.prompt
        self.prompt_ids: list[int] = list(vocabulary.tokenizer(given).input_ids) if isinstance(given, str) else given
        room = context - len(self.prompt_ids)
        if room < min(1, params.max_new_tokens):
            raise Refused(TOO_LONG, f"the prompt has {len(self.prompt_ids)} tokens, and this model's context holds {context} with the answer; shorten it")
        if not self.prompt_ids or not all(0 <= token < vocabulary.size for token in self.prompt_ids):
            raise Refused(BAD_PARAMETER, "prompt: it has no tokens, or some that this model does not know")
        self.max_new_tokens = min(params.max_new_tokens, room)
        self.settings = Settings(**params.model_dump(include=set(Settings.__dataclass_fields__) - {"generator"}))
        self.echo, self.logprobs, self.ignore_eos = params.echo, params.logprobs, params.ignore_eos
        self.prompt_text = given if isinstance(given, str) else vocabulary.decode(given)
        self.stop_ids = frozenset(params.stop_token_ids)
        self.answer_ids: list[int] = []
        self.cancelled = self.ended = False
        self._transcript = Transcript(vocabulary, params.stop, self.prompt_ids if params.echo else None)
        self._scored: list[Scored] = []
        self._sent: float | None = None

    def score(self, scored: list[Scored]) -> None:
        """Log-probabilities for the next piece."""
        self._scored += scored

    def take(self, token: int, eos: frozenset[int], now: float, pause: float) -> None:
        """The next token of the answer; sends a piece for the first one, then every `pause` seconds, and at the end."""
        self.answer_ids.append(token)
        if token in self.stop_ids or (token in eos and not self.ignore_eos) or self._transcript.add(token):
            self.finish("stop")
        elif len(self.answer_ids) >= self.max_new_tokens:
            self.finish("length")
        elif (self._sent is None or now - self._sent >= pause) and (text := self._transcript.ready()):
            self._send(text)
            self._sent = now

    def finish(self, reason: str) -> None:
        """The last piece."""
        self._transcript.end()
        self.ended = True
        self._send(self._transcript.ready(final=True), "stop" if self._transcript.stopped else reason)

    def fail(self, code: int, message: str) -> None:
        """The last piece of an answer that cannot go on."""
        if not self.ended:
            self.ended = True
            self.sink(Piece("", len(self.answer_ids), [], error=Refused(code, message)))

    def _send(self, text: str, reason: str | None = None) -> None:
        if not self.cancelled:
            self.sink(Piece(text, len(self.answer_ids), self._scored, reason))
        self._scored = []
