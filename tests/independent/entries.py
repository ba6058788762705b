"""Entries of the log that change how a store is judged: keys, disposals and holds, by docs/format.md alone. No code of
authseal is involved."""
import base64
import bisect
import collections
import json
import re
import unicodedata

from cryptography.exceptions import InvalidSignature

from segment import MANIFEST, Fault, is_name, must, parse_line, read_key, unbase64

FORM = "log_entry_form"
RANGE, WRITER = MANIFEST["offsets"], MANIFEST["writer"]
KEY = {"format": "str", "origin": "str", "action": "str", "key": "str", "time": "int", "reason": "str",
       "signatures": [{"id": "str", "signature": "str"}]}
DISPOSAL = {"format": "str", "origin": "str", "chain": MANIFEST["chain"], "sequences": RANGE, "offsets": RANGE,
            "until": "int", "time": "int", "reason": "str", "writer": WRITER}
HOLD = {"format": "str", "origin": "str", "action": "str", "name": "str", "chain": MANIFEST["chain"], "offsets": RANGE,
        "time": "int", "reason": "str", "writer": WRITER}

# a manifest as the log has it: its hash, the index of its entry, what it covers, and until when it stays
Logged = collections.namedtuple("Logged", "hash index begin end until")


def identity(c):
    return c["cluster"], c["topic"], c["partition"], c["incarnation"]


def check_common(entry):
    reason = entry["reason"]
    must(len(reason.encode()) <= 512, FORM, "a long reason")
    must(not any(unicodedata.category(c) == "Cc" for c in reason), FORM, "control characters in a reason")
    must(entry["time"] >= 0, FORM, "time")
    if "chain" in entry:
        c, offsets = entry["chain"], entry["offsets"]
        must(is_name(c["cluster"]) and is_name(c["topic"]), FORM, "names")
        must(0 <= c["partition"] <= 99_999 and 0 <= c["incarnation"] <= 9_999, FORM, "partition or incarnation")
        must(0 <= offsets["from"] <= offsets["to"], FORM, "offsets")


def parse_key(line):
    entry = parse_line(line, KEY, FORM, FORM)
    check_common(entry)
    must(entry["action"] in ("introduce", "retire"), FORM, "action")
    try:
        (name, _), _ = read_key(entry["key"])
        signatures = [unbase64(one["signature"]) for one in entry["signatures"]]
    except ValueError as e:
        raise Fault(FORM, str(e)) from e
    must(name in (entry["origin"], entry["origin"] + "/seal"), FORM, "the name of the key")
    ids = [one["id"] for one in entry["signatures"]]
    must(1 <= len(ids) <= 8 and len(set(ids)) == len(ids), FORM, "not 1 to 8 signatures of different keys")
    must(all(re.fullmatch("[0-9a-f]{8}", one) for one in ids), FORM, "the id of a key")
    must(all(len(one) == 64 for one in signatures), FORM, "the length of a signature")
    return entry


def parse_disposal(line):
    entry = parse_line(line, DISPOSAL, FORM, FORM)
    check_common(entry)
    must(0 <= entry["sequences"]["from"] < entry["sequences"]["to"], FORM, "sequences")
    must(0 <= entry["until"] <= entry["time"], FORM, "until")
    return entry


def parse_hold(line):
    entry = parse_line(line, HOLD, FORM, FORM)
    check_common(entry)
    must(entry["action"] in ("on", "off"), FORM, "action")
    must(1 <= len(entry["name"]) <= 64 and all("!" <= c <= "~" for c in entry["name"]), FORM, "name")
    must(entry["offsets"]["from"] < entry["offsets"]["to"], FORM, "offsets")
    return entry


PARSERS = {"authseal/key@1": parse_key, "authseal/disposal@1": parse_disposal, "authseal/hold@1": parse_hold}


class KeyRing:
    """Keys, by name and id, and where in the log each is good."""

    def __init__(self, given):
        self.known, self.given = dict(given), set(given)
        self.introduced, self.retired = {}, {}

    def fault(self, key, index):
        """Why a key is not good at an index; None if it is."""
        if key not in self.given and key not in self.introduced:
            return "key_not_introduced"
        if key in self.introduced and index <= self.introduced[key]:
            return "key_not_introduced"
        return "key_retired" if index > self.retired.get(key, index) else None

    def good(self, keys, index):
        """One of these keys, which signed something, must be good there."""
        faults = [self.fault(key, index) for key in keys]
        must(None in faults, faults[0], f"at {index}")

    def enter(self, entry, index):
        """Whether the entry has effect, and if so, does it."""
        about, public = read_key(entry["key"])
        unsigned = {**entry, "signatures": []}
        text = json.dumps(unsigned, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        signed = set()
        for one in entry["signatures"]:
            key = (about[0], bytes.fromhex(one["id"]))
            known = public if key == about else self.known.get(key)
            if known is None:
                continue
            try:
                known.verify(base64.b64decode(one["signature"]), text)
            except InvalidSignature as e:
                raise Fault("key_entry", f"a bad signature of {one['id']}") from e
            signed.add(key)
        vouched = [key for key in signed if self.fault(key, index) is None]
        if entry["action"] == "introduce":
            must(about not in self.introduced and about not in self.retired, "key_entry", "not for the first time")
            must(about in signed, "key_entry", "not signed by itself")
            others = [key for key in vouched if key != about]
            must(others or about in self.given, "key_entry", "no good key vouches for it")
            self.introduced[about], self.known[about] = index, public
        else:
            must(self.fault(about, index) is None, "key_entry", "retires what is not good")
            must(vouched, "key_entry", "no good key signed it")
            self.retired[about] = index


class Keeping:
    """Who is held, and what was disposed of."""

    def __init__(self):
        self.held = collections.defaultdict(list)  # (chain, name): disjoint ranges
        self.disposed = collections.defaultdict(list)  # chain: (from, to, until)

    def hold(self, entry):
        ranges = self.held[identity(entry["chain"]), entry["name"]]
        begin, end = entry["offsets"]["from"], entry["offsets"]["to"]
        left = [part for a, b in ranges for part in ((a, min(b, begin)), (max(a, end), b)) if part[0] < part[1]]
        ranges[:] = left + ([(begin, end)] if entry["action"] == "on" else [])

    def is_held(self, chain, one):
        ranges = sorted(r for (of, _), all_of in self.held.items() if of == chain for r in all_of)
        if one.begin < one.end:
            return any(a < one.end and one.begin < b for a, b in ranges)
        return any(a < one.begin <= b for a, b in ranges) and any(a <= one.begin < b for a, b in ranges)

    def dispose(self, entry, logged):
        """Enters a disposal that has effect; `logged` is what the log has of the chain up to there."""
        must(logged is not None, "disposal_entry", "a chain that is not logged")
        chain, begin, end = identity(entry["chain"]), entry["sequences"]["from"], entry["sequences"]["to"]
        must(end < len(logged), "disposal_entry", "the newest of its chain, or not logged")
        going = logged[begin:end]
        must(None not in going, "disposal_entry", "not logged")
        must(not any(a < end and begin < b for a, b, _ in self.disposed[chain]), "disposal_entry", "disposed of twice")
        covered = {"from": going[0].begin, "to": going[-1].end}
        must(entry["offsets"] == covered, "disposal_entry", f"they cover {covered}")
        must(all(entry["until"] >= one.until for one in going), "disposal_entry", "not past its date")
        must(not any(self.is_held(chain, one) for one in going), "disposal_entry", "held")
        bisect.insort(self.disposed[chain], (begin, end, entry["until"]))

    def unexpired(self, chain, begin, end, now):
        """Of the sequences begin to end, which are not there, the ranges that no disposal excuses."""
        for a, b, until in self.disposed[chain]:
            if until <= now and a < end and begin < b:
                if begin < a:
                    yield begin, a
                begin = b
        if begin < end:
            yield begin, end
