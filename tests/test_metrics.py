"""Metrics, and means over batches."""

from __future__ import annotations

import math

import numpy as np
import pytest

import nnx
from nnx.metrics import Mean, accuracy

LOGITS = np.array([[0.1, 2.0, -1.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.0]], dtype=np.float32)
IDS = np.array([1, 2, 2, 0])  # right, wrong, right, right: of equal logits the first counts


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_accuracy_of_ids(flag, dtype):
    found = accuracy(nnx.asarray(LOGITS, device=flag), nnx.asarray(IDS.astype(dtype), device=flag))

    assert found.shape == ()
    assert nnx.to_numpy(found).dtype == np.float32
    assert float(found) == 0.75


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_accuracy_of_one_hot_targets(flag, dtype):
    target = np.eye(3)[IDS].astype(dtype)

    assert float(accuracy(nnx.asarray(LOGITS, device=flag), nnx.asarray(target, device=flag))) == 0.75


def test_accuracy_with_further_axes(flag):
    logits = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    target = logits.argmax(-1)
    target[0, 0] = (target[0, 0] + 1) % 4

    found = accuracy(nnx.asarray(logits, device=flag), nnx.asarray(target, device=flag))

    assert float(found) == pytest.approx(0.9)


@pytest.mark.parametrize("shape", [(3,), (4, 2), (4, 1), ()])
def test_accuracy_of_targets_that_do_not_fit(shape):
    with pytest.raises(nnx.ShapeError, match=r"class ids of shape \(4,\) or probabilities of shape \(4, 3\)"):
        accuracy(LOGITS, np.zeros(shape, dtype=np.int64))


def test_accuracy_refuses_what_has_one_class():
    with pytest.raises(nnx.ShapeError, match="two classes or more"):
        accuracy(LOGITS[:, :1], IDS)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), ()])
def test_accuracy_refuses_what_is_empty(shape):
    with pytest.raises(nnx.ShapeError, match="classes"):
        accuracy(np.zeros(shape, np.float32), np.zeros(shape[:-1], np.int64))


def test_accuracy_refuses_ids_that_are_floats():
    with pytest.raises(nnx.DTypeError, match="integer class ids"):
        accuracy(LOGITS, IDS.astype(np.float32))


def test_accuracy_refuses_arrays_of_two_libraries():
    pytest.importorskip("array_api_strict")

    with pytest.raises(nnx.MixedLibrariesError):
        accuracy(LOGITS, nnx.asarray(IDS, device="strict"))


def test_mean_weighs_by_examples(flag):
    mean = Mean()
    for value, count in ((1.0, 30), (4.0, 10)):
        mean.add(nnx.asarray(np.float32(value), device=flag), count)

    assert mean.result() == pytest.approx(1.75)


def test_mean_takes_numbers_and_goes_on_after_a_result():
    mean = Mean()
    mean.add(2, 1)
    mean.add(4.0, 1)

    assert mean.result() == 3.0
    mean.add(9.0, 1)
    assert mean.result() == 5.0


def test_mean_of_nothing():
    assert math.isnan(Mean().result())


def test_mean_waits_for_no_device(monkeypatch):
    class Lazy:
        """A number on a device: it can be computed with, and not be read."""

        reads = 0

        def __init__(self, value):
            self.value = value

        def __mul__(self, other):
            return Lazy(self.value * other)

        def __add__(self, other):
            return Lazy(self.value + other.value)

        def __float__(self):
            Lazy.reads += 1
            return self.value

    monkeypatch.setattr("nnx.metrics.readable", lambda array: False)
    mean = Mean()
    for value in (1.0, 2.0, 6.0):
        mean.add(Lazy(value), 2)

    assert Lazy.reads == 0
    assert mean.result() == 3.0
    assert Lazy.reads == 1
    assert mean.result() == 3.0
    assert Lazy.reads == 1


def test_mean_of_many_float32_is_exact():
    mean = Mean()
    for _ in range(10_000):
        mean.add(np.float32(0.1), 100)

    assert mean.result() == pytest.approx(float(np.float32(0.1)), rel=1e-12)


def test_a_prediction_without_an_axis_of_examples_is_refused(make):
    """It would be one example of as many classes, and right or wrong as a whole."""
    with pytest.raises(nnx.ShapeError, match=r"\(n, ..., classes\) were expected, n at least 1; got \(3,\)"):
        nnx.metrics.accuracy(make([0.1, 0.7, 0.2]), make([0, 1, 0], "int64"))
