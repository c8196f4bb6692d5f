"""lm-eval's Hugging Face model with less work for the same numbers: one forward pass for all options that share it, logits only where they are read.

lm-eval 0.4.11 computes logits for every position (32,000 float32 numbers a token, then a log-softmax over them) and reads one position of a
multiple-choice question. On two cores it scored 681 of the 27,680 options of the nine English sets in 73 seconds; see `make bench-eval`.
"""

import inspect
from collections.abc import Iterator
from functools import cached_property

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import has_bos_prefix
from tqdm import tqdm

Request = tuple[tuple[str, str], list[int], list[int]]  # (context, continuation), tokens of the context, tokens of the continuation


class Scorer(HFLM):
    """HFLM for causal models with a fixed batch size; what it cannot do better is left to HFLM. `cut` holds the texts that were too long to be read
    whole: they lost their beginning, as in lm-eval."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.cut: set[str] = set()
        self._encoded: dict[str, list[int]] = {}

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As HFLM's. All texts are tokenized at once before: lm-eval asks one by one, and for those of a prompt once for each option."""
        if getattr(self.tokenizer, "is_fast", False) and self.backend == "causal":
            pairs = [tuple(request.args) for request in requests]
            texts = list(dict.fromkeys(text for context, more in pairs if context == context.rstrip() != "" for text in (context, context + more)))
            fast, bos = self.tokenizer.backend_tokenizer, self.tokenizer.decode(self.prefix_token_id)
            fast.no_padding()
            fast.no_truncation()
            for begins in (True, False):  # a chat template has written the first token already
                some = [text for text in texts if has_bos_prefix(text, bos) == begins]
                special = False if begins else self.add_bos_token is not False
                self._encoded.update(
                    (text, encoding.ids) for text, encoding in zip(some, fast.encode_batch_fast(some, add_special_tokens=special), strict=True)
                )
        try:
            return super().loglikelihood(requests, disable_tqdm)
        finally:
            self._encoded.clear()

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: object) -> list[int]:
        """Tokens of a text, as HFLM's."""
        if add_special_tokens is None and not kwargs and string in self._encoded:
            return self._encoded[string]
        return super().tok_encode(string, add_special_tokens, **kwargs)

    @cached_property
    def _keeps(self) -> bool:
        """Whether the model can be asked for the logits of some positions only."""
        return "logits_to_keep" in inspect.signature(self.model.forward).parameters

    def _loglikelihood_tokens(self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None) -> list[tuple[float, bool]]:
        """(log-likelihood of the continuation, whether it is what greedy decoding would write) for each request, in their order."""
        size = override_bs or self.batch_size
        if self.backend != "causal" or not isinstance(size, int):
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        readings: dict[tuple[int, ...], list[int]] = {}  # what the model reads -> the requests that it answers
        most = self.max_length + 1  # looked up in the configuration each time
        for number, ((context, _), before, after) in enumerate(requests):
            whole = before + after
            if len(whole) > most:
                self.cut.add(context)
            readings.setdefault(tuple(whole[-most:][:-1]), []).append(number)
        found: list[tuple[float, bool]] = [None] * len(requests)
        with tqdm(total=len(requests), desc="scoring", unit=" options", disable=True if disable_tqdm or self.rank else None) as bar:
            for batch in _batches(readings, size):
                for number, answer in self._read(batch, readings, requests):
                    found[number] = answer
                    bar.update()
        return found

    @torch.inference_mode()
    def _read(self, batch: list[tuple[int, ...]], readings: dict, requests: list[Request]) -> Iterator[tuple[int, tuple[float, bool]]]:
        """One forward pass. Rows are padded on the right: no token of a causal model sees what comes after it."""
        longest = max(map(len, batch))
        ids = torch.tensor([[*tokens, *[0] * (longest - len(tokens))] for tokens in batch], device=self.device)
        needed = [max(len(requests[number][2]) for number in readings[tokens]) for tokens in batch]  # the last so many positions of each row
        places = sorted({place for tokens, last in zip(batch, needed, strict=True) for place in range(len(tokens) - last, len(tokens))})
        column = {place: index for index, place in enumerate(places)} if self._keeps else range(longest)
        more = {"logits_to_keep": torch.tensor(places, device=self.device)} if self._keeps else {}
        logits = self.model(ids, use_cache=False, **more).logits
        read = [(row, column[place]) for row, (tokens, last) in enumerate(zip(batch, needed, strict=True)) for place in range(len(tokens) - last, len(tokens))]
        rows, columns = torch.tensor(read, device=self.device).T
        said = logits[rows, columns].log_softmax(-1, dtype=torch.float32)
        ends, end = [], 0
        for last in needed:
            end += last
            ends.append(end)
        asked = [
            (number, end - len(requests[number][2]) + step, token)
            for tokens, end in zip(batch, ends, strict=True)
            for number in readings[tokens]
            for step, token in enumerate(requests[number][2])
        ]
        numbers, places, tokens = zip(*asked, strict=True)
        likelihoods = said[list(places), list(tokens)].tolist()
        likeliest = said.argmax(-1).tolist()
        sums, greedy = dict.fromkeys(numbers, 0.0), dict.fromkeys(numbers, True)
        for number, place, token, likelihood in zip(numbers, places, tokens, likelihoods, strict=True):
            sums[number] += likelihood
            greedy[number] &= likeliest[place] == token
        for number in sums:
            yield number, (sums[number], greedy[number])


def _batches(readings: dict, size: int) -> Iterator[list[tuple[int, ...]]]:
    """The longest first, so that memory runs out at once or never, and rows of like length together."""
    ordered = sorted(readings, key=len, reverse=True)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
