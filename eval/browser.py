"""report.html: the report's tables and pictures, and below them every question with the scores of its options, English and Arabic side by side.

One file that needs no network: style, script, pictures and data lie inside, the data as gzip in base64 (7,000 questions in two languages: some MB).
The browser unpacks them and draws only what is looked at. The page forbids itself any connection (Content-Security-Policy).
"""

import base64
import gzip
import html
import json
from pathlib import Path

from eval.report_page import Block, as_html
from eval.report_pairs import COLUMNS
from eval.report_read import PROBLEMS, SETS, Answer, Question, System

PARTS = Path(__file__).parent / "browser"


def collect(systems: list[System]) -> dict:
    """Questions, pairs and answers as eval/browser/page.js reads them; questions that differ in wording between systems stand apart."""
    docs: dict[tuple[str, str, Question], int] = {}
    for lang in ("en", "ar"):
        for name in SETS:
            for system in systems:
                cell = system.cells.get((lang, name))
                for answer in (cell.answers or {}).values() if cell else ():
                    docs.setdefault((lang, name, answer.question), len(docs))
    pairs: dict[tuple[str, str, int], list] = {}
    times: dict[tuple[str, str, str], int] = {}  # the same origin again (in another wording) is a pair of its own
    for (lang, name, question), place in docs.items():
        turn = times.setdefault((lang, name, question.origin), 0)
        times[lang, name, question.origin] += 1
        pairs.setdefault((name, question.origin, turn), [name, -1, -1])[1 if lang == "en" else 2] = place
    order = {name: place for place, name in enumerate(SETS)}
    answers = []
    for system in systems:
        row: list = [None] * len(docs)
        for (lang, name), cell in system.cells.items():
            for answer in (cell.answers or {}).values():
                row[docs[lang, name, answer.question]] = _answer(answer)
        answers.append(row)
    return {
        "sets": {name: COLUMNS.get(name, "trained on") for name in SETS},
        "systems": [{"label": system.label, "letters": system.scoring == "letter"} for system in systems],
        "docs": [[one.id, one.question, one.context, one.options, one.letters, one.answer] for _, _, one in docs],
        "pairs": sorted(pairs.values(), key=lambda pair: order[pair[0]]),
        "answers": answers,
    }


def _answer(answer: Answer) -> list:
    # JSON has no infinity; three digits tell options apart and keep the file small
    scores = [None if score is None or score != score or abs(score) == float("inf") else round(score, 3) for score in answer.scores]
    chosen = -1 if answer.chosen is None else answer.chosen
    return [int(answer.right), chosen, scores, *([PROBLEMS[answer.problem]] if answer.problem else [])]


def pack(content: dict) -> str:
    """JSON, gzip, base64; the same bytes for the same content."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(text, compresslevel=6, mtime=0)).decode()


def page(title: str, blocks: list[Block], pictures: dict[str, bytes], systems: list[System]) -> str:
    """The whole file. `pictures`: name -> SVG; each lies in an address of its own, so that their inner names cannot meet."""
    addresses = {name: f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}" for name, picture in pictures.items()}
    parts = {"TITLE": html.escape(title), "STYLE": _part("page.css"), "LINK": "", "BODY": as_html(blocks, addresses), "BROWSER": ""}
    content = collect(systems)
    if content["docs"]:
        parts["LINK"] = '<a href="#questions">Questions</a>'
        parts["BROWSER"] = _fill(_part("questions.html"), {"DATA": pack(content), "SCRIPT": _part("page.js")})
    return _fill(_part("page.html"), parts)


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8").rstrip("\n")


def _fill(text: str, parts: dict[str, str]) -> str:
    """Put the parts in their places, each once; what a part holds is not looked at again."""
    pieces = []
    for name, part in parts.items():
        before, _, text = text.partition(f"@{name}@")
        pieces += [before, part]
    return "".join([*pieces, text])
