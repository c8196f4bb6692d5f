"""LiveQA's medical task (github.com/abachaa/LiveQA_MedicalTask_TREC2017): letters to the US National Library of Medicine, with answers, as XML.

A letter has a subject and a message; both are the question, in two lines, because a message such as "are they gluten free" says nothing alone.
Training file 1 splits letters into sub-questions (a focus and a type, without words of their own) with one or more answers each, file 2 has one
answer a letter, the test file several. Every answer is a pair of its own. The names of the elements differ between the files in their
case, and `RefAnswer` stands for `ReferenceAnswer` in places.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from data_prep.records import BadInput, OpenQuestion, Record, Reject, attempt

NO_SUBJECT = {"", "no"}  # training file 2 has "No" where a letter came without one


def read(path: Path, split: str = "train") -> Iterator[Record | Reject]:
    """Yield one open question an answer; `row` counts the answers of the file. A letter without an answer is one reject."""
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: an encoding that Python's parser does not know
        raise BadInput(f"{path}: not XML ({error}); fetch the file again, it may be cut short") from error
    letters = root.findall("NLM-QUESTION")
    if not letters:
        raise BadInput(f"{path}: <{root.tag}> holds no <NLM-QUESTION>; is it one of LiveQA's question files?")
    row = 0
    for letter in letters:
        key = letter.get("questionid") or letter.get("qid")
        subject, message = (_text(letter, name) for name in ("subject", "message"))
        question = "\n".join(part for part in ("" if subject.casefold() in NO_SUBJECT else subject, message) if part)
        answers = [element for element in letter.iter() if element.tag.casefold() == "answer"] or [None]
        for place, element in enumerate(answers, start=1):
            row += 1
            answer = None if element is None else "".join(element.itertext())
            origin_id = f"liveqa:{split}:{key}-{place}"
            common = dict(id=f"{origin_id}:en" if key else None, origin_id=origin_id, lang="en", source="liveqa", split=split)
            content = {"question": key, "subject": subject, "message": message, "answer": answer}
            yield attempt(OpenQuestion, path.name, row, content, question=question, answer=answer, **common)


def _text(letter: ElementTree.Element, name: str) -> str:
    """The text of the first element of that name in any case; empty where there is none."""
    found = next((element for element in letter.iter() if element.tag.casefold() == name), None)
    return "" if found is None else "".join(found.itertext()).strip()
