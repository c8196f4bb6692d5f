"""eval/models.yaml: every system of the paper's tables and today's, each row whole, none that would run strangers' code."""

import inspect
from pathlib import Path

import jinja2
import pytest
import yaml
from lm_eval.models.huggingface import HFLM

from data_prep.records import BadInput
from eval import models, published
from tests.conftest import ROOT

PAPERS = {"jais-30b", "mixtral-8x7b", "pmc-llama-13b", "med42-70b", "clinical-camel-70b", "meditron-70b", "bimedix-bi", "bimedix-ara", "bimedix-eng"}
TODAYS = {"qwen2.5-72b-instruct", "llama-3.1-70b-instruct", "medgemma-27b", "bimedix2-8b"}


def test_every_system_has_a_row() -> None:
    """Those of the paper's tables, each tied to its printed rows, and today's."""
    assert set(models.rows()) >= PAPERS | TODAYS
    tied = {(table, name) for row in models.rows().values() for table, name in row.published.items()}
    assert tied == {(table, name) for table in published.TABLES for name in published.rows(table)}


def test_a_row_by_name() -> None:
    """What lm-eval's loader is given; a name that is no row is left to be a folder or a Hub id."""
    row = models.row("mixtral-8x7b")
    assert row.loader()["pretrained"] == "mistralai/Mixtral-8x7B-v0.1" and len(row.loader()["revision"]) == 40
    assert row.loader()["trust_remote_code"] is False and row.pinned and row.refusal is None and row.template is None
    assert models.row("mistralai/Mixtral-8x7B-v0.1") is None and models.row("build/models/tiny/merged") is None


def test_arguments_are_those_of_the_loader() -> None:
    """lm-eval takes unknown arguments and passes them on, so that a slip of the pen would show hours later."""
    known = set(inspect.signature(HFLM.__init__).parameters) | {"attn_implementation"}  # the last goes to transformers
    assert known >= models.ARGUMENTS | {"pretrained", "revision", "trust_remote_code"}


def test_strangers_code_is_never_run() -> None:
    """A row that needs it is refused in one line that names it."""
    refused = [row for row in models.rows().values() if row.refusal]
    assert [row.name for row in refused] == ["jais-30b"]
    assert refused[0].refusal.startswith("jais-30b: inceptionai/jais-30b-v3") and "\n" not in refused[0].refusal
    with pytest.raises(BadInput, match="trust_remote_code"):
        refused[0].loader()


def test_what_is_not_pinned_says_so() -> None:
    """`main` moves: its line in the file carries a comment."""
    lines = [line for line in models.FILE.read_text(encoding="utf-8").splitlines() if "revision: main" in line]
    assert len(lines) == len([row for row in models.rows().values() if not row.pinned]) > 0
    assert all("# not pinned" in line for line in lines)


WHOLE = yaml.safe_load(models.FILE.read_text(encoding="utf-8"))["mixtral-8x7b"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shots": 5}, "shots: Extra inputs are not permitted"),
        ({"arguments": {"trust_remote_code": True}}, "say remote_code: true"),
        ({"arguments": {"dtypes": "auto"}}, "arguments: dtypes: not among"),
        ({"revision": "fc7ac94"}, "revision: a commit of 40 hexadecimal digits"),
        ({"prompt": "eval/templates/none.jinja"}, "prompt: tokenizer"),
        ({"hub_id": "https://huggingface.co/a/b"}, "hub_id: "),
        ({"gated": "no idea"}, "gated: "),
        ({"memory_gb": 48}, "memory_gb: 48 is less than 46.7 billion parameters take"),
        ({"published": {"fr": "Jais-30B"}}, "published.fr"),
        ({"title": None}, "title: "),
    ],
)
def test_a_row_that_is_not_whole_is_refused(tmp_path: Path, change: dict, words: str) -> None:
    """With file, row and key."""
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump({"spoilt": WHOLE | change}), encoding="utf-8")
    with pytest.raises(BadInput) as told:
        models.read(path)
    assert f"{path}: row spoilt: " in str(told.value) and words in str(told.value)


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    """Neither a list nor a broken file passes for no rows."""
    for content in ("- mixtral", "mixtral: [1", "mixtral: 3", "5: {}"):
        path = tmp_path / "models.yaml"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(BadInput, match="models.yaml"):
            models.read(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("med42-70b", "\n<|system|>: You are a helpful medical assistant created by M42 Health in the UAE.\n<|prompter|>:Why?\n<|assistant|>: The answer is"),
        (
            "pmc-llama-13b",
            "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
            "### Instruction:\nWhy?\n\n### Response: The answer is",
        ),
    ],
)
def test_prompt_formats_verbatim(name: str, expected: str) -> None:
    """A turn of the user and the opening of the answer, as lm-eval hands them over with a lead."""
    template = jinja2.Environment().from_string(models.row(name).template.read_text(encoding="utf-8"))
    assert template.render(messages=[{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "The answer is"}]) == expected


def test_templates_are_used() -> None:
    """No format lies about that no row reads."""
    used = {row.template for row in models.rows().values()}
    assert {*(ROOT / "eval" / "templates").iterdir()} <= used
