#!/usr/bin/env bash
# Clients that are not ours against a platform of their own: a browser, Phoenix's client from npm,
# MCP's from npm and PyPI, schemathesis, promtool. Starts the program that FINNEST_BIN names, with
# demo data and an embedded database, and ends with a line that counts what was checked.
set -uo pipefail
cd "$(dirname "$0")/.."

program=${FINNEST_BIN:?names the program to test}
target=$(realpath "${CARGO_TARGET_DIR:-target}")
PATH=$target/tools/bin:$PATH
passed=0
failed=0
verdict() { # verdict STATUS SENTENCE
    if [ "$1" -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok: $2"
    else
        failed=$((failed + 1))
        echo "FAILED: $2"
    fi
}

# The user of the database server must be able to pass through.
place=$(mktemp -d "${TMPDIR:-/tmp}/finnest-clients-XXXXXX")
chmod 755 "$place"
port=$((20000 + RANDOM % 20000))
FINNEST_URL=http://127.0.0.1:$port
export FINNEST_URL FINNEST_TOKEN=demo-operator FINNEST_DATA_DIR=$place/data
unset DATABASE_URL
"$program" serve --demo --listen "127.0.0.1:$port" --passkey-origin "http://localhost:$port" \
    >"$place/log" 2>&1 &
platform=$!
finish() {
    kill -KILL "$platform" 2>/dev/null
    rm -rf "$place"
}
trap finish EXIT

ready=1
for _ in $(seq 300); do
    curl -fsS -o /dev/null "$FINNEST_URL/ready" 2>/dev/null && ready=0 && break
    kill -0 "$platform" 2>/dev/null || break
    sleep 0.2
done
verdict "$ready" "the platform is ready"

if [ "$ready" -eq 0 ]; then
    log=$place/clients
    (cd tests/clients && npm ci --silent --no-audit --no-fund &&
        node --test --test-reporter=tap --test-concurrency=1 ./*.test.mjs) 2>&1 | tee "$log"
    node_status=${PIPESTATUS[0]}
    good=$(grep -oE '^# pass [0-9]+' "$log" | grep -oE '[0-9]+')
    bad=$(grep -oE '^# fail [0-9]+' "$log" | grep -oE '[0-9]+')
    passed=$((passed + ${good:-0}))
    failed=$((failed + ${bad:-0}))
    [ "$node_status" -eq 0 ] || [ "${bad:-0}" -gt 0 ] || failed=$((failed + 1))

    # An environment of its own, since tools of other kinds want other versions of the same things.
    { [ -x "$target/mcp-client/bin/python" ] || python3 -m venv "$target/mcp-client"; } &&
        "$target/mcp-client/bin/pip" install -q --disable-pip-version-check \
            -r tests/clients/requirements.txt &&
        "$target/mcp-client/bin/python" tests/clients/mcp_client.py 2>&1 | tee "$log"
    python_status=${PIPESTATUS[0]}
    counts=$(tail -n 1 "$log" | grep -E '^[0-9]+ passed, [0-9]+ failed$')
    if [ -n "$counts" ]; then
        passed=$((passed + ${counts%% passed*}))
        bad=${counts##*passed, }
        failed=$((failed + ${bad% failed}))
    else
        verdict "${python_status:-1}" "the Python client of MCP says how many checks passed"
    fi

    scripts/schemathesis.sh 2>&1 | tee "$log"
    counts=$(tail -n 1 "$log" | grep -E '^[0-9]+ passed, [0-9]+ failed$')
    if [ -n "$counts" ]; then
        passed=$((passed + ${counts%% passed*}))
        bad=${counts##*passed, }
        failed=$((failed + ${bad% failed}))
    else
        verdict 1 "schemathesis says how many operations keep to the document"
    fi

    if command -v promtool >/dev/null; then
        curl -fsS "$FINNEST_URL/metrics" | promtool check metrics
        verdict "$?" "promtool accepts the metrics"
    fi
    "$program" verify
    verdict "$?" "the chain holds after all that"

    kill -TERM "$platform"
    wait "$platform"
    verdict "$?" "the platform stops when it is asked to"
    [ ! -e "$FINNEST_DATA_DIR/pg/postmaster.pid" ]
    verdict "$?" "the database stopped with it"
fi

if [ "$failed" -gt 0 ]; then
    echo
    echo "what the platform said last:"
    tail -n 60 "$place/log"
fi
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
