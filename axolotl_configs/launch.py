"""Start an Axolotl command with the environment that it needs, its output to the terminal and a log, and end it with us; used by train.py."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from axolotl_configs import config as configs

# glibc gives freed blocks of over 32 MiB back to the kernel and asks for them anew at every step: the logits of one step of tiny.yaml
# are such blocks, and faulting their pages in took 40% of the CPU time (sys 5.6 of 13.5 min). Keeping them costs nothing.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1", "MALLOC_TOP_PAD_": str(2**28)}
PARENT = "BIMEDIX_TRAIN_PID"  # the process whose end ends the trainers: guard.py looks
PATIENCE = 20  # seconds that processes have after SIGTERM
NO_ROOM = re.compile(r"No space left on device|File too large|Disk quota exceeded|os error (?:28|27|122)\b|\[Errno (?:28|27|122)\]")
STOPPED = re.compile(r"^(?:\[rank\d+\]:\s*)?stopped: (.*)$", re.MULTILINE)


def environment() -> dict[str, str]:
    """For Axolotl's processes: this environment's `bin` on PATH (it starts `accelerate` by name), the project on PYTHONPATH (the plugins)."""
    import torch  # seconds to import: only when something is started

    settings = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(configs.PROJECT), os.environ.get("PYTHONPATH")])),
        "AXOLOTL_DO_NOT_TRACK": "1",  # no telemetry
        "TOKENIZERS_PARALLELISM": "false",
    }
    if not torch.cuda.is_available():
        settings |= KEEP_MEMORY | {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return settings


def axolotl(command: list[str], log: Path, watched: bool = True) -> None:
    """Run one Axolotl command to its end; ConfigError says why it failed, as far as the log tells.

    SIGTERM and Ctrl-C end the command and all that it started, then this process. `watched`: the trainers end by themselves should this
    process be killed; not for workers on other machines.
    """
    parent = {PARENT: str(os.getpid())} if watched else {}
    with log.open("wb") as copy:
        process = subprocess.Popen(
            command,
            cwd=configs.PROJECT,
            env=environment() | parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, so that all of it can be ended
            close_fds=False,  # train.py's lock goes with it
        )
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            while chunk := process.stdout.read1():
                copy.write(chunk)
                sys.stdout.buffer.write(chunk)
                sys.stdout.flush()
            process.wait()
        except OSError as error:  # the log's disk is full
            _end(process)
            raise configs.ConfigError(f"{log}: cannot be written ({error.strerror}); make room, then the same command goes on") from error
        except BaseException as error:
            _end(process)
            if isinstance(error, KeyboardInterrupt):
                sys.exit(128 + signal.SIGINT)
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
    if process.returncode:
        raise configs.ConfigError(_why(command, process.returncode, log))


def _end(process: subprocess.Popen) -> None:
    for number, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _why(command: list[str], status: int, log: Path) -> str:
    said = log.read_text(encoding="utf-8", errors="replace")
    if stopped := STOPPED.search(said):
        return stopped[1]
    if NO_ROOM.search(said):
        place = log.parent
        return f"{place}: no room to write (the end of {log} names the file); make room, then the same command goes on from the last whole checkpoint"
    return f"`{' '.join(command)}` ended with status {status}: the end of {log} says why"
