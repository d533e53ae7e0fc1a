#!/usr/bin/env bash
# Runs every fuzz target for a while (SECONDS_EACH, 60 unless given), from the seeds in fuzz/seeds
# and what earlier runs found, and ends with a line that counts the targets. What made one fail is
# kept in fuzz/artifacts: mend it, and keep it as a unit test.
#
# libFuzzer's counters need no nightly compiler and no further tool. The sanitizer of addresses
# would: it is off, because it looks for what only `unsafe` code does, and ours forbids that.
set -uo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(realpath "$target")/fuzz
each=${SECONDS_EACH:-60}
# Our versions, so that what is tried is what is shipped.
cp Cargo.lock fuzz/

flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares"
# Named, so that build scripts and macros are spared the instruments.
triple=$(rustc -vV | sed -n 's/^host: //p')
if ! CARGO_TARGET_DIR=$target RUSTFLAGS=$flags cargo build --release --quiet --bins \
    --target "$triple" --manifest-path fuzz/Cargo.toml; then
    echo "0 passed, 1 failed"
    exit 1
fi

passed=0
failed=0
for seeds in fuzz/seeds/*/; do
    name=$(basename "$seeds")
    mkdir -p "fuzz/corpus/$name" "fuzz/artifacts/$name"
    log=$target/$name.log
    if "$target/$triple/release/$name" "fuzz/corpus/$name" "$seeds" \
        -artifact_prefix="fuzz/artifacts/$name/" -max_total_time="$each" -max_len=4096 \
        -timeout=10 -print_final_stats=1 >"$log" 2>&1; then
        passed=$((passed + 1))
        executions=$(grep -oE 'number_of_executed_units: +[0-9]+' "$log" | grep -oE '[0-9]+$')
        edges=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1 | grep -oE '[0-9]+$')
        echo "ok: $name, ${executions:-no} executions in $each s, ${edges:-no} edges covered"
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        tail -n 40 "$log"
    fi
done
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
