#!/usr/bin/env bash
# Every example in its short form, once on the CPU and once on what "auto" chooses.
set -euo pipefail
cd "$(dirname "$0")/.."

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

for device in cpu auto; do
  python examples/mnist.py --quick --device "$device" --save "$room/mnist-$device.safetensors" \
    --plot "$room/mnist-$device.png"
  python examples/mnist_cnn.py --quick --device "$device" --save "$room/mnist_cnn-$device.safetensors" \
    --plot "$room/mnist_cnn-$device.png"
  python examples/gpu_mlp.py --quick --device "$device" --capture --checkpoint "$room/gpu_mlp-$device"
  python examples/char_rnn.py --quick --device "$device" --plot "$room/char_rnn-$device.png"
  for name in spiral decision_regions initialisation preprocessing wheat_seeds bfgs mnist_nielsen; do
    python "examples/$name.py" --quick --device "$device" --plot "$room/$name-$device.png"
  done
  for name in bias_column matrix_forward backprop_equations dropout keras_style; do
    python "examples/$name.py" --quick --device "$device"
  done
done
