"""Which addresses may be workers. A controller that takes any address can be made to fetch from anywhere it reaches (CVE-2024-10044)."""

import argparse
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit


class Allowed:
    """The addresses that may be workers: HOST or HOST:PORT each, HOST a name, an address or a network such as 10.0.0.0/24."""

    def __init__(self, entries: Iterable[str]) -> None:
        self.entries = [self._entry(text) for text in entries]

    @staticmethod
    def _entry(text: str) -> tuple[str | ipaddress.IPv4Network | ipaddress.IPv6Network, int | None]:
        try:
            return ipaddress.ip_network(text), None
        except ValueError:
            parts = urlsplit(f"//{text}")
        host = parts.hostname
        if not host or parts.path or parts.username:
            raise argparse.ArgumentTypeError(f"{text} is no HOST or HOST:PORT")
        try:
            return ipaddress.ip_network(host), parts.port
        except ValueError:
            return host, parts.port

    def refusal(self, address: str) -> str | None:
        """Why an address cannot be a worker; None for one that can."""
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError:
            return "it is no URL"
        if parts.scheme not in ("http", "https") or not host:
            return "it is no http or https URL"
        if address != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
            return "it must be scheme, host and port only"
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            ip = None
        for allowed, allowed_port in self.entries:
            same = host == allowed if isinstance(allowed, str) else ip is not None and ip.version == allowed.version and ip in allowed
            if same and allowed_port in (None, port):
                return None
        return f"{host}:{port} is not on the list of --allow-worker"
