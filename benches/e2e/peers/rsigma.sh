#!/usr/bin/env bash
# rsigma 0.23 (from the crates registry) judges JSON lines by Sigma rules. Detection alone: it reads no Kafka and keeps nothing.
#
#   rsigma.sh DIR RULES EVENTS MATCHES
#
#   INSTALL=1   builds it into DIR, if it is not there, and ends: Rust 1.95, eight minutes
#
# What selections match is not printed, only what correlations do, once in five minutes of a key.
set -euo pipefail
dir=$(cd "$1" && pwd) rules=$2 events=$3 matches=$4

if [[ ! -x $dir/bin/rsigma ]]; then
  CARGO_TARGET_DIR=$dir/build cargo install --quiet rsigma --version 0.23.0 --locked --root "$dir" >&2
  rm -rf "$dir/build"
fi
[[ -z ${INSTALL:-} ]] || exit 0
exec "$dir/bin/rsigma" engine eval --rules "$rules" --input-format json --timestamp-field time --suppress 5m --no-detections \
  < "$events" > "$matches"
