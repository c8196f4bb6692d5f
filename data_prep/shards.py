"""Write rows as parquet shards in the layout of the Hugging Face Hub: NAME-00000-of-0000N.parquet, columns as the JSONL rows have them."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.records import BadInput

SHARD = 256 * 2**20  # bytes on the disk, about: a shard ends with the row group that passes it
GROUP = 5_000  # rows of a row group, about 8 MB of text: what a reader holds at once

TRAINING = pa.schema(
    [
        ("id", pa.string()),
        ("conversations", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))),
        *((name, pa.string()) for name in ("lang", "kind", "source", "split", "origin_id")),
    ]
)
EVALUATION = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "benchmark", "lang", "prompt", "lead")),
        ("letters", pa.list_(pa.string())),
        ("answer", pa.int64()),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("context", pa.string()),
        ("origin_id", pa.string()),
    ]
)


def write(rows: Iterator[dict], schema: pa.Schema, folder: Path, name: str, shard: int = SHARD) -> list[Path]:
    """Write `rows` into `folder` as shards of about `shard` bytes; returns their paths. Raises BadInput for a row of another form."""
    parts: list[Path] = []
    writer = None
    while batch := list(islice(rows, GROUP)):
        table = _table(batch, schema)
        if writer is None:
            folder.mkdir(parents=True, exist_ok=True)
            parts.append(folder / f"{name}-{len(parts):05d}")
            sink = pa.OSFile(str(parts[-1]), "wb")
            writer = pq.ParquetWriter(sink, schema, compression="zstd")
        writer.write_table(table, row_group_size=GROUP)
        if sink.tell() >= shard:
            writer.close()
            sink.close()
            writer = None
    if writer is not None:
        writer.close()
        sink.close()
    return [part.rename(part.with_name(f"{part.name}-of-{len(parts):05d}.parquet")) for part in parts]


def _table(batch: list[dict], schema: pa.Schema) -> pa.Table:
    names = set(schema.names)
    for row in batch:
        if row.keys() != names:  # pyarrow would drop what it does not know, and fill in what is missing
            raise BadInput(
                f"the row {row.get('id')} has the keys {', '.join(sorted(row))}, where {', '.join(sorted(names))} are needed; build the data set again"
            )
    try:
        return pa.Table.from_pylist(batch, schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BadInput(f"the rows {batch[0]['id']} to {batch[-1]['id']} hold a value of another type ({error}); build the data set again") from error
