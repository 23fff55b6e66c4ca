"""The training script: it trains on each backend, and goes on from a checkpoint to the same numbers."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

import nnx
import run_example
from run_example import available, figure

PARTS = [
    available("cpu"),
    available("cpu", "--capture"),
    available("cpu", "--precision", "float16", "--capture"),
    available("torch", "--precision", "bfloat16"),
    available("jax", "--precision", "bfloat16", "--capture"),
    available("cuda", "--precision", "bfloat16", "--capture"),
]


def run(*arguments, folder):
    return run_example.run("gpu_mlp.py", *arguments, folder=folder)


def losses(output):
    return dict(re.findall(r"step +(\d+)  loss (\S+)", output))


@pytest.mark.parametrize("arguments", [pytest.param(p.values, marks=p.marks) for p in PARTS])
def test_quick_run(arguments, tmp_path):
    result = run("--quick", "--data", "digits", "--device", *arguments, folder=tmp_path)

    assert result.returncode == 0, result.stderr
    assert list(losses(result.stdout)) == ["5", "10", "15", "20"]
    assert figure(r"test accuracy ([\d.]+)%", result.stdout) > 20  # of ten digits, after 20 steps
    assert figure(r"([\d,]+) examples/s", result.stdout) > 0
    device = nnx.device(arguments[0])
    assert ("GiB" in result.stdout) == (device.backend.memory(device.native) is not None)
    assert list(tmp_path.iterdir()) == []


HALF = ["--precision", "float16", "--schedule", "constant", "--width", "8"]  # NumPy multiplies float16 without BLAS


@pytest.mark.parametrize("options", [[], ["--capture"], HALF])
def test_a_run_in_two_halves_ends_with_the_same_bits(options, tmp_path):
    epochs_of_five = ["--batch-size", "4000"]
    options = ["--quick", "--device", "cpu", "--log-interval", "1", *epochs_of_five, *options]
    whole = run(*options, "--checkpoint", "whole", folder=tmp_path)
    first = run(*options, "--checkpoint", "halves", "--stop", "9", folder=tmp_path)
    second = run(*options, "--checkpoint", "halves", "--resume", folder=tmp_path)

    assert (whole.returncode, first.returncode, second.returncode) == (0, 0, 0), second.stderr
    assert len(losses(whole.stdout)) == 20
    assert list(losses(second.stdout)) == [str(i) for i in range(10, 21)]
    assert losses(first.stdout) | losses(second.stdout) == losses(whole.stdout)
    expected, found = (nnx.load_weights(tmp_path / name) for name in ("whole", "halves"))
    assert {name.partition(".")[0] for name in expected} == {"model", "optimizer", "steps"}
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert sorted(os.listdir(tmp_path)) == ["halves", "whole"]


def test_another_seed_is_another_run(tmp_path):
    a, b = (run("--quick", "--device", "cpu", "--seed", seed, folder=tmp_path).stdout for seed in (0, 1))

    assert losses(a) != losses(b)


def test_resume_without_a_checkpoint_begins(tmp_path):
    result = run("--quick", "--device", "cpu", "--checkpoint", "new", "--resume", folder=tmp_path)

    assert result.returncode == 0, result.stderr
    assert "going on" not in result.stdout
    assert (tmp_path / "new").exists()


def test_help(tmp_path):
    result = run("--help", folder=tmp_path)

    assert result.returncode == 0
    wanted = "device layers width batch-size steps rate schedule precision capture checkpoint resume seed data quick"
    assert {f"--{option}" for option in wanted.split()} <= set(re.findall(r"--[a-z-]+", result.stdout))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "abacus"], "abacus"),
        (["--precision", "bfloat16"], "precision='bfloat16'"),
        (["--precision", "tf32"], "precision='tf32'"),
        (["--precision", "int8"], "invalid choice: 'int8'"),
        (["--width", "0"], "'0' is not a positive integer"),
        (["--resume"], "--resume needs --checkpoint FILE"),
        (["--checkpoint", "nowhere/model"], "does not exist"),
        (["--rate", "1e30"], "lower --rate"),
    ],
)
def test_mistake_is_one_line(arguments, message, tmp_path):
    result = run("--quick", "--device", "cpu", *arguments, folder=tmp_path)

    assert result.returncode in {1, 2}
    assert "Traceback" not in result.stderr
    assert message in result.stderr.splitlines()[-1]


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    assert run("--quick", "--device", "cpu", "--checkpoint", "c", folder=tmp_path).returncode == 0
    result = run("--quick", "--device", "cpu", "--checkpoint", "c", "--resume", "--width", "32", folder=tmp_path)

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "has shape (32,), got an array of shape (64,)" in result.stderr.splitlines()[-1]
