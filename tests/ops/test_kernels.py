"""Every kernel of every backend against its reference, by being in the table.

``CASES`` has arguments for each replaceable function. A kernel without a case fails the suite.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import pkgutil
import zlib
from importlib import import_module

import numpy as np
import pytest

import nnx
from nnx.backend import entry_points, load_backend
from nnx.ops._op import Op
from nnx.ops.conv import conv_windows
from nnx.ops.pool import pool_windows
from nnx.optim.adam import adam_update
from nnx.optim.clip import squared_norm
from nnx.optim.flat import gather_gradients
from nnx.optim.sgd import sgd_update
from nnx.vjps._rows import summed_rows
from nnx.vjps._rule import summed_to

LEADING = [(), (0,), (1,), (5,), (2, 3), (3, 0, 2), (70,)]


def ops():
    """Every op of ``nnx.ops``, found in its files."""
    for module in pkgutil.iter_modules(nnx.ops.__path__, "nnx.ops."):
        yield from (value for value in vars(import_module(module.name)).values() if isinstance(value, Op))


def references():
    """Every function that a kernel may replace."""
    yield from (adam_update, gather_gradients, sgd_update, squared_norm, summed_rows, summed_to)
    for op in ops():
        yield op.reference
        yield from (adjoint.formula for adjoint in op.rule.derivatives.values())
        if op.last is not None:
            yield op.last.formula


REFERENCES = {f.__name__: f for f in references()}
BACKENDS = {load_backend(flag).name: load_backend(flag) for flag in entry_points()}
TABLES = {(name, which): b.kernels(which) for name, b in BACKENDS.items() for which in ("native", "best")}
KERNELS = [
    (backend, which, name)
    for (backend, which), table in sorted(TABLES.items())
    for name in sorted(table)
    if which == "native" or TABLES[backend, "native"].get(name) is not table[name]
]


def misaligned(x):
    """A copy that begins at an odd address."""
    bytes_ = np.empty(x.nbytes + 1, np.uint8)
    odd = bytes_[1 - bytes_.ctypes.data % 2 :][: x.nbytes].view(x.dtype).reshape(x.shape)
    odd[...] = x
    return odd


class Draw:
    """Random arrays of a dtype, in a memory layout."""

    def __init__(self, dtype, layout, seed):
        self.rng, self.dtype, self.layout = np.random.default_rng(seed), dtype, layout

    def __call__(self, *shape):
        x = self.rng.standard_normal(shape).astype(self.dtype)
        if self.layout == "fortran":
            x = np.array(x, order="F")
        elif self.layout == "strided" and shape:
            x = np.repeat(x, 2, axis=-1)[..., ::2]
        elif self.layout == "reversed" and shape:
            x = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
        elif self.layout == "misaligned":
            x = misaligned(x)
        return x

    def labels(self, shape, classes):
        return self.rng.integers(0, classes, shape).astype(self.rng.choice(["int8", "int32", "int64", "uint64"]))


def dropout_forward(draw):
    for leading, rate, step in itertools.product(LEADING, [0.1, 0.5], [0, 7]):
        key = draw.rng.integers(-(2**31), 2**31, 2, dtype=np.int32)
        yield (draw(*leading), key, np.asarray([step], np.int32)), {"rate": rate}


def linear_forward(draw):
    for leading, bias in itertools.product(LEADING, [False, True]):
        arrays = draw(*leading, 4), draw(4, 3)
        yield (*arrays, draw(3) if bias else None), {}


def linear_x(draw):
    yield from (((draw(*leading, 3), draw(4, 3)), {}) for leading in LEADING)


def linear_weight(draw):
    yield from (((draw(*leading, 3), draw(*leading, 4)), {}) for leading in LEADING)


def linear_bias(draw):
    yield from (((draw(*leading, 3),), {}) for leading in LEADING)


ROWS = [(2, 3), (5, 2, 3), (70, 1), (3, 300), (1203, 9), (9001, 8)]  # the last two are taken in several parts


def normed(draw, shape, parameters=2):
    """x, and parameters of its last axis, with and without."""
    for given in itertools.product([False, True], repeat=parameters):
        yield draw(*shape), *(draw(shape[-1]) if one else None for one in given)


def batch_norm_forward(draw):
    for shape, eps in itertools.product(ROWS, [1e-5, 0.1]):
        yield from ((arrays, {"eps": eps}) for arrays in normed(draw, shape))


def layer_norm_forward(draw):
    for shape in [*ROWS, (0, 3)]:
        yield from ((arrays, {}) for arrays in normed(draw, shape))
    yield (draw(3, 4, 5), draw(4, 5), draw(4, 5)), {"axes": 2}
    yield (draw(4, 5), draw(4, 5), None), {"axes": 2}


def saved(draw, shape, batch):
    """What the forwards leave: the normalised rows, and 1 / σ."""
    rows = int(np.prod(shape[:-1]))
    return [draw(rows, shape[-1]), np.abs(draw(1, shape[-1]) if batch else draw(rows, 1))]


def norm_x(draw, batch):
    for shape in ROWS:
        for g, weight in normed(draw, shape, 1):
            yield (g, saved(draw, shape, batch), g.dtype, weight), {}


def norm_parameter(draw, batch):
    for shape in ROWS:
        g = draw(*shape)
        yield (g, saved(draw, shape, batch), *([] if batch else [shape[-1:]]), g.dtype), {}


def gather_x(draw):
    for leading, n, k in itertools.product(LEADING, [1, 5, 40], [0, 1, 7]):  # 7 of 5: some more than once
        yield (draw(*leading, k), (*leading, n), draw.labels((*leading, k), n)), {}


def relu_forward(draw):
    yield from (((draw(*leading),), {}) for leading in LEADING)
    yield (np.asarray([-np.inf, -0.0, 0.0, np.inf, np.nan], draw.dtype),), {}


def relu_x(draw):
    yield from (((draw(*leading), np.maximum(draw(*leading), 0)), {}) for leading in LEADING)


def softmax_cross_entropy_forward(draw):
    for leading, classes, mean in itertools.product(LEADING, [1, 3, 80], [False, True]):
        if not (mean and 0 in leading):
            yield (30 * draw(*leading, classes), draw.labels(leading, classes)), {"mean": mean}


def activation(draw, options=({},)):
    yield from (((3 * draw(*leading),), given) for leading in LEADING for given in options)


def activation_adjoint(draw, options=((),)):
    """G, and x or y."""
    yield from (((draw(*leading), 3 * draw(*leading), *given), {}) for leading in LEADING for given in options)


def softmax_forward(draw):
    yield from (((30 * draw(*leading, classes),), {}) for leading in LEADING for classes in [1, 3, 80])
    yield from (((draw(3, 4, 5),), {"axis": axis}) for axis in [0, 1, 2, -2])


def softmax_adjoint(draw):
    yield from (((draw(*leading, classes), draw(*leading, classes)), {}) for leading in LEADING for classes in [1, 80])
    yield from (((draw(3, 4, 5), draw(3, 4, 5), axis), {}) for axis in [0, 1, 2, -2])


WINDOWS = [  # (height, width), kernel, options
    ((5, 4), (3, 3), {}),
    ((5, 9), (3, 3), {"padding": 1}),
    ((9, 40), (3, 2), {"padding": "same", "stride": (2, 3)}),
    ((6, 7), (2, 3), {"stride": 3, "padding": ((0, 3), (2, 1))}),
    ((9, 8), (2, 3), {"stride": (3, 1), "dilation": (2, 3), "padding": (4, 0)}),
    ((6, 6), (1, 1), {"stride": 2}),
    ((8, 8), (2, 4), {"stride": 4, "dilation": 2}),
]


def convolutions(draw, *, by=None):
    """Arguments of the forward, and of its adjoints: G, the other array, the shape of what the gradient is by."""
    for (size, kernel, options), (batch, inputs, outputs) in itertools.product(
        WINDOWS, [(3, 2, 4), (1, 1, 3), (0, 2, 2), (2, 16, 16), (1, 1, 20), (2, 20, 3)]
    ):
        x, weight = draw(batch, *size, inputs), draw(*kernel, inputs, outputs)
        if by is None:
            yield (x, weight, None if batch == 1 else draw(outputs)), options
            continue
        w = conv_windows(x.shape, weight.shape, *(options.get(n, d) for n, d in CONVOLUTION))
        g = draw(batch, *w.out, outputs)
        arrays = (g, weight, x.shape) if by == "x" else (g, x, weight.shape)
        yield (*arrays, *(options.get(n, d) for n, d in CONVOLUTION)), {}
    if by is None:  # more than a tile, in images and in rows
        yield (draw(40, 18, 18, 8), draw(3, 3, 8, 2), None), {}
        yield (draw(2, 70, 70, 9), draw(3, 3, 9, 2), None), {"padding": 1}


CONVOLUTION = (("stride", 1), ("padding", 0), ("dilation", 1))


def conv2d_bias(draw):
    yield from (((draw(*leading, 3),), {}) for leading in [(0, 2, 2), (2, 3, 4)])


POOLS = [
    ((6, 6), 2, None, 0),
    ((7, 9), 2, None, 0),
    ((7, 9), (2, 3), (1, 2), (1, 2)),
    ((5, 5), 3, 4, ((0, 1), (2, 0))),
    ((5, 8), 3, 2, "same"),
    ((4, 4), 1, 2, 0),
]


def max_pool2d_forward(draw):
    for (size, kernel, stride, padding), batch, channels in itertools.product(POOLS, [0, 2], [3, 16]):
        yield (draw(batch, *size, channels),), {"kernel_size": kernel, "stride": stride, "padding": padding}


def max_pool2d_x(draw):
    for (size, kernel, stride, padding), ties, channels in itertools.product(POOLS, [False, True], [3, 16]):
        x = draw(2, *size, channels)
        x = np.round(x) if ties else x
        y = nnx.to_numpy(nnx.ops.max_pool2d(x, kernel_size=kernel, stride=stride, padding=padding))
        yield (draw(*y.shape), x, y, kernel, stride, padding), {}


def avg_pool2d(draw, *, adjoint):
    for (size, kernel, stride, padding), batch, inside in itertools.product(POOLS, [0, 2], [False, True]):
        shape, given = (batch, *size, 3 if inside else 16), (kernel, stride, padding, not inside)
        if adjoint:
            out = pool_windows("avg_pool2d()", shape, kernel, stride, padding).out
            yield (draw(batch, *out, shape[3]), shape, *given), {}
        else:
            names = ("kernel_size", "stride", "padding", "count_include_pad")
            yield (draw(*shape),), dict(zip(names, given, strict=True))


def embedding_forward(draw):
    for shape, features in itertools.product([(), (0,), (7,), (2, 3)], [1, 4]):
        yield (draw(5, features), draw.labels(shape, 5)), {}


def gather_forward(draw):
    for leading, n, k in itertools.product(LEADING, [1, 5, 40], [0, 1, 7]):
        yield (draw(*leading, n), draw.labels((*leading, k), n)), {}


def embedding_weight(draw):
    for shape, features in itertools.product([(), (0,), (7,), (2, 3)], [1, 4]):
        yield (draw(*shape, features), (5, features), draw.labels(shape, 5)), {}


def summed_rows_cases(draw):
    """Rows of any shape, read never, once and more often, and counted from the end."""
    for shape, n, k in itertools.product([(), (1,), (4,), (2, 3), (3, 0)], [1, 5], [0, 1, 7]):
        index = (draw.rng.integers(-n, n, k)).astype(draw.rng.choice(["int8", "int32", "int64"]))
        yield (draw(k, *shape), n, index), {}
    yield (draw(5, 3), 5, draw.rng.permutation(5)), {}
    yield (draw(2), 7, np.asarray([6, 2], np.uint64)), {}
    yield (draw(0, 2), 0, np.zeros(0, np.int64)), {}


def sum_squares_forward(draw):
    yield from (((draw(*leading),), {}) for leading in LEADING)


def squared_norm_cases(draw):
    yield ([draw(3)],), {}
    yield ([draw(2, 3), draw(), draw(0), draw(4)],), {}


def gather_gradients_cases(draw):
    yield (draw(11), [draw(2, 3), draw(), draw(0), draw(4)]), {}


def summed_to_cases(draw):
    shapes = [((5, 3), (3,)), ((2, 5, 3), (5, 3)), ((2, 5, 3), (3,)), ((4,), ()), ((2, 3), ()), ((0, 3), (3,))]
    broadcast = [((2, 5, 3), (1, 3)), ((2, 5, 3), (2, 1, 3)), ((5, 3), (5, 1)), ((1, 3), (1, 1)), ((0, 3), (1, 3))]
    yield from (((draw(*g), shape), {}) for g, shape in shapes + broadcast)


def sgd(draw):
    for velocity, scale, decay, nesterov in itertools.product([None, 1], [None, 0.3, -1.0], [0.0, 0.1], [False, True]):
        if velocity or not nesterov:
            options = {"momentum": 0.9 if velocity else 0.0, "nesterov": nesterov, "weight_decay": decay}
            yield (draw(7), [draw(7)], draw(7) if velocity else None, 0.05, scale), options


def adam(draw):
    for step, scale, decay, decoupled in itertools.product([1, 1000], [None, 0.3, -1.0], [0.0, 0.1], [False, True]):
        options = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": decay, "decoupled": decoupled}
        arrays = draw(7), [draw(7)], draw(7), np.abs(draw(7)), np.asarray(step, np.int32)
        yield (*arrays, 0.05, scale), options


CASES = {
    "adam_update": adam,
    "avg_pool2d_forward": functools.partial(avg_pool2d, adjoint=False),
    "avg_pool2d_x": functools.partial(avg_pool2d, adjoint=True),
    "batch_norm_bias": functools.partial(norm_parameter, batch=True),
    "batch_norm_forward": batch_norm_forward,
    "batch_norm_weight": functools.partial(norm_parameter, batch=True),
    "batch_norm_x": functools.partial(norm_x, batch=True),
    "celu_forward": functools.partial(activation, options=[{}, {"alpha": 0.5}]),
    "celu_x": functools.partial(activation_adjoint, options=[(), (0.5,)]),
    "conv2d_bias": conv2d_bias,
    "conv2d_forward": convolutions,
    "conv2d_weight": functools.partial(convolutions, by="weight"),
    "conv2d_x": functools.partial(convolutions, by="x"),
    "dropout_forward": dropout_forward,
    "dropout_x": activation_adjoint,
    "elu_forward": functools.partial(activation, options=[{}, {"alpha": 0.5}]),
    "elu_x": functools.partial(activation_adjoint, options=[(), (0.5,)]),
    "embedding_forward": embedding_forward,
    "embedding_weight": embedding_weight,
    "gather_forward": gather_forward,
    "erf_forward": activation,
    "erf_x": activation_adjoint,
    "gather_gradients": gather_gradients_cases,
    "gather_x": gather_x,
    "gelu_forward": functools.partial(activation, options=[{}, {"approximate": True}]),
    "gelu_x": functools.partial(activation_adjoint, options=[(), (True,)]),
    "hard_sigmoid_forward": activation,
    "hard_sigmoid_x": activation_adjoint,
    "hard_swish_forward": activation,
    "hard_swish_x": activation_adjoint,
    "hard_tanh_forward": functools.partial(activation, options=[{}, {"low": -0.5, "high": 2.0}]),
    "hard_tanh_x": functools.partial(activation_adjoint, options=[(), (-0.5, 2.0)]),
    "layer_norm_bias": functools.partial(norm_parameter, batch=False),
    "layer_norm_forward": layer_norm_forward,
    "layer_norm_weight": functools.partial(norm_parameter, batch=False),
    "layer_norm_x": functools.partial(norm_x, batch=False),
    "leaky_relu_forward": functools.partial(activation, options=[{}, {"slope": 0.3}]),
    "leaky_relu_x": functools.partial(activation_adjoint, options=[(), (0.3,)]),
    "linear_bias": linear_bias,
    "linear_forward": linear_forward,
    "linear_relu_forward": linear_forward,
    "linear_weight": linear_weight,
    "linear_x": linear_x,
    "log_cosh_forward": activation,
    "log_cosh_x": activation_adjoint,
    "log_sigmoid_forward": activation,
    "log_sigmoid_x": activation_adjoint,
    "log_softmax_forward": softmax_forward,
    "log_softmax_x": softmax_adjoint,
    "max_pool2d_forward": max_pool2d_forward,
    "max_pool2d_x": max_pool2d_x,
    "mish_forward": activation,
    "mish_x": activation_adjoint,
    "relu6_forward": activation,
    "relu6_x": activation_adjoint,
    "relu_forward": relu_forward,
    "relu_x": relu_x,
    "selu_forward": activation,
    "selu_x": activation_adjoint,
    "sgd_update": sgd,
    "sigmoid_forward": activation,
    "sigmoid_x": activation_adjoint,
    "silu_forward": activation,
    "silu_x": activation_adjoint,
    "softmax_cross_entropy_forward": softmax_cross_entropy_forward,
    "softmax_forward": softmax_forward,
    "softmax_x": softmax_adjoint,
    "softplus_forward": activation,
    "softplus_x": activation_adjoint,
    "softsign_forward": activation,
    "softsign_x": activation_adjoint,
    "squared_norm": squared_norm_cases,
    "sum_squares_forward": sum_squares_forward,
    "summed_rows": summed_rows_cases,
    "summed_to": summed_to_cases,
    "tanh_forward": activation,
    "tanh_x": activation_adjoint,
}
IN_PLACE = {"adam_update", "sgd_update"}  # of parameters and state: backends with views may write there
LAYOUTS = ["contiguous", "fortran", "strided", "reversed", "misaligned"]


def moved(x, place):
    """``x`` on a device; on the host its layout is kept, and what is not to be changed cannot be."""
    if isinstance(x, list):
        return [moved(item, place) for item in x]
    return nnx.asarray(x, device=place) if isinstance(x, (np.ndarray, np.generic)) else x


def protected(x, allow):
    """A copy of the same layout, read-only unless ``allow``."""
    if isinstance(x, list):
        return [protected(item, allow) for item in x]
    if isinstance(x, np.ndarray):
        x = x.view() if not allow else np.array(x, order="K")
        x.flags.writeable = allow
    return x


def hosts(x):
    """The arrays in a result, on the host."""
    if isinstance(x, (tuple, list)):
        return [host for item in x for host in hosts(item)]
    return [] if x is None else [nnx.to_numpy(x)]


@pytest.mark.parametrize(("backend", "which", "name"), KERNELS)
def test_every_kernel_has_a_reference_and_cases(backend, which, name):
    assert name in REFERENCES, f"{backend} replaces {name}, which is no function of nnx.ops, nnx.optim or nnx.vjps"
    assert name in CASES, f"{backend} replaces {name}: write its cases here, so that it is tested"


def test_no_two_functions_that_can_be_replaced_have_one_name():
    """The tables of kernels have one key for each, whatever room it is in."""
    assert len(REFERENCES) == len(set(references()))  # an adjoint may serve several ops


@pytest.mark.parametrize("name", CASES)
def test_no_case_is_left_over(name):
    assert name in REFERENCES


def takes(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(("backend", "which", "name"), KERNELS)
def test_a_kernel_takes_what_its_reference_takes(backend, which, name):
    assert takes(TABLES[backend, which][name]) == takes(REFERENCES[name])


# the buffers of an optimiser are its own, and contiguous
RUNS = [(*kernel, layout) for kernel in KERNELS for layout in LAYOUTS[: 1 if kernel[2] in IN_PLACE else None]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("backend", "which", "name", "layout"), RUNS)
def test_a_kernel_computes_what_its_reference_does(backend, which, name, layout, dtype, flags):
    device = next((d for d in map(nnx.device, flags) if d.backend.name == backend), None)
    if device is None:
        pytest.skip(f"{backend} is not among the backends of this run")
    xp, kernel, reference = device.namespace, TABLES[backend, which][name], REFERENCES[name]
    tolerance = {"rtol": 1e-4, "atol": 2e-5} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-11}
    count = 0
    for args, options in CASES[name](Draw(dtype, layout, zlib.crc32(name.encode()))):
        expected = hosts(reference(xp, *(moved(a, device) for a in args), **options))
        free = [name in IN_PLACE and isinstance(a, np.ndarray) for a in args]
        found = kernel(xp, *(moved(protected(a, f), device) for a, f in zip(args, free, strict=True)), **options)
        compare(name, hosts(found), expected, tolerance)
        count += 1
    assert count
    if which == "best":
        assert TABLES[backend, which][name] is families(backend)[name]  # and not what serves where it cannot compile


@functools.cache
def families(backend):
    """The kernels that a plug-in compiles, under their names."""
    room = {"numpy": "nnx_numpy.compiled", "cupy": "nnx_cupy.kernels"}[backend]
    return import_module(room).families()


def compare(name, found, expected, tolerance):
    if name == "gather_gradients":  # in pieces or in one
        found, expected = ([np.concatenate([a.reshape(-1) for a in each])] for each in (found, expected))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, **tolerance)
