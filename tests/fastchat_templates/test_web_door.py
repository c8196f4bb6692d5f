"""What the web page answers to somebody who is not a browser, who has no password, or whose server is being stopped."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.conftest import OFFLINE, ROOT, SERVE_PYTHON, free_port
from tests.fastchat_templates.guarded import Guarded, until
from tests.fastchat_templates.visitor import launch

NOTICE = ("For research, not for clinical use.", "للبحث العلمي فقط، وليس للاستخدام السريري.")
QUESTION = "say هل 500 mg كثير؟"


class Client:
    """A visitor who makes the browser's calls by hand."""

    def __init__(self, url: str) -> None:
        self.url, self.session = url, requests.Session()
        self.hash = os.urandom(6).hex()

    def get(self, path: str, **more: object) -> requests.Response:
        return self.session.get(f"{self.url}/{path}", timeout=30, **more)

    def log_in(self, name: str, password: str) -> requests.Response:
        return self.session.post(f"{self.url}/login", data={"username": name, "password": password}, timeout=30)

    def call(self, function: str, *data: object) -> requests.Response:
        """Begin what a button does; the events that follow are in the response, line by line."""
        config = self.get("config").json()
        parts = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
        trigger, event = function.split(".")
        wanted = [d["id"] for d in config["dependencies"] if any(parts.get(where) == trigger and what == event for where, what in d["targets"])]
        joined = {"data": data, "fn_index": wanted[0], "session_hash": self.hash, "event_data": None, "trigger_id": None}
        assert self.session.post(f"{self.url}/gradio_api/queue/join", json=joined, timeout=30).ok
        return self.get("gradio_api/queue/data", params={"session_hash": self.hash}, stream=True)

    def ask(self, model: str, question: str) -> list[dict]:
        """All events of one question."""
        with self.call("ask.submit", None, model, question, 0.7, 1, 64) as events:
            found = [json.loads(line.removeprefix(b"data: ")) for line in events.iter_lines() if line]
        assert [event["success"] for event in found if event["msg"] == "process_completed"] == [True], found
        return found


@dataclass
class Web:
    """A page with passwords that writes conversations into `logs`, and another one that was given a wrong setting."""

    url: str
    logs: Path
    process: subprocess.Popen
    wrong: subprocess.Popen

    def client(self, name: str, password: str) -> Client:
        """Somebody who has logged in."""
        client = Client(self.url)
        assert client.log_in(name, password).ok
        return client


@pytest.fixture(scope="module")
def web(guarded: Guarded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    logs, port = tmp_path_factory.mktemp("door"), free_port()
    line = [str(SERVE_PYTHON), "-m", "fastchat_templates.web", "--controller-url", guarded.url("controller"), "--port", str(port), "--log-messages"]
    more = os.environ | OFFLINE | {"LOGDIR": str(logs)}
    with (logs / "out").open("wb") as out:
        process = subprocess.Popen(line, cwd=ROOT, env=more | {"BIMEDIX_WEB_LOGIN": "amal:open sesame, omar:باب"}, stdout=out, stderr=subprocess.STDOUT)
    # at the same time: most of the seconds are for imports
    more.pop("LOGDIR")
    wrong = subprocess.Popen(line, cwd=ROOT, env=more | {"BIMEDIX_WEB_LOGIN": "amal"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: requests.get(f"{url}/health", timeout=5).ok, 60)
        yield Web(url, logs, process, wrong)
    finally:
        for one in (process, wrong):
            one.kill()
            one.wait()


def test_the_page_itself(web: Web) -> None:
    """The notice is there before any script runs; no other host is named; what a browser may load is said."""
    page = Client(web.url).get("")
    assert all(notice in page.text for notice in NOTICE)
    head = page.text.replace("http://www.w3.org/2000/svg", "").replace(web.url, "")
    assert "http://" not in head and "https://" not in head
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert not any(path in page.text for path in (str(ROOT), str(Path.home()), "/tmp/", "site-packages"))


def test_only_the_page_is_open(web: Web) -> None:
    """Gradio's uploads, files, proxy and monitor are shut; bodies are limited; whatever is sent, no stack comes back."""
    url = web.url
    for path in ("gradio_api/file=requirements/serve.in", "gradio_api/proxy=http://127.0.0.1/", "monitoring", "docs", "openapi.json", "page/words.yaml",
                 "page/../web.py", "?deep_link=../..", "gradio_api/vibe-code", "assets/../../../routes.py", "gradio_api/upload_progress"):  # fmt: skip
        answer = requests.get(f"{url}/{path}", timeout=10)
        assert (answer.status_code, answer.text) == (404, '{"error":"not found"}') or answer.status_code == 404, path
    assert requests.post(f"{url}/gradio_api/upload", files={"files": b"x"}, timeout=10).status_code == 404
    client = web.client("amal", "open sesame")
    long = b'{"data": ["' + b"x" * 300_000 + b'"]}'
    for body, status in ((long, {413}), (b"{", {422, 400, 500}), (b"[]", {422, 400, 500}), (b'{"fn_index": 99999, "data": []}', {400, 404, 422, 500})):
        answer = client.session.post(f"{url}/gradio_api/queue/join", data=body, headers={"content-type": "application/json"}, timeout=10)
        assert answer.status_code in status, (body[:40], answer.status_code)
        assert not any(word in answer.text for word in ("Traceback", ".py", "site-packages")), answer.text[:500]
    chunks = (b"x" * 50_000 for _ in range(20))  # without a length in front
    assert client.session.post(f"{url}/gradio_api/queue/join", data=chunks, timeout=10).status_code == 413


def test_a_password_and_a_log(web: Web) -> None:
    """Without the password nothing but the login; with it an answer, which --log-messages writes down without the visitor's address."""
    url, logs = web.url, web.logs
    client = Client(url)
    assert client.get("config").status_code == 401 and '"components":[]' in client.get("").text.replace(" ", "")
    assert client.session.post(f"{url}/gradio_api/queue/join", json={"data": [], "fn_index": 0, "session_hash": "x"}, timeout=10).status_code == 401
    assert client.log_in("amal", "باب").status_code == 400
    assert client.log_in("amal", "open sesame").ok
    client.ask("slow", QUESTION)
    (file,) = logs.glob("*-conv.json")
    (line,) = file.read_text(encoding="utf-8").splitlines()
    assert QUESTION in line and "127.0.0.1" not in line
    assert json.loads(line)["state"]["model_name"] == "slow"


def test_a_running_answer_is_finished(web: Web) -> None:
    """SIGTERM in the middle of an answer: the last words still come, then the process ends, with status 0."""
    client, events = web.client("omar", "باب"), []
    asking = threading.Thread(target=lambda: events.extend(client.ask("slow", "slow " + " ".join(map(str, range(25))))))
    with client.get(f"gradio_api/heartbeat/{client.hash}", stream=True):  # as an open page holds it
        asking.start()
        time.sleep(0.8)
        web.process.send_signal(signal.SIGTERM)
        asking.join(20)
        assert web.process.wait(15) == 0
    assert "23 24" in json.dumps([event for event in events if event["msg"] == "process_completed"])
    assert "Traceback" not in (web.logs / "out").read_text(encoding="utf-8")


def test_a_wrong_password_setting_is_named(web: Web) -> None:
    """One line, before anything listens."""
    said, _ = web.wrong.communicate(timeout=60)
    assert web.wrong.returncode == 1 and "BIMEDIX_WEB_LOGIN is not name:password" in said and "Traceback" not in said
    assert not list(ROOT.glob("*.log")), "FastChat's logs lie about"


def test_without_a_browser_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a skip: what to install."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RuntimeError, match="apt-get install chromium fonts-noto-core"):
        launch(None)
    assert subprocess.run(["/usr/bin/fc-list", ":lang=ar", "family"], capture_output=True, text=True, check=True).stdout.strip(), "no font has Arabic letters"
