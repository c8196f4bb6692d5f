"""What a client asked for, checked: the bodies of /v1/chat/completions and /v1/completions.

Fields that we do not know, and those that change nothing here (user, metadata, store ..), are passed over, as clients send many. What would change
the answer and cannot be had (tools, images, a JSON schema) is refused by name.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fastchat_templates.errors import Refused
from fastchat_templates.limits import Limits

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
# field: the values that ask for nothing
NOT_HERE = {
    "tools": (None, []),
    "functions": (None, []),
    "tool_choice": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "logit_bias": (None, {}),
    "audio": (None,),
    "modalities": (None, ["text"]),
    "suffix": (None, ""),
    "best_of": (None, 1),
    "use_beam_search": (None, False),
}


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True)
    include_usage: bool | None = None


class Asked(BaseModel):
    """What both routes take. Numbers are numbers: "0.5" and true are refused, as OpenAI does."""

    model_config = ConfigDict(strict=True, extra="ignore")
    model: str = Field(min_length=1, max_length=256)
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.7  # FastChat's default
    top_p: Annotated[float, Field(ge=0, le=1)] | None = 1.0
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = -1
    n: Annotated[int, Field(ge=1)] | None = 1
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None  # not OpenAI's, but of vLLM and others
    ignore_eos: bool | None = None  # the same; load tests want answers of one length
    stop: Any = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    seed: int | None = None

    @property
    def with_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, limits: Limits) -> dict:
        """The keywords of FastChat's get_gen_params that say how to choose tokens."""
        return {
            "temperature": 0.7 if self.temperature is None else self.temperature,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "top_k": self.top_k or -1,
            "presence_penalty": self.presence_penalty or 0.0,
            "frequency_penalty": self.frequency_penalty or 0.0,
            "max_tokens": limits.max_answer if self.max_tokens is None else min(self.max_tokens, limits.max_answer),
            "stop": self.stop,
        }

    def more(self, number: int) -> dict:
        """What FastChat's function does not know: the seed, another one for each answer to the same prompt, and two extensions."""
        seed = None if self.seed is None else (self.seed + number) % (1 << 32)
        extra = {"seed": seed, "repetition_penalty": self.repetition_penalty, "ignore_eos": self.ignore_eos}
        return {name: value for name, value in extra.items() if value is not None}


class Chat(Asked):
    """/v1/chat/completions; `messages` become [{"role": "system" | "user" | "assistant", "content": text}]."""

    messages: Any
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None

    def check(self, limits: Limits) -> None:
        self.max_tokens = self.max_completion_tokens or self.max_tokens
        self.messages = _messages(self.messages, limits)


class Completion(Asked):
    """/v1/completions; `prompt` becomes a list of texts or of lists of token ids."""

    prompt: Any
    max_tokens: Annotated[int, Field(ge=0)] | None = 16  # OpenAI's default; 0 with `echo` scores the prompt alone
    logprobs: Annotated[int, Field(ge=0)] | None = None
    echo: bool | None = False

    def check(self, limits: Limits) -> None:
        if self.logprobs is not None and self.logprobs > limits.max_logprobs:
            raise _invalid("logprobs", f"at most {limits.max_logprobs} alternatives at each token")
        self.prompt = _prompts(self.prompt, limits)


def read(kind: type[Asked], body: dict, limits: Limits) -> Asked:
    """The body of a request as a Chat or a Completion; Refused(400) that names the field and says what is wrong with it."""
    for name, nothing in NOT_HERE.items():
        if name in body and body[name] not in nothing:
            raise _invalid(name, "this server does not do that; leave the field out", code="unsupported_parameter")
    if kind is Chat and body.get("logprobs") not in (None, False):
        raise _invalid("logprobs", "this server gives them at /v1/completions only", code="unsupported_parameter")
    try:
        asked = kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise _invalid(".".join(str(part) for part in first["loc"]), first["msg"]) from None
    if (asked.n or 1) > limits.max_n:
        raise _invalid("n", f"at most {limits.max_n} answers to one prompt")
    asked.n = asked.n or 1
    asked.stop = _stops(asked.stop, limits)
    asked.check(limits)
    return asked


def _invalid(param: str, message: str, code: str = "invalid_value") -> Refused:
    return Refused(400, f"{param}: {message}"[:500], param=param, code=code)


def _stops(stop: Any, limits: Limits) -> list[str]:
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(one, str) for one in stops):
        raise _invalid("stop", "must be a string or a list of strings")
    stops = [one for one in stops if one]  # an empty string would stop before the first token
    if len(stops) > limits.max_stops or any(len(one) > limits.max_stop_length for one in stops):
        raise _invalid("stop", f"at most {limits.max_stops} strings of at most {limits.max_stop_length} characters")
    return stops


def _text(content: Any, where: str) -> str:
    """A message's content: text, or a list of {"type": "text"} parts, which FastChat joins by line breaks."""
    if isinstance(content, list):
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind != "text" or not isinstance(part.get("text"), str):
                wrong = f"a part of the type {kind!r}" if isinstance(kind, str) and kind != "text" else "a part that is no text"
                raise _invalid(where, f'{wrong}; this model reads text only, as {{"type": "text", "text": ".."}}')
        content = "\n".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise _invalid(where, "must be a string or a list of text parts")
    if not content:
        raise _invalid(where, "must not be empty")
    return content


def _messages(messages: Any, limits: Limits) -> list[dict]:
    """The turns as the chat template takes them: user and assistant by turns, a system message only before them, the user's at the end."""
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages", "must be a list of at least one message")
    if len(messages) > limits.max_messages:
        raise _invalid("messages", f"at most {limits.max_messages} messages; this has {len(messages)}")
    turns = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict):
            raise _invalid(where, "must be an object with role and content")
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise _invalid(f"{where}.role", f"must be one of {', '.join(ROLES)}")
        turns.append({"role": ROLES[role], "content": _text(message.get("content"), f"{where}.content")})
    first = int(turns[0]["role"] == "system")
    for number, turn in enumerate(turns[first:]):
        if turn["role"] != ("user", "assistant")[number % 2]:
            raise _invalid(f"messages[{number + first}].role", "roles must be user, assistant, user, .. after at most one system message")
    if turns[-1]["role"] != "user":
        raise _invalid("messages", "the last message must be the user's")
    _characters("messages", sum(len(turn["content"]) for turn in turns), limits)
    return turns


def _prompts(prompt: Any, limits: Limits) -> list[str] | list[list[int]]:
    """OpenAI's four forms: a text, texts, token ids, lists of token ids."""
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not prompts:
        raise _invalid("prompt", "must be a text, a list of texts, a list of token ids, or a list of such lists; not empty")
    if type(prompts[0]) is int:
        prompts = [prompts]
    if len(prompts) > limits.max_prompts:
        raise _invalid("prompt", f"at most {limits.max_prompts} prompts; this has {len(prompts)}")
    ids = isinstance(prompts[0], list)
    for number, one in enumerate(prompts):
        fits = isinstance(one, list) and all(type(token) is int and 0 <= token < 1 << 31 for token in one) if ids else isinstance(one, str)
        if not fits or not one:
            raise _invalid(f"prompt[{number}]", "must be a text or a list of token ids, of the same kind as the others; not empty")
    _characters("prompt", sum(map(len, prompts)), limits)
    return prompts


def _characters(param: str, count: int, limits: Limits) -> None:
    if count > limits.max_characters:
        raise _invalid(param, f"at most {limits.max_characters} characters together; this has {count}", code="request_too_large")
