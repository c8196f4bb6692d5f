"""Count what stands in a built data set: rows by split, source, language and kind, exchanges, e-mail addresses, tokens under Mixtral's tokenizer.

The files are streamed twice; what stays in memory is two bytes a row and four a row whose tokens are counted.
"""

import importlib.util
import os
import random
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import sentencepiece
from tqdm import tqdm

from data_prep.built import SPLITS, Built
from data_prep.records import BadInput

TOKENS = 100_000  # rows whose tokens are counted: about 50 million tokens, under a minute on two cores
BATCH = 512
LEFT_OUT = 2**16 - 1  # stands for a row that is not counted at all
ADDRESS = re.compile(r"[\w.+-]@[\w-]+\.[A-Za-z]{2}")

Group = tuple[str, str]  # language, kind


@dataclass(frozen=True)
class Lengths:
    """Tokens of the rows of one language and kind: `rows` is how many there are, `counted` the lengths of those that were counted."""

    rows: int
    counted: np.ndarray

    @property
    def weight(self) -> float:
        """How many rows each counted one stands for."""
        return self.rows / len(self.counted)


@dataclass(frozen=True)
class Summary:
    """Lengths in figures. `error` is the standard error of `total`, 0 where every row was counted; median and 95th percentile are lengths that occur."""

    rows: int
    counted: int
    total: float
    error: float
    median: int
    p95: int
    longest: int

    @property
    def mean(self) -> float:
        return self.total / self.rows


@dataclass
class Census:
    """What was counted. `rows`: (split, source, lang, kind) -> rows; `exchanges`: (lang, kind, exchanges) -> rows; `left_out`: (file, part) -> rows."""

    rows: Counter = field(default_factory=Counter)
    exchanges: Counter = field(default_factory=Counter)
    addresses: Counter = field(default_factory=Counter)  # source -> rows with something that reads like an e-mail address
    left_out: Counter = field(default_factory=Counter)
    sets: dict[str, int] = field(default_factory=dict)  # file of eval/ -> questions
    tokens: dict[Group, Lengths] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.rows.total()

    @property
    def langs(self) -> list[str]:
        """The languages there are, English first."""
        return [lang for lang in ("en", "ar") if any(key[2] == lang for key in self.rows)]

    @property
    def whole(self) -> bool:
        """Whether the tokens of every row were counted."""
        return all(len(lengths.counted) == lengths.rows for lengths in self.tokens.values())

    def lengths(self, lang: str | None = None) -> list[Lengths]:
        """The groups of one language, or all."""
        return [lengths for (of, _), lengths in sorted(self.tokens.items()) if lang in (None, of)]


def summary(groups: list[Lengths]) -> Summary:
    """Put groups together. Each group was sampled by itself, so totals and their variances add up, and quantiles are weighted."""
    total = sum(lengths.weight * lengths.counted.sum(dtype=np.int64) for lengths in groups)
    variance = 0.0
    for lengths in groups:
        n, unseen = len(lengths.counted), 1 - len(lengths.counted) / lengths.rows
        variance += lengths.rows**2 * lengths.counted.var(ddof=1) / n * unseen if unseen else 0.0
    values = np.concatenate([lengths.counted for lengths in groups])
    weights = np.concatenate([np.full(len(lengths.counted), lengths.weight) for lengths in groups])
    median, p95 = np.quantile(values, [0.5, 0.95], weights=weights, method="inverted_cdf")
    rows = sum(lengths.rows for lengths in groups)
    return Summary(rows, len(values), float(total), float(np.sqrt(variance)), int(median), int(p95), int(values.max()))


def histogram(groups: list[Lengths], edges: np.ndarray) -> np.ndarray:
    """Rows with so many tokens, for each [edge, next edge); estimates where a group was sampled."""
    return sum(np.histogram(lengths.counted, edges)[0] * lengths.weight for lengths in groups)


def take(built: Built, tokens: int = TOKENS, withheld: dict[str, str] | None = None) -> Census:
    """Count the rows of train.jsonl and validation.jsonl, but for those whose part is `withheld` (None: count all of them).

    `tokens`: how many rows have their tokens counted, 0 for all; a sample is drawn by language and kind with the recipe's seed.
    """
    census = Census()
    groups: dict[Group, int] = {}
    codes = array("H")
    for file, number, line in _lines(built, "rows"):
        row = built.row(file, number, line)
        try:
            source, group, turns = row["source"], (row["lang"], row["kind"]), row["conversations"]
            spoken = [asked["value"] + said["value"] for asked, said in zip(turns[::2], turns[1::2], strict=True)]
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{built.folder / file}, row {number}: not a ShareGPT row ({error!r}); build the data set again") from error
        if withheld is not None and barred(built, part := built.part_of(row), withheld):
            census.left_out[file, part] += 1
            codes.append(LEFT_OUT)
            continue
        census.rows[Path(file).stem, source, *group] += 1
        census.exchanges[*group, len(turns) // 2] += 1
        census.addresses[source] += any("@" in text and ADDRESS.search(text) is not None for text in spoken)
        codes.append(groups.setdefault(group, len(groups)))
    census.addresses = +census.addresses
    for file in built.sets():
        census.sets[file] = built.manifest["outputs"][file]["rows"]
        if withheld:
            out = Counter(part for row in built.rows(file) if barred(built, part := built.part_of(row), withheld))
            census.left_out.update({(file, part): count for part, count in out.items()})
            census.sets[file] -= out.total()
    chosen = choose(np.frombuffer(codes, np.uint16), groups, tokens, built.manifest["config"].get("seed", 0))
    lengths = _count(built, chosen)
    of = np.frombuffer(codes, np.uint16)[chosen]
    sizes = np.bincount(np.frombuffer(codes, np.uint16), minlength=len(groups))
    census.tokens = {group: Lengths(int(sizes[code]), lengths[of == code]) for group, code in groups.items()}
    return census


def barred(built: Built, part: str, withheld: dict[str, str]) -> bool:
    """Whether rows of this part stay here. A part that no input names has nobody's permission either: it is added to `withheld`."""
    if part not in withheld and part not in built.known:
        withheld[part] = "no input of the manifest names it"
    return part in withheld


def choose(codes: np.ndarray, groups: dict[Group, int], budget: int, seed: int) -> np.ndarray:
    """A mask of the rows whose tokens are counted: all of them, or about `budget`, small groups as a whole and large ones by a seeded sample."""
    sizes = {group: int((codes == code).sum()) for group, code in groups.items()}
    if not budget or sum(sizes.values()) <= budget:
        return codes != LEFT_OUT
    # a tenth of the budget is shared evenly, so that a small group is not judged by a handful of rows; a variance needs two
    first = {group: min(size, max(2, budget // (10 * len(sizes)))) for group, size in sizes.items()}
    room, rest = max(0, budget - sum(first.values())), sum(sizes.values()) - sum(first.values())
    mask = np.zeros(len(codes), bool)
    for (lang, kind), code in groups.items():
        size, sure = sizes[lang, kind], first[lang, kind]
        count = sure + (size - sure) * room // rest
        mask[np.flatnonzero(codes == code)[random.Random(f"{seed}:{lang}:{kind}").sample(range(size), count)]] = True
    return mask


def _lines(built: Built, doing: str) -> Iterator[tuple[str, int, bytes]]:
    for split in SPLITS:
        file = f"{split}.jsonl"
        with (built.folder / file).open("rb") as lines:
            for number, line in enumerate(tqdm(lines, desc=f"{file}, {doing}", unit=" rows", disable=None), start=1):
                yield file, number, line


def _count(built: Built, chosen: np.ndarray) -> np.ndarray:
    """Tokens of the chosen rows, in their order."""
    tokenizer = mixtral_tokenizer()
    rows = (built.row(*line)["conversations"] for line, wanted in zip(_lines(built, "tokens"), chosen, strict=True) if wanted)
    lengths = array("i")
    while batch := list(islice(rows, BATCH)):
        lengths.extend(count_tokens(tokenizer, batch))
    return np.frombuffer(lengths, np.int32)


def count_tokens(tokenizer: sentencepiece.SentencePieceProcessor, rows: Iterable[list[dict]]) -> list[int]:
    """Tokens of each conversation as the chat template writes it: `<s>[INST] question [/INST] answer</s>[INST] ..`, control tokens included.

    SentencePiece and transformers split double spaces differently: where a text has them, a row may differ by a token.
    """
    worded = [[f"[INST] {asked['value']} [/INST] {said['value']}" for asked, said in zip(turns[::2], turns[1::2], strict=True)] for turns in rows]
    encoded = iter(tokenizer.encode([text for texts in worded for text in texts], num_threads=min(8, os.cpu_count() or 1)))
    return [1 + sum(len(next(encoded)) + 1 for _ in texts) for texts in worded]


def mixtral_tokenizer() -> sentencepiece.SentencePieceProcessor:
    """Mixtral-8x7B's vocabulary, 32,000 tokens: the Mistral v1 file that the installed `mistral_common` package carries."""
    package = importlib.util.find_spec("mistral_common")  # not imported: that takes a second
    path = Path(package.origin).parent / "data" / "tokenizer.model.v1" if package and package.origin else None
    if path is None or not path.is_file():
        raise BadInput("the tokenizer of Mixtral is not installed: run `make setup`, which installs mistral_common")
    return sentencepiece.SentencePieceProcessor(model_file=str(path))
