"""Every example in its short form: it runs, what it asserts holds, and its figure is what it should be."""

from __future__ import annotations

import re

import numpy as np
import pytest

from run_example import EXAMPLES, available, figure, run

FIGURES = {
    # script: of each figure what stands before or around it, its least and its greatest value
    "bias_column": [(r"difference of nnx.Sequential: (\S+)", 0, 1e-14)],
    "matrix_forward": [(r"largest difference\s+(\S+)", 0, 1e-12), (r"ms, ([\d,]+) times as fast", 0, np.inf)],
    "spiral": [(r"linear softmax: accuracy ([\d.]+)%", 45, 60), (r"100 hidden neurons: accuracy ([\d.]+)%", 50, 100)],
    "decision_regions": [(r"20   0 +([\d.]+)%", 80, 100)],
    "dropout": [
        (r"vanilla +\[0.0, 1.0\], (\S+)", 0.49, 0.51),
        (r"inverted +\[0.0, 2.0\], (\S+)", 0.99, 1.01),
        (r"inverted dropout: test accuracy ([\d.]+)%", 60, 100),
    ],
    "keras_style": [(r"'accuracy': ([\d.]+)", 0.6, 1)],
    "initialisation": [
        (r"tanh, weights of 0.01\n.*\n  std +(\S+)", 0.2, 0.23),
        (r"(?s)ReLU, He\n.*?\n  std (?: +\S+){9} +(\S+)", 0.6, 1.0),
        (r"(?s)tanh, 0.01, batch norm\n.*?\n  std (?: +\S+){9} +(\S+)", 0.6, 0.66),
    ],
    "preprocessing": [
        (r"whitened +\S+ +\S+ +(\S+)", 0.999, 1.001),
        (r" 50 +([\d.]+)%", 80, 86),
        (r"95 % of the variance are in (\d+)", 100, 160),
    ],
    "wheat_seeds": [(r"Zero Rule .* ([\d.]+)%", 20, 30), (r"better recipe .* ([\d.]+)%", 95, 100)],
    "backprop_equations": [(r"BP1 .* (\S+)\n", 0, 1e-9), (r" 10 .* ([\d.]+) times as fast", 0, np.inf)],
    "bfgs": [(r"relative difference (\S+)", 0, 1e-8), (r"the four: .* ([\d.]+) points off", 0, 10)],
    "mnist_nielsen": [
        (r"chapter 1: .* test accuracy ([\d.]+)%", 50, 95),
        (r"chapter 3: .* accuracy ([\d.]+)%", 80, 95),
    ],
}
DRAWN = [
    "spiral", "decision_regions", "initialisation", "preprocessing", "wheat_seeds", "bfgs", "mnist_nielsen",
]  # fmt: skip
WITH_TESTS_OF_THEIR_OWN = {"mnist", "mnist_cnn", "char_rnn", "gpu_mlp"}


def test_every_example_is_tested():
    scripts = {path.stem for path in EXAMPLES.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}

    assert scripts == FIGURES.keys() | WITH_TESTS_OF_THEIR_OWN


def test_gallery():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    pictures = {path.name: path.stat().st_size for path in (EXAMPLES / "pictures").iterdir()}

    assert all(f"`{name}.py`" in text for name in FIGURES.keys() | WITH_TESTS_OF_THEIR_OWN)
    assert set(re.findall(r"\(pictures/(\S+)\)", text)) == pictures.keys()
    assert {f"{name}.png" for name in DRAWN} <= pictures.keys()
    assert max(pictures.values()) < 80_000  # a checkout is not to be heavy


@pytest.mark.parametrize("device", [available(flag) for flag in ("cpu", "strict")])
@pytest.mark.parametrize("name", FIGURES)
def test_quick_run(name, device, tmp_path):
    result = run(f"{name}.py", "--quick", "--device", device, folder=tmp_path)

    assert result.returncode == 0, result.stderr
    for pattern, least, greatest in FIGURES[name]:
        assert least <= figure(pattern, result.stdout) <= greatest, result.stdout
    assert result.stderr == ""  # no progress bar where nobody watches
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", DRAWN)
def test_picture(name, tmp_path):
    pytest.importorskip("matplotlib")
    result = run(f"{name}.py", "--quick", "--plot", "p.png", folder=tmp_path)

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", FIGURES)
def test_help(name, tmp_path):
    result = run(f"{name}.py", "--help", folder=tmp_path)

    assert result.returncode == 0
    assert {"--device", "--quick", "--seed"} <= set(re.findall(r"--[a-z]+", result.stdout))
    assert ("--plot" in result.stdout) == (name in DRAWN)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("spiral", ["--device", "abacus"], "abacus"),
        ("bfgs", ["--plot", "p.txt"], ".png, .svg or .pdf"),
        ("bfgs", ["--plot", "nowhere/p.png"], "does not exist"),
        ("mnist_nielsen", ["--full"], "NNX_DATA_DIR is"),
    ],
)
def test_mistake_is_one_line(name, arguments, message, tmp_path):
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    result = run(f"{name}.py", *arguments, folder=tmp_path, NNX_DATA_DIR=str(tmp_path))

    assert result.returncode in {1, 2}
    assert "Traceback" not in result.stderr
    assert message in result.stderr.splitlines()[-1]
