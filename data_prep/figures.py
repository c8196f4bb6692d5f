"""Pictures of a built data set, drawn from the numbers of its card: the same in two runs, as SVG and PNG.

Colours are those of Okabe and Ito, which people with any colour vision tell apart. matplotlib shapes Arabic labels itself since 3.11.
"""

import io
from collections import Counter

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from data_prep.built import Built
from data_prep.card_account import group
from data_prep.card_tables import LANGUAGES, MOST_EXCHANGES, chats
from data_prep.census import Census, histogram

FORMS = ("svg", "png")
COLOURS = {"en": "#0072B2", "ar": "#E69F00"}
PLAIN, PALE, INK, GREY = "#56788C", "#D5DDE2", "#222222", "#666666"
TITLES = {
    "rows_by_source": "Rows by source and language",
    "wanted_and_built": "Rows wanted and built",
    "tokens_per_row": "Tokens per row",
    "exchanges_per_chat": "Exchanges per chat",
    "rejects_by_reason": "Rejected rows by reason",
}
SECTIONS = {
    "rows_by_source": "Rows",
    "wanted_and_built": "Wanted and built",
    "tokens_per_row": "Tokens",
    "exchanges_per_chat": "Exchanges",
    "rejects_by_reason": "Rejected rows",
}
WIDTH, MOST_BARS, LONGEST = 8.0, 25, 38  # inches, bars in one picture, characters of a label
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, has Arabic
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.hashsalt": "bimedix",  # else ids are drawn at random
}
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # behind a number that stands on the grid
THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


def draw(built: Built, census: Census) -> dict[str, Figure]:
    """Name -> picture, for those of TITLES whose numbers are there."""
    with matplotlib.rc_context(matplotlib.rcParamsDefault | STYLE):
        made = {
            "rows_by_source": _rows_by_source(census) if census.rows else None,
            "wanted_and_built": _wanted_and_built(built.manifest["mix"]) if built.manifest["mix"] else None,
            "tokens_per_row": _tokens_per_row(census) if census.rows else None,
            "exchanges_per_chat": _exchanges_per_chat(census) if chats(census) else None,
            "rejects_by_reason": _rejects(built.manifest["rejected"]) if built.manifest["rejected"] else None,
        }
    return {name: figure for name, figure in made.items() if figure is not None}


def render(figure: Figure, form: str) -> bytes:
    """The picture's bytes, without the date and the version of the tool."""
    out = io.BytesIO()
    with matplotlib.rc_context(matplotlib.rcParamsDefault | STYLE):
        figure.savefig(out, format=form, dpi=150, metadata={"Date": None, "Creator": None} if form == "svg" else {"Software": None})
    return out.getvalue()


def _begin(title: str, below: str, height: float, axes: int = 1) -> tuple[Figure, list[Axes]]:
    """A picture with a title, a line below it that says what is seen, and room for the axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(rect=(0.005, 0.005, 0.985, 0.99 - 0.62 / height))
    figure.text(0.015, 1 - 0.12 / height, TITLES[title], weight="bold", size=12, va="top")
    figure.text(0.015, 1 - 0.37 / height, below, color=GREY, va="top")
    return figure, list(np.atleast_1d(figure.subplots(axes, 1, sharex=True)))


def _bars(axes: Axes, names: list[str], unit: str) -> np.ndarray:
    """Set up horizontal bars from the top; returns their places."""
    places = np.arange(len(names))
    # what tells long names apart is often their end
    axes.set_yticks(places, [name if len(name) <= LONGEST else f"{name[: LONGEST - 15]}…{name[-14:]}" for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(THOUSANDS)
    return places


def _label(axes: Axes, places: np.ndarray, ends: np.ndarray, texts: list[str]) -> None:
    """Write a text after each bar, and leave room for it."""
    for place, end, text in zip(places, ends, texts, strict=True):
        axes.annotate(text, (end, place), xytext=(4, 0), textcoords="offset points", va="center", size=9, bbox=WHITE, zorder=0.9)
    axes.set_xlim(0, max(1, max(ends)) * (1.04 + 0.016 * max(map(len, texts))))


def _panel(axes: Axes, title: str, unit: str) -> None:
    """Set up upright bars, one panel a language."""
    axes.set_title(title, loc="left", size=10)
    axes.set_ylabel(unit)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.grid(axis="x", visible=False)


def _legend(figure: Figure, axes: Axes) -> None:
    """Beside the title, where no bar can lie under it."""
    handles, names = axes.get_legend_handles_labels()
    place = (0.995, 1 - 0.02 / figure.get_figheight())
    figure.legend(handles, names, loc="upper right", bbox_to_anchor=place, frameon=False, ncols=len(names), handlelength=1.2)


def _height(bars: int) -> float:
    return 1.35 + 0.3 * bars


def _first(counts: Counter) -> list[tuple[str, list[str]]]:
    """Bars, the largest first: label and keys. What is beyond the most that fit stands together in the last one."""
    names = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    if len(names) <= MOST_BARS:
        return [(name, [name]) for name in names]
    kept, others = names[: MOST_BARS - 1], names[MOST_BARS - 1 :]
    return [*((name, [name]) for name in kept), (f"{len(others)} others", others)]


def _rows_by_source(census: Census) -> Figure:
    counts: dict[str, Counter] = {lang: Counter() for lang in census.langs}
    for (_, source, lang, _), rows in census.rows.items():
        counts[lang][source] += rows
    bars = _first(sum(counts.values(), Counter()))
    figure, (axes,) = _begin("rows_by_source", f"{census.total:,} training and validation rows", _height(len(bars)))
    places, left = _bars(axes, [label for label, _ in bars], "rows"), np.zeros(len(bars))
    for lang in census.langs:
        width = np.array([sum(counts[lang][name] for name in names) for _, names in bars])
        axes.barh(places, width, left=left, height=0.68, color=COLOURS[lang], label=LANGUAGES[lang])
        left = left + width
    _label(axes, places, left, [f"{end:,.0f}" for end in left])
    _legend(figure, axes)
    return figure


def _wanted_and_built(mix: list[dict]) -> Figure:
    order = sorted(mix, key=lambda entry: (-entry["wanted"], group(entry["group"])))
    shown = order[:MOST_BARS]
    wanted, got = (np.array([entry[key] for entry in shown]) for key in ("wanted", "built"))
    of = {key: sum(entry[key] for entry in mix) for key in ("wanted", "built")}
    more = f"; the {MOST_BARS} largest of {len(mix)} groups" if len(mix) > MOST_BARS else ""
    figure, (axes,) = _begin("wanted_and_built", f"{of['built']:,} built of {of['wanted']:,} wanted{more}", _height(len(shown)))
    places = _bars(axes, [group(entry["group"]) for entry in shown], "rows")
    axes.barh(places, wanted, height=0.72, color=PALE, label="wanted")
    axes.barh(places, got, height=0.36, color=COLOURS["en"], label="built")
    _label(axes, places, np.maximum(wanted, got), [f"{b:,} of {w:,}" for b, w in zip(got, wanted, strict=True)])
    _legend(figure, axes)
    return figure


def _tokens_per_row(census: Census) -> Figure:
    edges = 2 ** (np.arange(0, 48) / 2)
    per = {lang: histogram(census.lengths(lang), edges) for lang in census.langs}
    used = np.flatnonzero(sum(per.values()))
    span = slice(max(0, used[0] - 1), used[-1] + 2)
    how = "every row counted" if census.whole else f"estimated from {sum(len(of.counted) for of in census.tokens.values()):,} of {census.total:,} rows"
    below = f"under Mixtral's tokenizer, worded by the chat template; {how}"
    figure, panels = _begin("tokens_per_row", below, 1.6 + 1.7 * len(per), len(per))
    doublings = [2**power for power in range(25) if edges[span][0] <= 2**power <= edges[span.stop]]
    for axes, (lang, rows) in zip(panels, per.items(), strict=True):
        axes.bar(edges[span], rows[span], width=np.diff(edges)[span], align="edge", color=COLOURS[lang], edgecolor="white", linewidth=0.6)
        axes.set_xscale("log", base=2)
        _panel(axes, LANGUAGES[lang], "rows")
        axes.set_xticks(doublings, [f"{tokens:,}" for tokens in doublings])
        axes.xaxis.set_minor_locator(NullLocator())
    panels[-1].set_xlabel("tokens of the row, doubling from mark to mark")
    return figure


def _exchanges_per_chat(census: Census) -> Figure:
    found = chats(census)
    numbers = np.arange(1, max(5, *map(max, found.values())) + 1)
    total = sum(counts.total() for counts in found.values())
    below = f"{total:,} chats; an exchange is a question and its answer"
    figure, panels = _begin("exchanges_per_chat", below, 1.6 + 1.5 * len(found), len(found))
    for axes, (lang, counts) in zip(panels, found.items(), strict=True):
        bars = axes.bar(numbers, [counts[n] for n in numbers], 0.7, color=COLOURS[lang])
        axes.bar_label(bars, [f"{counts[n]:,}" if counts[n] else "" for n in numbers], size=8.5, padding=2)
        axes.margins(y=0.16)
        _panel(axes, LANGUAGES[lang], "chats")
        axes.set_xticks(numbers, [str(n) if n <= MOST_EXCHANGES else f"over {MOST_EXCHANGES}" for n in numbers])
    panels[-1].set_xlabel("exchanges")
    return figure


def _rejects(rejected: dict[str, int]) -> Figure:
    counts = Counter(rejected)
    bars = _first(counts)
    figure, (axes,) = _begin(
        "rejects_by_reason", f"{counts.total():,} rows were read and not used; each is kept with its file, row and reason", _height(len(bars))
    )
    places = _bars(axes, [label for label, _ in bars], "rows")
    width = np.array([sum(counts[name] for name in names) for _, names in bars])
    axes.barh(places, width, height=0.68, color=PLAIN)
    _label(axes, places, width, [f"{end:,}" for end in width])
    return figure
