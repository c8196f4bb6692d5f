"""What would fail late, said early: one line for each thing that the user can mend, before anything starts.

Ports, models, chat template, memory, keys, engine. Every check returns the lines that it has to say; no line means that all is well.
Nothing here imports torch or FastChat: a mistake in an option is told within a second.
"""

import errno
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests
from safetensors import SafetensorError, safe_open

from fastchat_templates.guard import Keys, loopback
from fastchat_templates.registration import secret_header

TEMPLATE = Path(__file__).with_name("bimedix.jinja")
GIB = 1 << 30
OTHERS_BYTES = 1 * GIB  # controller, API and web page together, measured 0.7 GiB
WORKER_BYTES = 1 * GIB  # a worker's libraries and caches beside the weights, measured 0.4 GiB on the tiny model


@dataclass(frozen=True)
class Model:
    """A model folder and what clients call it."""

    name: str
    path: Path

    def files(self) -> list[Path]:
        return sorted(self.path.glob("*.safetensors"))


@dataclass(frozen=True)
class Upstream:
    """A model that an OpenAI-compatible engine serves: what clients call it, the engine's address ending in /v1, the engine's name for it."""

    name: str
    url: str
    model: str


@dataclass(frozen=True)
class Address:
    """Where a part is to listen, and the options that say so."""

    part: str
    host: str
    port: int
    host_option: str
    option: str


def wildcard(host: str) -> bool:
    """Whether an address means all that this machine has."""
    return host in ("0.0.0.0", "::", "")


def exposure(host: str, inner_hosts: dict[str, str], several: bool) -> list[str]:
    """An address that other machines reach needs a key (API) or a secret (controller, workers). `inner_hosts`: option -> address.

    `several`: there are workers on other machines, whatever the addresses.
    """
    problems = []
    try:
        open_to_all = not Keys.load().digests
    except ValueError as error:
        problems.append(str(error))
        open_to_all = False
    if open_to_all and not loopback(host):
        problems.append(
            f"HOST {host} can be reached from other machines and there is no API key: set BIMEDIX_API_KEYS "
            "(`export BIMEDIX_API_KEYS=$(openssl rand -hex 24)` makes one), or name a file with BIMEDIX_API_KEYS_FILE"
        )
    for option, address in inner_hosts.items():
        if wildcard(address) and option == "--worker-host":
            problems.append(f"--worker-host {address} is no address that the controller can call: name the one that this machine has on its network")
        several = several or not loopback(address)
    if several and not os.environ.get("BIMEDIX_SECRET"):
        problems.append("workers on other machines need the same BIMEDIX_SECRET there and here, and none is set (`openssl rand -hex 24` makes one)")
    return problems


def ports(addresses: list[Address]) -> list[str]:
    """Addresses that are wanted twice or cannot be had."""
    problems, seen = [], {}
    for address in addresses:
        if other := seen.get(address.port):
            problems.append(f"{other.part} and {address.part} both want port {address.port}: change {other.option} or {address.option}")
            continue
        seen[address.port] = address
        if address.port > 65535:
            problems.append(f"{address.part}: there is no port {address.port}: choose a smaller one with {address.option}")
            continue
        try:
            family, kind, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                problems.append(f"{address.part}: {address.host} is no address of this machine ({error.strerror}): change {address.host_option}")
            else:
                problems.append(f"{address.part}: {address.host}:{address.port} cannot be used ({error.strerror}): choose another port with {address.option}")
    return problems


def _json(path: Path) -> dict:
    """A JSON object of a file; ValueError where it is none."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    return content


def _template(folder: Path) -> str | None:
    """The chat template as transformers finds it: the file wins over the tokenizer's settings."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    settings = folder / "tokenizer_config.json"
    return _json(settings).get("chat_template") if settings.is_file() else None


def model(folder: Path) -> list[str]:
    """Whether a folder holds a whole model with our chat template; the first thing that is wrong."""
    if not folder.is_dir():
        return [f"{folder}: no such folder; run `make train`, or name a merged model with MODEL="]
    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        return [
            f"{folder} holds {'an adapter, no merged model' if adapter else 'no model (no config.json)'}; run `make train`, or name a merged folder with MODEL="
        ]
    try:
        config = _json(folder / "config.json")
        missing = [name for name in sorted(_wanted(folder)) if not (folder / name).is_file()]
        template = _template(folder)
    except (OSError, ValueError) as error:
        return [f"{folder}: a file of the model cannot be read ({error}); copy or merge it again"]
    if not config.get("architectures"):
        return [f"{folder}/config.json names no architecture; this is not a model that transformers saved"]
    if missing:
        return [f"{folder} is not whole: {', '.join(missing[:3])}{' ..' if len(missing) > 3 else ''} missing; copy or merge it again"]
    for file in sorted(folder.glob("*.safetensors")):
        if not os.access(file, os.R_OK):
            return [f"{file} may not be read by this user (weights are written with mode 600): `chmod a+r` it, or run as its owner"]
        try:
            with safe_open(file, framework="numpy"):
                pass  # opening compares the header with the file's length
        except (SafetensorError, OSError) as error:
            return [f"{file} is not whole ({error}); copy or merge it again"]
    if template != TEMPLATE.read_text(encoding="utf-8"):
        return [
            f"{folder}: its chat template is not {TEMPLATE.name}, so prompts would not be what the model was trained on; "
            "serve a folder that `make train` merged, or save the tokenizer with this template"
        ]
    if config.get("output_router_logits"):
        return [f"{folder}/config.json: output_router_logits is true, which breaks batched generation; set it to false"]
    return []


def _wanted(folder: Path) -> set[str]:
    """The files that a folder must hold: those of its index, or one file of weights, and a tokenizer."""
    index = folder / "model.safetensors.index.json"
    weights = set(_json(index)["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    return weights | {"tokenizer.model" if (folder / "tokenizer.model").is_file() else "tokenizer.json"}


def free_memory() -> int:
    """Bytes that can be had: what the kernel says, or what this container may still take, whichever is less."""
    free = psutil.virtual_memory().available
    try:
        limit, used = (Path("/sys/fs/cgroup", name).read_text().strip() for name in ("memory.max", "memory.current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except (OSError, ValueError):
        return free


def memory(models: list[Model], workers: int, devices: list[str]) -> list[str]:
    """Whether the weights fit, each worker with a copy of its own. The workers are dealt out to the devices in turn, as stack.py does."""
    placed: dict[str, list[int]] = {device: [] for device in devices}
    for number, one in enumerate(one for one in models for _ in range(workers)):
        device = devices[number % len(devices)]
        placed[device].append(WORKER_BYTES + sum(file.stat().st_size for file in one.files()) * (2 if device == "cpu" else 1))
    problems = []
    for device, needs in placed.items():
        if device != "cpu":
            ask = f"import torch; print(torch.cuda.mem_get_info('{device}')[0])"
            said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
            if said.returncode:
                problems.append(f"--device {device}: torch sees no such GPU; use --device cpu, or an engine with --upstream")
                continue
        free = free_memory() - OTHERS_BYTES if device == "cpu" else int(said.stdout)
        if sum(needs) > free:
            count = f"{len(needs)} worker{'s' if len(needs) > 1 else ''} on {device} would need about {sum(needs) / GIB:.1f} GiB"
            problems.append(f"not enough memory: {count}, and {max(free, 0) / GIB:.1f} GiB can be had; use fewer workers, or an engine with --upstream")
    return problems


def controller(url: str) -> list[str]:
    """Whether the controller of another machine knows our secret. One that does not answer may be starting too: the workers go on trying."""
    try:
        answer = requests.post(f"{url}/list_workers", timeout=10, headers=secret_header())
    except requests.exceptions.ConnectionError:
        return []
    except (requests.RequestException, ValueError) as error:
        return [f"--controller {url} is no controller's address ({type(error).__name__})"]
    if answer.status_code == 403:
        return [f"--controller {url}: it refuses this machine; BIMEDIX_SECRET must be the same on both"]
    return [] if answer.ok else [f"--controller {url} is no controller's address (status {answer.status_code})"]


def engine(upstream: Upstream) -> list[str]:
    """Whether an engine answers and has the model."""
    key = os.environ.get("BIMEDIX_UPSTREAM_KEY", "")
    try:
        answer = requests.get(f"{upstream.url}/models", timeout=10, headers={"Authorization": f"Bearer {key}"} if key else {})
        answer.raise_for_status()
        have = [entry["id"] for entry in answer.json()["data"]]
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        reason = f"status {error.response.status_code}" if getattr(error, "response", None) is not None else type(error).__name__
        return [f"--upstream {upstream.name}: the engine at {upstream.url} does not answer as it should ({reason}): start it first, or mend the address"]
    if upstream.model not in have:
        return [f"--upstream {upstream.name}: the engine at {upstream.url} has no model {upstream.model!r}, but {', '.join(have) or 'none'}"]
    return []
