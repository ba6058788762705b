#!/usr/bin/env python3
"""Takes away one guard of ingest after the other and says which schedule of the simulation notices.

All changes of guards.toml are built at once into a copy of the tree, each behind a switch that the test looks at when
it runs; so there is one build, and a run for each guard. What stands in the working tree is not touched.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TESTS = {"whatever": "whatever_happens", "ends": "what_ends_a_chain"}
SWITCH = """
/// Whether a guard was taken away: by its name in `AUTHSEAL_GUARDS_OFF`, several with semicolons between.
pub fn guard_is_off(name: &str) -> bool {
    static OFF: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("AUTHSEAL_GUARDS_OFF").unwrap_or_default());
    OFF.split(';').any(|off| off == name)
}
"""


def copy(to: Path) -> None:
    """The tree as it stands, what is not committed included. Files that did not change keep their times."""
    listed = subprocess.check_output(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT)
    wanted = {name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()}
    for old in (path for path in to.rglob("*") if path.is_file()):
        if str(old.relative_to(to)) not in wanted:
            old.unlink()
    for name in wanted:
        source, target = ROOT / name, to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def apply(guards: list[dict], tree: Path) -> None:
    """Puts every change in. Stops at one that no longer fits."""
    texts: dict[str, str] = {}
    for guard in guards:
        text = texts.setdefault(guard["file"], (tree / guard["file"]).read_text())
        off = f'crate::guard_is_off("{guard["name"]}")'
        if text.count(guard["old"]) != 1:
            found = f"its place is found {text.count(guard['old'])} times in {guard['file']}"
            sys.exit(f"{guard['name']}: {found}: mend guards.toml")
        texts[guard["file"]] = text.replace(guard["old"], guard["new"].strip("\n").replace("{off}", off))
    texts["src/lib.rs"] = (tree / "src/lib.rs").read_text() + SWITCH
    for name, text in texts.items():
        (tree / name).write_text(text)


def build(tree: Path, target: Path, built: Path) -> str:
    """The test binary. What is not ours was built before, perhaps: it is linked, not copied."""
    for part in ("deps", "build", ".fingerprint"):
        source, to = built / "debug" / part, target / "debug" / part
        if source.is_dir() and not to.exists():
            shutil.copytree(source, to, copy_function=os.link, symlinks=True)
    command = ["cargo", "test", "--locked", "--test", "simulation", "--no-run", "--message-format=json"]
    env = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    done = subprocess.run(command, cwd=tree, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit("the tree with switches does not build")
    built_all = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    named = (one for one in built_all if one.get("executable") and one["target"]["name"] == "simulation")
    return next(named)["executable"]


def run(binary: str, off: list[str], test: str, schedules: int, limit: int) -> tuple[str, float]:
    """Which schedule noticed that these guards are gone, and after how many seconds."""
    env = {**os.environ, "AUTHSEAL_GUARDS_OFF": ";".join(off), "AUTHSEAL_TEST_SCHEDULES": str(schedules)}
    env["AUTHSEAL_TEST_SHRINK"] = "no"
    began = time.monotonic()
    command = [binary, TESTS[test], "--nocapture"]
    try:
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return "", time.monotonic() - began
    found = re.search(r"schedule (\d+) failed", done.stdout + done.stderr)
    took = time.monotonic() - began
    return (f"{'end ' if test == 'ends' else ''}{found.group(1)}" if found else "", took)


def main() -> None:
    """Builds, tries every guard and prints the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--schedules", type=int, default=2000, help="tried for each guard at most (2000)")
    options.add_argument("--seconds", type=int, default=60, help="for each guard at most (60)")
    options.add_argument("--only", default="", help="guards whose name contains this")
    asked = options.parse_args()
    guards = tomllib.loads((HERE / "guards.toml").read_text())["guard"]
    built = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    tree, target = built / "guards" / "tree", built / "guards" / "target"
    tree.mkdir(parents=True, exist_ok=True)
    copy(tree)
    apply(guards, tree)
    binary = build(tree, target, built)
    tests = ("whatever", "ends")
    for test in tests:
        noticed, _ = run(binary, [], test, 100, 600)
        if noticed:
            sys.exit(f"schedule {noticed} fails with all guards in place")
    print("| guard removed | noticed by schedule | after |\n|---|---|---|")
    missed = []
    for guard in (guard for guard in guards if asked.only in guard["name"]):
        first = guard.get("test", "whatever")
        tried = [[guard["name"]]]
        if "behind" in guard:
            tried.append([guard["name"], *guard["behind"]])
        for off in tried:
            for test in sorted(tests, key=lambda test: test != first):
                noticed, took = run(binary, off, test, asked.schedules, asked.seconds)
                if noticed:
                    break
            what = off[0] if len(off) == 1 else f"– with: {'; '.join(off[1:])}"
            print(f"| {what} | {noticed or 'none'} | {f'{took:.1f} s' if noticed else ''} |", flush=True)
            if noticed:
                break
        else:
            missed.append(guard["name"])
    if missed:
        sys.exit(f"not noticed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
