"""One segment of authseal, checked by docs/format.md alone: canonical JSON, signed note, container, leaves.

No code of authseal is involved. Avro is read and written by fastavro, signatures are checked by cryptography; the
versions are in requirements.txt.
"""
import base64
import collections
import hashlib
import io
import json
import re
import zlib

import cramjam
import fastavro
import fastavro.read
import fastavro.schema
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

try:
    from compression import zstd  # Python 3.14
except ImportError:
    from backports import zstd

MAX_OBJECT, MAX_SEGMENT, MAX_BLOCK, MAX_VALUE = 134_217_728, 67_108_864, 1_048_576, 16_777_216
MAX_METADATA, MAX_LINE, MAX_WINDOW = 131_072, 4096, 8_388_608
CAUSES = ("not_delivered", "unexplained", "lost", "before_chain", "skipped")

# moments stay numbers: datetime cannot hold every one of them
identity = lambda data, *_: data
for kind in ("long-timestamp-micros", "long-timestamp-millis", "int-date"):
    fastavro.read.LOGICAL_READERS[kind] = identity


class Fault(Exception):
    def __init__(self, code, detail="", offset=None):
        super().__init__(code, detail)
        self.code, self.detail, self.offset = code, detail, offset


def must(condition, code, detail="", offset=None):
    if not condition:
        raise Fault(code, detail, offset)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def unbase64(text):
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("loose bits")
    return data


# --- canonical JSON ---------------------------------------------------------------------------------------------------

# The fields of a line in their order. A dict is an object, a list an array of what it has, "digest" 32 bytes, "str" and
# "int" themselves; "?" allows null.
BROKER = {"cluster_id": "str?", "topic_id": "str?", "partitions": "int?", "leader_epoch": "int?", "log_start": "int?",
          "last_stable": "int?", "high_watermark": "int?"}
START = {"reason": "str", "detail": "str", "previous": "digest?"}
MANIFEST = {
    "format": "str", "origin": "str",
    "chain": {"cluster": "str", "topic": "str", "partition": "int", "incarnation": "int"},
    "sequence": "int", "previous": "digest?", "start": ("?", START), "kind": "str",
    "offsets": {"from": "int", "to": "int"},
    "counts": {"records": "int", "events": "int", "rejections": "int", "opaque": "int",
               "gaps": {cause: "int" for cause in CAUSES}},
    "root": "digest", "body": {"bytes": "int", "sha256": "digest"}, "schema": "digest",
    "times": {"first_event": "int?", "last_event": "int?", "first_record": "int?", "last_record": "int?",
              "sealed": "int"},
    "next_by": "int", "broker": BROKER, "artifacts": {"rules": "digest?", "decode": "digest?"},
    "writer": {"version": "str", "instance": "str"}, "retention": {"mode": "str", "until": "int?"}, "index": "digest?",
}
STORE = {"format": "str", "origin": "str", "layout": "int", "merge_delay": "int", "created": "int"}


def conforms(value, shape, form, unknown):
    if isinstance(shape, tuple):
        if value is None:
            return
        shape = shape[1]
    if isinstance(shape, dict):
        must(isinstance(value, dict), form, "no object")
        more = [name for name in value if name not in shape]
        must(not more, unknown, f"unknown {more}")
        must(list(value) == list(shape), form, "fields missing or in another order")
        for name, inner in shape.items():
            conforms(value[name], inner, form, unknown)
        return
    if isinstance(shape, list):
        must(isinstance(value, list), form, "no array")
        for inner in value:
            conforms(inner, shape[0], form, unknown)
    elif value is None:
        must(shape.endswith("?"), form, "null where nothing may be missing")
    elif shape.startswith("int"):
        must(type(value) is int and -(2**63) <= value < 2**63, form, "no 64-bit number")
    else:
        must(type(value) is str, form, "no string")
        must(not any(0xD800 <= ord(c) < 0xE000 for c in value), form, "a lone surrogate")
        if shape.startswith("digest"):
            try:
                must(len(unbase64(value)) == 32, form, "no digest")
            except ValueError as e:
                raise Fault(form, f"no digest: {e}") from e


def parse_line(line, shape, form, unknown):
    must(len(line) <= MAX_LINE, form, "longer than 4096 bytes")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise Fault(form, f"no JSON: {e}") from e
    conforms(value, shape, form, unknown)
    again = json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
    must(line == again, form, "not canonical")
    return value


def is_name(text):
    return re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", text) is not None and text not in (".", "..")


def is_origin(text):
    return 1 <= len(text) <= 200 and all("!" <= c <= "~" and c not in '+"\\' for c in text)


def check_manifest(m):
    """The values of a manifest, by themselves."""
    def good(condition, what):
        must(condition, "manifest_form", what)

    chain, sequence, start, c = m["chain"], m["sequence"], m["start"], m["counts"]
    begin, end = m["offsets"]["from"], m["offsets"]["to"]
    good(m["format"] == "authseal/segment@1", "format")
    good(is_origin(m["origin"]), "origin")
    good(is_name(chain["cluster"]) and is_name(chain["topic"]), "names")
    good(0 <= chain["partition"] <= 99_999 and 0 <= chain["incarnation"] <= 9_999, "partition or incarnation")
    good(0 <= sequence <= 999_999_999_999, "sequence")
    good((sequence == 0) == (m["previous"] is None) == (start is not None), "previous or start")
    if start is not None:
        good(start["reason"] == ("new" if chain["incarnation"] == 0 else "reset"), "start.reason")
        good(start["reason"] == "reset" or start["previous"] is None, "start.previous")
    good(0 <= begin <= end, "offsets")
    kinds, gaps = (c["events"], c["rejections"], c["opaque"]), [c["gaps"][cause] for cause in CAUSES]
    good(min(c["records"], *kinds, *gaps) >= 0, "negative counts")
    good(sum(kinds) + sum(gaps) == end - begin, "counts and offsets")
    good(sum(n > 0 for n in gaps) <= c["records"] - sum(kinds) <= sum(gaps), "counts.records")
    nothing = base64.b64encode(sha256()).decode()
    if m["kind"] == "data":
        good(begin < end and m["body"]["bytes"] > 0, "data without records")
    else:
        good(m["kind"] in ("heartbeat", "close"), "kind")
        good(begin == end and m["root"] == nothing, "no data, yet records")
        good(m["body"] == {"bytes": 0, "sha256": nothing}, "no data, yet a body")
    t = m["times"]
    for first, last in ((t["first_event"], t["last_event"]), (t["first_record"], t["last_record"])):
        good((first is None) == (last is None) and (first is None or first <= last), "times")
    good((c["events"] > 0) == (t["first_event"] is not None), "times of events")
    good(sum(kinds) > 0 or t["first_record"] is None, "times of records")
    good(0 <= t["sealed"] <= m["next_by"], "sealed or next_by")
    good(all(value is None or type(value) is str or value >= 0 for value in m["broker"].values()), "broker")
    mode, until = m["retention"]["mode"], m["retention"]["until"]
    good(mode in ("COMPLIANCE", "GOVERNANCE", "NONE"), "retention.mode")
    good((mode == "NONE") == (until is None), "retention.until")
    good(until is None or (until >= 0 and until % 1000 == 0), "retention.until")


# --- signed notes -----------------------------------------------------------------------------------------------------

def read_key(line):
    """Name and id of a verifier key, and the key itself."""
    name, key_id, data = line.split("+", 2)
    data = unbase64(data)
    if data[:1] != b"\x01" or len(data) != 33 or sha256(name.encode(), b"\n", data)[:4].hex() != key_id:
        raise ValueError(f"not an Ed25519 verifier key: {line}")
    return (name, bytes.fromhex(key_id)), Ed25519PublicKey.from_public_bytes(data[1:])


def read_keys(text):
    return dict(read_key(line) for line in text.splitlines() if line and not line.startswith("#"))


def open_note(note, keys):
    """The text of a note with one good signature, and name and id of its key."""
    must(not any(byte < 0x20 and byte != 0x0A for byte in note), "note_form", "control characters")
    try:
        note = note.decode()
    except UnicodeDecodeError as e:
        raise Fault("note_form", "no UTF-8") from e
    at = note.rfind("\n\n")
    must(at >= 0, "note_form", "no empty line")
    text, lines = note[:at + 1], note[at + 2:]
    match = re.fullmatch("\u2014 ([^ +]+) ([A-Za-z0-9+/=]+)\n", lines)
    must(match and not any(c.isspace() for c in match[1]), "note_form", "not one signature line")
    try:
        blob = unbase64(match[2])
    except ValueError as e:
        raise Fault("note_form", "no base64") from e
    must(len(blob) > 4, "note_form", "a short signature")
    key = keys.get((match[1], blob[:4]))
    must(key, "unknown_key", f"{match[1]}+{blob[:4].hex()}")
    try:
        key.verify(blob[4:], text.encode())
    except InvalidSignature as e:
        raise Fault("signature", f"{match[1]}+{blob[:4].hex()}") from e
    return text, (match[1], blob[:4])


# --- the container ----------------------------------------------------------------------------------------------------

class Reader:
    """Avro's numbers and bytes, in their one encoding."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if not 0 <= count <= len(self.data) - self.at:
            raise ValueError("the bytes end too early")
        self.at += count
        return self.data[self.at - count:self.at]

    def long(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if (byte == 0 and shift > 7) or shift > 70 or value >= 2**64:
            raise ValueError("a number that is padded or too long")
        return value >> 1 ^ -(value & 1)

    def bytes(self):
        return self.take(self.long())


def read_header(data):
    must(len(data) <= MAX_OBJECT and data[:4] == b"Obj\x01", "not_a_segment")
    reader, values = Reader(data[4:4 + MAX_METADATA]), []
    try:
        must(reader.long() == 3, "header_form", "not one block of three entries")
        for key in (b"avro.codec", b"avro.schema", b"authseal.manifest"):
            must(reader.bytes() == key, "header_form", f"no {key.decode()} where it should be")
            values.append(reader.bytes())
        must(reader.long() == 0, "header_form", "more entries")
    except ValueError as e:
        raise Fault("header_form", str(e)) from e
    rest = data[4 + reader.at:]
    must(len(rest) >= 16, "header_form", "no sync marker")
    must(values[0] in (b"null", b"deflate", b"snappy", b"zstandard"), "codec", repr(values[0]))
    return values[0].decode(), values[1], values[2], rest[:16], rest[16:]


def zstd_content(data):
    """The content size of a frame of the one form that is allowed (RFC 8878, 3.1.1.1)."""
    if data[:4] != b"\x28\xb5\x2f\xfd" or len(data) < 6 or data[4] & 0x1F:
        raise ValueError("not a zstd frame without checksum and dictionary")
    single, flag, at, window = data[4] & 0x20, data[4] >> 6, 5, None
    if not single:
        base = 1 << (10 + (data[5] >> 3))
        window, at = base + base // 8 * (data[5] & 7), 6
    width = (1 if single else 0, 2, 4, 8)[flag]
    if width == 0 or len(data) < at + width:
        raise ValueError("no content size")
    content = int.from_bytes(data[at:at + width], "little") + (256 if width == 2 else 0)
    if (content if single else window) > MAX_WINDOW:
        raise ValueError("a window over 8 MiB")
    return content


def decompress(codec, data, cap):
    if codec == "null":
        out = data
    elif codec == "deflate":
        state = zlib.decompressobj(-15)
        out = state.decompress(data, cap + 1)
        if not state.eof or state.unused_data:
            raise ValueError("not one deflate stream, or too large")
    elif codec == "snappy":
        length = shift = 0  # the length stands in front of the block
        for byte in data[:5]:
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if len(data) < 5 or length > cap:
            raise ValueError("too short or too large")
        out = bytes(cramjam.snappy.decompress_raw(data[:-4]))
        if zlib.crc32(out) != int.from_bytes(data[-4:], "big"):
            raise ValueError("CRC-32")
    else:
        content, state = zstd_content(data), zstd.ZstdDecompressor()
        if content > cap:
            raise ValueError("too large")
        out = state.decompress(data, cap + 1)
        if not state.eof or state.unused_data or len(out) != content:
            raise ValueError("not one zstd frame of its content size")
    if len(out) > cap:
        raise ValueError("too large")
    return out


# --- schema and leaves ------------------------------------------------------------------------------------------------

OUTER = """offset:long kind:enum(EVENT,REJECTION,OPAQUE,GAP)Kind timestamp:long
timestamp_type:enum(NONE,CREATE_TIME,LOG_APPEND_TIME)TimestampType key:?bytes
headers:array<record(key:bytes,value:?bytes)Header> value:?bytes
withheld:?record(code:string,length:long,mac:bytes)Withheld
protection:?record(scheme:string,key_id:string,nonce:bytes,ciphertext:bytes)Protection event:?record()AuthEvent
rejection:?record(code:string,detail:string)Rejection gap:?record(to:long,cause:string)Gap""".split()


def show(of, event=False):
    """A type in few words, to be compared with OUTER. The fields of an event are looked at elsewhere."""
    if isinstance(of, str):
        return of
    if isinstance(of, list):
        return "?" + show(of[1]) if len(of) == 2 and of[0] == "null" else "union"
    if "logicalType" in of:
        return f"{of['type']} {of['logicalType']}"
    if of["type"] == "array":
        return f"array<{show(of['items'])}>"
    if of["type"] == "map":
        return f"map<{show(of['values'])}>"
    name = of.get("name", "")
    name = name.removeprefix("authseal.") if name.startswith("authseal.") else f"unknown {name}"
    if of["type"] == "enum":
        return f"enum({','.join(of['symbols'])}){name}"
    if of["type"] == "record":
        fields = [] if name == "AuthEvent" else of["fields"]
        return f"record({','.join(f['name'] + ':' + show(f['type']) for f in fields)}){name}"
    return of["type"]


def event_form(of):
    """Whether a field of an event has a type that it can have."""
    if isinstance(of, list):
        return len(of) == 2 and of[0] == "null" and not isinstance(of[1], list) and event_form(of[1])
    if isinstance(of, dict) and of["type"] == "array":
        return of["items"] == "string"
    if isinstance(of, dict) and of["type"] == "map":
        return of["values"] == "string"
    if isinstance(of, dict):
        return of["type"] == "enum" or of["type"] == "long" or ("logicalType" not in of and event_form(of["type"]))
    return of in ("string", "long", "int", "double", "boolean")


def parse_schema(text):
    try:
        schema = fastavro.schema.parse_schema(json.loads(text))
        must(schema["type"] == "record" and schema["name"] == "authseal.SealedRecord", "schema_form", "another record")
        found = [f"{field['name']}:{show(field['type'])}" for field in schema["fields"]]
        must(found == OUTER, "schema_form", f"fields {found}")
        fields = schema["fields"][9]["type"][1]["fields"]
        names = [field["name"] for field in fields]
        must(len(set(names)) == len(names), "schema_form", "a field twice")
        must(all(event_form(field["type"]) for field in fields), "schema_form", "a field of an event")
        time = [show(field["type"]) for field in fields if field["name"] == "time"]
        must(time == ["long timestamp-micros"], "schema_form", "time")
    except Fault:
        raise
    except Exception as e:  # whatever a hostile schema makes fastavro say
        raise Fault("schema_form", str(e)) from e
    ints = [f["name"] for f in fields if f["type"] in ("int", ["null", "int"])]
    maps = [f["name"] for f in fields if isinstance(f["type"], dict) and f["type"]["type"] == "map"]
    return schema, ints, maps


def leaf_form(leaf, ints, maps):
    """What kind of record can be."""
    kind, event, gap = leaf["kind"], leaf["event"], leaf["gap"]
    if leaf["offset"] < 0 or leaf["protection"] is not None:
        return "offset or protection"
    parts = {"event": event, "rejection": leaf["rejection"], "gap": gap}
    wanted = {"EVENT": "event", "REJECTION": "rejection", "OPAQUE": None, "GAP": "gap"}[kind]
    if any((value is not None) != (name == wanted) for name, value in parts.items()):
        return "a part that its kind has not"
    if kind == "GAP":
        rest = [leaf[name] for name in ("timestamp", "timestamp_type", "key", "headers", "value", "withheld")]
        if rest != [0, "NONE", None, [], None, None]:
            return "a gap with parts of a record"
        if gap["to"] <= leaf["offset"] or gap["cause"] not in CAUSES:
            return "a gap that is none"
    elif leaf["offset"] == 2**63 - 1:
        return "the last offset"
    if leaf["value"] is not None and (leaf["withheld"] is not None or len(leaf["value"]) > MAX_VALUE):
        return "value"
    withheld = leaf["withheld"]
    if withheld is not None and (withheld["length"] < 0 or len(withheld["mac"]) != 32):
        return "withheld"
    if event is not None:
        if any(event[name] is not None and not -(2**31) <= event[name] < 2**31 for name in ints):
            return "an int of more than 32 bits"
        for name in maps:
            keys = [key.encode() for key in event[name] or {}]
            if keys != sorted(keys):
                return "a map out of order"
    return None


def longs_fit(leaf):
    """Python's numbers have no end: a long that fastavro read beyond 64 bits."""
    values = [leaf["offset"], leaf["timestamp"], leaf["gap"]["to"] if leaf["gap"] else 0]
    values += [v for v in (leaf["event"] or {}).values() if type(v) is int]
    return all(-(2**63) <= value < 2**63 for value in values)


class Tally:
    """What the leaves of a segment add up to."""

    def __init__(self, begin):
        self.next, self.peaks, self.leaves = begin, [], 0
        self.kinds, self.gaps = collections.Counter(), collections.Counter()
        self.events, self.stamps = [], []

    def add(self, data, leaf):
        must(leaf["offset"] == self.next, "offsets", f"{leaf['offset']} where {self.next} should be", self.next)
        self.next = leaf["gap"]["to"] if leaf["gap"] else leaf["offset"] + 1
        self.kinds[leaf["kind"]] += 1
        if leaf["gap"]:
            self.gaps[leaf["gap"]["cause"]] += self.next - leaf["offset"]
        if leaf["event"]:
            self.events.append(leaf["event"]["time"] // 1000)
        if leaf["timestamp_type"] != "NONE":
            self.stamps.append(leaf["timestamp"])
        # complete subtrees, largest first: (size, hash)
        self.leaves += 1
        self.peaks.append((1, sha256(b"\x00", data)))
        while len(self.peaks) > 1 and self.peaks[-1][0] == self.peaks[-2][0]:
            (size, right), (_, left) = self.peaks.pop(), self.peaks.pop()
            self.peaks.append((2 * size, sha256(b"\x01", left, right)))

    def root(self):
        if not self.peaks:
            return sha256()
        hashes = [peak for _, peak in self.peaks]
        while len(hashes) > 1:
            right = hashes.pop()
            hashes[-1] = sha256(b"\x01", hashes[-1], right)
        return hashes[0]

    def compare(self, m):
        must(self.next == m["offsets"]["to"], "offsets", f"the leaves end at {self.next}", self.next)
        counts = {"records": self.leaves, "events": self.kinds["EVENT"], "rejections": self.kinds["REJECTION"],
                  "opaque": self.kinds["OPAQUE"], "gaps": {cause: self.gaps[cause] for cause in CAUSES}}
        must(counts == m["counts"], "counts", str(counts))
        ends = lambda times: [min(times), max(times)] if times else [None, None]
        found = ends(self.events) + ends(self.stamps) + [m["times"]["sealed"]]
        must(found == list(m["times"].values()), "times", str(found))
        must(base64.b64encode(self.root()).decode() == m["root"], "root")


def read_leaves(tally, schema, ints, maps, count, data):
    stream = io.BytesIO(data)
    for _ in range(count):
        start, where = stream.tell(), tally.next
        try:
            leaf = fastavro.schemaless_reader(stream, schema)
            again = io.BytesIO()
            fastavro.schemaless_writer(again, schema, leaf)
        except Exception as e:  # whatever hostile bytes make fastavro say
            raise Fault("leaf_form", f"{type(e).__name__}: {e}", where) from e
        piece = data[start:stream.tell()]
        must(again.getvalue() == piece, "leaf_form", "not the canonical encoding", where)
        wrong = "a number beyond 64 bits" if not longs_fit(leaf) else leaf_form(leaf, ints, maps)
        must(wrong is None, "leaf_form", wrong, where)
        tally.add(piece, leaf)
    must(stream.tell() == len(data), "block_form", "bytes left over", tally.next)


def verify_segment(data, keys):
    """Every check on one object. Its manifest, the hash of the manifest, and name and id of the key."""
    codec, schema_text, note, marker, body = read_header(data)
    text, key = open_note(note, keys)
    must(text.count("\n") == 1, "manifest_form", "not one line")
    m = parse_line(text.encode(), MANIFEST, "manifest_form", "manifest_unknown_field")
    check_manifest(m)
    must(key[0] == m["origin"] + "/seal", "key_name", key[0])
    must(sha256(schema_text) == unbase64(m["schema"]), "schema_digest")
    schema, ints, maps = parse_schema(schema_text)
    must(marker == sha256(schema_text, unbase64(m["root"]))[:16], "sync_marker", "of the header")
    must(len(body) == m["body"]["bytes"], "body_length", str(len(body)))
    must(sha256(body) == unbase64(m["body"]["sha256"]), "body_digest")
    tally, reader, left = Tally(m["offsets"]["from"]), Reader(body), MAX_SEGMENT
    while reader.at < len(body):
        where = tally.next
        try:
            count, block = reader.long(), reader.bytes()
            end = reader.take(16)
        except ValueError as e:
            raise Fault("block_form", str(e), where) from e
        must(count >= 1, "block_form", "a count below 1", where)
        must(end == marker, "sync_marker", "behind a block", where)
        try:
            leaves = decompress(codec, block, left if count == 1 else min(left, MAX_BLOCK))
        except Exception as e:  # each library has its own errors
            raise Fault("codec", f"{type(e).__name__}: {e}", where) from e
        left -= len(leaves)
        read_leaves(tally, schema, ints, maps, count, leaves)
    tally.compare(m)
    # an ordinary Avro reader sees as many records in the file as it is
    must(sum(1 for _ in fastavro.reader(io.BytesIO(data))) == tally.leaves, "counts", "fastavro.reader sees others")
    return m, sha256(b"\x00", text.encode()), key
