"""The guarded controller as a process: who may register, what it fetches, and that a worker that hangs or dies holds nobody up."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest
import requests

from tests.conftest import ROOT, SERVE_PYTHON, command, free_port
from tests.fastchat_templates.guarded import until
from tests.fastchat_templates.scripted_worker import Server

SECRET = "a secret of the test"
OURS, STOCK = "fastchat_templates.controller", "fastchat.serve.controller"


class Controller:
    """A running controller."""

    def __init__(self, module: str, secret: str, *options: str, host: str = "127.0.0.1") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        line = [str(SERVE_PYTHON), "-m", module, "--host", host, "--port", str(self.port), *options]
        environment = os.environ | {"LOGDIR": "", "BIMEDIX_SECRET": secret}
        self.process = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: requests.get(f"{self.url}/test_connection", timeout=5).ok, 30)

    def ask(self, path: str, body: object = None, secret: str | None = SECRET, seconds: float = 20, **more: object) -> requests.Response:
        headers = {"X-BiMediX-Secret": secret} if secret else {}
        return requests.post(f"{self.url}/{path}", json=body, headers=headers, timeout=seconds, **more)

    def register(self, address: str, secret: str | None = SECRET, **more: object) -> requests.Response:
        return self.ask("register_worker", {"worker_name": address, "check_heart_beat": True, "worker_status": None} | more, secret)

    def models(self) -> list[str]:
        return sorted(self.ask("list_models", secret=None).json()["models"])

    def address(self, model: str, *exclude: str) -> str:
        return self.ask("get_worker_address", {"model": model, "exclude": exclude}, None).json()["address"]


@contextmanager
def running(*arguments: str, **more: str) -> Iterator[Controller]:
    controller = Controller(*arguments, **more)
    try:
        yield controller
    finally:
        controller.process.kill()
        controller.process.wait()


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[ThreadingHTTPServer]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Elsewhere(BaseHTTPRequestHandler):
    """A server that somebody wants the controller to fetch something from; it counts what comes, and sends on to `target`."""

    def do_POST(self) -> None:
        self.server.hits += 1
        if self.server.target:
            self.send_response(302)
            self.send_header("location", self.server.target)
        else:
            self.send_response(404)
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def elsewhere(target: str = "") -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    server.hits, server.target = 0, target
    with serving(server):
        yield server


@contextmanager
def silent() -> Iterator[str]:
    """An address that takes connections and never says anything."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def controller() -> Iterator[Controller]:
    with running(OURS, SECRET, "--expire-seconds", "1") as ours:
        yield ours


@pytest.fixture
def worker() -> Iterator[Server]:
    with serving(Server(0, ["bimedix-bi", "bimedix-ar"])) as server:
        yield server


@pytest.mark.parametrize("module", [OURS, STOCK])
def test_a_stranger_cannot_make_it_fetch(module: str, controller: Controller) -> None:
    """CVE-2024-10044. Without the secret nothing is registered and the address is never called; stock calls it."""
    with elsewhere() as target:
        address = f"http://127.0.0.1:{target.server_port}"
        if module == OURS:
            for secret in (None, "", "another", SECRET[:-1]):
                assert controller.register(address, secret).status_code == 403
            assert controller.ask("receive_heart_beat", {"worker_name": address, "queue_length": 0}, None).status_code == 403
            time.sleep(0.3)
            assert target.hits == 0
        else:
            with running(STOCK, "") as stock:
                assert stock.register(address, None).ok
                assert target.hits == 1


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1:80",
        "http://[::ffff:10.0.0.1]:80",
        "http://2130706433:80",
        "http://127.0.0.1@example.org",
        "http://user:pass@127.0.0.1:1",
        "http://127.0.0.1:1/admin?x=",
        "http://127.0.0.1:1#",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:1\n",
        "file:///etc/passwd",
        "ftp://127.0.0.1",
        "127.0.0.1:21002",
        "",
    ],
)
def test_a_workers_address_is_checked(controller: Controller, address: str) -> None:
    """Also for somebody who knows the secret: only http(s), only hosts on the list, nothing but scheme, host and port."""
    answer = controller.register(address)
    assert answer.status_code == 403 and "refused" in answer.text
    assert controller.models() == []


def test_the_list_of_workers_can_be_widened() -> None:
    """A network, a name, an address with its port; what is not on it stays out, loopback too."""
    allow = [word for entry in ("10.1.0.0/16", "gpu-7:21002", "[fd00::7]:21002") for word in ("--allow-worker", entry)]
    with running(OURS, SECRET, *allow) as controller:
        codes = {
            address: controller.register(address).status_code
            for address in (
                "http://10.1.2.3:5",
                "https://gpu-7:21002",
                "http://gpu-7:21003",
                "http://[fd00::7]:21002",
                "http://10.2.0.1:5",
                "http://127.0.0.1:5",
            )
        }
    assert list(codes.values()) == [200, 200, 403, 200, 403, 403]
    assert "is no HOST" in command(OURS, "--allow-worker", "http://x/y", python=SERVE_PYTHON).said


def test_no_redirect_is_followed(controller: Controller) -> None:
    """A worker on the list must not lead the controller elsewhere."""
    with elsewhere() as target, elsewhere(f"http://127.0.0.1:{target.server_port}/") as worker:
        assert controller.register(f"http://127.0.0.1:{worker.server_port}").ok
        until(lambda: worker.hits >= 2, 5)
        assert target.hits == 0 and controller.models() == []


def test_without_a_secret_only_loopback_registers(worker: Server) -> None:
    """A second machine is a stranger until both know a secret. This machine's own outer address stands for it, where there is one."""
    outer = next((a.address for name, found in psutil.net_if_addrs().items() if name != "lo" for a in found if a.family == socket.AF_INET), None)
    with running(OURS, "", host="0.0.0.0") as controller:
        assert controller.register(worker.url, None).ok
        until(lambda: controller.models() == ["bimedix-ar", "bimedix-bi"], 5)
        if outer is None:
            pytest.skip("this machine has no address but loopback")
        controller.url = f"http://{outer}:{controller.port}"
        for path in ("register_worker", "receive_heart_beat", "list_models", "get_worker_address", "refresh_all_workers"):
            assert controller.ask(path, {"worker_name": worker.url}, None).status_code == 403


def suppressed(register: Callable, address: str) -> None:
    with suppress(requests.RequestException):  # the controller is killed before it answers
        register(address, None)


@pytest.mark.parametrize("module", [OURS, STOCK])
def test_a_worker_that_hangs_stops_nobody(module: str, controller: Controller) -> None:
    """CVE-2026-6607. Stock calls it in an asynchronous route with a blocking call, and answers nobody for 5 s."""
    with silent() as hangs, running(STOCK, "") if module == STOCK else running(OURS, "") as asked:
        threading.Thread(target=suppressed, args=(asked.register, hangs), daemon=True).start()
        time.sleep(0.3)
        try:
            answered = asked.ask("list_models", seconds=1).ok
        except requests.Timeout:
            answered = False
        assert answered == (module == OURS)


def test_a_worker_is_listed_when_it_answers_and_gone_when_it_does_not(controller: Controller) -> None:
    """Listed from its first answer on, even when it registered before it listened; dropped within seconds of its death; back by its heart beat."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    beat = {"worker_name": address, "queue_length": 3}
    assert controller.register(address).ok
    assert controller.models() == []
    with serving(Server(port, ["bimedix-en"])) as server:
        until(lambda: controller.models() == ["bimedix-en"], 3)
        assert controller.ask("receive_heart_beat", beat).json() == {"exist": True}
        server.queue_length = 9
        until(lambda: controller.ask("list_workers").json()["workers"] == [{"worker_name": address, "models": ["bimedix-en"], "queue_length": 9}], 5)
    until(lambda: controller.models() == [], 5)
    assert controller.ask("receive_heart_beat", beat).json() == {"exist": False}


def test_a_worker_that_falls_silent_is_dropped(controller: Controller) -> None:
    """Its connections are taken and never answered, as by a process that is stopped: nothing is refused, the expiration decides, here 1 s."""
    port = free_port()
    with serving(Server(port, ["bimedix-en"])):
        controller.register(f"http://127.0.0.1:{port}")
        until(lambda: controller.models() == ["bimedix-en"], 3)
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen(64)
        until(lambda: controller.models() == [], 12)


def test_a_worker_that_failed_is_dropped_at_once(controller: Controller, worker: Server) -> None:
    """The API says so; the controller asks for itself, so that nobody can have a healthy worker dropped."""
    with serving(Server(0, ["bimedix-bi"])) as other:
        for address in (worker.url, other.url):
            controller.register(address)
        until(lambda: len(controller.ask("list_workers").json()["workers"]) == 2, 3)
        assert {controller.address("bimedix-bi", worker.url), controller.address("bimedix-bi", other.url)} == {worker.url, other.url}
        assert controller.address("bimedix-bi", worker.url, other.url) == ""
        assert controller.ask("worker_failed", {"worker_name": other.url}).json() == {"dropped": False}
    assert controller.ask("worker_failed", {"worker_name": other.url}).json()["dropped"] in (True, False)
    assert [controller.address("bimedix-bi") for _ in range(4)] == [worker.url] * 4


@pytest.mark.parametrize("path", ["register_worker", "receive_heart_beat", "get_worker_address", "worker_failed"])
def test_nonsense_is_refused_not_stumbled_over(controller: Controller, path: str) -> None:
    """A 4xx, never a 5xx, and the controller goes on."""
    for body in (None, [], {}, "x", {"worker_name": 5, "queue_length": -1, "model": {}}, {"worker_name": "x" * 1000, "model": "y" * 1000}):
        assert 400 <= controller.ask(path, body).status_code < 500
    big = requests.post(f"{controller.url}/{path}", data=b"x" * 100_000, headers={"X-BiMediX-Secret": SECRET}, timeout=20)
    assert big.status_code == 413
    assert controller.models() == controller.models()


def test_it_is_no_worker_itself(controller: Controller) -> None:
    """Stock passes prompts on to its workers for anybody who reaches it, past the API's keys."""
    for path in ("worker_generate_stream", "worker_get_status"):
        assert controller.ask(path, {"model": "bimedix-bi"}).status_code == 404
