#!/usr/bin/env bash
# Stops services that a run of the tests left behind (it was killed with SIGKILL) and removes their data. Runs that are still
# going lose their services too. A process is stopped only if it is the one that was started: same id and same start time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target=$(tests/services/target.sh)
shopt -s nullglob
for file in "$target"/test-runs/*/*.pid; do
  read -r group begun < "$file" || continue
  now=$(sed 's/.*) //' "/proc/$group/stat" 2> /dev/null | cut -d ' ' -f 20) || now=
  if [[ -n $begun && $now == "$begun" ]]; then
    echo "stopping $(basename "$file" .pid) ($group)"
    kill -TERM -- "-$group" 2> /dev/null || true
    for _ in {1..100}; do kill -0 -- "-$group" 2> /dev/null || break; sleep 0.1; done
    kill -KILL -- "-$group" 2> /dev/null || true
  fi
  rm -f "$file"
done
rm -rf "$target"/test-runs "$target"/services/localstack/data.*
