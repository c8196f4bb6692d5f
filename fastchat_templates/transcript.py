"""An answer's text as its tokens come: no half characters, no stop string or beginning of one that may still become complete."""

import re

from transformers import PreTrainedTokenizerBase

BROKEN = "\ufffd"  # what decoding makes of bytes that are no character (yet)
BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class Vocabulary:
    """What the texts of all answers need to know of the tokenizer, looked up once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.size = len(tokenizer)
        self.special = frozenset(tokenizer.all_special_ids)
        self.byte_tokens = frozenset(token for word, token in tokenizer.get_vocab().items() if BYTE.fullmatch(word))

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def word(self, token: int) -> str:
        """A token as log-probabilities show it, with its leading space; OpenAI's `bytes:` form where it is no text by itself."""
        word = self.tokenizer.convert_ids_to_tokens(token)
        return "bytes:\\x" + word[3:5].lower() if token in self.byte_tokens else word.replace("\u2581", " ")

    def width(self, token: int) -> int:
        """Characters that a token adds to the text: none for a special one, and one for the first byte of a character."""
        if token in self.byte_tokens:
            return int(self.tokenizer.convert_ids_to_tokens(token)[3:5], 16) & 0xC0 != 0x80
        return 0 if token in self.special else len(self.word(token))


class Transcript:
    """Text of a growing list of tokens, and where it stops.

    Each token is decoded together with the few before it that share its context, so the cost does not grow with the length. A byte token waits
    until the run of bytes has ended: the decoder judges a run as a whole, and an Arabic letter that is not in the vocabulary comes as two of them.
    """

    def __init__(self, vocabulary: Vocabulary, stops: list[str], after: list[int] | None = None) -> None:
        """`after`: tokens of the text that the answer is shown behind; a leading space counts only there."""
        self.vocabulary = vocabulary
        self.stops = [stop for stop in stops if stop]
        self.longest = max(map(len, self.stops), default=0)
        self.text = ""
        self.stopped = False
        self._given = 0  # characters handed out
        # the last token so far, with its text: the next ones are decoded after it, else they would lose a leading space
        self._context = (after or [])[-1:]
        self._before = vocabulary.decode(self._context)
        self._waiting: list[int] = []

    def add(self, token: int) -> bool:
        """Take one token; whether a stop string is now complete. Nothing is taken after that."""
        if token not in self.vocabulary.special:
            self._waiting.append(token)
            if token not in self.vocabulary.byte_tokens:
                self._settle(self._waiting)
        return self.stopped

    def _settle(self, waiting: list[int]) -> bool:
        """Decode what waits, if it ends with a whole character."""
        after = self.vocabulary.decode(self._context + waiting)
        if after.endswith(BROKEN):
            return False
        searched = max(0, len(self.text) - self.longest + 1)
        self.text += after[len(self._before) :]
        self._waiting = []
        self._context = waiting[-1:]
        self._before = self.vocabulary.decode(self._context)
        found = [place for stop in self.stops if (place := self.text.find(stop, searched)) >= 0]
        if found:
            self.text, self.stopped = self.text[: min(found)], True
        return True

    def end(self) -> None:
        """No token follows: what waits is decoded, but for the bytes of an unfinished character."""
        for cut in range(4):  # a character has four bytes at most
            whole = self._waiting[: len(self._waiting) - cut]
            if not whole or self.stopped or self._settle(whole):
                return
        self.text += self.vocabulary.decode(self._context + self._waiting)[len(self._before) :].rstrip(BROKEN)

    def ready(self, final: bool = False) -> str:
        """The text since the last call; unless `final`, without an end that could become a stop string."""
        until = len(self.text)
        if not (final or self.stopped):
            until -= max((self._held(stop) for stop in self.stops), default=0)
        new = self.text[self._given : until]
        self._given = max(self._given, until)
        return new

    def _held(self, stop: str) -> int:
        """How many characters at the end of the text are the beginning of this stop string."""
        for size in range(min(len(stop) - 1, len(self.text)), 0, -1):
            if self.text.endswith(stop[:size]):
                return size
        return 0
