"""What two texts are compared by, in deduplication and decontamination. Training text itself is never normalised.

A text becomes a row of 32-bit word hashes: NFKC, lower case, Arabic without tashkeel and tatweel, the forms of alef, ya and ta marbuta folded,
all digits Western, split at what is no letter or digit. Numbers keep their parts: 0.5 is `0 5` and 5 is `5`, so a moved decimal point shows.
"""

import re
import unicodedata
from collections.abc import Iterable

import numpy as np
import xxhash

WORD = re.compile(r"\w+")
TYPE = re.compile(r"[^\Waistو]|[ivx]{2,}")  # one letter, but for those that are words or endings by themselves, or a Roman numeral
# tashkeel and Quranic marks, tatweel and the invisible marks of direction go; the letters that writers use for one another become one
_FOLD = dict.fromkeys([*range(0x0610, 0x061B), 0x0640, *range(0x064B, 0x0660), 0x0670, *range(0x06D6, 0x06ED), 0x200C, 0x200D, 0x200E, 0x200F])
_FOLD |= {ord(a): "ا" for a in "أإآٱ"} | {ord("ى"): "ي", ord("ی"): "ي", ord("ک"): "ك", ord("ة"): "ه"}
_FOLD |= {zero + digit: str(digit) for zero in (0x0660, 0x06F0) for digit in range(10)}
# words that turn a question into its opposite: two texts that differ in one of them are not copies of one another
NEGATIONS = {"not", "no", "never", "except", "without", "least", "false", "incorrect", "untrue"}
NEGATIONS |= {"لا", "ليس", "ليست", "لم", "لن", "غير", "ما", "عدا", "باستثناء", "دون", "بدون", "خطا", "خاطئه", "خاطئ"}


def normalise(text: str) -> str:
    """The text as it is compared: folded, never shown or written."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text).casefold().translate(_FOLD)


def words(text: str) -> list[str]:
    """The normalised words of a text, in order."""
    return WORD.findall(normalise(text))


def hashes(found: Iterable[str]) -> np.ndarray:
    """One 32-bit hash a word (uint32). At a million different words some 116 pairs share one, which changes no verdict: these go by many words."""
    return np.fromiter(map(xxhash.xxh32_intdigest, " ".join(found).encode().split()), dtype=np.uint32)


def key(*parts: Iterable[str]) -> int:
    """A 64-bit hash of several lists of words, for equality. Equal by chance: 3 in 100 million for a whole set of a million texts."""
    return xxhash.xxh64_intdigest("\0".join(" ".join(part) for part in parts).encode())


def guard(found: Iterable[str]) -> int:
    """A 64-bit hash of the numbers, letters and negations in a text. Near copies must agree in it: another dose, hepatitis C for hepatitis A,
    type III for type II, or `except` for `true`, is another text."""
    return key(sorted(word for word in found if word in NEGATIONS or not word.isalpha() or TYPE.fullmatch(word)))
