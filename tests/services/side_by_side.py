#!/usr/bin/env python3
"""Runs the test binaries of `cargo test` side by side; many of them mostly wait.

usage: side_by_side.py --queue WORKERS:NAME,NAME,… [--queue …] -- CARGO-TEST-ARGUMENTS [-- TEST-ARGUMENTS]

Cargo builds what its arguments name. Each binary stands in the queue that names it, else in the one that names `*`, and
each queue runs so many of its binaries at a time, in the order of the names. What a binary prints comes out whole, when it
has ended. The exit code is 1 if one of them failed, and cargo's if it could not build.
"""
import json
import os
import subprocess
import sys
import threading
import time


def usage(why):
    sys.exit(f"{why}\n{__doc__}")


def arguments(words):
    queues = []
    while words and words[0] == "--queue" and len(words) > 1:
        workers, _, names = words[1].partition(":")
        if not workers.isdigit() or int(workers) == 0:
            usage(f"no number of workers: {workers!r}")
        queues.append((int(workers), [name for name in names.split(",") if name]))
        words = words[2:]
    if not queues or not words or words[0] != "--":
        usage("there must be a --queue, and cargo's arguments behind --")
    words = words[1:]
    at = words.index("--") if "--" in words else len(words)
    return queues, words[:at], words[at + 1 :]


def build(cargo_arguments):
    """The test binaries: (name, source, executable, folder of the package)."""
    cargo = subprocess.Popen(
        ["cargo", "test", "--no-run", "--message-format=json-render-diagnostics", *cargo_arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    found = []
    for line in cargo.stdout:
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            target = message["target"]
            folder = os.path.dirname(message["manifest_path"])
            source = os.path.relpath(target["src_path"], folder)
            found.append((target["name"], source, message["executable"], folder))
    if cargo.wait() != 0:
        sys.exit(cargo.returncode)
    if not found:
        sys.exit("cargo built no test binary")
    return found


def main():
    queues, cargo_arguments, test_arguments = arguments(sys.argv[1:])
    work = [[] for _ in queues]
    for binary in build(cargo_arguments):
        takers = [at for name in (binary[0], "*") for at, (_, names) in enumerate(queues) if name in names]
        if not takers:
            usage(f"no queue takes {binary[0]}")
        work[takers[0]].append(binary)
    for (_, names), waiting in zip(queues, work):
        order = {name: at for at, name in enumerate(names)}
        waiting.sort(key=lambda binary: order.get(binary[0], len(order)), reverse=True)

    failed, lock = [], threading.Lock()

    def worker(waiting):
        while True:
            with lock:
                if not waiting:
                    return
                name, source, executable, folder = waiting.pop()
            begun = time.monotonic()
            run = subprocess.run(
                [executable, *test_arguments],
                cwd=folder,
                env={**os.environ, "CARGO_MANIFEST_DIR": folder},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            with lock:
                print(f"     Running {source} ({time.monotonic() - begun:.0f} s)", flush=True)
                sys.stdout.buffer.write(run.stdout)
                sys.stdout.flush()
                if run.returncode:
                    print(f"error: {source} ended with {run.returncode}", flush=True)
                    failed.append(source)

    workers = [
        threading.Thread(target=worker, args=(waiting,))
        for (count, _), waiting in zip(queues, work)
        for _ in range(count)
    ]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    if failed:
        print(f"error: {len(failed)} test binaries failed: {', '.join(sorted(failed))}")
        sys.exit(1)


if __name__ == "__main__":
    main()
