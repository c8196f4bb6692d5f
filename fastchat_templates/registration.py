"""A worker's place in the controller's list: taken with the shared secret, kept by heartbeats, taken again when the controller has forgotten it.

The secret is BIMEDIX_SECRET, sent as `X-BiMediX-Secret` (issue 5; CVE-2024-10044: FastChat's controller lets anybody register). It is on no command
line and in no log.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Callable

import requests

log = logging.getLogger(__name__)
HEADER = "X-BiMediX-Secret"
# FastChat beats every 45 s and sends the queue's length with it, by which the controller chooses: after 45 s it chooses by history
BEAT_SECONDS = int(os.environ.get("FASTCHAT_WORKER_HEART_BEAT_INTERVAL", "5"))


def secret_header() -> dict[str, str]:
    """What registration and heartbeats carry; nothing where there is no secret (the controller then takes loopback only)."""
    secret = os.environ.get("BIMEDIX_SECRET", "")
    return {HEADER: secret} if secret else {}


class Registration:
    """Registers `address` at the controller from a thread of its own, and stays registered until `leave`. `status` is asked at each registration."""

    def __init__(self, controller: str, address: str, status: Callable[[], dict]) -> None:
        self.controller, self.address, self.status = controller.rstrip("/"), address, status
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="registration", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        """Register a last time, with what `status` says then: a worker that names no models is sent nobody. Returns at once."""
        self._left.set()

    def _post(self, path: str, body: dict) -> requests.Response:
        answer = requests.post(f"{self.controller}/{path}", json=body, headers=secret_header(), timeout=5)
        answer.raise_for_status()
        return answer

    def _register(self) -> None:
        self._post("register_worker", {"worker_name": self.address, "check_heart_beat": True, "worker_status": self.status(), "multimodal": False})

    def _beat(self) -> bool:
        """Whether the controller still knows this worker."""
        answer = self._post("receive_heart_beat", {"worker_name": self.address, "queue_length": self.status()["queue_length"]})
        return answer.json()["exist"]

    def _keep(self) -> None:
        known, told = False, None
        while True:
            try:
                if not (known and self._beat()):
                    self._register()
                    log.info("registered at %s", self.controller)
                known, told = True, None
            except (requests.RequestException, ValueError, KeyError, TypeError) as error:
                known, said = False, _reason(error)
                if said != told:  # once, not at every try
                    log.error("not registered at %s: %s; trying on", self.controller, said)
                told = said
            # a controller that is just coming up is not kept waiting
            if self._left.wait(BEAT_SECONDS if known else min(1, BEAT_SECONDS)):
                break
        with contextlib.suppress(requests.RequestException):  # a controller that has gone first need not be told
            self._register()


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response.status_code in (401, 403):
        return f"it refused this worker ({error.response.status_code}): BIMEDIX_SECRET must be the controller's, and the address on its allow-list"
    if isinstance(error, requests.HTTPError):
        return f"it answered {error.response.status_code}"
    return "it does not answer" if isinstance(error, requests.RequestException) else "it answered no JSON of a controller"
