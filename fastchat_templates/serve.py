"""Serve a merged model: FastChat's controller, a model worker, the OpenAI-compatible API and the web page, as one command.

    python -m fastchat_templates.serve --model build/models/tiny/merged
    python -m fastchat_templates.serve --model build/models/tiny/merged --ask "What is anaemia?" --ask "ما هو فقر الدم؟"

Each process is waited for before the next one starts; Ctrl-C or SIGTERM takes them down in the reverse order. Everything listens on
127.0.0.1 unless `--host` says otherwise: there is no login, so another address is for networks that you trust.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import requests

STOP_SECONDS = 15  # for a process to end by itself before it is killed
PROJECT = Path(__file__).parent.parent


class Stopped(Exception):
    """Somebody asked for the end: Ctrl-C or SIGTERM."""


class Stack:
    """The processes that run, in the order in which they were started, and their logs."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.running: list[tuple[str, subprocess.Popen]] = []
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: list[str], ready: Callable[[], bool], seconds: float) -> None:
        """Start a process and wait until `ready` says yes; RuntimeError with the end of its log when it dies or takes too long."""
        environment = os.environ | {
            "LOGDIR": str((self.logs / "fastchat").resolve()),  # the web page logs conversations; by default into the current folder
            "GRADIO_ANALYTICS_ENABLED": "False",
            "PYTHONUNBUFFERED": "1",
        }
        # a session of its own: Ctrl-C reaches this process alone, which then stops the others in order
        with (self.logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=PROJECT, env=environment, start_new_session=True)
        self.running.append((name, process))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"the {name} ended with status {process.returncode} before it was ready:\n{self.tail(name)}")
            try:
                if ready():
                    return
            except requests.RequestException:
                pass  # not listening yet; the deadline decides
            time.sleep(0.2)
        raise RuntimeError(f"the {name} was not ready after {seconds:.0f} s:\n{self.tail(name)}")

    def dead(self) -> str | None:
        """The name of a process that ended, if one did."""
        return next((name for name, process in self.running if process.poll() is not None), None)

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a process's log."""
        path = self.logs / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) + f"\n(all of it: {path})"

    def stop(self) -> None:
        """End every process, the last one started first, and wait for it."""
        for name, process in reversed(self.running):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            print(f"stopped {name}", flush=True)
        self.running.clear()


def model_name(model: Path) -> str:
    """What clients call the model: `tiny` for build/models/tiny/merged, else the folder's own name."""
    return model.resolve().parent.name if model.name == "merged" else model.resolve().name


def check(args: argparse.Namespace) -> None:
    """Refuse early what would fail late: no model there, a port in use."""
    if not (args.model / "config.json").is_file():
        sys.exit(f"error: {args.model} holds no model (no config.json): run `make train`, or name a merged folder with MODEL=")
    for name in ("controller", "worker", "api", "web"):
        port = getattr(args, f"{name}_port")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((args.host, port))
            except OSError as error:
                sys.exit(f"error: the {name}'s address {args.host}:{port} cannot be used ({error.strerror}): choose another with --{name}-port")


def start_all(stack: Stack, args: argparse.Namespace) -> None:
    """Controller, worker, API, web page, each when the one before answers."""
    name = args.name or model_name(args.model)
    # the API server is asked by everybody, controller and worker only by processes on this machine
    local = {part: f"http://127.0.0.1:{getattr(args, f'{part}_port')}" for part in ("controller", "worker")}
    reach = "127.0.0.1" if args.host == "0.0.0.0" else args.host
    api, web = f"http://{reach}:{args.api_port}", f"http://{reach}:{args.web_port}"
    launch = [sys.executable, "-m", "fastchat_templates.launch"]
    listen = ["--host", "127.0.0.1", "--port"]

    def listed() -> list[str]:
        return requests.post(f"{local['controller']}/list_models", timeout=5).json()["models"]

    stack.start("controller", [*launch, "controller", *listen, str(args.controller_port)], lambda: listed() == [], 60)
    worker = [*launch, "worker", *listen, str(args.worker_port), "--model-path", str(args.model.resolve()), "--model-names", name]
    worker += ["--controller-address", local["controller"], "--worker-address", local["worker"], "--device", args.device]
    stack.start("worker", worker, lambda: name in listed(), args.load_seconds)
    serve_api = [*launch, "api", "--host", args.host, "--port", str(args.api_port), "--controller-address", local["controller"]]

    def api_lists() -> bool:
        return name in {model["id"] for model in requests.get(f"{api}/v1/models", timeout=5).json()["data"]}

    stack.start("api", serve_api, api_lists, 60)
    serve_web = [sys.executable, "-m", "fastchat_templates.web", "--host", args.host, "--port", str(args.web_port)]
    stack.start("web", [*serve_web, "--controller-url", local["controller"]], lambda: requests.get(web, timeout=5).ok, 90)
    print(f"model {name} is served\n  API  {api}/v1\n  web  {web}\nFor research, not for clinical use. Ctrl-C stops everything.", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("build/models/tiny/merged"), help="merged model folder (%(default)s)")
    parser.add_argument("--name", help="what clients call it (default: from the folder)")
    parser.add_argument("--host", default="127.0.0.1", help="address of API and web page (%(default)s)")
    for part, port in (("controller", 21001), ("worker", 21002), ("api", 8000), ("web", 7860)):
        parser.add_argument(f"--{part}-port", type=int, default=port, help="(%(default)s)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"], help="where the worker computes (%(default)s)")
    parser.add_argument("--load-seconds", type=float, default=900, help="how long loading the model may take (%(default)s)")
    parser.add_argument("--logs", type=Path, default=Path("build/serve"), help="folder of the logs (%(default)s)")
    parser.add_argument("--ask", action="append", metavar="QUESTION", help="ask this once all is ready, any number of times, then stop")
    return parser.parse_args()


def main() -> None:
    args = parse()
    check(args)

    def stop(signum: int, frame: object) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    stack = Stack(args.logs)
    status = 0
    try:
        start_all(stack, args)
        if args.ask:
            reach = "127.0.0.1" if args.host == "0.0.0.0" else args.host
            ask = [sys.executable, "-m", "fastchat_templates.ask", "--url", f"http://{reach}:{args.api_port}/v1", *args.ask]
            status = subprocess.run(ask, cwd=PROJECT, check=False).returncode
        else:
            while not (name := stack.dead()):
                time.sleep(0.5)
            raise RuntimeError(f"the {name} ended by itself:\n{stack.tail(name)}")
    except Stopped:
        print("stopping", flush=True)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of the stack behind
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stack.stop()
    sys.exit(status)


if __name__ == "__main__":
    main()
