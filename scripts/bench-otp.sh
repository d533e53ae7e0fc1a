#!/usr/bin/env bash
# The same work on Erlang/OTP and on the supervision crate, in turns; writes docs/benchmarks/otp.md.
#
#   QUICK=1    fewer rounds, printed only
#   ROUNDS=n   that many rounds
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh bench-otp

page=docs/benchmarks/otp.md
arguments=(--rounds "${ROUNDS:-20}" --page "$PWD/$page")
if [ -n "${QUICK:-}" ]; then
    arguments=(--rounds "${ROUNDS:-3}")
fi

# Compiled, since an escript would be interpreted.
beam=$(mktemp -d)
trap 'rm -rf "$beam"' EXIT
erlc -o "$beam" runtime/otp/benches/otp/bench.erl

mkdir -p "$(dirname "$page")"
"${CARGO:-cargo}" bench --locked --quiet -p otp --bench otp -- --beam "$beam" "${arguments[@]}"
