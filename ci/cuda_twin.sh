#!/usr/bin/env bash
# The plug-in of CuPy on the CPU twin of CuPy, two simulated GPUs (tests/cuda_twin/README.md): its own tests, and those
# of the library that it matters to most. Arguments go to pytest, e.g. `ci/cuda_twin.sh -n 2`; where a file or a folder
# is among them, it is run in place of these.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=tests/cuda_twin${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=1

chosen=(
  tests/backends/cupy tests/backends/test_cupy.py tests/test_backend.py tests/capture/test_backends.py
  tests/ops/test_kernels.py tests/ops/test_linear.py tests/ops/test_dropout.py tests/losses/test_losses.py
  tests/optim/test_optimizer.py tests/train tests/test_module_grad.py tests/test_random.py tests/test_every_part.py
)
for argument in "$@"; do
  if [[ -e ${argument%%::*} ]]; then chosen=(); fi
done
python -m pytest -q --backend cuda "${chosen[@]}" "$@"
