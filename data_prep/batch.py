"""Requests as OpenAI Batch files, and their results back into the journal: the way to run a job on an engine instead of over the network.

`Outbox` writes the requests that have no answer yet, split at the service's limits; `vllm run-batch -i requests-0001.jsonl -o results.jsonl --model ..` reads
them too. `read_results` takes result and error files in any order, with gaps; what has no answer yet is written again by the next --batch-out. A
translation takes several turns of this, because the score can only be asked for when the translation is there.
"""

from contextlib import ExitStack
from pathlib import Path

from data_prep import files, llm
from data_prep.answers import NoAnswer, answer_of
from data_prep.journal import Answer, Journal
from data_prep.records import BadInput, Reject

MOST_REQUESTS = 50_000  # of one file, OpenAI's limit
MOST_BYTES = 190 * 2**20  # of one file; the limit is 200 MB
PATH = "/v1/chat/completions"


class Outbox:
    """A folder of batch files, as a context manager: the files appear when all are whole. Without a folder requests are only counted."""

    def __init__(self, folder: Path | None, journal: Journal, again: bool = False) -> None:
        self.folder, self.journal, self.again = folder, journal, again
        self.written = self.files = self.out = self.waiting = 0
        self._sent: list[tuple[bytes, int]] = []
        self._lines = self._size = 0
        self._sheet = self._aside = None
        self._stack = ExitStack()
        if folder is not None and folder.exists() and any(folder.iterdir()):
            raise BadInput(f"{folder}: not empty, and what lies in it may not be lost; name a new folder with --batch-out")

    def __enter__(self) -> "Outbox":
        if self.folder is not None:
            self._aside = self._stack.enter_context(files.written_aside(self.folder))
        return self

    def __exit__(self, *error: object) -> None:
        if self._sheet is not None:
            self._sheet.close()
        self._stack.__exit__(*error)
        if error[0] is None:
            self.journal.batch(self._sent)

    async def send(self, key: bytes, body: dict) -> Answer:
        """Write a request down instead of sending it; always raises llm.Waiting."""
        self.waiting += 1
        if self.journal.batched(key) is not None and not self.again:
            self.out += 1
        elif self.folder is not None:
            self._write(key, body)
        raise llm.Waiting

    def _write(self, key: bytes, body: dict) -> None:
        line = files.line({"custom_id": key.hex(), "method": "POST", "url": PATH, "body": body})
        size = len(line.encode())
        if self._sheet is None or self._lines == MOST_REQUESTS or self._size + size > MOST_BYTES:
            if self._sheet is not None:
                self._sheet.close()
            self.files += 1
            self._sheet = files.open_lines(self._aside / f"requests-{self.files:04}.jsonl")
            self._lines = self._size = 0
        self._sheet.write(line)
        self._lines += 1
        self._size += size
        self.written += 1
        self._sent.append((key, llm.characters(body)))

    def report(self) -> str:
        """Which requests are waited for, and what to do."""
        said = []
        if self.written:
            said.append(
                f"{self.written:,} requests are in {self.folder} ({self.files} files): run them, then come back with --batch-in RESULTS --batch-out NEXT"
            )
        if self.out:
            said.append(f"{self.out:,} requests stand in an earlier batch: read its results with --batch-in, or write them again with --batch-again")
        if self.waiting > self.written + self.out:
            said.append(f"{self.waiting - self.written - self.out:,} requests have no answer yet: write them with --batch-out NEW_FOLDER")
        return "; ".join(said)


def read_results(path: Path, journal: Journal, settings: llm.Settings) -> str:
    """Take the answers of a result or error file into the journal; returns what was found in one line. Raises BadInput for a file that is none.

    An answer that the journal has already is left as it is. A refusal for good (400 and the like) is kept as one; what may go better another time
    (429, 5xx, expired) is written again by the next --batch-out.
    """
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file; name the result files of a batch with --batch-in")
    taken = again = known = foreign = broken = 0
    first = None
    for row, content in files.read_jsonl(path):
        key, answer = (None, None) if isinstance(content, Reject) else _result(content)
        if key is None:
            broken += 1
            first = first or f"row {row}: {content.message if isinstance(content, Reject) else 'no custom_id of ours'}"
        elif journal.answer(key) is not None:
            known += 1
        elif (characters := journal.batched(key)) is None:
            foreign += 1
        elif answer is None:
            again += 1
            journal.unbatch(key)
        else:
            taken += 1
            journal.keep(key, answer, characters, settings.cost(answer))
    if broken and not taken + again + known + foreign:
        raise BadInput(f"{path}: not the result file of a batch; {first}")
    said = f"{path}: {taken:,} answers taken, {known:,} known already, {again:,} without an answer (to be written again)"
    said += f", {foreign:,} of requests that this journal did not write" if foreign else ""
    return said + (f", {broken:,} lines that cannot be read ({first})" if broken else "")


def _result(content: dict) -> tuple[bytes | None, Answer | None]:
    """Key and answer of one line; no key where it is no result of ours, no answer where the request has to go out again."""
    try:
        key = bytes.fromhex(content["custom_id"])
        response = content.get("response") or {}
        status, body = response.get("status_code"), response.get("body")
    except (KeyError, TypeError, ValueError, AttributeError):
        return None, None
    if len(key) != 16:
        return None, None
    if status == 200:
        try:
            return key, answer_of(body)
        except NoAnswer:
            return key, None
    if isinstance(status, int) and 400 <= status < 500 and status not in llm.AGAIN:
        error = body.get("error", body) if isinstance(body, dict) else body
        return key, Answer(str(error.get("message", error) if isinstance(error, dict) else error)[:300], f"http_{status}")
    return key, None
