"""The real servers on a merged model: they come up in order, answer over HTTP as transformers would, and go down without a trace."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import OFFLINE, ROOT, SERVE_PYTHON, Trained, command, free_port

PARTS = ("controller", "worker", "api", "web")
QUESTIONS = {"en": "What is anaemia?", "ar": "ما هو فقر الدم؟"}
SERVE = "fastchat_templates.serve"


@dataclass
class Ports:
    """Four free ports and the options that name them."""

    of: dict[str, int] = field(default_factory=lambda: {part: free_port() for part in PARTS})

    @property
    def options(self) -> list[str]:
        return [word for part in PARTS for word in (f"--{part}-port", str(self.of[part]))]

    def closed(self) -> bool:
        """Whether nobody listens on any of them."""
        with_ = [socket.socket() for _ in PARTS]
        try:
            return all(probe.connect_ex(("127.0.0.1", port)) for probe, port in zip(with_, self.of.values(), strict=True))
        finally:
            for probe in with_:
                probe.close()


def start(model: Path, logs: Path, ports: Ports) -> subprocess.Popen:
    """The command as `make serve` runs it, in the background."""
    line = [str(SERVE_PYTHON), "-m", SERVE, "--model", str(model), "--logs", str(logs), *ports.options]
    return subprocess.Popen(line, cwd=ROOT, env=os.environ | OFFLINE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_ready(process: subprocess.Popen) -> str:
    """Read what the command says until everything is up; fails with all of it when the command ends first."""
    said = ""
    for line in process.stdout:
        said += line
        if "Ctrl-C stops everything" in line:
            return said
    raise AssertionError(said)


def litter() -> set[str]:
    """Files that FastChat and Gradio like to leave in the folder they run in."""
    return {str(path) for pattern in ("*.log", "*conv.json", "*.pyi") for folder in (ROOT, ROOT / "fastchat_templates") for path in folder.glob(pattern)}


@dataclass
class Served:
    """A running stack."""

    process: subprocess.Popen
    ports: Ports
    logs: Path

    def url(self, part: str) -> str:
        return f"http://127.0.0.1:{self.ports.of[part]}"

    def chat(self, messages: list[dict], **more: object) -> requests.Response:
        body = {"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 24} | more
        return requests.post(f"{self.url('api')}/v1/chat/completions", json=body, timeout=120, stream=bool(more.get("stream")))


@pytest.fixture(scope="module")
def served(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The stack, up for the tests that ask it; its end is tested last, by SIGTERM."""
    before = litter()
    logs, ports = tmp_path_factory.mktemp("serve") / "logs", Ports()
    process = start(trained.merged, logs, ports)
    try:
        wait_ready(process)
        yield Served(process, ports, logs)
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert [line.split()[1] for line in said.splitlines() if line.startswith("stopped")] == ["web", "api", "worker", "controller"]
    assert ports.closed() and not any(child.is_running() for child in children)
    assert litter() == before


def test_the_model_is_listed_by_its_name(served: Served) -> None:
    """Clients ask for `tiny`, the configuration's name, and not for `merged`."""
    assert [model["id"] for model in requests.get(f"{served.url('api')}/v1/models", timeout=30).json()["data"]] == ["tiny"]


@pytest.fixture(scope="module")
def reference(trained: Trained):
    """Greedy answers of transformers itself: messages -> (text, number of prompt tokens)."""
    tokenizer = AutoTokenizer.from_pretrained(trained.merged)
    model = AutoModelForCausalLM.from_pretrained(trained.merged, dtype=torch.float32)

    def answer(messages: list[dict], tokens: int) -> tuple[str, int]:
        ids = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False, return_tensors="pt").input_ids
        out = model.generate(ids, max_new_tokens=tokens, do_sample=False)
        return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True), ids.shape[1]

    return answer


@pytest.mark.parametrize("lang", QUESTIONS)
def test_a_greedy_answer_is_the_models_own(served: Served, reference, lang: str) -> None:
    """Template, tokens and weights as trained: the served answer equals that of plain transformers, and the usage counts its tokens."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTIONS[lang]}]
    response = served.chat(messages)
    assert response.status_code == 200, response.text
    answer = response.json()
    text, prompt_tokens = reference(messages, 24)
    said = answer["choices"][0]["message"]["content"]
    assert said.strip() == text.strip()
    assert not any(control in said for control in ("<s>", "</s>", "[INST]"))
    assert answer["usage"]["prompt_tokens"] == prompt_tokens
    assert 0 < answer["usage"]["completion_tokens"] <= 24


@pytest.mark.parametrize("lang", QUESTIONS)
def test_a_streamed_answer_is_the_whole_answer(served: Served, lang: str) -> None:
    """Piece by piece or at once, the same text; half a character, of which an untrained model makes many, is left out of the pieces by FastChat."""
    messages = [{"role": "user", "content": QUESTIONS[lang]}]
    whole = served.chat(messages).json()["choices"][0]["message"]["content"]
    lines = [line.removeprefix(b"data: ") for line in served.chat(messages, stream=True).iter_lines() if line]
    assert lines[-1] == b"[DONE]"
    pieces = [choice["delta"].get("content") or "" for line in lines[:-1] for choice in json.loads(line)["choices"]]
    assert "".join(pieces).strip() == whole.replace("\ufffd", "").strip()


def test_the_web_page_carries_the_notice(served: Served) -> None:
    """In both languages, and nothing of the arena whose page it is built on."""
    page = json.dumps(requests.get(f"{served.url('web')}/config", timeout=60).json(), ensure_ascii=False)
    assert "For research, not for clinical use." in page
    assert "للبحث العلمي فقط، وليس للاستخدام السريري." in page
    assert "Arena" not in page


def test_the_web_page_answers(served: Served) -> None:
    """A message typed on the page comes back with an answer, by the calls that a browser makes, and the page's log shows no error."""
    calls = {call["api_name"]: call["id"] for call in requests.get(f"{served.url('web')}/config", timeout=60).json()["dependencies"]}

    def call(name: str, *data: object) -> list:
        joined = {"data": data, "fn_index": calls[name], "session_hash": "a-visitor"}
        assert requests.post(f"{served.url('web')}/gradio_api/queue/join", json=joined, timeout=30).ok
        with requests.get(f"{served.url('web')}/gradio_api/queue/data", params={"session_hash": "a-visitor"}, timeout=120, stream=True) as events:
            for line in events.iter_lines():
                event = json.loads(line.removeprefix(b"data: ")) if line else {}
                if event.get("msg") == "process_completed":
                    assert event["success"], event
                    return event["output"]["data"]
        raise AssertionError(f"{name} was not completed")

    state = None  # kept by the server under the session's name
    call("load_demo", {})
    call("add_text", state, "tiny", QUESTIONS["ar"], state)
    chat = call("bot_response", state, 0.7, 1.0, 16)[1]
    log = (served.logs / "web.log").read_text(encoding="utf-8")
    assert "Traceback" not in log, log[-3000:]
    assert QUESTIONS["ar"] in log and chat


def test_ask_is_answered(served: Served) -> None:
    """The README's second terminal."""
    ran = command("fastchat_templates.ask", *QUESTIONS.values(), "--url", f"{served.url('api')}/v1", "--max-tokens", "8", python=SERVE_PYTHON)
    assert ran.code == 0, ran.said
    assert ran.said.count("tiny: ") == 2 and all(f"> {question}" in ran.said for question in QUESTIONS.values())


def test_nobody_there_to_ask() -> None:
    """A wrong port is a message, not a traceback."""
    ran = command("fastchat_templates.ask", "Hello?", "--url", f"http://127.0.0.1:{free_port()}/v1", python=SERVE_PYTHON)
    assert ran.code == 1 and "did not answer" in ran.said and "Traceback" not in ran.said


def test_a_port_in_use_is_named(trained: Trained, tmp_path: Path) -> None:
    """Before anything starts, with the option that mends it."""
    ports = Ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports.of["api"]))
        taken.listen()
        ran = command(SERVE, "--model", trained.merged, "--logs", tmp_path, *ports.options, python=SERVE_PYTHON)
    assert ran.code != 0
    assert f"127.0.0.1:{ports.of['api']} cannot be used" in ran.said and "--api-port" in ran.said


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    """What to run first."""
    ran = command(SERVE, "--model", tmp_path, "--logs", tmp_path / "logs", *Ports().options, python=SERVE_PYTHON)
    assert ran.code != 0 and "holds no model" in ran.said and "make train" in ran.said


def test_another_template_is_refused(trained: Trained, tmp_path: Path) -> None:
    """A model with another chat template would be served prompts that it was not trained on; its worker says so and all go down."""
    model = trained.copy(trained.merged, tmp_path / "other")
    (model / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    settings = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8")) | {"chat_template": "{{ messages }}"}
    (model / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    ports = Ports()
    ran = command(SERVE, "--model", model, "--logs", tmp_path / "logs", *ports.options, python=SERVE_PYTHON)
    assert ran.code == 1
    assert "its chat template is not bimedix.jinja" in ran.said and "stopped controller" in ran.said
    assert ports.closed()


def test_a_dead_worker_takes_the_stack_down(trained: Trained, tmp_path: Path) -> None:
    """An API that lists a model nobody computes is worse than none. Killed as the kernel would for want of memory."""
    ports = Ports()
    process = start(trained.merged, tmp_path / "logs", ports)
    try:
        wait_ready(process)
        (worker,) = [child for child in psutil.Process(process.pid).children() if str(ports.of["worker"]) in child.cmdline() and "worker" in child.cmdline()]
        worker.kill()
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "the worker ended by itself" in said and "worker.log" in said
    deadline = time.monotonic() + 10
    while not ports.closed() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ports.closed()
    shutil.rmtree(tmp_path / "logs")
