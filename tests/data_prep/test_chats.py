"""Chats from multiple-choice questions, through the command, from a model behind the stand-in endpoint: accepted, asked for again, rejected, refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep import chats
from data_prep.endpoint import serving
from data_prep.records import Chat, MultipleChoice, as_row
from data_prep.sources import records
from tests.conftest import command
from tests.data_prep.chatting import EXPLANATION, JUDGED, SPOILT, THANKS, good, question

MODEL = "some-model"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The log of the endpoint while it runs; its address is in the environment."""
    log = tmp_path_factory.mktemp("endpoint") / "log.jsonl"
    with serving(script="tests.data_prep.chatting:answer", models=[MODEL], log=log) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", url)
        patch.delenv("OPENAI_API_KEY", raising=False)
        yield log


def case(name: str, words: str = "", **fields: object) -> MultipleChoice:
    """A question at which the model does what tests/data_prep/chatting.py knows under these words."""
    return question(name, **{"explanation": f"{EXPLANATION} case: {words}" if words else EXPLANATION} | fields)


class Ran:
    """A run of the command over these records, and its files."""

    def __init__(self, folder: Path, rows: list, *options: object, lang: str = "en") -> None:
        folder.mkdir(exist_ok=True)
        source, self.out = folder / "questions.jsonl", folder / f"chats_{lang}.jsonl"
        source.write_text("".join(json.dumps(as_row(row) if not isinstance(row, dict) else row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        line = ["--in", source, "--out", self.out, "--lang", lang, "--model", MODEL, "--journal", folder / "journal.sqlite", "--concurrency", 8, *options]
        self.code = chats.main(list(map(str, line)))

    def file(self, suffix: str = "") -> dict[str, dict]:
        path = self.out.with_name(f"{self.out.stem}.{suffix}.jsonl") if suffix else self.out
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line] if path.exists() else []
        assert len({row.get("id") for row in rows}) == len(rows), "a row stands twice"
        return {row.get("id"): row for row in rows}


def requests(log: Path) -> int:
    return len(log.read_text().splitlines())


def test_every_row_is_accepted_or_rejected_with_its_reason(endpoint: Path, tmp_path: Path) -> None:
    """Good at once; bad once and good when asked again; bad to the end: by every rule, by the judge's criterion, by the judge's score."""
    bad = [*SPOILT, *JUDGED]
    rows = [case("good"), *(case(f"once-{name}", f"{name} once") for name in bad), *(case(f"always-{name}", name) for name in bad)]
    before = requests(endpoint)
    ran = Ran(tmp_path, rows, "--switch-share", 0)
    assert ran.code == 0
    accepted, rejected = ran.file(), ran.file("rejected")
    assert set(accepted) == {"t:good:chat:en", *(f"t:once-{name}:chat:en" for name in bad)}
    assert set(rejected) == {f"t:always-{name}:chat:en" for name in bad} and not ran.file("failed")

    made = {"step": "chats", "by": MODEL, "prompts": {"chat": 1, "judge_chat": 1}, "score": 92, "rounds": 1, "switched": False}
    assert accepted["t:good:chat:en"]["made"] == made
    for name in bad:
        row = accepted[f"t:once-{name}:chat:en"]
        assert row["made"] == made | {"rounds": 2, "prompts": {"chat": 1, "chat_again": 1, "judge_chat": 1}}
        assert row["turns"][-1]["value"].startswith(THANKS["en"])  # the second chat, not the first
        row = rejected[f"t:always-{name}:chat:en"]
        first = {"unsafe": "safe_advice"}.get(name, name)
        assert (row["reason"], row["failures"][0]["rule"], row["made"]["rounds"]) == (first, first, 3), row["failures"]
        assert row["message"] and row["chat"]["exchanges"] and row["question"]["id"] == f"t:always-{name}:en"
        assert (row["judgement"] is None) == (name in SPOILT)  # what the rules refuse is not judged
    assert [one["rule"] for one in rejected["t:always-unsafe:chat:en"]["failures"]] == ["safe_advice", "feedback"]
    # a chat and a verdict; by the rules a bad chat, a good one and a verdict, or three bad ones; by the judge two of each, or three chats of which the
    # last is the second word for word, so that its verdict is known
    assert requests(endpoint) - before == 2 + len(SPOILT) * (3 + 3) + len(JUDGED) * (4 + 5)

    found = list(records.read(ran.out))
    assert all(isinstance(record, Chat) for record in found) and len(found) == len(accepted)
    assert {(one.origin_id, one.lang, one.source, one.split) for one in found} == {
        (row.origin_id, "en", "t", "train") for row in rows if "always" not in row.id
    }
    assert {len(one.turns) // 2 for one in found} <= {3, 4, 5, 6}
    manifest = json.loads((tmp_path / "chats_en.manifest.json").read_text(encoding="utf-8"))
    assert manifest["outcomes"] == {"accepted": len(accepted), "rejected": len(rejected)}
    assert manifest["reasons"]["rejected"]["invented_dose"] == 1 and manifest["settings"]["threshold"] == 80


def test_other_lines_need_no_request(endpoint: Path, tmp_path: Path) -> None:
    """What was paid for is kept: with a lower threshold the same answers accept the row, and one round less asks nothing either."""
    rows = [case("low", "low_score")]
    assert list(Ran(tmp_path, rows).file("rejected")) == ["t:low:chat:en"]
    before = requests(endpoint)
    ran = Ran(tmp_path, rows, "--threshold", 79)
    assert ran.file()["t:low:chat:en"]["made"]["score"] == 79 and not ran.file("rejected")
    assert Ran(tmp_path, rows, "--rounds", 1).file("rejected")["t:low:chat:en"]["made"]["rounds"] == 1
    assert requests(endpoint) == before


def test_a_patient_is_answered_in_the_language_of_the_message(endpoint: Path, tmp_path: Path) -> None:
    """Arabic chats of which half change to English: where, follows from seed and id alone, and each turn is the one in its language."""
    rows = [case(str(number)) for number in range(24)]
    ran = Ran(tmp_path, rows, "--switch-share", 0.5, lang="ar")
    accepted = ran.file()
    assert ran.code == 0 and set(accepted) == {f"t:{number}:chat:ar" for number in range(24)}
    places = {}
    for name, row in accepted.items():
        at, count = row["made"]["switched"], len(row["turns"]) // 2
        langs = ["en" if at and number >= at else "ar" for number in range(1, count + 1)]
        assert [turn["value"] for turn in row["turns"]] == [text for exchange in good(langs) for text in exchange]
        assert row["lang"] == "ar" and (at is False or 2 <= at <= count)
        places[name] = at
    assert 6 <= sum(at is not False for at in places.values()) <= 18 and len(set(places.values())) > 3

    again = Ran(tmp_path / "again", rows[::-1][:10], "--switch-share", 0.5, lang="ar")
    assert {name: row["made"]["switched"] for name, row in again.file().items()} == {name: places[name] for name in again.file()} and len(again.file()) == 10
    none, all_ = (Ran(tmp_path, rows[:8], "--switch-share", share).file() for share in (0, 1))
    assert not any(row["made"]["switched"] for row in none.values()) and all(row["made"]["switched"] for row in all_.values())


def test_a_change_of_language_that_never_comes_is_found(endpoint: Path, tmp_path: Path) -> None:
    """A chat that ends before the exchange where the patient was to change, and one that goes on as it began."""
    limits = chats.Limits("en", switch_share=1)
    rows = [case(f"{words}-{number}", words) for words in ("short", "stays") for number in range(30)]
    plans = {chats.name_of(row, "en"): chats.course(row, limits) for row in rows}
    ran = Ran(tmp_path, rows, "--switch-share", 1, "--rounds", 1)
    reasons = {name: row["reason"] for name, row in ran.file("rejected").items()}
    short = {name: plan.switched for name, plan in plans.items() if "short" in name}
    assert {reasons[name] for name, at in short.items() if at > 3} == {"no_switch"} and {reasons[name] for name, at in short.items() if at <= 3} == {"language"}
    assert {reason for name, reason in reasons.items() if "stays" in name} == {"language"} and len(reasons) == 60


def test_rows_that_no_chat_may_be_made_from_are_refused(endpoint: Path, tmp_path: Path) -> None:
    """A test question first of all: a chat about it would leak it. None of them is asked about."""
    before = requests(endpoint)
    qa = {"kind": "qa", "id": "t:q:en", "origin_id": "t:q", "lang": "en", "source": "t", "split": "train", "question": "What is iron?", "answer": "A metal."}
    rows = [
        case("test", split="test"),
        case("dev", split="dev"),
        case("arabic", id="t:arabic:ar", lang="ar"),
        case("named", id="t:named"),
        qa,
        {"kind": "mcqa", "id": "t:broken:en"},
        case("kept", split="validation"),
        case("kept", split="validation"),
    ]
    ran = Ran(tmp_path, rows)
    refused = [json.loads(line) for line in (tmp_path / "chats_en.unread.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["row"], row["reason"]) for row in refused] == [
        (1, "test_question"),
        (2, "test_question"),
        (3, "other_language"),
        (4, "invalid_id"),
        (5, "not_multiple_choice"),
        (6, "invalid_origin_id"),
        (8, "duplicate_id"),
    ]
    assert "leak" in refused[0]["message"] and refused[0]["content"]["id"] == "t:test:en"
    assert [(row["id"], row["split"]) for row in ran.file().values()] == [("t:kept:chat:en", "validation")]
    assert requests(endpoint) - before == 2


def test_the_command(endpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As users run it: an estimate without a request, the run with the model that the endpoint serves, and what is wrong with an option."""
    rows = [case(str(number)) for number in range(5)]
    before = requests(endpoint)
    ran = Ran(tmp_path, rows, "--dry-run", lang="ar")
    assert ran.code == 0 and "10 requests" in capsys.readouterr().out and not ran.out.exists() and requests(endpoint) == before
    ran = command("data_prep.chats", "--in", tmp_path / "questions.jsonl", "--out", ran.out, "--lang", "ar", "--journal", tmp_path / "journal.sqlite")
    assert ran.code == 0 and "5 accepted, 0 rejected, 0 failed" in ran.said, ran.said
    with pytest.raises(SystemExit, match="2"):
        Ran(tmp_path, rows, "--switch-share", 2)
    assert "2 is not from 0 to 1" in capsys.readouterr().err
