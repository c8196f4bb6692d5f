"""The stand-in for a language model: a client is only as tested as this is right. Each fault is looked at from the wire and through the openai package."""

import json
from collections import defaultdict
from email.utils import parsedate_to_datetime

import openai
import pytest

from data_prep.endpoint import ANSWERED, KINDS, payload_hash, serving
from tests.data_prep.wire import RIGHT, Seen, lines, payload, send

SENT = 160  # payloads, each twice: about 21 arrivals of each kind
HANG = 0.1  # seconds
RETRY_AFTER = 1.5


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """By the kind that the log names, what SENT payloads got from an endpoint where everything fails: on the wire, and from the openai package."""
    log = tmp_path_factory.mktemp("endpoint") / "log.jsonl"
    found = defaultdict(list)
    with serving(faults=1, hang=HANG, retry_after=RETRY_AFTER, seed=5, log=log) as url:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        raw = [send(url, payload(number)) for number in range(SENT)]
        told = []
        for number in range(SENT):
            try:
                told.append(client.chat.completions.create(**payload(number)))
            except (openai.OpenAIError, ValueError) as error:
                told.append(error)
    logged = lines(log)
    assert [line["n"] for line in logged] == list(range(1, 2 * SENT + 1))
    assert [line["key"] for line in logged] == [payload_hash(payload(number)) for number in range(SENT)] * 2
    assert {line["status"] for line, one in zip(logged, raw, strict=False) if line["status"] != one.status} == set(), "the log names the status that was sent"
    for place, line in enumerate(logged):
        found[line["kind"]].append(raw[place] if place < SENT else told[place - SENT])
    return found


def on_the_wire(seen: dict[str, list], kind: str) -> list[Seen]:
    some = [one for one in seen[kind] if isinstance(one, Seen)]
    assert len(some) >= 4, "each kind is drawn now and then"
    return some


def to_the_client(seen: dict[str, list], kind: str) -> list:
    some = [one for one in seen[kind] if not isinstance(one, Seen)]
    assert len(some) >= 4
    return some


def test_every_kind_comes_about_as_often_as_any_other(seen: dict) -> None:
    """320 arrivals in 15 kinds: 21 each, 4.5 the deviation."""
    assert set(seen) == set(KINDS)
    assert all(6 <= len(seen[kind]) <= 40 for kind in KINDS), {kind: len(seen[kind]) for kind in KINDS}


def test_429_names_the_time_to_wait_in_three_forms(seen: dict) -> None:
    forms = set()
    for one in [*on_the_wire(seen, "429"), *to_the_client(seen, "429")]:
        error = one.reply["error"] if isinstance(one, Seen) else one.body
        headers = one.headers if isinstance(one, Seen) else one.response.headers
        assert (one.status if isinstance(one, Seen) else one.status_code) == 429 and error["code"] == "rate_limit_exceeded" and error["message"]
        if "retry-after-ms" in headers:
            forms.add("ms")
            assert float(headers["retry-after-ms"]) == RETRY_AFTER * 1000
        elif "," in headers["retry-after"]:
            forms.add("date")
            named = parsedate_to_datetime(headers["retry-after"]).timestamp() - parsedate_to_datetime(headers["date"]).timestamp()
            assert RETRY_AFTER <= named <= RETRY_AFTER + 2  # both are whole seconds
        else:
            forms.add("seconds")
            assert float(headers["retry-after"]) == RETRY_AFTER
    assert forms == {"ms", "seconds", "date"}


def test_500_is_an_error_in_openai_s_words_and_502_and_503_are_a_proxy_s_page(seen: dict) -> None:
    assert all(one.status == 500 and one.reply["error"]["type"] == "server_error" for one in on_the_wire(seen, "500"))
    for kind in ("502", "503"):
        assert all(one.status == int(kind) and one.headers["content-type"] == "text/html" and b"<html>" in one.body for one in on_the_wire(seen, kind))
    for kind in ("500", "502", "503"):
        assert {(type(one), one.status_code) for one in to_the_client(seen, kind)} == {(openai.InternalServerError, int(kind))}


def test_connections_break_in_three_ways(seen: dict) -> None:
    for one in on_the_wire(seen, "cut"):
        assert one.status == 200 and one.broken == "IncompleteRead" and abs(2 * len(one.body) - int(one.headers["content-length"])) <= 1
    for one in on_the_wire(seen, "reset"):
        assert (one.status, one.broken) == (None, "ConnectionResetError")
    for one in on_the_wire(seen, "timeout"):
        assert (one.status, one.broken) == (None, "RemoteDisconnected") and one.seconds >= HANG
    for kind in ("cut", "reset", "timeout"):
        assert {type(one) for one in to_the_client(seen, kind)} == {openai.APIConnectionError}


def test_a_200_may_hold_no_json(seen: dict) -> None:
    """Half an object, nothing, a proxy's page: the package lets the error of json through, or gives the page back as a text."""
    for one in on_the_wire(seen, "invalid_json"):
        assert one.status == 200 and one.broken is None
        with pytest.raises(ValueError):
            json.loads(one.body)
    assert {one.body[:6] for one in on_the_wire(seen, "invalid_json")} == {b'{"id":', b"", b"<html>"}
    assert {type(one) for one in to_the_client(seen, "invalid_json")} <= {json.JSONDecodeError, str}


def test_bad_answers_are_whole_and_paid(seen: dict) -> None:
    """They come as any answer comes, with their tokens; only what the model says is of no use."""
    for kind in ("bad_content", "truncated", "wrong_schema", "refusal"):
        assert kind in ANSWERED
        for one in on_the_wire(seen, kind):
            assert one.status == 200 and one.reply["usage"]["completion_tokens"] >= 1
            assert one.choice["finish_reason"] == ("length" if kind == "truncated" else "stop")
        assert {type(one).__name__ for one in to_the_client(seen, kind)} == {"ChatCompletion"}
    whole = json.dumps(RIGHT)
    assert {one.content for one in on_the_wire(seen, "truncated")} == {whole[: len(whole) // 2]}
    assert all(one.content.startswith("I have read") for one in on_the_wire(seen, "bad_content"))
    assert all(one.choice["message"]["content"] is None and one.choice["message"]["refusal"] for one in on_the_wire(seen, "refusal"))
    assert all(one.choices[0].message.refusal for one in to_the_client(seen, "refusal"))
    other = {one.content for one in on_the_wire(seen, "wrong_schema")} | {one.choices[0].message.content for one in to_the_client(seen, "wrong_schema")}
    assert other == {json.dumps(shape) for shape in (RIGHT | {"remark": "nobody asked for this"}, {"answer": RIGHT}, [RIGHT])}


def test_odd_answers_hold_the_right_one(seen: dict) -> None:
    for one in on_the_wire(seen, "fenced"):
        before, fenced, after = one.content.split("```")
        assert json.loads(fenced.removeprefix("json")) == RIGHT and before.strip() and after.strip()
    assert all(json.loads(one.content) == RIGHT and one.reply.get("usage") is None for one in on_the_wire(seen, "null_usage"))
    assert {"usage" in one.reply for one in on_the_wire(seen, "null_usage")} == {True, False}
    assert all(one.usage is None for one in to_the_client(seen, "null_usage"))


def test_choices_may_be_empty(seen: dict) -> None:
    assert all(one.status == 200 and one.reply["choices"] == [] for one in on_the_wire(seen, "empty_choices"))
    assert all(one.choices == [] for one in to_the_client(seen, "empty_choices"))
