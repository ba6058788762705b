#!/usr/bin/env bash
# Serves a witness that is not ours (c2sp.org/tlog-witness: Torchwood's litewitness, Go) on loopback, in the foreground: whoever
# starts it stops it by its process id.
#
#   tests/services/witness.sh FOLDER PORT [LOG-VKEY …]
#
#   LOG-VKEY          verifier keys of the logs that it knows; any other gets 404
#   FOLDER/vkey       its own verifier key, once it is there
#   FOLDER/witness.db what it has seen: start it again with the same folder and it remembers
#   WITNESS_NAME      name of its key, by default witness.example/w1
#
# Its first use builds it under target/services/witness, with Go 1.25 or later and Go's module proxy (a minute; 16 MB, and 480 MB of
# the module cache); go.mod and go.sum in witness/ pin it. Its key lies in an ssh-agent of its own. litewitness has a tool that
# adds logs, which needs another module; they are put into its tables here.
set -euo pipefail

folder=${1:?FOLDER PORT [LOG-VKEY …]} port=${2:?FOLDER PORT [LOG-VKEY …]} name=${WITNESS_NAME:-witness.example/w1}
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${CARGO_TARGET_DIR:-$here/../../target}/services/witness
mkdir -p "$home" "$folder"
home=$(cd "$home" && pwd)
(
  # two runs at once must not build over each other; another go.sum builds again
  flock 9
  if ! cmp -s "$here/witness/go.sum" "$home/built" || [[ ! -x $home/litewitness ]]; then
    cd "$here/witness"
    GOFLAGS=-mod=readonly GOTOOLCHAIN=local go build -o "$home/litewitness" filippo.io/torchwood/cmd/litewitness
    cp go.sum "$home/built"
  fi
) 9> "$home/lock"

cd "$folder" # the socket of the agent must have a short path
[[ -e key ]] || ssh-keygen -q -t ed25519 -N '' -C witness -f key
python3 - "$name" "$@" << 'PYTHON'
import base64, hashlib, os, sqlite3, sys

name, logs = sys.argv[1], sys.argv[2:]
public = base64.b64decode(open("key.pub").read().split()[1])[-32:]
key_id = hashlib.sha256(name.encode() + b"\n\x04" + public).hexdigest()[:8]
db = sqlite3.connect("witness.db", timeout=10)
db.executescript("""
    CREATE TABLE IF NOT EXISTS log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin));
""")
empty = base64.b64encode(hashlib.sha256().digest()).decode()
for key in logs:
    origin = key.split("+")[0]
    db.execute("INSERT OR IGNORE INTO log VALUES (?, 0, ?)", (origin, empty))
    if not db.execute("SELECT 1 FROM key WHERE origin = ? AND key = ?", (origin, key)).fetchone():
        db.execute("INSERT INTO key VALUES (?, ?)", (origin, key))
db.commit()
with open("vkey.new", "w") as file:
    file.write(f"{name}+{key_id}+{base64.b64encode(bytes([4]) + public).decode()}\n")
os.rename("vkey.new", "vkey")
PYTHON
rm -f agent.sock
fingerprint=$(ssh-keygen -lf key.pub | cut -d ' ' -f 2)
# the agent ends with what it runs
exec ssh-agent -a agent.sock sh -c 'ssh-add -q key && exec "$1" -db witness.db -ssh-agent agent.sock -name "$2" -key "$3" -listen "127.0.0.1:$4"' \
  sh "$home/litewitness" "$name" "$fingerprint" "$port"
