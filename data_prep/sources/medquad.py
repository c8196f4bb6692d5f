"""MedQuAD (github.com/abachaa/MedQuAD): question-answer pairs from NIH web sites, 11,274 XML files in one tar.gz.

Folders 10 to 12 have their answers removed at the owner's wish (MedlinePlus, 31,029 pairs): such pairs are counted, never refilled.
Four files (16 pairs) use another schema, one differs in
its root only, six hold no pair. `qid` repeats, so a pair is named by folder, file and pid.
"""

import gzip
import tarfile
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator
from pathlib import Path

from data_prep.records import BadInput, OpenQuestion, Record, Reject, attempt

REMOVED = ("10_", "11_", "12_")


def read(path: Path, split: str = "train") -> Iterator[Record | Reject]:
    """Yield the pairs of every XML file, in the archive's order; `row` of a reject is the pair's place in its file."""
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
    except ElementTree.ParseError as error:
        yield Reject(reason="malformed_xml", file=file, row=1, message=f"not XML ({error}); fetch the archive again")
        return
    pairs = root.findall("QAPairs/QAPair")
    if root.tag not in ("Document", "DiseaseFile"):
        for row, _ in enumerate(root.findall("qaPairs/pair"), start=1):
            message = f"its schema is <{root.tag}>, not <Document>; no reader for it, nothing to do"
            yield Reject(reason="other_schema", file=file, row=row, message=message)
        return
    if not pairs:
        yield Reject(reason="no_pairs", file=file, row=1, message="holds no question-answer pair; nothing to do")
    for row, pair in enumerate(pairs, start=1):
        question, answer = pair.findtext("Question"), pair.findtext("Answer")
        if name.startswith(REMOVED) and not (answer or "").strip():
            message = "the owner removed this answer for copyright; nothing to do"
            yield Reject(reason="removed_answer", file=file, row=row, message=message, content=question)
            continue
        origin_id = f"medquad:{split}:{name.removesuffix('.xml')}-{pair.get('pid')}"
        common = dict(id=f"{origin_id}:en", origin_id=origin_id, lang="en", source="medquad", split=split)
        content = {"question": question, "answer": answer}
        yield attempt(OpenQuestion, file, row, content, question=question, answer=answer, **common)
