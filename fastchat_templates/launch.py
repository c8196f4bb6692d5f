"""Run one part as a child of the supervisor; `fastchat_templates.serve` starts every part through here.

    python -m fastchat_templates.launch controller|worker|upstream|api|web [options of that part]

Standard input is a pipe that only the supervisor holds. When the supervisor is gone, even by SIGKILL, the pipe ends, and this process
ends itself and all that it started: a model that nobody watches would keep memory and port for ever. (Linux could send a signal at the
parent's death, PR_SET_PDEATHSIG, but not to grandchildren.)
"""

import os
import runpy
import signal
import sys
import threading

PARTS = ("controller", "worker", "upstream", "api", "web")


def end_with_the_supervisor() -> None:
    """Wait for the end of standard input, then kill this process's group; the supervisor made it for this part alone."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, name="supervisor's pipe", daemon=True).start()


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in PARTS:
        sys.exit(f"usage: python -m fastchat_templates.launch {'|'.join(PARTS)} [options of that part]")
    if os.getpgrp() != os.getpid() or sys.stdin.isatty():
        sys.exit(f"error: started by hand, a part runs as `python -m fastchat_templates.{sys.argv[1]}`; this one is for the supervisor")
    end_with_the_supervisor()
    runpy.run_module(f"fastchat_templates.{sys.argv.pop(1)}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
