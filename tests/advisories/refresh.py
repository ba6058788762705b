#!/usr/bin/env python3
"""Makes advisories.tsv out of a clone of https://github.com/rustsec/advisory-db (CC0):

    git clone https://github.com/rustsec/advisory-db /tmp/advisory-db
    tests/advisories/refresh.py /tmp/advisory-db > /tmp/advisories.tsv && mv /tmp/advisories.tsv tests/advisories/

One line for each advisory that is not withdrawn: id, crate, kind, patched and unaffected versions (requirements as
Cargo writes them, several with `;` between them: one of them must be met). A bare repository will do.
"""

import subprocess
import sys
import tomllib


def git(repository, *arguments):
    return subprocess.run(["git", "-C", repository, *arguments], check=True, capture_output=True).stdout


def advisory(text):
    """The front matter of a file: TOML in a code block at its beginning."""
    head = text.split("```toml", 1)[1].split("```", 1)[0]
    return tomllib.loads(head)


def line(found):
    about, versions = found["advisory"], found.get("versions", {})
    kind = about.get("informational", "vulnerability")
    requirements = [";".join(versions.get(name, [])) for name in ("patched", "unaffected")]
    return "\t".join([about["id"], about["package"], kind, *requirements])


def main(repository):
    commit, date = git(repository, "log", "-1", "--format=%H %cs").decode().split()
    names = git(repository, "ls-tree", "-r", "--name-only", "HEAD", "crates").decode().splitlines()
    files = [name for name in names if name.endswith(".md")]
    texts = (git(repository, "show", f"HEAD:{name}").decode() for name in files)
    known = [found for found in map(advisory, texts) if "withdrawn" not in found["advisory"]]
    print(f"# RustSec advisories, {len(known)} as of {date} (commit {commit}); made by tests/advisories/refresh.py")
    for text in sorted(map(line, known)):
        print(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
