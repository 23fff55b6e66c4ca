"""Hierarchical softmax against the product of the probabilities along the path, written out; and its trees."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.losses import HierarchicalSoftmax
from nnx.losses._tree import huffman, read, two_level
from nnx.testing import check_backends, check_gradients

TREES = {
    "two": [0, 1],
    "flat": [0, 1, 2, 3, 4],
    "binary": [[0, 3], [1, [2, 4]]],
    "groups": [[0, 1], [2, 3, 4]],
    "chain": [4, [3, [2, [1, 0]]]],
    "mixed": [[[5, 1, 2], 0], 3, [4, 6]],
}
each = pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
mixed = pytest.mark.parametrize("tree", [TREES["mixed"]], ids=["mixed"])  # nodes of two and three children, two depths


def leaves(tree):
    return [label for node in tree for label in leaves(node)] if isinstance(tree, list) else [tree]


def outputs(tree):
    """How many logits: one for a node of two children, one for each child of a larger one."""
    if not isinstance(tree, list):
        return 0
    return (1 if len(tree) == 2 else len(tree)) + sum(map(outputs, tree))


def written_out(torch, tree, logits):
    """The probability of each class, for logits of shape (n, outputs): level by level, from the root."""
    found, level, start = {}, [(tree, torch.ones(logits.shape[0], dtype=logits.dtype))], 0
    while level:
        below = []
        for node, p in level:
            if not isinstance(node, list):
                found[node] = p
                continue
            n = 1 if len(node) == 2 else len(node)
            z, start = logits[:, start : start + n], start + n
            shares = [1 / (1 + torch.exp(z[:, 0])), 1 / (1 + torch.exp(-z[:, 0]))] if n == 1 else torch.softmax(z, 1).T
            below.extend((child, p * share) for child, share in zip(node, shares, strict=True))
        level = below
    return torch.stack([found[label] for label in sorted(found)], dim=1)


@st.composite
def trees(draw):
    """A random tree over 2 to 9 classes in random order."""
    nodes = draw(st.permutations(range(draw(st.integers(2, 9)))))
    while len(nodes) > 1:
        k = draw(st.integers(2, len(nodes)))
        nodes = [*nodes[k:], list(nodes[:k])]
    return nodes[0]


@given(tree=trees(), seed=st.integers(0, 99))
def test_loss_gradient_and_probabilities_are_the_formula(tree, seed):
    torch = pytest.importorskip("torch")
    rng, loss = np.random.default_rng(seed), HierarchicalSoftmax(tree)
    assert (loss.classes, loss.outputs) == (len(leaves(tree)), outputs(tree))
    z, ids = 3 * rng.standard_normal((4, loss.outputs)), rng.integers(0, loss.classes, 4)
    tensor = torch.tensor(z, requires_grad=True)
    p = written_out(torch, tree, tensor)
    expected = -torch.log(p[torch.arange(4), torch.tensor(ids)]).mean()
    expected.backward()
    value, gradient = nnx.value_and_grad(loss)(z, ids)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(loss.probabilities(z), p.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(loss.probabilities(z).sum(axis=-1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.exp(loss.log_probabilities(z)), loss.probabilities(z), rtol=1e-12)


@each
@pytest.mark.parametrize("leading", [(3,), (2, 3), ()])
def test_the_loss_is_that_of_the_probabilities(tree, leading):
    rng, loss = np.random.default_rng(0), HierarchicalSoftmax(tree)
    z, ids = rng.standard_normal((*leading, loss.outputs)), np.asarray(rng.integers(0, loss.classes, leading))
    log_p = loss.log_probabilities(z)
    assert log_p.shape == (*leading, loss.classes)
    for reduction in ("mean", "sum", "none"):
        expected = nnx.losses.nll(log_p, ids, reduction=reduction)
        np.testing.assert_allclose(loss(z, ids, reduction=reduction), expected, rtol=1e-12)


def test_a_flat_tree_is_softmax_and_two_classes_are_one_sigmoid(make):
    rng = np.random.default_rng(0)
    z, ids = make(rng.standard_normal((4, 5)), "float64"), make([0, 4, 2, 2], "int64")
    found, expected = HierarchicalSoftmax(TREES["flat"])(z, ids), nnx.losses.cross_entropy(z, ids)
    np.testing.assert_allclose(nnx.to_numpy(found), nnx.to_numpy(expected), rtol=1e-12)
    z, ids = make(rng.standard_normal((4, 1)), "float64"), make([0, 1, 1, 0], "int64")
    found = HierarchicalSoftmax([0, 1])(z, ids)
    expected = nnx.losses.binary_cross_entropy(z, make([[0], [1], [1], [0]], "float64"))
    np.testing.assert_allclose(nnx.to_numpy(found), nnx.to_numpy(expected), rtol=1e-12)


@mixed
def test_gradients_of_first_and_second_order(tree, device):
    rng, loss = np.random.default_rng(0), HierarchicalSoftmax(tree)
    z, ids = rng.standard_normal((3, loss.outputs)), rng.integers(0, loss.classes, 3)
    check_gradients(loss, z, ids, device=device)
    check_gradients(loss.probabilities, z, device=device)


@mixed
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backends_agree(tree, dtype, flags):
    rng, loss = np.random.default_rng(0), HierarchicalSoftmax(tree)
    z, ids = rng.standard_normal((3, loss.outputs)).astype(dtype), rng.integers(0, loss.classes, 3)
    check_backends(loss, z, ids, backends=flags)
    check_backends(loss.log_probabilities, z, backends=flags)


@mixed
def test_probabilities_keep_dtype_and_device(tree, normal, assert_kept):
    loss = HierarchicalSoftmax(tree)
    for shape in [(2, 3), (0,), ()]:
        for f in (loss.probabilities, loss.log_probabilities):
            assert assert_kept(f, normal(*shape, loss.outputs)).shape == (*shape, loss.classes)


@each
def test_logits_of_ten_thousand(tree):
    loss = HierarchicalSoftmax(tree)
    signs = np.asarray(list(itertools.islice(itertools.product([-1e4, 1e4], repeat=loss.outputs), 64)), np.float32)
    ids = np.arange(len(signs)) % loss.classes
    value, gradient = nnx.value_and_grad(loss)(signs, ids)
    exact, exact_gradient = nnx.value_and_grad(loss)(signs.astype("float64"), ids)
    np.testing.assert_allclose(value, exact, rtol=1e-6)
    np.testing.assert_allclose(gradient, exact_gradient, atol=1e-6)
    np.testing.assert_allclose(loss.probabilities(signs).sum(axis=-1), 1, rtol=1e-6)
    assert np.isfinite(loss.log_probabilities(signs)).all()


@mixed
@pytest.mark.parametrize("wrong", [-1, 7, 100])
def test_a_class_outside_the_tree(tree, wrong, make, device):
    loss = HierarchicalSoftmax(tree)
    z, ids = make(np.zeros((3, loss.outputs))), make([0, wrong, 1], "int64")
    if device.backend.readable(ids):
        message = f"labels from 0 to {loss.classes - 1} were expected, the classes of the tree; got labels from"
        with pytest.raises(nnx.LabelError, match=f"{message} {min(wrong, 0)} to {max(wrong, 1)}"):
            loss(z, ids)
    else:
        assert np.isnan(nnx.to_numpy(loss(z, ids, reduction="none"))).tolist() == [False, True, False]


def test_logits_that_do_not_fit_the_tree(make):
    loss, ids = HierarchicalSoftmax(TREES["groups"]), make([0, 1], "int64")
    for shape in [(2, 4), (2, 6)]:
        with pytest.raises(
            nnx.ShapeError, match=r"logits of shape \(\.\.\., 5\) were expected, .* tree of 5 classes; got"
        ):
            loss(make(np.zeros(shape)), ids)
        with pytest.raises(nnx.ShapeError, match=r"logits of shape \(\.\.\., 5\) were expected"):
            loss.probabilities(make(np.zeros(shape)))
    with pytest.raises(nnx.DTypeError, match="a floating-point prediction was expected"):
        loss.probabilities(make(np.zeros((2, 5)), "int64"))
    with pytest.raises(nnx.ShapeError, match="were expected, got shape"):
        loss.probabilities(make(0.0))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (0, "a tree of two classes or more was expected, got 0"),
        ([], r"an inner node of a tree of classes has two children or more, got \[\]"),
        ([[0], [1, 2]], r"has two children or more, got \[0\]"),
        ([0, [1, 3]], "the leaves of a tree of 3 classes are the ids 0 to 2, each once; .*: 3"),
        ([0, [1, 0]], "each once; repeated or out of range: 0"),
        ([-1, [1, 0]], "each once; repeated or out of range: -1"),
        ([0, [1, "2"]], "a tree of classes is made of lists and class ids, got '2'"),
        ([0, 1.0], "a tree of classes is made of lists and class ids, got 1.0"),
        ([0, True], "a tree of classes is made of lists and class ids, got True"),
        (None, "a tree of classes is made of lists and class ids, got None"),
    ],
)
def test_what_is_no_tree(tree, message):
    with pytest.raises(nnx.ArgumentError, match=message):
        HierarchicalSoftmax(tree)


def mean_length(counts):
    """The least mean number of binary decisions: the sum of all merged weights (Huffman 1952)."""
    weights, total = sorted(counts), 0.0
    while len(weights) > 1:
        merged = weights[0] + weights[1]
        total += merged
        weights = sorted([*weights[2:], merged])
    return total / sum(counts)


@given(counts=st.lists(st.integers(1, 100), min_size=2, max_size=12))
def test_trees_of_huffman_are_shortest(counts):
    lengths = [len(path) for path in read(huffman(counts)).paths]
    mean = sum(n * c for n, c in zip(lengths, counts, strict=True)) / sum(counts)
    assert mean == pytest.approx(mean_length(counts))
    p = np.asarray(counts) / sum(counts)
    entropy = -(p * np.log2(p)).sum()
    assert entropy - 1e-9 <= mean < entropy + 1
    loss = HierarchicalSoftmax.huffman(counts)
    assert (loss.classes, loss.outputs, loss.depth) == (len(counts), len(counts) - 1, max(lengths))


def test_huffman_takes_arrays_and_zeros(make):
    counts = [5, 0, 0, 2]
    expected = HierarchicalSoftmax.huffman(counts)
    found = HierarchicalSoftmax.huffman(make(counts, "int64"))
    for ours, theirs in zip(found._host, expected._host, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert repr(found) == "<HierarchicalSoftmax of 4 classes, 3 outputs, depth 3>"


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([], "counts of two classes or more were expected, got 0"),
        ([3], "counts of two classes or more were expected, got 1"),
        ([3, -1], "finite numbers of at least 0, got -1 for class 1"),
        ([math.nan, 1], "finite numbers of at least 0, got nan for class 0"),
        ([math.inf, 1], "got inf for class 0"),
        (["a", 1], "got 'a' for class 0"),
    ],
)
def test_what_are_no_counts(counts, message):
    with pytest.raises(nnx.ArgumentError, match=message):
        HierarchicalSoftmax.huffman(counts)


@given(classes=st.integers(2, 60), groups=st.none() | st.integers(1, 60))
def test_two_levels_are_even_groups_of_consecutive_classes(classes, groups):
    groups = groups if groups is None else min(groups, classes)
    tree = two_level(classes, groups)
    assert leaves(tree) == list(range(classes))
    count = round(math.sqrt(classes)) if groups is None else groups
    if 1 < count < classes:
        sizes = [len(leaves(group)) for group in tree]
        assert len(sizes) == count
        assert max(sizes) - min(sizes) <= 1
    assert HierarchicalSoftmax.two_level(classes, groups).depth <= 2


def test_a_thousand_classes_in_two_levels_need_few_logits_each():
    loss = HierarchicalSoftmax.two_level(1000)
    assert (loss.classes, loss.depth) == (1000, 2)
    assert loss.outputs == 1032


@pytest.mark.parametrize("groups", [0, 6, -1])
def test_groups_that_there_cannot_be(groups):
    with pytest.raises(nnx.ArgumentError, match=f"5 classes are put in 1 to 5 groups, got {groups}"):
        HierarchicalSoftmax.two_level(5, groups)


def test_two_levels_need_classes():
    for classes in (0, 2.5, None):
        with pytest.raises(nnx.ArgumentError, match="the number of classes must be a whole number of at least 1"):
            HierarchicalSoftmax.two_level(classes)
    with pytest.raises(nnx.ArgumentError, match="a tree of two classes or more was expected"):
        HierarchicalSoftmax.two_level(1)


def test_deep_trees_need_no_recursion():
    n = 3000
    tree = [n - 2, n - 1]
    for label in range(n - 3, -1, -1):
        tree = [label, tree]
    loss = HierarchicalSoftmax(tree)
    assert (loss.depth, loss.outputs) == (n - 1, n - 1)
    np.testing.assert_allclose(loss(np.zeros((1, n - 1)), np.asarray([n - 1])), (n - 1) * math.log(2))


def test_copies_and_pickles(make):
    loss = HierarchicalSoftmax(TREES["mixed"])
    z, ids = make(np.random.default_rng(0).standard_normal((2, loss.outputs))), make([3, 5], "int64")
    expected = nnx.to_numpy(loss(z, ids))
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        np.testing.assert_array_equal(nnx.to_numpy(other(z, ids)), expected)


def test_under_a_compiler_and_after_it():
    jax = pytest.importorskip("jax")
    loss = HierarchicalSoftmax(TREES["mixed"])
    z, ids = np.random.default_rng(0).standard_normal((2, loss.outputs)), np.asarray([3, 5])
    expected = loss(z, ids)
    compiled = jax.jit(lambda z, ids: loss(z, ids))
    np.testing.assert_allclose(compiled(z, ids), expected, rtol=1e-12)
    z, ids = (nnx.asarray(a, device="jax:cpu") for a in (z, ids))
    np.testing.assert_allclose(nnx.to_numpy(loss(z, ids)), expected, rtol=1e-12)


def test_a_model_learns_its_classes():
    rng = np.random.default_rng(0)
    centres = 4 * rng.standard_normal((9, 5))
    ids = rng.integers(0, 9, 300)
    x = (centres[ids] + rng.standard_normal((300, 5))).astype("float32")
    for loss in (HierarchicalSoftmax.huffman(np.bincount(ids, minlength=9)), HierarchicalSoftmax.two_level(9)):
        model = nnx.Sequential(nnx.Linear(5, 32), nnx.relu, nnx.Linear(32, loss.outputs))
        trainer = nnx.Trainer(model, loss=loss, optimizer=nnx.optim.Adam(1e-2))
        trainer.fit((x, ids), epochs=20, progress=False)
        assert nnx.metrics.accuracy(loss.probabilities(model(x)), ids) > 0.95
