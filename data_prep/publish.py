"""Prepare a built data set for the Hugging Face Hub: card, pictures, parquet shards, manifest. A dry run unless --upload is given.

    python -m data_prep.publish build/data/tiny --repo owner/name
    HF_TOKEN=.. python -m data_prep.publish build/data/tiny --repo owner/name --upload

Writes BUILD/publish/RECIPE/, which `datasets.load_dataset` reads as it is. Rows whose source may not be passed on are left out, and the card says
so. The upload makes a private data set unless --public is given; the token is read from the environment only.
"""

import argparse
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from data_prep import card, card_account, census, figures, files, hub, shards
from data_prep.built import SPLITS, Built, config_of, open_built
from data_prep.records import BadInput

OURS = ["README.md", "LICENSE.md", "manifest.json", "data/*", "eval/*", "figures/*"]  # what an upload replaces: old shards would be read beside the new


def prepare(built: Built, repo: str, out: Path, tokens: int = census.TOKENS, shard: int = shards.SHARD) -> tuple[census.Census, dict[str, str]]:
    """Write the folder `out`, which appears when it is whole; returns what was counted and the parts withheld. Raises BadInput."""
    withheld = built.withheld()
    counted = census.take(built, tokens, withheld)
    if not counted.rows and not any(counted.sets.values()):
        why = "; ".join(f"{', '.join(name for name in sorted(withheld) if withheld[name] == said)}: {said}" for said in sorted(set(withheld.values())))
        raise BadInput(f"{built.folder}: no row may be published. {why}")
    with files.written_aside(out) as aside:
        for split in SPLITS:
            shards.write(_kept(built, f"{split}.jsonl", withheld), shards.TRAINING, aside / "data", split, shard)
        for file in built.sets():
            name, split = config_of(file)
            shards.write(_kept(built, file, withheld), shards.EVALUATION, aside / "eval" / name, split, shard)
        drawn = figures.draw(built, counted)
        (aside / "figures").mkdir()
        for name, figure in drawn.items():
            for form in figures.FORMS:
                (aside / "figures" / f"{name}.{form}").write_bytes(figures.render(figure, form))
        (aside / "README.md").write_text(card.render(built, counted, list(drawn), withheld, repo), encoding="utf-8")
        inputs = card_account.used(built, withheld)
        (aside / "LICENSE.md").write_text(f"# Licences and terms\n\n{card.NOTICE}\n{card.licence(inputs)}", encoding="utf-8")
        manifest = files.read_json(built.folder / "manifest.json")
        files.write_json(aside / "manifest.json", manifest | {"recipe": built.recipe})
    return counted, withheld


def _kept(built: Built, file: str, withheld: dict[str, str]) -> Iterator[dict]:
    return (row for row in built.rows(file) if not census.barred(built, built.part_of(row), withheld))


def tell(out: Path, counted: census.Census, withheld: dict[str, str], repo: str, public: bool) -> None:
    """Print what would be uploaded and what is left out."""
    print(f"repository: {repo} on the Hugging Face Hub, a data set; it is made {'public' if public else 'private'} if it is not there yet")
    found = sorted(path for path in out.rglob("*") if path.is_file())
    for path in found:
        print(f"  {path.stat().st_size:>13,} bytes  {path.relative_to(out)}")
    print(f"  {sum(path.stat().st_size for path in found):>13,} bytes  in {len(found)} files; {counted.total:,} training and validation rows")
    left = Counter()
    for (_, part), rows in counted.left_out.items():
        left[part] += rows
    for part, rows in sorted(left.items()):
        print(f"left out: {rows:,} rows of {part}: {withheld[part]}")
    if not left:
        print("left out: no row")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a built data set: BUILD/data/RECIPE")
    parser.add_argument("--repo", required=True, help="owner/name on the Hub")
    parser.add_argument("--upload", action="store_true", help="upload what was prepared; without it nothing leaves this machine")
    parser.add_argument("--public", action="store_true", help="create the data set as a public one (default: private)")
    parser.add_argument("--tokens", type=int, default=census.TOKENS, help="rows whose tokens are counted for the card; 0: all (%(default)s)")
    parser.add_argument("--shard-mb", type=float, default=shards.SHARD / 2**20, help="size of a parquet shard, about (%(default)s)")
    args = parser.parse_args()
    folder = args.folder if args.folder.name not in ("", "..") else args.folder.resolve()
    out = folder.parent.parent / "publish" / folder.name
    try:
        hub.check(args.repo, args.upload)
        counted, withheld = prepare(open_built(folder), args.repo, out, args.tokens, int(args.shard_mb * 2**20))
        tell(out, counted, withheld, args.repo, args.public)
        if args.upload:
            print(f"uploaded to {hub.upload(out, args.repo, 'dataset', args.public, OURS, 'Upload the data set')}")
        else:
            python = os.path.relpath(sys.executable)
            said = shlex.join([sys.executable if python.startswith("..") else python, "-m", "data_prep.publish", *sys.argv[1:], "--upload"])
            print(f"{out}: prepared, nothing was uploaded. This uploads it, with a token in HF_TOKEN:\n  {said}")
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
