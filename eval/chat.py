"""Open-ended and multi-turn answers of a model, judged by a rubric through any OpenAI-compatible judge, in English and Arabic.

    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 python -m eval.chat answer --model NAME
    OPENAI_BASE_URL=https://.. OPENAI_API_KEY=.. python -m eval.chat judge build/chat/NAME --model JUDGE --price-in 2 --price-out 8 --budget-usd 20
    python -m eval.chat report build/chat/NAME
    python -m eval.chat agree build/chat/NAME/judged-JUDGE.jsonl build/chat/NAME/judged-OTHER.jsonl
    python -m eval.chat agree --sheet sheet.csv build/chat/NAME/answers.jsonl      # for a person; then: agree judged-JUDGE.jsonl sheet.csv

answer: the model answers the questions of eval/chats -> BUILD/chat/NAME/answers.jsonl. judge: BUILD/chat/NAME/judged-JUDGE.jsonl. Both keep every answer in a
journal beside the output, so a run that breaks off goes on where it stopped and nothing is asked twice; both stop at --budget-usd. report: chat.md, chat.json
and a figure. docs/CHAT_EVALUATION.md has all of it. For research, not for clinical use.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

from data_prep import files, llm_run
from data_prep.llm_options import add_options, settings_of
from data_prep.records import BadInput
from eval import chat_agree, chat_answer, chat_judge, chat_report, chat_sets, chat_sheet
from eval.chat_sets import LANGS, SETS

SEED = 17  # ours
ROOM = 1024  # ours: tokens of an answer; 200 words of Arabic have 1,200 letters, which some vocabularies make 1,200 tokens: raise it for such a model


def plain_name(model: str) -> str:
    """A model's name as part of a path."""
    return re.sub(r"[^\w.-]+", "_", model).strip("._") or "model"


def _model(args: argparse.Namespace) -> str:
    """The model's name, asked of the endpoint where it was not given."""
    args.model = settings_of(args, args.dry_run or args.batch_out is not None or args.batch_in is not None).model
    return plain_name(args.model)


def answer(args: argparse.Namespace) -> int:
    """The model under test answers the questions."""
    folder = args.build / "chat" / (plain_name(args.name) if args.name else _model(args))
    args.out, args.journal = folder / "answers.jsonl", args.journal or folder / "answers.sqlite"
    args.body = {"seed": args.seed} | args.body
    questions = chat_sets.load(args.sets, tuple(args.only or SETS), tuple(args.lang or LANGS))
    text = "".join(files.line(chat_answer.row(question)) for question in questions).encode()
    with tempfile.TemporaryDirectory() as nowhere:  # a dry run writes nothing
        args.source = (Path(nowhere) if args.dry_run else folder) / "questions.jsonl"
        files.save(args.source, text)
        return llm_run.run(chat_answer.job(args.max_tokens, args.seed), args)


def judge(args: argparse.Namespace) -> int:
    """The judge reads the answers."""
    args.source = args.answers / "answers.jsonl" if args.answers.is_dir() else args.answers
    if not args.source.is_file():
        raise BadInput(f"{args.source}: there is no such file; `python -m eval.chat answer` writes it")
    if args.code_only:
        args.out = args.source.with_name("judged-code.jsonl")
        files.save(args.out, "".join(map(files.line, chat_judge.code_only(args.source, args.seed))).encode())
        print(f"{args.out}: what code can tell, nothing was asked; sha256 {files.sha256(args.out)[:16]}")
        return 0
    args.out = args.source.with_name(f"judged-{_model(args)}.jsonl")
    args.journal = args.journal or args.out.with_suffix(".sqlite")
    return llm_run.run(chat_judge.job(args.seed), args)


def agree(args: argparse.Namespace) -> int:
    """Two raters, or the sheet for one of them."""
    if args.sheet:
        count = chat_sheet.write(args.sheet, chat_sheet.chats(args.files), args.seed, args.sample)
        print(f"{args.sheet}: {count:,} chats to be judged; write true, false or na in each column and a score from 0 to 100")
        return 0
    if len(args.files) != 2:
        raise BadInput(f"two files are needed, not {len(args.files)}: judgements of two judges, or of a judge and a person")
    figures = chat_agree.agreement(chat_agree.pairing(*args.files), args.seed)
    text = chat_agree.page(figures, *(path.name for path in args.files))
    out = args.out or args.files[0].with_name("agreement.md")
    files.save(out.with_suffix(".json"), files.json_text({"first": args.files[0].name, "second": args.files[1].name, **figures}).encode())
    files.save(out, text.encode())
    print(text)
    print(f"{out}: {figures['both']:,} chats; sha256 {files.sha256(out)[:16]}")
    return 0


def report(args: argparse.Namespace) -> int:
    """The page of some judged files."""
    paths = [path for named in args.files for path in chat_report.judged(named)]
    out = args.out or paths[0].with_name("chat.md")
    chat_report.write([chat_report.read(path) for path in paths], out, args.seed)
    print(out.read_text(encoding="utf-8"))
    print(f"{out}: {len(paths)} judged files; sha256 {files.sha256(out)[:16]}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(dest="stage", required=True)
    one = stages.add_parser("answer", help="the model under test answers the questions", description=chat_answer.__doc__)
    one.add_argument("--sets", type=Path, default=chat_sets.FOLDER, help="folder of the question sets (eval/chats)")
    one.add_argument("--only", nargs="+", choices=SETS, help="some sets (all)")
    one.add_argument("--lang", nargs="+", choices=LANGS, help="one language (both)")
    one.add_argument("--name", help="folder below BUILD/chat (the model's name)")
    one.add_argument("--max-tokens", type=int, default=ROOM, help="of an answer (%(default)s)")
    one.add_argument("--seed", type=int, default=SEED, help="sent with each request (%(default)s); --body '{\"seed\": null}' where the server refuses it")
    one.set_defaults(do=answer)
    add_options(one, rows=False)
    one = stages.add_parser("judge", help="a judge reads the answers", description=chat_judge.__doc__)
    one.add_argument("answers", type=Path, help="answers.jsonl or its folder")
    one.add_argument("--seed", type=int, default=SEED, help="of the order (%(default)s)")
    one.add_argument("--code-only", action="store_true", help="no judge and no endpoint: language, cut answers, invented doses -> judged-code.jsonl")
    one.set_defaults(do=judge)
    add_options(one, rows=False)
    one = stages.add_parser("agree", help="how far two raters agree", description=chat_agree.__doc__)
    one.add_argument("files", type=Path, nargs="+", help="two judged files, or one and a sheet; with --sheet: answers.jsonl of one or more models")
    one.add_argument("--sheet", type=Path, help="write an empty sheet (.csv, .jsonl) for a person instead")
    one.add_argument("--sample", type=int, help="with --sheet: only so many chats")
    one.add_argument("--out", type=Path, help="(agreement.md beside the first file)")
    one.add_argument("--seed", type=int, default=SEED, help="of the order and the resamples (%(default)s)")
    one.set_defaults(do=agree)
    one = stages.add_parser("report", help="the page", description=chat_report.__doc__)
    one.add_argument("files", type=Path, nargs="+", help="folders below BUILD/chat, or judged-*.jsonl of one or more models and judges")
    one.add_argument("--out", type=Path, help="(chat.md beside the first file)")
    one.add_argument("--seed", type=int, default=SEED, help="of the resamples (%(default)s)")
    one.set_defaults(do=report)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Returns what `llm_run.exit_status` does."""
    args = _parser().parse_args(arguments)
    return llm_run.exit_status(lambda: args.do(args))


if __name__ == "__main__":
    sys.exit(main())
