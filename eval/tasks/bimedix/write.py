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
MEAN = "aggregate_metric_list:\n  - metric: acc\n    aggregation: mean\n    weight_by_size: false\nmetadata:\n  version: 1.0\n"


def files() -> dict[str, str]:
    """File name -> content."""
    written = {}
    for lang in LANGS:
        for benchmark in [*BENCHMARKS, "seen"]:
            lines = ["include: _letter_yaml", f"task: bimedix_{lang}_{benchmark}", "dataset_kwargs:", f"  benchmark: {benchmark}", f"  lang: {lang}"]
            written[f"bimedix_{lang}_{benchmark}.yaml"] = "\n".join(lines) + "\n"
        written[f"_bimedix_{lang}.yaml"] = _group(f"bimedix_{lang}", [f"bimedix_{lang}_{benchmark}" for benchmark in BENCHMARKS])
    written["_bimedix_bi.yaml"] = _group("bimedix_bi", [f"bimedix_{lang}" for lang in LANGS])
    written["_bimedix_seen.yaml"] = _group("bimedix_seen", [f"bimedix_{lang}_seen" for lang in LANGS])
    return written


def _group(name: str, tasks: list[str]) -> str:
    return f"group: {name}\ntask:\n" + "".join(f"  - {task}\n" for task in tasks) + MEAN


def main() -> None:
    folder = Path(__file__).parent
    for name, content in files().items():
        (folder / name).write_text(content, encoding="utf-8")
    print(f"{folder}: {len(files())} files")


if __name__ == "__main__":
    main()
