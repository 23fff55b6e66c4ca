"""Orthogonal, identity and sparse weights: their exact properties, and the statistics of torch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx import init

SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)


@given(shape=SHAPES, gain=st.sampled_from([1.0, 0.5, 3.0]), seed=st.integers(0, 100))
def test_orthogonal_matrices_are_orthogonal(shape, gain, seed):
    w = init.orthogonal(shape, gain=gain, dtype="float64", rng=nnx.Generator(seed))
    assert w.shape == shape
    q = w.reshape(-1, shape[-1]) / gain
    rows, columns = q.shape
    if rows >= columns:
        np.testing.assert_allclose(q.T @ q, np.eye(columns), atol=1e-14)
    if rows <= columns:
        np.testing.assert_allclose(q @ q.T, np.eye(rows), atol=1e-14)


def test_all_rotations_are_equally_likely(stats):
    """The first entry of a random unit vector in three dimensions is uniform, and half of all determinants are 1."""
    rng = nnx.Generator(0)
    matrices = [init.orthogonal((3, 3), dtype="float64", rng=rng) for _ in range(3000)]
    for entry in [(0, 0), (2, 1)]:
        values = np.asarray([q[entry] for q in matrices])
        assert stats.kstest(values, stats.uniform(-1, 2).cdf).pvalue > 0.01
    turns = sum(np.linalg.det(q) > 0 for q in matrices)
    assert stats.binomtest(turns, 3000).pvalue > 0.01


def test_orthogonal_matrices_have_the_statistics_of_torch(stats):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.init.orthogonal_(torch.empty(60, 40), gain=2.0, generator=torch.Generator().manual_seed(0))
    ours = init.orthogonal((60, 40), gain=2.0, rng=nnx.Generator(0))
    assert ours.std() == pytest.approx(theirs.std().item(), rel=1e-3)
    assert stats.ks_2samp(ours.reshape(-1), theirs.numpy().reshape(-1)).pvalue > 0.01


@given(shape=st.tuples(st.integers(1, 5), st.integers(1, 5)), gain=st.sampled_from([1.0, -2.0]))
def test_identity(shape, gain):
    np.testing.assert_array_equal(init.identity(shape, gain=gain), gain * np.eye(*shape))


@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (2, 4)])
def test_a_convolution_with_the_identity_answers_its_input(kernel):
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 3))
    layer = nnx.Conv2d(3, 3, kernel, padding="same", weight_init=init.identity, dtype="float64")
    np.testing.assert_array_equal(layer(x), x)


@given(shape=SHAPES, connections=st.integers(1, 12), seed=st.integers(0, 100))
def test_each_unit_has_so_many_connections(shape, connections, seed):
    w = init.sparse(shape, connections=connections, rng=nnx.Generator(seed))
    assert w.shape == shape
    per_unit = np.count_nonzero(w.reshape(-1, shape[-1]), axis=0)
    assert (per_unit == min(connections, np.prod(shape[:-1]))).all()


def test_connections_are_fifteen_normal_weights_of_any_inputs(stats):
    w = init.sparse((200, 400), rng=nnx.Generator(0))
    values = w[w != 0]
    assert values.size == 15 * 400
    assert stats.kstest(values, stats.norm.cdf).pvalue > 0.01
    assert stats.chisquare(np.count_nonzero(w, axis=1)).pvalue > 0.01
    assert init.sparse((200, 400), std=0.01, rng=nnx.Generator(0)).std() == pytest.approx(0.01 * w.std(), rel=1e-5)


def test_sparse_weights_have_the_statistics_of_torch():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.init.sparse_(torch.empty(200, 400), 0.925, 1.0, generator=torch.Generator().manual_seed(0))
    ours = init.sparse((200, 400), rng=nnx.Generator(0))
    assert np.count_nonzero(ours) == theirs.count_nonzero().item()
    assert ours.std() == pytest.approx(theirs.std().item(), rel=0.03)


@pytest.mark.parametrize("connections", [0, -1, 1.5, True, None])
def test_connections_are_counted(connections):
    with pytest.raises(nnx.ArgumentError, match="the number of connections must be a whole number of at least 1"):
        init.sparse((3, 2), connections=connections)


@pytest.mark.parametrize("make", [init.orthogonal, init.identity, init.sparse])
def test_there_must_be_elements(make):
    with pytest.raises(nnx.ShapeError, match=r"at least one element, got shape \(0, 3\)"):
        make((0, 3))


def test_a_gain_of_nothing():
    with pytest.raises(nnx.ArgumentError, match="the gain must be a finite number greater than 0, got 0"):
        init.orthogonal((3, 3), gain=0)
