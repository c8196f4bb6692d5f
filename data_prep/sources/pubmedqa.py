"""PubMedQA (github.com/pubmedqa/pubmedqa): questions on abstracts, as an object keyed by PMID, or as the parquet of the Hub's qiaojin/PubMedQA.

The labelled file (ori_pqal.json) has 1,000 questions: the 500 PMIDs of test_ground_truth.json are the test set, the other 500 are for training. The
artificial file (ori_pqaa.json, 211,269 questions, half a gigabyte) trains as a whole. The label is `final_decision`; the `*_pred` fields are guesses of a
model and are not read. The abstract's sections are the context, LONG_ANSWER (the abstract's conclusion) the explanation. Nothing is stripped from the
text: 22 abstracts hold `<or =5` and the like, which are no tags.
"""

import hashlib
import math
import random
from collections.abc import Iterator
from pathlib import Path

import ijson

from data_prep.files import first_character, read_json, read_rows
from data_prep.records import BadInput, MultipleChoice, Record, Reject, attempt

OPTIONS = ["yes", "no", "maybe"]
# 11 MB/s where the C backend has 210 (50 s for the whole file), but that one writes ? for half a surrogate pair, and no text is changed in silence
STREAM = ijson.get_backend("python")
# of the 500 official PMIDs, sorted and joined by line breaks: what is drawn here must be what the owners drew
OFFICIAL_TEST = "406e3b89eff577ed38571eca5a5819734a6f49ac0437d171b6c64e5c3cd195f8"


def read(path: Path, split: str | None = None, test_ids: str | None = "test_ground_truth.json", others: int | None = None) -> Iterator[Record | Reject]:
    """Yield all questions, `test` for the PMIDs in `test_ids` (a file beside `path`), else `split` or `train`; of these at most `others`.

    The Hub has no list of test ids: without the file beside it, a parquet's are drawn as the owners drew them, and compared with theirs by checksum.
    `test_ids: null` says that nothing is for testing, and reads the file as a stream.
    """
    rows: Iterator | list = _parquet(path) if path.suffix == ".parquet" else _json(path, streamed=test_ids is None)
    test: set[str] = set()
    if test_ids is not None:
        ids_file = path.with_name(test_ids)
        drawn = path.suffix == ".parquet" and not ids_file.is_file()
        test = set() if drawn else _listed(ids_file, path)
        rows = list(rows)
        test = _drawn(rows, path, ids_file) if drawn else test
        for absent in sorted(test - {pmid for _, pmid, _ in rows}):
            raise BadInput(f"{path}: the test id {absent} of {ids_file.name} is not in it; the two files belong together")
    for row, pmid, content in rows:
        where = "test" if pmid in test else split or "train"
        if where != "test" and others is not None:
            if not others:
                continue
            others -= 1
        if not isinstance(content, dict):
            message = f"PMID {pmid}: not an object with QUESTION, CONTEXTS and final_decision; correct or remove it"
            yield Reject(reason="invalid_record", file=path.name, row=row, message=message, content=content)
            continue
        sections = content.get("CONTEXTS") or []
        texts = isinstance(sections, list) and all(isinstance(section, str) for section in sections)
        decision = content.get("final_decision")
        if decision not in OPTIONS:
            message = f"PMID {pmid}: final_decision is {decision!r}, it must be one of {', '.join(OPTIONS)}"
            yield Reject(reason="answer_not_among_options", file=path.name, row=row, message=message, content=content)
            continue
        yield attempt(
            MultipleChoice,
            path.name,
            row,
            content,
            id=f"pubmedqa:{where}:{pmid}:en" if pmid else None,
            origin_id=f"pubmedqa:{where}:{pmid}",
            lang="en",
            source="pubmedqa",
            split=where,
            benchmark="pubmedqa",
            question=content.get("QUESTION"),
            options=OPTIONS,
            answer=OPTIONS.index(decision),
            context=(" ".join(sections) or None) if texts else sections,
            explanation=content.get("LONG_ANSWER") or None,
        )


def _json(path: Path, streamed: bool) -> Iterator[tuple[int, str, object]]:
    if first_character(path) != b"{" or not streamed:
        questions = read_json(path)
        if not isinstance(questions, dict):
            raise BadInput(f"{path}: a JSON {type(questions).__name__}, but {path.name} is an object keyed by PMID")
        yield from ((row, pmid, content) for row, (pmid, content) in enumerate(questions.items(), start=1))
        return
    try:
        with path.open("rb") as text:
            if text.read(3) != b"\xef\xbb\xbf":
                text.seek(0)
            for row, (pmid, content) in enumerate(STREAM.kvitems(text, "", use_float=True), start=1):
                yield row, pmid, content
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not JSON ({error}); fetch the file again, it may be cut short") from error


def _parquet(path: Path) -> Iterator[tuple[int, str | None, dict]]:
    """The Hub's columns under the owners' names."""
    for row, content in read_rows(path):
        context, pmid = content.get("context"), content.get("pubid")
        fields = {"QUESTION": content.get("question"), "CONTEXTS": context.get("contexts") if isinstance(context, dict) else context}
        fields |= {"LONG_ANSWER": content.get("long_answer"), "final_decision": content.get("final_decision")}
        yield row, None if pmid is None else str(pmid), fields


def _listed(ids_file: Path, path: Path) -> set[str]:
    if not ids_file.is_file():
        raise BadInput(f"{ids_file} is missing: it holds the official test ids; it stands beside {path.name} in PubMedQA's data folder")
    test = read_json(ids_file)
    if not isinstance(test, dict):
        raise BadInput(f"{ids_file}: a JSON {type(test).__name__}, but the official test ids are the keys of an object")
    return set(test)


def _drawn(rows: list[tuple], path: Path, ids_file: Path) -> set[str]:
    """The test set as the owners' preprocess/split_dataset.py draws it: seed 0, label by label the PMIDs shuffled, the second half taken."""
    chance, test = random.Random(0), []
    for label in OPTIONS:
        pmids = [pmid for _, pmid, content in rows if content["final_decision"] == label]
        chance.shuffle(pmids)
        test += pmids[math.ceil(len(pmids) / 2) :]
    if hashlib.sha256("\n".join(sorted(map(str, test))).encode()).hexdigest() != OFFICIAL_TEST:
        raise BadInput(f"{path}: the official test questions cannot be told from it; put {ids_file.name} from PubMedQA's data folder beside it")
    return set(test)
