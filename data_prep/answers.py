"""What an endpoint says: a JSON object of one schema, checked before anybody uses it, or that it has no answer now."""

import contextlib
import email.utils
import math
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from data_prep import files
from data_prep.journal import Answer

_KEYWORDS = ("minLength", "maxLength", "title", "default")  # of a JSON schema, not known to every strict mode; pydantic checks them all the same


def _percent(value: int) -> int:
    if not 0 <= value <= 100:
        raise ValueError(f"{value} is no score; write a whole number from 0 to 100")
    return value


# validators, not minimum and maximum: strict modes do not all know those keywords
Percent = Annotated[int, Field(strict=True), AfterValidator(_percent)]
Schema = TypeVar("Schema", bound=BaseModel)


class RowFailed(Exception):
    """One row cannot be done: `reason` (a word) and a message. `transport`: the endpoint did not answer, the row itself may be good."""

    def __init__(self, reason: str, message: str, transport: bool = False) -> None:
        super().__init__(message)
        self.reason, self.message, self.transport = reason, message, transport


class NoAnswer(Exception):
    """The endpoint said 200 and gave no answer: `reason` is no_choices or broken_answer. The request goes out again."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def answer_of(body: object) -> Answer:
    """The answer in the body of a chat completion. Raises NoAnswer where there is none in it."""
    try:
        choice = body["choices"][0]
        message, finish, usage = choice["message"], choice.get("finish_reason") or "stop", body.get("usage") or {}
        said, refusal = message.get("content"), message.get("refusal")
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except IndexError as error:
        raise NoAnswer("no_choices", "the endpoint's answer holds no choice") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise NoAnswer("broken_answer", "the endpoint's answer is broken") from error
    if not isinstance(said, str | None) or not isinstance(refusal, str | None) or not isinstance(finish, str):
        raise NoAnswer("broken_answer", "the answer's content is no text")
    return Answer(refusal, "refusal", *tokens) if refusal and not said else Answer(said, finish, *tokens)


@cache
def json_schema(schema: type[BaseModel]) -> dict:
    """The schema as `response_format` takes it: every key required, no others, without the keywords that strict modes refuse."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            value = {key: part for key, part in value.items() if key != "description" or "properties" not in value}  # a docstring is not for the model
            # below `properties` the keys are names of fields, which may well be called title
            return {
                key: ({name: plain(of) for name, of in part.items()} if key == "properties" else plain(part))
                for key, part in value.items()
                if key not in _KEYWORDS
            }
        return [plain(part) for part in value] if isinstance(value, list) else value

    return plain(schema.model_json_schema())


def _fenced(text: str) -> str:
    """The one fenced block of a text, as endpoints without schemas like to write it: what stands around it is about the answer, not of it."""
    parts = text.split("```")
    return parts[1].removeprefix("json") if len(parts) == 3 else text


def read_answer(answer: Answer, schema: type[Schema], check: Callable[[Schema], str | None] | None = None) -> Schema:
    """The checked content of an answer. Raises RowFailed (invalid_json, invalid_schema, truncated, refused, invalid_answer) with what is wrong."""
    text = answer.content or ""
    if answer.finish.startswith("http_"):
        raise RowFailed(answer.finish, f"the endpoint refused the request: {text}")
    if answer.finish in ("refusal", "content_filter") or not text.strip():
        raise RowFailed("refused", f"no answer was given ({answer.finish}): {text[:200]}")
    if "```" in text and not text.lstrip().startswith("{"):
        text = _fenced(text)
    try:
        content = files.parse(text)
        text.encode()
        files.line({"": content}).encode()
    except (ValueError, RecursionError) as error:
        if answer.finish == "length":
            raise RowFailed("truncated", f"the answer was cut off after {len(text):,} characters; it must be whole") from error
        raise RowFailed("invalid_json", f"it is not one JSON object ({error}); it begins {text[:60]!r}") from error
    try:
        found = schema.model_validate(content)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, part['loc'])) or 'the answer'}: {part['msg']}" for part in error.errors()[:5])
        raise RowFailed("invalid_schema", said) from error
    if check and (wrong := check(found)):
        raise RowFailed("invalid_answer", wrong)
    return found


def said(answer: Answer) -> Answer:
    """A free text as it came: empty, cut or refused, it is what the model said. Raises RowFailed where a batch brought the endpoint's refusal instead."""
    if answer.finish.startswith("http_"):
        raise RowFailed(answer.finish, f"the endpoint refused the request: {answer.content}")
    return answer


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that an endpoint asks to wait: Retry-After-Ms, or Retry-After in seconds or as a date; None where it does not say."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        with contextlib.suppress(KeyError, ValueError):
            seconds = float(headers[name]) / unit
            return max(0.0, seconds) if math.isfinite(seconds) else None
    with contextlib.suppress(KeyError, ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    return None
