"""The web page as a process: our shell around Gradio, a door that lets through only what the page needs, an orderly end.

    python -m fastchat_templates.web --controller-url http://127.0.0.1:21001 --port 7860

What is typed and answered goes into no log unless `--log-messages` is given; then FastChat's conversation log gets it, without addresses.
A name and a password are asked for when the environment has BIMEDIX_WEB_LOGIN=name:password (several with commas).
`GET /health` answers {"status": "ok"}. SIGTERM: running answers are finished first, 25 s at most.
"""

import argparse
import hashlib
import logging
import os
import re
import signal
import sys
from pathlib import Path

os.environ.setdefault("LOGDIR", "")  # FastChat would leave log files in the current folder

import gradio
import gradio.routes
import jinja2
import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastchat_templates import conversation
from fastchat_templates.page_chat import Workers
from fastchat_templates.page_layout import LANGUAGES, PAGE, WAITING, Page, both

GRADIO_PAGE = Path(gradio.__file__).parent / "templates" / "frontend" / "index.html"
FINISH_SECONDS = 25  # make serve gives each process 30
BODY_BYTES = 256_000  # FastChat's 12,000 letters, Arabic, each escaped in JSON, are 72,000
# Gradio also has uploads, a proxy, files, a monitor and an interface for editing its own source code: none is for visitors
OPEN = re.compile(
    r"GET /(health|page/(page|bidi)\.(css|js)|assets/[\w./-]+|static/[\w./-]+|theme\.css|config|logout)?"
    r"|GET /gradio_api/(queue/data|heartbeat/\w+|startup-events|theme\.css|login_check/?|info/?|user/?|app_id/?)"
    r"|HEAD /"
    r"|POST /(login|gradio_api/(queue/join|run/predict|reset|cancel))/?"
)
HEADERS = {
    # Gradio's components are styled inline, and it builds its event functions from text
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
log = logging.getLogger("bimedix.web")


class TooLarge(Exception):
    """A request's body is longer than any message of the page."""


class Door:
    """ASGI: 404 for what the page does not need, 413 for long bodies, no error text of the server's, the headers above."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        # deep links read files that Gradio saved
        if scope["type"] != "http" or not OPEN.fullmatch(f"{scope['method']} {scope['path']}") or b"deep_link" in scope["query_string"]:
            return await _refuse(404, "not found", scope, receive, send)
        read, started = 0, False

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > BODY_BYTES:
                raise TooLarge
            return message

        async def with_headers(message: Message) -> None:
            nonlocal started
            if read > BODY_BYTES and not started:
                return  # FastAPI makes a 400 of the exception above
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *((key.encode(), value.encode()) for key, value in HEADERS.items())]
            await send(message)

        try:
            await self.app(scope, limited, with_headers)
        except TooLarge:
            pass
        except Exception:  # whatever it is, the visitor gets no stack
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not started:
                await _refuse(500, "error", scope, receive, send)
        if read > BODY_BYTES and not started:
            await _refuse(413, "too long", scope, receive, send)


async def _refuse(status: int, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await JSONResponse({"error": reason}, status, headers={"connection": "close"})(scope, receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})


def shell(page: Page) -> None:
    """Let Gradio answer with page/shell.html; RuntimeError where this Gradio's page is not the one that the shell was made for."""
    gradios = GRADIO_PAGE.read_text(encoding="utf-8")
    script, style = (re.findall(pattern, gradios) for pattern in (r'<script type="module"[^>]*></script>', r'<link rel="stylesheet"[^>]*>'))
    if len(script) != 1 or len(style) != 1:
        raise RuntimeError(f"gradio {gradio.__version__} builds its page in another way; page/shell.html was made for gradio 5.50")
    files = b"".join((PAGE / name).read_bytes() for name in ("page.css", "bidi.js", "page.js"))
    words = page.words["page"]
    texts = {name: both(words[name]) for name in ("tagline", "skip")}
    # without a script nothing chooses a language: both are shown
    no_script = "".join(f'<p lang="{language}" dir="{direction}">{words["no_script"][language]}</p>' for language, direction in LANGUAGES.items())
    environment = gradio.routes.templates.env
    environment.loader = jinja2.DictLoader({"frontend/index.html": (PAGE / "shell.html").read_text(encoding="utf-8")})
    environment.globals["page"] = {
        "title": words["title"]["en"], "words": page.words, "languages": LANGUAGES, "no_script": no_script, **texts,
        "gradio_script": script[0], "gradio_style": style[0], "version": hashlib.sha256(files).hexdigest()[:12],
    }  # fmt: skip


def build(workers: Workers, logins: list[tuple[str, str]]) -> tuple[FastAPI, gradio.routes.App]:
    """The app to serve, and Gradio's own inside it."""
    conversation.register()
    page = Page(workers)
    shell(page)
    page.blocks.queue(max_size=WAITING, api_open=False)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.get("/health")(lambda: {"status": "ok"})
    app.mount("/page", StaticFiles(directory=PAGE))
    app = gradio.mount_gradio_app(app, page.blocks, "/", auth=logins or None, show_error=False, show_api=False, ssr_mode=False, pwa=False)
    inner = app.routes[-1].app
    inner.debug = False  # Gradio turns it on, and Starlette then sends stacks to visitors
    app.add_middleware(Door)
    return app, inner


class Server(uvicorn.Server):
    """uvicorn, but for the connections that Gradio keeps open as long as a page is: they end with the first signal, answers go on."""

    inner: gradio.routes.App

    def handle_exit(self, number: int, frame: object) -> None:
        self.inner.stop_event.set()
        super().handle_exit(number, frame)


def logins(setting: str) -> list[tuple[str, str]]:
    """Pairs of name and password of BIMEDIX_WEB_LOGIN; ValueError where it is not `name:password`."""
    pairs = [tuple(pair.strip().split(":", 1)) for pair in setting.split(",") if pair.strip()]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise ValueError("BIMEDIX_WEB_LOGIN is not name:password, or several of them with commas between")
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--controller-url", default="http://127.0.0.1:21001", help="(%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="(%(default)s)")
    parser.add_argument("--log-messages", action="store_true", help="write conversations to FastChat's log, in the folder that LOGDIR names (default: not)")
    args = parser.parse_args()
    try:
        people = logins(os.environ.get("BIMEDIX_WEB_LOGIN", ""))
        app, inner = build(Workers(args.controller_url, args.log_messages), people)
    except (ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    # uvicorn raises the signal again when it is done; that end is not a failure
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server = Server(uvicorn.Config(app, host=args.host, port=args.port, log_level="warning", timeout_graceful_shutdown=FINISH_SECONDS))
    server.inner = inner
    server.run()


if __name__ == "__main__":
    main()
