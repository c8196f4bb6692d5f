"""The client against the stand-in endpoint: every fault is got over or named, what was answered is never asked again, the key stays where it is."""

import asyncio
import json
import time
from collections import defaultdict
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from data_prep import llm, prompts
from data_prep.answers import Answer, RowFailed, json_schema, read_answer, retry_after
from data_prep.endpoint import ANSWERED, KINDS, serving
from data_prep.endpoint_faults import BAD_ANSWERS
from data_prep.journal import Journal
from data_prep.prompts import Prompt
from data_prep.records import BadInput

PROMPT = Prompt(name="echo", version=1, system="Answer.", user="Say ${word}")
SECRET = "sk-made-up-0123456789"


class Said(BaseModel):
    """What is asked for in these tests."""

    model_config = ConfigDict(extra="forbid")
    title: str
    score: int


def arrivals(log: Path) -> list[dict]:
    """The endpoint's log."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def resent(log: Path) -> list[str]:
    """Payloads that came again after they had been answered."""
    answered, again = set(), []
    for arrival in arrivals(log):
        again += [arrival["key"]] if arrival["key"] in answered else []
        answered |= {arrival["key"]} if arrival["kind"] in ANSWERED else set()
    return again


def ask_all(journal: Path, url: str, words: list[str], check=None, fresh: bool = False, **ways) -> tuple[list, llm.Asker]:
    """Ask for each word at once; gives answers or errors in their order, and the asker."""

    async def run() -> list:
        with Journal(journal) as kept:
            asker = llm.Asker(llm.Settings(model="m", base_url=url, **({"timeout": 2, "attempts": 12, "wait": 0.01} | ways)), kept)
            asks = [asker.row(fresh)(PROMPT, Said, {"word": word}, 100, check) for word in words]
            try:
                return await asyncio.gather(*asks, return_exceptions=True), asker
            finally:
                await asker.close()

    return asyncio.run(run())


WORDS = [f"word {number}" for number in range(30)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in BAD_ANSWERS])
def test_a_fault_of_the_endpoint_is_got_over(kind: str, tmp_path: Path) -> None:
    with serving(faults=0.4, kinds=[kind], hang=0.3, seed=5, log=tmp_path / "log") as url:
        found, asker = ask_all(tmp_path / "journal", url, WORDS, timeout=0.2 if kind == "timeout" else 2)
        assert found == [Said(title="text", score=90)] * 30
        again, _ = ask_all(tmp_path / "journal", url, WORDS)
    assert again == found
    met = [arrival for arrival in arrivals(tmp_path / "log") if arrival["kind"] == kind]
    assert len(met) > 5 and not resent(tmp_path / "log")
    assert asker.meter.retries.total() == (len(met) if kind not in ("fenced", "null_usage") else 0)
    assert len(arrivals(tmp_path / "log")) == 30 + asker.meter.retries.total(), "the second time nothing is sent"


@pytest.mark.parametrize("kind", BAD_ANSWERS)
def test_an_answer_of_the_wrong_form_is_asked_again_once(kind: str, tmp_path: Path) -> None:
    with serving(faults=0.4, kinds=[kind], seed=5, log=tmp_path / "log") as url:
        found, asker = ask_all(tmp_path / "journal", url, WORDS)
        bad = [one for one in found if isinstance(one, Exception)]
        assert all(isinstance(one, RowFailed) and not one.transport for one in bad) and len(bad) < 12
        reason = {"bad_content": "invalid_json", "truncated": "truncated", "wrong_schema": "invalid_schema", "refusal": "refused"}[kind]
        assert {one.reason for one in bad} <= {reason}
        assert asker.meter.reasked == len(arrivals(tmp_path / "log")) - 30 > len(bad)
        # a row that failed stays failed, and is asked anew when it is tried alone
        again, asker = ask_all(tmp_path / "journal", url, WORDS)
        assert [type(one) for one in again] == [type(one) for one in found] and asker.meter.answered == 0
        assert not resent(tmp_path / "log")
        anew, asker = ask_all(tmp_path / "journal", url, WORDS, fresh=True)
        assert asker.meter.answered > 0 or not bad
        assert sum(isinstance(one, Exception) for one in anew) < max(len(bad), 1)


def test_the_error_is_shown(tmp_path: Path) -> None:
    seen = []

    async def send(key: bytes, body: dict) -> Answer:
        seen.append(body)
        return Answer('{"title": "x"}' if len(seen) == 1 else '{"title": "x", "score": 1}', "stop", 3, 4)

    async def run() -> Said:
        with Journal(None) as journal:
            return await llm.Asker(llm.Settings(model="m"), journal, send).row()(PROMPT, Said, {"word": "a $5 ${x}"}, 50)

    assert asyncio.run(run()).score == 1
    first, second = seen
    assert first["messages"] == [{"role": "system", "content": "Answer."}, {"role": "user", "content": "Say a $5 ${x}"}]
    assert first["max_tokens"] == 50 and first["response_format"]["json_schema"]["strict"] is True
    assert second["messages"][:2] == first["messages"] and second["messages"][2] == {"role": "assistant", "content": '{"title": "x"}'}
    assert "score: Field required" in second["messages"][3]["content"]


def test_a_check_of_the_step_counts_like_the_schema(tmp_path: Path) -> None:
    with serving(log=tmp_path / "log") as url:
        found, _ = ask_all(tmp_path / "journal", url, ["a"], check=lambda said: f"the title is {said.title!r}")
    assert (found[0].reason, found[0].message) == ("invalid_answer", "the title is 'text'")
    assert len(arrivals(tmp_path / "log")) == 2


@pytest.mark.parametrize(
    "text", ['{"title": "a", "title": "b", "score": 1}', '{"title": "\\ud800", "score": 1}', "[" * 100_000, '{"title": "a", "score": 1} done', "", "null"]
)
def test_what_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(RowFailed):
        read_answer(Answer(text, "stop"), Said)


def test_schemas_are_those_of_strict_modes() -> None:
    form = json_schema(Said)
    assert form == {
        "type": "object",
        "additionalProperties": False,
        "required": ["title", "score"],
        "properties": {"title": {"type": "string"}, "score": {"type": "integer"}},
    }, "a field that is called title stays"


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    with serving(faults=0.5, kinds=["429"], retry_after=0.4, seed=3, log=tmp_path / "log") as url:
        found, _ = ask_all(tmp_path / "journal", url, WORDS[:12])
    assert found == [Said(title="text", score=90)] * 12
    times = defaultdict(list)
    for arrival in arrivals(tmp_path / "log"):
        times[arrival["key"]].append(arrival["at"])
    waits = [later - earlier for at in times.values() for earlier, later in zip(at, at[1:], strict=False)]
    assert len(waits) > 5 and min(waits) >= 0.39


def test_retry_after_is_read_in_every_form() -> None:
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert retry_after({"retry-after-ms": "1500"}) == 1.5
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert 28 < retry_after({"retry-after": soon}) <= 30
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    for nonsense in ({}, {"retry-after": "soon"}, {"retry-after": ""}, {"retry-after": "nan"}, {"retry-after": "inf"}):
        assert retry_after(nonsense) is None


def test_a_wrong_key_stops_the_run_and_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with serving(key="another", log=tmp_path / "log") as url:
        found, asker = ask_all(tmp_path / "journal", url, WORDS)
    assert all(isinstance(one, llm.Stop) for one in found) and "OPENAI_API_KEY" in asker.stopped and SECRET not in asker.stopped
    assert 0 < len(arrivals(tmp_path / "log")) <= 30, "each was sent once at most"


def test_a_used_up_quota_stops_the_run(tmp_path: Path) -> None:
    with serving(quota=10, log=tmp_path / "log") as url:
        found, asker = ask_all(tmp_path / "journal", url, WORDS)
    assert sum(one == Said(title="text", score=90) for one in found) == 10
    assert "no more money" in asker.stopped and 10 < len(arrivals(tmp_path / "log")) <= 30


def test_a_journal_is_for_one_run_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal"), pytest.raises(BadInput, match="another run"):
        Journal(tmp_path / "journal")
    (tmp_path / "text").write_text("no database " * 1000)
    with pytest.raises(BadInput, match="cannot be used"):
        Journal(tmp_path / "text")


def test_every_prompt_loads_and_says_its_version() -> None:
    names = sorted(path.stem for path in prompts.FOLDER.glob("*.yaml"))
    assert {"reask"} <= set(names)
    for name in names:
        prompt = prompts.load(name)
        assert prompt.label.startswith(f"{name}@{prompt.version}")
        with pytest.raises(KeyError):
            prompt.messages({})
