"""Verifies a directory store of authseal, by docs/format.md alone: no code of authseal is involved.

usage: verify_store.py STORE VERIFIER-KEYS-FILE [NOW [CHECKPOINT-FILE]]
       verify_store.py --many

With a key of the log (one whose name does not end in /seal) there must be a log. NOW, in milliseconds since 1970, is
what the merge delay is measured against; without it, the clock. CHECKPOINT-FILE is one of its checkpoints that was kept
elsewhere. Prints one line of JSON and exits with 0 (good), 10 (tampered), 11 (incomplete) or 2 (usage). With --many,
each line of the input is the arguments for one store, as a JSON array of strings, and is answered by a line before the
next is read. What it needs is in requirements.txt.
"""
import base64
import collections
import hashlib
import json
import pathlib
import re
import sys
import time

from log import Log
from segment import (CAUSES, MAX_OBJECT, STORE, Fault, is_name, is_origin, must, parse_line, read_keys, unbase64,
                     verify_segment)

# what makes a store incomplete; everything else that is found makes it tampered
INCOMPLETE = {
    "missing_segment", "offsets_gap", "offsets_before_start", "artifact_missing", "store_json_missing", "chain_missing",
    "incarnation_missing", "no_chains", "gap_lost", "gap_unexplained", "log_missing", "log_key_missing",
    "log_batch_missing", "log_truncated", "log_checkpoint_missing", "log_tile_missing", "removed", "unlogged",
    "checkpoint_ahead", "anchor_ahead",
}


def follows(before, m):
    """Whether m continues the chain behind (manifest, hash, ids); the first manifest follows None."""
    if before is None:
        must(m["sequence"] == 0, "sequence")
        return
    last, digest, ids = before
    must(last["kind"] != "close", "after_close")
    must(m["sequence"] == last["sequence"] + 1, "sequence")
    must(m["previous"] == base64.b64encode(digest).decode(), "previous")
    must(m["start"] is None, "start")
    must(m["offsets"]["from"] <= last["offsets"]["to"], "offsets_gap", offset=last["offsets"]["to"])
    must(m["offsets"]["from"] >= last["offsets"]["to"], "offsets_overlap", offset=m["offsets"]["from"])
    must(m["times"]["sealed"] > last["times"]["sealed"], "sealed_time")
    for name, code in (("cluster_id", "cluster_changed"), ("topic_id", "topic_changed")):
        must(None in (ids.get(name), m["broker"][name]) or ids[name] == m["broker"][name], code)


class Store:
    def __init__(self, root, keys, now, pinned=None):
        self.root, self.keys, self.now, self.pinned = root, keys, now, pinned
        self.faults, self.totals = [], collections.Counter()

    def found(self, key, fault):
        place = {"code": fault.code, "key": key, "offset": fault.offset, "detail": fault.detail}
        self.faults.append(place)

    def check(self, key, check, *arguments):
        """What a check gives; None if it finds a fault, which is noted."""
        try:
            return check(*arguments)
        except Fault as fault:
            self.found(key, fault)
            return None

    def missing(self, key, code, detail):
        self.found(key, Fault(code, detail))

    def read(self, key):
        path = self.root / key
        must(not path.is_symlink() and path.is_file(), "not_a_segment", "no regular file")
        # nothing may be longer than a segment, so that what is behind that cannot matter
        with path.open("rb") as file:
            return file.read(MAX_OBJECT + 1)

    def verify(self):
        # a folder where an object should be is one that is not right
        object_like = lambda path: path.is_symlink() or not path.is_dir() or path.suffix == ".avro"
        paths = (path for path in self.root.rglob("*") if object_like(path))
        keys = sorted(path.relative_to(self.root).as_posix() for path in paths)
        for key in keys:
            if key in ("chains", "artifacts", "log"):
                self.missing(key, "unexpected_object", "no folder, or a link to one")
        info = self.store_json(keys)
        origin = info and info["origin"]
        self.due = self.now - (info["merge_delay"] if info else 60_000)
        self.logged = self.log(keys, origin)
        artifacts = {key.removeprefix("artifacts/") for key in keys if key.startswith("artifacts/")}
        self.artifacts(artifacts)
        pattern = re.compile(r"chains/([^/]+)/([^/]+)/(\d{5})/(\d{4})/(\d{12})\.avro", re.ASCII)
        chains = collections.defaultdict(dict)
        for key in keys:
            if key.startswith("chains/"):
                match = pattern.fullmatch(key)
                if match and is_name(match[1]) and is_name(match[2]):
                    chains[match[1], match[2], int(match[3]), int(match[4])][int(match[5])] = key
                else:
                    self.missing(key, "unexpected_object", "no key of a segment")
        if not chains:
            self.missing("chains/", "no_chains", "")
        heads = {chain: self.chain(origin, chain, chains[chain], artifacts) for chain in sorted(chains)}
        for chain, logged in self.logged.chains.items() if self.logged else ():
            if chain not in chains:
                self.missing("chains/", "removed", f"{chain}: {len(logged)} segments")
        self.across(heads)
        self.totals["chains"] = len(chains)

    def store_json(self, keys):
        if "store.json" not in keys:
            self.missing("store.json", "store_json_missing", "")
            return None
        form = "store_json_invalid"
        info = self.check("store.json", lambda: parse_line(self.read("store.json"), STORE, form, form))
        if info is not None:
            good = info["format"] == "authseal/store@1" and is_origin(info["origin"]) and info["layout"] == 1
            if not good or info["merge_delay"] <= 0 or info["created"] < 0:
                self.missing("store.json", form, "values")
        return info

    def log(self, names, origin):
        """The log, as far as it can be read; None without one."""
        wanted = sorted({name for name, _ in self.keys if not name.endswith("/seal")})
        if not any(name.startswith("log/") for name in names):
            if wanted:
                self.missing("log/", "log_missing", "")
            return None
        if not wanted:
            self.missing("log/", "log_key_missing", "")
            return None
        log = Log(names, self.read, self.found, self.keys, origin or wanted[0])
        log.verify(self.pinned)
        self.keys = log.ring.known
        return log

    def digest(self, key):
        with (self.root / key).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def artifacts(self, names):
        for name in sorted(names):
            key = f"artifacts/{name}"
            if not re.fullmatch("[0-9a-f]{64}", name):
                self.missing(key, "unexpected_object", "no key of an artifact")
            elif self.digest(key) != name:
                self.missing(key, "artifact_digest", "")
            else:
                self.totals["artifacts"] += 1

    def chain(self, origin, chain, segments, artifacts):
        """Walks one chain. The last good (manifest, hash, ids), the first manifest, and whether all of it was good."""
        cluster, topic, partition, incarnation = chain
        wanted = {"cluster": cluster, "topic": topic, "partition": partition, "incarnation": incarnation}
        before = first = None
        whole = True
        logged = self.logged.chains.get(chain, []) if self.logged else None
        newest = max(segments)
        if logged and len(logged) > newest + 1:
            self.missing(segments[newest], "removed", f"{len(logged) - newest - 1} after it")
        due = 0
        for sequence in sorted(segments):
            if sequence > due:
                before = None
                for gone, end in self.unexpired(chain, due, sequence):
                    nearest = f"chains/{cluster}/{topic}/{partition:05}/{incarnation:04}/{gone:012}.avro"
                    self.missing(nearest, "missing_segment", f"{end - gone} of them")
                    whole = False
            key, due = segments[sequence], sequence + 1
            self.totals["segments"] += 1
            opened = self.check(key, lambda: verify_segment(self.read(key), self.keys))
            if opened is None:
                before, whole = None, False
                continue
            m, digest, signed = opened
            if (m["chain"], m["sequence"]) != (wanted, sequence):
                self.missing(key, "segment_misplaced", f"it is {m['chain']} {m['sequence']}")
                before, whole = None, False
                continue
            if origin is not None and m["origin"] != origin:
                self.missing(key, "origin_mismatch", m["origin"])
            # behind a hole nothing is known of what should be before
            if before is not None or sequence == 0:
                self.check(key, follows, before, m)
            if sequence == 0:
                first = m
                if m["offsets"]["from"] > 0:
                    self.missing(key, "offsets_before_start", str(m["offsets"]["from"]))
            self.count(key, m, artifacts)
            if logged is not None and sequence < len(logged):
                entry = logged[sequence]
                if entry is not None:
                    self.check(key, self.logged.ring.good, [signed], entry.index)
                    if entry.hash != digest:
                        self.missing(key, "log_mismatch", "")
            elif logged is not None and self.logged.whole:
                self.check(key, self.logged.ring.good, [signed], len(self.logged.hashes))
                if m["times"]["sealed"] <= self.due:
                    self.missing(key, "unlogged", "")
            ids = dict(before[2]) if before else {}
            told = {name: m["broker"][name] for name in ("cluster_id", "topic_id")}
            ids.update((name, value) for name, value in told.items() if value is not None)
            before = (m, digest, ids)
        return before, first, whole

    def unexpired(self, chain, begin, end):
        """Of the sequences begin to end, which are not there, the ranges that no entry of the log excuses."""
        return self.logged.keeping.unexpired(chain, begin, end, self.now) if self.logged else [(begin, end)]

    def count(self, key, m, artifacts):
        for name in ("records", "events", "rejections", "opaque"):
            self.totals[name] += m["counts"][name]
        for cause in CAUSES:
            self.totals[cause] += m["counts"]["gaps"][cause]
        for cause in ("lost", "unexplained"):
            if m["counts"]["gaps"][cause]:
                self.missing(key, f"gap_{cause}", f"{m['counts']['gaps'][cause]} offsets")
        for digest in filter(None, m["artifacts"].values()):
            if unbase64(digest).hex() not in artifacts:
                self.missing(key, "artifact_missing", unbase64(digest).hex())

    def across(self, heads):
        partitions = collections.defaultdict(lambda: [0, set()])
        for (cluster, topic, partition, incarnation), (last, first, _) in heads.items():
            known = partitions[cluster, topic]
            known[0] = max(known[0], (last[0]["broker"]["partitions"] if last else None) or 0)
            known[1].add(partition)
            if incarnation == 0:
                continue
            place = f"chains/{cluster}/{topic}/{partition:05}/{incarnation - 1:04}/"
            if (cluster, topic, partition, incarnation - 1) not in heads:
                self.missing(place, "incarnation_missing", "")
                continue
            earlier, _, whole = heads[cluster, topic, partition, incarnation - 1]
            if first is not None and earlier is not None and whole:
                if first["start"]["previous"] != base64.b64encode(earlier[1]).decode():
                    self.missing(place, "incarnation_link", "")
        for (cluster, topic), (count, present) in partitions.items():
            for partition in sorted(set(range(min(count, 100_000))) - present):
                self.missing(f"chains/{cluster}/{topic}/{partition:05}/", "chain_missing", "")


def judge(arguments):
    """What is printed of one store; ValueError or OSError where the arguments are wrong."""
    if len(arguments) not in (2, 3, 4):
        raise ValueError(__doc__)
    root = pathlib.Path(arguments[0])
    if not root.is_dir():
        raise ValueError(f"{root} is no directory")
    keys = read_keys(pathlib.Path(arguments[1]).read_text())
    now = int(arguments[2]) if len(arguments) > 2 else time.time_ns() // 1_000_000
    pinned = pathlib.Path(arguments[3]).read_bytes() if len(arguments) > 3 else None
    store = Store(root, keys, now, pinned)
    store.verify()
    codes = {fault["code"] for fault in store.faults}
    status = 10 if codes - INCOMPLETE else 11 if codes else 0
    verdict = {0: "good", 10: "tampered", 11: "incomplete"}[status]
    names = ("chains", "segments", "records", "events", "rejections", "opaque", *CAUSES, "artifacts")
    totals = {name: store.totals[name] for name in names}
    return {"verdict": verdict, "exit_code": status, **totals, "faults": store.faults}


def main(arguments):
    try:
        if arguments != ["--many"]:
            told = judge(arguments)
            print(json.dumps(told))
            return told["exit_code"]
        for line in sys.stdin:
            print(json.dumps(judge(json.loads(line))), flush=True)
        return 0
    except (OSError, ValueError) as e:
        print(e, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
