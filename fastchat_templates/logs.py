"""One line format for all that runs: time, part, level, message. One file a part, rotated by size; the console gets what matters.

    2026-01-31T12:00:00+0000 worker-1 INFO warm-up done

The parts write as their libraries please (FastChat's bars, uvicorn's colons, bare tracebacks); the supervisor reads their output through
a pipe and writes it down so. Control characters are taken out: a line that somebody typed into a chat must not paint on a terminal.
"""

import logging
import re
import sys
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

FILE_BYTES, FILES_KEPT = 10_000_000, 3  # of each part: at most 40 MB
LINE_BYTES = 100_000  # a longer line is written in pieces: whatever a part does, the supervisor's memory stays small
FORMAT = logging.Formatter("%(asctime)s %(part)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")

HEAD = re.compile(
    r"(?:\[?\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z|[+-]\d{4})?\]?)?[\s|:-]*"  # a time
    r"\[?\b(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)\b\]?[\s|:]+"  # a level
    r"(?:([\w.]+) \|(?: |$))?"  # FastChat's logger; `stderr` is no level, though FastChat writes ERROR before it
)
TRACE = re.compile(r"Traceback \(most recent call last\)|(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt)\b(?::|$)|\S*\bFatal ")
WARNS = re.compile(r"(?:.*:\d+: )?\w*Warning: ")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LEVELS = {"WARN": "WARNING", "FATAL": "CRITICAL"}


def read_line(raw: str, inside_trace: bool = False) -> tuple[int, str, bool]:
    """Level and message of a line that a part wrote, and whether a traceback goes on; `inside_trace` says that the line before was in one."""
    # a progress bar rewrites its line: the last state is the one to keep
    message = CONTROL.sub("", raw.rstrip().rsplit("\r", 1)[-1])
    level = None
    while match := HEAD.match(message):
        message = message[match.end() :]
        level = None if match[2] in ("stderr", "stdout") else LEVELS.get(match[1], match[1])
    if TRACE.match(message):
        return logging.ERROR, message, message.startswith("Traceback")
    if level is None and inside_trace and message.startswith(" "):
        return logging.ERROR, message, True
    if level is None and WARNS.match(message):
        level = "WARNING"
    return logging.getLevelName(level or "INFO"), message, False


class Console(logging.Handler):
    """stdout: what the supervisor says, the errors of parts that have been ready (before, the end of a log is shown), with `verbose` all lines."""

    def __init__(self, own: str, verbose: bool) -> None:
        super().__init__()
        self.own, self.verbose = own, verbose
        self.shown: set[str] = set()
        self.setFormatter(FORMAT)

    def emit(self, record: logging.LogRecord) -> None:
        if self.verbose or record.part == self.own or (record.levelno >= logging.ERROR and record.part in self.shown):
            try:
                print(self.format(record), flush=True)
            except (BrokenPipeError, ValueError):  # nobody reads any more; the file has the line
                sys.stdout = None


class Logs:
    """The log files of one stack in one folder; OSError where they cannot be written."""

    def __init__(self, folder: Path, own: str = "serve", verbose: bool = False) -> None:
        self.folder, self.own = folder, own
        folder.mkdir(parents=True, exist_ok=True)
        self.console = Console(own, verbose)
        self.writers: dict[str, logging.LoggerAdapter] = {}
        self.of(own)

    def of(self, part: str) -> logging.LoggerAdapter:
        """The logger of a part; its file is made at the first call."""
        if part not in self.writers:
            logger = logging.getLogger(f"bimedix.{part}")
            logger.setLevel(logging.INFO)
            logger.propagate = False
            file = RotatingFileHandler(self.path(part), maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8")
            file.setFormatter(FORMAT)
            logger.handlers = [file, self.console]
            self.writers[part] = logging.LoggerAdapter(logger, {"part": part})
        return self.writers[part]

    def say(self, message: str, level: int = logging.INFO) -> None:
        """A line of the supervisor's own."""
        self.of(self.own).log(level, "%s", message)

    def path(self, part: str) -> Path:
        return self.folder / f"{part}.log"

    def tail(self, part: str, lines: int = 15) -> str:
        """The last lines of a part's log, and where the rest is."""
        return "\n".join(self.path(part).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]) + f"\n(all of it: {self.path(part)})"

    def follow(self, part: str, output: IO[bytes]) -> threading.Thread:
        """Write down what comes out of a process until it closes `output`, in a thread, which is returned."""
        logger = self.of(part)

        def read() -> None:
            inside = False
            with output:
                while line := output.readline(LINE_BYTES):
                    level, message, inside = read_line(line.decode("utf-8", "replace"), inside)
                    if message:
                        logger.log(level, "%s", message)

        thread = threading.Thread(target=read, name=f"log of {part}", daemon=True)
        thread.start()
        return thread
