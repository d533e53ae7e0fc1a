#!/usr/bin/env bash
# The queue and the limit of its server, in turns; writes docs/benchmarks/jobs.md.
#
#   QUICK=1    one short round without a past, printed only
#   FULL=1     also with ten million completed jobs; needs 20 GB of disk and a quarter of an hour
#   ROUNDS=n   that many rounds
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh run

page=docs/benchmarks/jobs.md
sizes=0,1000000
if [ -n "${FULL:-}" ]; then
    sizes=0,1000000,10000000
fi
arguments=(--rounds "${ROUNDS:-5}" --sizes "$sizes" --page "$PWD/$page")
if [ -n "${QUICK:-}" ]; then
    arguments=(--rounds "${ROUNDS:-1}" --jobs 20000 --seconds 1 --sizes 0)
fi

mkdir -p "$(dirname "$page")"
"${CARGO:-cargo}" bench --locked --quiet -p benches --bench jobs -- "${arguments[@]}"
