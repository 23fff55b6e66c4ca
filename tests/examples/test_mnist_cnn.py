"""The convolutional network for MNIST: the whole script in its short form."""

from __future__ import annotations

import numpy as np
import pytest

import nnx
from run_example import available, figure, run

SCRIPT = "mnist_cnn.py"


@pytest.mark.parametrize("device", [available(flag) for flag in ("cpu", "cuda", "torch", "jax", "strict")])
def test_quick_run(device, tmp_path):
    result = run(SCRIPT, "--quick", "--device", device, folder=tmp_path)

    assert result.returncode == 0, result.stderr
    assert figure(r"test accuracy ([\d.]+)%", result.stdout) > 80
    assert figure(r"([\d,]+) µs an image", result.stdout) > 0
    assert str(nnx.device(device)) in result.stdout
    assert (tmp_path / "mnist_cnn.safetensors").is_file()
    assert "\r" not in result.stderr  # no progress bar where nobody watches


def test_saved_weights_and_picture(tmp_path):
    pytest.importorskip("matplotlib")
    result = run(SCRIPT, "--quick", "--epochs", "1", "--save", "w.safetensors", "--plot", "p.png", folder=tmp_path)

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    weights = nnx.load_weights(tmp_path / "w.safetensors")
    assert {name: array.shape for name, array in weights.items() if "weight" in name} == {
        "0.weight": (5, 5, 1, 16),
        "3.weight": (5, 5, 16, 32),
        "8.weight": (512, 10),
    }
    assert all(np.isfinite(array).all() for array in weights.values())


def test_help(tmp_path):
    result = run(SCRIPT, "--help", folder=tmp_path)

    assert result.returncode == 0
    for option in "device full quick epochs seed save plot".split():
        assert f"--{option}" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "abacus"], "abacus"),
        (["--full"], "NNX_DATA_DIR is"),
        (["--epochs", "0"], "'0' is not a positive integer"),
        (["--save", "nowhere/w.safetensors"], "does not exist"),
        (["--plot", "p.txt"], ".png, .svg or .pdf"),
    ],
)
def test_mistake_is_one_line(arguments, message, tmp_path):
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    result = run(SCRIPT, *arguments, folder=tmp_path, NNX_DATA_DIR=str(tmp_path))

    assert result.returncode in {1, 2}
    assert "Traceback" not in result.stderr
    assert message in result.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
