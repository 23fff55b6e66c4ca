"""``nnx.summary``: what it counts, and that the model stays as it was."""

from __future__ import annotations

import numpy as np
import pytest

import nnx


def network(**options):
    return nnx.Sequential(
        nnx.Linear(6, 4, **options), nnx.relu, nnx.Dropout(0.5), nnx.Linear(4, 3, bias=False, **options)
    ).to(options.get("device"))


def test_rows(flag):
    rows = nnx.summary(network(device=flag), (5, 6)).rows
    assert [row.name for row in rows] == ["0", "1", "2", "3"]
    assert [row.layer for row in rows] == ["Linear(6, 4)", "relu", "Dropout(0.5)", "Linear(4, 3, bias=False)"]
    assert [row.output for row in rows] == [(5, 4), (5, 4), (5, 4), (5, 3)]
    assert [row.parameters for row in rows] == [28, 0, 0, 12]
    # 6 products, 5 sums and the bias for each of 20 numbers; 4 products and 3 sums for each of 15
    assert [row.operations for row in rows] == [20 * 12, 0, 0, 15 * 7]
    # arrays and outputs of 4 bytes each; the stream of dropout is three int32
    assert [row.memory for row in rows] == [4 * (28 + 20), 4 * 20, 4 * (3 + 20), 4 * (12 + 15)]


def test_totals():
    found = nnx.summary(network(), (5, 6))
    assert (found.parameters, found.trained, found.frozen) == (40, 40, 0)
    assert found.operations == 20 * 12 + 15 * 7
    assert found.memory == 4 * (28 + 20 + 20 + 3 + 20 + 12 + 15)


def test_frozen_parameters_are_told_apart():
    found = nnx.summary(network().freeze("0.*"), (1, 6))
    assert (found.parameters, found.trained, found.frozen) == (40, 12, 28)
    assert str(found).endswith("12 parameters are trained, 28 are frozen")


def test_bytes_are_those_of_the_dtype():
    single, double = (nnx.summary(nnx.Linear(2, 3, dtype=d), (1, 2), dtype=d) for d in ("float32", "float64"))
    assert (single.memory, double.memory) == (4 * 12, 8 * 12)


class Twice(nnx.Module):
    """Calls one layer two times, and holds another that it does not call."""

    def __init__(self):
        self.layer = nnx.Linear(4, 4)
        self.same = [self.layer]
        self.idle = nnx.Linear(4, 4)

    def __call__(self, x):
        return self.same[0](self.layer(x))


def test_what_is_called_has_rows_and_what_is_shared_counts_once():
    found = nnx.summary(Twice(), (1, 4))
    assert [(row.name, row.layer, row.parameters) for row in found.rows] == [
        ("layer", "Linear(4, 4)", 20),
        ("layer", "Linear(4, 4)", 0),
        ("(model)", "Twice", 0),
    ]
    assert found.operations == 2 * 4 * 8
    assert (found.parameters, found.trained, found.frozen) == (40, 40, 0)
    assert "frozen" not in str(found)


def test_one_layer_is_a_model():
    (row,) = nnx.summary(nnx.Linear(2, 3), (7, 5, 2)).rows
    assert (row.name, row.output) == ("(model)", (7, 5, 3))


def test_the_model_stays_as_it_was():
    model = network()
    before, text, kinds = model.arrays(), repr(model), [type(module) for module in model.modules().values()]
    nnx.summary(model, (5, 6))
    assert repr(model) == text
    assert [type(module) for module in model.modules().values()] == kinds
    for name, array in model.arrays().items():
        assert array is before[name]
    assert model[1] is nnx.relu


def test_also_when_it_fails():
    model = network()
    with pytest.raises(nnx.ShapeError, match=r"Linear\(6, 4\) expected input of shape \(..., 6\), got \(5, 7\)"):
        nnx.summary(model, (5, 7))
    assert model[1] is nnx.relu
    assert model(np.zeros((2, 6), "float32")).shape == (2, 3)


@pytest.mark.parametrize("shape", [(), (0, 6), (-1, 6)])
def test_a_batch_has_an_example(shape):
    with pytest.raises(nnx.ShapeError, match="at least one example was expected"):
        nnx.summary(network(), shape)


def test_dtypes():
    with pytest.raises(nnx.DTypeError, match="a name of the Array API standard"):
        nnx.summary(network(), (1, 6), dtype="float31")
    with pytest.raises(nnx.DTypeError, match="expected input of that dtype"):
        nnx.summary(network(), (1, 6), dtype="float64")


def test_a_model_that_answers_several_arrays():
    class Two(nnx.Module):
        def __init__(self):
            self.left, self.right = nnx.Linear(2, 3), nnx.Linear(2, 1)

        def __call__(self, x):
            return {"left": self.left(x), "right": self.right(x)}

    last = nnx.summary(Two(), (5, 2)).rows[-1]
    assert (last.output, last.memory) == (((5, 3), (5, 1)), 4 * 20)


def test_the_inputs_have_the_dtype_of_the_parameters():
    assert nnx.summary(nnx.Linear(3, 2, dtype="float64"), (4, 3)).rows[0].output == (4, 2)
    with pytest.raises(nnx.DTypeError, match="float64 parameters"):
        nnx.summary(nnx.Linear(3, 2, dtype="float64"), (4, 3), dtype="float32")
