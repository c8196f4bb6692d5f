"""Judge Arabic translations of English medical text by rules that need no model, a file at a time.

    python -m data_prep.quality --in pairs.jsonl --out checked.jsonl --report report.md

In: rows {"id", "en", "ar"}, where en and ar are texts, or both objects with question, options, answer, explanation, context or turns, or both lists of
turns ({"from", "value"}); further keys are kept. Out: the same rows with `score` (0-100) and `flags` (rule, severity, evidence with the words of both
sides, message, and the field of an object). Rows that cannot be judged go to <out>.rejected.jsonl with file, row and fix. `check` judges one pair.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from data_prep import files
from data_prep.quality_check import FIELDS, LINE, Checked, Text, check, score
from data_prep.quality_file import Repeats, whole
from data_prep.records import BadInput, Reject

__all__ = ["LINE", "Checked", "check", "judge"]
EXAMPLES = 3  # of each rule in the report


@dataclass
class Account:
    """What a run found, for the closing line and the report."""

    rows: int = 0
    below: int = 0
    rejected: Counter = field(default_factory=Counter)
    first_reject: str = ""
    rules: Counter = field(default_factory=Counter)  # rows with at least one flag of (rule, severity)
    scores: Counter = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[tuple[str, dict]]] = field(default_factory=dict)


def _fault(content: dict) -> tuple[str, str] | None:
    """Why a row cannot be judged, as reason and fix; None where it can."""
    name, en, ar = content.get("id"), content.get("en"), content.get("ar")
    if not isinstance(name, str) or not name.strip():
        return "empty_id", "the key 'id' is missing, empty or no text; give each row an id"
    for side, text in (("en", en), ("ar", ar)):
        if text is None or (side == "en" and (not text or isinstance(text, str) and not text.strip())):
            return f"empty_{side}", f"the key {side!r} is missing or empty; a row has id, en and ar"
    if not any(isinstance(en, kind) and isinstance(ar, kind) for kind in (str, dict, list)):
        return "invalid_form", f"en is a {type(en).__name__} and ar a {type(ar).__name__}; both are texts, both objects or both lists of turns"
    for side, text in (("en", en), ("ar", ar)):
        if said := _shape(text):
            return "invalid_form", f"{side}: {said}"
    try:
        f"{name}{whole(en)}{whole(ar)}".encode()
    except UnicodeEncodeError:
        return "invalid_text", "half a surrogate pair, which is no character; write the text anew"
    return None


def _shape(text: Text) -> str | None:
    """What is wrong with the form of a side, with the fix."""
    if isinstance(text, str):
        return None
    sides = {"turns": text} if isinstance(text, list) else text
    if not set(sides) & set(FIELDS):
        return f"none of the fields {', '.join(FIELDS)} is there; name the fields so"
    for name, value in sides.items():
        if name not in FIELDS:
            return f"the field {name!r} is not one of {', '.join(FIELDS)}; leave it out or rename it"
        if name == "turns" and value is not None:
            if not isinstance(value, list) or not all(isinstance(turn, dict) and isinstance(turn.get("value"), str) for turn in value):
                return "turns is no list of objects with from and value; write them so"
        elif name == "options" and value is not None:
            if not isinstance(value, list) or not all(isinstance(option, str) for option in value):
                return "options is no list of texts; write one text an option"
        elif not isinstance(value, str | None) and not (name == "answer" and isinstance(value, int)):
            return f"{name} is a {type(value).__name__}; write a text"
    return None


def _checked(source: Path, limit: int | None, account: Account, rejected: TextIO | None = None) -> Iterator[dict]:
    """The rows of a file that can be judged; the others are counted, and written to `rejected`."""
    for number, (row, content) in enumerate(files.read_jsonl(source)):
        if limit is not None and number >= limit:
            return
        if not isinstance(content, Reject) and (fault := _fault(content)):
            content = Reject(reason=fault[0], file=source.name, row=row, message=fault[1], content=content)
        if isinstance(content, Reject):
            account.rejected[content.reason] += 1
            account.first_reject = account.first_reject or str(content)
            if rejected is not None:
                rejected.write(files.line(content.model_dump()))
            continue
        yield content


def _again(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def judge(source: Path, out: Path, threshold: int = LINE, limit: int | None = None) -> Account:
    """Judge every row of `source` and write `out`, and beside it the rejects; returns the account. Raises BadInput for files that cannot be used.

    The rows are judged one by one into a file aside; then the texts that repeat are known, and where there are any the rows are written once more with
    those flags too. Memory: 24 bytes a row, the words that were met (104 MiB at most), and two excerpts of each text that repeats.
    """
    if not source.is_file():
        raise BadInput(f"{source}: there is no such file; name a JSONL file of rows with id, en and ar with --in")
    account, repeats = Account(), Repeats()
    with files.aside(out) as aside:
        judged, rejected = aside / "judged", aside / "rejected"
        with files.open_lines(judged) as to, files.open_lines(rejected) as rejects:
            for row in tqdm(_checked(source, limit, account, rejects), unit=" pairs", disable=None):
                result = check(row["en"], row["ar"])
                repeats.add(row["id"], row["en"], row["ar"])
                _write(row | {"score": result.score, "flags": result.flags}, to, threshold, account)
        if not account.rows:
            raise BadInput(f"{source}: no row could be judged; the first reject: {account.first_reject or 'none, the file is empty'}")
        if repeats.find():
            repeats.examples(_again(judged))
            account = Account(rejected=account.rejected)
            with files.open_lines(aside / "again") as to:
                for row in _again(judged):
                    row["flags"] += repeats.flags(row)
                    _write(row | {"score": score(row["flags"])}, to, threshold, account)
            judged = aside / "again"
        if account.rejected:
            files.put(rejected, rejected_beside(out))
        else:
            rejected_beside(out).unlink(missing_ok=True)  # an earlier run's would be taken for this one's
        files.put(judged, out)
    return account


def rejected_beside(out: Path) -> Path:
    """Where the rejects of an output go: checked.rejected.jsonl beside checked.jsonl."""
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.rejected.jsonl")


def _write(row: dict, to: TextIO, threshold: int, account: Account) -> None:
    """Write a judged row and enter it in the account."""
    to.write(files.line(row))
    account.rows += 1
    account.scores[row["score"]] += 1
    account.below += row["score"] < threshold
    for rule in dict.fromkeys((flag["rule"], flag["severity"]) for flag in row["flags"]):
        account.rules[rule] += 1
        kept = account.examples.setdefault(rule, [])
        if len(kept) < EXAMPLES:
            kept.append((row["id"], next(flag for flag in row["flags"] if (flag["rule"], flag["severity"]) == rule)))


def report(account: Account, source: Path, threshold: int) -> str:
    """The account as a Markdown page: counts, scores, and each rule with examples."""
    lines = [f"# Translations in {source.name}", ""]
    lines += [f"{account.rows:,} pairs, {account.below:,} ({account.below / account.rows:.1%}) below {threshold}, {account.rejected.total():,} rejected.", ""]
    lines += ["| score | pairs |", "|---|---|"] + [f"| {value} | {count:,} |" for value, count in sorted(account.scores.items(), reverse=True)]
    lines += ["", "| rule | severity | pairs | share |", "|---|---|---|---|"]
    for (rule, severity), count in account.rules.most_common():
        lines.append(f"| {rule} | {severity} | {count:,} | {count / account.rows:.2%} |")
    if account.rejected:
        lines += ["", "| rejected for | rows |", "|---|---|"] + [f"| {reason} | {count:,} |" for reason, count in account.rejected.most_common()]
    for (rule, severity), _ in account.rules.most_common():
        lines += ["", f"## {rule} ({severity})", "", "| row | English | Arabic | what |", "|---|---|---|---|"]
        for name, flag in account.examples[rule, severity]:
            cells = (name, flag["evidence"]["en"], flag["evidence"]["ar"], flag["message"])
            lines.append("| " + " | ".join(str(cell).replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def bench(source: Path, seconds: float = 3) -> float:
    """Pairs a second that `check` judges on this core, over and over, the first round (which fills the memory of words) left out."""
    rows = [(row["en"], row["ar"]) for row in _checked(source, None, Account())]
    done, begun = -len(rows), time.process_time()
    while rows and (done <= 0 or time.process_time() - begun < seconds):
        if done == 0:
            begun = time.process_time()
        for en, ar in rows:
            check(en, ar)
        done += len(rows)
    return done / max(time.process_time() - begun, 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in", dest="source", type=Path, required=True, help="JSONL file of the pairs")
    parser.add_argument("--out", type=Path, help="JSONL file to write")
    parser.add_argument("--report", type=Path, help="Markdown page to write: counts, rules, examples")
    parser.add_argument("--threshold", type=int, default=LINE, help="the line below which a pair counts as not accepted (%(default)s)")
    parser.add_argument("--limit", type=int, help="judge only so many rows, for a quick look")
    parser.add_argument("--bench", action="store_true", help="write nothing, print how many pairs a second are judged")
    args = parser.parse_args()
    try:
        if args.bench:
            print(f"{args.source}: {bench(args.source):,.0f} pairs a second on one core")
            return
        if args.out is None:
            raise BadInput("name the file to write with --out")
        account = judge(args.source, args.out, args.threshold, args.limit)
        if args.report:
            files.save(args.report, report(account, args.source, args.threshold).encode("utf-8", "backslashreplace"))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for reason, count in account.rejected.most_common():
        print(f"rejected: {count:,} rows {reason} ({rejected_beside(args.out)})", file=sys.stderr)
    print(
        f"{args.out}: {account.rows:,} pairs, {account.below:,} below {args.threshold}, {account.rejected.total():,} rejected; "
        f"sha256 {files.sha256(args.out)[:16]}"
    )


if __name__ == "__main__":
    main()
