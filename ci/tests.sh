#!/usr/bin/env bash
# The tests, on every backend that can run here. Arguments go to pytest: ci/tests.sh --backend numpy -k linear
set -euo pipefail
cd "$(dirname "$0")/.."

pytest "$@"
