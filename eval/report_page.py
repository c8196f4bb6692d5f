"""A page as a list of blocks, written as Markdown and as HTML from the same words, so that report.md and report.html cannot disagree.

Texts know three marks: **bold**, _slanted_ at word borders, and `code`. Everything else is shown as it stands.
"""

import html
import re
from dataclasses import dataclass, field

RTL = re.compile(r"[\u0600-\u06ff][\u0600-\u06ff\s]*[\u0600-\u06ff]|[\u0600-\u06ff]")
INTERVAL = re.compile(r" (\[[^\]]+\])$")


@dataclass
class Heading:
    """A section; level 1 is the page's title."""

    text: str
    level: int = 2


@dataclass
class Text:
    """A paragraph, or points of a list; `folded` under a line to click where the page can."""

    lines: list[str]
    points: bool = False
    folded: str = ""


@dataclass
class Table:
    """Header and rows of cells; `folded` as above. The first `words` columns hold words, the others figures, which stand to the right."""

    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    folded: str = ""
    words: int = 1


@dataclass
class Figure:
    """A picture below figures/: its name without ending, and what is seen on it."""

    name: str
    says: str


Block = Heading | Text | Table | Figure


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _md(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Figure):
        return f"![{block.says}](figures/{block.name}.svg)"
    if isinstance(block, Table):
        lines = [block.header, ["---"] * block.words + ["---:"] * (len(block.header) - block.words), *block.rows]
        body = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
    else:
        body = "\n".join(f"- {line}" for line in block.lines) if block.points else "\n\n".join(block.lines)
    return f"<details><summary>{block.folded}</summary>\n\n{body}\n\n</details>" if block.folded else body


def markdown(blocks: list[Block]) -> str:
    """The whole page as Markdown."""
    return "\n\n".join(map(_md, blocks)) + "\n"


def inline(text: str) -> str:
    """A text's marks as HTML; Arabic words carry their language and direction."""
    safe = html.escape(text, quote=False)
    parts = re.split(r"(`[^`]+`)", safe)  # no marks inside code
    for place, part in enumerate(parts):
        if part.startswith("`") and part.endswith("`") and len(part) > 2:
            parts[place] = f"<code>{part[1:-1]}</code>"
        else:
            part = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", part)
            part = re.sub(r"(?<!\w)_(.+?)_(?!\w)", r"<i>\1</i>", part)
            parts[place] = RTL.sub(lambda found: f'<span dir="rtl" lang="ar">{found[0]}</span>', part)
    return "".join(parts)


def _row(cells: list[str], words: int, tag: str) -> str:
    made = []
    for place, cell in enumerate(cells):
        inner = INTERVAL.sub(r" <small>\1</small>", inline(cell))
        # the first cell names its row
        name, end = ('th scope="row"', "th") if place == 0 and tag == "td" else (tag, tag)
        made.append(f"<{name}{' class=words' if place < words else ''}>{inner}</{end}>")
    return f"<tr>{''.join(made)}</tr>"


def _table(block: Table) -> str:
    head = _row(block.header, block.words, "th")
    rows = "".join(_row(row, block.words, "td") for row in block.rows)
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _html(block: Block, pictures: dict[str, str]) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{inline(block.text)}</h{block.level}>"
    if isinstance(block, Figure):
        return f'<p class="figure"><img src="{pictures[block.name]}" alt="{html.escape(block.says)}"></p>'
    if isinstance(block, Table):
        body = _table(block)
    elif block.points:
        body = "<ul>" + "".join(f"<li>{inline(line)}</li>" for line in block.lines) + "</ul>"
    else:
        body = "".join(f"<p>{inline(line)}</p>" for line in block.lines)
    return f"<details><summary>{inline(block.folded)}</summary>{body}</details>" if block.folded else body


def as_html(blocks: list[Block], pictures: dict[str, str]) -> str:
    """The page's body; `pictures` gives the address (here: the data) of each figure by name."""
    return "\n".join(_html(block, pictures) for block in blocks)
