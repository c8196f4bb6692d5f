"""Rows that are too long are split at turn borders or set aside with a count; every answer stays whole, and nothing else changes."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from axolotl_configs import config as configs
from axolotl_configs import fit
from tests.conftest import ROOT, TINY, Trained, here

TEMPLATE = ROOT / "fastchat_templates" / "bimedix.jinja"
TEXTS = st.sampled_from(["fever", "ألم في الصدر منذ يومين", "Take 5 mg twice a day. " * 4, "</s> [INST]", "السؤال: ما هو فقر الدم؟ " * 6])


@pytest.fixture(scope="module")
def counter(trained: Trained) -> fit.Counter:
    """Of the tiny base's tokens."""
    return fit.Counter(str(trained.base), TEMPLATE)


def talk(*turns: str) -> list[dict]:
    """Turns from human and gpt in alternation."""
    return [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(turns)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6), st.integers(20, 200))
def test_parts_hold_every_exchange_once_and_fit(counter: fit.Counter, exchanges: list[tuple[str, str]], longest: int) -> None:
    """In order, whole, none lost, none twice; a part is never shorter than it must be."""
    whole = talk(*(turn for exchange in exchanges for turn in exchange))
    parts, left = fit.parts_of(whole, counter, longest)
    assert all(tokens <= longest for tokens in (counter.tokens(parts) if parts else []))
    assert all(tokens > longest == (counter.tokens([exchange])[0] > longest) * longest for exchange, tokens in left)
    found = [tuple(turn["value"] for turn in part[place : place + 2]) for part in parts for place in range(0, len(part), 2)]
    aside = [tuple(turn["value"] for turn in exchange) for exchange, _ in left]
    assert sorted(found + aside) == sorted(exchanges)
    assert all(part[0]["from"] == "human" and part[-1]["from"] == "gpt" for part in parts)
    if not left:
        for one, other in zip(parts, parts[1:], strict=False):
            assert counter.tokens([one + other[:2]])[0] > longest


def test_the_command_counts_splits_and_sets_aside(trained: Trained, tmp_path: Path) -> None:
    """Labels of a split row are those of its answers; the rejected exchange says file, line and length."""
    rows = [
        {"id": "short", "conversations": talk("Hello", "Good day."), "lang": "en"},
        {"id": "long", "conversations": talk("One " * 40, "Answer one.", "Two " * 40, "Answer two.", "Three " * 500, "Answer three."), "lang": "en"},
    ]
    (tmp_path / "data" / "tiny").mkdir(parents=True)
    source = tmp_path / "data" / "tiny" / "train.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "tiny" / "base").symlink_to(trained.base)
    ran = here("axolotl_configs.fit", TINY, "--build", tmp_path, "--set", "sequence_len=64")
    assert ran.code == 0, ran.said
    out = tmp_path / "models" / "tiny" / "rows"
    assert "2 rows in, 1 rows split, 1 exchanges set aside, 3 rows out" in ran.said
    written = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert [row["id"] for row in written] == ["short", "long#1", "long#2"]
    assert [row["conversations"][-1]["value"] for row in written] == ["Good day.", "Answer one.", "Answer two."]
    assert written[0] == rows[0] and all(row["lang"] == "en" for row in written)
    (rejected,) = [json.loads(line) for line in (out / "rejected" / "too_long_train.jsonl").read_text().splitlines()]
    assert (rejected["file"], rejected["row"], rejected["reason"]) == ("train.jsonl", 2, "too_long") and "sequence_len is 64" in rejected["message"]
    before = (out / "train.jsonl").stat().st_mtime_ns
    fitted = fit.fit(configs.load(TINY, tmp_path, ["sequence_len=64"]), tmp_path / "models" / "tiny")
    assert fitted["datasets"][0]["path"] == str(out / "train.jsonl") and (out / "train.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "row 2: not a JSON object"),
        ('{"id": "x"}', "row 2: `conversations` must be turns"),
        (json.dumps({"conversations": talk("a")}), "row 2: `conversations` must be turns"),
        (json.dumps({"conversations": talk("a", " ")}), "row 2: `conversations` must be turns"),
    ],
    ids=["no JSON", "no turns", "no answer", "an empty answer"],
)
def test_what_is_no_row_is_named(counter: fit.Counter, tmp_path: Path, line: str, words: str) -> None:
    """File and line, before anything is trained."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"conversations": talk("a", "b")}) + "\n" + line + "\n")
    with pytest.raises(fit.BadInput, match=words):
        fit.fit_file(path, tmp_path / "out.jsonl", tmp_path / "rejected.jsonl", counter, 64)


def test_lengths_are_those_of_training(trained: Trained, counter: fit.Counter) -> None:
    """BOS, EOS and control tokens included."""
    tokenizer = AutoTokenizer.from_pretrained(trained.merged)
    turns = [{"role": "user", "content": "ما هو فقر الدم؟"}, {"role": "assistant", "content": "نقص الحديد."}]
    wanted = len(tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True)["input_ids"])
    assert counter.tokens([talk("ما هو فقر الدم؟", "نقص الحديد.")]) == [wanted]
