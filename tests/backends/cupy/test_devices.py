"""Each operation runs on the GPU of its arrays, whichever is current, and leaves current what was.

The twin raises where an array of a GPU that is not current is used; CuPy would compute on the current one.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest

import nnx

RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 7, (4, 5))
FLAT = RNG.standard_normal((8, 6)).astype(np.float32)
IMAGES = RNG.standard_normal((4, 8, 8, 2)).astype(np.float32)


class Last(nnx.Module):
    """The last state of a recurrent layer over embedded ids."""

    def __init__(self, kind):
        self.table, self.cell = nnx.Embedding(7, 4, rng=nnx.Generator(1)), kind(4, 3, rng=nnx.Generator(2))

    def __call__(self, ids):
        return self.cell(self.table(ids))[0][:, -1, :]


def linear(n, m, **options):
    return nnx.Linear(n, m, rng=nnx.Generator(n + m), **options)


def conv(n, m, **options):
    return nnx.Conv2d(n, m, 3, rng=nnx.Generator(n + m), **options)


MODELS = {
    "batch norm": (lambda: [linear(6, 5), nnx.BatchNorm(5), nnx.relu, linear(5, 3)], FLAT),
    "layer norm": (lambda: [linear(6, 5), nnx.LayerNorm(5), nnx.gelu, linear(5, 3)], FLAT),
    "dropout": (lambda: [linear(6, 5), nnx.tanh, nnx.Dropout(0.5, rng=nnx.Generator(3)), linear(5, 3)], FLAT),
    "pieces": (lambda: [nnx.Maxout(6, 5, rng=nnx.Generator(4)), nnx.PReLU(5), linear(5, 3)], FLAT),
    "images": (
        lambda: [conv(2, 4), nnx.BatchNorm(4), nnx.relu, nnx.MaxPool2d(2), nnx.Flatten(), linear(36, 3)],
        IMAGES,
    ),
    "averages": (lambda: [conv(2, 4, bias=False), nnx.AvgPool2d(2), nnx.GlobalAvgPool2d(), linear(4, 3)], IMAGES),
    "RNN": (lambda: [Last(nnx.RNN)], IDS),
    "LSTM": (lambda: [Last(nnx.LSTM)], IDS),
    "GRU": (lambda: [Last(nnx.GRU)], IDS),
}
OPTIMISERS = {
    "SGD": lambda: nnx.optim.SGD(0.1),
    "momentum": lambda: nnx.optim.SGD(0.1, momentum=0.9, nesterov=True),
    "Adam": lambda: nnx.optim.Adam(nnx.optim.schedules.cosine(0.1, steps=10), clip_norm=0.5),
    "AdamW": lambda: nnx.optim.AdamW(0.1),
}


@pytest.fixture
def second(gpu):
    """The second GPU, while the first one is current."""
    import cupy

    if len(gpu.backend.devices()) < 2:
        pytest.skip("there is one GPU")
    with cupy.cuda.Device(0):
        yield nnx.device("cuda:1")
        assert current() == 0


def current():
    import cupy

    return cupy.cuda.runtime.getDevice()


def places(arrays):
    return {str(nnx.backend.device_of(array)) for array in arrays}


def make(name):
    layers, x = MODELS[name]
    return nnx.Sequential(*layers()), x


def step(model, optimizer, x, y):
    value, gradients = nnx.value_and_grad(lambda m: nnx.losses.cross_entropy(m(x), y))(model)
    optimizer.update(model, gradients)
    return value, gradients


@pytest.mark.parametrize("name", MODELS)
def test_layers(second, name):
    model, x = make(name)
    y = np.arange(x.shape[0]) % 3
    # Adam would make a full step of a gradient that is zero but for rounding, as that of a bias before batch norm is
    twin, optimizer, theirs = make(name)[0].to(second), OPTIMISERS["momentum"](), OPTIMISERS["momentum"]()

    xs, ys = nnx.asarray(x, device=second), nnx.asarray(y, device=second)
    for _ in range(2):
        value, _ = step(model, optimizer, x, y)
        found, gradients = step(twin, theirs, xs, ys)
        assert current() == 0
        np.testing.assert_allclose(nnx.to_numpy(found), value, rtol=1e-5)

    assert places([found, *gradients.values(), *twin.arrays().values(), *theirs.state.values()]) == {"cuda:1"}
    prediction = twin(xs)
    assert current() == 0
    np.testing.assert_allclose(nnx.to_numpy(prediction), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers(second, name):
    model, x = make("layer norm")
    optimizer = OPTIMISERS[name]()
    model.to(second)
    for _ in range(2):
        value, _ = step(model, optimizer, nnx.asarray(x, device=second), nnx.asarray(np.arange(8) % 3, device=second))
    assert np.isfinite(float(value))
    assert places([*model.arrays().values(), *optimizer.state.values()]) == {"cuda:1"}


def test_lbfgs(second):
    x, y = nnx.asarray(FLAT, device=second), nnx.asarray(FLAT[:, :3] * 2, device=second)
    model = linear(6, 3, device=second)
    found = nnx.optim.LBFGS().minimize(lambda m: nnx.losses.mse(m(x), y), model)
    assert found.converged
    assert places(model.parameters().values()) == {"cuda:1"}


@pytest.mark.parametrize(
    "loss",
    [
        nnx.losses.mse,
        nnx.losses.mae,
        nnx.losses.huber,
        nnx.losses.log_cosh,
        nnx.losses.binary_cross_entropy,
        lambda a, b: nnx.losses.hinge(a, nnx.namespace_of(b).sign(b)),
        lambda a, b: nnx.losses.cross_entropy(a, nnx.namespace_of(b).argmax(b, axis=-1), label_smoothing=0.1),
        lambda a, b: nnx.metrics.accuracy(a, nnx.namespace_of(b).argmax(b, axis=-1)),
    ],
)
def test_losses_outside_of_a_differentiation(second, loss):
    a, b = FLAT, np.abs(FLAT[::-1]) % 1
    found = loss(nnx.asarray(a, device=second), nnx.asarray(b, device=second))
    np.testing.assert_allclose(nnx.to_numpy(found), loss(a, b), rtol=1e-5)
    assert places([found]) == {"cuda:1"}


def test_functions_of_a_model_outside_of_a_differentiation(second):
    model = linear(6, 3, device=second)
    nnx.constraints.max_norm(0.1)(model)
    penalty = nnx.regularizers.l2(0.1)(model)
    grads, norm = nnx.optim.clip_by_norm(model.parameters(), 0.1)
    scaled = nnx.preprocessing.Standardize().fit_transform(nnx.asarray(FLAT, device=second))
    assert places([penalty, norm, scaled, *grads.values(), *model.arrays().values()]) == {"cuda:1"}


def test_a_model_of_which_nothing_is_trained(second):
    """Its buffers say where it lies."""
    layer = nnx.Dropout(0.5, device=second, rng=nnx.Generator(1))
    x = nnx.asarray(FLAT, device=second)
    nnx.value_and_grad(lambda m: nnx.namespace_of(x).sum(m(x)))(layer)
    assert places([layer.step]) == {"cuda:1"}
    assert int(nnx.to_numpy(layer.step)[0]) == 1


def test_derivatives(second):
    x = nnx.asarray(FLAT[0], device=second)

    def f(x):
        return nnx.namespace_of(x).sum(x * x * x)

    value, pull = nnx.vjp(f, x)
    (g,) = pull(nnx.namespace_of(value).ones_like(value))
    found = [g, nnx.hessian(f)(x), *nnx.hvp(f, (x,), (x,)), nnx.jvp(f, (x,), (x,))[1]]
    assert places(found) == {"cuda:1"}
    np.testing.assert_allclose(nnx.to_numpy(found[1]), np.diag(6 * FLAT[0]), rtol=1e-5)


@pytest.mark.parametrize("capture", [False, True])
def test_a_trainer(second, capture):
    model, x = make("dropout")
    trainer = nnx.Trainer(
        model.to(second),
        loss=nnx.losses.cross_entropy,
        optimizer=nnx.optim.Adam(0.01),
        metrics=[nnx.metrics.accuracy],
        regularizer=nnx.regularizers.l2(1e-3),
        constraints=[nnx.constraints.max_norm(2.0)],
        capture=capture,
    )
    y = np.arange(8) % 3
    trainer.fit((x, y), validation=(x, y), epochs=3, batch_size=3)
    assert current() == 0
    figures = trainer.evaluate([(x, y)])
    assert current() == 0
    assert np.isfinite(figures["loss"])
    assert places([trainer.predict(x), *model.arrays().values()]) == {"cuda:1"}


def test_weights_that_are_saved_and_loaded(second, tmp_path):
    model, _ = make("batch norm")
    nnx.save_weights(tmp_path / "a.safetensors", model.to(second))
    other = make("batch norm")[0].to(second).load(nnx.load_weights(tmp_path / "a.safetensors"))
    assert places(other.arrays().values()) == {"cuda:1"}
    for name, array in other.arrays().items():
        np.testing.assert_array_equal(nnx.to_numpy(array), nnx.to_numpy(model.arrays()[name]))


def test_from_one_gpu_to_the_other(second):
    a = nnx.asarray(FLAT, device="cuda:0")
    b = nnx.asarray(a, device=second)
    assert places([a]) == {"cuda:0"}
    assert places([b]) == {"cuda:1"}
    np.testing.assert_array_equal(nnx.to_numpy(b), FLAT)


def test_a_model_that_is_fed_from_another_gpu(second):
    model = linear(6, 3, device=second)
    x, y = nnx.asarray(FLAT, device="cuda:0"), nnx.asarray(np.zeros((8, 3), np.float32), device="cuda:0")
    both = r"two devices, cuda:[01] and cuda:[01]: bring both to 'cuda:[01]' or 'cuda:[01]', data with nnx.asarray"
    with pytest.raises(nnx.DeviceError, match=both):
        model(x)
    with pytest.raises(nnx.DeviceError, match=both):
        nnx.value_and_grad(lambda m: nnx.losses.mse(m(x), y))(model)
    with pytest.raises(nnx.DeviceError, match=both):
        nnx.losses.mse(model(nnx.asarray(x, device=second)), y)
    assert current() == 0


def test_the_current_gpu_is_the_users_also_after_an_exception(second):
    import cupy

    model = linear(6, 3, device="cuda:0")
    x = nnx.asarray(FLAT, device="cuda:0")

    def fails(m):
        m(x)
        assert current() == 0
        raise RuntimeError("no")

    with cupy.cuda.Device(1):
        assert places([model(x)]) == {"cuda:0"}
        assert current() == 1
        with pytest.raises(RuntimeError, match="no"):
            nnx.grad(fails)(model)
        assert current() == 1


class TestADeviceAsAContext:
    def test_raw_operators_are_computed_there(self, second):
        a = nnx.asarray(FLAT, device=second)
        with second as entered:
            assert entered is second
            assert current() == 1
            b = a + a
        assert places([b]) == {"cuda:1"}

    def test_it_may_be_entered_again(self, second):
        first = nnx.device("cuda:0")
        with second:
            with first, second, first:
                assert current() == 0
            assert current() == 1
        assert current() == 0

    def test_it_is_left_by_an_exception(self, second):
        with pytest.raises(ZeroDivisionError), second:
            1 / 0  # noqa: B018
        assert current() == 0

    def test_each_thread_has_a_current_gpu_of_its_own(self, second):
        found, there, go = [], threading.Event(), threading.Event()

        def work():
            found.append(current())
            with second:
                there.set()
                go.wait(10)
                found.append(current())
            found.append(current())

        thread = threading.Thread(target=work)
        thread.start()
        there.wait(10)
        with second, nnx.device("cuda:0"):
            go.set()
            thread.join()
        assert found == [0, 1, 0]

    def test_elsewhere_it_does_nothing(self):
        with nnx.device("cpu") as device, device:
            assert str(device) == "cpu"


class TestTheGuardedNamespace:
    def test_it_passes_for_that_of_array_api_compat(self, second):
        import array_api_compat.cupy as compat

        xp = second.namespace
        assert xp.__name__ == compat.__name__
        assert xp.__array_api_version__ == compat.__array_api_version__
        assert xp.float32 is compat.float32
        assert xp.pi == compat.pi
        assert xp.isdtype is compat.isdtype
        assert set(compat.__all__) <= set(dir(xp))
        with pytest.raises(AttributeError, match="nonsense"):
            _ = xp.nonsense

    def test_functions_compute_where_their_arrays_lie(self, second):
        xp = second.namespace
        a = nnx.asarray(FLAT, device=second)
        made = [
            xp.exp(a),
            xp.add(a, 1.0),
            xp.concat([a, a]),
            xp.stack((a, a)),
            xp.zeros_like(a),
            xp.where(xp.greater(a, 0.0), a, 0.0),
            xp.astype(a, xp.float64),
            xp.linalg.matrix_norm(a),
            xp.fft.fft(xp.astype(a, xp.complex64)),
            xp.sum(a, axis=0),
            *xp.meshgrid(a[0], a[1]),
        ]
        assert places(made) == {"cuda:1"}
        np.testing.assert_allclose(nnx.to_numpy(made[2]), np.concatenate([FLAT, FLAT]))

    def test_creation_functions_heed_their_device(self, second):
        xp = second.namespace
        native = second.native
        made = [
            xp.zeros((2,), device=native),
            xp.ones((2,), dtype=xp.float32, device=native),
            xp.full((2,), 3.0, device=native),
            xp.empty((2,), device=native),
            xp.arange(3, device=native),
            xp.linspace(0.0, 1.0, 3, device=native),
            xp.eye(2, device=native),
            xp.asarray([1.0], device=native),
            xp.zeros_like(nnx.asarray(FLAT, device="cuda:0"), device=native),
        ]
        assert places(made) == {"cuda:1"}
        assert places([xp.zeros((2,))]) == {"cuda:0"}


def test_a_captured_step(second):
    model, x = make("batch norm")
    optimizer = OPTIMISERS["Adam"]()
    model.to(second)

    @nnx.capture
    def replayed(model, optimizer, x, y):
        value, gradients = nnx.value_and_grad(lambda m: nnx.losses.cross_entropy(m(x), y))(model)
        optimizer.update(model, gradients)
        return value

    plain, theirs = make("batch norm")[0], OPTIMISERS["Adam"]()
    y = np.arange(8) % 3
    for _ in range(5):
        value = replayed(model, optimizer, nnx.asarray(x, device=second), nnx.asarray(y, device=second))
        assert current() == 0
        expected, _ = step(plain, theirs, x, y)
        np.testing.assert_allclose(nnx.to_numpy(value), expected, rtol=1e-4)
    assert places([value, *model.arrays().values(), *optimizer.state.values()]) == {"cuda:1"}
