#!/usr/bin/env bash
# Runs every test on one database server and ends with a line that counts them all.
#
#   test.sh         run them
#   test.sh stop    stop the server that single tests left running
set -uo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(realpath "$target")
PATH=$target/tools/bin:$PATH
server=$target/debug/examples/test_server

if [ "${1:-}" = stop ]; then
    [ ! -x "$server" ] || "$server" stop
    exit
fi

passed=0
failed=0
count() { # count PASSED FAILED
    passed=$((passed + ${1:-0}))
    failed=$((failed + ${2:-0}))
}
number() { # number FILE LINES WORD: the sum of the numbers before a word on these lines
    grep -E "$2" "$1" | grep -oE "[0-9]+ $3" | awk '{ sum += $1 } END { print sum + 0 }'
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# What fails without counting anything, such as a build, counts as one failure.
run() { # run TITLE COUNTED-LINES COMMAND...
    local title=$1 lines=$2
    shift 2
    echo
    echo "== $title"
    "$@" 2>&1 | tee "$log"
    local status=${PIPESTATUS[0]} good bad
    good=$(number "$log" "$lines" '(passed|pass)')
    bad=$(number "$log" "$lines" '(failed|timed out|fail)')
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    count "$good" "$bad"
    return "$status"
}

# Everything at once, so that nothing is built twice with other features: the program too, which
# tests with a browser or a foreign client drive.
if ! run "build" '^nothing counts here$' cargo build --locked --workspace --all-targets; then
    echo
    echo "$passed passed, $failed failed"
    exit 1
fi
export FINNEST_BIN=$target/debug/finnest

if [ -z "${FINNEST_TEST_SERVER:-}" ]; then
    if FINNEST_TEST_SERVER=$("$server" start); then
        export FINNEST_TEST_SERVER
        trap 'rm -f "$log"; "$server" stop' EXIT
        echo "the test server is at $FINNEST_TEST_SERVER"
    else
        unset FINNEST_TEST_SERVER
        count 0 1
    fi
fi

run "unit tests, stories, architecture, manners" '^ *Summary \[' \
    cargo nextest run --locked --workspace --status-level slow --final-status-level fail \
    --color never
run "examples in the documentation" '^test result:' \
    cargo test --locked --workspace --doc --quiet
if command -v node >/dev/null; then
    run "clients that are not ours" '^[0-9]+ passed, [0-9]+ failed$' scripts/clients.sh
fi

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
