"""The stack of `make serve` as a test starts it: free ports, its output line by line, everything of it that runs."""

import os
import queue
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests

from tests.conftest import OFFLINE, ROOT, SERVE_PYTHON

SERVE = "fastchat_templates.serve"
PARTS = ("controller", "worker", "api", "web")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on now; the second and those after it are one behind the other, as those of workers."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            for probe in (first, second):
                probe.bind(("127.0.0.1", 0))
            start = second.getsockname()[1]
            found = [first.getsockname()[1], *range(start, start + count - 1)]
            probes = [socket.socket() for _ in found[2:]]
            try:
                for probe, port in zip(probes, found[2:], strict=True):
                    probe.bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            finally:
                for probe in probes:
                    probe.close()
            return found


@dataclass
class Ports:
    """Free ports for each part, and the options that name them."""

    workers: int = 1
    of: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.of["web"], self.of["worker"], *more = free_ports(self.workers + 3)
        self.of["controller"], self.of["api"] = more[-2:]

    @property
    def options(self) -> list[str]:
        return [word for part in PARTS for word in (f"--{part}-port", str(self.of[part]))]

    @property
    def all(self) -> list[int]:
        return [self.of["controller"], *range(self.of["worker"], self.of["worker"] + self.workers), self.of["api"], self.of["web"]]


def listening(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((host, port)) == 0


@dataclass
class Served:
    """A stack that is starting or running."""

    process: subprocess.Popen
    ports: Ports
    logs: Path
    said: list[str] = field(default_factory=list)
    _lines: queue.Queue = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        def read() -> None:
            for line in self.process.stdout:
                self._lines.put(line)
            self._lines.put(None)

        threading.Thread(target=read, daemon=True).start()

    def wait(self, words: str, seconds: float = 120) -> str:
        """The next line of its output that holds these words; fails with all that it said when it ends first or takes too long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                break
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"no {words!r} in:\n{''.join(self.said)}")

    def end(self, seconds: float) -> int:
        """Wait for its end; the status."""
        status = self.process.wait(seconds)
        while (line := self._lines.get(timeout=10)) is not None:
            self.said.append(line)
        return status

    def url(self, part: str) -> str:
        return f"http://127.0.0.1:{self.ports.of[part]}"

    def chat(self, content: str, **more: object) -> requests.Response:
        body = {"model": "tiny", "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 24} | more
        return requests.post(f"{self.url('api')}/v1/chat/completions", json=body, timeout=120, stream=bool(more.get("stream")))

    def running(self) -> list[psutil.Process]:
        """All processes of it but the supervisor."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def part(self, module: str, port: int) -> psutil.Process:
        """The process of one part."""
        (found,) = [one for one in self.running() if f"launch {module} " in " ".join(one.cmdline()) and str(port) in one.cmdline()]
        return found


def serve(model: object, logs: Path, ports: Ports, *options: str, **environment: str) -> Served:
    """The command as `make serve` runs it, in the background."""
    line = [str(SERVE_PYTHON), "-m", SERVE, "--model", str(model), "--logs", str(logs), *ports.options, *options]
    process = subprocess.Popen(line, cwd=ROOT, env=os.environ | OFFLINE | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return Served(process, ports, logs)


def gone(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run after so long; a zombie whose parent has not looked yet is gone."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
