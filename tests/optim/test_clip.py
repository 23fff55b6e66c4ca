from __future__ import annotations

import numpy as np
import pytest

import nnx
from nnx.backend import device_of
from nnx.optim import clip_by_norm

SHAPES = {"a": (3, 4), "b": (4,), "c": (), "d": (0, 2)}


def draw(dtypes=("float32",) * 4):
    rng = np.random.default_rng(0)
    return {k: rng.normal(size=shape).astype(dtype) for (k, shape), dtype in zip(SHAPES.items(), dtypes, strict=True)}


def norm_of(grads):
    return np.sqrt(sum(np.sum(np.square(g.astype("float64"))) for g in grads.values()))


@pytest.mark.parametrize("factor", [0.1, 0.99, 1.01, 100.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_norm_is_limited(on, flag, factor, dtype):
    host = draw((dtype,) * 4)
    norm = norm_of(host)

    clipped, found = clip_by_norm(on(flag, host), factor * norm)

    tolerance = 1e-6 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(nnx.to_numpy(found), norm, rtol=tolerance)
    scale = min(1.0, factor * norm / (norm + 1e-6))
    for name, g in clipped.items():
        np.testing.assert_allclose(nnx.to_numpy(g), scale * host[name], rtol=2 * tolerance)
        assert nnx.to_numpy(g).dtype == dtype
        assert device_of(g) == nnx.device(flag)


def test_two_dtypes_have_one_norm(on, flag):
    host = draw(("float32", "float64", "float32", "float64"))

    clipped, norm = clip_by_norm(on(flag, host), 0.5)

    assert nnx.to_numpy(norm).dtype == "float64"
    np.testing.assert_allclose(nnx.to_numpy(norm), norm_of(host), rtol=1e-6)
    found = {name: nnx.to_numpy(g) for name, g in clipped.items()}
    assert {name: g.dtype for name, g in found.items()} == {name: g.dtype for name, g in host.items()}
    np.testing.assert_allclose(norm_of(found), 0.5, rtol=1e-5)


def test_zeros_stay_zeros(on, flag):
    clipped, norm = clip_by_norm(on(flag, {"a": np.zeros((2, 2), "float32")}), 1.0)
    assert nnx.to_numpy(norm) == 0
    np.testing.assert_array_equal(nnx.to_numpy(clipped["a"]), 0)


def test_nan_is_not_hidden(on, flag):
    clipped, norm = clip_by_norm(on(flag, {"a": np.ones(2, "float32"), "b": np.asarray(np.nan, "float32")}), 1.0)
    assert np.isnan(nnx.to_numpy(norm))
    assert np.all(np.isnan(nnx.to_numpy(clipped["a"])))


def test_the_gradients_are_left_alone(on, flag):
    grads = on(flag, draw())
    clip_by_norm(grads, 0.1)
    for name, g in draw().items():
        np.testing.assert_array_equal(nnx.to_numpy(grads[name]), g)


def test_an_optimiser_clips_over_both_dtypes(arrays, on, flag):
    host = draw(("float32", "float64", "float32", "float64"))
    start = {name: np.zeros_like(g) for name, g in host.items()}
    model = arrays(flag, start)

    nnx.optim.SGD(1.0, clip_norm=0.5).update(model, on(flag, host))

    expected, _ = clip_by_norm(on(flag, host), 0.5)
    for name, g in expected.items():
        np.testing.assert_allclose(nnx.to_numpy(model[name]), -nnx.to_numpy(g), rtol=1e-5)


@pytest.mark.parametrize("max_norm", [0, -1.0, float("nan"), float("inf"), "big", None])
def test_bad_norms(on, max_norm):
    with pytest.raises(nnx.ArgumentError, match="max_norm must be"):
        clip_by_norm(on("cpu", draw()), max_norm)


def test_no_gradients():
    with pytest.raises(nnx.MixedLibrariesError, match="at least one array"):
        clip_by_norm({}, 1.0)
