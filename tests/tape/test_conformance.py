"""What the test suite of the standard asks of tracked arrays and their namespace; see ``ci/conformance.py``."""

from __future__ import annotations

import inspect

import array_api_compat.numpy as compat
import numpy as np
import pytest

import nnx
from nnx.tape.node import CONSTANT
from nnx.tape.tracked import Tracked

array_api_strict = pytest.importorskip("array_api_strict")

NAMESPACES = [nnx.differentiable(compat), nnx.differentiable(array_api_strict)]
by_library = pytest.mark.parametrize("xp", NAMESPACES, ids=lambda xp: xp.__name__)


def functions(xp):
    """The names of all functions of a namespace and its extensions, with the functions beneath them."""
    for part in (xp, xp.fft, xp.linalg):
        for name in dir(part):
            beneath = getattr(part.raw, name)
            if callable(beneath) and not isinstance(beneath, type) and getattr(part, name) is not beneath:
                yield name, getattr(part, name), beneath


# --- signatures ---------------------------------------------------------------------------------


@by_library
def test_every_function_has_the_name_signature_and_docstring_of_the_one_beneath(xp):
    found = list(functions(xp))
    assert len(found) > 150
    for name, function, beneath in found:
        if name == "asarray":  # it keeps gradients, which has a docstring of its own
            assert [*inspect.signature(function).parameters][1:] == ["dtype", "device", "copy"]
            continue
        assert function.__name__ == name
        assert function.__doc__ == beneath.__doc__
        try:
            expected = inspect.signature(beneath)
        except ValueError:  # NumPy's ufuncs have a signature since 2.4
            continue
        assert inspect.signature(function) == expected


def test_the_class_of_primitives_has_a_signature_of_its_own():
    kind = type(nnx.differentiable(compat).sum)
    assert list(inspect.signature(kind).parameters) == ["name", "forward", "rule"]


# --- the namespace of an array ------------------------------------------------------------------


def test_the_namespace_of_a_version_of_the_standard():
    xp = nnx.differentiable(compat)
    x = xp.ones(2)
    for version in (None, "2021.12", "2024.12", xp.__array_api_version__):
        assert x.__array_namespace__(api_version=version) is xp
    with pytest.raises(ValueError, match=r"knows no version '2099\.12' of the standard; it has 2021\.12, .*2025\.12"):
        x.__array_namespace__(api_version="2099.12")


# --- arguments by position ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda xp, x: xp.flip(x, 1),
        lambda xp, x: xp.roll(x, 1, 1),
        lambda xp, x: xp.tril(x, -1),
        lambda xp, x: xp.sum(x, 1),
        lambda xp, x: xp.take(x, np.asarray([0, 1]), 1),
    ],
)
def test_options_by_position_are_refused(call):
    """NumPy takes them, and no derivative would see them: flip(x, 1) would be taken for flip(x)."""
    xp, x = nnx.differentiable(compat), np.ones((2, 2))
    refusal = pytest.raises(TypeError, match=r"\(\) takes at most \d arguments by position.*give the others by name")
    with refusal:
        nnx.grad(lambda x: xp.sum(call(xp, x)))(x)
    with refusal:
        call(xp, xp.asarray(x))


def test_arguments_that_the_standard_has_by_position_are_taken_so():
    def loss(x):
        xp = nnx.namespace_of(x)
        x = xp.expand_dims(xp.permute_dims(xp.reshape(x, (2, 3)), (1, 0)), 0)
        x = xp.moveaxis(xp.repeat(xp.roll(x, 1, axis=1), 2, axis=0), 0, 2)
        return xp.sum(xp.squeeze(x[:, :, :1], 2) * xp.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))

    np.testing.assert_array_equal(nnx.grad(loss)(np.zeros(6)), [3.0, 5.0, 1.0, 4.0, 6.0, 2.0])


# --- results of the extensions ------------------------------------------------------------------


@by_library
def test_results_of_the_extensions_belong_to_the_whole_namespace(xp):
    x = xp.asarray([[2.0, 1.0], [1.0, 3.0]])
    for made in (
        xp.fft.fftfreq(4),
        xp.linalg.inv(x),
        xp.fft.fft(xp.astype(x[0, :], xp.complex128)),
        *xp.linalg.eigh(x),
        *xp.linalg.qr(x),
    ):
        assert type(made) is Tracked
        assert made.__array_namespace__() is xp
        assert made[0, ...].node is CONSTANT


# --- DLPack -------------------------------------------------------------------------------------


def test_dlpack_hands_the_options_on_that_are_given():
    asked = []

    class Producer:
        shape, dtype = (), None

        def __dlpack__(self, **options):
            asked.append(options)

    xp = nnx.differentiable(compat)
    x = Tracked(Producer(), xp, CONSTANT)
    x.__dlpack__()
    x.__dlpack__(max_version=(1, 1), copy=True)
    x.__dlpack__(stream=1, dl_device=(2, 0))
    assert asked == [{}, {"max_version": (1, 1), "copy": True}, {"stream": 1, "dl_device": (2, 0)}]


def test_from_dlpack_takes_tracked_constants():
    xp = nnx.differentiable(compat)
    found = xp.from_dlpack(xp.asarray([1.0, 2.0]))
    assert type(found) is Tracked
    np.testing.assert_array_equal(found.value, [1.0, 2.0])
