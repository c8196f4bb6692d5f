"""One reader per origin. A reader takes the file as its owner publishes it and yields records and rejects, never a guess.

Every reader is `read(path, split, **options)`; `READERS` maps the name that a recipe uses to it.
"""

from data_prep.sources import (
    chatdoctor,
    liveqa,
    medical_meadow,
    medicationqa,
    medmcqa,
    medqa,
    medquad,
    mmlu,
    mmmlu,
    pubmedqa,
    records,
    samples,
    table,
    umls,
)

READERS = {
    "samples": samples.read,
    "pubmedqa": pubmedqa.read,
    "medqa": medqa.read,
    "medmcqa": medmcqa.read,
    "mmlu": mmlu.read,
    "mmmlu": mmmlu.read,
    "medquad": medquad.read,
    "chatdoctor": chatdoctor.read,
    "medical_meadow": medical_meadow.read,
    "liveqa": liveqa.read,
    "medicationqa": medicationqa.read,
    "umls": umls.read,
    "records": records.read,
    "table": table.read,
}
