#!/usr/bin/env bash
# The edge, its peer and its limits, in turns; writes docs/benchmarks/edge.md.
#
#   QUICK=1    one short round with a thousand connections, printed only
#   ROUNDS=n   that many rounds
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh run

page=docs/benchmarks/edge.md
arguments=(--rounds "${ROUNDS:-3}" --page "$PWD/$page")
if [ -n "${QUICK:-}" ]; then
    arguments=(--rounds "${ROUNDS:-1}" --quick)
fi

mkdir -p "$(dirname "$page")"
"${CARGO:-cargo}" bench --locked --quiet -p benches --bench edge -- "${arguments[@]}"
