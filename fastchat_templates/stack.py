"""Which parts a command of `fastchat_templates.serve` starts, in which order, and in which order they end.

Start: controller; workers, all at once; API and web page. The end: the API takes no new requests and finishes what it has; then web page,
workers, controller. With `--controller URL` there are workers only, for a controller on another machine.
"""

import argparse
import contextlib
import logging
import os
import secrets
import time

import requests

from fastchat_templates.logs import Logs
from fastchat_templates.preflight import Address, Model, Upstream
from fastchat_templates.registration import HEADER
from fastchat_templates.supervise import Part, Supervisor, launch

LOCAL = requests.Session()
LOCAL.trust_env = False  # a proxy of the environment is not asked for what runs here
PROBE_SECONDS = 2  # for an answer to a probe; the supervisor does nothing else meanwhile
# each of the last steps, after the time for running answers: 20 s and these stay below 30
OBEY_SECONDS = 2


def url(host: str, port: int) -> str:
    """How this machine reaches an address; a wildcard is no address to call."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Stack:
    """The parts of one command. `args` are those of serve.py."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.controller = (args.controller or url(args.controller_host, args.controller_port)).rstrip("/")
        self.api, self.web = url(args.host, args.api_port), url(args.host, args.web_port)
        self.names = [one.name for one in [*args.models, *args.upstream]]
        # workers and controller know each other by it; a random one keeps other users of this machine out
        self.secret = os.environ.get("BIMEDIX_SECRET") or secrets.token_urlsafe(32)
        served = [one for one in args.models for _ in range(args.workers)] + args.upstream
        # by itself each worker takes every core but one
        local = len(args.models) * args.workers
        self.threads = max(1, (len(os.sched_getaffinity(0)) - 1) // local) if local > 1 and "cpu" in args.device else 0
        self.workers = [self._worker(number, one) for number, one in enumerate(served)]
        self.head, self.face = ([], []) if args.controller else (self._head(), self._face())

    def _head(self) -> list[Part]:
        args = self.args
        # naming others takes the place of the controller's own list, on which this machine stands
        places = [*args.allow_worker, "127.0.0.0/8", "::1", "localhost", args.worker_host] if args.allow_worker else []
        allowed = [word for place in places for word in ("--allow-worker", place)]
        command = launch("controller", "--host", args.controller_host, "--port", args.controller_port, *allowed)
        return [Part("controller", command, lambda: self._listed() is not None, 60)]

    def _worker(self, number: int, served: Model | Upstream) -> Part:
        args = self.args
        address = url(args.worker_host, args.worker_port + number)
        options = ["--model-names", served.name, "--host", args.worker_host, "--port", args.worker_port + number]
        options += ["--controller-address", self.controller, "--worker-address", address]
        if isinstance(served, Model):
            options += ["--device", args.device[number % len(args.device)]]
            if self.threads:
                options += ["--threads", self.threads]
            command = launch("worker", "--model-path", served.path.resolve(), *options, *args.worker_args)
        else:
            command = launch("upstream", "--base-url", served.url, "--upstream-model", served.model, *options, *args.upstream_args)
        # after a crash the controller may still list the one before, so the new one is asked too
        return Part(f"worker-{number + 1}", command, lambda: self._status(address) and address in self._listed(), args.load_seconds, address)

    def _face(self) -> list[Part]:
        args = self.args
        command = launch("api", "--host", args.host, "--port", args.api_port, "--controller-address", self.controller, *args.api_args)
        parts = [Part("api", command, lambda: LOCAL.get(f"{self.api}/health", timeout=PROBE_SECONDS).ok, 90)]
        if not args.no_web:
            command = launch("web", "--host", args.host, "--port", args.web_port, "--controller-url", self.controller, *args.web_args)
            conversations = {"LOGDIR": str((args.logs / "conversations").resolve())} if "--log-messages" in args.web_args else {}
            parts.append(Part("web", command, lambda: LOCAL.get(f"{self.web}/health", timeout=PROBE_SECONDS).ok, 120, environment=conversations))
        return parts

    def addresses(self) -> list[Address]:
        """Everything that is to listen, and the option that says where."""
        args = self.args
        found = [Address(part.name, args.controller_host, args.controller_port, "--controller-host", "--controller-port") for part in self.head]
        found += [Address(part.name, args.worker_host, args.worker_port + i, "--worker-host", "--worker-port") for i, part in enumerate(self.workers)]
        ports = {"api": (args.api_port, "HOST (--host)", "PORT (--port)"), "web": (args.web_port, "HOST (--host)", "--web-port")}
        return found + [Address(part.name, args.host, ports[part.name][0], *ports[part.name][1:]) for part in self.face]

    def environment(self) -> dict[str, str]:
        """What every part gets beside ours: quiet, offline, never a log in the current folder."""
        own = {
            "LOGDIR": "",  # FastChat writes logs of its own into the current folder by default; these here have all that they hold
            "GRADIO_ANALYTICS_ENABLED": "False",
            "HF_HUB_OFFLINE": "1",  # models are folders
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONUNBUFFERED": "1",
            "MALLOC_ARENA_MAX": "2",  # glibc keeps an arena for each thread: a worker grew by 176 MB in 5,000 fuzzed requests without this, by 14 with it
            "TOKENIZERS_PARALLELISM": "false",
        }
        return {name: value for name, value in own.items() if name not in os.environ} | {"BIMEDIX_SECRET": self.secret}

    # what the parts say of themselves

    def _ask_controller(self, path: str, **data: object) -> requests.Response:
        return LOCAL.post(f"{self.controller}/{path}", json=data, timeout=PROBE_SECONDS, headers={HEADER: self.secret})

    def _listed(self) -> set[str]:
        return {worker["worker_name"] for worker in self._ask_controller("list_workers").json()["workers"]}

    @staticmethod
    def _status(address: str) -> dict:
        return LOCAL.post(f"{address}/worker_get_status", timeout=PROBE_SECONDS).json()

    # the life of the stack

    def start(self, supervisor: Supervisor) -> None:
        """All parts, each group when the one before is ready; Failed where one cannot be."""
        supervisor.crashed, supervisor.returned = self._crashed, self._returned
        if not self.head:
            supervisor.logs.say(f"workers for the controller at {self.controller}; they go on trying until it takes them")
        for parts in (self.head, self.workers, self.face):
            supervisor.start(parts)

    def _crashed(self, part: Part) -> None:
        """A worker that is gone must not be given to anybody; the controller would notice by itself 2 s later."""
        if part in self.workers:
            self._tell("worker_failed", worker_name=part.address)

    def _returned(self, part: Part) -> None:
        """A new controller knows nobody; the workers would tell it at their next heart beat only."""
        if part in self.head:
            for worker in self.workers:
                if worker.state == "ready":
                    self._tell("register_worker", worker_name=worker.address)

    def _tell(self, path: str, **data: object) -> None:
        with contextlib.suppress(requests.RequestException):  # where the controller is gone or slow, the heart beats mend it
            self._ask_controller(path, **data)

    def announce(self, logs: Logs) -> None:
        """What is served where."""
        count = f"{len(self.workers)} worker{'s' if len(self.workers) > 1 else ''}"
        what = f"{', '.join(self.names)} served by {count}" if self.workers else "for workers on other machines"
        if not self.face:
            logs.say(f"{what} for the controller at {self.controller}")
        else:
            logs.say(f"{what}: API {self.api}/v1" + (f", web page {self.web}" if len(self.face) > 1 else ""))
        logs.say("For research, not for clinical use. Ctrl-C stops everything.")

    def stop(self, supervisor: Supervisor) -> None:
        """No new requests, then the answers that run, then all parts, in the reverse order of their start."""
        grace = self.args.grace
        deadline = time.monotonic() + grace

        def over() -> bool:
            return supervisor.hurried or time.monotonic() > deadline

        def left() -> float:
            return max(OBEY_SECONDS, 0 if supervisor.hurried else deadline - time.monotonic())

        supervisor.logs.say(f"stopping: no new requests, {grace:.0f} s for the answers that run")
        if supervisor.end(self.face, over):
            supervisor.logs.say("answers that did not end in time are ended", logging.WARNING)
            supervisor.finish(self.workers, 0)  # at once: the API then tells its clients that the worker is gone
        supervisor.finish(self.face, OBEY_SECONDS)
        supervisor.finish(self.workers, left())  # the API of another machine may have answers here, always so with `--controller`
        supervisor.finish(self.head, left())
