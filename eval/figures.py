"""The report's pictures, as SVG and PNG: bars with intervals, English against Arabic, calibration. Drawn from estimates, without knowing their files.

Colours are those of Okabe and Ito, which people with any colour vision tell apart. matplotlib shapes and orders Arabic itself since 3.11.
"""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_prep.figures import FORMS, GREY, INK, render
from data_prep.figures import STYLE as HOUSE
from eval.stats import Calibration, Estimate, mean

COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#555555"]
ENGLISH = {"en": "English", "ar": "Arabic"}
ARABIC = {"en": "الإنجليزية", "ar": "العربية"}
SETS = {
    "clinical_knowledge": ("CKG", "المعرفة السريرية"),
    "college_biology": ("CBio", "علم الأحياء"),
    "college_medicine": ("CMed", "الطب الجامعي"),
    "medical_genetics": ("MedGen", "الوراثة الطبية"),
    "professional_medicine": ("ProMed", "مزاولة الطب"),
    "anatomy": ("Ana", "التشريح"),
    "medmcqa": ("MedMCQA", "MedMCQA"),
    "medqa": ("MedQA", "MedQA"),
    "pubmedqa": ("PubMedQA", "PubMedQA"),
    "average": ("AVG", "المتوسط"),
}
STYLE = HOUSE | {"font.size": 9}
__all__ = ["FORMS", "draw", "render", "with_average"]
Scores = dict[str, dict[str, Estimate]]  # system -> set -> accuracy


def with_average(scores: Scores) -> Scores:
    """The nine sets and their plain mean; without the mean where a set is missing."""
    return {label: row | ({"average": mean(list(row.values()))} if len(row) == len(SETS) - 1 else {}) for label, row in scores.items()}


def draw(by_lang: dict[str, Scores], printed: dict[str, dict[str, dict[str, float]]], calibrations: dict[tuple[str, str], Calibration]) -> dict[str, Figure]:
    """Name -> picture, for those that the figures suffice for. `printed`: language -> system -> set -> value of the paper."""
    labels = list(dict.fromkeys(label for scores in by_lang.values() for label in scores))
    kept, more = labels[: len(COLOURS)], len(labels) - len(COLOURS)
    colours = dict(zip(kept, COLOURS, strict=False))
    below = f"the first {len(kept)} of {len(labels)} systems" if more > 0 else ""
    by_lang = {lang: with_average({label: row for label, row in scores.items() if label in colours}) for lang, scores in by_lang.items()}
    by_lang = {lang: scores for lang, scores in by_lang.items() if scores}
    calibrations = {key: found for key, found in calibrations.items() if key[0] in colours}
    with matplotlib.rc_context(matplotlib.rcParamsDefault | STYLE):
        made = {"accuracies": _bars(by_lang, printed, colours, below)} if by_lang else {}
        both = [label for label in kept if all(label in by_lang.get(lang, {}) for lang in ENGLISH)]
        if any(set(by_lang["en"][label]) & set(by_lang["ar"][label]) for label in both):
            made["languages"] = _slopes(by_lang, both, colours, below)
        if calibrations:
            made["calibration"] = _calibration(calibrations, colours, below)
    return made


def _begin(title: str, says: str, width: float, height: float, panels: tuple[int, int], bottom: float = 0.42) -> tuple[Figure, np.ndarray]:
    """A picture with a title, a line of what is seen, and panels below; sizes in inches. Margins are set by hand: a layout engine takes seconds."""
    figure = Figure(figsize=(width, height))
    figure.text(0.12 / width, 1 - 0.1 / height, title, weight="bold", size=12, va="top")
    figure.text(0.12 / width, 1 - 0.36 / height, says, color=GREY, va="top")
    axes = figure.subplots(*panels, squeeze=False)
    figure.subplots_adjust(left=0.62 / width, right=1 - 0.15 / width, bottom=bottom / height, top=1 - 1.2 / height, hspace=0.45, wspace=0.5)
    return figure, axes


def _legend(figure: Figure, handles: list, names: list[str]) -> None:
    """Below the lines of the title, where nothing can lie under it."""
    width, height = figure.get_size_inches()
    columns = max(1, min(len(names), int(width * 11 / max(map(len, names), default=1))))
    place = (0.06 / width, 1 - 0.5 / height)
    figure.legend(handles, names, loc="upper left", bbox_to_anchor=place, frameon=False, ncols=columns, handlelength=1.2, columnspacing=1.4)


def _languages(axes: Axes, lang: str) -> None:
    """The language of a panel, in both."""
    axes.set_title(ENGLISH[lang], loc="left", size=10, weight="bold")
    axes.set_title(ARABIC[lang], loc="right", size=10, weight="bold")


def _percent(axes: Axes, label: str = "accuracy, %") -> None:
    axes.set_ylim(0, 100)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel(label)


def _bars(by_lang: dict[str, Scores], printed: dict, colours: dict[str, str], below: str) -> Figure:
    says = "accuracy with its 95% interval" + ("; diamonds: printed in the paper" if any(any(rows.values()) for rows in printed.values()) else "")
    figure, axes = _begin("Accuracy by question set", "; ".join(filter(None, [says, below])), 11, 1.6 + 2.3 * len(by_lang), (len(by_lang), 1))
    handles = {}
    for panel, (lang, scores) in zip(axes[:, 0], by_lang.items(), strict=True):
        sets = [name for name in SETS if any(name in row for row in scores.values())]
        places, width = np.arange(len(sets)), 0.82 / len(scores)
        for number, (label, row) in enumerate(scores.items()):
            there = [place for place, name in enumerate(sets) if name in row]
            cells = [row[sets[place]] for place in there]
            x = places[there] + (number - (len(scores) - 1) / 2) * width
            values = np.array([cell.value for cell in cells])
            spread = np.array([[cell.value - cell.low for cell in cells], [cell.high - cell.value for cell in cells]])
            handles[label] = panel.bar(x, values, width * 0.9, color=colours[label])
            panel.errorbar(x, values, spread.clip(0), fmt="none", ecolor=INK, elinewidth=0.9, capsize=min(3, 14 * width))
            paper = printed.get(lang, {}).get(label, {})
            marked = [(place, paper[sets[spot]]) for place, spot in zip(x, there, strict=True) if sets[spot] in paper]
            if marked:
                panel.plot(*zip(*marked, strict=True), "D", color="white", markeredgecolor=INK, markersize=5)
        _percent(panel)
        panel.set_xlim(-0.55, len(sets) - 0.45)
        panel.grid(axis="x", visible=False)
        panel.tick_params(axis="x", length=0)
        panel.set_xticks(places, [""] * len(sets))
        for place, name in zip(places, sets, strict=True):  # as annotations on one baseline: tick labels hang from their tops, and Arabic ones differ in height
            panel.annotate(SETS[name][lang == "ar"], (place, 0), (0, -14), textcoords="offset points", ha="center", va="baseline", annotation_clip=False)
        _languages(panel, lang)
    _legend(figure, list(handles.values()), list(handles))
    return figure


def _spread(values: list[float], least: float) -> list[float]:
    """Heights from 0 to 100 for labels near these values, in their order and at least so far apart: those that meet stand around their middle."""
    groups: list[list[int]] = []

    def ends(group: list[int]) -> tuple[float, float]:
        half = (len(group) - 1) / 2 * least
        middle = min(max(sum(values[place] for place in group) / len(group), half), 100 - half)
        return middle - half, middle + half

    for place in sorted(range(len(values)), key=values.__getitem__):
        groups.append([place])
        while len(groups) > 1 and ends(groups[-2])[1] + least > ends(groups[-1])[0]:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [height for _, height in sorted((place, ends(group)[0] + rank * least) for group in groups for rank, place in enumerate(group))]


def _slopes(by_lang: dict[str, Scores], labels: list[str], colours: dict[str, str], below: str) -> Figure:
    columns = min(4, len(labels))
    lines = -(-len(labels) // columns)
    thick = "thick: plain mean of the nine sets" if any("average" in by_lang["en"][label] for label in labels) else ""
    says = "; ".join(filter(None, ["accuracy in % on the same sets", thick, below]))
    figure, axes = _begin("English against Arabic", says, max(5.6, 3.1 * columns), 1.5 + 3.9 * lines, (lines, columns))
    figure.subplots_adjust(top=1 - 0.95 / figure.get_figheight(), hspace=0.25, wspace=0.75, right=1 - 0.95 / figure.get_figwidth())
    for panel, label in zip(axes.flat, labels, strict=False):
        english, arabic = (by_lang[lang][label] for lang in ENGLISH)
        sets = [name for name in SETS if name in english and name in arabic]
        heights = _spread([arabic[name].value for name in sets], 4.4)
        for name, height in zip(sets, heights, strict=True):
            bold = name == "average"
            ends = [english[name].value, arabic[name].value]
            panel.plot(
                [0, 1],
                ends,
                color=colours[label] if bold else "#B5BEC4",
                linewidth=3 if bold else 1.4,
                marker="o",
                markersize=5 if bold else 3.5,
                zorder=3 if bold else 2,
            )
            words = f"{SETS[name][0]} {ends[1] - ends[0]:+.0f}".replace("-", "\N{MINUS SIGN}")
            line = {"arrowstyle": "-", "color": "#CCCCCC", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 0.5)}
            weight = "bold" if bold else "normal"
            panel.annotate(words, (1, ends[1]), (1.1, height), va="center", size=8, weight=weight, annotation_clip=False, arrowprops=line)
        _percent(panel, "")
        panel.set_xlim(-0.12, 1.06)
        panel.set_xticks([0, 1], ["English", ARABIC["ar"]])
        panel.set_title(label if len(label) <= 34 else f"{label[:20]}…{label[-13:]}", loc="left", size=9.5, weight="bold")
        panel.grid(axis="x", visible=False)
    for panel in axes.flat[len(labels) :]:
        panel.set_visible(False)
    return figure


def _calibration(calibrations: dict[tuple[str, str], Calibration], colours: dict[str, str], below: str) -> Figure:
    langs = [lang for lang in ENGLISH if any(one == lang for _, one in calibrations)]
    says = "; ".join(filter(None, ["ten bins of confidence in the chosen letter, with 95% intervals; on the line: as sure as right", below]))
    figure, axes = _begin("Calibration", says, 1.4 + 4.1 * len(langs), 5.4, (1, len(langs)))
    figure.subplots_adjust(wspace=0.2)
    handles = {}
    for panel, lang in zip(axes[0], langs, strict=True):
        panel.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        for (label, one), found in calibrations.items():
            if one == lang:
                values = np.array([cell.value for cell in found.accuracy])
                spread = np.array([[cell.value - cell.low for cell in found.accuracy], [cell.high - cell.value for cell in found.accuracy]]).clip(0)
                sizes = [12 + 90 * cell.n / sum(cell.n for cell in found.accuracy) for cell in found.accuracy]
                panel.errorbar(found.confidence, values, spread, color=colours[label], elinewidth=0.8, linewidth=1.3)
                handles[label] = panel.scatter(found.confidence, values, sizes, color=colours[label], zorder=3)
        _percent(panel)
        panel.set_xlim(0, 100)
        panel.set_xlabel("confidence, %")
        _languages(panel, lang)
    _legend(figure, list(handles.values()), list(handles))
    return figure
