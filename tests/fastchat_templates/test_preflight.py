"""What `make serve` says before anything starts: one line for each thing that is wrong, with what mends it."""

import json
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from fastchat_templates.logs import read_line
from tests.conftest import SERVE_PYTHON, Ran, Trained, command
from tests.fastchat_templates.stacks import SERVE, Ports


def refused(*options: object) -> list[str]:
    """The lines of a command that must not start."""
    ran: Ran = command(SERVE, *options, python=SERVE_PYTHON, seconds=60)
    assert ran.code in (1, 2) and "is ready" not in ran.said
    assert all(line.startswith("error: ") for line in ran.said.splitlines()), ran.said
    return ran.said.splitlines()


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("BIMEDIX_API_KEYS", "BIMEDIX_API_KEYS_FILE", "BIMEDIX_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_port_in_use_is_named(trained: Trained, tmp_path: Path) -> None:
    """With the part that wants it and the option that mends it; nothing is written."""
    ports = Ports(2)
    worker = ports.of["worker"] + 1
    with socket.socket() as api, socket.socket() as second:
        for taken, port in ((api, ports.of["api"]), (second, worker)):
            taken.bind(("127.0.0.1", port))
            taken.listen()
        said = refused("--model", trained.merged, "--logs", tmp_path / "logs", "--workers", 2, *ports.options)
    assert [line.split(":")[1].strip() for line in said] == ["worker-2", "api"]
    assert f"127.0.0.1:{worker} cannot be used (Address already in use): choose another port with --worker-port" in said[0]
    assert f"127.0.0.1:{ports.of['api']} cannot be used (Address already in use): choose another port with PORT (--port)" in said[1]
    assert not (tmp_path / "logs" / "worker-1.log").exists()


def test_a_port_wanted_twice_is_named(trained: Trained, tmp_path: Path) -> None:
    ports = Ports()
    (said,) = refused("--model", trained.merged, "--logs", tmp_path, *ports.options, "--web-port", ports.of["api"])
    assert f"api and web both want port {ports.of['api']}" in said and "--web-port" in said


def spoil(file: str, change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: change(folder / file)


def settings(**change: object) -> Callable[[Path], object]:
    """Change some keys of a JSON file; None takes one out."""

    def write(path: Path) -> None:
        kept = json.loads(path.read_text(encoding="utf-8")) | change
        path.write_text(json.dumps({key: value for key, value in kept.items() if value is not None}), encoding="utf-8")

    return write


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shard(path: Path) -> None:
    """As an upload leaves it when it was stopped after the first of two files."""
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    path.with_name("model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    path.rename(path.with_name("model-00001-of-00002.safetensors"))


def without_template(folder: Path) -> None:
    """Neither as a file nor among the tokenizer's settings, where transformers 4 kept it."""
    (folder / "chat_template.jinja").unlink()
    settings(chat_template=None)(folder / "tokenizer_config.json")


UNSOUND = {
    "no folder": (lambda folder: folder.rename(folder.with_name("elsewhere")), "no such folder", "make train"),
    "no model": (spoil("config.json", Path.unlink), "holds no model (no config.json)", "make train"),
    "an adapter": (spoil("config.json", lambda path: path.rename(path.with_name("adapter_config.json"))), "holds an adapter, no merged model", "make train"),
    "half a configuration": (spoil("config.json", halve), "cannot be read", "copy or merge it again"),
    "no architecture": (spoil("config.json", settings(architectures=None)), "names no architecture", "not a model"),
    "no weights": (spoil("model.safetensors", Path.unlink), "is not whole: model.safetensors missing", "again"),
    "half the weights": (spoil("model.safetensors", halve), "model.safetensors is not whole", "copy or merge it again"),
    "one of two files": (spoil("model.safetensors", shard), "model-00002-of-00002.safetensors missing", "again"),
    "no tokenizer": (spoil("tokenizer.json", Path.unlink), "tokenizer.json missing", "again"),
    "another template": (spoil("chat_template.jinja", lambda path: path.write_text("{{ messages }}")), "its chat template is not bimedix.jinja", "make train"),
    "no template": (without_template, "its chat template is not bimedix.jinja", "make train"),
    "router's logits": (spoil("config.json", settings(output_router_logits=True)), "output_router_logits is true", "set it to false"),
}


def test_a_model_that_is_none_is_named(trained: Trained, tmp_path: Path) -> None:
    """One line for each, the folder in it and what to do; a sound one among them is not complained of."""
    models = [f"sound={trained.merged}"]
    for number, (spoilt, *_) in enumerate(UNSOUND.values()):
        models.append(f"m{number}={trained.copy(trained.merged, tmp_path / f'm{number}' / 'merged')}")
        spoilt(tmp_path / f"m{number}" / "merged")
    said = refused("--model", ",".join(models), "--logs", tmp_path / "logs", *Ports(len(models)).options)
    assert len(said) == len(UNSOUND)
    for number, (line, (case, (_, *words))) in enumerate(zip(said, UNSOUND.items(), strict=True)):
        assert f"{tmp_path}/m{number}/merged" in line and all(word in line for word in words), (case, line)


def test_too_little_memory_is_told(trained: Trained, tmp_path: Path) -> None:
    """The sum of all workers, before the first one loads."""
    (said,) = refused("--model", trained.merged, "--logs", tmp_path, "--workers", "4000", *Ports().options, "--worker-port", "10000")
    assert "not enough memory: 4000 workers on cpu would need about" in said and "fewer workers" in said


def test_a_gpu_that_is_not_there_is_told(trained: Trained, tmp_path: Path) -> None:
    (said,) = refused("--model", trained.merged, "--logs", tmp_path, *Ports().options, "--device", "cuda:7")
    assert "torch sees no such GPU" in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.77"])
def test_an_open_address_without_a_key_is_refused(trained: Trained, tmp_path: Path, no_keys: pytest.MonkeyPatch, host: str) -> None:
    """In one line that says how to set one; an empty list of keys is none."""
    no_keys.setenv("BIMEDIX_API_KEYS", " , ")
    said = refused("--model", trained.merged, "--logs", tmp_path, *Ports().options, "--host", host)
    assert f"HOST {host} can be reached from other machines and there is no API key: set BIMEDIX_API_KEYS" in said[0]
    assert "BIMEDIX_API_KEYS_FILE" in said[0] and "openssl rand" in said[0]


def test_a_file_of_keys_that_is_none_is_named(trained: Trained, tmp_path: Path, no_keys: pytest.MonkeyPatch) -> None:
    """Also on the loopback: who names a file wants keys to be asked for."""
    for path, words in ((tmp_path / "none", "cannot be read"), (tmp_path / "empty", "holds no key")):
        (tmp_path / "empty").write_text("# no key yet\n\n")
        no_keys.setenv("BIMEDIX_API_KEYS_FILE", str(path))
        (said,) = refused("--model", trained.merged, "--logs", tmp_path / "logs", *Ports().options)
        assert f"BIMEDIX_API_KEYS_FILE={path} {words}" in said


def test_workers_elsewhere_need_the_secret(trained: Trained, tmp_path: Path, no_keys: pytest.MonkeyPatch) -> None:
    """On both sides: where the controller is, and where the workers are."""
    for options in (("--controller-host", "0.0.0.0"), ("--allow-worker", "192.0.2.7:21002"), ("--controller", "http://192.0.2.1:21001")):
        (said,) = refused("--model", trained.merged, "--logs", tmp_path, *Ports().options, *options)
        assert "BIMEDIX_SECRET" in said and "none is set" in said
    no_keys.setenv("BIMEDIX_SECRET", "s")
    (said,) = refused("--model", trained.merged, "--logs", tmp_path, *Ports().options, "--controller", "http://192.0.2.1:21001", "--worker-host", "0.0.0.0")
    assert "--worker-host 0.0.0.0 is no address that the controller can call" in said


class Engine(BaseHTTPRequestHandler):
    """An engine with one model that wants a key."""

    def do_GET(self) -> None:
        known = self.path == "/v1/models" and self.headers["Authorization"] == "Bearer the-key"
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"data": [{"id": "its-name"}]} if known else {}).encode())

    def log_message(self, *_: object) -> None:
        pass


def test_an_engine_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not there, no key, another model."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Engine) as engine:
        Thread(target=engine.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{engine.server_port}"
        for key, address, words in (
            ("", url, "(status 401)"),
            ("the-key", url, "has no model 'clinic', but its-name"),
            ("", "http://127.0.0.1:9", "start it first"),
        ):
            monkeypatch.setenv("BIMEDIX_UPSTREAM_KEY", key)
            (said,) = refused("--upstream", f"clinic={address}", "--logs", tmp_path, *Ports().options)
            assert said.startswith("error: --upstream clinic: the engine at") and words in said and "the-key" not in said
        engine.shutdown()


OPTIONS = {
    "no model at all": (("--model", ""), "nothing to serve"),
    "one name twice": (("--model", "a=x,a=y"), "two models are called a"),
    "folder and engine": (("--model", "a=x", "--upstream", "a=http://127.0.0.1:9"), "both from a folder and by an engine"),
    "an engine without address": (("--upstream", "a"), "is not NAME=URL"),
    "no such port": (("--port", "70000"), "is no port"),
    "no worker": (("--workers", "0"), "not a whole number from 1 on"),
    "no such device": (("--device", "tpu"), "is not cpu, cuda"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_an_option_that_makes_no_sense_is_one_line(case: str) -> None:
    """And not the page of all options."""
    options, words = OPTIONS[case]
    (said,) = refused(*options)
    assert words in said


LINES = {
    "2026-01-31 12:00:00 | INFO | controller | Register done": ("INFO", "Register done"),
    "2026-01-31 12:00:00 | ERROR | stderr | INFO:     Uvicorn running": ("INFO", "Uvicorn running"),
    "2026-01-31 12:00:00 | ERROR | stderr | Loading:  0%\rLoading: 100%": ("INFO", "Loading: 100%"),
    "2026-01-31 12:00:00,123 WARNING worker: queue full": ("WARNING", "worker: queue full"),
    "INFO:     127.0.0.1:1 - GET / 200": ("INFO", "127.0.0.1:1 - GET / 200"),
    "some.py:3: UserWarning: old": ("WARNING", "some.py:3: UserWarning: old"),
    "Traceback (most recent call last):": ("ERROR", "Traceback (most recent call last):"),
    "torch.cuda.OutOfMemoryError: none left": ("ERROR", "torch.cuda.OutOfMemoryError: none left"),
    "plain words": ("INFO", "plain words"),
    "\x1b[31mred\x1b[0m \u202eand backwards\x07": ("INFO", "red and backwards"),
}


@pytest.mark.parametrize("raw", LINES)
def test_every_library_s_line_takes_one_form(raw: str) -> None:
    """Level and message as the library meant them; nothing that paints on a terminal."""
    level, message, _ = read_line(raw)
    assert (level, message) == ({"INFO": 20, "WARNING": 30, "ERROR": 40}[LINES[raw][0]], LINES[raw][1])
