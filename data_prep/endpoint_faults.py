"""What the stand-in of data_prep/endpoint.py says: the answer by the schema, the faults, and which arrival gets which fault.

In: the body of a request and its hash. Out: an Answer, bytes to be sent. Nothing here touches the network. The faults are those of issue 4 and what
proxies and servers make of them. All numbers are ours.
"""

import hashlib
import json
import math
import time
from email.utils import formatdate
from typing import NamedTuple

BAD_ANSWERS = ("bad_content", "truncated", "wrong_schema", "refusal")  # paid answers of no use: a client asks again in other words
UNUSUAL_ANSWERS = ("fenced", "null_usage")  # right, in an odd form
FAILURES = ("429", "500", "502", "503", "timeout", "cut", "reset", "invalid_json", "empty_choices")  # no answer: a client sends the same again
KINDS = FAILURES + BAD_ANSWERS + UNUSUAL_ANSWERS
ANSWERED = frozenset({"ok", *BAD_ANSWERS, *UNUSUAL_ANSWERS})  # after one of these the same payload should not come again
UNSENT = frozenset({"timeout", "reset"})  # not one byte is sent
PAGES = {"502": "Bad Gateway", "503": "Service Temporarily Unavailable"}  # a proxy's own words: HTML where JSON is due
DEPTH = 12  # how deep an answer may nest: a schema that names itself has no end
PROSE = "I have read it with care. It is about a patient, and there is much that one could say."
REFUSED = "I am sorry, but I cannot help with that."


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    body: bytes
    headers: dict[str, str]


def payload_hash(body: dict) -> str:
    """Names a request by its content: 32 hex digits of the SHA-256 of its JSON with sorted keys, no spaces, real characters."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Faults:
    """Draws the fault of each arrival from the seed, the payload and how often this payload came: the order of arrival changes nothing.

    `share` of the arrivals fails in one of `kinds`, and `permanent` of the payloads fails every time, in `permanent_kind`.
    Memory: one number of 8 bytes for each payload, and only where there are faults to draw.
    """

    def __init__(self, share: float = 0.0, kinds: tuple[str, ...] = KINDS, seed: int = 0, permanent: float = 0.0, permanent_kind: str = "500") -> None:
        self.share, self.kinds, self.seed, self.permanent, self.permanent_kind = share, kinds, seed, permanent, permanent_kind
        self.came: dict[int, int] = {}

    def _drawn(self, key: str, what: object) -> tuple[float, int, int]:
        digest = hashlib.blake2b(f"{self.seed}:{key}:{what}".encode(), digest_size=16).digest()
        return int.from_bytes(digest[:8]) / 2**64, int.from_bytes(digest[8:12]), int.from_bytes(digest[12:])

    def draw(self, key: str) -> tuple[str, int]:
        """The kind of this arrival, "ok" or one of KINDS, and a number that picks its form where it has several."""
        if not self.share and not self.permanent:
            return "ok", 0
        short = int(key[:16], 16)
        times = self.came[short] = self.came.get(short, 0) + 1
        place, kind, form = self._drawn(key, times)
        if self._drawn(key, "permanent")[0] < self.permanent:
            return self.permanent_kind, form
        return (self.kinds[kind % len(self.kinds)], form) if place < self.share else ("ok", 0)


def by_schema(request: dict) -> object:
    """The default script: an answer that fits the JSON schema of the request's response_format, the same for the same schema.

    Texts are "text", numbers the maximum or 90, of several forms the first that is not null. Patterns are not looked at.
    """
    asked = request.get("response_format") or {}
    if asked.get("type") != "json_schema":
        return {} if asked.get("type") == "json_object" else "text"
    schema = asked["json_schema"]["schema"]
    return json.dumps(_filled(schema, schema, 0), ensure_ascii=False)  # as text: a schema may ask for a bare string


def _filled(schema: dict, whole: dict, depth: int) -> object:
    if "$ref" in schema:
        found: object = whole
        for name in schema["$ref"].removeprefix("#").strip("/").split("/"):
            found = found[name] if name else found
        return _filled(found, whole, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            ways = [way for way in schema[several] if way.get("type") != "null"]
            return _filled(ways[0], whole, depth + 1) if ways and depth < DEPTH else None
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object":
        return {name: _filled(part, whole, depth + 1) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        least = schema.get("minItems", 0)
        count = min(max(least, 1), schema.get("maxItems", math.inf)) if depth < DEPTH else least
        parts = schema.get("prefixItems", [])[:count]
        return [_filled(part, whole, depth + 1) for part in [*parts, *[schema.get("items") or {}] * (count - len(parts))]]
    if kind in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        return schema.get("maximum", max(schema.get("exclusiveMaximum", 91) - 1, least))
    if kind == "string":
        return "text".ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
    return True if kind == "boolean" else None


def _tokens(text: str) -> int:
    return max(len(text) // 4, 1)


def _spoilt(content: str, form: int) -> str:
    """JSON of another shape, in one of three forms: a key too many, wrapped in an object, wrapped in a list."""
    try:
        right = json.loads(content)
    except ValueError:
        right = content
    if form % 3 == 0 and isinstance(right, dict):
        return json.dumps(right | {"remark": "nobody asked for this"}, ensure_ascii=False)
    return json.dumps({"answer": right} if form % 3 == 1 else [right], ensure_ascii=False)


def error(status: int, message: str, kind: str, code: str | None, headers: dict[str, str] | None = None) -> Answer:
    """An error as OpenAI words it."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"} | (headers or {}))


def too_many(retry_after: float, form: int) -> Answer:
    """429 with the time to wait, in seconds, in one of the three forms met: milliseconds, seconds with a fraction, 1 in 8 a date, rounded up to a second."""
    if form % 8 == 0:
        wait = {"Retry-After": formatdate(math.ceil(time.time() + retry_after), usegmt=True)}
    else:
        wait = {"retry-after-ms": f"{retry_after * 1000:g}"} if form % 2 else {"Retry-After": f"{retry_after:g}"}
    return error(429, "Rate limit reached; try again later.", "requests", "rate_limit_exceeded", wait)


def completion(kind: str, form: int, request: dict, key: str, content: str) -> Answer:
    """The 200 of OpenAI's chat completions around `content`, or what the fault `kind` makes of it. Tokens are counted as characters // 4."""
    refusal, reason = None, "stop"
    if kind == "bad_content":
        content = PROSE
    elif kind == "truncated":
        content, reason = content[: len(content) // 2], "length"
    elif kind == "wrong_schema":
        content = _spoilt(content, form)
    elif kind == "fenced":
        content = f"Here is the answer:\n\n```json\n{content}\n```\n\nTell me if you need anything else."
    elif kind == "refusal":
        refusal, content = REFUSED, None
    asked = sum(len(text) if isinstance(text := message.get("content"), str) else len(json.dumps(text)) for message in request["messages"])
    usage = {"prompt_tokens": max(asked // 4, 1), "completion_tokens": _tokens(content if refusal is None else refusal)}
    body = {
        "id": f"chatcmpl-{key}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content, "refusal": refusal}, "logprobs": None, "finish_reason": reason}],
        "usage": usage | {"total_tokens": sum(usage.values())},
    }
    if kind == "empty_choices":
        body["choices"] = []
    elif kind == "null_usage":
        body["usage"] = None
        if form % 2:
            del body["usage"]
    sent = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")  # half a surrogate pair goes as its escape
    if kind == "invalid_json":  # by turns half an object, nothing, and a proxy's page that calls itself a success
        bodies = [(sent[: len(sent) // 2], "application/json"), (b"", "application/json"), (b"<html><body>One moment, please.</body></html>", "text/html")]
        sent, sort = bodies[form % 3]
        return Answer(200, sent, {"Content-Type": sort})
    return Answer(200, sent, {"Content-Type": "application/json"})


def answer(kind: str, form: int, request: dict, key: str, content: str, retry_after: float) -> Answer:
    """What is sent for one arrival, before a connection is cut."""
    if kind == "429":
        return too_many(retry_after, form)
    if kind == "500":
        return error(500, "The server had an error while processing your request.", "server_error", None)
    if kind in PAGES:
        page = f"<html><head><title>{kind} {PAGES[kind]}</title></head><body><h1>{kind} {PAGES[kind]}</h1></body></html>"
        return Answer(int(kind), page.encode(), {"Content-Type": "text/html"})
    return completion(kind, form, request, key, content)
