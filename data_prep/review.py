"""Human review of machine translations in Label Studio: send them to people, fetch what they decided, say what it teaches.

    make review                                              start Label Studio, push, stay until Ctrl-C
    python -m data_prep.review push --queue build/generated/medqa_ar.review.jsonl
    python -m data_prep.review pull                          decisions into NAME.reviewed.jsonl and NAME.rejected.jsonl beside each queue
    python -m data_prep.review report                        BUILD/review/report/report.md, and corrections as examples for translate.py

In: the queues that data_prep/translate.py wrote (NAME.review.jsonl). Everything that was pushed and pulled is kept in BUILD/review/ledger.sqlite, so each
command can be repeated in any order and after any break. The server is the one of `make review`, or LABEL_STUDIO_URL with LABEL_STUDIO_API_KEY. For
research, not for clinical use. docs/REVIEW.md has the whole of it.
"""

import argparse
import importlib.util
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from data_prep import files, review_fold, review_page, review_queue, review_server
from data_prep.ranges import within
from data_prep.records import BadInput
from data_prep.review_ledger import Ledger

TITLE = "BiMediX translations"
ADJUDICATION = "{}: adjudication"
SHARED, SEED, PAGE = 0.1, 17, 100  # ours
COMMANDS = ("serve", "push", "pull", "report", "page")


def in_its_environment(arguments: list[str]) -> None:
    """Go on in .venv-review where this Python has no label-studio-sdk: it is installed nowhere else. BadInput where that was not built."""
    if importlib.util.find_spec("label_studio_sdk") is not None:
        return
    root = Path(__file__).parents[1]
    python = root / ".venv-review" / "bin" / "python"
    if not python.exists():
        raise BadInput("label-studio-sdk is not installed here; run make setup-review")
    os.execv(python, [str(python), "-m", "data_prep.review", *arguments])


def push(args: argparse.Namespace, ledger: Ledger, access: review_server.Access) -> None:
    """Send what the queues hold and the server does not."""
    from data_prep.review_client import Server

    server = Server(access.url, access.token)
    project = server.project(args.project, review_page.label_config(adjudication=False))
    there = {key: (task, readers) for key, task, readers in server.tasks(project)}
    for path in args.queue:
        rows = list(review_queue.read(path, args.build, args.shared, args.seed))
        ledger.push(review_queue.name_of(path, args.build), rows)
        new = [row for row in rows if row.key not in there]  # a queue has no row twice, two queues may share one
        server.add(project, [review_page.task(row.key, row.row) for row in new])
        there |= {row.key: (None, 1) for row in new}
        print(f"{path}: {len(rows):,} rows, {len(new):,} new on the server, {len(rows) - len(new):,} there before")
    wanted = {row.key: row.readers for row in ledger.rows()}
    set_now = 0
    for key, task, readers in server.tasks(project):
        if key in wanted and readers != wanted[key]:
            server.set_readers(task, wanted[key])
            set_now += 1
    shared = sum(readers > 1 for readers in wanted.values())
    print(f"{access.url}/projects/{project}: {len(wanted):,} rows, {shared:,} of them for two readers ({set_now:,} set now)")


def pull(args: argparse.Namespace, ledger: Ledger, access: review_server.Access | None) -> int:
    """Fetch decisions, write what they settle, and send what people differ in to adjudication. Without `access` from the ledger alone."""
    if access is not None:
        _fetch(args, ledger, access)
    last = ledger.last()
    settled = [review_fold.settle(row, last.get(row.key, [])) for row in ledger.rows()]
    outputs = {path: {"rows": rows, "sha256": files.sha256(path)} for path, rows in review_fold.write(settled, args.build).items()}
    for path, of in outputs.items():
        print(f"{path}: {of['rows']:,} rows; sha256 {of['sha256'][:16]}")
    unsettled = [one for one in settled if one.state in ("refused", "differ")]
    lines = [{"id": one.row.id, "key": one.row.key, "queue": one.row.queue, "state": one.state, "why": one.why} for one in unsettled]
    files.save(args.build / "review" / "unsettled.jsonl", "".join(map(files.line, lines)).encode())
    for one in unsettled:
        if one.state == "refused":
            print(f"refused: {one.row.queue}, row {one.row.id}: {one.why}", file=sys.stderr)
    if access is not None:
        _adjudicate(args, [one for one in settled if one.state == "differ"], access)
    states, (rows, decisions) = Counter(one.state for one in settled), ledger.count()
    account = {"rows": rows, "decisions": decisions, "states": dict(sorted(states.items())), "git_commit": files.git_commit()}
    account["outputs"] = {review_queue.name_of(path, args.build): of for path, of in outputs.items()}
    files.save(args.build / "review" / "pull.json", files.json_text(account).encode())
    words = ", ".join(f"{states[state]:,} {state}" for state in (*review_fold.SETTLED, "refused", "differ", "waiting", "open"))
    print(f"{rows:,} rows: {words}; {decisions:,} decisions in {ledger.path}")
    return 0


def _fetch(args: argparse.Namespace, ledger: Ledger, access: review_server.Access) -> None:
    from data_prep.review_client import Server

    server, known, strange, new = Server(access.url, access.token), {row.key for row in ledger.rows()}, 0, 0
    for stage, title in (("review", args.project), ("adjudication", ADJUDICATION.format(args.project))):
        project = server.project(title, review_page.label_config(stage == "adjudication"), create=False)
        if project is None:
            if stage == "review":
                raise BadInput(f"{access.url}: there is no project {title!r}; push first")
            continue
        for page in server.pull(project, stage, args.page_size):
            ours = [one for one in page.decisions if one.key in known]
            strange += len(page.decisions) - len(ours)
            new += ledger.keep(ours)
    print(f"{access.url}: {new:,} new decisions")
    if strange:
        print(f"left there: {strange:,} decisions on rows that were not pushed from {args.build}; push their queue from here to fold them", file=sys.stderr)


def _adjudicate(args: argparse.Namespace, differing: list[review_fold.Settled], access: review_server.Access) -> None:
    from data_prep.review_client import Server

    if not differing:
        return
    server = Server(access.url, access.token)
    project = server.project(ADJUDICATION.format(args.project), review_page.label_config(adjudication=True))
    there = {key for key, *_ in server.tasks(project)}
    new = {one.row.key: one for one in differing if one.row.key not in there}
    server.add(project, [review_page.task(key, one.row.row, *review_fold.compared(one)) for key, one in new.items()])
    print(f"{access.url}/projects/{project}: {len(differing):,} rows for adjudication, {len(new):,} new")


def serve(args: argparse.Namespace) -> int:
    """Start Label Studio (unless a team's server is named), push, and stay until Ctrl-C."""
    folder = args.build / "review"
    args.queue = args.queue or review_queue.found(args.build, needed=not (folder / "ledger.sqlite").exists())  # before a minute of starting
    access, process, ready = review_server.remote(), None, False
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0 if ready else 130))
    if access is None:
        access, process = review_server.start(folder, args.port)
    try:
        with Ledger(folder / "ledger.sqlite") as ledger:
            push(args, ledger, access)
        print(f"{review_page.NOTICE} Label Studio: {access.url}/projects", flush=True)
        if access.email:
            print(f"log in as {access.email}; password and token are in {folder / 'server.json'}, which only you can read", flush=True)
        if process is None:
            return 0
        ready = True
        print("stays until Ctrl-C; what people submit is kept. In another terminal: python -m data_prep.review pull", flush=True)
        while process.poll() is None:
            time.sleep(0.5)
        raise BadInput(f"Label Studio has ended by itself; {folder / 'server.log'} says why")
    finally:
        if process is not None:
            review_server.stop(process)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS, help="page: print the labelling configuration")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    parser.add_argument("--queue", type=Path, action="append", help="a .review.jsonl file to push, may be repeated (all of BUILD/generated)")
    parser.add_argument("--project", default=TITLE, help="title of the project (%(default)s)")
    parser.add_argument(
        "--shared", type=within(float, 0, 1), default=SHARED, help="share of the rows that two people read, set when a row is new (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=SEED, help="of that share (%(default)s)")
    parser.add_argument("--port", type=within(int, 1, 65535), default=review_server.PORT, help="of Label Studio on 127.0.0.1 (%(default)s)")
    parser.add_argument("--page-size", type=within(int, 1, 1000), default=PAGE, help="tasks that pull fetches at once (%(default)s)")
    parser.add_argument("--offline", action="store_true", help="pull: fold what the ledger holds, ask no server")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the options say; returns the exit status. Raises BadInput."""
    if args.command == "page":
        print(review_page.label_config(adjudication=args.project.endswith(ADJUDICATION.format(""))))
        return 0
    if args.command == "serve":
        return serve(args)
    path = args.build / "review" / "ledger.sqlite"
    if args.command != "push" and not path.exists():
        raise BadInput(f"{path} is not there: nothing was pushed from {args.build}; run make review or push first")
    access = None if args.command == "report" or args.offline else review_server.access(args.build / "review")
    with Ledger(path) as ledger:
        if args.command == "report":
            from data_prep import review_report  # late: a push need not wait for scipy and matplotlib

            return review_report.write(ledger, args.build / "review" / "report")
        if args.command == "pull":
            return pull(args, ledger, access)
        args.queue = args.queue or review_queue.found(args.build)
        push(args, ledger, access)
        return 0


def main(arguments: list[str] | None = None) -> int:
    """The command: 0, or 2 for what the user can mend."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = options().parse_args(arguments)
    try:
        in_its_environment(arguments)
        return run(args)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
