"""The transparency log of authseal, and proofs out of it, checked by docs/format.md alone. No code of authseal is
involved."""
import base64
import json
import re

from cryptography.exceptions import InvalidSignature

from segment import Fault, MANIFEST, check_manifest, conforms, must, parse_line, sha256, unbase64

MAX_BATCH, MAX_CHECKPOINT, MAX_ENTRY = 1_048_576, 65_536, 65_535
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
    """The text of a note that a key of the log signed, and how many signatures it has."""
    must(not any(byte < 0x20 and byte != 0x0A for byte in note), "log_form", "control characters")
    try:
        note = note.decode()
    except UnicodeDecodeError as e:
        raise Fault("log_form", "no UTF-8") from e
    at = note.rfind("\n\n")
    must(at >= 0 and note.endswith("\n"), "log_form", "no empty line")
    text, lines = note[:at + 1], note[at + 2:-1].split("\n")
    must(len(lines) <= 64, "log_form", "too many signatures")
    signed = known = False
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
        known, signed = True, signed or match[1] == origin
    must(known and signed, "log_unknown_key", f"no key called {origin} signed it")
    return text, len(lines)


def open_checkpoint(note, keys, origin):
    """Size and root."""
    must(len(note) <= MAX_CHECKPOINT, "log_form", "too long")
    text, _ = open_log_note(note, keys, origin)
    lines = text[:-1].split("\n")
    must(len(lines) >= 3 and all(lines) and lines[0] == origin, "log_form", "not a checkpoint of this log")
    must(re.fullmatch("0|[1-9][0-9]{0,19}", lines[1], re.ASCII), "log_form", "no size")
    try:
        root = unbase64(lines[2])
    except ValueError as e:
        raise Fault("log_form", "no root") from e
    must(len(root) == 32 and int(lines[1]) < 2**64, "log_form", "no root, or a size beyond 64 bits")
    return int(lines[1]), root


def open_batch(data, keys, origin):
    """The first line as it stands there, what it says, and the entries, each with its newline."""
    must(len(data) <= MAX_BATCH, "log_form", "too long")
    text, signatures = open_log_note(data, keys, origin)
    must(signatures == 1, "log_form", "more than one signature")
    first, *lines = text.encode().splitlines(keepends=True) if "\r" not in text else [b""]
    must(len(first) <= 1024, "log_form", "a first line of over 1024 bytes")
    h = parse_line(first, HEADER, "log_form", "log_form")
    good = h["format"] == "authseal/batch@1" and h["origin"] == origin and 0 <= h["batch"] <= 999_999_999_999
    good = good and (h["batch"] == 0) == (h["previous"] is None) and (h["batch"] > 0 or h["first"] == 0)
    good = good and 1 <= h["count"] <= 1024 and h["first"] >= 0 and h["first"] + h["count"] == h["size"]
    must(good and h["count"] == len(lines), "log_form", "values of the first line")
    must(all(len(line) <= MAX_ENTRY for line in lines), "log_form", "an entry is too long")
    return first, h, lines


def whole_numbers(value):
    if isinstance(value, dict):
        return all(map(whole_numbers, value.values()))
    if isinstance(value, list):
        return all(map(whole_numbers, value))
    return not isinstance(value, float) and (type(value) is not int or -(2**63) <= value < 2**64)


def parse_entry(line, origin):
    """What an entry says; a manifest, an alive entry, or anything canonical that begins with its format."""
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
        self.keys, self.origin = keys, origin
        self.hashes, self.entries, self.chains, self.whole = [], [], {}, True

    def attempt(self, key, check):
        try:
            return check()
        except Fault as fault:
            self.found(key, fault)
            self.whole = False
            return None

    def verify(self):
        size, sizes = None, {0}
        if "log/checkpoint" in self.names:
            size = self.attempt(
                "log/checkpoint", lambda: open_checkpoint(self.read("log/checkpoint"), self.keys, self.origin))
        else:
            self.found("log/checkpoint", Fault("log_checkpoint_missing"))
        numbers = {}
        for name in self.names:
            match = re.fullmatch(r"log/batches/(\d{12})", name, re.ASCII)
            if match:
                numbers[int(match[1])] = name
            elif not name.startswith("log/tile/") and name != "log/checkpoint":
                self.found(name, Fault("unexpected_object"))
        if not numbers:
            self.found("log/batches/", Fault("log_missing"))
            return
        previous = None
        for number in range(max(numbers) + 1):
            if number not in numbers:
                self.found(f"log/batches/{number:012}", Fault("log_batch_missing"))
                self.whole, previous = False, None
                continue
            name = numbers[number]
            opened = self.attempt(name, lambda: open_batch(self.read(name), self.keys, self.origin))
            if opened is None:
                previous = None
                continue
            first, h, lines = opened
            self.attempt(name, lambda: self.batch(number, previous, h, lines))
            previous = leaf_hash(first)
            sizes.add(len(self.hashes))
        if size is not None and self.whole:
            self.attempt("log/checkpoint", lambda: self.checkpoint(*size, sizes))
        if self.whole:
            self.tiles(size[0] if size else 0)

    def batch(self, number, previous, h, lines):
        must(h["batch"] == number, "log_previous", "another number")
        wanted = base64.b64encode(previous).decode() if previous else None
        must((previous is None and number > 0) or h["previous"] == wanted, "log_previous")
        must(not self.whole or h["first"] == len(self.hashes), "log_root", "first")
        for line in lines:
            self.entries.append(line)
            self.hashes.append(leaf_hash(line))
            entry = parse_entry(line, self.origin)
            if entry["format"] == "authseal/segment@1":
                self.manifest(entry, line)
        must(not self.whole or base64.b64encode(root_of(self.hashes)).decode() == h["root"], "log_root", "root")

    def manifest(self, m, line):
        c = m["chain"]
        chain = self.chains.setdefault((c["cluster"], c["topic"], c["partition"], c["incarnation"]), [])
        if self.whole:
            must(m["sequence"] == len(chain), "log_order", f"{c} {m['sequence']}")
            before = base64.b64encode(chain[-1]).decode() if chain else None
            must(m["previous"] == before, "log_order", "another predecessor")
        while len(chain) < min(m["sequence"], 1 << 20):
            chain.append(None)
        chain.append(leaf_hash(line))

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
