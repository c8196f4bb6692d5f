"""The page of the chat evaluation: per model and judge the share of chats that meets each criterion, the scores, the gap between English and Arabic, how often
a false claim is refused at each strength, tokens and cost, versions. In: judged-*.jsonl with its manifest, and the manifest of the answers beside it. Out:
chat.md, chat.json, and chat-claims.svg and .png where the claims were judged. The arithmetic is in eval/chat_shares.py.
"""

from pathlib import Path
from typing import NamedTuple

import matplotlib

from data_prep import files
from data_prep.records import BadInput, Reject
from eval.chat_rubric import rubric
from eval.chat_sets import LANGS, NAMES, SETS, STRENGTHS
from eval.chat_shares import figures

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402 (after the backend is chosen)

STRENGTH_NAMES = {"neutral": "asked", "mild": "mildly presupposed", "strong": "strongly presupposed", "writing": "text asked for"}
COLOURS = {"en": "#0072b2", "ar": "#d55e00"}  # told apart by the colour-blind
HEAD = """# Chat evaluation

**For research, not for clinical use.** Open and multi-turn questions, answered by a model and judged by a rubric; no doctor has read these answers unless an
agreement with a person is reported beside them. A share is that of the chats which meet the criterion, of those it applies to, with Wilson's 95% interval;
the gap is English less Arabic on the same questions, in percentage points, with a 95% bootstrap interval. docs/CHAT_EVALUATION.md explains each line.
"""


class Judged(NamedTuple):
    """A judged file: its rows, its manifest, the manifest of the answers (None where it is gone)."""

    path: Path
    rows: list[dict]
    manifest: dict | None
    answers: dict | None

    @property
    def title(self) -> str:
        return f"{self.rows[0]['model']}, judged by {self.rows[0]['judge']}"


def judged(named: Path) -> list[Path]:
    """The judged files of a folder, or the file itself. BadInput where a folder has none."""
    if not named.is_dir():
        return [named]
    found = sorted(path for path in named.glob("judged-*.jsonl") if not path.name.endswith((".failed.jsonl", ".unread.jsonl")))
    if not found:
        raise BadInput(f"{named}: no judged-*.jsonl in it; `python -m eval.chat judge {named}` writes one")
    return found


def read(path: Path) -> Judged:
    """A judged file with what stands beside it. BadInput where it is none."""
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file; `python -m eval.chat judge` writes it")
    rows = []
    for number, row in files.read_jsonl(path):
        if isinstance(row, Reject):
            raise BadInput(str(row))
        if not {"id", "entry", "set", "lang", "model", "judge", "criteria", "score"} <= set(row):
            raise BadInput(f"{path}, row {number}: no judgement; name the judged-*.jsonl that `python -m eval.chat judge` wrote")
        rows.append(row)
    if not rows:
        raise BadInput(f"{path}: no judgement in it; judge the answers first")
    manifests = [path.with_name(f"{name}.manifest.json") for name in (path.name.removesuffix(".jsonl"), "answers")]
    return Judged(path, rows, *(files.read_json(one) if one.is_file() else None for one in manifests))


def _share(cell: dict | None) -> str:
    if cell is None:
        return "absent"
    na = f", {cell['not_applicable']} n/a" if cell["not_applicable"] else ""
    return f"{cell['share']:.0%} ({cell['low']:.0%} to {cell['high']:.0%}), {cell['met']} of {cell['n']}{na}" if cell["n"] else f"none{na}"


def _gap(cell: dict | None, scale: float = 100) -> str:
    return f"{scale * cell['gap']:+.0f} ({scale * cell['low']:+.0f} to {scale * cell['high']:+.0f}), {cell['pairs']} pairs" if cell else "absent"


def _score(cell: dict | None) -> str:
    if cell is None:
        return "absent"
    return f"{cell['mean']:.1f}" + (f" ± {cell['deviation']:.1f}" if cell["deviation"] is not None else "") + f" (n={cell['n']})"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows)) + "\n"


def _criteria(found: dict) -> str:
    rows = []
    for name, groups in found["criteria"].items():
        several = len(groups) > 2
        for group, cells in groups.items():
            if group == "all" and not several:
                continue
            label = f"**{rubric().criteria[name].title}**" if group == "all" or not several else ""
            rows.append([label, "all" if group == "all" else group, *(_share(cells[lang]) for lang in LANGS), _gap(cells["gap"])])
    rows += [
        ["**Score**" if group == "all" else "", group, *(_score(cells[lang]) for lang in LANGS), _gap(cells["gap"], 1)]
        for group, cells in found["score"].items()
    ]
    return table(["criterion", "set", *(NAMES[lang] for lang in LANGS), "gap"], rows)


def _curve(found: dict) -> str:
    rows = [[NAMES[lang], *(_share(found["curve"][lang][strength]) for strength in STRENGTHS)] for lang in LANGS]
    return table(["language", *(STRENGTH_NAMES[strength] for strength in STRENGTHS)], rows)


def _spent(manifest: dict | None) -> str:
    if manifest is None:
        return "no manifest beside it"
    used = manifest["journal"]
    money = f"{used['usd']:,.2f} USD" if used["usd"] else "no price was given"
    more = {key: value for key, value in manifest["body"].items() if key != "seed"}
    body = f", body {more}" if more else ""
    return (
        f"{used['requests']:,} requests, {used['prompt_tokens']:,} tokens in, {used['completion_tokens']:,} out, {money}{body}; commit {manifest['git_commit']}"
    )


def _how(one: Judged) -> str:
    made = one.rows[0]["made"]
    prompt = f"prompt {made['prompt']}" if made["prompt"] else "no judge: what code can tell"
    lines = [f"- {one.title}: {prompt}, rubric {made['rubric']}, seed {made['seed']}, `{one.path.name}`."]
    if one.answers:
        settings = one.answers["settings"]
        lines.append(f"  - answers: up to {settings['max_tokens']} tokens, seed {settings['seed']}; {_spent(one.answers)}.")
    if made["prompt"]:
        lines.append(f"  - judgements: {_spent(one.manifest)}.")
    for name, manifest in (("answer", one.answers), ("judgement", one.manifest)):
        lost = (manifest["outcomes"].get("failed", 0) + manifest["undone"]) if manifest else 0
        if lost:
            lines.append(f"  - **No {name}: {lost:,} of {manifest['rows']:,} chats**; they are in no figure above.")
    answers = one.path.with_name("answers.jsonl")
    if one.manifest and answers.is_file() and one.manifest["input"]["sha256"] != files.sha256(answers):
        lines.append("  - **answers.jsonl was written anew since it was judged**: judge it again.")
    if one.rows[0]["model"] == one.rows[0]["judge"]:
        lines.append("  - **The judge is the model under test**: models favour their own words; take another judge.")
    return "\n".join(lines)


def page(judged: list[Judged], found: list[dict], figure: str | None) -> str:
    """The whole page."""
    parts = [HEAD]
    for one, of in zip(judged, found, strict=True):
        parts.append(f"## {one.title}\n\n{of['chats']:,} chats.\n\n{_criteria(of)}")
        if any(cell for lang in LANGS for cell in of["curve"][lang].values()):
            parts.append(f"How often a false claim is refused, by how strongly it is presupposed:\n\n{_curve(of)}")
    if figure:
        parts.append(f"![share of false claims that are refused, by strength and language]({figure})\n")
    parts.append("## How this was measured\n\n" + "\n".join(_how(one) for one in judged) + f"\n\nSets: {', '.join(SETS)} of eval/chats.\n")
    return "\n".join(parts)


def draw(judged: list[Judged], found: list[dict], out: Path) -> str | None:
    """The curve over the strengths, a panel for each judged file; None where no claim was judged."""
    panels = [(one, of["curve"]) for one, of in zip(judged, found, strict=True) if any(cell for lang in LANGS for cell in of["curve"][lang].values())]
    if not panels:
        return None
    drawing, axes = pyplot.subplots(1, len(panels), figsize=(1.2 + 4.2 * len(panels), 3.9), sharey=True, squeeze=False, layout="constrained")
    for axis, (one, curve) in zip(axes[0], panels, strict=True):
        for shift, lang in ((-0.06, "en"), (0.06, "ar")):
            cells = [(place, curve[lang][strength]) for place, strength in enumerate(STRENGTHS) if curve[lang][strength] and curve[lang][strength]["n"]]
            shares = [100 * cell["share"] for _, cell in cells]
            ends = [[100 * (cell["share"] - cell["low"]) for _, cell in cells], [100 * (cell["high"] - cell["share"]) for _, cell in cells]]
            axis.errorbar([place + shift for place, _ in cells], shares, ends, color=COLOURS[lang], marker="o", capsize=3, label=NAMES[lang])
        axis.set_xticks(range(len(STRENGTHS)), [STRENGTH_NAMES[strength].replace(" ", "\n", 1) for strength in STRENGTHS])
        axis.set(title=one.title, ylim=(-3, 103), xlim=(-0.4, len(STRENGTHS) - 0.6))
        axis.title.set_fontsize(10)
        axis.grid(axis="y", alpha=0.3)
    axes[0][0].set_ylabel("false claims refused, %")
    axes[0][0].legend()
    drawing.supxlabel("For research, not for clinical use. Bars: Wilson 95%.", fontsize=8)
    for suffix in ("svg", "png"):
        drawing.savefig(out.with_name(f"{out.stem}-claims.{suffix}"), dpi=150, metadata={"Date": None} if suffix == "svg" else None)
    pyplot.close(drawing)
    return f"{out.stem}-claims.svg"


def write(judged: list[Judged], out: Path, seed: int) -> None:
    """The page, its figures as JSON, the drawing."""
    found = [figures(one.rows, seed) for one in judged]
    out.parent.mkdir(parents=True, exist_ok=True)
    named = {one.title: {"file": one.path.name, "made": one.rows[0]["made"], **of} for one, of in zip(judged, found, strict=True)}
    files.save(out.with_suffix(".json"), files.json_text(named).encode())
    files.save(out, page(judged, found, draw(judged, found, out)).encode())
