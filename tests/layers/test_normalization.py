"""The normalisation layers: running statistics, modes and shapes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.testing import check_backends, check_gradients

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 2, 4))


def train(model, x):
    """What the model answers while it is differentiated; its buffers are then those after the step."""

    def loss(model, x):
        y = model(x)
        return nnx.namespace_of(y).sum(y * y), y

    (_, y), _ = nnx.value_and_grad(loss, has_aux=True)(model, x)
    return y


def twins(features, make, **options):
    """Our layer and torch's, of the same parameters."""
    torch = pytest.importorskip("torch")
    ours = nnx.BatchNorm(features, dtype="float64", device=nnx.backend.device_of(make(0.0)), **options)
    theirs = torch.nn.BatchNorm1d(features, dtype=torch.float64, **options)
    weight, bias = RNG.standard_normal((2, features))
    ours.load({"weight": weight, "bias": bias}, partial=True)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(weight))
        theirs.bias.copy_(torch.tensor(bias))
    return ours, theirs, torch


class TestBatchNorm:
    @pytest.mark.parametrize("momentum", [0.1, 0.5, 1.0, 0.0])
    def test_it_is_that_of_torch_in_training_and_in_prediction(self, momentum, make):
        ours, theirs, torch = twins(4, make, momentum=momentum, eps=1e-3)
        for i in range(3):
            x = np.random.default_rng(i).normal(i, 1 + i, (5, 4))
            expected = theirs(torch.tensor(x))
            np.testing.assert_allclose(
                nnx.to_numpy(train(ours, make(x, "float64"))), expected.detach().numpy(), rtol=1e-10, atol=1e-12
            )
            for name in ("running_mean", "running_var"):
                np.testing.assert_allclose(nnx.to_numpy(getattr(ours, name)), getattr(theirs, name).numpy(), rtol=1e-12)
        x = RNG.standard_normal((7, 4))
        expected = theirs.eval()(torch.tensor(x)).detach().numpy()
        np.testing.assert_allclose(nnx.to_numpy(ours(make(x, "float64"))), expected, rtol=1e-10, atol=1e-12)

    @given(leading=st.lists(st.integers(1, 4), min_size=1, max_size=4).filter(lambda n: np.prod(n) > 1))
    def test_statistics_of_any_rank_are_over_all_axes_but_the_last(self, leading):
        x = np.random.default_rng(0).standard_normal((*leading, 3))
        one, other = nnx.BatchNorm(3, dtype="float64"), nnx.BatchNorm(3, dtype="float64")
        y, z = train(one, x), train(other, x.reshape(-1, 3))
        np.testing.assert_allclose(y.reshape(-1, 3), z, rtol=1e-12)
        np.testing.assert_allclose(one.running_var, other.running_var, rtol=1e-12)
        rows = x.reshape(-1, 3)
        np.testing.assert_allclose(one.running_mean, 0.1 * rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(one.running_var, 0.9 + 0.1 * rows.var(axis=0, ddof=1), rtol=1e-12)

    def test_predictions_are_example_by_example(self, make, device):
        """A batch of one is right, and is that example's part of any batch."""
        model = nnx.BatchNorm(4, device=device)
        x = make(X * 3 + 2)
        for _ in range(50):
            train(model, x)
        whole = nnx.to_numpy(model(x))
        for i in range(3):
            np.testing.assert_allclose(nnx.to_numpy(model(x[i : i + 1, ...])), whole[i : i + 1], rtol=1e-6)
        flat = (X * 3 + 2).reshape(-1, 4)
        expected = (X * 3 + 2 - flat.mean(axis=0)) / flat.std(axis=0, ddof=1)
        np.testing.assert_allclose(whole, expected, atol=0.02)  # 0.9⁵⁰ of the statistics is that of the beginning
        assert model(x[:0, ...]).shape == (0, 2, 4)

    def test_a_prediction_changes_no_statistics(self, make, device):
        model = nnx.BatchNorm(4, device=device)
        model(make(X))
        nnx.value_and_grad(lambda model, x: nnx.namespace_of(model(x)).sum(model(x)), training=False)(model, make(X))
        np.testing.assert_array_equal(nnx.to_numpy(model.running_mean), np.zeros(4))
        np.testing.assert_array_equal(nnx.to_numpy(model.running_var), np.ones(4))

    def test_statistics_are_plain_arrays_after_training(self, make, device):
        model = nnx.BatchNorm(4, device=device)
        train(model, make(X))
        for array in model.arrays().values():
            assert type(array) is type(make(X))
            assert array.dtype == make(X).dtype
            assert nnx.backend.device_of(array) == device
        assert list(model.parameters()) == ["weight", "bias"]
        assert list(model.buffers()) == ["running_mean", "running_var"]

    def test_an_exception_leaves_the_statistics(self):
        model = nnx.BatchNorm(4)

        def fails(model, x):
            model(x)
            raise RuntimeError

        with pytest.raises(RuntimeError):
            nnx.value_and_grad(fails)(model, X.astype("float32"))
        assert model.running_mean.tolist() == [0, 0, 0, 0]

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("affine", [True, False])
    def test_gradients_of_first_and_second_order(self, training, affine, device):
        model = nnx.BatchNorm(4, dtype="float64", affine=affine)
        train(model, X)
        check_gradients(model, X, device=device, training=training)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_backends_agree(self, dtype, flags):
        check_backends(nnx.BatchNorm(4, dtype=dtype), X.astype(dtype), backends=flags)

    def test_the_same_training_has_the_same_statistics_on_every_backend(self, make, device):
        here, host = nnx.BatchNorm(4, device=device), nnx.BatchNorm(4)
        for i in range(5):
            train(here, make(X + i))
            train(host, (X + i).astype("float32"))
        for name, array in host.buffers().items():
            np.testing.assert_allclose(nnx.to_numpy(here.buffers()[name]), array, rtol=1e-6)

    def test_a_network_that_is_badly_initialised_learns_with_it(self):
        """Weights a hundred times too small: the signal dies without it."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((256, 10)).astype("float32")
        y = (x[:, 0] * x[:, 1] > 0).astype("int64")

        def final(norm):
            g, small = nnx.Generator(0), lambda *a, **o: nnx.init.normal(*a, std=1e-3, **o)
            layers = []
            for a, b in pairwise([10, 32, 32, 32]):
                layers += [nnx.Linear(a, b, weight_init=small, rng=g), *([nnx.BatchNorm(b)] if norm else []), nnx.relu]
            model = nnx.Sequential(*layers, nnx.Linear(32, 2, rng=g))
            trainer = nnx.Trainer(model, loss=nnx.losses.cross_entropy, optimizer=nnx.optim.SGD(0.1))
            return trainer.fit((x, y), epochs=20, batch_size=32, rng=nnx.Generator(1)).loss[-1]

        assert final(norm=False) > 0.65
        assert final(norm=True) < 0.35

    @pytest.mark.parametrize("shape", [(0, 4), (1, 4), (4,)])
    def test_training_needs_more_than_one_value_a_channel(self, shape, make, device):
        model = nnx.BatchNorm(4, device=device)
        with pytest.raises(nnx.ShapeError, match=r"more than one value for each channel; got shape .*two examples"):
            train(model, make(np.zeros(shape)))
        np.testing.assert_array_equal(nnx.to_numpy(model.running_var), np.ones(4))

    @pytest.mark.parametrize("options", [{"features": 0}, {"features": 2.0}, {"features": True}])
    def test_features_there_must_be(self, options):
        with pytest.raises(nnx.ArgumentError, match="features must be a whole number of at least 1"):
            nnx.BatchNorm(**options)

    @pytest.mark.parametrize("options", [{"momentum": -0.1}, {"momentum": 1.5}, {"eps": 0.0}, {"eps": -1.0}])
    def test_numbers_that_make_no_sense(self, options):
        with pytest.raises(nnx.ArgumentError, match=next(iter(options))):
            nnx.BatchNorm(4, **options)

    def test_text_and_operations(self):
        assert repr(nnx.BatchNorm(4)) == "BatchNorm(4)"
        assert repr(nnx.BatchNorm(4, affine=False)) == "BatchNorm(4, affine=False)"
        assert nnx.BatchNorm(4).operations((3, 4), (3, 4)) == 36
        assert nnx.summary(nnx.Sequential(nnx.Linear(3, 4), nnx.BatchNorm(4)), (2, 3)).parameters == 16 + 8


class TestLayerNorm:
    @pytest.mark.parametrize("features", [4, (4,), (2, 4), (3, 2, 4)])
    @pytest.mark.parametrize("affine", [True, False])
    def test_it_is_that_of_torch(self, features, affine, make, device):
        torch = pytest.importorskip("torch")
        ours = nnx.LayerNorm(features, affine=affine, eps=1e-3, dtype="float64", device=device)
        theirs = torch.nn.LayerNorm(features, elementwise_affine=affine, eps=1e-3, dtype=torch.float64)
        if affine:
            arrays = {name: RNG.standard_normal(array.shape) for name, array in ours.parameters().items()}
            ours.load(arrays)
            theirs.load_state_dict({name: torch.tensor(a) for name, a in arrays.items()})
        tensor = torch.tensor(X, requires_grad=True)
        loss = (theirs(tensor) ** 3).sum()
        loss.backward()

        def f(model, x):
            return nnx.namespace_of(x).sum(model(x) ** 3)

        value, (parameters, by_x) = nnx.value_and_grad(f, argnums=(0, 1))(ours, make(X, "float64"))
        np.testing.assert_allclose(nnx.to_numpy(value), loss.item(), rtol=1e-10)
        np.testing.assert_allclose(nnx.to_numpy(by_x), tensor.grad.numpy(), rtol=1e-8, atol=1e-10)
        for name, g in parameters.items():
            np.testing.assert_allclose(nnx.to_numpy(g), getattr(theirs, name).grad.numpy(), rtol=1e-9, atol=1e-10)

    @pytest.mark.parametrize("affine", [True, False])
    def test_training_and_prediction_are_the_same(self, affine, make, device):
        model = nnx.LayerNorm(4, affine=affine, device=device)
        np.testing.assert_array_equal(nnx.to_numpy(train(model, make(X))), nnx.to_numpy(model(make(X))))
        assert model.buffers() == {}

    def test_an_example_is_normalised_for_itself(self, make, device):
        model = nnx.LayerNorm(4, device=device)
        whole = nnx.to_numpy(model(make(X)))
        np.testing.assert_allclose(nnx.to_numpy(model(make(X[1]))), whole[1], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(whole.mean(axis=-1), 0, atol=1e-6)
        np.testing.assert_allclose(whole.std(axis=-1), 1, atol=1e-3)

    @pytest.mark.parametrize("features", [4, (2, 4)])
    def test_gradients_of_first_and_second_order(self, features, device):
        check_gradients(nnx.LayerNorm(features, dtype="float64"), X, device=device)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_backends_agree(self, dtype, flags):
        check_backends(nnx.LayerNorm((2, 4), dtype=dtype), X.astype(dtype), backends=flags)

    @pytest.mark.parametrize("features", [0, (), (3, 0), "4", 2.0])
    def test_features_there_must_be(self, features):
        with pytest.raises(nnx.ArgumentError, match="features"):
            nnx.LayerNorm(features)

    def test_text_and_parameters(self):
        assert repr(nnx.LayerNorm(4)) == "LayerNorm(4)"
        assert repr(nnx.LayerNorm((2, 4), affine=False)) == "LayerNorm((2, 4), affine=False)"
        assert {name: a.shape for name, a in nnx.LayerNorm((2, 4)).parameters().items()} == {
            "weight": (2, 4),
            "bias": (2, 4),
        }


LAYERS = pytest.mark.parametrize("layer", [nnx.BatchNorm, nnx.LayerNorm])


@LAYERS
def test_the_wrong_number_of_features(layer, make, device):
    model = layer(4, device=device)
    for shape in [(3, 5), (3, 1), (4, 3), ()]:
        with pytest.raises(nnx.ShapeError, match=rf"Norm\(4\) expected input of shape \(\.\.\., 4\), got .*{shape}"):
            model(make(np.zeros(shape)))


@LAYERS
@pytest.mark.parametrize("dtype", ["float64", "int32", "bool"])
def test_the_wrong_dtype(layer, dtype, make, device):
    with pytest.raises(nnx.DTypeError, match=rf"expected input of that dtype, got .*{dtype}: cast"):
        layer(4, device=device)(make(np.zeros((3, 4)), dtype))


@LAYERS
def test_what_is_no_array(layer):
    with pytest.raises(nnx.DTypeError, match="expected an array, got list: make one"):
        layer(4)([[1.0, 2.0, 3.0, 4.0]])


@LAYERS
def test_an_array_of_another_library(layer, flags):
    for flag, other in pairwise(flags):
        for dtype in ("float32", "float64"):
            with pytest.raises(nnx.MixedLibrariesError, match="two libraries"):
                layer(4, device=flag)(nnx.asarray(X, device=other, dtype=dtype))


@LAYERS
def test_parameters_are_of_floats(layer):
    with pytest.raises(nnx.DTypeError, match="floating-point"):
        layer(4, dtype="int32")
