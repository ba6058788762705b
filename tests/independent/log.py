"""The transparency log of authseal, and proofs out of it, checked by docs/format.md alone. No code of authseal is
involved."""
import base64
import json
import re

from cryptography.exceptions import InvalidSignature

from entries import PARSERS, KeyRing, Keeping, Logged, identity
from segment import Fault, MANIFEST, check_manifest, must, parse_line, sha256, unbase64

MAX_BATCH, MAX_CHECKPOINT, MAX_ENTRY, MAX_STAMP = 1_048_576, 65_536, 65_535, 262_144
HEADER = {"format": "str", "origin": "str", "batch": "int", "previous": "digest?", "first": "int", "count": "int",
          "size": "int", "root": "digest"}
ALIVE = {"format": "str", "origin": "str", "time": "int", "writer": {"version": "str", "instance": "str"},
         "chains": "int", "root": "digest"}


# --- Merkle trees -----------------------------------------------------------------------------------------------------

def leaf_hash(data):
    return sha256(b"\x00", data)


def root_of(hashes):
    """The definition in RFC 6962 §2.1, word for word."""
    if not hashes:
        return sha256()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\x01", root_of(hashes[:k]), root_of(hashes[k:]))


def root_of_path(index, size, leaf, path):
    """The root that a leaf has under an inclusion proof; None if the proof has another length than it must have."""
    if not 0 <= index < size:
        return None
    if size == 1:
        return leaf if not path else None
    if not path:
        return None
    k = 1
    while k * 2 < size:
        k *= 2
    *below, sibling = path
    if index < k:
        left, right = root_of_path(index, k, leaf, below), sibling
    else:
        left, right = sibling, root_of_path(index - k, size - k, leaf, below)
    return None if None in (left, right) else sha256(b"\x01", left, right)


# --- notes of the log -------------------------------------------------------------------------------------------------

def open_log_note(note, keys, origin):
    """The text of a note that a key of the log signed, how many signatures it has, and which keys of the log signed."""
    must(not any(byte < 0x20 and byte != 0x0A for byte in note), "log_form", "control characters")
    try:
        note = note.decode()
    except UnicodeDecodeError as e:
        raise Fault("log_form", "no UTF-8") from e
    at = note.rfind("\n\n")
    must(at >= 0 and note.endswith("\n"), "log_form", "no empty line")
    text, lines = note[:at + 1], note[at + 2:-1].split("\n")
    must(len(lines) <= 64, "log_form", "too many signatures")
    signed = []
    for line in lines:
        match = re.fullmatch("\u2014 ([^ +]+) ([A-Za-z0-9+/=]+)", line)
        must(match and not any(c.isspace() for c in match[1]), "log_form", "no signature line")
        try:
            blob = unbase64(match[2])
        except ValueError as e:
            raise Fault("log_form", "no base64") from e
        must(len(blob) > 4, "log_form", "a short signature")
        key = keys.get((match[1], blob[:4]))
        if key is None:
            continue
        try:
            key.verify(blob[4:], text.encode())
        except InvalidSignature as e:
            raise Fault("log_signature", match[1]) from e
        if match[1] == origin:
            signed.append((match[1], blob[:4]))
    must(signed, "log_unknown_key", f"no key called {origin} signed it")
    return text, len(lines), signed


def open_checkpoint(note, keys, origin):
    """Size, root, and the keys of the log that signed."""
    must(len(note) <= MAX_CHECKPOINT, "log_form", "too long")
    text, _, signed = open_log_note(note, keys, origin)
    lines = text[:-1].split("\n")
    must(len(lines) >= 3 and all(lines) and lines[0] == origin, "log_form", "not a checkpoint of this log")
    must(re.fullmatch("0|[1-9][0-9]{0,19}", lines[1], re.ASCII), "log_form", "no size")
    try:
        root = unbase64(lines[2])
    except ValueError as e:
        raise Fault("log_form", "no root") from e
    must(len(root) == 32 and int(lines[1]) < 2**64, "log_form", "no root, or a size beyond 64 bits")
    return int(lines[1]), root, signed


def open_batch(data, keys, origin):
    """The first line as it stands there, what it says, the entries, each with its newline, and the key."""
    must(len(data) <= MAX_BATCH, "log_form", "too long")
    text, signatures, signed = open_log_note(data, keys, origin)
    must(signatures == 1, "log_form", "more than one signature")
    first, *lines = text.encode().splitlines(keepends=True) if "\r" not in text else [b""]
    must(len(first) <= 1024, "log_form", "a first line of over 1024 bytes")
    h = parse_line(first, HEADER, "log_form", "log_form")
    good = h["format"] == "authseal/batch@1" and h["origin"] == origin and 0 <= h["batch"] <= 999_999_999_999
    good = good and (h["batch"] == 0) == (h["previous"] is None) and (h["batch"] > 0 or h["first"] == 0)
    good = good and 1 <= h["count"] <= 1024 and h["first"] >= 0 and h["first"] + h["count"] == h["size"]
    must(good and h["count"] == len(lines), "log_form", "values of the first line")
    must(all(len(line) <= MAX_ENTRY for line in lines), "log_form", "an entry is too long")
    return first, h, lines, signed


def der(data):
    """Of the DER value that `data` begins with: its tag, its content, and what is behind it."""
    if len(data) < 2:
        raise ValueError("too short")
    tag, length, at = data[0], data[1], 2
    if length >= 0x80:
        at += length & 0x7F
        length = int.from_bytes(data[2:at], "big")
        if length < 0x80 or data[2] == 0:
            raise ValueError("a length that is not the shortest")
    if len(data) < at + length:
        raise ValueError("cut off")
    return tag, data[at:at + length], data[at + length:]


def is_granted(data):
    """Whether it is one TimeStampResp of status 0 or 1 with a token (RFC 3161 §2.4.2)."""
    try:
        outer, content, behind = der(data)
        info, status, token = der(content)
        number, value, _ = der(status)
        return (outer, info, number, der(token)[0], der(token)[2], behind) == (0x30, 0x30, 0x02, 0x30, b"", b"") \
            and value in (b"\x00", b"\x01")
    except ValueError:
        return False


def whole_numbers(value):
    if isinstance(value, dict):
        return all(map(whole_numbers, value.values()))
    if isinstance(value, list):
        return all(map(whole_numbers, value))
    return not isinstance(value, float) and (type(value) is not int or -(2**63) <= value < 2**64)


def parse_entry(line, origin):
    """What an entry says: one of those that format.md has, or anything canonical that begins with its format."""
    form = "log_entry_form"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise Fault(form, f"no JSON: {e}") from e
    must(isinstance(value, dict) and next(iter(value), None) == "format", form, "it does not begin with its format")
    if value["format"] == "authseal/segment@1":
        try:
            check_manifest(parse_line(line, MANIFEST, form, form))
        except Fault as e:
            raise Fault(form, e.detail) from e
    elif value["format"] == "authseal/alive@1":
        parse_line(line, ALIVE, form, form)
        must(value["time"] >= 0 and value["time"] % 60_000 == 0 and value["chains"] >= 0, form, "values")
    elif type(value["format"]) is str and value["format"] in PARSERS:
        PARSERS[value["format"]](line)
    else:
        again = json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        must(type(value["format"]) is str and value["format"] and whole_numbers(value), form, "no entry")
        must(line == again, form, "not canonical")
        return value
    must(value["origin"] == origin, form, "of another origin")
    return value


# --- a whole log ------------------------------------------------------------------------------------------------------

def tile_path(kind, index, width):
    name = f"{index % 1000:03}"
    while index := index // 1000:
        name = f"x{index % 1000:03}/{name}"
    return f"log/tile/{kind}/{name}" + ("" if width == 256 else f".p/{width}")


def widths(size):
    """Of each level of tiles, how many hashes it has."""
    level = 0
    while size:
        yield level, size
        level, size = level + 1, size // 256


class Log:
    """The log below log/ of a store; `read` gives the bytes of a key, `found` takes faults."""

    def __init__(self, names, read, found, keys, origin):
        self.names, self.read, self.found = [n for n in names if n.startswith("log/")], read, found
        self.origin = origin
        self.hashes, self.entries, self.chains, self.whole = [], [], {}, True
        self.ring, self.keeping = KeyRing(keys), Keeping()

    def attempt(self, key, check):
        try:
            return check()
        except Fault as fault:
            self.found(key, fault)
            self.whole = False
            return None

    def verify(self, pinned=None):
        """`pinned` is a checkpoint that somebody kept elsewhere."""
        numbers, claims = {}, []
        for name in self.names:
            match = re.fullmatch(r"log/batches/(\d{12})", name, re.ASCII)
            if match:
                numbers[int(match[1])] = name
            elif re.fullmatch(r"log/(witnessed/\d{12}|stamps/\d{12}\.checkpoint|stamps/\d{12}\.tsr)", name, re.ASCII):
                claims.append(name)
            elif not name.startswith("log/tile/") and name != "log/checkpoint":
                self.found(name, Fault("unexpected_object"))
        if not numbers:
            self.found("log/batches/", Fault("log_missing"))
        sizes = self.batches(numbers)
        size = self.newest(sizes)
        if self.whole:
            self.tiles(size)
        for name in claims:
            self.told(name, self.stamp if name.endswith(".tsr") else self.kept, name)
        if pinned is not None:
            self.told("log/batches/", self.claim, pinned, "checkpoint")

    def told(self, key, check, *arguments):
        """A check whose fault leaves the tree as it is."""
        try:
            check(*arguments)
        except Fault as fault:
            self.found(key, fault)

    def batches(self, numbers):
        """Reads them in their order. The sizes that the log had."""
        previous, sizes, due = None, {0}, 0
        for number in sorted(numbers):
            if number > due:
                self.found(f"log/batches/{due:012}", Fault("log_batch_missing"))
                self.whole, previous = False, None
            name, due = numbers[number], number + 1
            opened = self.attempt(name, lambda: open_batch(self.read(name), self.ring.known, self.origin))
            if opened is None:
                previous = None
                continue
            first, h, lines, signed = opened
            self.told(name, self.ring.good, signed, h["first"])
            self.attempt(name, lambda: self.batch(name, previous, h, lines))
            previous = leaf_hash(first)
            sizes.add(len(self.hashes))
        return sizes

    def newest(self, sizes):
        """The size of the checkpoint, 0 if there is none that can be read."""
        key = "log/checkpoint"
        if key not in self.names:
            self.found(key, Fault("log_checkpoint_missing"))
            return 0
        opened = self.attempt(key, lambda: open_checkpoint(self.read(key), self.ring.known, self.origin))
        if opened is None:
            return 0
        size, root, signed = opened
        self.told(key, self.ring.good, signed, size)
        if self.whole:
            self.attempt(key, lambda: self.checkpoint(size, root, sizes))
        return size

    def claim(self, note, code):
        """A checkpoint that others have seen: of this log, and of no more than it has. Its size."""
        size, root, signed = open_checkpoint(note, self.ring.known, self.origin)
        if self.whole:
            must(size <= len(self.hashes), f"{code}_ahead", f"{size} of {len(self.hashes)}")
            must(root_of(self.hashes[:size]) == root, f"{code}_fork", f"of size {size}")
            self.ring.good(signed, size)
        return size

    def kept(self, name):
        size = self.claim(self.read(name), "anchor")
        must(f"{size:012}" in name, "log_form", f"it is of size {size}")

    def stamp(self, name):
        """Whose stamp it is, `openssl ts -verify` says: docs/verification.md."""
        beside = name.removesuffix("tsr") + "checkpoint"
        must(beside in self.names, "stamp_form", "no checkpoint beside it")
        data = self.read(name)
        must(len(data) <= MAX_STAMP and is_granted(data), "stamp_form", "no answer that grants a stamp")
        must(sha256(self.read(beside)) in data, "stamp_imprint")

    def batch(self, name, previous, h, lines):
        number = int(name.removeprefix("log/batches/"))
        must(h["batch"] == number, "log_previous", "another number")
        wanted = base64.b64encode(previous).decode() if previous else None
        must((previous is None and number > 0) or h["previous"] == wanted, "log_previous")
        must(not self.whole or h["first"] == len(self.hashes), "log_root", "first")
        # where a batch is missing, the index is what the next one says
        for index, line in enumerate(lines, h["first"]):
            self.entries.append(line)
            self.hashes.append(leaf_hash(line))
            entry = parse_entry(line, self.origin)
            if entry["format"] == "authseal/segment@1":
                self.manifest(entry, line, index)
            elif entry["format"] == "authseal/key@1":
                self.told(name, self.ring.enter, entry, index)
            elif entry["format"] == "authseal/hold@1":
                self.keeping.hold(entry)
            elif entry["format"] == "authseal/disposal@1" and self.whole:
                self.told(name, self.keeping.dispose, entry, self.chains.get(identity(entry["chain"])))
        must(not self.whole or base64.b64encode(root_of(self.hashes)).decode() == h["root"], "log_root", "root")

    def manifest(self, m, line, index):
        chain = self.chains.setdefault(identity(m["chain"]), [])
        if self.whole:
            must(m["sequence"] == len(chain), "log_order", f"{m['chain']} {m['sequence']}")
            before = base64.b64encode(chain[-1].hash).decode() if chain else None
            must(m["previous"] == before, "log_order", "another predecessor")
        while len(chain) < min(m["sequence"], 1 << 20):
            chain.append(None)
        until = m["times"]["sealed"] if m["retention"]["until"] is None else m["retention"]["until"]
        chain.append(Logged(leaf_hash(line), index, m["offsets"]["from"], m["offsets"]["to"], until))

    def checkpoint(self, size, root, sizes):
        must(size <= len(self.hashes), "log_truncated", f"{size} of {len(self.hashes)}")
        must(root_of(self.hashes[:size]) == root and size in sizes, "log_checkpoint")

    def tiles(self, size):
        """Every tile that is there is what the batches give; those that the checkpoint needs are there."""
        needed = {tile_path(level, n // 256, min(256, count - n)) for level, count in widths(size)
                  for n in range(0, count, 256)}
        needed |= {tile_path("entries", n // 256, min(256, size - n)) for n in range(0, size, 256)}
        levels = {}
        for level, _ in widths(len(self.hashes)):
            below = levels.get(level - 1)
            levels[level] = self.hashes if below is None else [
                root_of(below[n:n + 256]) for n in range(0, len(below) - 255, 256)]
        for name in self.names:
            if name.startswith("log/tile/"):
                needed.discard(name)
                self.attempt(name, lambda: self.tile(name, levels))
        for name in sorted(needed):
            # a partial tile may go when the full one is there; here it stays
            self.found(name, Fault("log_tile_missing"))

    def tile(self, name, levels):
        match = re.fullmatch(r"log/tile/(entries|[0-7])/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?", name, re.ASCII)
        must(match, "unexpected_object")
        width = int(match[3]) if match[3] else 256
        index = int(match[2].replace("x", "").replace("/", ""))
        kind = match[1]
        must(name == tile_path(kind, index, width), "unexpected_object")
        source = self.entries if kind == "entries" else levels.get(int(kind), [])
        part = source[index * 256:index * 256 + width]
        must(len(part) == width, "log_tile", "beyond the log")
        if kind == "entries":
            part = [len(entry).to_bytes(2, "big") + entry for entry in part]
        must(self.read(name) == b"".join(part), "log_tile")
