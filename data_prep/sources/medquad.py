"""MedQuAD (github.com/abachaa/MedQuAD): question-answer pairs from NIH web sites, 11,274 XML files in one tar.gz, or the parquet of the Hub's lavita/MedQuAD.

Folders 10 to 12 have their answers removed at the owner's wish (MedlinePlus, 31,029 pairs): such pairs are counted, never refilled.
Four files (16 pairs) use another schema, one differs in its root only, six hold no pair; the Hub has none of the first and the last kind. `qid`
repeats, so a pair is named by folder, file and pid.
"""

import gzip
import re
import tarfile
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator
from pathlib import Path

from data_prep.files import read_rows
from data_prep.records import BadInput, OpenQuestion, Record, Reject, attempt

REMOVED = ("10_", "11_", "12_")
# the Hub names the web site only: the folder that holds its files
FOLDERS = {
    "CancerGov": "1_CancerGov_QA",
    "GARD": "2_GARD_QA",
    "GHR": "3_GHR_QA",
    "MPlusHealthTopics": "4_MPlus_Health_Topics_QA",
    "NIDDK": "5_NIDDK_QA",
    "NINDS": "6_NINDS_QA",
    "NIHSeniorHealth": "7_SeniorHealth_QA",
    "NHLBI": "8_NHLBI_QA_XML",
    "CDC": "9_CDC_QA",
    "ADAM": "10_MPlus_ADAM_QA",
    "MPlusDrugs": "11_MPlusDrugs_QA",
    "MPlusHerbsSupplements": "12_MPlusHerbsSupplements_QA",
}


def read(path: Path, split: str = "train") -> Iterator[Record | Reject]:
    """Yield the pairs of every XML file, in the archive's order; `row` of a reject is the pair's place in its file. A parquet's rows are pairs."""
    if path.suffix == ".parquet":
        yield from _hub(path, split)
        return
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".xml"):
                    yield from _pairs(path.name, member.name.removeprefix("./"), archive.extractfile(member).read(), split)
            while archive.fileobj.read(2**20):  # tarfile takes a damaged header for the end: only at the very end gzip's checksum tells
                pass
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BadInput(f"{path}: not a whole tar.gz archive ({error}); fetch the file again, it may be cut short") from error


def _pairs(archive: str, name: str, data: bytes, split: str) -> Iterator[Record | Reject]:
    file = f"{archive}!{name}"
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: an encoding that Python's parser does not know
        yield Reject(reason="malformed_xml", file=file, row=1, message=f"not XML ({error}); fetch the archive again")
        return
    pairs = root.findall("QAPairs/QAPair")
    if root.tag not in ("Document", "DiseaseFile"):
        for row, _ in enumerate(root.findall("qaPairs/pair") or [root], start=1):
            message = f"its schema is <{root.tag}>, not <Document>; no reader for it, nothing to do"
            yield Reject(reason="other_schema", file=file, row=row, message=message)
        return
    if not pairs:
        yield Reject(reason="no_pairs", file=file, row=1, message="holds no question-answer pair; nothing to do")
    for row, pair in enumerate(pairs, start=1):
        yield _pair(file, row, f"{name.removesuffix('.xml')}-{pair.get('pid')}", pair.findtext("Question"), pair.findtext("Answer"), split)


def _hub(path: Path, split: str) -> Iterator[Record | Reject]:
    """The Hub's rows under the archive's names. `document_id` is the file, but ten files of CancerGov carry the id of the one before them, and their
    own names end in _1, _2, ..: such a file begins where the pairs of a document begin to count anew (all 47,441 names come out the same).
    """
    counted: dict[tuple[str, str], tuple[int, int]] = {}  # the last pair of a document, and which file of that id it stood in
    for row, content in read_rows(path):
        folder = FOLDERS.get(str(content.get("document_source")))
        named = re.fullmatch(r"(.+)-([0-9]{1,9})", str(content.get("question_id")))
        if folder is None or named is None:
            message = (
                f"document_source {content.get('document_source')!r} and question_id {content.get('question_id')!r} name no pair of MedQuAD; correct the row"
            )
            yield Reject(reason="invalid_id", file=path.name, row=row, message=message, content=content)
            continue
        document, number = named[1], int(named[2])
        last, file = counted.get((folder, document), (0, 0))
        file += number <= last
        counted[folder, document] = number, file
        name = f"{folder}/{document}{f'_{file}' if file else ''}-{named[2]}"
        yield _pair(path.name, row, name, content.get("question"), content.get("answer"), split)


def _pair(file: str, row: int, name: str, question: object, answer: object, split: str) -> Record | Reject:
    if name.startswith(REMOVED) and (answer is None or not str(answer).strip()):
        message = "the owner removed this answer for copyright; nothing to do"
        return Reject(reason="removed_answer", file=file, row=row, message=message, content=question)
    origin_id = f"medquad:{split}:{name}"
    common = dict(id=f"{origin_id}:en", origin_id=origin_id, lang="en", source="medquad", split=split)
    content = {"question": question, "answer": answer}
    return attempt(OpenQuestion, file, row, content, question=question, answer=answer, **common)
