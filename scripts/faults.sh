#!/usr/bin/env bash
# Does harm to the platform under load, judges what is left, and writes the tables of
# docs/reliability.md.
#
#   scripts/faults.sh          everything
#   scripts/faults.sh --jobs   what concerns the queue
#   scripts/faults.sh words    what has these words in its name, printed only
#
#   QUICK=1                    less harm, printed only
#   FINNEST_FAULTS_SEED=n      the same decisions as a run that told this seed
set -uo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
page=docs/reliability.md
PATH=$(realpath "$target" 2>/dev/null || echo "$target")/tools/bin:$PATH
FINNEST_FAULTS_SEED=${FINNEST_FAULTS_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
FINNEST_FAULTS_REPORT=$(mktemp)
FINNEST_FAULTS_JOBS_REPORT=$(mktemp)
export FINNEST_FAULTS_SEED FINNEST_FAULTS_REPORT FINNEST_FAULTS_JOBS_REPORT
[ -n "${QUICK:-}" ] || export FINNEST_FAULTS=full
trap 'rm -f "$FINNEST_FAULTS_REPORT" "$FINNEST_FAULTS_JOBS_REPORT"' EXIT

parts="log jobs"
if [ "${1:-}" = --jobs ]; then
    parts=jobs
    set -- -E 'test(/^queue::/)'
elif [ "$#" -gt 0 ]; then
    parts=
fi

if [ "$parts" != jobs ]; then
    "$cargo" build --locked -p server || exit
    FINNEST_BIN=$(realpath "$target")/debug/finnest
    export FINNEST_BIN
fi

"$cargo" nextest run --locked -p faults --status-level all "$@"
status=$?

log_table() {
    echo "| Fault | Harm | Commands acknowledged | Failed / in doubt | Sealed | Lost | \
Missed / doubled by projections | Gaps / out of order | Chain | Seconds |"
    echo "|---|---|--:|--:|--:|--:|--:|--:|---|--:|"
    cat "$FINNEST_FAULTS_REPORT"
}

jobs_table() {
    echo "| Fault | Harm | Jobs completed / discarded / cancelled | Attempts / excused | \
Jobs lost / doubled | In a wrong state / left in the queue | Effects missing / doubled | \
Outside calls: missing / under another key | Seconds |"
    echo "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    cat "$FINNEST_FAULTS_JOBS_REPORT"
}

echo
[ ! -s "$FINNEST_FAULTS_REPORT" ] || log_table
echo
[ ! -s "$FINNEST_FAULTS_JOBS_REPORT" ] || jobs_table
echo "seed $FINNEST_FAULTS_SEED"

# Replaces what the page says of the last run of a part.
write() {
    local part=$1 server memory outcome
    server=$(pg_config --version 2>/dev/null || echo PostgreSQL)
    memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)
    outcome="every promise was kept"
    [ "$status" -eq 0 ] || outcome="**not every test passed**"
    {
        sed "/^<!-- the last run of the $part -->\$/q" $page
        echo
        echo "On $(date -u +%F), $(nproc) cores, $memory, $server, seed $FINNEST_FAULTS_SEED: $outcome."
        echo
        "${part}_table"
        echo
        sed -n "/^<!-- the end of the last run of the $part -->\$/,\$p" $page
    } >"$page.new" && mv "$page.new" $page
}

# The page tells of whole runs only.
if [ -z "${QUICK:-}" ]; then
    for part in $parts; do
        write "$part"
    done
fi
exit "$status"
