"""Fit rows to the sequence length before Axolotl sees them: longer chats are split at turn borders, what cannot be split is set aside with a count.

    python -m axolotl_configs.fit axolotl_configs/local.yaml

Axolotl itself drops a longer row (`excess_length_strategy: drop`) or cuts through its answer (`truncate`). A chat of several exchanges keeps all
of its answers here: its parts begin with a human turn each and get `#1`, `#2` behind their ids. One exchange that is too long alone goes to
BUILD/models/NAME/rows/rejected/too_long.jsonl. Lengths are tokens of the base's tokenizer under the chat template, BOS and EOS included.

Writes BUILD/models/NAME/rows/: a file for each data set, manifest.json, and lengths.npy for each (int32, tokens of each row) that plan.py reads.
"""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from axolotl_configs import config as configs
from data_prep.files import BadInput, line, open_lines, read_json, read_jsonl, sha256, write_json, written_aside
from data_prep.records import Reject

ROLES = {"human": "user", "gpt": "assistant"}
BATCH = 1000  # rows whose tokens are counted at once: the tokenizer works on both cores, and memory stays at some 10 MB


class Counter:
    """Counts a conversation's tokens as training sees them."""

    def __init__(self, base: str, template: Path) -> None:
        try:
            self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base)
        except (OSError, ValueError) as error:
            raise configs.ConfigError(f"the tokenizer of base_model {base} cannot be had ({str(error).splitlines()[0]})") from error
        self.template = template.read_text(encoding="utf-8")

    def tokens(self, talks: list[list[dict]]) -> list[int]:
        """For each conversation in ShareGPT form, its length in tokens."""
        chats = [[{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in talk] for talk in talks]
        texts = self.tokenizer.apply_chat_template(chats, chat_template=self.template, tokenize=False)
        return [len(ids) for ids in self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]]


def batches(rows: Iterable[tuple[int, dict]]) -> Iterator[list[tuple[int, dict]]]:
    """The rows, BATCH at a time."""
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        yield batch


def talk_of(row: dict, path: Path, number: int) -> list[dict]:
    """The turns of a training row; BadInput with file and line when it is none."""
    talk = row.get("conversations")
    whole = isinstance(talk, list) and talk and len(talk) % 2 == 0
    for place, turn in enumerate(talk if whole else []):
        value = turn.get("value") if isinstance(turn, dict) else None
        whole = whole and isinstance(value, str) and bool(value.strip()) and turn.get("from") == ("gpt" if place % 2 else "human")
    if not whole:
        raise BadInput(
            f"{path}, row {number}: `conversations` must be turns from human and gpt in alternation, each with a `value` that is not empty; correct the row"
        )
    return talk


def parts_of(talk: list[dict], counter: Counter, longest: int) -> tuple[list[list[dict]], list[tuple[list[dict], int]]]:
    """(parts of a conversation that fit, exchanges that do not with their tokens). Neighbouring exchanges stay together as long as they fit."""
    exchanges = [talk[place : place + 2] for place in range(0, len(talk), 2)]
    alone = counter.tokens(exchanges)
    parts: list[list[dict]] = []
    left: list[tuple[list[dict], int]] = []
    open_part: list[dict] = []
    for exchange, tokens in zip(exchanges, alone, strict=True):
        if tokens > longest:
            left.append((exchange, tokens))
            parts, open_part = parts + [open_part] * bool(open_part), []
        elif open_part and counter.tokens([open_part + exchange])[0] > longest:
            parts, open_part = [*parts, open_part], exchange
        else:
            open_part = open_part + exchange
    return parts + [open_part] * bool(open_part), left


def rows_of(path: Path) -> Iterator[tuple[int, dict]]:
    """(line, row) of a JSONL file; BadInput names the line that holds none."""
    for number, row in read_jsonl(path):
        if isinstance(row, Reject):
            raise BadInput(f"{path}, row {number}: {row.message}")
        yield number, row


def fit_file(path: Path, out: Path, rejects: Path, counter: Counter, longest: int) -> dict:
    """Write the rows of `path` that fit, whole or in parts, to `out`; returns the counts for the manifest."""
    lengths: list[int] = []
    counts = {"rows_in": 0, "rows_split": 0, "exchanges_set_aside": 0}
    with open_lines(out) as kept, open_lines(rejects) as aside:
        for batch in batches(tqdm(rows_of(path), desc=f"fit {path.name}", unit=" rows")):
            talks = [talk_of(row, path, number) for number, row in batch]
            for (number, row), talk, tokens in zip(batch, talks, counter.tokens(talks), strict=True):
                counts["rows_in"] += 1
                if tokens <= longest:
                    kept.write(line(row))
                    lengths.append(tokens)
                    continue
                parts, left = parts_of(talk, counter, longest)
                counts["rows_split"] += bool(parts)
                for place, part in enumerate(parts, start=1):
                    kept.write(line(row | {"id": f"{row.get('id', number)}#{place}", "conversations": part}))
                    lengths += counter.tokens([part])
                for exchange, size in left:
                    counts["exchanges_set_aside"] += 1
                    message = f"an exchange of {size} tokens; sequence_len is {longest}: shorten it, or raise sequence_len"
                    content = row | {"conversations": exchange}
                    aside.write(line(Reject(reason="too_long", file=path.name, row=number, message=message, content=content).model_dump()))
    if not lengths:
        raise BadInput(f"{path}: no row of at most {longest} tokens; raise sequence_len, or look at what is in the file")
    np.save(out.with_suffix(".lengths.npy"), np.array(lengths, np.int32))
    return counts | {"rows_out": len(lengths), "tokens": sum(lengths), "longest": max(lengths)}


def fit(settings: dict, folder: Path) -> dict:
    """The settings with every data set replaced by its rows below `folder`/rows that fit `sequence_len`.

    `settings`: a configuration as `config.load` gives it. Nothing is done where the same files were fitted to the same length before.
    BadInput names a file or a row that is no training row.
    """
    entries = [(key, entry) for key in ("datasets", "test_datasets") for entry in settings.get(key) or []]
    template = configs.PROJECT / settings["chat_template_jinja"]
    out = folder / "rows"
    names = {}
    for place, (_, entry) in enumerate(entries, start=1):
        name = Path(entry["path"]).name
        names[place] = name if name not in names.values() else f"{place}_{name}"
    wanted = {
        "sequence_len": settings["sequence_len"],
        "base_model": Path(settings["base_model"]).name,
        "template": sha256(template),
        "inputs": {names[place]: sha256(Path(entry["path"])) for place, (_, entry) in enumerate(entries, start=1)},
    }
    fitted = settings | {key: [] for key, _ in entries}
    for place, (key, entry) in enumerate(entries, start=1):
        fitted[key] = [*fitted[key], entry | {"path": str(out / names[place])}]
    manifest = out / "manifest.json"
    if manifest.is_file() and {key: value for key, value in read_json(manifest).items() if key != "files"} == wanted:
        return fitted
    counter = Counter(settings["base_model"], template)
    files = {}
    with written_aside(out) as aside:
        for place, (_, entry) in enumerate(entries, start=1):
            name = names[place]
            files[name] = fit_file(
                Path(entry["path"]), aside / name, aside / "rejected" / f"too_long_{Path(name).stem}.jsonl", counter, settings["sequence_len"]
            )
        for empty in [path for path in (aside / "rejected").glob("*.jsonl") if not path.stat().st_size]:
            empty.unlink()
        write_json(aside / "manifest.json", wanted | {"files": files})
    for name, counts in files.items():
        print(f"{out / name}: " + ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in counts.items()))
    return fitted


def main() -> None:
    parser = configs.parser(__doc__)
    args = parser.parse_args()
    try:
        fit(configs.load(args.config, args.build, args.overrides), configs.model_folder(args.config, args.build))
    except (BadInput, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
