#!/usr/bin/env bash
# Does harm to the platform under load, judges what is left, and writes the table of
# docs/reliability.md.
#
#   QUICK=1                 less harm, printed only
#   FINNEST_FAULTS_SEED=n   the same decisions as a run that told this seed
set -uo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
page=docs/reliability.md
PATH=$(realpath "$target" 2>/dev/null || echo "$target")/tools/bin:$PATH
FINNEST_FAULTS_SEED=${FINNEST_FAULTS_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
FINNEST_FAULTS_REPORT=$(mktemp)
export FINNEST_FAULTS_SEED FINNEST_FAULTS_REPORT
[ -n "${QUICK:-}" ] || export FINNEST_FAULTS=full
trap 'rm -f "$FINNEST_FAULTS_REPORT"' EXIT

"$cargo" build --locked -p server || exit
FINNEST_BIN=$(realpath "$target")/debug/finnest
export FINNEST_BIN

"$cargo" nextest run --locked -p faults --status-level all "$@"
status=$?

table() {
    echo "| Fault | Harm | Commands acknowledged | Failed / in doubt | Sealed | Lost | \
Missed / doubled by projections | Gaps / out of order | Chain | Seconds |"
    echo "|---|---|--:|--:|--:|--:|--:|--:|---|--:|"
    cat "$FINNEST_FAULTS_REPORT"
}
echo
table
echo "seed $FINNEST_FAULTS_SEED"

# A page tells of whole runs only.
if [ -z "${QUICK:-}" ] && [ "$#" -eq 0 ]; then
    server=$(pg_config --version 2>/dev/null || echo PostgreSQL)
    memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)
    outcome="every promise was kept"
    [ "$status" -eq 0 ] || outcome="**not every test passed**"
    {
        sed '/^<!-- the last run -->$/q' $page
        echo
        echo "On $(date -u +%F), $(nproc) cores, $memory, $server, seed $FINNEST_FAULTS_SEED: $outcome."
        echo
        table
        echo
        sed -n '/^<!-- the end of the last run -->$/,$p' $page
    } >"$page.new" && mv "$page.new" $page
fi
exit "$status"
