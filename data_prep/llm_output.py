"""What a language-model step writes and says: its files beside the output, the manifest, the closing lines, and the estimate of a dry run."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep import files, llm
from data_prep.journal import FAILED, Journal
from data_prep.records import Reject

if TYPE_CHECKING:
    from data_prep.llm_run import Job, Rows

ENGLISH, OTHER = 4.0, 2.0  # characters a token: rules of thumb for ASCII and for Arabic under today's vocabularies (Mixtral's takes about 1), for --dry-run


@dataclass
class Account:
    """What a run did, for the manifest and the closing lines."""

    rows: int = 0
    undone: int = 0
    outcomes: Counter = field(default_factory=Counter)
    reasons: dict[str, Counter] = field(default_factory=dict)
    unread: Counter = field(default_factory=Counter)
    outputs: dict[str, dict] = field(default_factory=dict)
    stopped: str | None = None


def beside(out: Path, suffix: str) -> Path:
    """OUT itself for "", else the file of that suffix beside it: rows.review.jsonl beside rows.jsonl."""
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.{suffix}.jsonl") if suffix else out


def write(rows: "Rows", out: Path) -> Account:
    """Write what became of the rows: one file for each outcome, and the rejects of the input. A file without rows is removed."""
    job, account = rows.job, Account(rows=len(rows.keys) // 16, stopped=rows.asker.stopped)
    with files.aside(out) as aside:
        sheets = {suffix: files.open_lines(aside / (suffix or "out")) for suffix in dict.fromkeys((*job.files.values(), "unread"))}
        counts: Counter[str] = Counter()
        for outcome in job.sift(rows.outcomes) if job.sift else rows.outcomes():
            sheets[job.files[outcome.name]].write(files.line(outcome.row))
            counts[job.files[outcome.name]] += 1
            account.outcomes[outcome.name] += 1
            if reason := outcome.row.get("reason") or outcome.row.get("why"):
                account.reasons.setdefault(outcome.name, Counter())[reason] += 1
        account.undone = account.rows - account.outcomes.total()
        for reject in rows.read():
            if isinstance(reject, Reject):
                sheets["unread"].write(files.line(reject.model_dump()))
                counts["unread"] += 1
                account.unread[reject.reason] += 1
        for suffix, sheet in sheets.items():
            sheet.close()
            path = beside(out, suffix)
            if suffix and not counts[suffix]:
                path.unlink(missing_ok=True)
                continue
            files.put(aside / (suffix or "out"), path)
            account.outputs[path.name] = {"rows": counts[suffix], "sha256": files.sha256(path)}
    return account


def estimate(rows: "Rows") -> str:
    """What is left to do, as far as the data tell: requests, tokens, money. Nothing is sent."""
    requests = known = left = sent = got = 0.0
    totals, settings = rows.journal.totals, rows.asker.settings
    for record in rows.records():
        if rows.journal.name_of(rows.key(record)) is not None:
            known += 1
            continue
        left += 1
        for planned in rows.job.plan(record):
            body = rows.asker.body(planned.prompt, planned.schema, planned.words, planned.room)
            requests += 1
            sent += sum(_tokens(message["content"]) for message in body["messages"]) if not totals.requests else sum(map(len, _contents(body)))
            got += _tokens(planned.answer) if not totals.requests else len(planned.answer)
    how = f"reckoned at {ENGLISH:g} characters a token, {OTHER:g} in Arabic; run a few rows with --limit to measure it"
    if totals.requests:
        sent, got = sent * totals.prompt_tokens / max(totals.prompt_characters, 1), got * totals.completion_tokens / max(totals.completion_characters, 1)
        how = f"tokens a character as in the {totals.requests:,} answers of the journal"
    lines = [f"{known:,.0f} rows are finished, {left:,.0f} are left; they make at least {requests:,.0f} requests: more where a round or an answer fails"]
    lines.append(f"about {sent:,.0f} tokens in, {got:,.0f} out ({how})")
    if settings.price_in is not None and settings.price_out is not None:
        usd = (sent * settings.price_in + got * settings.price_out) / 1e6
        lines.append(f"about {usd:,.2f} USD; {totals.usd:,.2f} USD were spent so far")
    return "\n".join(lines)


def _contents(body: dict) -> Iterator[str]:
    return (message["content"] for message in body["messages"])


def _tokens(text: str) -> float:
    english = sum(character.isascii() for character in text)
    return english / ENGLISH + (len(text) - english) / OTHER


def report(job: "Job", out: Path, account: Account, journal: Journal, meter: llm.Meter) -> int:
    """Print what came out; returns the exit status."""
    for reason, count in account.unread.most_common():
        print(f"unread: {count:,} rows {reason} ({beside(out, 'unread')})", file=sys.stderr)
    for name, reasons in account.reasons.items():
        for reason, count in reasons.most_common():
            hint = "; run again with --retry-failed to try them anew" if name == FAILED else ""
            print(f"{name}: {count:,} rows {reason} ({beside(out, job.files[name])}){hint}", file=sys.stderr)
    counts = ", ".join(f"{account.outcomes[name]:,} {name}" for name in job.files)
    money = f", {journal.totals.usd:,.2f} USD in all" if journal.totals.usd else ""
    print(
        f"{out}: {account.rows:,} rows: {counts}, {account.undone:,} not finished; {meter.answered:,} answers ({meter.retries.total():,} requests sent again, "
        f"{meter.from_journal:,} answers from the journal){money}; sha256 {account.outputs[out.name]['sha256'][:16]}"
    )
    if account.stopped or account.undone:
        print(f"stopped early: {account.stopped or 'rows are not finished'}", file=sys.stderr)
        return 3
    return 0
