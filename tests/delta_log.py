"""Delta tables written by hand, for what deltalake reads and does not write."""

from __future__ import annotations

import json
import os
import string
import struct
import uuid
import zlib
from urllib.parse import quote

import pyarrow.parquet as pq

_Z85 = string.digits + string.ascii_letters + ".-:+=^!/*?&<>()[]{}@%$#"


def field(name, type_, *, nullable=True, **metadata):
    return {"name": name, "type": type_, "nullable": nullable, "metadata": metadata}


def mapped(name, type_, number):
    """A column of a table that maps names; it is ``col-<number>`` in the files."""
    metadata = {
        "delta.columnMapping.id": number,
        "delta.columnMapping.physicalName": f"col-{number}",
    }
    return field(name, type_, **metadata)


def protocol(*features, reader=3):
    versions = {"minReaderVersion": reader, "minWriterVersion": 7 if reader == 3 else 5}
    if reader == 3:
        versions |= {"readerFeatures": features, "writerFeatures": features}
    return {"protocol": versions}


def metadata(fields, partitioned=(), **configuration):
    schema = json.dumps({"type": "struct", "fields": fields})
    return {
        "metaData": {
            "id": str(uuid.uuid4()),
            "format": {"provider": "parquet", "options": {}},
            "schemaString": schema,
            "partitionColumns": list(partitioned),
            "createdTime": 1,
            "configuration": {f"delta.{k}": v for k, v in configuration.items()},
        }
    }


def add(root, name, table, *, values=None, deleted=None, time=1, **options):
    """Write a data file and give the action that adds it."""
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    pq.write_table(table, path, **options)
    action = {
        "path": quote(name),
        "partitionValues": values or {},
        "size": os.path.getsize(path),
        "modificationTime": time,
        "dataChange": True,
        "stats": json.dumps({"numRecords": table.num_rows}),
    }
    return {"add": action | ({"deletionVector": deleted} if deleted else {})}


def commit(root, version, *actions):
    log = os.path.join(root, "_delta_log")
    os.makedirs(log, exist_ok=True)
    with open(os.path.join(log, f"{version:020}.json"), "w") as file:
        file.write("\n".join(json.dumps(action) for action in actions))


def deleted_inline(rows):
    """A deletion vector inside the log."""
    content = _bitmap(rows)
    return {
        "storageType": "i",
        "pathOrInlineDv": _z85(content + bytes(-len(content) % 4)),
        "sizeInBytes": len(content),
        "cardinality": len(rows),
    }


def deleted_file(root, rows):
    """A deletion vector in a file of its own."""
    content, number = _bitmap(rows), uuid.uuid4()
    with open(os.path.join(root, f"deletion_vector_{number}.bin"), "wb") as file:
        file.write(b"\x01" + struct.pack(">I", len(content)) + content)
        file.write(struct.pack(">I", zlib.crc32(content)))
    return {
        "storageType": "u",
        "pathOrInlineDv": _z85(number.bytes),
        "offset": 1,
        "sizeInBytes": len(content),
        "cardinality": len(rows),
    }


def _bitmap(rows):
    """A 64-bit Roaring bitmap of one container of up to 4,096 sorted rows."""
    header = struct.pack("<IQI", 1681511377, 1, 0)
    container = struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16)
    return header + container + struct.pack(f"<{len(rows)}H", *sorted(rows))


def _z85(content):
    text = ""
    for start in range(0, len(content), 4):
        value = int.from_bytes(content[start : start + 4], "big")
        digits = [_Z85[value // 85**power % 85] for power in range(4, -1, -1)]
        text += "".join(digits)
    return text
