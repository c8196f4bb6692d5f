"""From logits to the next token of each row, every row by its own settings and its own random numbers.

A row's choice depends on its logits and its settings alone, never on who else is in the batch. Greedy where the temperature is (nearly) 0, as in
FastChat. Order as in transformers: penalties, temperature, top-k, top-p. Drawing is by the inverse of the cumulated probabilities with one uniform
number a token from the row's own generator.
"""

import os
from collections import Counter
from dataclasses import dataclass, field

import torch

# A nucleus is looked for among so many tokens first: sorting all 32,000 of a row takes ten times as long as the forward step of a tiny model
WIDTH = 256


@dataclass
class Settings:
    """How one request wants its tokens chosen. `seed` None: fresh random numbers from the system."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1  # -1 and 0: no limit
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    generator: torch.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        seed = int.from_bytes(os.urandom(7), "big") if self.seed is None else self.seed
        self.generator = torch.Generator().manual_seed(seed % 2**63)

    @property
    def greedy(self) -> bool:
        return self.temperature < 1e-5 or self.top_p < 1e-8

    @property
    def penalises(self) -> bool:
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0

    @property
    def limited(self) -> bool:
        return self.top_p < 1 or self.top_k > 0

    def draw(self) -> float:
        """The next number in [0, 1)."""
        return torch.rand((), dtype=torch.float64, generator=self.generator).item()


def penalised(logits: torch.Tensor, settings: Settings, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """One row's logits (vocabulary,) after the penalties: repetition over prompt and answer as in transformers, the other two over the answer as at OpenAI."""
    logits = logits.clone()
    if settings.repetition_penalty != 1:
        seen = torch.tensor(sorted({*prompt, *answer}), device=logits.device)
        scores = logits[seen]
        logits[seen] = torch.where(scores < 0, scores * settings.repetition_penalty, scores / settings.repetition_penalty)
    if answer and (settings.presence_penalty or settings.frequency_penalty):
        counts = Counter(answer)
        ids = torch.tensor(list(counts), device=logits.device)
        times = torch.tensor(list(counts.values()), device=logits.device, dtype=logits.dtype)
        logits[ids] -= settings.presence_penalty + settings.frequency_penalty * times
    return logits


def _pick(weights: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Index (rows,) of the column in which each row's draw falls; weights (rows, columns) need not sum to 1, a weight of 0 is never picked."""
    reached = weights.double().cumsum(-1)
    # below the total even after rounding, so that the column found is one whose weight raised the sum
    aim = torch.minimum(draws[:, None] * reached[:, -1:], torch.nextafter(reached[:, -1:], torch.zeros_like(reached[:, -1:])))
    return torch.searchsorted(reached, aim, right=True)[:, 0]


def _limited(scaled: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor, draws: torch.Tensor, width: int = WIDTH) -> torch.Tensor:
    """Token (rows,) drawn among the top-k, then among the smallest set of those that holds the mass top-p."""
    vocabulary = scaled.shape[-1]
    width = min(width, vocabulary)
    values, ids = scaled.topk(width)
    kept = torch.arange(width, device=scaled.device) < top_k[:, None]
    inside = torch.where(kept, values, -torch.inf)
    # what top-p is a share of: the mass of the top k where they are all in view, else that of the whole row
    whole = torch.where(top_k <= width, inside.logsumexp(-1), scaled.logsumexp(-1))
    shares = (inside - whole[:, None]).exp()
    before = shares.cumsum(-1) - shares
    tokens = ids.gather(1, _pick(shares * (before < top_p[:, None]), draws)[:, None])[:, 0]
    short = (top_k > width) & ((before + shares)[:, -1] < top_p)  # the nucleus is wider than what was sorted
    if width < vocabulary and short.any():
        tokens[short] = _limited(scaled[short], top_k[short], top_p[short], draws[short], vocabulary)
    return tokens


def choose(logits: torch.Tensor, rows: list[tuple[Settings, list[int], list[int]]]) -> list[int]:
    """The next token of each row: logits (rows, vocabulary), and for each row its settings, prompt ids and answer ids so far."""
    if any(settings.penalises for settings, _, _ in rows):
        logits = torch.stack([penalised(line, *row) if row[0].penalises else line for line, row in zip(logits, rows, strict=True)])
    if all(settings.greedy for settings, _, _ in rows):
        return logits.argmax(-1).tolist()
    tokens = [0] * len(rows)
    for wanted in ("greedy", "free", "limited"):
        group = [index for index, (settings, _, _) in enumerate(rows) if _kind(settings) == wanted]
        if not group:
            continue
        some = logits[group].float()
        if wanted == "greedy":
            found = some.argmax(-1)
        else:
            asked = [rows[index][0] for index in group]
            device = some.device
            scaled = some / torch.tensor([settings.temperature for settings in asked], device=device)[:, None]
            draws = torch.tensor([settings.draw() for settings in asked], device=device, dtype=torch.float64)
            if wanted == "free":
                found = _pick(scaled.softmax(-1), draws)
            else:
                top_k = torch.tensor([settings.top_k if settings.top_k > 0 else scaled.shape[-1] for settings in asked], device=device)
                found = _limited(scaled, top_k, torch.tensor([settings.top_p for settings in asked], device=device), draws)
        for index, token in zip(group, found.tolist(), strict=True):
            tokens[index] = token
    return tokens


def _kind(settings: Settings) -> str:
    if settings.greedy:
        return "greedy"
    return "limited" if settings.limited else "free"


def log_probabilities(logits: torch.Tensor, tokens: list[int], top: int) -> list[tuple[float, list[tuple[int, float]]]]:
    """For each row of logits (rows, vocabulary) and its token: the token's log-probability before penalties and temperature, and the `top` best (id, value)."""
    values = logits.float().log_softmax(-1)
    own = values.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
    if not top:
        return [(value, []) for value in own]
    best, ids = values.topk(min(top, values.shape[-1]))
    return [(value, list(zip(line, scores, strict=True))) for value, line, scores in zip(own, ids.tolist(), best.tolist(), strict=True)]
