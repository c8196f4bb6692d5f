"""Choose the training rows: so many of each source, kind and language, languages in a ratio. Seeded; a shortfall is reported, never filled.

Which rows of a group are taken goes by a hash of the seed and the row's origin, so a question and its translation are taken or left together
as far as the groups' counts allow, and one more source changes nothing of the choice among the others.
"""

import numpy as np

from data_prep import matching
from data_prep.corpus import CODES
from data_prep.recipe import Group, Mix


def draw(origins: np.ndarray, seed: int) -> np.ndarray:
    """A number (uint64) for each origin, evenly spread and the same in every run with this seed: the lowest are taken first."""
    value = origins ^ np.uint64(matching.key([f"seed {seed}"]))
    with np.errstate(over="ignore"):  # splitmix64's finaliser
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _fits(index: np.ndarray, group: Group, sources: list[str]) -> np.ndarray:
    fits = np.ones(len(index), bool)
    if group.source is not None:
        names = [group.source] if isinstance(group.source, str) else group.source
        fits &= np.isin(index["source"], [code for code, name in enumerate(sources) if name in names])
    for column in ("kind", "lang"):
        if (wanted := getattr(group, column)) is not None:
            fits &= index[column] == CODES[wanted]
    return fits


def _lowest(places: np.ndarray, size: np.ndarray, order: np.ndarray, rows: int) -> np.ndarray:
    """Those of `places` that come first in `order` and together give at most `rows` rows; `size` is what each gives."""
    ranked = places[np.argsort(order[places], kind="stable")]
    return ranked[np.cumsum(size[ranked]) <= rows]


def _copies(places: np.ndarray, size: np.ndarray, order: np.ndarray, group: Group, wanted: int) -> np.ndarray:
    """How often each row is written: those of `places` once, and where the group allows it and rows lack, again."""
    copies = np.zeros(len(size), np.uint8)
    for _ in range(group.upsample):
        chosen = _lowest(places, size, order, wanted - int((copies[places] * size[places]).sum()))
        copies[chosen] += 1
        if len(chosen) < len(places):
            break
    return copies


def mix(index: np.ndarray, candidates: np.ndarray, sources: list[str], plan: Mix, seed: int) -> tuple[np.ndarray, list[dict], dict | None]:
    """How often each row of `index` is written (uint8, 0 for what is not taken), the account of each group, and that of the ratio.

    `candidates`: the rows that may be taken, as a boolean mask. Counts are ShareGPT rows.
    """
    order, left = draw(index["origin"], seed), candidates.copy()
    copies, account, of_group = np.zeros(len(index), np.uint8), [], np.full(len(index), -1)
    size = index["rows"].astype(np.int64)
    for number, group in enumerate(plan.groups):
        places = np.flatnonzero(left & _fits(index, group, sources))
        left[places] = False
        of_group[places] = number
        wanted = group.rows if group.rows is not None else round(group.share * plan.total)
        copies += _copies(places, size, order, group, wanted)
        account.append({"group": group.model_dump(exclude_none=True, exclude={"rows", "upsample"}), "wanted": wanted, "had": int(size[places].sum())})
    ratio = _to_ratio(index, copies, size, order, plan) if plan.ratio else None
    for number, entry in enumerate(account):
        mine = copies[of_group == number].astype(np.int64)
        entry["built"] = int((mine * size[of_group == number]).sum())
        entry["repeated"] = int((np.maximum(mine - 1, 0) * size[of_group == number]).sum())
        entry["shortfall"] = max(entry["wanted"] - entry["built"], 0)
    return copies, account, ratio


def _to_ratio(index: np.ndarray, copies: np.ndarray, size: np.ndarray, order: np.ndarray, plan: Mix) -> dict:
    """Cut the language of which there is too much where the recipe says so; the account of the ratio."""

    def rows(lang: str) -> int:
        mine = index["lang"] == CODES[lang]
        return int((copies[mine] * size[mine]).sum())

    unit = min(rows(lang) / share for lang, share in plan.ratio.items())
    for lang, share in plan.ratio.items() if plan.when_short == "cut" else ():
        mine = np.flatnonzero((index["lang"] == CODES[lang]) & (copies > 0))
        kept = _lowest(mine, size * copies, order, round(unit * share))
        copies[np.setdiff1d(mine, kept)] = 0
    return {"wanted": dict(plan.ratio), "built": {lang: rows(lang) for lang in plan.ratio}}
