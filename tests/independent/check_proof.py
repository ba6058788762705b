"""Checks a proof of authseal, by docs/format.md alone: no code of authseal is involved.

usage: check_proof.py FILE VERIFIER-KEYS-FILE [--pending]

Prints one line of JSON: what the proof proves, or the code of the first check that fails. Exits with 0 (proven), 10 (it
does not hold), 11 (it holds, and the record is not in the log) or 2 (usage). What it needs is in requirements.txt.
"""
import base64
import io
import json
import pathlib
import re
import sys

import fastavro

from log import leaf_hash, open_checkpoint, root_of_path
from segment import (MANIFEST, Fault, check_manifest, leaf_form, longs_fit, must, open_note, parse_line, parse_schema,
                     read_keys, sha256, unbase64)

PART = {"format": "str", "leaf": "int", "path": "list", "manifest": "int", "schema": "int", "record": "int",
        "stamp": "int"}
MAX_FILE, MAX_PATH = 96 << 20, 63


def digests(texts, what):
    must(type(texts) is list and len(texts) <= MAX_PATH, "proof_form", what)
    try:
        hashes = [unbase64(text) for text in texts]
    except (ValueError, TypeError) as e:
        raise Fault("proof_form", what) from e
    must(all(len(h) == 32 for h in hashes), "proof_form", what)
    return hashes


def split(data):
    """The part, and index, path and checkpoint; these are None in a pending proof."""
    form = "proof_form"
    must(len(data) <= MAX_FILE, form, "too long")
    try:
        text = data.decode()
    except UnicodeDecodeError as e:
        raise Fault(form, "no UTF-8") from e
    match = re.match(r"(c2sp\.org/tlog-proof@v1|authseal/pending-proof@1)\nextra ([A-Za-z0-9+/=]+)\n", text)
    must(match, form, "not the lines of a proof")
    try:
        part = unbase64(match[2])
    except ValueError as e:
        raise Fault(form, "extra is not base64") from e
    rest = text[match.end():]
    if match[1].startswith("authseal/"):
        must(not rest, form, "something follows")
        return part, None
    match = re.match(r"index (0|[1-9][0-9]{0,19})\n((?:[A-Za-z0-9+/=]+\n)*)\n", rest)
    must(match and int(match[1]) < 2**64, form, "no index, or what is no hash")
    return part, (int(match[1]), digests(match[2].split("\n")[:-1], "hashes"), rest[match.end():].encode())


def split_part(part):
    """The line, the signed manifest, the schema, the record, the time stamp of the checkpoint."""
    form, end = "proof_form", part.find(b"\n") + 1
    must(0 < end <= 4096, form, "no first line")
    try:
        line = json.loads(part[:end])
    except (ValueError, RecursionError) as e:
        raise Fault(form, f"no JSON: {e}") from e
    must(type(line) is dict and list(line) == list(PART), form, "fields of the first line")
    must(line["format"] == "authseal/proof@1", form, "another format")
    names = ("leaf", "manifest", "schema", "record", "stamp")
    must(all(type(line[name]) is int and 0 <= line[name] < 2**64 for name in names), form, "numbers of the line")
    line["path"] = digests(line["path"], "path")
    again = {**line, "path": [base64.b64encode(h).decode() for h in line["path"]]}
    must(part[:end] == json.dumps(again, separators=(",", ":")).encode() + b"\n", form, "not canonical")
    must(0 < line["manifest"] <= 8192 and 0 < line["schema"] <= 131_072 and 0 < line["record"] <= 67_108_864, form)
    must(line["stamp"] <= 262_144, form, "too long a stamp")
    must(len(part) == end + line["manifest"] + line["schema"] + line["record"] + line["stamp"], form, "lengths")
    schema = end + line["manifest"]
    record = schema + line["schema"]
    stamp = record + line["record"]
    return line, part[end:schema], part[schema:record], part[record:stamp], part[stamp:]


def read_record(schema_text, data):
    schema, ints, maps = parse_schema(schema_text)
    stream, again = io.BytesIO(data), io.BytesIO()
    try:
        leaf = fastavro.schemaless_reader(stream, schema)
        fastavro.schemaless_writer(again, schema, leaf)
    except Exception as e:  # whatever hostile bytes make fastavro say
        raise Fault("leaf_form", f"{type(e).__name__}: {e}") from e
    must(again.getvalue() == data, "leaf_form", "not the canonical encoding")
    wrong = "a number beyond 64 bits" if not longs_fit(leaf) else leaf_form(leaf, ints, maps)
    must(wrong is None, "leaf_form", wrong)
    return leaf


def check(data, keys):
    part, outer = split(data)
    line, note, schema, record, stamp = split_part(part)
    must(outer is not None or not stamp, "proof_form", "a stamp of nothing")
    text, (key_name, _) = open_note(note, keys)
    must(text.count("\n") == 1, "manifest_form", "not one line")
    m = parse_line(text.encode(), MANIFEST, "manifest_form", "manifest_unknown_field")
    check_manifest(m)
    must(key_name == m["origin"] + "/seal", "key_name", key_name)
    must(sha256(schema) == unbase64(m["schema"]), "schema_digest")
    leaf = read_record(schema, record)
    to = leaf["gap"]["to"] if leaf["gap"] else leaf["offset"] + 1
    inside = m["offsets"]["from"] <= leaf["offset"] and to <= m["offsets"]["to"]
    must(m["kind"] == "data" and inside, "proof_record", "offsets")
    root = root_of_path(line["leaf"], m["counts"]["records"], leaf_hash(record), line["path"])
    must(root == unbase64(m["root"]), "proof_record", "path")
    c = m["chain"]
    position = f"{c['cluster']}/{c['topic']}/{c['partition']}/{c['incarnation']}@{leaf['offset']}"
    proven = {"verdict": "proven", "position": position, "to": to, "kind": leaf["kind"], "leaf": line["leaf"],
              "user": leaf["event"] and leaf["event"]["user"], "sealed": m["times"]["sealed"],
              "manifest": base64.b64encode(leaf_hash(text.encode())).decode(), "index": None, "size": None}
    if outer is None:
        return {**proven, "verdict": "pending"}
    index, path, checkpoint = outer
    size, root, _ = open_checkpoint(checkpoint, keys, m["origin"])
    must(root_of_path(index, size, leaf_hash(text.encode()), path) == root, "proof_log", "path")
    # whose stamp it is, `openssl ts -verify` says: docs/verification.md
    must(not stamp or sha256(checkpoint) in stamp, "stamp_imprint", "a stamp of something else")
    return {**proven, "index": index, "size": size}


def main(arguments):
    pending = "--pending" in arguments
    arguments = [argument for argument in arguments if argument != "--pending"]
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        data, keys = pathlib.Path(arguments[0]).read_bytes(), read_keys(pathlib.Path(arguments[1]).read_text())
    except (OSError, ValueError) as e:
        print(e, file=sys.stderr)
        return 2
    try:
        proven = check(data, keys)
    except Fault as fault:
        print(json.dumps({"verdict": "refused", "code": fault.code, "detail": fault.detail}))
        return 10
    print(json.dumps(proven))
    return 11 if proven["verdict"] == "pending" and not pending else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
