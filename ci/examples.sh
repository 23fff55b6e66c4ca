#!/usr/bin/env bash
# Every example in its short form, once on the CPU and once on what "auto" chooses.
set -euo pipefail
cd "$(dirname "$0")/.."

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

for device in cpu auto; do
  python examples/mnist.py --quick --device "$device" --save "$room/mnist-$device.safetensors" \
    --plot "$room/mnist-$device.png"
done
