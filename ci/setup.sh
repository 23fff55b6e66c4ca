#!/usr/bin/env bash
# Install nnx in development mode with everything that the checks need, into the active environment.
#
# torch comes first, alone and by its exact version: where the package index offers a CPU build of that version it
# is chosen, while a range would resolve to the newest release and gigabytes of CUDA libraries. Where no index at
# hand offers CPU builds, name one in PIP_EXTRA_INDEX_URL, which pip reads by itself.
set -euo pipefail
cd "$(dirname "$0")/.."

torch=$(grep '^torch==' ci/constraints.txt)
python -m pip install --quiet "$torch"
python -m pip install --quiet --constraint ci/constraints.txt --editable '.[dev,jax,nvrtc,torch]' autograd mygrad optax
