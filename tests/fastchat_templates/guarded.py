"""The guarded stack as processes, for the tests of the API: controller, the real worker on the tiny model, two scripted workers, two APIs."""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import requests
from openai import OpenAI

from tests.conftest import OFFLINE, ROOT, SERVE_PYTHON, free_port

SECRET = "the secret of a test"
KEYS = ("key-one-of-the-test", "key-two-of-the-test")
STRICT = {
    "max-body": 20_000,
    "max-characters": 5000,
    "max-in-flight": 8,
    "body-seconds": 1,
    "head-seconds": 1,
    "stall-seconds": 2,
    "answer-seconds": 2,
    "rate": 600,
}
ANAEMIA = [{"role": "user", "content": "What is anaemia?"}]


def until(true: Callable[[], object], seconds: float) -> float:
    """Wait for it; the seconds that it took, AssertionError when it takes too long."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        try:
            if true():
                return time.monotonic() - start
        except requests.RequestException:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


@dataclass
class Guarded:
    """What runs. `api` asks for keys, `strict` has none and narrow limits, and logs messages. `slow` and `twin` are models of scripted workers."""

    logs: Path
    model: Path
    running: dict[str, subprocess.Popen] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def url(self, part: str) -> str:
        return f"http://127.0.0.1:{self.ports[part]}"

    def log(self, part: str) -> str:
        return (self.logs / f"{part}.log").read_text(encoding="utf-8")

    def start(self, part: str, module: str, *options: str, python: Path = SERVE_PYTHON, **environment: str) -> None:
        port = self.ports.setdefault(part, free_port())  # the same as before for one that comes back
        line = [str(python), "-m", module, "--port", str(port), *options]
        with (self.logs / f"{part}.log").open("wb") as log:
            more = OFFLINE | {"LOGDIR": "", "BIMEDIX_SECRET": SECRET} | environment
            self.running[part] = subprocess.Popen(line, cwd=ROOT, env=os.environ | more, stdout=log, stderr=subprocess.STDOUT)

    def start_scripted(self, part: str, models: str) -> None:
        """One more scripted worker, in a process that can be killed."""
        self.start(part, "tests.fastchat_templates.scripted_worker", "--models", models)
        until(lambda: requests.get(self.url(part), timeout=5).ok, 10)
        self.register(part, models.split(",")[0])

    def register(self, part: str, model: str) -> None:
        body = {"worker_name": self.url(part), "check_heart_beat": True, "worker_status": None}
        asked = requests.post(f"{self.url('controller')}/register_worker", json=body, headers={"X-BiMediX-Secret": SECRET}, timeout=10)
        assert asked.ok, asked.text
        wanted = {"worker_name": self.url(part), "model": model}
        until(lambda: any(w["worker_name"] == wanted["worker_name"] for w in self.controller("list_workers")["workers"]), 60)

    def controller(self, path: str) -> dict:
        return requests.post(f"{self.url('controller')}/{path}", timeout=10).json()

    def seen(self, part: str) -> dict:
        """What a scripted worker saw."""
        return requests.get(self.url(part), timeout=10).json()

    def up(self) -> None:
        self.start("controller", "fastchat_templates.controller")
        until(lambda: self.controller("list_models"), 30)
        self.start(
            "worker",
            "fastchat_templates.worker",
            *("--host", "127.0.0.1", "--model-path", str(self.model), "--model-names", "tiny", "--device", "cpu"),
            *("--controller-address", self.url("controller")),
            MALLOC_ARENA_MAX="2",  # 5,000 fuzzed requests: it grows by 40 MB, without by 180 MB
        )
        address = ("--controller-address", self.url("controller"))
        fuzzed = ("--rate", "0", "--max-answer", "64", "--body-seconds", "4", "--head-seconds", "4")
        self.start("api", "fastchat_templates.api", *address, *fuzzed, BIMEDIX_API_KEYS=",".join(KEYS))
        strict = [word for name, value in STRICT.items() for word in (f"--{name}", str(value))]
        self.start("strict", "fastchat_templates.api", *address, *strict, "--log-messages", "--allow-origin", "https://clinic.example")
        self.start_scripted("scripted", "slow,twin")
        for part in ("api", "strict"):
            until(lambda part=part: requests.get(f"{self.url(part)}/health", timeout=5).ok, 60)
        until(lambda: "tiny" in self.controller("list_models")["models"], 90)

    def down(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()

    def openai(self, key: str = KEYS[0], **more: object) -> OpenAI:
        return OpenAI(base_url=f"{self.url('api')}/v1", api_key=key, max_retries=0, **more)

    def post(self, path: str = "chat/completions", part: str = "strict", key: str = "", **body: object) -> requests.Response:
        """A chat of the tiny model, or what else the body says, with plain HTTP."""
        body = ({"model": "tiny", "max_tokens": 8, "messages": ANAEMIA} if path.startswith("chat") else {"model": "tiny", "max_tokens": 8}) | body
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return requests.post(f"{self.url(part)}/v1/{path}", json=body, headers=headers, timeout=60, stream=bool(body.get("stream")))


def error_of(answer: requests.Response) -> dict:
    """The error of an answer, after checking that it has OpenAI's shape and tells nothing of this machine."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    assert not any(word in answer.text for word in ("Traceback", "site-packages", str(ROOT), ".py", "/tmp/"))
    return error
