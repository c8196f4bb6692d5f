"""The chat evaluation through its command, against a real endpoint: what is asked, what is written, what the judge may not know, going on after a kill."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep.endpoint import serving
from eval.chat_rubric import rubric
from tests.conftest import ROOT
from tests.eval.chat_model import BELIEVED, GOOD, INVENTS_ALWAYS, INVENTS_ONCE, JUDGE, MODEL, STOPS, Listening, lines, questions, run, script


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Listening]]:
    """All questions answered and judged, and every request that was made for it."""
    build, both = tmp_path_factory.mktemp("build"), Listening()
    with both.serving():
        assert run("answer", "--model", MODEL, "--build", build) == 0
        assert run("judge", build / "chat" / MODEL, "--model", JUDGE, "--price-in", 1, "--price-out", 2) == 0
    yield build / "chat" / MODEL, both


def test_the_patient_is_the_same_for_every_model(judged: tuple[Path, Listening]) -> None:
    """Each message of the patient in its order, the model's own answers between them, temperature 0 and the seed; every question once."""
    folder, both = judged
    asked = [body for body in both.bodies if "response_format" not in body]
    answers = lines(folder / "answers.jsonl")
    wanted = {question.id: question for question in questions("open", "history", "dose", "claims", "urgent")}
    assert set(answers) == set(wanted) and len(wanted) == 204
    assert len(asked) == sum(len(question.patient) for question in wanted.values()) - 1 == 255
    assert all((body["temperature"], body["seed"], body["max_tokens"]) == (0, 17, 1024) for body in asked)
    longest = max(asked, key=lambda body: len(body["messages"]))["messages"]
    assert [message["role"] for message in longest] == ["user", "assistant"] * 2 + ["user"]
    row = answers["history/great_thirst:ar"]  # changes to English at the second message
    assert [turn["lang"] for turn in row["turns"]] == ["ar", "en", "en"]
    assert [turn["assistant"] for turn in row["turns"]] == [GOOD["ar"], GOOD["en"], GOOD["en"]]
    assert row["model"] == MODEL and row["made"] == {"step": "chat-answers", "max_tokens": 1024, "seed": 17}
    assert answers["open/acne:en"]["turns"][0]["assistant"] == ""
    assert [turn["assistant"] for turn in answers[STOPS]["turns"]] == [GOOD["en"], ""]  # nothing to go on from


def test_the_judge_is_blind_and_asked_in_another_order(judged: tuple[Path, Listening], tmp_path: Path) -> None:
    """No request to the judge names the model; a chat without words is not sent; another seed is another order of the same requests."""
    folder, both = judged
    asked = [body for body in both.bodies if "response_format" in body]
    assert not any(MODEL in json.dumps(body) for body in asked)
    # one for each chat but the empty one, and a second where the first quoted what nobody had said
    assert len(asked) == 204 - 1 + 2
    order = list(lines(folder / "judged-judge-a.jsonl"))
    answered = [name for name in lines(folder / "answers.jsonl") if name != INVENTS_ALWAYS]
    assert sorted(order) == sorted(answered) and order != answered
    copy, more = shutil.copytree(folder, tmp_path / MODEL), Listening()
    with more.serving():
        assert run("judge", copy, "--model", JUDGE, "--seed", 18) == 0
    assert sorted(lines(copy / "judged-judge-a.jsonl")) == sorted(order)
    assert order != list(lines(copy / "judged-judge-a.jsonl")) and more.bodies == []


def test_verdicts_of_code_and_judge(judged: tuple[Path, Listening]) -> None:
    """Each criterion of a set and no other; what code can tell is told by code, with the words that show it."""
    folder, _ = judged
    rows = lines(folder / "judged-judge-a.jsonl")
    for row in rows.values():
        assert list(row["criteria"]) == [name for name, one in rubric().criteria.items() if row["set"] in one.sets]
        assert row["judge"] == JUDGE and row["model"] == MODEL and row["made"]["prompt"] == "judge@1"

    def verdict(name: str, criterion: str) -> str:
        return rows[name]["criteria"][criterion]["verdict"]

    by_code = {name: [one for one in rows if verdict(one, name) == "false"] for name in ("answered", "language", "no_invented_dose")}
    assert sorted(by_code["answered"]) == [STOPS, "open/acne:en"]
    assert sorted(by_code["language"]) == [STOPS, "open/acne:en", "open/back_pain:en"]
    assert sorted(by_code["no_invented_dose"]) == ["dose/child_paracetamol:en", "dose/warfarin_inr:ar"]
    assert rows["dose/warfarin_inr:ar"]["criteria"]["no_invented_dose"]["quote"] == "7 ملغ كل يوم"
    empty = rows["open/acne:en"]
    assert empty["score"] == 0 and {one["by"] for one in empty["criteria"].values()} == {"code"}
    assert {one["verdict"] for name, one in empty["criteria"].items() if name != "no_invented_dose"} == {"false"}
    believed = {name for name in rows if rows[name]["set"] == "claims" and verdict(name, "refuses_false_claim") == "false"}
    assert believed == {name for name in rows if name.endswith((":strong:ar", ":writing:ar"))} and len(believed) == 22
    assert rows["claims/mmr_autism:strong:ar"]["criteria"]["refuses_false_claim"]["quote"] == " ".join(BELIEVED.split()[:4])


def test_a_quotation_that_is_not_there_is_asked_for_again_then_refused(judged: tuple[Path, Listening]) -> None:
    """Once corrected it counts; twice wrong the chat has no judgement, and the file of the failed says why."""
    folder, both = judged
    assert INVENTS_ONCE in lines(folder / "judged-judge-a.jsonl")
    failed = lines(folder / "judged-judge-a.failed.jsonl")
    assert list(failed) == [INVENTS_ALWAYS] and failed[INVENTS_ALWAYS]["reason"] == "invalid_answer"
    assert "does not stand in the assistant's messages" in failed[INVENTS_ALWAYS]["message"]
    shown = [body["messages"][-1]["content"] for body in both.bodies if len(body["messages"]) == 4 and "response_format" in body]
    assert len(shown) == 2 and all("copy words letter for letter" in text for text in shown)


def test_the_meter_counts_what_was_spent(judged: tuple[Path, Listening]) -> None:
    """Requests, tokens and dollars of the judge, as the endpoint counted them: a quarter of the characters."""
    folder, both = judged
    spent = json.loads((folder / "judged-judge-a.manifest.json").read_text(encoding="utf-8"))["journal"]
    sent = sum(max(sum(len(message["content"]) for message in body["messages"]) // 4, 1) for body in both.bodies if "response_format" in body)
    assert spent["requests"] == 205 and spent["prompt_tokens"] == sent
    assert spent["usd"] == pytest.approx((spent["prompt_tokens"] + 2 * spent["completion_tokens"]) / 1e6)


def test_the_page(judged: tuple[Path, Listening], capsys: pytest.CaptureFixture[str]) -> None:
    """The command's last stage: shares, the curve, the lost chat, the cost, what it is not for."""
    folder, _ = judged
    assert run("report", folder) == 0
    page = (folder / "chat.md").read_text(encoding="utf-8")
    assert page in capsys.readouterr().out
    assert "For research, not for clinical use" in page[:120] and f"## {MODEL}, judged by {JUDGE}" in page
    assert "| Arabic | 100% (74% to 100%), 11 of 11 | 100% (74% to 100%), 11 of 11 | 0% (0% to 26%), 0 of 11 | 0% (0% to 26%), 0 of 11 |" in page
    assert "**No judgement: 1 of 204 chats**" in page and "rubric 1" in page and "205 requests" in page
    for suffix in ("svg", "png"):
        assert (folder / f"chat-claims.{suffix}").stat().st_size > 5000


def test_the_page_owns_up(judged: tuple[Path, Listening], tmp_path: Path) -> None:
    """To a judge that judges itself, and to answers that are not those that were judged."""
    copy = shutil.copytree(judged[0], tmp_path / MODEL)
    path = copy / "judged-judge-a.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"judge-a"', f'"{MODEL}"'), encoding="utf-8")
    assert run("report", copy) == 0
    page = (copy / "chat.md").read_text(encoding="utf-8")
    assert "The judge is the model under test" in page and "written anew" not in page
    (copy / "answers.jsonl").write_text("", encoding="utf-8")
    assert run("report", copy) == 0
    assert "answers.jsonl was written anew since it was judged" in (copy / "chat.md").read_text(encoding="utf-8")


def test_what_code_can_tell_needs_no_judge(judged: tuple[Path, Listening], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an endpoint: the verdicts of the code are those beside a judge's, in the same order; no score, no curve, and the page says so."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    copy = shutil.copytree(judged[0], tmp_path / MODEL, ignore=shutil.ignore_patterns("judged-*", "chat*"))
    assert run("judge", copy, "--code-only") == 0
    alone, beside = lines(copy / "judged-code.jsonl"), lines(judged[0] / "judged-judge-a.jsonl")
    assert [name for name in alone if name in beside] == list(beside) and len(alone) == 204
    for name, row in beside.items():
        told = {key: one for key, one in row["criteria"].items() if key in ("answered", "language", "no_invented_dose")}
        assert alone[name]["criteria"] == told and alone[name]["score"] is None and alone[name]["judge"] == "code"
    assert run("report", copy) == 0 and not list(copy.glob("*.svg"))
    page = (copy / "chat.md").read_text(encoding="utf-8")
    assert "no judge: what code can tell" in page and "Safe advice" not in page and "Score" not in page


def test_batch_files_bring_the_same_answers(judged: tuple[Path, Listening], tmp_path: Path) -> None:
    """Each turn of batch files brings every chat one exchange on; after the last one the answers are those of the online run."""
    results, turn = [], 0
    while run("answer", "--model", MODEL, "--only", "history", "--build", tmp_path, "--batch-out", tmp_path / str(turn), *results) == 3:
        (requests,) = (tmp_path / str(turn)).iterdir()
        made = []
        for asked in map(json.loads, requests.read_text(encoding="utf-8").splitlines()):
            choice = {"message": {"content": script(asked["body"])}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 1, "completion_tokens": 1}
            made.append({"custom_id": asked["custom_id"], "response": {"status_code": 200, "body": {"choices": [choice], "usage": usage}}})
        (tmp_path / f"{turn}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in made), encoding="utf-8")
        results, turn = ["--batch-in", tmp_path / f"{turn}.jsonl"], turn + 1
    online, offline = lines(judged[0] / "answers.jsonl"), lines(tmp_path / "chat" / MODEL / "answers.jsonl")
    assert turn == 3 and len(offline) == 26
    for name, row in offline.items():
        assert [one | {"tokens": None} for one in row["turns"]] == [one | {"tokens": None} for one in online[name]["turns"]]


def _started(arguments: list[str], url: str) -> subprocess.Popen:
    line = [sys.executable, "-m", "eval.chat", *arguments]
    return subprocess.Popen(line, cwd=ROOT, env=os.environ | {"OPENAI_BASE_URL": url}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_killed_in_the_middle_nothing_is_asked_twice(tmp_path: Path) -> None:
    """SIGKILL while chats are under way: the second run asks only what the journal does not hold, and writes what an undisturbed one writes."""
    log = tmp_path / "log.jsonl"
    with serving(script="tests.eval.chat_model:script", models=[MODEL, JUDGE], latency=0.15, log=log) as url:
        stages = {"answer": ["answer", "--model", MODEL, "--only", "history", "--concurrency", "3"]}
        stages["judge"] = ["judge", str(tmp_path / "killed" / "chat" / MODEL), "--model", JUDGE, "--concurrency", "3"]
        needed = {"answer": 77, "judge": 26}  # requests; one chat ends early
        for stage, arguments in stages.items():
            before = len(log.read_text().splitlines()) if log.exists() else 0
            process = _started([*arguments, "--build", str(tmp_path / "killed")], url)
            while not log.exists() or len(log.read_text().splitlines()) < before + 12:
                assert process.poll() is None, process.stdout.read()
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(0.5)  # what was under way arrives and is logged
            name = {"answer": "answers", "judge": f"judged-{JUDGE}"}[stage]
            folder = tmp_path / "killed" / "chat" / MODEL
            assert not (folder / f"{name}.jsonl").exists()
            with sqlite3.connect(folder / f"{name}.sqlite") as journal:
                kept = journal.execute("SELECT count(*) FROM answers").fetchone()[0]
            sent = len(log.read_text().splitlines())
            assert 0 < kept < needed[stage]
            again = _started([*arguments, "--build", str(tmp_path / "killed")], url)
            said, _ = again.communicate(timeout=120)
            assert again.returncode == 0, said
            assert len(log.read_text().splitlines()) - sent == needed[stage] - kept
            assert len(lines(folder / f"{name}.jsonl")) == 26
            once_more = _started([*arguments, "--build", str(tmp_path / "killed")], url)
            once_more.communicate(timeout=120)
            assert len(log.read_text().splitlines()) == sent + needed[stage] - kept  # all is in the journal
    with Listening().serving():
        assert run(*stages["answer"], "--build", tmp_path / "whole") == 0
        assert run("judge", tmp_path / "whole" / "chat" / MODEL, "--model", JUDGE) == 0
    for name in ("answers.jsonl", f"judged-{JUDGE}.jsonl"):
        assert (tmp_path / "killed" / "chat" / MODEL / name).read_bytes() == (tmp_path / "whole" / "chat" / MODEL / name).read_bytes()


def test_the_budget_stops_both_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run stops before it holds more than it may, writes what is finished, and goes on with a larger budget without asking again."""
    money = ["--price-in", 1000, "--price-out", 1000, "--concurrency", 2]
    both = Listening()
    with both.serving():
        asking = ["answer", "--model", MODEL, "--only", "urgent", "--build", tmp_path, *money]
        assert run(*asking, "--budget-usd", 0.5) == 3
        said = capsys.readouterr()
        assert "the budget of 0.50 USD is used up" in said.err
        few = len(both.bodies)
        spent = json.loads((tmp_path / "chat" / MODEL / "answers.manifest.json").read_text(encoding="utf-8"))["journal"]["usd"]
        assert 0 < few < 20 and 0.3 < spent <= 0.5 and len(lines(tmp_path / "chat" / MODEL / "answers.jsonl")) == few
        assert run(*asking, "--budget-usd", 50) == 0 and len(both.bodies) == 20
        assert run("judge", tmp_path / "chat" / MODEL, "--model", JUDGE, *money, "--budget-usd", 3) == 3
        assert "is used up" in capsys.readouterr().err and 20 < len(both.bodies) < 40


def test_a_dry_run_sends_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says how many requests, tokens and dollars are left."""
    both = Listening()
    with both.serving():
        assert run("answer", "--model", MODEL, "--build", tmp_path, "--dry-run", "--price-in", 1, "--price-out", 2) == 0
    assert "at least 256 requests" in capsys.readouterr().out and both.bodies == [] and list(tmp_path.iterdir()) == []


def test_what_the_user_can_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its file and what to do, status 2, and without a traceback."""
    (tmp_path / "answers.jsonl").write_text('{"id": "open/back_pain:en"}\n', encoding="utf-8")
    asked = {
        "`python -m eval.chat answer` writes it": ["judge", tmp_path / "nothing", "--model", JUDGE],
        "there is no such file; `python -m eval.chat judge` writes it": ["report", tmp_path / "judged.jsonl"],
        "no judgement; name the judged-*.jsonl": ["report", tmp_path / "answers.jsonl"],
        "no judged-*.jsonl in it": ["report", tmp_path],
        "two files are needed, not 1": ["agree", tmp_path / "answers.jsonl"],
        "answers.jsonl, row 1: entry: Field required": ["agree", "--sheet", tmp_path / "sheet.csv", tmp_path / "answers.jsonl"],
        "answers.jsonl, row 1: no judgement": ["agree", tmp_path / "answers.jsonl", tmp_path / "answers.jsonl"],
    }
    for words, arguments in asked.items():
        assert run(*arguments) == 2
        assert words in capsys.readouterr().err, words
    with Listening().serving():
        assert run("answer", "--model", "nobody", "--build", tmp_path) == 2
    assert "does not serve 'nobody'" in capsys.readouterr().err
