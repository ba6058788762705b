#!/usr/bin/env bash
# Prints the folder that cargo builds in, absolute: CARGO_TARGET_DIR, else target/. librdkafka and OpenSSL cannot be built below
# a path with spaces: there it is a folder of the user's cache, one for each checkout.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
dir=${CARGO_TARGET_DIR:-$PWD/target}
[[ $dir == /* ]] || dir=$PWD/$dir
if [[ $dir =~ [[:space:]] ]]; then
  cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}
  [[ ! $cache =~ [[:space:]] ]] && mkdir -p "$cache" 2> /dev/null || cache=${TMPDIR:-/tmp}
  dir=$cache/authseal-target-$(id -u)-$(printf '%s' "$dir" | cksum | cut -d ' ' -f 1)
fi
printf '%s\n' "$dir"
