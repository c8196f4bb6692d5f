"""The examples in docs/serving, as far as a machine without systemd and containers can tell: form, names, options."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, SERVE_PYTHON, command

FOLDER = ROOT / "docs" / "serving"
UNIT = (FOLDER / "bimedix.service").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def known() -> set[str]:
    """The options of `make serve`."""
    return set(re.findall(r"(--[a-z-]+)", command("fastchat_templates.serve", "--help", python=SERVE_PYTHON).said))


def options(words: list[str]) -> set[str]:
    return {word for word in words if word.startswith("--")}


def test_the_unit_is_one(tmp_path: Path, known: set[str]) -> None:
    """As systemd reads it, but for the place of the clone."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    (tmp_path / "bimedix.service").write_text(UNIT.replace("/opt/bimedix", str(ROOT)), encoding="utf-8")
    ran = subprocess.run(["systemd-analyze", "verify", tmp_path / "bimedix.service"], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0 and "bimedix.service" not in ran.stderr, ran.stderr
    start = shlex.split(re.search(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)[1])
    assert start[1:3] == ["-m", "fastchat_templates.serve"] and options(start[3:]) <= known
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)[1]) > 30


def test_the_containers_could_be_built(known: set[str]) -> None:
    """What is copied is there, also for the list of what may be sent, and what is started is ours."""
    allowed = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for words in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE):
        for source in words.split()[:-1]:
            assert (ROOT / source).exists() and f"!{source.split('/')[0]}" in allowed
    start = yaml.safe_load(re.search(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)[1])
    assert start[:3] == ["python", "-m", "fastchat_templates.serve"] and options(start) <= known


def test_the_composition_hangs_together(known: set[str]) -> None:
    """Options exist, paths lead to files, secrets and volumes are declared, ports are this machine's only."""
    services = COMPOSE["services"]
    for name, service in services.items():
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        assert set(service.get("depends_on", {})) <= set(services)
        named = [volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith("$")]
        assert set(named) <= set(COMPOSE["volumes"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        if name != "vllm":
            assert (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == FOLDER / "Dockerfile"
            assert options(service["command"]) <= known and int(service["stop_grace_period"].rstrip("s")) > 30
            assert service["environment"]["BIMEDIX_API_KEYS_FILE"] == "/run/secrets/api_keys"
    engine = services["serve-engine"]["command"]
    upstream, vllm = engine[engine.index("--upstream") + 1], services["vllm"]["command"]
    assert upstream == f"{vllm[vllm.index('--served-model-name') + 1]}=http://vllm:{vllm[vllm.index('--port') + 1]}/v1"
