#!/usr/bin/env bash
# Build the sdist and, from it, the wheel; then run the sdist's tests against the installed wheel, outside the
# checkout, in an environment with NumPy and no other array library.
set -euo pipefail
cd "$(dirname "$0")/.."

constraints=$PWD/ci/constraints.txt
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

python -m build --no-isolation --outdir "$room/dist" . >"$room/build.log" || { cat "$room/build.log"; exit 1; }
python -m venv "$room/venv"
# shellcheck disable=SC1091
source "$room/venv/bin/activate"
python -m pip install --quiet --constraint "$constraints" "$room"/dist/*.whl hypothesis pytest pytest-xdist

mkdir "$room/source"
tar --extract --gzip --file "$room"/dist/*.tar.gz --directory "$room/source" --strip-components 1
rm -r "$room"/source/nnx "$room"/source/backends/nnx_*
cd "$room/source"

nnx devices
pytest --backend numpy --ignore tests/vjps --ignore tests/ci "$@"  # neither looks at what is installed
