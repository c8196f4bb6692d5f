"""Write the card of a built data set and its pictures: what is in it, where it came from, under which terms, what it is not for.

    python -m data_prep.card build/data/tiny

Reads manifest.json, train.jsonl, validation.jsonl and contamination.jsonl, checks every file against the manifest, and writes DATASET_CARD.md and
figures/ into the same folder, in the form of the Hugging Face Hub. Two runs write the same bytes. A file appears when it is whole.
"""

import argparse
import sys
from pathlib import Path

import yaml

from data_prep import card_account, card_tables, census, figures, files
from data_prep.built import Built, config_of, open_built
from data_prep.card_tables import LANGUAGES
from data_prep.records import BadInput

NOTICE = """**For research only. Not for clinical use.** These rows hold medical errors, and a model trained on them will make more. Nobody should be
diagnosed, treated or reassured by them or by such a model. In an emergency call your local emergency number.

<div dir="rtl" lang="ar">

**للبحث العلمي فقط، وليس للاستخدام السريري.** تحتوي هذه البيانات على أخطاء طبية، وأي نموذج يُدرَّب عليها قد يخطئ أيضا. لا يجوز الاعتماد عليها
ولا على مثل هذا النموذج في تشخيص أي شخص أو علاجه أو طمأنته. وفي الحالات الطارئة اتصل برقم الطوارئ في بلدك.

</div>
"""
TASKS = {"qa": "question-answering", "mcqa": "multiple-choice", "chat": "text-generation"}
SIZES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M", 10**7: "1M<n<10M", 10**8: "10M<n<100M"}


def head(built: Built, counted: census.Census, inputs: list[dict]) -> str:
    """The YAML head: what the Hub shows and searches, and which parquet files (data_prep/publish.py writes them) are which configuration."""
    splits = [split for split in ("train", "validation") if any(key[0] == split for key in counted.rows)]
    configs = {"default": [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits]} if splits else {}
    for file, questions in counted.sets.items():
        if questions:
            name, split = config_of(file)
            configs.setdefault(name, []).append({"split": split, "path": f"eval/{name}/{split}-*.parquet"})
    kinds = {kind for _, _, _, kind in counted.rows}
    content = {
        **card_account.licence(inputs),
        "language": [lang for lang in LANGUAGES if lang in counted.langs or any(name.endswith(f"_{lang}") for name in configs)],
        "pretty_name": f"BiMediX data, recipe {built.recipe}",
        "size_categories": [next(name for limit, name in SIZES.items() if counted.total < limit)],
        "task_categories": [task for kind, task in TASKS.items() if kind in kinds],
        "tags": ["medical", "instruction-tuning", "sharegpt", "research-only"],
        "configs": [{"config_name": name, "data_files": data} for name, data in configs.items()],
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---\n"


def render(built: Built, counted: census.Census, drawn: list[str], withheld: dict[str, str] | None = None, repo: str | None = None) -> str:
    """The whole card. `drawn`: names of the pictures in figures/. In a publication, `withheld`: sources left out and why, `repo`: its name on the Hub."""
    inputs = card_account.used(built, withheld)
    parts = [head(built, counted, inputs), f"# BiMediX data, recipe `{built.recipe}`\n", NOTICE, _what(built, counted)]
    account = "" if withheld is None else _left_out(counted, withheld)
    sections = {
        "How to load it": _load(repo, counted) if repo else "",
        "Left out of this publication": account,
        "Sources": card_account.sources(inputs),
        "Rows": card_tables.rows(counted) if counted.rows else "",
        "Question sets for evaluation": card_tables.sets(counted),
        "Wanted and built": card_account.mixing(built),
        "Tokens": _tokens(built, counted) if counted.rows else "",
        "Exchanges": card_tables.exchanges(counted),
        "Rejected rows": card_account.rejects(built),
        "Missing sources": card_account.missing(built) if built.manifest["missing"] else "none\n",
        "Duplicates": card_account.deduplication(built),
        "Contamination": card_account.contamination(built, withheld),
        "Personal data and known limits": _limits(built, counted),
        "Licence": licence(inputs),
        "How to build it again": _again(built),
    }
    for title, text in sections.items():
        if text:
            shown = "".join(f"\n![{figures.TITLES[name]}](figures/{name}.png)\n" for name in drawn if figures.SECTIONS[name] == title)
            parts.append(f"## {title}\n\n{text}{shown}")
    return "\n".join(parts)


def _what(built: Built, counted: census.Census) -> str:
    description = built.manifest["config"].get("description")
    said = f" The recipe's own words: {card_tables.plain(description)}." if description else ""
    langs = " and ".join(LANGUAGES[lang] for lang in counted.langs)
    return f"""{counted.total:,} training and validation rows{f" in {langs}" if langs else ""}, built by a recipe of the project that rebuilds BiMediX
([arXiv 2402.13253](https://arxiv.org/abs/2402.13253)).{said}

**This is not the authors' data.** BiMed1.3M, the data set of the paper, was never published. The rows here are put together anew from the sources
below, so counts and texts differ from the paper's.

Each row is a conversation in ShareGPT form: `conversations` is a list of turns, `from` is `human` or `gpt`, `value` is the text. `source` names the
origin, `lang` is `en` or `ar`, `kind` is `mcqa`, `qa` or `chat`; a row and its translation share `origin_id`.
"""


def _load(repo: str, counted: census.Census) -> str:
    sets = sorted({config_of(file)[0] for file, questions in counted.sets.items() if questions})
    more = f"\n    datasets.load_dataset({repo!r}, {sets[0]!r})  # a question set, see below" if sets else ""
    return f"    import datasets\n\n    datasets.load_dataset({repo!r}){more}\n"


def _left_out(counted: census.Census, withheld: dict[str, str]) -> str:
    found = card_tables.left_out(counted, withheld)
    if not found:
        return "No row: every source may be passed on.\n"
    return (
        f"{counted.left_out.total():,} rows that the recipe builds are not here. The tables of rows, questions, tokens and exchanges count what is here;\n"
        "those on mixing, rejects, duplicates and contamination describe the build before these rows were left out.\n\n" + found
    )


def _tokens(built: Built, counted: census.Census) -> str:
    seed = built.manifest["config"].get("seed", 0)
    how = (
        "Every row was counted."
        if counted.whole
        else (f"Counted on a sample drawn by language and kind with seed {seed}; totals and histograms are estimates, ± is one standard error of the total.")
    )
    return f"""Tokens of each conversation under Mixtral-8x7B's tokenizer (32,000 tokens), worded as the chat template words it:
`<s>[INST] question [/INST] answer</s>`, control tokens included, no system message. {how}

{card_tables.tokens(counted)}
{card_tables.lengths(counted)}"""


def _limits(built: Built, counted: census.Census) -> str:
    found = counted.addresses.total()
    by = ", ".join(f"{card_tables.plain(source)} {rows:,}" for source, rows in sorted(counted.addresses.items()))
    limits = [
        f"Personal data is neither searched for nor removed. {found:,} rows hold something that reads like an e-mail address{f' ({by})' if by else ''}.",
        "The build checks the form of each row, not whether it is right. Errors of the sources are still there, and medical knowledge has moved on since.",
        "Sources write for examinations, web pages and forums of certain countries; their patients are not everybody's.",
    ]
    if "ar" not in counted.langs:
        limits.append("There are no Arabic rows.")
    if built.manifest["contamination"] is None:
        limits.append("There is no contamination report: training rows were compared with test questions by equal letters and digits only.")
    else:
        limits.append("A training question that rewords a test question beyond the methods above is not found.")
    if counted.sets:
        limits.append("The question sets named `seen_` hold questions that the rows train on; they show whether training took and measure nothing else.")
    return "".join(f"- {limit}\n" for limit in limits)


def licence(inputs: list[dict]) -> str:
    return f"""Each source keeps the licence and the terms of its owner, and a row falls under those of its source:

{card_account.licences(inputs)}
A model trained on these rows falls under all of them, and under the terms of its base model.
"""


def _again(built: Built) -> str:
    local = built.manifest["config"].get("root") != "samples" and any(entry["hub"] is None for entry in built.manifest["inputs"])
    commit = built.manifest.get("git_commit")
    where = f"at commit `{commit.removesuffix('-dirty')}`" if commit else "at a version that is not known: it was not a git checkout"
    dirty = ", with files that differed from it" if (commit or "").endswith("-dirty") else ""
    return f"""In a checkout of the project {where}{dirty}:

    make data RECIPE={built.recipe}{" DATA=<folder of the files listed under Sources>" if local else ""}

The manifest holds the recipe as it was read (`config`), the full sha256 of every input and output, and the count of every row that was read.
"""


def write(folder: Path, tokens: int = census.TOKENS) -> census.Census:
    """Write DATASET_CARD.md and figures/ into the folder of a built data set; returns what was counted. Raises BadInput."""
    built = open_built(folder)
    counted = census.take(built, tokens)
    drawn = figures.draw(built, counted)
    for name, figure in drawn.items():
        for form in figures.FORMS:
            files.save(folder / "figures" / f"{name}.{form}", figures.render(figure, form))
    for old in (folder / "figures").glob("*.*"):
        if old.stem not in drawn:  # of an earlier build, or cut short
            old.unlink()
    files.save(folder / "DATASET_CARD.md", render(built, counted, list(drawn)).encode("utf-8"))
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a built data set: BUILD/data/RECIPE")
    parser.add_argument("--tokens", type=int, default=census.TOKENS, help="rows whose tokens are counted, drawn with the recipe's seed; 0: all (%(default)s)")
    args = parser.parse_args()
    if args.tokens < 0:
        parser.error("--tokens is 0 or more")
    try:
        counted = write(args.folder, args.tokens)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    card = args.folder / "DATASET_CARD.md"
    print(f"{card}: {counted.total:,} rows, {len(list((args.folder / 'figures').glob('*.png')))} figures; sha256 {files.sha256(card)[:16]}")


if __name__ == "__main__":
    main()
