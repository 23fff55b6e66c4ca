"""Modules: declared state, names, and what happens when they are taken apart and put together."""

from __future__ import annotations

import copy
import pickle
from collections import deque
from functools import partial
from typing import Any, NamedTuple, Optional

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import nnx


class Scale(nnx.Module):
    factor: nnx.Parameter
    offset: nnx.Parameter | None
    seen: nnx.Buffer
    last: nnx.Buffer | None

    def __init__(self, n=3, *, device=None):
        self.factor = nnx.init.ones((n,), device=device)
        self.offset = None
        self.seen = nnx.init.zeros((1,), device=device)
        self.last = None

    def __call__(self, x):
        return x * self.factor


class Box(nnx.Module):
    """Holds whatever it is given."""

    def __init__(self, **parts):
        for name, part in parts.items():
            setattr(self, name, part)

    def __call__(self, x):
        return x


class Pair(NamedTuple):
    one: Any
    other: Any


def names(model):
    return list(model.parameters())


ONES = np.ones(3, dtype=np.float32)

# --- declarations -----------------------------------------------------------------------------


def test_declared_arrays_are_found():
    model = Scale()
    assert (names(model), list(model.buffers())) == (["factor"], ["seen"])
    assert model.parameters()["factor"] is model.factor
    assert list(model.arrays()) == ["factor", "seen"]


class Objects(nnx.Module):
    """Annotations as objects and as strings, in every spelling."""

    def __init__(self):
        for name in ("a", "b", "c", "d", "e"):
            setattr(self, name, ONES.copy())


Objects.__annotations__ = {
    "a": nnx.Parameter,
    "b": nnx.Parameter | None,
    "c": Optional[nnx.Buffer],  # noqa: UP045
    "d": "nnx.Parameter",
    "e": "Buffer | None",
    "f": int,
    "g": "list[Any]",
}


def test_annotations_as_objects_and_as_strings():
    model = Objects()
    assert names(model) == ["a", "b", "d"]
    assert list(model.buffers()) == ["c", "e"]


class Inherits(Scale):
    bias: nnx.Parameter
    seen: nnx.Parameter  # a buffer in the base class

    def __init__(self):
        super().__init__()
        self.bias = ONES


def test_subclasses_add_and_change_declarations():
    assert names(Inherits()) == ["factor", "seen", "bias"]
    assert Inherits().buffers() == {}
    assert names(Scale()) == ["factor"]


@pytest.mark.parametrize(
    "value",
    [ONES, np.asarray(1.0), [ONES], (1, (ONES,)), {"a": {"b": ONES}}],
    ids=["array", "0-d", "list", "tuple", "dict"],
)
def test_an_undeclared_array_raises_and_says_what_to_write(value):
    with pytest.raises(nnx.UndeclaredStateError, match=r"Write `cache: nnx\.Parameter`.*`cache: nnx\.Buffer`"):
        Scale().cache = value


def test_an_undeclared_array_of_every_library_raises(make):
    with pytest.raises(nnx.UndeclaredStateError, match=r"Scale\.cache"):
        Scale().cache = make(ONES)


def test_an_undeclared_tracked_array_raises():
    class Keeps(Scale):
        def __call__(self, x):
            self.cache = x * self.factor
            return self.cache

    with pytest.raises(nnx.UndeclaredStateError, match="cache"):
        nnx.grad(lambda model: nnx.namespace_of(y := model(ONES)).sum(y))(Keeps())


def test_numbers_are_not_arrays():
    model = Scale()
    model.a, model.b, model.c, model.d = 1, 2.5, np.float32(3), np.prod((2, 3))
    assert names(model) == ["factor"]


@pytest.mark.parametrize("value", [1.0, [1.0, 2.0], "text", Scale()], ids=type)
def test_a_declared_array_is_one(value):
    with pytest.raises(nnx.StateError, match=r"Scale\.factor is declared to hold an array, got"):
        Scale().factor = value


def test_an_array_of_the_class_raises():
    class Shared(nnx.Module):
        weight: nnx.Parameter = ONES

    with pytest.raises(nnx.UndeclaredStateError, match=r"Shared\.weight.*__init__"):
        Shared().parameters()


# --- names ------------------------------------------------------------------------------------


def test_names_are_paths():
    model = Box(
        first=Scale(),
        layers=[nnx.Linear(2, 2, bias=False), nnx.relu, (Scale(), 3)],
        heads={"a": Scale(), "b": {"c": Scale()}},
        pair=Pair(Scale(), "text"),
    )
    assert names(model) == [
        "first.factor",
        *("layers.0.weight", "layers.2.0.factor"),
        *("heads.a.factor", "heads.b.c.factor"),
        "pair.0.factor",
    ]
    assert list(model.modules()) == [
        *("", "first", "layers.0", "layers.2.0"),
        *("heads.a", "heads.b.c", "pair.0"),
    ]
    assert model.modules()["heads.a"] is model.heads["a"]


def test_a_shared_module_has_its_first_name():
    one = Scale()
    model = nnx.Sequential(one, nnx.relu, one)
    assert names(model) == ["0.factor"]
    assert list(model.modules()) == ["", "0"]


def test_a_cycle_of_modules():
    child = Scale()
    model = Box(child=child)
    child.parent = model
    assert names(model) == ["child.factor"]
    assert names(child) == ["factor"]


# --- tied arrays ------------------------------------------------------------------------------


def tied():
    model = Box(one=Scale(), other=Scale())
    model.other.factor = model.one.factor
    return model


def test_a_tied_array_has_one_name_and_stays_tied():
    model = tied()
    assert names(model) == ["one.factor"]
    model._rebind({"one.factor": ONES * 2})
    assert model.other.factor is model.one.factor
    model.load({"one.factor": ONES * 3}, partial=True)
    assert model.other.factor is model.one.factor
    model.to(dtype="float64")
    assert model.other.factor is model.one.factor
    assert model.other.factor.dtype == np.float64
    model.other.factor = np.zeros(3)
    assert names(model) == ["one.factor", "other.factor"]


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies_of_tied_arrays_are_tied(duplicate):
    twin = duplicate(tied())
    assert twin.other.factor is twin.one.factor
    assert names(twin) == ["one.factor"]


def test_buffers_that_begin_as_one_array_are_two():
    class Two(nnx.Module):
        a: nnx.Buffer
        b: nnx.Buffer

        def __init__(self):
            self.a = self.b = ONES

    model = Two()
    assert list(model.buffers()) == ["a", "b"]
    model.a = model.a + 1
    assert_array_equal(model.arrays()["a"], ONES + 1)
    assert_array_equal(model.arrays()["b"], ONES)


# --- changes after a first use ----------------------------------------------------------------


def used(model):
    model.parameters()
    nnx.grad(lambda model: 1.0)(model)
    return model


def test_containers_that_change_in_place():
    model = used(Box(layers=[Scale()], table={"a": Scale()}, nested=([Scale()],)))
    model.layers.append(Scale())
    assert names(model)[:2] == ["layers.0.factor", "layers.1.factor"]
    model.layers[0] = nnx.Linear(1, 1, bias=False)
    assert names(model)[:2] == ["layers.0.weight", "layers.1.factor"]
    model.layers.reverse()
    assert names(model)[:2] == ["layers.0.factor", "layers.1.weight"]
    model.table["b"] = Scale()
    model.table["a"] = nnx.Linear(1, 1, bias=False)
    model.nested[0].append(Scale())
    assert names(model)[2:] == ["table.a.weight", "table.b.factor", "nested.0.0.factor", "nested.0.1.factor"]
    del model.table["a"], model.layers[:]
    model.nested[0].clear()
    assert names(model) == ["table.b.factor"]


def test_empty_containers_that_fill():
    model = used(Box(layers=[], table={}, empty=None))
    model.layers.append(Scale())
    assert names(model) == ["layers.0.factor"]
    used(model)
    model.table["a"] = Scale()
    used(model)
    model.empty = Scale()
    assert names(model) == ["layers.0.factor", "table.a.factor", "empty.factor"]


def test_attributes_that_change():
    inner = Scale()
    model = used(Box(child=inner))
    inner.offset = ONES
    assert names(model) == ["child.factor", "child.offset"]
    inner.offset = None
    assert names(model) == ["child.factor"]
    inner.last = ONES
    assert list(model.buffers()) == ["child.seen", "child.last"]
    inner.last = ONES * 2
    assert_array_equal(model.buffers()["child.last"], ONES * 2)
    inner.last = None
    assert list(model.buffers()) == ["child.seen"]
    inner.factor = ONES * 5
    assert model.parameters()["child.factor"] is inner.factor
    model.child = nnx.Linear(1, 1, bias=False)
    assert names(model) == ["child.weight"]
    model.child = 3
    assert names(model) == []
    used(model)
    model.child = [Scale()]
    assert names(model) == ["child.0.factor"]
    del model.child
    assert names(model) == []


def test_the_gradient_follows_the_structure():
    model = used(nnx.Sequential(nnx.Linear(3, 3)))
    step = nnx.grad(lambda model: nnx.namespace_of(y := model(ONES)).sum(y))
    model[0].bias = None
    assert list(step(model)) == ["0.weight"]
    model.layers = (*model.layers, nnx.Linear(3, 1))
    assert list(step(model)) == ["0.weight", "1.weight", "1.bias"]


# --- loading ----------------------------------------------------------------------------------


def small():
    return nnx.Sequential(nnx.Linear(2, 3), nnx.Dropout(0.5))


def snapshot(model):
    return {name: nnx.to_numpy(array) for name, array in model.arrays().items()}


def test_load_replaces_arrays_and_answers_the_module(device):
    model, other = small().to(device), small()
    assert model.load(other.arrays()) is model
    for name, array in model.arrays().items():
        assert nnx.backend.device_of(array) == device
        assert_array_equal(nnx.to_numpy(array), other.arrays()[name])


def test_loaded_arrays_share_no_memory_with_their_source():
    model, other = small(), small()
    model.load(other.arrays())
    other[0].weight[...] = 7
    assert not np.any(model[0].weight == 7)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a: a.pop("0.bias"), nnx.StateError, r"missing 0\.bias.*partial=True"),
        (lambda a: a.update(more=ONES), nnx.StateError, "unknown more"),
        (lambda a: (a.clear(), a.update(x=ONES)), nnx.StateError, r"unknown x; missing 0\.bias, 0\.weight, 1\.key"),
        (lambda a: a.update({"0.bias": np.ones(4, np.float32)}), nnx.ShapeError, r"0\.bias has shape \(3,\).*\(4,\)"),
        (lambda a: a.update({"0.bias": np.ones(3)}), nnx.DTypeError, r"0\.bias has dtype float32.*float64"),
    ],
)
@pytest.mark.parametrize("partial", [False, True])
def test_a_load_that_fails_changes_nothing(change, error, message, partial):
    model = small()
    before, arrays = snapshot(model), {name: array + 1 for name, array in small().arrays().items()}
    change(arrays)
    if partial and "0.bias" not in arrays and "x" not in arrays:
        model.load(arrays, partial=True)
        return assert_array_equal(model[0].weight, arrays["0.weight"])
    with pytest.raises(error, match=message.split("; missing")[0] if partial else message):
        model.load(arrays, partial=partial)
    for name, array in snapshot(model).items():
        assert_array_equal(array, before[name])
    return None


# --- freezing ---------------------------------------------------------------------------------


def deep():
    return nnx.Sequential(nnx.Linear(2, 2), nnx.relu, nnx.Linear(2, 2))


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*", []),
        ("0.*", ["2.weight", "2.bias"]),
        ("*.bias", ["0.weight", "2.weight"]),
        ("?.weight", ["0.bias", "2.bias"]),
        ("2.weight", ["0.weight", "0.bias", "2.bias"]),
    ],
)
def test_freeze_and_unfreeze(pattern, left):
    model = used(deep())
    everything = names(model)
    assert model.freeze(pattern) is model
    assert names(model) == left
    assert list(model.arrays()) == everything
    model.unfreeze()
    assert names(model) == everything
    model.freeze().unfreeze(pattern)
    assert [name for name in everything if name not in names(model)] == left


def test_a_pattern_that_matches_nothing():
    with pytest.raises(nnx.ArgumentError, match=r"'1\.\*'; there are 0\.weight"):
        deep().freeze("1.*")
    with pytest.raises(nnx.ArgumentError, match="there are none"):
        Box().freeze()


def test_a_frozen_tied_array_is_frozen_in_all_places():
    model = tied().freeze("one.factor")
    assert names(model) == []
    assert names(model.unfreeze("one.*")) == ["one.factor"]


def test_copies_stay_frozen():
    model = deep().freeze("0.*")
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert names(twin) == ["2.weight", "2.bias"]
        twin.unfreeze()
    assert names(model) == ["2.weight", "2.bias"]


# --- moving -----------------------------------------------------------------------------------


def test_to_a_device_and_back(device):
    model = small()
    before = snapshot(model)
    assert model.to(device) is model
    assert model.device == device
    assert {str(nnx.backend.device_of(array)) for array in model.arrays().values()} == {str(device)}
    model.to("cpu")
    for name, array in snapshot(model).items():
        assert_array_equal(array, before[name])
        assert array.dtype == before[name].dtype


def test_to_a_dtype_casts_floats_alone(device):
    model = small().to(device).to(dtype="float64")
    kinds = {name: str(nnx.to_numpy(array).dtype) for name, array in model.arrays().items()}
    assert kinds == {"0.weight": "float64", "0.bias": "float64", "1.key": "int32", "1.step": "int32"}
    assert model.device == device


def test_to_what_does_not_exist_changes_nothing():
    model = small()
    before = model.arrays()
    for change in ({"device": "nowhere"}, {"dtype": "float7"}):
        with pytest.raises(nnx.NnxError):
            model.to(**change)
    assert all(model.arrays()[name] is array for name, array in before.items())


def test_the_device_of_a_model_without_arrays_is_the_default(device):
    with nnx.default_device(device):
        assert Box().device == device


# --- copies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_a_copy_is_independent(duplicate):
    model = used(nnx.Sequential(nnx.Linear(3, 3), nnx.relu, Box(layers=[Scale()])))
    twin = duplicate(model)
    assert_array_equal(twin(ONES), model(ONES))
    assert twin[1] is nnx.relu
    twin.load({name: array * 0 for name, array in twin.arrays().items()})
    assert np.all(model[2].layers[0].factor == 1)
    twin[2].layers.append(Scale())
    assert len(names(twin)) == len(names(model)) + 1


def test_a_shallow_copy_shares_modules_and_has_attributes_of_its_own():
    model = used(Scale())
    twin = copy.copy(model)
    twin.factor = ONES * 2
    assert_array_equal(model.factor, ONES)
    assert_array_equal(twin.parameters()["factor"], ONES * 2)
    outer = used(nnx.Sequential(model))
    shallow = copy.copy(outer)
    assert shallow[0] is outer[0]
    shallow.layers = (*shallow.layers, Scale())
    assert len(names(outer)) == 1


def test_deep_copies_on_every_backend(device):
    model = small().to(device)
    twin = copy.deepcopy(model)
    for name, array in twin.arrays().items():
        assert_array_equal(nnx.to_numpy(array), nnx.to_numpy(model.arrays()[name]))


# --- text -------------------------------------------------------------------------------------


def test_repr():
    model = nnx.Sequential(nnx.Linear(2, 3), nnx.relu, nnx.Dropout(0.1), Box(a=Scale(), b=[Scale()]))
    assert repr(model) == (
        "Sequential(\n  0: Linear(2, 3),\n  1: relu,\n  2: Dropout(0.1),\n"
        "  3: Box(\n    a: Scale(),\n    b.0: Scale(),\n  ),\n)"
    )


def test_a_sequential_with_a_module_of_its_own():
    class Extra(nnx.Sequential):
        def __init__(self):
            super().__init__(nnx.Linear(3, 3, bias=False))
            self.gate = Scale()

        def __call__(self, x):
            return self.gate(super().__call__(x))

    model = Extra()
    assert names(model) == ["0.weight", "gate.factor"]
    assert list(nnx.grad(lambda model: nnx.namespace_of(y := model(ONES)).sum(y))(model)) == names(model)
    assert "gate" in repr(model)


@pytest.mark.parametrize("parts", [{"a.b": 1, "a": {"b": 2}}, {1: 1, "1": 2}], ids=str)
def test_two_arrays_of_one_name(parts):
    def layers(part):
        return {key: layers(item) for key, item in part.items()} if isinstance(part, dict) else Scale(part)

    with pytest.raises(nnx.StateError, match="two arrays are named 'parts"):
        Box(parts=layers(parts)).parameters()


@pytest.mark.parametrize(
    "hide", [lambda m: {m}, lambda m: frozenset([m]), lambda m: deque([m]), lambda m: partial(m, 1)], ids=range(4)
)
def test_containers_in_which_modules_are_not_found(hide):
    with pytest.raises(nnx.UndeclaredStateError, match=r"Box\.parts holds modules in a .*: keep them in a list"):
        Box(parts=hide(Scale()))


def test_the_dtype_of_a_model_is_one_of_floats():
    model = Scale()
    with pytest.raises(nnx.DTypeError, match="'float32' or 'float64', got 'int32'"):
        model.to(dtype="int32")
    assert model.factor.dtype == np.float32
