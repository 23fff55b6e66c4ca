"""The truncated normal distribution; tests/test_init.py has what all initialisers share."""

from __future__ import annotations

import math

import numpy as np
import pytest

import nnx
from nnx import init


@pytest.mark.parametrize("bound", [0.01, 0.7, 1.0, 1.3, 2.0, 6.0])
def test_the_distribution_is_that_of_scipy(bound, stats):
    z = init.truncated_normal((50_000,), std=1.0, bound=bound, dtype="float64", rng=nnx.Generator(0))
    assert abs(z).max() <= bound
    assert stats.kstest(z, stats.truncnorm(-bound, bound).cdf).pvalue > 0.01


def test_mean_and_std_are_those_before_the_cut(stats):
    z = init.truncated_normal((50_000,), mean=3.0, std=0.5, dtype="float64", rng=nnx.Generator(0))
    assert abs(z - 3).max() <= 1
    assert z.mean() == pytest.approx(3, abs=0.01)
    assert z.std() == pytest.approx(0.5 * stats.truncnorm(-2, 2).std(), rel=0.01)


def test_it_has_the_statistics_of_torch(stats):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.init.trunc_normal_(torch.empty(200, 300), generator=torch.Generator().manual_seed(0)).numpy()
    ours = init.truncated_normal((200, 300), std=1.0, rng=nnx.Generator(0))
    assert stats.ks_2samp(ours.reshape(-1), theirs.reshape(-1)).pvalue > 0.01


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (7, 5, 3)])
def test_shapes(shape):
    assert init.truncated_normal(shape, rng=nnx.Generator(0)).shape == shape


def test_a_generator_goes_on():
    rng = nnx.Generator(0)
    first, second = (init.truncated_normal((100,), rng=rng) for _ in range(2))
    assert len(np.unique(np.concatenate([first, second]))) == 200


@pytest.mark.parametrize("shape", [(-1,), (-1, -1), (2.5,), 3.5])
def test_what_is_no_shape(shape):
    with pytest.raises(nnx.ShapeError, match="a shape is a tuple of integers of 0 or more"):
        init.truncated_normal(shape)


@pytest.mark.parametrize("bound", [0, -1.0, math.nan, math.inf, "2"])
def test_what_is_no_bound(bound):
    with pytest.raises(nnx.ArgumentError, match="the bound of truncated_normal must be a finite number greater than 0"):
        init.truncated_normal((2,), bound=bound)
