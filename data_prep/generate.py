"""Run a language-model step for a recipe: choose the rows of its built data set, then translate or chats over each file, one after the other.

    OPENAI_BASE_URL=.. python -m data_prep.generate translate --recipe bimed1.3m --only medmcqa_ar,benchmark_ar --limit 100
    OPENAI_BASE_URL=.. python -m data_prep.generate chats --recipe bimed1.3m --data path/to/copies --dry-run

BUILD/generate/RECIPE/NAME.jsonl becomes BUILD/generated/NAME.jsonl, where `make data` finds what the recipe takes. Options that are not listed here go
to the step: `python -m data_prep.translate --help`. When a step stops early (status 3) or fails, no further file is begun, and its exit status is kept.
"""

import argparse
import importlib
import shlex
import sys

from data_prep import choose
from data_prep.records import BadInput


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("step", choices=choose.STEPS)
    choose.add_options(parser)
    args, further = parser.parse_known_args()
    try:
        if taken := {"--in", "--out", "--lang"} & {option.split("=")[0] for option in further}:
            own = f"python -m data_prep.{args.step} --in .. --out .."
            raise BadInput(f"{' and '.join(sorted(taken))} follow from the recipe (--only names its files); rows of your own go to the step itself: {own}")
        if any(option.startswith("--batch-") for option in further) and len(args.only or ()) != 1:
            raise BadInput("batch files are written and read for one file of rows at a time: name it with --only (make: ONLY=medmcqa_ar)")
        chosen = choose.choose(args.recipe, args.data, args.build, args.step, args.only)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    step = importlib.import_module(f"data_prep.{args.step}")  # late: --help need not wait for the endpoint's client
    for job, path in chosen.items():
        options = ["--in", str(path), "--out", str(args.build / "generated" / path.name), "--build", str(args.build)]
        options += [*(["--lang", job.lang] if args.step == "chats" else []), *further]
        print(f"data_prep.{args.step} {shlex.join(options)}", file=sys.stderr)
        if status := step.main(options):
            sys.exit(status)


if __name__ == "__main__":
    main()
