"""What only a whole file shows: the same Arabic for different English, different Arabic for the same English, an id that stands twice.

A row is kept as three 64-bit hashes (24 bytes, 24 MB for a million rows); texts are read again only where a file has such rows.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import xxhash

from data_prep import matching
from data_prep.quality_check import Text
from data_prep.quality_words import Flag, flagged

FEW_WORDS = 4  # short Arabic may well stand for two English wordings: إنفلونزا for flu and influenza
ALIKE = 0.5  # of the English words in common: two wordings of one sentence


def whole(text: Text) -> str:
    """All that a text or record says, as one text."""
    if isinstance(text, str):
        return text
    parts = text.values() if isinstance(text, dict) else text
    return "\n".join(whole(part) for part in parts if isinstance(part, str | dict | list))


@dataclass
class Repeats:
    """Collects the rows of a file (`add`), says which texts repeat (`find`, `examples`), and gives the flags of a row (`flags`)."""

    en: array = field(default_factory=lambda: array("Q"))
    ar: array = field(default_factory=lambda: array("Q"))
    ids: array = field(default_factory=lambda: array("Q"))
    doubtful: dict[str, frozenset[int]] = field(default_factory=dict)
    first: dict[tuple[str, int], list[tuple[str, str, int]]] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)

    def add(self, name: str, en: Text, ar: Text) -> None:
        """Remember one row."""
        keys = _keys(name, en, ar)
        for column, key in zip((self.en, self.ar, self.ids), keys, strict=True):
            column.append(key)

    def find(self) -> bool:
        """Work out which texts stand for several others; True where a file has any, or an id twice."""
        en, ar, ids = (np.frombuffer(column, dtype=np.uint64) if column else np.empty(0, np.uint64) for column in (self.en, self.ar, self.ids))
        self.doubtful = {"ar": _several(ar, en), "en": _several(en, ar), "id": _twice(ids)}
        self.en, self.ar, self.ids = array("Q"), array("Q"), array("Q")
        return any(self.doubtful.values())

    def examples(self, rows: Iterable[dict]) -> None:
        """Keep of each doubtful text the first two that it stands for, so that a row can be shown another than itself."""
        for row in rows:
            en, ar, _ = _keys(row["id"], row["en"], row["ar"])
            for side, key, other, text in (("ar", ar, en, row["en"]), ("en", en, ar, row["ar"])):
                if key in self.doubtful[side]:
                    kept = self.first.setdefault((side, key), [])
                    if len(kept) < 2 and all(known != other for *_, known in kept):
                        kept.append((row["id"], whole(text)[:200], other))

    def flags(self, row: dict) -> Iterator[Flag]:
        """The flags of one row, once all rows were added and examples kept."""
        en, ar, name = _keys(row["id"], row["en"], row["ar"])
        if name in self.doubtful["id"]:
            if name in self.seen:
                yield flagged("same_id", "warning", str(row["id"]), str(row["id"]), "the id stands already in an earlier row")
            self.seen.add(name)
        if ar in self.doubtful["ar"] and len(matching.words(whole(row["ar"]))) > 0:
            other, text = self._another("ar", ar, en)
            mine, theirs = matching.words(whole(row["en"])[:200]), matching.words(text)
            alike = len(set(mine) & set(theirs)) / max(len(set(mine) | set(theirs)), 1)
            differs = matching.guard(mine) != matching.guard(theirs)
            severe = len(matching.words(whole(row["ar"]))) >= FEW_WORDS and (alike < ALIKE or differs)
            said = f"this Arabic also stands for other English, in row {other}"
            yield flagged("same_arabic", "error" if severe else "warning", f"{whole(row['en'])[:100]} | {text[:100]}", whole(row["ar"])[:100], said) | {
                "other": other
            }
        if en in self.doubtful["en"]:
            other, text = self._another("en", en, ar)
            said = f"this English has other Arabic in row {other}"
            yield flagged("same_english", "warning", whole(row["en"])[:100], f"{whole(row['ar'])[:100]} | {text[:100]}", said) | {"other": other}

    def _another(self, side: str, key: int, mine: int) -> tuple[str, str]:
        return next((name, text) for name, text, known in self.first[side, key] if known != mine)


def _keys(name: str, en: Text, ar: Text) -> tuple[int, int, int]:
    return matching.key(matching.words(whole(en))), matching.key(matching.words(whole(ar))), xxhash.xxh64_intdigest(name.encode())


def _several(keys: np.ndarray, others: np.ndarray) -> frozenset[int]:
    """The keys that stand beside more than one other."""
    order = np.lexsort((others, keys))
    keys, others = keys[order], others[order]
    return frozenset(keys[1:][(keys[1:] == keys[:-1]) & (others[1:] != others[:-1])].tolist())


def _twice(keys: np.ndarray) -> frozenset[int]:
    keys = np.sort(keys)
    return frozenset(keys[1:][keys[1:] == keys[:-1]].tolist())
