"""Start Label Studio on 127.0.0.1 for one build folder, with everything that calls home turned off, and know it again.

BUILD/review/server.json (readable by its owner alone, in a folder that git ignores) holds address, account, password and token, which are made
up at the first start. Secrets go to the server through its environment: everybody on a machine can read a command line. Label Studio silently takes the
next port where its own is busy, so the port is looked at before, and what answers afterwards must know our token.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import httpx

from data_prep.files import json_text
from data_prep.records import BadInput

HOST, PORT = "127.0.0.1", 8080
PATIENCE = 240  # seconds to the first answer: 20 to 66 were measured on 2 cores, most of them Label Studio's migrations
QUIET = {
    "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
    "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
    "LABEL_STUDIO_SENTRY_DSN": "",
    "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
    "LABEL_STUDIO_DEBUG": "false",
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",  # people come by the link that the administrator gives them
}


class Access(NamedTuple):
    """How a server is reached: address, token, and for one of ours the administrator's account."""

    url: str
    token: str
    email: str | None = None
    password: str | None = None


def remote() -> Access | None:
    """A team's own server, where LABEL_STUDIO_URL names one. BadInput where the token is missing."""
    url, token = os.environ.get("LABEL_STUDIO_URL"), os.environ.get("LABEL_STUDIO_API_KEY")
    if not url:
        return None
    if not url.startswith(("http://", "https://")):
        raise BadInput(f"LABEL_STUDIO_URL={url}: it must begin with http:// or https://")
    if not token:
        raise BadInput("LABEL_STUDIO_URL is set, LABEL_STUDIO_API_KEY is not: set it to the access token of your account there")
    return Access(url.rstrip("/"), token)


def known(folder: Path) -> Access:
    """The server that `make review` started for BUILD/review, `folder`. BadInput where it never did."""
    path = folder / "server.json"
    try:
        return Access(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise BadInput(f"{path} is not there: start Label Studio with make review, or name a server with LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY") from error
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path}: not what make review wrote ({error}); restore it, or remove it and {folder / 'server'} to begin anew") from error


def access(folder: Path) -> Access:
    """The team's server where there is one, else ours."""
    return remote() or known(folder)


def answers(at: Access, seconds: float = 5) -> bool:
    """Whether a server answers there that knows our token."""
    try:
        ours = httpx.get(f"{at.url}/api/current-user/whoami", headers={"Authorization": f"Token {at.token}"}, timeout=seconds)
        return ours.status_code == 200 and ours.json().get("email") == at.email
    except (httpx.HTTPError, ValueError):
        return False


def busy(port: int) -> bool:
    """Whether somebody listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((HOST, port)) == 0


def _prepare(folder: Path, port: int) -> Access:
    path, url = folder / "server.json", f"http://{HOST}:{port}"
    if path.exists():
        at = known(folder)._replace(url=url)
    elif (folder / "server").exists():
        raise BadInput(f"{path} is missing beside {folder / 'server'}, which holds people's work under a token that only that file had; restore it")
    else:
        at = Access(url, secrets.token_hex(20), "admin@review.invalid", secrets.token_urlsafe(12))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")  # BUILD may be another folder than the one that the project's own .gitignore names
    aside = path.with_name(".server.json.part")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(json_text(at._asdict()))
    aside.replace(path)
    return at


def start(folder: Path, port: int) -> tuple[Access, subprocess.Popen | None]:
    """Start the server of BUILD/review and wait until it answers; the process is None where it ran already. Raises BadInput."""
    program = Path(sys.executable).with_name("label-studio")
    if not program.exists() and not shutil.which(str(program)):
        raise BadInput("Label Studio is not installed in this environment; run make setup-review")
    if busy(port):
        at = known(folder)._replace(url=f"http://{HOST}:{port}") if (folder / "server.json").exists() else None
        if at and answers(at):
            return at, None
        raise BadInput(f"port {port} is taken by another program; stop it, or choose another: make review REVIEW_ARGS='--port {port + 1}'")
    at = _prepare(folder, port)
    secret = {"LABEL_STUDIO_USERNAME": at.email, "LABEL_STUDIO_PASSWORD": at.password, "LABEL_STUDIO_USER_TOKEN": at.token}
    line = [str(program), "start", "--no-browser", "--enable-legacy-api-token", "--internal-host", HOST, "--port", str(port)]
    log = folder / "server.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*line, "--data-dir", str((folder / "server").resolve())],
            env={key: value for key, value in os.environ.items() if not key.startswith(("LABEL_STUDIO_", "DJANGO_"))} | QUIET | secret,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # Ctrl-C is for us: we end it in order
        )
    began = time.monotonic()
    try:
        while not answers(at):
            if process.poll() is not None or time.monotonic() - began > PATIENCE:
                said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
                raise BadInput(f"Label Studio did not start: {' / '.join(said)[-400:]} (whole log: {log})")
            time.sleep(0.5)
    except BaseException:  # Ctrl-C too: nothing of ours stays behind
        stop(process)
        raise
    return at, process


def stop(process: subprocess.Popen) -> None:
    """End the server; what people submitted is in its database by then."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
