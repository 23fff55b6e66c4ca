#!/usr/bin/env bash
# The tests with the oldest versions that pyproject.toml allows, on NumPy and array-api-strict, in an environment of
# their own. For the oldest Python that is supported: older NumPy has no wheels for newer ones.
set -euo pipefail
cd "$(dirname "$0")/.."

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

python -m venv "$room/venv"
# shellcheck disable=SC1091
source "$room/venv/bin/activate"
python -m pip install --quiet --constraint ci/lowest.txt --editable '.[test]'
pytest "$@"
