#!/bin/sh
# Checks alerts, one JSON object a line, against OCSF Detection Finding 1.8.0 (schema/).
# usage: validate.sh ALERTS.ndjson      exit 0: all valid, and at least one; 1: not so; 2: could not be checked
# The first run installs Python's jsonschema into target/ocsf (or $OCSF_VENV).
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 ALERTS.ndjson" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
venv=${OCSF_VENV:-$here/../../target/ocsf}
if ! cmp -s "$here/requirements.txt" "$venv/installed"; then
    {
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
        cp "$here/requirements.txt" "$venv/installed"
    } >&2 || exit 2
fi
exec "$venv/bin/python" "$here/validate.py" "$here/schema/detection_finding.schema.json" "$1"
