#!/usr/bin/env bash
# Serves S3 on loopback with LocalStack, in the foreground: whoever starts it stops it by its process id.
#
#   tests/services/localstack.sh [PORT]        PORT defaults to 4566
#
# Its first use installs it under target/services/localstack (Python 3 with venv; about 200 MB, half a minute). The versions are
# pinned in localstack-requirements.txt. Any credentials are accepted, data lives in memory and in the folder below, and nothing
# outlives the process. It takes some seconds to end on SIGTERM; SIGKILL does no harm.
set -euo pipefail

port=${1:-4566}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
requirements=$here/localstack-requirements.txt
home=${CARGO_TARGET_DIR:-$here/../../target}/services/localstack
mkdir -p "$home"
home=$(cd "$home" && pwd)

# A copy of the requirements marks a finished installation: another list of versions installs again.
install() {
  rm -rf "$home/venv" "$home/installed"
  python3 -m venv "$home/venv"
  "$home/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$requirements"
  cp "$requirements" "$home/installed"
}
(
  # two runs at once must not install over each other
  flock 9
  cmp -s "$requirements" "$home/installed" || install
) 9>"$home/lock"

data=$home/data.$port
rm -rf "$data"
mkdir -p "$data"
cd "$data"

# S3 alone, no TLS, no name service, no call home.
export SERVICES=s3 EAGER_SERVICE_LOADING=1 PERSISTENCE=0 FILESYSTEM_ROOT=$data LOCALSTACK_VOLUME_DIR=$data
export GATEWAY_LISTEN=127.0.0.1:$port LOCALSTACK_HOST=127.0.0.1:$port ALLOW_NONSTANDARD_REGIONS=1
export USE_SSL=0 SKIP_SSL_CERT_DOWNLOAD=1 DNS_ADDRESS=0 DISABLE_EVENTS=1 OVERRIDE_IN_DOCKER=0
exec "$home/venv/bin/python" "$here/on_loopback.py"
