#!/usr/bin/env bash
# Style, formatting, and the storeys: which room may import which.
set -euo pipefail
cd "$(dirname "$0")/.."

ruff check .
ruff format --check .
lint-imports --no-logo
