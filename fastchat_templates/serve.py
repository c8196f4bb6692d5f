"""Serve models: FastChat's controller, workers, the OpenAI-compatible API and the web page, started, watched and ended by one command.

    python -m fastchat_templates.serve --model build/models/tiny/merged --workers 2
    python -m fastchat_templates.serve --model bimedix-bi=path/to/one,bimedix-ar=path/to/another
    python -m fastchat_templates.serve --upstream bimedix-bi=http://127.0.0.1:9000/v1
    python -m fastchat_templates.serve --model build/models/tiny/merged --ask "What is anaemia?" --ask "ما هو فقر الدم؟"

What would fail is said before anything starts (preflight.py). A part that crashes is started again (supervise.py). Ctrl-C or SIGTERM
lets running answers finish, then ends everything within 30 seconds; a second Ctrl-C does not wait. Only this machine is answered unless
`--host` names another address, and that needs API keys. docs/SERVING.md tells more. For research, not for clinical use.
"""

import argparse
import logging
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from fastchat_templates import preflight
from fastchat_templates.logs import Logs
from fastchat_templates.preflight import Model, Upstream
from fastchat_templates.stack import Stack
from fastchat_templates.supervise import LOOK_SECONDS, PROJECT, Failed, Supervisor

GRACE_SECONDS = 20  # for running answers; the rest of the 30 seconds is for the processes to end
DEFAULT_MODEL = "build/models/tiny/merged"


def models(text: str) -> list[Model]:
    """`path`, `name=path`, or several with commas; ValueError where a name stands twice. A folder called merged is called as the one above it."""
    found = []
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, _, path = item.rpartition("=")
        folder = Path(path)
        whole = folder.resolve()
        found.append(Model(name or (whole.parent.name if folder.name == "merged" else whole.name), folder))
    if twice := {one.name for one in found if [other.name for other in found].count(one.name) > 1}:
        raise ValueError(
            f"two models are called {', '.join(sorted(twice))}: give each a name of its own, NAME=FOLDER; for several workers of one use --workers"
        )
    return found


def upstream(text: str) -> Upstream:
    """`NAME=URL`, or `NAME=URL,MODEL` where the engine calls the model otherwise."""
    name, equals, rest = text.partition("=")
    url, _, model = rest.partition(",")
    if not (name and equals and url.startswith(("http://", "https://"))):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=URL with a URL that begins with http:// or https://")
    url = url.rstrip("/")
    return Upstream(name, url if url.endswith("/v1") else f"{url}/v1", model or name)


def port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 1 to 65535")
    return int(text)


def devices(text: str) -> list[str]:
    found = text.split(",")
    if not all(re.fullmatch(r"cpu|cuda(:\d+)?", device) for device in found):
        raise argparse.ArgumentTypeError(f"{text!r} is not cpu, cuda, or several such as cuda:0,cuda:1")
    return found


def number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the list of all options is for --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def parse() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what is served")
    what.add_argument("--model", help=f"merged model folder, or NAME=FOLDER, several with commas (default without --upstream: {DEFAULT_MODEL})")
    what.add_argument("--workers", type=number, default=1, help="workers of each model (%(default)s)")
    what.add_argument("--upstream", type=upstream, action="append", default=[], metavar="NAME=URL[,MODEL]", help="a model of an engine: vLLM, SGLang ..")
    what.add_argument("--device", type=devices, default=["cpu"], help="where workers compute: cpu, cuda, or cuda:0,cuda:1 for one after the other (cpu)")
    where = parser.add_argument_group("where")
    where.add_argument("--host", default="127.0.0.1", help="address of API and web page (%(default)s)")
    where.add_argument("--port", "--api-port", dest="api_port", type=port, default=8000, help="the API's (%(default)s)")
    where.add_argument("--web-port", type=port, default=7860, help="(%(default)s)")
    where.add_argument("--no-web", action="store_true", help="no web page")
    where.add_argument("--controller-port", type=port, default=21001, help="(%(default)s)")
    where.add_argument("--worker-port", type=port, default=21002, help="of the first worker, the others follow (%(default)s)")
    many = parser.add_argument_group("several machines (each with the same BIMEDIX_SECRET)")
    many.add_argument("--controller-host", default="127.0.0.1", help="address on which workers of other machines reach the controller (%(default)s)")
    many.add_argument("--allow-worker", action="append", default=[], metavar="HOST[:PORT]", help="where such a worker may be")
    many.add_argument("--controller", metavar="URL", help="start workers only, for the controller at this URL")
    many.add_argument("--worker-host", default="127.0.0.1", help="this machine's address, for that controller and its API (%(default)s)")
    more = parser.add_argument_group("behaviour")
    more.add_argument("--worker-args", type=shlex.split, default=[], metavar="OPTIONS", help='for each worker, as "--concurrency 8 --queue 32"')
    more.add_argument("--upstream-args", type=shlex.split, default=[], metavar="OPTIONS", help='for each upstream worker, as "--context 32768"')
    more.add_argument("--api-args", type=shlex.split, default=[], metavar="OPTIONS", help='for the API, as "--rate 60 --max-n 1"')
    more.add_argument("--web-args", type=shlex.split, default=[], metavar="OPTIONS", help="for the web page")
    more.add_argument("--load-seconds", type=float, default=900, help="how long loading a model may take (%(default)s)")
    more.add_argument("--grace", type=float, default=GRACE_SECONDS, help="seconds for running answers at the end (%(default)s)")
    more.add_argument("--restarts", type=int, default=5, help="crashes of a part in a row that are mended (%(default)s)")
    more.add_argument("--logs", type=Path, default=Path("build/serve"), help="folder of the logs (%(default)s)")
    more.add_argument("--verbose", action="store_true", help="all lines of all parts on the console too")
    more.add_argument("--ask", action="append", metavar="QUESTION", help="ask this once all is ready, any number of times, then stop")
    args = parser.parse_args()
    if args.model is None:
        args.model = "" if args.upstream else DEFAULT_MODEL
    try:
        args.models = models(args.model)
    except ValueError as error:
        parser.error(str(error))
    if not (args.models or args.upstream or (args.allow_worker and not args.controller)):
        parser.error("nothing to serve: name a model with --model (MODEL=), an engine with --upstream, or machines with --allow-worker")
    if both := {one.name for one in args.models} & {one.name for one in args.upstream}:
        parser.error(f"{', '.join(sorted(both))}: a model of that name is served both from a folder and by an engine")
    return args


def check(args: argparse.Namespace, stack: Stack) -> list[str]:
    """Everything that would fail late, one line each."""
    inner = {"--worker-host": args.worker_host} | ({} if args.controller else {"--controller-host": args.controller_host})
    problems = preflight.exposure("127.0.0.1" if args.controller else args.host, inner, bool(args.controller or args.allow_worker))
    if args.controller and not problems:
        problems += preflight.controller(stack.controller)
    problems += preflight.ports(stack.addresses())
    sound = [model for model in args.models if not (wrong := preflight.model(model.path)) or problems.extend(wrong)]
    if sound and len(sound) == len(args.models):
        problems += preflight.memory(sound, args.workers, args.device)
    for one in args.upstream:
        problems += preflight.engine(one)
    return problems


def tell_systemd(state: str) -> None:
    """For a unit of Type=notify: READY=1 once all is up, STOPPING=1 (sd_notify's datagram, which needs no library)."""
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


def ask(stack: Stack, supervisor: Supervisor, questions: list[str]) -> int:
    """Put the questions to the API while the parts are watched; the status of the asking."""
    line = [sys.executable, "-m", "fastchat_templates.ask", "--url", f"{stack.api}/v1", *questions]
    asking = subprocess.Popen(line, cwd=PROJECT)
    while asking.poll() is None and not supervisor.stopping:
        supervisor.look()
        time.sleep(LOOK_SECONDS)
    if asking.poll() is None:
        asking.terminate()
    return asking.wait()


def main() -> None:
    args = parse()
    stack = Stack(args)
    problems = check(args, stack)
    try:
        logs = Logs(args.logs, verbose=args.verbose)
    except OSError as error:
        problems.append(f"the logs cannot be written to {args.logs} ({error.strerror}): name another folder with --logs")
    if problems:
        sys.exit("\n".join(f"error: {problem}" for problem in problems))
    supervisor = Supervisor(logs, args.restarts, stack.environment())
    supervisor.catch_signals()
    status = 0
    try:
        stack.start(supervisor)
        if not supervisor.stopping:
            stack.announce(logs)
            if not (args.controller or args.no_web or os.environ.get("BIMEDIX_WEB_LOGIN") or preflight.loopback(args.host)):
                logs.say("the web page asks nobody for a password: BIMEDIX_WEB_LOGIN=name:password sets one, --no-web leaves the page out", logging.WARNING)
            tell_systemd("READY=1")
        if args.ask and not supervisor.stopping:
            status = ask(stack, supervisor, args.ask)
        while not (args.ask or supervisor.stopping):
            supervisor.look()
            time.sleep(LOOK_SECONDS)
    except (Failed, OSError) as error:  # OSError: the system has no room for another process
        print(f"error: {error}", file=sys.stderr)
        status = 1
    finally:
        tell_systemd("STOPPING=1")
        stack.stop(supervisor)
    sys.exit(status)


if __name__ == "__main__":
    main()
