"""Every leaf of every segment of a directory store, as fastavro reads it: no code of authseal is involved.

usage: leaves.py STORE     prints partition, offset, kind and the SHA-256 of the value (- for none), separated by tabs
"""
import hashlib
import pathlib
import sys

import fastavro

for file in sorted(pathlib.Path(sys.argv[1], "chains").rglob("*.avro")):
    partition = int(file.parts[-3])
    with file.open("rb") as stream:
        for leaf in fastavro.reader(stream):
            value = leaf["value"]
            digest = "-" if value is None else hashlib.sha256(value).hexdigest()
            print(partition, leaf["offset"], leaf["kind"], digest, sep="\t")
