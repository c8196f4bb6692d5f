"""The stand-in for a language model as a server: what it answers, what it logs, whom it refuses, when it ends."""

import json
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest
from pydantic import BaseModel, ConfigDict, Field

from data_prep.endpoint import ANSWERED, payload_hash, serving
from tests.data_prep.conftest import ROOT
from tests.data_prep.wire import RIGHT, Seen, lines, payload, send

LATENCY = 0.05


def test_faults_follow_from_seed_and_payload_and_not_from_the_order(tmp_path: Path) -> None:
    """Each payload comes three times. In another order all get what they got; with another seed they do not."""
    numbers = list(range(70))
    orders = {"there": numbers * 3, "back": numbers[::-1] * 3, "by threes": [number for number in numbers for _ in range(3)], "other": numbers * 3}
    drawn, permanent = {}, {}
    for name, order in orders.items():
        log = tmp_path / f"{name}.jsonl"
        seed = 2 if name == "other" else 1
        with serving(faults=0.3, kinds=["429", "refusal", "cut"], permanent=0.1, permanent_kind="503", seed=seed, log=log) as url:
            for number in order:
                send(url, payload(number))
        drawn[name] = defaultdict(list)
        for line in lines(log):
            drawn[name][line["key"]].append(line["kind"])
        permanent[name] = {key for key, kinds in drawn[name].items() if "503" in kinds}
    assert drawn["there"] == drawn["back"] == drawn["by threes"] != drawn["other"]
    kinds = [kind for some in drawn["there"].values() for kind in some if kind != "503"]
    assert set(kinds) == {"ok", "429", "refusal", "cut"}
    assert 0.2 < 1 - kinds.count("ok") / len(kinds) < 0.4  # 190 draws: 0.033 the deviation
    assert 1 <= len(permanent["there"]) <= 16 and all(drawn["there"][key] == ["503"] * 3 for key in permanent["there"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An endpoint without faults: base URL and log."""
    log = tmp_path_factory.mktemp("plain") / "log.jsonl"
    with serving(log=log, latency=LATENCY, jitter=0.01) as url:
        yield url, log


def test_an_answer_is_openai_s(plain: tuple[str, Path]) -> None:
    """The package's own parsing, tokens as characters // 4, the time that was asked for, Arabic as it came."""
    client = openai.OpenAI(base_url=plain[0], api_key="none", max_retries=0)
    begun = time.monotonic()
    answer = client.chat.completions.create(**payload(1))
    assert LATENCY <= time.monotonic() - begun < 5
    assert json.loads(answer.choices[0].message.content) == RIGHT and answer.choices[0].finish_reason == "stop" and answer.model == "any"
    asked, said = len("Answer." + "سؤال 1") // 4, len(json.dumps(RIGHT)) // 4
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (asked, said, asked + said)
    assert [model.id for model in client.models.list()] == ["stand-in"]


def test_the_log_shows_what_was_sent_again_and_nothing_of_the_text(plain: tuple[str, Path]) -> None:
    url, log = plain
    before = len(lines(log))
    for number in (7, 8, 7):
        send(url, payload(number), key="secret-key-of-somebody")
    new = lines(log)[before:]
    assert all(line.keys() == {"n", "at", "key", "kind", "status"} and abs(line["at"] - time.time()) < 60 for line in new)
    answered = [line["key"] for line in new if line["kind"] in ANSWERED]
    assert answered == [payload_hash(payload(number)) for number in (7, 8, 7)]
    assert not [word for word in ("سؤال", "u0633", "secret", "Answer") if word in log.read_text()]


def test_the_hash_is_of_the_content(plain: tuple[str, Path]) -> None:
    """Neither the order of the keys nor the way the text was escaped matters; a single character does."""
    url, log = plain
    body = payload(9)
    turned = dict(reversed(body.items()))
    for sent in (json.dumps(body, indent=1), json.dumps(turned, ensure_ascii=False)):
        assert send(url, sent.encode()).status == 200
    assert {line["key"] for line in lines(log)[-2:]} == {payload_hash(body)} != {payload_hash(payload(90))}
    assert payload_hash({"b": "أ", "a": 1}) == "f9ac1f72bb9ba9c842634a521ae9e665"


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    options: list[str] = Field(min_length=4, max_length=4)
    note: str | None
    kind: str = Field(min_length=6)


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")
    score: int = Field(ge=0, le=100)
    low: int = Field(lt=5)
    fine: bool
    parts: list[Inner]
    pair: tuple[int, str]
    once: "Asked | None"


def test_the_default_script_fits_any_schema_of_ours(plain: tuple[str, Path]) -> None:
    """References, limits, optional parts, a type that holds itself: the answer is one of that type."""
    wanted = {"type": "json_schema", "json_schema": {"name": "asked", "strict": True, "schema": Asked.model_json_schema()}}
    content = json.loads(send(plain[0], payload(1, response_format=wanted)).content)
    assert Asked.model_validate(content, strict=False).score == 100 and content["parts"][0]["options"] == ["text"] * 4
    assert send(plain[0], payload(1, response_format={"type": "json_object"})).content == "{}"
    assert send(plain[0], {"model": "any", "messages": [{"role": "user", "content": "x"}]}).content == "text"


def test_what_is_no_chat_request_is_told_so(plain: tuple[str, Path]) -> None:
    url, log = plain
    for body in (
        b"{",
        b"[]",
        {"model": "any"},
        {"model": "any", "messages": []},
        {"messages": [{}]},
        {"model": "any", "messages": ["x"]},
        payload(1, stream=True),
    ):
        seen = send(url, body)
        assert seen.status == 400 and seen.reply["error"]["type"] == "invalid_request_error"
        assert lines(log)[-1]["kind"] == "400"
    assert send(url, None, "/nothing", method="GET").status == 404
    assert send(url, None, method="GET").status == 404


def test_a_script_answers(tmp_path: Path) -> None:
    """An object is written with real characters; a script that fails must not look like an endpoint that is down."""
    log = tmp_path / "log.jsonl"
    with serving(script="tests.data_prep.wire:own_script", models=["small", "large"], log=log) as url:

        def ask(said: str, model: str = "small") -> Seen:
            return send(url, {"model": model, "messages": [{"role": "user", "content": said}]})

        assert ask("مرض").content == '{"translated": "ضرم"}' and ask("word").content == "WORD"
        assert (ask("fail").status, lines(log)[-1]["kind"]) == (400, "script_error")
        assert ask("word", model="huge").reply["error"]["code"] == "model_not_found"
        assert [model["id"] for model in send(url, None, "/models", method="GET").reply["data"]] == ["small", "large"]


def test_key_and_quota(tmp_path: Path) -> None:
    """Without the key nothing is had; after the quota nothing more, in the words of OpenAI. A failed arrival is not paid."""
    log = tmp_path / "log.jsonl"
    with serving(key="right-key", quota=6, faults=0.5, kinds=["500"], log=log) as url:
        for key in (None, "wrong-key"):
            assert send(url, payload(0), key=key).reply["error"]["code"] == "invalid_api_key"
            assert send(url, None, "/models", key=key, method="GET").status == 401
        seen = [send(url, payload(number), key="right-key") for number in range(40)]
    last = max(place for place, one in enumerate(seen) if one.status == 200)
    assert [one.status for one in seen[: last + 1]].count(200) == 6 and 500 in [one.status for one in seen[:last]]
    assert {(one.status, one.reply["error"]["code"]) for one in seen[last + 1 :]} == {(429, "insufficient_quota")}
    kinds = [line["kind"] for line in lines(log)]
    assert kinds[:2] == ["401", "401"] and kinds[-1] == "quota" and kinds.count("ok") == 6
    assert "right-key" not in log.read_text()


def test_only_loopback_listens_and_the_process_ends_with_the_block(plain: tuple[str, Path]) -> None:
    port = urlsplit(plain[0]).port
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"]
    assert [place.split(":")[0] for place in listening if int(place.split(":")[1], 16) == port] == ["0100007F"]
    with serving() as url:
        send(url, payload(1))
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", urlsplit(url).port)):
        pass


def test_it_ends_with_the_process_that_started_it() -> None:
    """A test run that is killed leaves nothing behind."""
    code = "from data_prep.endpoint import serving\nimport os\nwith serving() as url:\n    print(url, flush=True)\n    os.kill(os.getpid(), 9)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False, timeout=30)
    assert ran.returncode == -9
    until = time.monotonic() + 10
    with pytest.raises(ConnectionRefusedError):
        while time.monotonic() < until:
            socket.create_connection(("127.0.0.1", urlsplit(ran.stdout.strip()).port)).close()
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kinds", "429,sunspots"], "sunspots"),
        (["--faults", "30"], "from 0 to 1"),
        (["--script", "tests.nowhere:answer"], "tests.nowhere:answer"),
        (["--log", "/dev/null/log"], "/dev/null"),
    ],
)
def test_wrong_options_are_told(options: list[str], words: str) -> None:
    ran = subprocess.run([sys.executable, "-m", "data_prep.endpoint", *options], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert ran.returncode == 2 and words in ran.stderr and "Traceback" not in ran.stderr
