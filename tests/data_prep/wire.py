"""One request on the wire, as the tests of the stand-in for a language model (data_prep/endpoint.py) send it, and a script for it."""

import http.client
import json
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

RIGHT = {"said": "text", "sure": 90, "more": ["text", "text"]}
SCHEMA = {
    "type": "object",
    "properties": {"said": {"type": "string"}, "sure": {"type": "integer"}, "more": {"type": "array", "minItems": 2, "items": {"type": "string"}}},
    "required": ["said", "sure", "more"],
    "additionalProperties": False,
}


class Seen(NamedTuple):
    """What came back on the wire: an HTTP answer, or the name of what happened in its place."""

    status: int | None
    headers: dict[str, str]
    body: bytes
    broken: str | None
    seconds: float

    @property
    def reply(self) -> dict:
        return json.loads(self.body)

    @property
    def choice(self) -> dict:
        return self.reply["choices"][0]

    @property
    def content(self) -> str:
        return self.choice["message"]["content"]


def payload(number: int, **more: object) -> dict:
    """One of many different requests."""
    messages = [{"role": "system", "content": "Answer."}, {"role": "user", "content": f"سؤال {number}"}]
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
    return {"model": "any", "messages": messages, "response_format": wanted} | more


def send(url: str, body: object, path: str = "/chat/completions", key: str | None = None, method: str = "POST") -> Seen:
    """One request over a connection of its own, as bare as the standard library allows."""
    begun, where = time.monotonic(), urlsplit(url + path)
    line = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    try:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        line.request(method, where.path, None if body is None else body if isinstance(body, bytes) else json.dumps(body), headers)
        answer = line.getresponse()
        found = Seen(answer.status, {name.lower(): value for name, value in answer.getheaders()}, b"", None, 0)
        found = found._replace(body=answer.read())
    except http.client.IncompleteRead as cut:
        found = found._replace(body=cut.partial, broken="IncompleteRead")
    except (http.client.RemoteDisconnected, ConnectionResetError) as broken:
        found = Seen(None, {}, b"", type(broken).__name__, 0)
    finally:
        line.close()
    return found._replace(seconds=time.monotonic() - begun)


def lines(log: Path) -> list[dict]:
    """What the endpoint has logged."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def own_script(request: dict) -> dict | str:
    """Answers that follow from the request."""
    said = request["messages"][-1]["content"]
    if said == "fail":
        raise KeyError("no such row")
    return {"translated": said[::-1]} if said == "مرض" else said.upper()
