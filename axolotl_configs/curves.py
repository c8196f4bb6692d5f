"""Draw a training run from its own log: loss, learning rate, tokens a second, and which experts serve Arabic and which English.

    python -m axolotl_configs.curves build/models/tiny

Reads BUILD/models/NAME/run/log.jsonl, which RouterPlugin writes. Writes figures/ (SVG and PNG) and training.md beside it.
"""

import argparse
import json
import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from axolotl_configs.config import LOG, SCRIPTS
from data_prep.figures import FORMS, STYLE, render
from data_prep.files import BadInput, written_aside

BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#666666"  # Okabe and Ito: told apart with any colour vision
LAST = 0.25  # of the run: the share of lines that the router figure counts
TITLES = {
    "loss": "Training loss, in nats a labelled token",
    "learning_rate": "Learning rate",
    "tokens": "Real tokens a second, padding not counted",
    "router": "Experts by language",
}


def rows_of(folder: Path) -> list[dict]:
    """The lines of a run's log that tell of training steps; BadInput when there are none."""
    path = folder / "run" / LOG
    if not path.is_file():
        raise BadInput(f"{path} is missing: `make train` writes it")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row.get("router")]
    if not rows:
        raise BadInput(f"{path} tells of no training step yet")
    return rows


def choices(rows: list[dict]) -> dict[str, np.ndarray]:
    """{script: layers x experts}: how often each expert was chosen for tokens of a script in these lines."""
    return {script: sum(np.array(row["router"][script]) for row in rows) for script in SCRIPTS}


def speeds(rows: list[dict]) -> list[tuple[int, float]]:
    """(step, real tokens a second since the line before); not for the first line of a run or of its going on, which warms up."""
    pairs = zip(rows, rows[1:], strict=False)
    return [(now["step"], now["tokens/real"] / (now["seconds"] - then["seconds"])) for then, now in pairs if now["seconds"] > then["seconds"]]


def balance(counts: np.ndarray) -> np.ndarray:
    """For each layer, the busiest expert's load over the mean: 1 is even, the number of experts is all in one."""
    return counts.max(axis=1) / np.maximum(counts.mean(axis=1), 1e-9)


def _line(title: str, steps: list[int], values: list[float], format_: str | None = None) -> Figure:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, values, color=BLUE, linewidth=1.6, marker="o" if len(steps) < 15 else None, markersize=4)
    axes.set_title(title, loc="left", weight="bold", size=11)
    axes.set_xlabel("step")
    axes.set_ylim(0, max(values) * 1.08 if max(values) > 0 else 1)
    if format_:
        axes.yaxis.set_major_formatter(format_)
    return figure


def _router(rows: list[dict]) -> Figure:
    last = rows[-max(1, round(LAST * len(rows))) :]
    counted = choices(last)
    layers, experts = counted["arabic"].shape
    shares = {script: counted[script] / np.maximum(counted[script].sum(axis=1, keepdims=True), 1) for script in ("latin", "arabic")}
    figure = Figure(figsize=(9, 1.9 + 0.34 * max(4, layers)), layout="constrained")
    figure.suptitle(
        f"{TITLES['router']}: share of the choices in each layer, steps {last[0]['step']} to {last[-1]['step']}", x=0.01, ha="left", weight="bold", size=11
    )
    left, middle, right = figure.subplots(1, 3, sharey=True)
    most = max(0.001, *(share.max() for share in shares.values()))
    for axes, script, title in ((left, "latin", "English (Latin letters)"), (middle, "arabic", "Arabic  العربية")):
        image = axes.imshow(shares[script], cmap="Blues", vmin=0, vmax=most, aspect="auto")
        axes.set_title(title, size=10)
    figure.colorbar(image, ax=[left, middle], format=lambda value, _: f"{value:.0%}", shrink=0.9, pad=0.01)
    lean = shares["arabic"] - shares["latin"]
    widest = max(0.001, np.abs(lean).max())
    image = right.imshow(lean, cmap="PuOr_r", vmin=-widest, vmax=widest, aspect="auto")
    right.set_title("Arabic less English", size=10)
    figure.colorbar(image, ax=right, format=lambda value, _: f"{value:+.0%}", shrink=0.9, pad=0.02)
    for axes in (left, middle, right):
        axes.set_xticks(range(experts), range(1, experts + 1))
        axes.set_yticks(range(layers), range(1, layers + 1))
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.set_xlabel("expert")
    left.set_ylabel("layer")
    return figure


def draw(rows: list[dict]) -> dict[str, Figure]:
    """Name -> picture."""
    steps = [row["step"] for row in rows]
    with matplotlib.rc_context(matplotlib.rcParamsDefault | STYLE):
        made = {
            "loss": _line(TITLES["loss"], steps, [row["loss"] for row in rows]),
            "learning_rate": _line(TITLES["learning_rate"], steps, [row["learning_rate"] for row in rows]),
            "router": _router(rows),
        }
        if told := speeds(rows):
            made["tokens"] = _line(TITLES["tokens"], *map(list, zip(*told, strict=True)), lambda value, _: f"{value:,.0f}")
    return made


def page(name: str, rows: list[dict], drawn: dict[str, Figure]) -> str:
    """training.md: the run in a table, and the pictures."""
    last = choices(rows[-max(1, round(LAST * len(rows))) :])
    both = sum(last.values())
    told = [speed for _, speed in speeds(rows)]
    table = {
        "steps": f"{rows[-1]['step']:,}",
        "loss, first and last logged": f"{rows[0]['loss']:.3f}, {rows[-1]['loss']:.3f}",
        "real tokens a second, median": f"{np.median(told):,.0f}" if told else "too short to tell",
        "busiest expert over the mean, by layer": ", ".join(f"{value:.2f}" for value in balance(both)),
        "the same for Arabic letters": ", ".join(f"{value:.2f}" for value in balance(last["arabic"])),
        "the same for Latin letters": ", ".join(f"{value:.2f}" for value in balance(last["latin"])),
    }
    lines = [f"# Training of {name}", "", "**For research, not for clinical use.** Drawn from the run's own log.", "", "| figure | value |", "| --- | --- |"]
    lines += [f"| {what} | {value} |" for what, value in table.items()]
    lines += [
        "",
        "An even load is 1.00; with all tokens in one expert it is the number of experts. The router's loss of the paper (0.02) pulls it towards 1.",
        "",
    ]
    lines += [f"![{TITLES[figure]}](figures/{figure}.svg)\n" for figure in TITLES if figure in drawn]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="BUILD/models/NAME")
    args = parser.parse_args()
    try:
        rows = rows_of(args.folder)
        drawn = draw(rows)
        with written_aside(args.folder / "figures") as aside:
            for name, figure in drawn.items():
                for form in FORMS:
                    (aside / f"{name}.{form}").write_bytes(render(figure, form))
        (args.folder / "training.md").write_text(page(args.folder.name, rows, drawn), encoding="utf-8")
    except (BadInput, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{args.folder / 'training.md'}: {rows[-1]['step']:,} steps, {len(drawn)} figures")


if __name__ == "__main__":
    main()
