#!/usr/bin/env bash
# The event log and the limit of its server, in turns; writes docs/benchmarks/events.md.
#
#   QUICK=1    one short round on an empty log, printed only
#   FULL=1     also with ten million events in the log; needs 30 GB of disk and half an hour
#   ROUNDS=n   that many rounds
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh run

page=docs/benchmarks/events.md
sizes=0,1000000
if [ -n "${FULL:-}" ]; then
    sizes=0,1000000,10000000
fi
arguments=(--rounds "${ROUNDS:-5}" --sizes "$sizes" --page "$PWD/$page")
if [ -n "${QUICK:-}" ]; then
    arguments=(--rounds "${ROUNDS:-1}" --seconds 1 --sizes 0)
fi

mkdir -p "$(dirname "$page")"
"${CARGO:-cargo}" bench --locked --quiet -p benches --bench events -- "${arguments[@]}"
