"""Processes that belong together: started and waited for, started again when they crash, ended in order.

A part that ends by itself is started again after 1, 2, 4, 8, 8 .. seconds; more than `restarts` crashes in a row, and the whole stack ends
with the end of that part's log. A part that stayed ready for a minute starts counting anew. One that was never ready is not tried again:
whatever is wrong with it (issue 5: model, template, memory) is wrong the second time too.

Each part is a process group of its own, so that Ctrl-C reaches the supervisor alone and nothing that a part started outlives it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import requests

from fastchat_templates.logs import Logs

PROJECT = Path(__file__).parent.parent
LOOK_SECONDS = 0.2  # between two looks at the processes
STEADY_SECONDS = 60  # ready for so long: the crashes before are forgotten
LONGEST_PAUSE = 8.0  # before a restart; an idle worker is back within 30 s of its end, loading included, where loading takes 20 s


class Failed(RuntimeError):
    """A part cannot be kept running; the message ends with its log's last lines."""


@dataclass
class Part:
    """One process: its command line, how to tell that it works, how long that may take."""

    name: str
    command: list[str]
    ready: Callable[[], bool]
    seconds: float
    address: str = ""  # a worker's, by which the controller knows it
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen | None = None
    state: str = "new"  # new, starting, ready, pausing, ended, ending, done
    since: float = 0.0  # when the state began
    pause: float = 0.0
    crashes: int = 0  # in a row
    was_ready: bool = False

    def enter(self, state: str) -> None:
        self.state, self.since = state, time.monotonic()

    def age(self) -> float:
        return time.monotonic() - self.since

    def answers(self) -> bool:
        """What `ready` says; a part that is not listening yet, or answers something else, is not ready."""
        try:
            return bool(self.ready())
        except (requests.RequestException, KeyError, ValueError):
            return False


class Supervisor:
    """The parts of one stack. Call it from one thread: `start`, then `look` again and again, then `end`."""

    def __init__(self, logs: Logs, restarts: int, environment: dict[str, str]) -> None:
        self.logs, self.restarts, self.environment = logs, restarts, environment
        self.parts: list[Part] = []
        self.readers: dict[str, threading.Thread] = {}
        self.signals: list[float] = []  # when somebody asked for the end
        self.crashed: Callable[[Part], None] = lambda part: None
        self.returned: Callable[[Part], None] = lambda part: None

    # what the operating system says

    def catch_signals(self) -> None:
        """SIGINT, SIGTERM and SIGHUP are noted, not acted on: an exception in the middle of a start would lose the process that was being started."""

        def note(signum: int, frame: object) -> None:
            # `timeout` and some shells send the same signal twice at once: that is one wish
            if not self.signals or time.monotonic() - self.signals[-1] > 1:
                self.signals.append(time.monotonic())

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup leaves it
                signal.signal(number, note)

    @property
    def stopping(self) -> bool:
        return bool(self.signals)

    @property
    def hurried(self) -> bool:
        """Asked a second time: do not wait for answers."""
        return len(self.signals) > 1

    # starting

    def _spawn(self, part: Part) -> None:
        process = subprocess.Popen(
            part.command,
            # the write end of this pipe is ours alone: it closes when we end, however we end, and the part ends with it (launch.py)
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=PROJECT,
            env=os.environ | self.environment | part.environment,
            start_new_session=True,
        )
        part.process = process
        part.enter("starting")
        self.readers[part.name] = self.logs.follow(part.name, process.stdout)

    def start(self, parts: Iterable[Part]) -> None:
        """Start some parts at once and come back when each is ready, or when the end was asked for; Failed where one cannot be."""
        parts = list(parts)
        for part in parts:
            self.parts.append(part)
            self._spawn(part)
        while not self.stopping and not all(part.was_ready for part in parts):
            self.look()
            time.sleep(LOOK_SECONDS)

    # keeping

    def look(self) -> None:
        """One look at every part: note what became ready, start again what ended and has paused; Failed where that makes no sense any more."""
        for part in self.parts:
            if part.state in ("starting", "ready") and part.process.poll() is not None:
                self._crashed(part, how_it_ended(part.process.returncode))
            elif part.state == "starting" and part.answers():
                self._is_ready(part)
            elif part.state == "starting" and part.age() > part.seconds:
                self._kill(part)
                self._crashed(part, f"was not ready after {part.seconds:.0f} s")
            elif part.state == "ready" and part.crashes and part.age() > STEADY_SECONDS:
                part.crashes = 0
            elif part.state == "pausing" and part.age() >= part.pause:
                self._spawn(part)

    def _is_ready(self, part: Part) -> None:
        again, took = part.was_ready, part.age()
        part.enter("ready")
        part.was_ready = True
        self.logs.console.shown.add(part.name)
        self.logs.say(f"{part.name} is {'back' if again else 'ready'} after {took:.1f} s")
        if again:
            self.returned(part)

    def _crashed(self, part: Part, how: str) -> None:
        self._kill(part)  # what it had started, and its pipe
        self._drain(part)
        part.enter("ended")
        part.crashes += 1
        if not part.was_ready:
            raise Failed(f"{part.name} {how} before it was ready:\n{self.logs.tail(part.name)}")
        if part.crashes > self.restarts:
            raise Failed(f"{part.name} {how}, crash {part.crashes} in a row, and is given up:\n{self.logs.tail(part.name)}")
        part.pause = min(2.0 ** (part.crashes - 1), LONGEST_PAUSE)
        part.enter("pausing")
        self.logs.say(f"{part.name} {how}; it is started again in {part.pause:.0f} s (crash {part.crashes} in a row)", 40)
        self.crashed(part)

    # ending

    def end(self, parts: Iterable[Part], until: Callable[[], bool]) -> list[Part]:
        """SIGTERM to some parts, all at once, and wait while `until` says no; what still runs then is returned."""
        running = [part for part in parts if part.process and part.process.poll() is None]
        for part in running:
            if part.state != "ending":  # some take a second signal for haste
                part.process.terminate()
                part.enter("ending")
        while running and not until():
            time.sleep(0.05)
            running = [part for part in running if part.process.poll() is None]
        return running

    def finish(self, parts: Iterable[Part], seconds: float) -> None:
        """End some parts: SIGTERM, `seconds` to obey, SIGKILL to the whole group."""
        parts = [part for part in parts if part.state not in ("new", "done")]
        deadline = time.monotonic() + seconds
        self.end(parts, lambda: time.monotonic() > deadline)
        for part in parts:
            forced = part.process.poll() is None
            self._kill(part)
            self._drain(part)
            part.enter("done")
            self.logs.say(f"stopped {part.name}" + (" by force" if forced else ""))

    def _kill(self, part: Part) -> None:
        """SIGKILL to a part's process group: itself, if it still runs, and whatever it started."""
        with contextlib.suppress(ProcessLookupError):  # nobody is left
            os.killpg(part.process.pid, signal.SIGKILL)
        part.process.wait()
        part.process.stdin.close()

    def _drain(self, part: Part) -> None:
        self.readers[part.name].join(2)  # its last words are in the log before the tail is read


def how_it_ended(status: int) -> str:
    """In words. Without memory the kernel sends SIGKILL, and the process cannot say so itself."""
    if status == -signal.SIGKILL:
        return "was killed (SIGKILL; for want of memory the kernel does that)"
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended by itself with status {status}"


def launch(module: str, *options: object) -> list[str]:
    """The command line of a part."""
    return [sys.executable, "-m", "fastchat_templates.launch", module, *map(str, options)]
