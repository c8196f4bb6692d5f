"""The tables of accuracies, in the shape of the paper's: a row a system, a column a question set, the plain mean last, printed values beneath."""

from eval import models, published, report_pairs
from eval.report_page import Block, Heading, Table, Text
from eval.report_pairs import COLUMNS, LANGUAGES, estimate
from eval.report_read import SCORINGS, System, task_parts
from eval.stats import Estimate, mean
from eval.tasks.bimedix.write import BENCHMARKS

TITLES = {"bi": "Bilingual (mean of English and Arabic)", "en": "English", "ar": "Arabic"}
SEEN = "Questions that the model was trained on"
MISSING = "not scored"


def shown(cell: Estimate | None, with_n: bool = False) -> str:
    """A cell in words: value, standard error, 95% interval."""
    if cell is None:
        return MISSING
    error = "" if cell.error != cell.error else f" ± {cell.error:.1f}"
    return f"{cell.value:.1f}{error}{f' (n={cell.n:,})' if with_n else ''} [{cell.low:.1f}, {cell.high:.1f}]"


def conditions(system: System) -> str:
    """How a system was asked."""
    run = system.run
    shots = "number of examples not said" if run.shots is None else "zero-shot" if run.shots == 0 else f"{run.shots}-shot"
    prompt = {None: "prompt format not said", True: "chat template", False: "no chat template: raw prompt"}[run.chat_template]
    limit = (
        f", **first {run.limit:g} questions of each task only**"
        if run.limit and run.limit >= 1
        else f", **{run.limit:.0%} of each task only**"
        if run.limit
        else ""
    )
    return f"{SCORINGS[system.scoring]}, {shots}, {prompt}{limit}"


def how(systems: list[System]) -> Text:
    """Command and versions of the runs behind a table."""
    lines = []
    for run in {id(system.run): system.run for system in systems}.values():
        labels = ", ".join(system.label for system in systems if system.run is run)
        command = f"`{run.command}`" if run.command else f"`{run.model}`{f' on `{run.data}`' if run.data else ''} (command not recorded)"
        versions = ", ".join(f"{package} {version}" for package, version in run.versions.items()) or "versions not recorded"
        ours = sorted({str(version) for task, version in run.task_versions.items() if task_parts(task)})
        tasks = f"; task version {', '.join(ours)}" if ours else ""
        seconds = f"; {run.seconds:,.0f} s" if run.seconds else ""
        lines.append(f"{labels}: {command}; {versions}{tasks}; commit {run.git_commit or 'not recorded'}{seconds}")
    return Text(lines, points=True, folded="Command and versions")


def runs(systems: list[System]) -> list[Block]:
    """What was run, a line a system."""
    table = Table(["system", "model", "asked by", "read from", "questions"], words=4)
    for system in systems:
        questions = sum(cell.n for (_, name), cell in system.cells.items() if name in BENCHMARKS)
        table.rows.append([system.label, f"`{system.run.model}`", conditions(system), f"`{system.run.folder}`", f"{questions:,}"])
    told = [
        f"{system.label}: older results in {system.run.folder.name} were left out: {', '.join(system.run.left_out)}"
        for system in systems
        if system.run.left_out
    ]
    return [table, *([Text(told, points=True)] if told else [])]


def absences(systems: list[System], lang: str, kept: list[str]) -> list[str]:
    """One line on the sets that nobody was asked, one for each system that lacks a set the others have."""
    lines = []
    if missing := [name for name in BENCHMARKS if name not in kept]:
        lines.append(_missing(systems, lang, missing))
    for system in systems:
        if some := [name for name in kept if estimate(system, lang, name) is None]:
            lines.append(f"{system.label} was not scored on {', '.join(COLUMNS[name] for name in some)} ({_why([system], lang, some)}).")
    return lines


def _missing(systems: list[System], lang: str, names: list[str]) -> str:
    return f"Not scored: {', '.join(COLUMNS[name] for name in names)} ({_why(systems, lang, names)}). AVG needs all nine sets."


def missing_everywhere(systems: list[System]) -> str | None:
    """The one line on sets that no table has; None where the tables differ in that, so that each says it itself."""
    by_lang = {lang: [name for name in BENCHMARKS if all(estimate(system, lang, name) is None for system in systems)] for lang in TITLES}
    lines = {_missing(systems, lang, names) for lang, names in by_lang.items() if names}
    return lines.pop() if len(lines) == 1 and all(0 < len(names) < len(BENCHMARKS) for names in by_lang.values()) else None


def _why(systems: list[System], lang: str, names: list[str]) -> str:
    """`questions not prepared`, what failed, or `not asked for`."""
    reasons = []
    for name in names:
        for system in systems:
            suffix = "" if system.scoring == "letter" else "_text"
            tasks = [f"bimedix_{one}_{name}{suffix}" for one in (LANGUAGES if lang == "bi" else [lang])]
            failed = [system.run.failed[task] for task in tasks if task in system.run.failed]
            prepared = not any(task in system.run.absent or task.removesuffix("_text") in system.run.absent for task in tasks)
            reasons.append(f"{COLUMNS[name]} failed: {failed[0]}" if failed else "not asked for" if prepared else "questions not prepared")
    return "; ".join(dict.fromkeys(reasons))


def printed(systems: list[System], lang: str, mode: str) -> dict[str, list[published.Published]]:
    """System label -> the paper's rows to put beneath it; the rest of the table under ''. `mode`: named, all or none."""
    rows, found = published.rows(lang), {}
    if mode == "none":
        return {}
    for system in systems:
        row = models.row(system.run.name)
        name = row.published.get(lang) if row else None
        if name and name not in {other.model for others in found.values() for other in others}:
            found[system.label] = [rows[name]]
    if mode == "all":
        used = {row.model for some in found.values() for row in some}
        found[""] = [row for name, row in rows.items() if name not in used]
    return found


def accuracies(systems: list[System], lang: str, mode: str) -> list[Block]:
    """One table with what belongs under it; nothing where the language was not scored at all."""
    cells = {system.label: {name: estimate(system, lang, name) for name in BENCHMARKS} for system in systems}
    kept = [name for name in BENCHMARKS if any(row[name] for row in cells.values())]
    paper = printed(systems, lang, mode)
    if not kept:
        return []
    whole = len(kept) == len(BENCHMARKS)
    counts = {name: {row[name].n for row in cells.values() if row[name]} for name in kept}
    table = Table(["system", *(COLUMNS[name] for name in kept), *(["AVG"] if whole else [])])
    even = all(len(numbers) == 1 for numbers in counts.values())
    if even:
        table.rows.append([f"_{'pairs' if lang == 'bi' else 'questions'}_", *(f"{next(iter(counts[name])):,}" for name in kept), *([""] if whole else [])])
    notes = [line for line in absences(systems, lang, kept) if line != missing_everywhere(systems)]
    for system in systems:
        row = cells[system.label]
        if not any(row.values()):
            continue
        average = mean(list(row.values())) if whole and all(row.values()) else None
        table.rows.append([system.label, *(shown(row[name], not even) for name in kept), *([shown(average)] if whole else [])])
        for beneath in paper.get(system.label, []):
            table.rows.append(_paper(beneath, kept, whole))
            inside = [row[name].low <= beneath.cells[name] <= row[name].high for name in kept if row[name]]
            notes.append(f"{system.label}: the printed value lies inside our 95% interval in {sum(inside)} of {len(inside)} sets.")
    table.rows += [_paper(row, kept, whole) for row in paper.get("", [])]
    notes += [f"Paper, {row.model}: {note}" for rows in paper.values() for row in rows for note in (row.average_note, row.note) if note]
    if lang == "bi":
        notes += [line for system in systems for name in BENCHMARKS for line in report_pairs.languages(system, name).left_out]
        if any(
            cell and (system.cells["en", name].answers is None or system.cells["ar", name].answers is None)
            for system in systems
            for name, cell in cells[system.label].items()
        ):
            notes.append("Without logged samples the questions of both languages cannot be paired, and the error takes them as independent: it is too small.")
    blocks: list[Block] = [Heading(TITLES[lang]), table]
    return [*blocks, *([Text(notes, points=True)] if notes else []), how([system for system in systems if any(cells[system.label].values())])]


def _paper(row: published.Published, kept: list[str], whole: bool) -> list[str]:
    average = f"{row.average:.1f} (wrong: {row.recomputed:.1f})" if row.wrong else f"{row.average:.1f}"
    return [f"_paper: {row.model}_", *(f"{row.cells[name]:.1f}" for name in kept), *([average] if whole else [])]


def trained_on(systems: list[System]) -> list[Block]:
    """The questions that the model was trained on, where they were asked."""
    asked = [system for system in systems if any(name == "seen" for _, name in system.cells)]
    if not asked:
        return []
    rows = [[system.label, *(shown(estimate(system, lang, "seen"), with_n=True) for lang in LANGUAGES)] for system in asked]
    says = Text(["No benchmark: it shows whether training took."])
    return [Heading(SEEN), says, Table(["system", *LANGUAGES.values()], rows), how(asked)]


def others(systems: list[System]) -> list[Block]:
    """Tasks of lm-eval's own that were run along, as lm-eval reports them."""
    table = Table(["task", "system", "scores"], words=3)
    for run in {id(system.run): system.run for system in systems}.values():
        label = next(system.label for system in systems if system.run is run)
        for task, scores in run.others.items():
            said = [
                f"{key.removesuffix(',none')} {value:.4g}" for key, value in scores.items() if isinstance(value, int | float) and not isinstance(value, bool)
            ]
            table.rows.append([task, label, ", ".join(said)])
    return [Heading("Other tasks"), table] if table.rows else []
