"""The options that every language-model step has, and how requests are made from them."""

import argparse
import asyncio
import json
import os
from pathlib import Path

from data_prep import llm
from data_prep.records import BadInput

WAYS = ("concurrency", "timeout", "attempts", "wait", "price_in", "price_out", "budget_usd", "body")


def _body(text: str) -> dict:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("not an object")
    return content


def add_options(parser: argparse.ArgumentParser, rows: bool = True) -> None:
    """Add the options to a step's own; without `rows` all but --in and --out. The defaults are those of llm.Settings."""
    defaults = llm.Settings(model="")
    if rows:
        parser.add_argument("--in", dest="source", type=Path, required=True, help="JSONL file of records (data_prep/sources/records.py has the form)")
        parser.add_argument("--out", type=Path, help="JSONL file to write; the other outcomes stand beside it")
    parser.add_argument("--limit", type=int, help="only the first so many rows")
    parser.add_argument("--dry-run", action="store_true", help="send nothing, write nothing: print how many requests, tokens and dollars are left")
    parser.add_argument("--retry-failed", action="store_true", help="work again on the rows that failed")
    model = parser.add_argument_group("endpoint", "its address is OPENAI_BASE_URL, its key OPENAI_API_KEY, both from the environment only")
    model.add_argument("--model", default=os.environ.get("OPENAI_MODEL"), help="the model's name there; default: OPENAI_MODEL, else the only one it serves")
    model.add_argument("--concurrency", type=int, default=defaults.concurrency, help="requests at once (%(default)s)")
    model.add_argument("--timeout", type=float, default=defaults.timeout, help="seconds that a request may take (%(default)s)")
    model.add_argument("--attempts", type=int, default=defaults.attempts, help="how often a request goes out before its row fails (%(default)s)")
    model.add_argument("--wait", type=float, default=defaults.wait, help="seconds before a request goes out again, doubled each time up to 30 (%(default)s)")
    model.add_argument(
        "--body", type=_body, default={}, help='JSON merged into every request, null takes a key out: \'{"temperature": 0.7, "response_format": null}\''
    )
    money = parser.add_argument_group("money")
    money.add_argument("--price-in", type=float, help="US dollars for a million tokens that are sent")
    money.add_argument("--price-out", type=float, help="US dollars for a million tokens that are answered")
    money.add_argument("--budget-usd", type=float, help="stop before the journal, all runs together, holds more than so many US dollars")
    parser.add_argument("--journal", type=Path, help="SQLite file of answers and outcomes (BUILD/llm/journal.sqlite)")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    batch = parser.add_argument_group("batch files", "instead of the endpoint: OpenAI Batch JSONL, which `vllm run-batch` reads too")
    batch.add_argument("--batch-out", type=Path, help="new folder for the requests that have no answer yet")
    batch.add_argument("--batch-in", type=Path, nargs="+", help="result files to read before, in any order")
    batch.add_argument("--batch-again", action="store_true", help="write those requests too that stand in an earlier batch and came back without an answer")


def settings_of(args: argparse.Namespace, offline: bool) -> llm.Settings:
    """The settings that the options give. Without --model the endpoint is asked what it serves. Raises BadInput."""
    for name, least in (("concurrency", 1), ("attempts", 1), ("timeout", 0.001), ("wait", 0.001), ("limit", 1), ("budget_usd", 0)):
        if (value := getattr(args, name)) is not None and value < least:
            raise BadInput(f"--{name.replace('_', '-')} {value}: it must be at least {least:g}")
    if args.budget_usd is not None and (args.price_in is None or args.price_out is None):
        raise BadInput("--budget-usd needs --price-in and --price-out: only you know what your endpoint charges (0 for one of your own)")
    url = None if offline else llm.endpoint()
    model = args.model or (None if offline else _only_model(url))
    if not model:
        raise BadInput("name the model with --model or OPENAI_MODEL")
    return llm.Settings(model=model, base_url=url, **{name: getattr(args, name) for name in WAYS})


def _only_model(url: str) -> str:
    """The model of an endpoint that serves one only."""

    async def ask() -> list[str] | None:
        asker = llm.Asker(llm.Settings(model="", base_url=url), journal=None)
        try:
            return await asker.models()
        finally:
            await asker.close()

    try:
        served = asyncio.run(ask())
    except llm.Stop as stop:
        raise BadInput(str(stop)) from stop
    if not served or len(served) > 1:
        raise BadInput(f"name the model with --model or OPENAI_MODEL: {url} serves {', '.join(served[:20]) if served else 'none that it tells of'}")
    return served[0]
