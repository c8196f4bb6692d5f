"""What accuracy hides: does a model keep to its answer when only the form of a question changes?

    python -m eval.run --model MODEL --tasks bimedix_bi,bimedix_probes && python -m eval.probes build/eval/MODEL

- order: the same options in every rotation (tasks ..._rotated1 to 3). The share of questions with the same option chosen each time, and the mean accuracy
  over the rotations, which a model that likes one letter cannot win. Questions whose options speak of others ("all of the above") are left out.
- language: the same question in English and in Arabic. The share with the same option chosen, and what it would be by chance, if the answers in the two
  languages had nothing to do with one another.
- digits: the same Arabic question with Western and with Arabic-Indic digits (tasks ..._western and ..._indic).

Reads FOLDER/samples, writes FOLDER/probes.md and probes.json. Shares have 95% Wilson intervals.
"""

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from scipy.stats import binomtest

from data_prep import files
from data_prep.records import BadInput, Reject
from eval.tasks.bimedix.write import BENCHMARKS, LANGS, ROTATIONS

NAMES = {"order": "options in another order", "language": "English and Arabic", "digits": "Western and Arabic-Indic digits"}


@dataclass
class Probe:
    """One probe on one set: for each question the options that were chosen (indices of the unrotated question, None where nothing could be chosen), and
    whether each was right."""

    chosen: list[tuple[int | None, ...]] = field(default_factory=list)
    right: list[tuple[bool, ...]] = field(default_factory=list)

    def add(self, answers: list[tuple[int | None, bool]]) -> None:
        """One question's answers."""
        self.chosen.append(tuple(option for option, _ in answers))
        self.right.append(tuple(right for _, right in answers))

    @property
    def same(self) -> int:
        """Questions with the same option chosen each time."""
        return sum(len(set(options)) == 1 and None not in options for options in self.chosen)

    def summary(self) -> dict:
        """n, share of the same choice with its interval, accuracies in the order of the forms, right every time, and for two forms the share by chance."""
        n = len(self.chosen)
        interval = binomtest(self.same, n).proportion_ci(method="wilson")
        found = {"n": n, "same": self.same / n, "low": interval.low, "high": interval.high}
        found["accuracy"] = [sum(column) / n for column in zip(*self.right, strict=True)] if len(set(map(len, self.right))) == 1 else None
        found["mean_accuracy"] = sum(sum(right) / len(right) for right in self.right) / n
        found["always_right"] = sum(map(all, self.right)) / n
        if all(len(options) == 2 for options in self.chosen):
            one, other = (Counter(column) for column in zip(*self.chosen, strict=True))
            found["by_chance"] = sum(count * other[option] for option, count in one.items() if option is not None) / n**2
        return found


def answers(folder: Path, task: str, turned: int = 0) -> dict[str, tuple[int | None, bool]]:
    """Question -> (the likeliest option, right or not) of a scored task; empty where it was not scored. An option that is as likely as another, or no
    number, is no choice. Options that were rotated by `turned` places are named by their places in the unrotated question."""
    path = folder / "samples" / f"{task}.jsonl"
    found = {}
    if path.is_file():
        for number, sample in files.read_jsonl(path):
            if isinstance(sample, Reject):
                raise BadInput(f"{path}, line {number}: {sample.message}; score the task again")
            likelihoods = [float(likelihood) for likelihood, _ in sample["filtered_resps"]]
            best = max(likelihoods)
            option = likelihoods.index(best) if likelihoods.count(best) == 1 else None
            right = option == sample["doc"]["answer"]
            found[sample["doc"]["origin_id"]] = (None if option is None else (option + turned) % len(likelihoods), right)
    return found


def probes(folder: Path) -> dict[str, dict[str, Probe]]:
    """{probe: {set_language: what was found}} of what was scored."""
    found: dict[str, dict[str, Probe]] = {name: {} for name in NAMES}
    for benchmark in BENCHMARKS:
        plain = {lang: answers(folder, f"bimedix_{lang}_{benchmark}") for lang in LANGS}
        for lang in LANGS:
            forms = [plain[lang], *(answers(folder, f"bimedix_{lang}_{benchmark}_{form}", by) for by, form in enumerate(ROTATIONS, start=1))]
            _collect(found["order"], f"{benchmark}_{lang}", [name for name in forms[0] if name in forms[1]], forms)
        _collect(found["language"], benchmark, [name for name in plain["en"] if name in plain["ar"]], [plain["en"], plain["ar"]])
        digits = [answers(folder, f"bimedix_ar_{benchmark}_{form}") for form in ("western", "indic")]
        _collect(found["digits"], benchmark, [name for name in digits[0] if name in digits[1]], digits)
    return found


def _collect(found: dict[str, Probe], name: str, questions: list[str], forms: list[dict]) -> None:
    for question in questions:
        found.setdefault(name, Probe()).add([form[question] for form in forms if question in form])


def page(found: dict[str, dict[str, dict]], name: str) -> str:
    """probes.md."""
    parts = [f"# Does {name} keep to its answers?\n\n**For research, not for clinical use.**\n"]
    for probe, title in NAMES.items():
        if not found[probe]:
            parts.append(f"## {title.capitalize()}\n\nNot scored: `--tasks bimedix_bi,bimedix_probes` scores it.\n")
            continue
        lines = ["| set | questions | same choice | 95% | mean accuracy | right every time | same by chance |", "|---|---|---|---|---|---|---|"]
        for key, row in found[probe].items():
            chance = f"{100 * row['by_chance']:.1f}" if "by_chance" in row else ""
            shares = " | ".join(f"{100 * row[column]:.1f}" for column in ("mean_accuracy", "always_right"))
            lines.append(f"| {key} | {row['n']:,} | {100 * row['same']:.1f} | {100 * row['low']:.1f} to {100 * row['high']:.1f} | {shares} | {chance} |")
        parts.append(f"## {title.capitalize()}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts) + "\nShares in percent. A choice is the likeliest letter; two letters as likely as one another are no choice.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder that eval/run.py wrote")
    args = parser.parse_args()
    try:
        if not (args.folder / "samples").is_dir():
            raise BadInput(f"{args.folder} holds no samples: `make eval` writes them")
        found = {probe: {name: one.summary() for name, one in sets.items()} for probe, sets in probes(args.folder).items()}
        files.save(args.folder / "probes.json", json.dumps(found, indent=1).encode())
        files.save(args.folder / "probes.md", page(found, args.folder.name).encode())
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    questions = {probe: sum(row["n"] for row in sets.values()) for probe, sets in found.items()}
    print(f"{args.folder}/probes.md: " + ", ".join(f"{NAMES[probe]} {count:,} questions" for probe, count in questions.items()))


if __name__ == "__main__":
    main()
