"""Write the sub-task and group files of this folder, which differ in names only.

python -m eval.tasks.bimedix.write
"""

from pathlib import Path

# in the order of the paper's tables
BENCHMARKS = [
    "clinical_knowledge",
    "college_biology",
    "college_medicine",
    "medical_genetics",
    "professional_medicine",
    "anatomy",
    "medmcqa",
    "medqa",
    "pubmedqa",
]
LANGS = ["en", "ar"]
ROTATIONS = ["rotated1", "rotated2", "rotated3"]
PROBES = {"en": ROTATIONS, "ar": [*ROTATIONS, "western", "indic"]}  # only Arabic writes its digits in two ways
MEAN = "aggregate_metric_list:\n  - metric: acc\n    aggregation: mean\n    weight_by_size: false\nmetadata:\n  version: 2.0\n"


def names() -> dict[str, tuple[str, str, str | None, str]]:
    """Task name -> (benchmark, language, form of the questions or None, template)."""
    found = {}
    for lang in LANGS:
        for benchmark in [*BENCHMARKS, "seen"]:
            found[f"bimedix_{lang}_{benchmark}"] = (benchmark, lang, None, "_letter_yaml")
        for benchmark in BENCHMARKS:
            found[f"bimedix_{lang}_{benchmark}_text"] = (benchmark, lang, None, "_text_yaml")
            for form in PROBES[lang]:
                found[f"bimedix_{lang}_{benchmark}_{form}"] = (benchmark, lang, form, "_letter_yaml")
    return found


def groups() -> dict[str, list[str]]:
    """Group name -> its members, tasks or groups. The mean of a group is that of its members, whatever their size, as in the paper."""
    found = {}
    for suffix in ("", "_text"):
        for lang in LANGS:
            found[f"bimedix_{lang}{suffix}"] = [f"bimedix_{lang}_{benchmark}{suffix}" for benchmark in BENCHMARKS]
        found[f"bimedix_bi{suffix}"] = [f"bimedix_{lang}{suffix}" for lang in LANGS]
    found["bimedix_seen"] = [f"bimedix_{lang}_seen" for lang in LANGS]
    found["bimedix_probes"] = [name for name, (_, _, form, _) in names().items() if form]
    return found


def expand(asked: list[str]) -> list[str]:
    """Names of tasks and groups -> names of tasks, groups of ours taken apart. Other lm-eval tasks pass through."""
    found = []
    for name in asked:
        found += expand(groups()[name]) if name in groups() else [name]
    return list(dict.fromkeys(found))


def files() -> dict[str, str]:
    """File name -> content."""
    written = {}
    for name, (benchmark, lang, form, template) in names().items():
        kwargs = f"  benchmark: {benchmark}\n  lang: {lang}\n" + (f"  form: {form}\n" if form else "")
        written[f"{name}.yaml"] = f"include: {template}\ntask: {name}\ndataset_kwargs:\n{kwargs}"
    for name, members in groups().items():
        written[f"_{name}.yaml"] = f"group: {name}\ntask:\n" + "".join(f"  - {member}\n" for member in members) + MEAN
    return written


def main() -> None:
    folder = Path(__file__).parent
    for name, content in files().items():
        (folder / name).write_text(content, encoding="utf-8")
    print(f"{folder}: {len(files())} files")


if __name__ == "__main__":
    main()
