#!/usr/bin/env bash
# Builds the console's style sheet and script from their sources, with exactly the pinned packages.
set -euo pipefail
cd "$(dirname "$0")/../edge/console/assets"

npm ci --silent --no-audit --no-fund
npm run --silent build
