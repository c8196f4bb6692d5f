"""PubMedQA's expert-labelled file (ori_pqal.json), github.com/pubmedqa/pubmedqa: an object keyed by PMID, 1,000 questions.

The 500 PMIDs of test_ground_truth.json are the test set, the other 500 are for training. The label is `final_decision`; the
`*_pred` fields are guesses of a model and are not read. The abstract's sections are the context, LONG_ANSWER (the abstract's
conclusion) the explanation. Nothing is stripped from the text: 22 abstracts hold `<or =5` and the like, which are no tags.
"""

from collections.abc import Iterator
from pathlib import Path

from data_prep.files import read_json
from data_prep.records import BadInput, MultipleChoice, Record, Reject, attempt

OPTIONS = ["yes", "no", "maybe"]


def read(path: Path, split: str | None = None, test_ids: str = "test_ground_truth.json") -> Iterator[Record | Reject]:
    """Yield all questions, `test` for the PMIDs in `test_ids` (a file beside `path`), else `split` or `train`."""
    ids_file = path.with_name(test_ids)
    if not ids_file.is_file():
        raise BadInput(f"{ids_file} is missing: it holds the official test ids; it stands beside {path.name} in PubMedQA's data folder")
    test = read_json(ids_file)
    if not isinstance(test, dict):
        raise BadInput(f"{ids_file}: a JSON {type(test).__name__}, but the official test ids are the keys of an object")
    questions = read_json(path)
    if not isinstance(questions, dict):
        raise BadInput(f"{path}: a JSON {type(questions).__name__}, but ori_pqal.json is an object keyed by PMID")
    for absent in sorted(set(test) - set(questions)):
        raise BadInput(f"{path}: the test id {absent} of {ids_file.name} is not in it; the two files belong together")
    for row, (pmid, content) in enumerate(questions.items(), start=1):
        where = "test" if pmid in test else split or "train"
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
            id=f"pubmedqa:{where}:{pmid}:en",
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
