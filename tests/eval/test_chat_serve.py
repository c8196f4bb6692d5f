"""The chat evaluation against this project's own server with the tiny model: the answers are the model's, both languages, several turns."""

import json
from pathlib import Path

import pytest

from tests.conftest import Trained
from tests.eval.chat_model import lines, run
from tests.fastchat_templates.stacks import Ports, serve


def test_the_tiny_model_is_asked_through_our_own_api(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make serve` and the answer stage, without a word on the model: the server says its name. Chats of three turns, the second run asks nothing anew."""
    stack = serve(trained.merged, tmp_path / "logs", Ports())
    try:
        stack.wait("Ctrl-C stops everything")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{stack.url('api')}/v1")
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        monkeypatch.delenv("OPENAI_MODEL", raising=False)
        asking = ["answer", "--only", "history", "--limit", 2, "--max-tokens", 12, "--concurrency", 2, "--build", tmp_path]
        assert run(*asking) == 0
        folder = tmp_path / "chat" / "tiny"
        rows = lines(folder / "answers.jsonl")
        assert list(rows) == ["history/tired_cold:en", "history/tired_cold:ar"]
        for row in rows.values():
            assert row["model"] == "tiny" and row["turns"][0]["assistant"].strip()
            for before, turn in zip(row["turns"], row["turns"][1:], strict=False):
                assert 0 < turn["tokens"][1] <= 12 and turn["tokens"][0] > sum(before["tokens"])  # the chat so far is sent along
        first = rows["history/tired_cold:ar"]["turns"][0]
        same = stack.chat(first["patient"], max_tokens=12, seed=17).json()["choices"][0]
        assert (first["assistant"], first["finish"]) == (same["message"]["content"], same["finish_reason"])
        journal = json.loads((folder / "answers.manifest.json").read_text(encoding="utf-8"))["journal"]
    finally:
        stack.process.terminate()
        stack.process.wait(60)
    assert journal["requests"] == sum(len(row["turns"]) for row in rows.values())
    before = (folder / "answers.jsonl").read_bytes()
    assert run(*asking) == 2  # nobody listens any more, and what was answered stays
    assert (folder / "answers.jsonl").read_bytes() == before
