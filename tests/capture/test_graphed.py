"""Steps whose calls a backend puts into one graph; torch's calls, made again, stand for the work of a device."""

from __future__ import annotations

import copy
import gc
import weakref

import numpy as np
import pytest

import nnx
from nnx.backend import load_backend

torch = pytest.importorskip("torch")


value_and_grad = nnx.value_and_grad(lambda model, x, y: nnx.losses.cross_entropy(model(x), y))


def train(model, optimizer, x, y):
    loss, grads = value_and_grad(model, x, y)
    optimizer.update(model, grads)
    return loss


class Graph:
    """As a device's: the work is done at each call on the same memory, that of inputs in buffers of its own."""

    made: list = []
    refuse = False

    def __init__(self, function, arrays, fed):
        self.given = [array.clone() if i in fed else array for i, array in enumerate(arrays)]
        self.fed, self.function, self.launches = fed, function, 0
        Graph.made.append(weakref.ref(self))
        if Graph.refuse:
            raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    def __call__(self, arrays):
        for i in self.fed:
            self.given[i][...] = arrays[i]
        self.launches += 1
        return [output.clone() for output in self.function(self.given)]


class Pair:
    """A model that is trained by captured steps, and its twin, by plain ones."""

    def __init__(self, *layers):
        self.captured = nnx.capture(train)
        with nnx.default_device("torch"):
            self.model = nnx.Sequential(nnx.Linear(6, 8), nnx.relu, *(make() for make in layers), nnx.Linear(8, 3))
        self.twin = copy.deepcopy(self.model)
        self.optimizer, self.twin_optimizer = nnx.optim.Adam(1e-2, clip_norm=1.0), nnx.optim.Adam(1e-2, clip_norm=1.0)
        self.rng = np.random.default_rng(0)

    def both(self, change):
        """Do the same to both models."""
        change(self.model)
        change(self.twin)

    def steps(self, count, n=10):
        """Steps that agree to the last bit; answer how many of them were replayed."""
        before = self.captured.replays
        for _ in range(count):
            x = nnx.asarray(self.rng.standard_normal((n, 6)).astype("float32"), device="torch")
            y = nnx.asarray(self.rng.integers(0, 3, n), device="torch")
            loss = self.captured(self.model, self.optimizer, x, y)
            assert torch.equal(loss, train(self.twin, self.twin_optimizer, x, y))
            for a, b in ((self.model.arrays(), self.twin.arrays()), (self.optimizer.state, self.twin_optimizer.state)):
                assert a.keys() == b.keys()
                assert all(torch.equal(a[name], b[name]) for name in a)
        return self.captured.replays - before


@pytest.fixture(autouse=True)
def graphs(monkeypatch):
    kind = type(load_backend("torch"))
    monkeypatch.setattr(kind, "capture", "replay")
    monkeypatch.setattr(kind, "graph", Graph)
    monkeypatch.setattr(Graph, "made", [])
    monkeypatch.setattr(Graph, "refuse", False)
    return Graph


def tensor(*values):
    return nnx.asarray(np.array(values, "float32"), device="torch")


def test_steps_are_those_of_plain_ones(graphs):
    tested = Pair()
    assert tested.steps(10) == 7
    (graph,) = graphs.made
    assert graph().launches == 8  # one of them was compared with a plain step


def test_batch_norm_and_dropout():
    """Running statistics and step counts stay in the arrays that the graph knows."""
    tested = Pair(lambda: nnx.BatchNorm(8), lambda: nnx.Dropout(0.5))
    assert tested.steps(8) == 5
    mean = tested.model[2].running_mean
    assert tested.steps(3) == 3
    assert tested.model[2].running_mean is mean


def test_a_graph_for_each_shape(graphs):
    tested = Pair()
    assert tested.steps(5, 10) == 2
    assert tested.steps(5, 3) == 2
    assert tested.steps(2, 10) == 2
    assert len(graphs.made) == 2


def test_what_a_user_replaces(graphs):
    tested = Pair(lambda: nnx.BatchNorm(8))
    tested.steps(5)

    def scale(model):
        model.load({name: 2 * array for name, array in model.arrays().items()})

    tested.both(scale)
    tested.steps(6)
    tested.both(lambda model: setattr(model[2], "running_var", model[2].running_var * 3))
    assert tested.steps(4) == 4


def test_the_state_that_is_answered_is_that_of_the_step(graphs):
    """An answer that is an array of the model is a copy of what it was then."""

    class Counter(nnx.Module):
        count: nnx.Buffer
        last: nnx.Buffer

        def __init__(self):
            self.count, self.last = tensor(0.0), tensor(-1.0)

    @nnx.capture
    def step(model, x):
        before = model.count
        model.count, model.last = model.count + x, model.count
        return before, model.count, x

    model = Counter()
    answers = [step(model, tensor(float(i))) for i in range(6)]
    assert step.replays == 3
    assert [[float(a[0]) for a in answer] for answer in answers] == [
        [0, 0, 0], [0, 1, 1], [1, 3, 2], [3, 6, 3], [6, 10, 4], [10, 15, 5],
    ]  # fmt: skip
    assert (float(model.count[0]), float(model.last[0])) == (15, 10)


def test_two_arrays_that_change_places():
    class Two(nnx.Module):
        a: nnx.Buffer
        b: nnx.Buffer

        def __init__(self):
            self.a, self.b = tensor(1.0, 1.0), tensor(2.0, 2.0)

    @nnx.capture
    def step(model, x):
        model.a, model.b = model.b, model.a
        return model.a * x

    model = Two()
    assert [float(step(model, tensor(1.0))[0]) for _ in range(7)] == [2, 1, 2, 1, 2, 1, 2]
    assert step.replays == 4


def test_constants_of_the_host_are_made_once():
    @nnx.capture
    def step(x):
        xp = nnx.namespace_of(x)
        table = xp.asarray([1.0, 2.0, 3.0])
        table[0] = x[0]
        return table

    for i in range(5):
        np.testing.assert_array_equal(step(tensor(float(i))), [i, 2, 3])
    assert step.replays == 2


def test_a_device_that_refuses(graphs):
    graphs.refuse = True
    tested = Pair()
    with pytest.warns(UserWarning, match=r"replays the calls of train one by one.*: RuntimeError: operation not perm"):
        tested.steps(3)
    assert tested.steps(3) == 3


def test_state_that_moves_at_each_call():
    class Scaled(nnx.Module):
        factor: nnx.Buffer

        def __init__(self):
            self.factor = tensor(1.0)

    model = Scaled()
    step = nnx.capture(lambda x: x * model.factor)

    def run(count):
        for i in range(count):
            model.factor = tensor(float(i))
            assert float(step(tensor(3.0))[0]) == 3 * i

    run(8)
    with pytest.warns(UserWarning, match="lie elsewhere at each call"):
        run(8)
    assert step.replays == 13


def test_a_graph_goes_with_its_step(graphs):
    tested = Pair()
    tested.steps(5)
    (graph,) = graphs.made
    assert graph() is not None
    del tested
    gc.collect()
    assert graph() is None
