"""A real Label Studio with a queue that the translation command wrote, and readers who work through its API, each with an account of their own."""

import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from filelock import FileLock

from tests.conftest import OFFLINE, ROOT, Ran, free_port
from tests.conftest import command as _command
from tests.data_prep import translating
from tests.data_prep.translating import GOOD, Asked, Model

PYTHON = ROOT / ".venv-review" / "bin" / "python"
LOW, HIGH = 20, 40
TITLE = "BiMediX translations"


def environment() -> None:
    """.venv-review, built where it is missing; nothing to do where it stands."""
    (ROOT / "build").mkdir(exist_ok=True)
    with FileLock(ROOT / "build" / ".setup-review.lock"):  # two test processes, one environment
        subprocess.run(["make", "-s", "setup-review"], cwd=ROOT, check=True, timeout=900)


def queue(folder: Path) -> Path:
    """60 rows for people, from the real command: 20 that the model scores 40 to 59, 40 that it scores 80 to 99. `medqa_ar` stands for any name."""
    known = [pair for pair in GOOD.values() if translating.translate.check(_nested(pair[0]), _arabic(pair)).score == 100][: LOW + HIGH]
    assert len(known) == LOW + HIGH
    place = {json.dumps(translating.translate.texts(record)): number for number, (record, _) in enumerate(known)}

    def does(asked: Asked, right: dict) -> object:
        number = place[json.dumps(asked.english)]
        return right if asked.form == "Translation" else {"feedback": "Check the terms.", "score": 40 + number if number < LOW else 80 + number % 20}

    ran = translating.Ran(folder, [record for record, _ in known], Model(known, does), "--review-share", 1, "--rounds", 1)
    assert ran.code == 0 and len(ran.file("review")) == LOW + HIGH
    for path in sorted(folder.glob("ar*")):
        path.rename(folder / path.name.replace("ar", "medqa_ar", 1))
    return folder / "medqa_ar.review.jsonl"


def _nested(record: object) -> dict:
    return translating.translate.nested(record)


def _arabic(pair: tuple) -> dict:
    return _nested(translating.translate.in_arabic(*pair))


def review(*arguments: object, **environment: str) -> Ran:
    """Run the command in its environment."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        return _command("data_prep.review", *arguments, python=PYTHON)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@dataclass
class Reader:
    """Somebody with an account: answers tasks as the page would send them."""

    url: str
    token: str
    number: int

    def submit(self, task: dict, verdict: str, score: int, edits: dict[str, str] | None = None, comment: str = "", annotation: int | None = None) -> int:
        """Decide on a task, or change one's decision; gives the annotation's number."""
        results = [_result("verdict", "about", "choices", {"choices": [verdict]}), _result("key_score", "about", "choices", {"choices": ["80"]})]
        results.append(_result("score", "about", "number", {"number": score}))
        for number, shown in enumerate(task["data"]["fields"]):
            text = (edits or {}).get(shown["name"], shown["ar"])
            results += [_result(f"ar_{number}", f"en_{number}", "textarea", {"text": [text]})] if text else []
        results += [_result("comment", "about", "textarea", {"text": [comment]})] if comment else []
        where = f"/api/annotations/{annotation}/" if annotation else f"/api/tasks/{task['id']}/annotations/"
        return self.ask("PATCH" if annotation else "POST", where, json={"result": results, "lead_time": 5})["id"]

    def ask(self, method: str, path: str, **more: object) -> dict:
        answer = httpx.request(method, self.url + path, headers={"Authorization": f"Token {self.token}"}, timeout=30, **more)
        assert answer.status_code < 300, (path, answer.status_code, answer.text[:500])
        return answer.json()


def _result(name: str, to: str, kind: str, value: dict) -> dict:
    return {"from_name": name, "to_name": to, "type": kind, "value": value}


@dataclass
class Desk:
    """`make review`'s server over a build folder, on a port of its own."""

    build: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None
    said: str = ""

    @property
    def access(self) -> dict:
        return json.loads((self.build / "review" / "server.json").read_text(encoding="utf-8"))

    @property
    def admin(self) -> Reader:
        return Reader(self.access["url"], self.access["token"], 1)

    def start(self, *options: object) -> None:
        """Start the command and wait for its last line; what it said is kept."""
        line = [str(PYTHON), "-m", "data_prep.review", "serve", "--build", str(self.build), "--port", str(self.port), *map(str, options)]
        self.process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | OFFLINE)
        self.said = ""
        for told in self.process.stdout:
            self.said += told
            if told.startswith("stays until"):
                return
        raise AssertionError(f"it ended: {self.said}")

    def stop(self) -> int:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def server(self) -> int:
        """The process number of Label Studio itself."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def sign_up(self, link: str, email: str) -> tuple[int, httpx.Client]:
        """Fill in the form for an account; gives the status and the browser that is logged in then."""
        browser = httpx.Client(base_url=self.access["url"], follow_redirects=True, timeout=30)
        csrf = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', browser.get(link).text)[1]
        form = {"csrfmiddlewaretoken": csrf, "email": email, "password": "long-enough-1", "allow_newsletters": "false"}
        return browser.post(link, data=form, headers={"Referer": self.access["url"]}).status_code, browser

    def join(self, email: str) -> Reader:
        """A further account, by the administrator's link, as a doctor would come."""
        status, browser = self.sign_up(self.admin.ask("GET", "/api/invite")["invite_url"], email)
        assert status == 200
        reader = Reader(self.access["url"], browser.get("/api/current-user/token").json()["token"], 0)
        return Reader(reader.url, reader.token, reader.ask("GET", "/api/current-user/whoami")["id"])

    def project(self, title: str = TITLE) -> int:
        return next(one["id"] for one in self.admin.ask("GET", "/api/projects?page_size=100")["results"] if one["title"] == title)

    def tasks(self, title: str = TITLE) -> list[dict]:
        """All tasks of a project, in order."""
        found = self.admin.ask("GET", f"/api/tasks?project={self.project(title)}&page_size=200&fields=all")["tasks"]
        return sorted(found, key=lambda task: task["id"])

    def pull(self, *options: object) -> Ran:
        return review("pull", "--build", self.build, *options)

    def push(self, *options: object) -> Ran:
        return review("push", "--build", self.build, *options)

    def rows(self, suffix: str) -> list[dict]:
        """The lines of a file beside the queue."""
        path = self.build / "generated" / f"medqa_ar.{suffix}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line] if path.exists() else []


def edited(task: dict, name: str = "") -> dict[str, str]:
    """A harmless correction of the longest text, or of the named one: one word more, which no rule minds."""
    texts = {shown["name"]: shown["ar"] for shown in task["data"]["fields"]}
    name = name or max(texts, key=lambda one: len(texts[one]))
    return {name: f"{texts[name].rstrip('.')} فعلا."}


def wait_until(holds: object, seconds: float = 30) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)
