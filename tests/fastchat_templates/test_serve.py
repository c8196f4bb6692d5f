"""The real servers under `make serve`: they come up in order, answer as transformers would, survive crashes and go down without a trace."""

import json
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import ROOT, SERVE_PYTHON, Trained, command, free_port
from tests.fastchat_templates.stacks import Ports, Served, gone, listening, serve

QUESTIONS = {"en": "What is anaemia?", "ar": "ما هو فقر الدم؟"}
KEY = "the-key-of-a-test"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} ([\w-]+) (INFO|WARNING|ERROR|CRITICAL) \S.*")


def litter() -> set[str]:
    """Files that FastChat and Gradio like to leave in the folder they run in."""
    return {str(path) for pattern in ("*.log", "*conv.json", "*.pyi") for folder in (ROOT, ROOT / "fastchat_templates") for path in folder.glob(pattern)}


def other_address() -> str:
    """An address of this machine that is not its loopback."""
    found = [one.address for each in psutil.net_if_addrs().values() for one in each if one.family.name == "AF_INET" and not one.address.startswith("127.")]
    return found[0] if found else pytest.skip("this machine has the loopback only")


@pytest.fixture(scope="module")
def served(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two workers, API and web page, for all tests of this module; the last one ends it."""
    stack = serve(trained.merged, tmp_path_factory.mktemp("serve") / "logs", Ports(2), "--workers", "2")
    stack.litter = litter()
    try:
        stack.wait("Ctrl-C stops everything")
        yield stack
    finally:
        stack.process.terminate()
        stack.process.wait(60)


def test_parts_start_one_after_the_other(served: Served) -> None:
    """Nothing is asked of a part that is not there yet; the logs of all parts have one form."""
    ready = [line.split()[3] for line in served.said if " ready after " in line]
    assert ready[0] == "controller" and set(ready[1:3]) == {"worker-1", "worker-2"} and set(ready[3:]) == {"api", "web"}
    for part in ("serve", "controller", "worker-1", "worker-2", "api"):
        lines = (served.logs / f"{part}.log").read_text(encoding="utf-8").splitlines()
        found = [LINE.fullmatch(line) for line in lines]
        assert lines and all(found), lines
        assert {match[1] for match in found} == {part}


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
    response = served.chat("", messages=messages)
    assert response.status_code == 200, response.text
    answer = response.json()
    text, prompt_tokens = reference(messages, 24)
    said = answer["choices"][0]["message"]["content"]
    assert said.strip() == text.strip()
    assert not any(control in said for control in ("<s>", "</s>", "[INST]"))
    assert answer["usage"]["prompt_tokens"] == prompt_tokens
    assert 0 < answer["usage"]["completion_tokens"] <= 24


def test_ask_is_answered(served: Served) -> None:
    """The README's second terminal."""
    ran = command("fastchat_templates.ask", *QUESTIONS.values(), "--url", f"{served.url('api')}/v1", "--max-tokens", "8", python=SERVE_PYTHON)
    assert ran.code == 0, ran.said
    assert ran.said.count("tiny: ") == 2 and all(f"> {question}" in ran.said for question in QUESTIONS.values())


def test_nobody_there_to_ask() -> None:
    """A wrong port is a message, not a traceback."""
    ran = command("fastchat_templates.ask", "Hello?", "--url", f"http://127.0.0.1:{free_port()}/v1", python=SERVE_PYTHON)
    assert ran.code == 1 and "did not answer" in ran.said and "Traceback" not in ran.said


def test_other_machines_get_no_answer(served: Served) -> None:
    """Without HOST every part listens on the loopback only."""
    for port in served.ports.all:
        assert listening("127.0.0.1", port) and not listening(other_address(), port), port


def events(response: requests.Response) -> Iterator[dict | str]:
    """What a stream sends, the closing [DONE] included."""
    for line in response.iter_lines():
        if data := line.removeprefix(b"data: "):
            yield "[DONE]" if data == b"[DONE]" else json.loads(data)


def test_a_killed_worker_is_replaced(served: Served) -> None:
    """Killed as the kernel does for want of memory, in mid-stream: its client is told, everybody else is answered, it comes back by itself."""
    stream = served.chat("What is anaemia?", stream=True, max_tokens=3500, ignore_eos=True)
    read = events(stream)
    assert "error" not in next(read)
    ports = range(served.ports.of["worker"], served.ports.of["worker"] + 2)
    busy = [port for port in ports if requests.post(f"http://127.0.0.1:{port}/worker_get_status", timeout=5).json()["queue_length"]]
    assert len(busy) == 1
    back, answers = threading.Event(), []

    def others() -> None:
        while not back.is_set():
            answers.append(served.chat("ما هو فقر الدم؟", max_tokens=4).status_code)

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(others) for _ in range(2)]
        try:
            killed = time.monotonic()
            served.part("worker", busy[0]).kill()
            told = [event for event in read if "error" in event]
            assert time.monotonic() - killed < 5
            assert len(told) == 1 and told[0]["error"]["message"]
            name = f"worker-{busy[0] - ports[0] + 1}"
            assert "SIGKILL" in served.wait(f"{name} was killed", 5)
            served.wait(f"{name} is back", 30 - (time.monotonic() - killed))
        finally:
            back.set()
        for each in asking:
            each.result()
    assert len(answers) > 10 and set(answers) == {200}
    listed = requests.post(f"{served.url('controller')}/list_workers", timeout=5).json()["workers"]
    assert {worker["worker_name"] for worker in listed} == {f"http://127.0.0.1:{port}" for port in ports}


def test_an_engine_behind_and_questions_from_the_command(served: Served, tmp_path: Path) -> None:
    """`--upstream` with `--ask`: here the engine is the other stack, whose answer comes through; then everything ends by itself."""
    stack = serve("", tmp_path / "logs", Ports(), "--upstream", f"clinic={served.url('api')}/v1,tiny", "--no-web", "--ask", QUESTIONS["en"])
    assert stack.end(60) == 0, stack.said
    text = served.chat(QUESTIONS["en"], max_tokens=256).json()["choices"][0]["message"]["content"]
    assert f"clinic: {text.strip()}".split() == "".join(stack.said).split("\n\n")[0].split(f"> {QUESTIONS['en']}\n")[1].split()
    assert not any(listening("127.0.0.1", port) for port in stack.ports.all)


def test_two_machines(served: Served, tmp_path: Path) -> None:
    """An open API with a key, a worker near the controller and one that joins from elsewhere; a crash that is mended, a crash too many, a killed supervisor."""
    host, ports, far_ports = other_address(), Ports(), Ports()
    engine = f"{served.url('api')}/v1,tiny"
    open_, shared = {"BIMEDIX_API_KEYS": KEY, "NOTIFY_SOCKET": str(tmp_path / "notify")}, {"BIMEDIX_SECRET": "of a test"}
    options = ("--no-web", "--host", host, "--controller-host", host, "--allow-worker", host, "--restarts", "1")
    joining = ("--controller", f"http://{host}:{ports.of['controller']}", "--worker-host", host)

    def models() -> set[str]:
        answer = requests.get(f"http://{host}:{ports.of['api']}/v1/models", headers={"Authorization": f"Bearer {KEY}"}, timeout=5)
        return {model["id"] for model in answer.json().get("data", [])}

    def within(seconds: float, wanted: set[str]) -> bool:
        deadline = time.monotonic() + seconds
        while not wanted <= models() and time.monotonic() < deadline:
            time.sleep(0.1)
        return wanted <= models()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        near = serve("", tmp_path / "near", ports, "--upstream", f"near={engine}", *options, **open_, **shared)
        far = serve("", tmp_path / "far", far_ports, "--upstream", f"far={engine}", *joining, **shared)
        try:
            near.wait("Ctrl-C stops everything")
            far.wait("Ctrl-C stops everything")
            assert systemd.recv(100) == b"READY=1"
            assert [listening(host, port) for port in ports.all] == [True, False, True, False]
            assert requests.get(f"http://{host}:{ports.of['api']}/v1/models", timeout=5).status_code == 401
            assert models() == {"near", "far"}
            near.part("controller", ports.of["controller"]).kill()
            near.wait("controller is back", 30)
            assert within(3, {"near"}), "the supervisor tells a new controller of its workers"
            assert within(15, {"far"}), "the others come back with their heart beats"
            orphans = far.running()
            far.process.kill()
            assert orphans and not gone(orphans, 5)
            everything = near.running()
            near.part("controller", ports.of["controller"]).kill()
            assert near.end(30) == 1
        finally:
            near.process.kill()
            far.process.kill()
    said = "".join(near.said)
    assert "error: controller was killed" in said and "crash 2 in a row, and is given up" in said
    assert f"(all of it: {near.logs / 'controller.log'})" in said and "Uvicorn running on" in said.split("given up")[1]
    assert not gone(everything, 5)


def test_the_end_cuts_no_answer(served: Served) -> None:
    """SIGTERM under load: every answer that runs is finished, nothing new is taken, all processes are gone within 30 s."""
    start = time.monotonic()
    served.chat("What is anaemia?", max_tokens=200, ignore_eos=True)
    long = int(min(3000, 200 / (time.monotonic() - start) * 1.5))  # 1.5 s alone, and longer in company

    def stream(number: int) -> tuple[dict, object]:
        every = list(events(served.chat(f"What is anaemia {number}?", stream=True, max_tokens=long, ignore_eos=True)))
        return every[-2]["choices"][0]["finish_reason"], every[-1]

    def whole(number: int) -> tuple[int, int]:
        answer = served.chat(f"What is anaemia {number}?", max_tokens=long, ignore_eos=True)
        return answer.status_code, answer.json()["usage"]["completion_tokens"]

    with ThreadPoolExecutor(8) as pool:
        streams = [pool.submit(stream, number) for number in range(5)]
        wholes = [pool.submit(whole, number) for number in range(3)]
        time.sleep(1)
        everything = served.running()
        asked = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        served.wait("stopping: no new requests", 5)
        time.sleep(0.5)
        assert not listening("127.0.0.1", served.ports.of["api"])
        cut = not all(each.done() for each in streams + wholes)
        assert cut, "the answers were too short for this test"
        assert [each.result(60) for each in streams] == [("length", "[DONE]")] * 5
        assert [each.result(60) for each in wholes] == [(200, long)] * 3
    assert served.end(30 - (time.monotonic() - asked)) == 0
    stopped = [line.split()[4] for line in served.said if " stopped " in line]
    assert stopped == ["api", "web", "worker-1", "worker-2", "controller"] and "by force" not in "".join(served.said)
    assert not gone(everything, 1) and not any(listening("127.0.0.1", port) for port in served.ports.all)
    assert litter() == served.litter
