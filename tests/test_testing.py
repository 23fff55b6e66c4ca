"""The checks themselves: they pass what is right, and name what is wrong."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest

import nnx
from nnx.backend import entry_points, kernels_of, library, load_backend
from nnx.ops._op import op
from nnx.tape.primitive import Primitive
from nnx.testing import available_backends, check_backends, check_gradients
from nnx.vjps import STANDARD

rng = np.random.default_rng(0)
X = rng.standard_normal((4, 5))
Z = X + 1j * rng.standard_normal((4, 5))
SMALL = X.astype("float32")
IDS = np.asarray([0, 2, 1, 1])


def loss_of(model, x, y):
    return nnx.losses.cross_entropy(model(x), y)


def mlp(dtype="float32"):
    rng = nnx.Generator(0)
    return nnx.Sequential(
        nnx.Linear(5, 6, rng=rng, dtype=dtype),
        nnx.sigmoid,
        nnx.Dropout(0.3, rng=rng),
        nnx.Linear(6, 3, rng=rng, dtype=dtype),
    )


class Scale(nnx.Module):
    """Counts its calls in a buffer."""

    factor: nnx.Parameter
    calls: nnx.Buffer

    def __init__(self):
        self.factor, self.calls = nnx.init.ones((5,)), nnx.init.zeros(())

    def __call__(self, x):
        self.calls = self.calls + 1
        return x * self.factor


def identity_forward(xp, x):
    return x + 0


def identity_x(xp, g):
    return g


identity = op(identity_forward, x=identity_x)


class TestGradients:
    def test_right_ones_pass_in_every_form(self, device):
        check_gradients(lambda x: x * x * x, X, order=3 if device.backend.name == "numpy" else 2, device=device)
        check_gradients(
            lambda tree: {"y": tree["a"] * tree["b"][0], "ids": IDS}, {"a": X, "b": [X, None]}, device=device
        )
        check_gradients(
            lambda model, x, y: nnx.losses.cross_entropy(model(x), y), mlp("float64"), X, IDS, device=device
        )

    def test_complex_arguments_and_values(self, device):
        check_gradients(lambda z, x: {"z": z * x * z, "x": nnx.namespace_of(z).abs(z)}, Z, X, device=device)

    def test_a_conjugate_in_the_wrong_place_is_found(self):
        wrong = nnx.custom_vjp(lambda z: z * z, lambda g, y, z: (2 * g * nnx.namespace_of(z).conj(z),))
        with pytest.raises(AssertionError, match="gradient of order 1 by argument 'z'"):
            check_gradients(wrong, Z)

    def test_single_precision_complex_numbers_are_refused(self):
        with pytest.raises(nnx.DTypeError, match="need complex128, and argument 'z' has dtype complex64"):
            check_gradients(lambda z: z, Z.astype(np.complex64))
        with pytest.raises(AssertionError, match="value 0 of order 0 has dtype complex64, and complex128 was expected"):
            check_gradients(lambda x: nnx.namespace_of(x).astype(x, nnx.namespace_of(x).complex64), X)

    @pytest.mark.parametrize("magnitude", [1e-6, 1e6])
    def test_the_step_suits_small_and_large_arguments(self, magnitude):
        check_gradients(lambda x: nnx.namespace_of(x).log(x * x), magnitude * X)

    def test_a_wrong_one_is_named_with_both_numbers(self):
        def wrong(x, weight):
            return x * nnx.stop_gradient(weight) + weight

        with pytest.raises(
            AssertionError, match=r"order 1 by argument 'weight', of shape \(4, 5\).*difference is .*backprop"
        ):
            check_gradients(wrong, X, X + 2)

    def test_one_wrong_element_is_found(self):
        mask = np.ones_like(X)
        mask[2, 3] = 1.01
        wrong = op(identity_forward, x=lambda xp, g: g * mask)
        with pytest.raises(AssertionError, match="the gradient of order 1 by argument 'x'"):
            check_gradients(lambda x: wrong(x * x), X)

    def test_a_wrong_second_order_is_found(self):
        wrong = op(lambda xp, x: x * x, x=lambda xp, g, x: 2 * g * nnx.stop_gradient(x))
        check_gradients(wrong, X, order=1)
        with pytest.raises(AssertionError, match="the gradient of order 2 by argument"):
            check_gradients(wrong, X)

    def test_a_parameter_is_named(self):
        class Wrong(Scale):
            def __call__(self, x):
                return x * x * nnx.stop_gradient(self.factor) + self.factor

        with pytest.raises(AssertionError, match="by factor of the model, of shape"):
            check_gradients(Wrong().to(dtype="float64"), X)

    @pytest.mark.parametrize(
        ("adjoint", "message"),
        [
            (
                lambda xp, g: g[:1],
                r"gradient of order 1 by argument 'x' has shape \(1, 5\), and \(4, 5\) was",
            ),
            (lambda xp, g: xp.astype(g, xp.float32), "has dtype float32, and float64 was expected"),
            (lambda xp, g: g * float("nan"), "backprop answers nan"),
        ],
    )
    def test_shape_dtype_and_nan(self, adjoint, message):
        with pytest.raises(AssertionError, match=message):
            check_gradients(lambda x: op(identity_forward, x=adjoint)(x), X)

    def test_float32_is_refused_and_says_what_to_do(self):
        with pytest.raises(nnx.DTypeError, match="need float64, and argument 'x' has dtype float32: cast it"):
            check_gradients(lambda x: x, SMALL)
        with pytest.raises(nnx.DTypeError, match=r"0.weight of the model has .*model.to\(dtype='float64'\)"):
            check_gradients(mlp(), X)

    def test_arguments_that_make_no_sense(self):
        with pytest.raises(nnx.ArgumentError, match="nothing to differentiate by"):
            check_gradients(lambda x: x, IDS)
        with pytest.raises(nnx.ArgumentError, match="must answer an array of floats"):
            check_gradients(lambda x: None, X)
        with pytest.raises(nnx.ArgumentError, match="order is 1 or more, got 0"):
            check_gradients(lambda x: x, X, order=0)

    def test_it_leaves_a_model_as_it_was(self):
        model = Scale().to(dtype="float64")
        before = {name: array.copy() for name, array in model.arrays().items()}
        check_gradients(model, X)
        for name, array in model.arrays().items():
            np.testing.assert_array_equal(array, before[name])

    def test_the_mode_of_the_model(self):
        modes = []

        class Watched(Scale):
            def __call__(self, x):
                modes.append(self.training)
                return super().__call__(x)

        model = Watched().to(dtype="float64")
        check_gradients(model, X)
        assert set(modes) == {True}
        modes.clear()
        check_gradients(model, X, training=False)
        assert set(modes) == {False}


@pytest.fixture(params=[flag for flag in available_backends() if flag != "cpu"])
def other(request, flags):
    """A backend that is not the reference."""
    if request.param not in {flag.partition(":")[0] for flag in flags}:
        pytest.skip(f"{request.param} is not among the backends of this run")
    return request.param


@pytest.fixture
def replace(other, monkeypatch):
    """Replaces a kernel of the other backend."""

    def replace(name, kernel):
        device = nnx.device(other)
        nnx.namespace_of(nnx.asarray(0.0, device=device))  # the library is known from its first array on
        table = dict(kernels_of(device.namespace))
        table[name] = kernel
        monkeypatch.setitem(library._kernels, device.namespace, table)

    return replace


class TestBackends:
    def test_right_ones_pass_in_every_form(self, other):
        check_backends(mlp(), SMALL, backends=[other])
        check_backends(mlp("float64"), X, backends=[other])
        check_backends(loss_of, mlp(), SMALL, IDS, backends=[other])
        check_backends(lambda t: [t["a"] * t["b"], IDS], {"a": SMALL, "b": SMALL}, backends=["cpu"])
        check_backends(lambda x: nnx.namespace_of(x).argmax(x, axis=-1), SMALL, backends=[other])

    def test_complex_arguments_and_values(self, other):
        for z in (Z, Z.astype(np.complex64)):
            check_backends(lambda z: {"z": z * z, "x": nnx.namespace_of(z).abs(z)}, z, backends=[other])

    def test_all_that_can_run_are_checked_unless_told_otherwise(self, monkeypatch):
        seen = set()

        def f(x):
            seen.add(str(nnx.backend.device_of(x)) if not hasattr(x, "node") else None)
            return x * 2

        check_backends(f, SMALL)
        assert seen - {None} == {str(nnx.device(flag)) for flag in available_backends()}

    def test_a_forward_fault_is_named(self, other, replace):
        replace("sigmoid_forward", lambda xp, x: 1.001 / (1 + xp.exp(-x)))
        with pytest.raises(AssertionError) as caught:
            check_backends(mlp(), SMALL, backends=[other])
        message = str(caught.value)
        assert message.startswith(
            f"{other} disagrees with cpu at operation 2, sigmoid: max relative error 1.0e-03 (tolerance"
        )
        assert "1e-05" in message
        assert message.endswith("; all that was recorded before it (1) agrees")

    def test_a_fault_of_an_adjoint_is_named(self, other, replace):
        replace("linear_weight", lambda xp, g, x: 1.001 * xp.matmul(xp.matrix_transpose(x), g))
        expected = (
            rf"{other} disagrees with cpu at the gradient of operation 4, linear, by weight \(linear_weight\): max rel"
        )
        with pytest.raises(AssertionError, match=expected):
            check_backends(mlp(), SMALL, backends=[other])

    def test_a_fault_of_the_last_step_of_an_op_is_named(self, other, replace):
        replace("relu_x", lambda xp, g, y: xp.where(y > 0, 1.001 * g, 0.0))
        model = nnx.Sequential(nnx.Linear(5, 6, rng=nnx.Generator(0)), nnx.relu, nnx.Linear(6, 3, rng=nnx.Generator(1)))
        expected = (
            rf"{other} disagrees with cpu at the gradient of operation 1, linear_relu, by its last step \(relu_x\): max"
        )
        with pytest.raises(AssertionError, match=expected):
            check_backends(model, SMALL, backends=[other])

    def test_what_an_op_saves_is_found_where_it_is_used(self, other, replace):
        kernel = nnx.ops.softmax_cross_entropy.reference

        def wrong(xp, logits, labels, *, mean=False):
            loss, saved = kernel(xp, logits, labels, mean=mean)
            return loss, saved * 1.01

        replace("softmax_cross_entropy_forward", wrong)
        with pytest.raises(AssertionError, match=r"softmax_cross_entropy, by logits \(softmax_cross_entropy_logits\)"):
            check_backends(lambda x, y: nnx.losses.cross_entropy(x[:, :3], y), SMALL, IDS, backends=[other])

    def test_a_rule_of_the_standard_is_named_by_its_argument(self, other, monkeypatch):
        xp = nnx.differentiable(nnx.device(other).namespace)
        wrong = Primitive("divide", lambda a, b: a / b + 1, STANDARD.rules["divide"])
        monkeypatch.setattr(xp, "divide", wrong)
        with pytest.raises(AssertionError, match=f"{other} disagrees with cpu at operation 4, divide: "):
            check_backends(lambda x: (x + 1) / (x * x + 1), SMALL, backends=[other])

    @pytest.mark.parametrize(
        ("kernel", "message"),
        [
            (lambda xp, x: xp.astype(x, xp.float64), "it has dtype float64, and float32 was expected"),
            (lambda xp, x: x[:1, ...], r"it has shape \(1, 6\), and \(4, 6\) was expected"),
            (lambda xp, x: x * float("nan"), "24 of 24 elements are not finite alike, e.g. at .*: nan against"),
        ],
    )
    def test_dtype_shape_and_nan(self, kernel, message, other, replace):
        replace("sigmoid_forward", kernel)
        with pytest.raises(AssertionError, match=f"operation 2, sigmoid: {message}"):
            check_backends(mlp(), SMALL, backends=[other])

    def test_a_wrong_device_is_named(self, flags):
        if "strict" not in {flag.partition(":")[0] for flag in flags}:
            pytest.skip("a library of several devices is needed")
        xp = nnx.device("strict").namespace

        def f(x):
            return x if nnx.namespace_of(x) is not xp else xp.asarray(x, device=xp.Device("device2"))

        with pytest.raises(AssertionError, match="of a plain call: it lies on strict:device2, and strict:device1"):
            check_backends(f, SMALL, backends=["strict"])

    def test_a_fault_that_is_not_recorded_is_told_as_such(self, other):
        def f(x):
            xp = nnx.namespace_of(x)
            plain = "differentiable" not in xp.__name__ and xp is not nnx.device("cpu").namespace
            return xp.sin(x) + (1 if plain else 0)

        with pytest.raises(AssertionError, match="the value of a plain call: .*the cause lies in what is not rec"):
            check_backends(f, SMALL, backends=[other])

    def test_integers_must_be_equal(self, other):
        def f(x):
            xp = nnx.namespace_of(x)
            return xp.argmax(x, axis=-1) + (0 if "numpy" in xp.__name__ and "jax" not in xp.__name__ else 1)

        with pytest.raises(AssertionError, match="4 of 4 elements differ, e.g. at"):
            check_backends(f, SMALL, backends=[other])

    def test_another_path_is_told_as_such(self, other):
        reference = nnx.differentiable(nnx.device("cpu").namespace)

        def f(x):
            xp = nnx.namespace_of(x)
            return x * 1 if xp is reference else x + 0

        with pytest.raises(AssertionError, match=f"{other} takes another path .*operation 1, add,.* 1, multiply"):
            check_backends(f, SMALL, backends=[other])

    def test_tolerances(self, other, replace):
        replace("identity_forward", lambda xp, x: x * (1 + 1e-3))
        check_backends(identity, SMALL, backends=[other], rtol=2e-3)
        check_backends(identity, SMALL, backends=[other], rtol=0.0, atol=1.0)
        with pytest.raises(AssertionError, match="tolerance 5e-04"):
            check_backends(identity, SMALL, backends=[other], rtol=5e-4)

    def test_float64_is_checked_closer_than_float32(self, other, replace):
        replace("identity_forward", lambda xp, x: x * (1 + 1e-6))
        check_backends(identity, SMALL, backends=[other])
        with pytest.raises(AssertionError, match="tolerance 1e-10"):
            check_backends(identity, X, backends=[other])

    def test_zeros_and_infinities_agree_with_themselves(self, other):
        check_backends(lambda x: x * np.float32(0).item(), SMALL, backends=[other])
        check_backends(lambda x: nnx.namespace_of(x).abs(x) * float("inf"), SMALL, backends=[other])

    def test_an_error_says_on_which_backend_it_came(self, other):
        def f(x):
            if nnx.backend.library_of(x).backend.name != "numpy":
                raise ValueError("no")
            return x

        with pytest.raises(ValueError, match="no") as caught:
            check_backends(f, SMALL, backends=[other])
        assert caught.value.__notes__ == [f"This happened on the backend {other!r}; 'cpu' has answered."]

    def test_it_leaves_a_model_as_it_was(self, other):
        model = Scale()
        before = dict(model.arrays())
        check_backends(model, SMALL, backends=[other])
        assert all(array is before[name] for name, array in model.arrays().items())


def test_available_backends_are_each_library_once():
    found = available_backends()
    assert found[0] == "cpu"
    assert set(found) <= set(entry_points())
    assert len({load_backend(flag).name for flag in found}) == len(found)


def test_observers_hear_of_their_own_thread_alone():
    from nnx.tape.observe import observe, observers

    class Heard(list):
        def recorded(self, primitive, result):
            self.append(primitive.name)

        def walked(self, node, derivative, gradient):
            self.append("back")

    def differentiate():
        nnx.grad(lambda x: x * x)(3.0)

    outer, inner = Heard(), Heard()
    with observe(outer):
        differentiate()
        with observe(inner):
            differentiate()
        thread = threading.Thread(target=differentiate)
        thread.start()
        thread.join()
    differentiate()
    assert outer == inner == ["multiply", "back", "back"]
    assert not observers


def test_the_checks_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_backends(mlp(), SMALL)
