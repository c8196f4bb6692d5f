"""Run a step over a file of records: the part that translate.py and chats.py share.

Rows are read one by one and worked on by as many workers as there may be requests at once. What became of a row goes into the journal; when no row is
left, the outputs are written in the order of the input, aside and then renamed. So memory does not grow with the rows, a killed run goes on where it
stopped, and its outputs are byte for byte those of an undisturbed one. A run that stops early (budget, Ctrl-C, endpoint gone) writes what is finished.
"""

import asyncio
import gc
import hashlib
import signal
import sys
import time
from array import array
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import xxhash
from pydantic import BaseModel
from tqdm import tqdm

from data_prep import batch, files, llm
from data_prep.answers import RowFailed
from data_prep.journal import FAILED, Journal, Outcome, key_of
from data_prep.llm_options import add_options, settings_of
from data_prep.llm_output import beside, estimate, report, write
from data_prep.prompts import Prompt
from data_prep.records import BadInput, Record, Reject, as_row
from data_prep.sources import records as record_form

__all__ = ["Job", "Outcome", "Planned", "add_options", "main"]

HOPELESS = 50  # rows that fail one after the other before a run stops


class Planned(NamedTuple):
    """A request that a row will make, as far as it is known beforehand: `answer` is a text about as long as the answer."""

    prompt: Prompt
    schema: type[BaseModel]
    words: dict[str, str]
    room: int
    answer: str


@dataclass(frozen=True)
class Job:
    """A step. `work` does one row, the same from the same answers; `fits` says why a record cannot be worked on; `plan` is for --dry-run.

    `settings` and the content of the files in `code` are all that decides an outcome besides the row and the answers. `files` gives each outcome its
    file: "" is the output itself, another suffix stands beside it. `sift` looks once more at all outcomes in their order. `read` and `row` are for a step
    whose rows are no records of data_prep but have their id, file and row.
    """

    name: str
    work: Callable[[Record, llm.Ask], Awaitable[Outcome]]
    settings: dict
    files: dict[str, str]
    plan: Callable[[Record], Iterable[Planned]]
    fits: Callable[[Record], Reject | None]
    read: Callable[[Path], Iterator[Record | Reject]] = record_form.read
    row: Callable[[Record], dict] = as_row
    sift: Callable[[Callable[[], Iterator[Outcome]]], Iterator[Outcome]] | None = None
    code: tuple[Path, ...] = ()


def read(source: Path, job: Job, limit: int | None) -> Iterator[Record | Reject]:
    """The records of a file that can be worked on, and the rejects: no record, one that does not fit, an id that stood before."""
    seen = set()
    for number, record in enumerate(job.read(source)):
        if limit is not None and number >= limit:
            return
        if not isinstance(record, Reject):
            key = xxhash.xxh64_intdigest(record.id.encode())
            if key in seen:
                message = f"the id {record.id} stands already in an earlier row; ids are unique: rename or remove one of the two"
                record = Reject(reason="duplicate_id", file=record.file, row=record.row, message=message, content=record.model_dump(by_alias=True))
            else:
                seen.add(key)
                record = job.fits(record) or record
        yield record


class Rows:
    """The rows of one run: which key each has, and the work on them."""

    def __init__(self, job: Job, source: Path, journal: Journal, asker: llm.Asker, limit: int | None) -> None:
        self.job, self.source, self.journal, self.asker, self.limit = job, source, journal, asker, limit
        self.keys = array("B")  # 16 bytes a row, in the order of the input
        code = hashlib.sha256(b"\0".join(path.read_bytes() for path in (*job.code, Path(__file__)))).hexdigest()
        self._decides = {"job": job.name, "settings": job.settings, "model": asker.settings.model, "body": asker.settings.body, "code": code}
        self._doubtful: list[tuple[bytes, Outcome]] = []  # failed for want of an answer: theirs or the endpoint's fault?
        self._in_a_row = 0  # rows that failed one after the other

    def key(self, record: Record) -> bytes:
        """The key of a record's outcome."""
        return key_of({**self._decides, "row": self.job.row(record)})

    def read(self) -> Iterator[Record | Reject]:
        """The rows of the input, those that cannot be worked on as rejects."""
        return read(self.source, self.job, self.limit)

    def records(self) -> Iterator[Record]:
        """The records that can be worked on."""
        return (record for record in self.read() if not isinstance(record, Reject))

    def outcomes(self) -> Iterator[Outcome]:
        """What became of the rows so far, in the order of the input."""
        for place in range(0, len(self.keys), 16):
            if (outcome := self.journal.outcome(self.keys[place : place + 16].tobytes())) is not None:
                yield outcome

    async def work(self, retry: bool) -> None:
        """Work on every row that is not finished; with `retry` on those too that failed. Returns when none is left or the run has stopped."""
        with self.source.open("rb") as lines:
            total = sum(1 for _ in lines)
        rows = self.records()
        with tqdm(total=min(total, self.limit or total), unit=" rows", desc=self.job.name, disable=None) as bar:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self.asker.settings.concurrency):
                        group.create_task(self._worker(rows, retry, bar))
            except* BadInput as errors:
                raise errors.exceptions[0] from None
        if self.asker.stopped is None:
            self._settle()

    async def _worker(self, rows: Iterator[Record], retry: bool, bar: tqdm) -> None:
        for record in rows:
            key = self.key(record)
            self.keys.frombytes(key)
            known = self.journal.name_of(key)
            if self.asker.stopped is None and (known is None or retry and known == FAILED):
                try:
                    outcome = await self.job.work(record, self.asker.row(fresh=known == FAILED))
                    self._settle((key, outcome))
                except RowFailed as error:
                    row = {"id": record.id, "reason": error.reason, "message": error.message, "record": self.job.row(record)}
                    self._fail(key, Outcome(FAILED, row), error.transport)
                except (llm.Stop, llm.Waiting):
                    pass
            elif bar.n % 100 == 0:
                await asyncio.sleep(0)  # let signals and the others come in between
            bar.update()
            bar.set_postfix_str(self._progress(), refresh=False)

    def _settle(self, *outcomes: tuple[bytes, Outcome], well: bool = True) -> None:
        """Write outcomes down. The endpoint answers, so the doubtful rows failed by themselves."""
        self._in_a_row = 0 if well else self._in_a_row
        for key, outcome in (*self._doubtful, *outcomes):
            self.journal.settle(key, outcome)
        self._doubtful.clear()

    def _fail(self, key: bytes, outcome: Outcome, transport: bool) -> None:
        """Write a failed row down; stop where every row fails: the next 100,000 would cost as much and bring as little."""
        self._in_a_row += 1
        if transport:
            self._doubtful.append((key, outcome))
        else:
            self._settle((key, outcome), well=False)
        if self.asker.stopped is not None:
            return
        said = f"the last for {outcome.row['reason']} ({outcome.row['message']})"
        if len(self._doubtful) >= max(3, self.asker.settings.concurrency):
            why = f"{len(self._doubtful)} rows one after the other got no answer, {said}"
            self.asker.stopped = f"{why}; none of them is given up: run the same command again when the endpoint answers"
        elif self._in_a_row >= max(HOPELESS, self.asker.settings.concurrency):
            self.asker.stopped = f"{self._in_a_row} rows one after the other failed, {said}; another model or --body may do better"

    def _progress(self) -> str:
        meter = self.asker.meter
        spent = f", {self.journal.totals.usd:,.2f} USD" if self.asker.settings.price_out else ""
        return f"{meter.answered:,} answers, {meter.retries.total():,} sent again{spent}"


async def _run(rows: Rows, args: object) -> None:
    """Work on the rows over the network, until Ctrl-C: the requests in flight are paid for, so they are waited for."""
    asker = rows.asker
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        asker.stopped = asker.stopped or "interrupted; run the same command again to go on"
        print("stopping: waiting for the requests that are under way; once more to leave at once", file=sys.stderr)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    try:
        served = await asker.models()
        if served and asker.settings.model not in served:
            raise BadInput(f"{asker.settings.base_url} does not serve {asker.settings.model!r}: it has {', '.join(served[:20])}; name one with --model")
        await rows.work(args.retry_failed)
    except llm.Stop as stop:
        raise BadInput(str(stop)) from stop
    finally:
        await asker.close()


def run(job: Job, args: object) -> int:
    """Do a job as the options say; returns the exit status. Raises BadInput."""
    began = time.monotonic()
    if not args.source.is_file():
        raise BadInput(f"{args.source}: there is no such file; name a JSONL file of records with --in (docs/DATA.md has the form)")
    offline = args.dry_run or args.batch_out is not None or args.batch_in is not None
    settings = settings_of(args, offline)
    path = args.journal or args.build / "llm" / "journal.sqlite"
    with Journal(path if path.exists() or not args.dry_run else None) as journal:
        for reading in args.batch_in or ():
            print(batch.read_results(reading, journal, settings))
        outbox = batch.Outbox(args.batch_out, journal, args.batch_again) if offline else None
        rows = Rows(job, args.source, journal, llm.Asker(settings, journal, outbox and outbox.send), args.limit)
        if args.dry_run:
            print(estimate(rows))
            return 0
        if args.out is None:
            raise BadInput("name the file to write with --out")
        if outbox:
            with outbox:
                asyncio.run(rows.work(args.retry_failed))
        else:
            gc.freeze()  # what the imports made stays: collections that look through it cost 5% of the CPU of a request
            asyncio.run(_run(rows, args))
        account = write(rows, args.out)
        if outbox and outbox.waiting:
            account.stopped = outbox.report()
        made = {"job": job.name, "input": {"file": args.source.name, "sha256": files.sha256(args.source), "limit": args.limit}, "model": settings.model}
        made |= {"settings": job.settings, "body": settings.body, "rows": account.rows, "outcomes": dict(sorted(account.outcomes.items()))}
        made |= {"reasons": {name: dict(sorted(reasons.items())) for name, reasons in sorted(account.reasons.items())}, "unread": dict(account.unread)}
        made |= {"undone": account.undone, "outputs": account.outputs, "git_commit": files.git_commit(), "seconds": round(time.monotonic() - began, 1)}
        made |= {"journal": journal.totals._asdict()}
        files.save(beside(args.out, "manifest").with_suffix(".json"), (files.json_text(made)).encode())
        return report(job, args.out, account, journal, rows.asker.meter)


def main(job: Job, args: object) -> int:
    """A step's command; returns what `exit_status` does."""
    return exit_status(lambda: run(job, args))


def exit_status(work: Callable[[], int]) -> int:
    """Run what asks a model: 0 when every row has an outcome, 2 for what the user can mend, 3 when it stopped early, 130 on a second Ctrl-C."""
    try:
        return work()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what was answered before is in the journal; run the same command again to go on", file=sys.stderr)
        return 130
