#!/usr/bin/env bash
# Holds a running platform to its OpenAPI document: schemathesis (PyPI) makes requests from it that
# fit and that do not, and compares every answer with it. scripts/clients.sh runs this on a platform
# of its own; FINNEST_URL names another one with demo data, which it fills and rearranges. Takes
# about a minute. Ends with a line that counts operations.
#
# What it must not touch, and why, is in tests/clients/schemathesis/schemathesis.toml.
set -uo pipefail
cd "$(dirname "$0")/.."

: "${FINNEST_URL:?names the platform to test}"
export FINNEST_TOKEN=${FINNEST_TOKEN:-demo-operator}
export FINNEST_DIRECTOR=${FINNEST_DIRECTOR:-demo-director}
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
tools=$(realpath "$target")/schemathesis
version=4.32.5

if [ "$("$tools/bin/st" --version 2>/dev/null)" != "st, version $version" ]; then
    { [ -x "$tools/bin/pip" ] || python3 -m venv "$tools"; } &&
        "$tools/bin/pip" install -q --disable-pip-version-check "schemathesis==$version" || exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
(cd tests/clients/schemathesis && "$tools/bin/st" run "$FINNEST_URL/api/openapi.json" \
    --no-color --workers 2 --continue-on-failure --no-shrink) 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
failures=$(grep -oE '[0-9]+ failures?' "$log" | tail -n 1 | grep -oE '[0-9]+')
if [ "$status" -ne 0 ]; then
    echo "0 passed, ${failures:-1} failed"
    exit 1
fi
operations=$(grep -oE '[0-9]+ selected' "$log" | head -n 1 | grep -oE '[0-9]+')
echo
echo "${operations:-0} passed, 0 failed"
