"""Human review against a real Label Studio: what people decide arrives once, whatever breaks, and the page can be worked on by keyboard. About 2.5 minutes."""

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from data_prep import locate, recipe
from data_prep.records import Reject
from data_prep.sources import records
from tests.conftest import OFFLINE, ROOT
from tests.data_prep import reviewing
from tests.data_prep.reviewing import PYTHON, TITLE, Desk, Reader, edited, review, wait_until
from tests.fastchat_templates.visitor import launch

VERDICTS = ("Accept", "Minor correction", "Major correction", "Reject")
SHORT = dict(zip(VERDICTS, ("accept", "minor", "major", "reject"), strict=True))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """`make review`'s command over 60 rows of the translation command, every fifth or so for two readers."""
    reviewing.environment()
    build = tmp_path_factory.mktemp("review")
    reviewing.queue(build / "generated")
    found = Desk(build)
    found.start("--shared", 0.2)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.stop()


def texts(task: dict) -> dict[str, str]:
    return {shown["name"]: shown["ar"] for shown in task["data"]["fields"]}


def log_in(page: Page, desk: Desk) -> None:
    page.goto(f"{desk.access['url']}/user/login/")
    page.fill("input[name=email]", desk.access["email"])
    page.fill("input[name=password]", desk.access["password"])
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/user/login" not in url, wait_until="commit")


def test_the_page_is_worked_on_by_keyboard(desk: Desk) -> None:
    """English left, Arabic in a box from right to left with the machine's text; edit, verdict, score and Ctrl+Enter without a mouse; no stranger asked."""
    asked = set()
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 1400, "height": 950})
        page.on("request", lambda request: asked.add(request.url.split("/")[2]) if request.url.startswith("http") else None)
        log_in(page, desk)
        page.goto(f"{desk.access['url']}/projects/{desk.project()}/data?labeling=1")
        boxes = page.locator(".review .arabic textarea")
        boxes.first.wait_for(timeout=60_000)
        task = next(task for task in desk.tasks() if task["data"]["fields"][0]["ar"] == boxes.first.input_value())
        shown = task["data"]["fields"]
        assert boxes.evaluate_all("all => all.map(one => one.value)") == [one["ar"] for one in shown]
        assert set(boxes.evaluate_all("all => all.map(one => getComputedStyle(one).direction)")) == {"rtl"}
        said = page.locator(".review").inner_text()
        assert "For research, not for clinical use." in said and f"machine's score {task['data']['machine_score']}" in said
        assert all(" ".join(one["en"].split()) in " ".join(said.split()) for one in shown)
        english, arabic = (page.locator(f".review .pair {part}").first.bounding_box() for part in (".lsf-richtext", "textarea"))
        assert english["x"] + english["width"] <= arabic["x"] and arabic["x"] + arabic["width"] <= 1400  # side by side
        boxes.first.focus()
        page.keyboard.press("Control+End")
        page.keyboard.type(" فعلا")
        page.keyboard.press("Shift+Enter")
        closed = page.locator("[data-testid=htx-textbox-content] p").first
        assert closed.evaluate("one => getComputedStyle(one).direction") == "rtl"
        marks = page.locator(".review .bar input[type=radio]")
        for key in "1342qertyw":  # each picks its choice, whatever else Label Studio has keys for
            page.keyboard.press(key)
            expect(marks.nth("1234qwerty".index(key))).to_be_checked()
        (ROOT / "build").mkdir(exist_ok=True)
        page.screenshot(path=ROOT / "build" / "review_page.png")
        with page.expect_response(lambda answer: "/annotations" in answer.url and answer.request.method == "POST") as sent:
            page.keyboard.press("Control+Enter")
        assert sent.value.status == 201
        browser.close()
    assert asked == {desk.access["url"].split("/")[2]}
    (made,) = next(one for one in desk.tasks() if one["id"] == task["id"])["annotations"]
    sent = {result["from_name"]: result["value"] for result in made["result"]}
    assert sent["verdict"] == {"choices": ["minor"]} and sent["key_score"] == {"choices": ["90"]}
    assert [sent[f"ar_{number}"]["text"] for number in range(len(shown))] == [[shown[0]["ar"] + " فعلا"], *[[one["ar"]] for one in shown[1:]]]


def work(desk: Desk, other: Reader) -> dict[str, dict]:
    """Two readers decide on all but three tasks that are open yet; what each row must become, by the row's key."""
    expected = {}
    todo = [task for task in desk.tasks() if not task["annotations"]]
    assert len(todo) >= 59
    for number, task in enumerate(todo[3:]):
        verdict, key, score = VERDICTS[number % 4], task["data"]["key"], 60 + number % 16
        edits = edited(task) if number % 4 in (1, 2) else {}
        readers = [desk.admin, other] if task["overlap"] == 2 else [(desk.admin, other)[number % 2]]
        for reader in readers:
            reader.submit(task, verdict, score, edits)
        expected[key] = {"state": SHORT[verdict], "by": [reader.number for reader in readers], "edits": edits, "score": score, "task": task}
    shared = [key for key, row in expected.items() if len(row["by"]) == 2]
    single = [key for key, row in expected.items() if len(row["by"]) == 1 and row["by"] == [1] and row["state"] == "accept"]
    assert len(shared) >= 6 and len(single) >= 6

    # somebody thinks again: a changed annotation, and a second one on the same task; the last counts
    row = expected[single[0]]
    numbers = {task["id"]: task["annotations"][0]["id"] for task in desk.tasks() if task["annotations"]}
    desk.admin.submit(row["task"], "Reject", 10, annotation=numbers[row["task"]["id"]])
    row |= {"state": "reject", "score": 10}
    row = expected[single[1]]
    desk.admin.submit(row["task"], "Minor correction", 85, edited(row["task"]))
    row |= {"state": "minor", "edits": edited(row["task"]), "score": 85}
    # edits that cannot be used: another dose, an emptied text, an edit that is called accepted, a correction that corrects nothing
    bad = {single[2]: ("Minor correction", "99"), single[3]: ("Minor correction", ""), single[4]: ("Accept", None), single[5]: ("Major correction", "same")}
    for key, (verdict, how) in bad.items():
        task = expected[key]["task"]
        name = max(texts(task), key=lambda one: len(texts(task)[one]))
        edits = edited(task) if how is None else {} if how == "same" else {name: f"{texts(task)[name]} خذ 99 ملغ." if how else ""}
        desk.admin.submit(task, verdict, 70, edits)
        expected[key] |= {"state": "refused"}
    # two who read the same row differ: in the verdict, in the text, by more than 20 points
    for key, (verdict, score, more) in zip(shared[:3], (("Reject", 0, False), (None, 0, True), (None, 25, False)), strict=True):
        row = expected[key]
        same = next(label for label, short in SHORT.items() if short == row["state"])
        if more:  # minor or major with another text
            row |= {"state": "minor"}
            desk.admin.submit(row["task"], "Minor correction", row["score"], edited(row["task"]))
            name, text = next(iter(edited(row["task"]).items()))
            other.submit(row["task"], "Minor correction", row["score"], {name: text + " حقا"})
        else:
            opposite = "Accept" if same == "Reject" else verdict
            other.submit(row["task"], opposite or same, row["score"] + score if verdict is None else row["score"], {} if opposite else row["edits"])
        row |= {"state": "differ"}
    return expected


def settled_as(desk: Desk, expected: dict[str, dict]) -> None:
    """The files hold exactly what was decided, with who, before and after."""
    good = {key: row for key, row in expected.items() if row["state"] in ("accept", "minor", "major")}
    folded = {row["id"]: row for row in desk.rows("reviewed")}
    assert len(folded) == len(desk.rows("reviewed")) and set(folded) == {row["task"]["data"]["id"] for row in good.values()}
    for row in good.values():
        made = folded[row["task"]["data"]["id"]]
        told, before = made["reviewed"], texts(row["task"])
        assert (told["verdict"], sorted(told["by"]), told["score"]) == (row["state"], sorted(row["by"]), row["score"])
        assert told["after"] == row["edits"] and told["before"] == {name: before[name] for name in row["edits"]}
        assert told["at"].startswith("20") and told["at"].endswith("+00:00") and made["made"]["step"] == "translate"
    rejected = [row["id"] for row in desk.rows("rejected")]
    assert sorted(rejected) == sorted(row["task"]["data"]["id"] for row in expected.values() if row["state"] == "reject")


def ledger(desk: Desk, words: str) -> list:
    """What a query finds, read beside whoever writes."""
    path = desk.build / "review" / "ledger.sqlite"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as found:
        return found.execute(words).fetchall()


def test_every_decision_is_folded_in_once(desk: Desk) -> None:
    """Two readers, 60 rows; the server dies in the middle of the first pull; then pushes and pulls in any order. Then what differed is settled."""
    other = desk.join("second@review.invalid")
    assert other.number != desk.admin.number
    browser = {task["data"]["key"]: task for task in desk.tasks() if task["annotations"]}
    expected = work(desk, other)
    for key, task in browser.items():  # what the browser test submitted, where it ran
        if task["overlap"] == 1:
            text = {"turn_1": texts(task)["turn_1"] + " فعلا"}
            expected[key] = {"state": "minor", "by": [1], "edits": text, "score": 90, "task": task}
    annotations = sum(len(task["annotations"]) for task in desk.tasks())

    line = [str(PYTHON), "-m", "data_prep.review", "pull", "--build", str(desk.build), "--page-size", "5"]
    pull = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | OFFLINE)
    wait_until(lambda: ledger(desk, "SELECT count(*) FROM decisions")[0][0] > 0)
    pull.send_signal(signal.SIGSTOP)
    os.kill(desk.server(), signal.SIGKILL)
    assert desk.process.wait(30) == 2  # make review says that its server is gone
    pull.send_signal(signal.SIGCONT)
    said = pull.communicate(timeout=60)[0]
    assert pull.returncode == 2 and "does not answer" in said and "is kept" in said, said
    assert 0 < ledger(desk, "SELECT count(*) FROM decisions")[0][0] < annotations and desk.rows("reviewed") == []

    desk.start("--shared", 0.2)
    assert "60 rows, 0 new on the server, 60 there before" in desk.said
    contents = set()
    for step in (desk.pull, desk.pull, desk.push, desk.push, desk.pull, desk.push):
        ran = step()
        assert ran.code == 0, ran.said
        contents.add(tuple(path.read_bytes() for path in sorted((desk.build / "generated").glob("*.re*ed.jsonl"))))
        assert len(desk.tasks()) == 60 and len(desk.tasks(f"{TITLE}: adjudication")) == 3
        assert ledger(desk, "SELECT count(*) FROM decisions")[0][0] == annotations
    assert len(contents) == 1
    settled_as(desk, expected)
    unsettled = [json.loads(text) for text in (desk.build / "review" / "unsettled.jsonl").read_text(encoding="utf-8").splitlines()]
    whys = {row["key"]: row["why"] for row in unsettled}
    assert {row["key"]: row["state"] for row in unsettled} == {key: row["state"] for key, row in expected.items() if row["state"] in ("refused", "differ")}
    words = [whys[key] for key, row in expected.items() if row["state"] == "refused"]
    assert [any(part in why for why in words) for part in ("breaks a rule", "is empty", "accepted, but", "no text was changed")] == [True] * 4
    assert sorted(whys[key] for key, row in expected.items() if row["state"] == "differ") != []

    for task, verdict in zip(desk.tasks(f"{TITLE}: adjudication"), ("Accept", "Reject", "Minor correction"), strict=True):
        assert "Reader 1:" in task["data"]["others"]
        row = expected[task["data"]["key"]]
        machine = texts(row["task"])
        edits = edited(row["task"]) if verdict == "Minor correction" else {}
        other.submit(task, verdict, 77, machine | edits)
        row |= {"state": SHORT[verdict], "by": [other.number], "edits": edits, "score": 77}
    for step in (desk.pull, desk.push, desk.pull):
        assert step().code == 0
    settled_as(desk, expected)
    assert len(desk.tasks(f"{TITLE}: adjudication")) == 3

    # and make data reads them: people's rows go before the machine's, which are named
    plan = recipe.Recipe.model_validate({"description": "x", "root": "DATA", "mcqa_answers": ["letter"], "sources": [{"from": "medqa_ar"}]})
    (found,) = locate.locate(plan, None, desk.build, ask=False).found
    assert [record.id for record in locate.read(found)] == [row["id"] for row in desk.rows("reviewed")]
    machine = [json.loads(text)["record"] for text in (desk.build / "generated" / "medqa_ar.review.jsonl").read_text(encoding="utf-8").splitlines()]
    (desk.build / "generated" / "medqa_ar.jsonl").write_text("".join(json.dumps(row) + "\n" for row in machine), encoding="utf-8")
    rows = list(records.read(found.path, **found.options))
    reasons = [row.reason for row in rows if isinstance(row, Reject)]
    assert (reasons.count("settled_by_people"), reasons.count("rejected_by_people")) == (len(desk.rows("reviewed")), len(desk.rows("rejected")))
    assert len(rows) == 60 + len(desk.rows("reviewed"))
    report = review("report", "--build", desk.build)
    assert report.code == 0 and f"{len(expected)} of 60 rows judged" in report.said, report.said


def test_what_is_wrong_is_said(desk: Desk, tmp_path: Path) -> None:
    """A port that somebody has, a server that refuses, another page in the project, a queue that is none; secrets are for their owner's eyes."""
    access = desk.build / "review" / "server.json"
    assert access.stat().st_mode & 0o777 == 0o600 and access.with_name(".gitignore").read_text() == "*\n"
    command = Path(f"/proc/{desk.server()}/cmdline").read_bytes().decode()
    assert desk.access["token"] not in command and desk.access["password"] not in command
    heard = [line.split()[1:4:2] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert [where for where, state in heard if state == "0A" and int(where.split(":")[1], 16) == desk.port] == [f"0100007F:{desk.port:04X}"]  # 127.0.0.1 alone
    assert desk.sign_up("/user/signup/", "stranger@review.invalid")[0] == 403  # nobody comes in without a link
    queue = desk.build / "generated" / "medqa_ar.review.jsonl"
    elsewhere = review("serve", "--build", tmp_path, "--port", desk.port, "--queue", queue)
    assert elsewhere.code == 2 and f"port {desk.port} is taken by another program" in elsewhere.said and not (tmp_path / "review" / "server").exists()
    again = review("serve", "--build", desk.build, "--port", desk.port)
    assert again.code == 0 and "60 rows, 0 new on the server" in again.said  # ours is known again, and stays
    refused = review("pull", "--build", desk.build, LABEL_STUDIO_URL=desk.access["url"], LABEL_STUDIO_API_KEY="0" * 40)
    assert refused.code == 2 and "token is refused" in refused.said
    assert "LABEL_STUDIO_API_KEY is not" in review("pull", "--build", desk.build, LABEL_STUDIO_URL=desk.access["url"], LABEL_STUDIO_API_KEY="").said
    there = review("pull", "--build", desk.build, LABEL_STUDIO_URL=desk.access["url"], LABEL_STUDIO_API_KEY=desk.access["token"])
    assert there.code == 0 and "60 rows: " in there.said  # a team's own server is reached so
    desk.admin.ask("POST", "/api/projects", json={"title": "other", "label_config": '<View><Text name="t" value="$about"/></View>'})
    other = desk.push("--project", "other")
    assert other.code == 2 and "its labelling configuration is not the one" in other.said
    bad = tmp_path / "x.review.jsonl"
    bad.write_text('{"id": "1"}\n')
    told = desk.push("--queue", bad)
    assert told.code == 2 and f"{bad}, row 1: it has no 'source'" in told.said


def test_people_s_work_is_spared_and_nobody_else_waits(tmp_path: Path) -> None:
    """`make clean` leaves BUILD/review; neither set-up nor demo touches the environment of review."""
    for name in ("review/server/x", "data/tiny/y"):
        (tmp_path / name).mkdir(parents=True)
    assert subprocess.run(["make", "-s", "clean", f"BUILD={tmp_path}"], cwd=ROOT, check=False).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["review"] and (tmp_path / "review" / "server" / "x").is_dir()
    (tmp_path / "empty").mkdir()
    assert subprocess.run(["make", "-s", "clean", f"BUILD={tmp_path / 'empty'}"], cwd=ROOT, check=False).returncode == 0
    assert not (tmp_path / "empty").exists()
    for target in ("setup", "demo"):
        told = subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        assert "setup.sh .venv requirements/main.txt" in told and ".venv-review" not in told and "data_prep.review" not in told
