"""A worker that speaks FastChat's wire format and computes nothing: it does what the last message says. Standard library only, up in 0.2 s.

    python -m tests.fastchat_templates.scripted_worker --port 21002 --models slow,twin

`say a b c` streams the three words, `slow a b c` with 0.1 s between them, `fail CODE TEXT` answers with that error, `hang` sends one chunk and no more,
`cut` ends the connection after one chunk, `flood` sends 10 MB. GET tells what came in and how many clients left early. It does not register itself.
"""

import argparse
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONV = {
    "name": "bimedix",
    "system_template": "[INST] {system_message}\n\n",
    "system_message": "",
    "roles": ["[INST]", "[/INST]"],
    "messages": [],
    "offset": 0,
    "sep_style": 7,  # LLAMA2
    "sep": " ",
    "sep2": "</s>",
    "stop_str": "</s>",
    "stop_token_ids": None,
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._json({"requests": self.server.requests, "left": self.server.left, "probes": self.server.probes})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        params = json.loads(body) if body else None
        if self.path == "/worker_get_status":
            self.server.probes += 1
            self._json({"model_names": self.server.models, "speed": 1, "queue_length": self.server.queue_length})
        elif self.path == "/worker_get_conv_template":
            self._json({"conv": CONV})
        elif self.path in ("/worker_generate", "/worker_generate_stream"):
            self.server.requests.append(params)
            try:
                self._generate(params, self.path.endswith("stream"))
            except OSError:
                self.server.left += 1
        else:
            self.send_error(404)

    def _generate(self, params: dict, stream: bool) -> None:
        prompt = params["prompt"]
        said = prompt.rpartition("[INST] ")[2].rpartition(" [/INST]")[0] if isinstance(prompt, str) else "say ids"
        verb, _, rest = said.partition(" ")
        usage = {"prompt_tokens": 7, "completion_tokens": len(rest.split()), "total_tokens": 7 + len(rest.split())}
        if verb == "fail":
            code, _, text = rest.partition(" ")
            self._json({"error_code": int(code), "text": text}, b"\0" if stream else b"")
            return
        words = ["x" * 100_000] * 100 if verb == "flood" else rest.split()
        last = {"text": " ".join(words), "error_code": 0, "finish_reason": "stop", "usage": usage}
        if not stream:
            if verb == "slow":
                self._wait(0.1 * len(words))
            self._json(last)
            return
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for count in range(1, len(words) + 1):
            self._chunk({"text": " ".join(words[:count]), "error_code": 0, "finish_reason": None})
            if verb == "cut":
                time.sleep(0.3)
                self.close_connection = True
                return
            if verb == "hang":
                self._wait(60)
            time.sleep(0.1 if verb == "slow" else 0)
        self._chunk(last)
        self.wfile.write(b"0\r\n\r\n")

    def _wait(self, seconds: float) -> None:
        """OSError when the client leaves meanwhile."""
        self.connection.settimeout(seconds)
        try:
            if not self.connection.recv(1):
                raise OSError("left")
        except TimeoutError:
            self.connection.settimeout(None)

    def _chunk(self, body: dict) -> None:
        data = json.dumps(body).encode() + b"\0"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _json(self, body: dict, end: bytes = b"") -> None:
        data = json.dumps(body).encode() + end
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, models: list[str]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.models, self.queue_length, self.probes, self.left = models, 0, 0, 0
        self.requests: list[dict] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        pass  # clients that leave


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--models", required=True)
    options = parser.parse_args(sys.argv[1:])
    Server(options.port, options.models.split(",")).serve_forever()
