"""Captured steps as CUDA graphs: on a GPU, or on the twin, where what must not happen in a capture raises."""

from __future__ import annotations

import copy
import gc
import re
import warnings
import weakref

import numpy as np
import pytest

import nnx

cupy = pytest.importorskip("cupy")
graph = pytest.importorskip("nnx_cupy.graph")
Reserve = pytest.importorskip("nnx_cupy.memory").Reserve


@pytest.fixture(autouse=True)
def where(flags):
    """The last GPU: on the twin not the current one."""
    flag = next((flag for flag in flags if flag.startswith("cuda")), None)
    if flag is None:
        pytest.skip("no GPU, and no twin of CuPy")
    flag = f"cuda:{cupy.cuda.runtime.getDeviceCount() - 1}"
    with nnx.default_device(flag):
        yield flag


@pytest.fixture
def launches(monkeypatch):
    """How often graphs were launched."""
    counted = []
    call = graph.Graph.__call__
    monkeypatch.setattr(graph.Graph, "__call__", lambda self, arrays: counted.append(self) or call(self, arrays))
    return counted


def mlp():
    return nnx.Sequential(
        nnx.Linear(12, 16), nnx.relu, nnx.BatchNorm(16), nnx.Dropout(0.5), nnx.Linear(16, 16), nnx.gelu,
        nnx.LayerNorm(16), nnx.Linear(16, 3),
    )  # fmt: skip


def cnn():
    return nnx.Sequential(
        nnx.Conv2d(2, 4, 3, padding=1), nnx.relu, nnx.MaxPool2d(2), nnx.BatchNorm(4), nnx.Conv2d(4, 4, 2, stride=2),
        nnx.tanh, nnx.Flatten(), nnx.Linear(4, 3),
    )  # fmt: skip


class Reader(nnx.Module):
    """Embeds tokens, reads them by a recurrent network, and answers from its last state."""

    def __init__(self):
        self.embedding, self.reader, self.head = nnx.Embedding(9, 6), nnx.LSTM(6, 5), nnx.Linear(5, 3)

    def __call__(self, x):
        return self.head(self.reader(self.embedding(x))[0][:, -1, :])


class Own(nnx.Module):
    """A layer of one's own: a product of three axes by operators, a list of numbers, and many small arrays."""

    weight: nnx.Parameter

    def __init__(self):
        self.weight = nnx.init.normal((4, 3))

    def __call__(self, x):
        xp = nnx.namespace_of(x, self.weight)
        y = x @ self.weight
        scales = xp.asarray([0.5, 1.0, 2.0], dtype=x.dtype, device=nnx.backend.native_device(x))
        return xp.sum(xp.stack([y[:, i % 3, :] * scales for i in range(12)]), axis=0)


RNG = np.random.default_rng(0)
SCENES = {
    "mlp": (mlp, lambda n: RNG.standard_normal((n, 12)).astype("float32")),
    "cnn": (cnn, lambda n: RNG.standard_normal((n, 4, 4, 2)).astype("float32")),
    "reader": (Reader, lambda n: RNG.integers(0, 9, (n, 4))),
    "own": (Own, lambda n: RNG.standard_normal((n, 3, 4)).astype("float32")),
}
OPTIMIZERS = {
    "adam": lambda: nnx.optim.Adam(1e-2, clip_norm=0.5),
    "adamw": lambda: nnx.optim.AdamW(nnx.optim.schedules.cosine(1e-2, 20), weight_decay=0.1),
    "momentum": lambda: nnx.optim.SGD(1e-2, momentum=0.9, nesterov=True),
    "sgd": lambda: nnx.optim.SGD(1e-2),
}
value_and_grad = nnx.value_and_grad(lambda model, x, y: nnx.losses.cross_entropy(model(x), y))


def train(model, optimizer, x, y):
    loss, grads = value_and_grad(model, x, y)
    optimizer.update(model, grads)
    return loss


def batches(scene, *sizes):
    for n in sizes:
        yield nnx.asarray(SCENES[scene][1](n)), nnx.asarray(RNG.integers(0, 3, n))


def same(a, b):
    a, b = (cupy.asnumpy(x) if isinstance(x, cupy.ndarray) else x for x in (a, b))
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("scene", SCENES)
def test_captured_steps_are_plain_ones(scene, optimizer, where, launches):
    model = SCENES[scene][0]()
    twin, optimizers = copy.deepcopy(model), [OPTIMIZERS[optimizer]() for _ in range(2)]
    step = nnx.capture(train)
    losses = []
    for x, y in batches(scene, 8, 8, 8, 8, 5, 8, 5, 5, 5, 8):  # the last, short batch has a graph of its own
        losses.append((step(model, optimizers[0], x, y), train(twin, optimizers[1], x, y)))
        with nnx.device(where):
            same(*map(nnx.to_numpy, losses[-1]))
    assert step.replays == 4
    assert len(launches) == 6  # and two that were compared with plain steps
    assert len(set(map(id, launches))) == 2
    for name, array in model.arrays().items():
        assert str(nnx.backend.device_of(array)) == where
        same(nnx.to_numpy(array), nnx.to_numpy(twin.arrays()[name]))
    for loss, plain in losses:  # answers are not written over by later steps
        same(nnx.to_numpy(loss), nnx.to_numpy(plain))


def test_a_trainer(where, launches):
    x, y = RNG.standard_normal((50, 12)).astype("float32"), RNG.integers(0, 3, 50)
    histories = []
    for capture in (False, True):
        nnx.seed(0)
        trainer = nnx.Trainer(
            mlp(),
            loss=nnx.losses.cross_entropy,
            optimizer=nnx.optim.Adam(1e-2),
            metrics=[nnx.metrics.accuracy],
            capture=capture,
        )
        histories.append(trainer.fit((x, y), epochs=4, batch_size=16, shuffle=True, progress=False))
    same(*(history.loss for history in histories))
    same(*(history.accuracy for history in histories))
    assert len(launches) > 8


def test_the_users_device_stays(where):
    before = cupy.cuda.runtime.getDevice()
    test = nnx.capture(train)
    model, optimizer = mlp(), nnx.optim.Adam(1e-2)
    for x, y in batches("mlp", 4, 4, 4, 4, 4):
        test(model, optimizer, x, y)
        assert cupy.cuda.runtime.getDevice() == before
    assert test.replays == 2


def test_weights_that_are_loaded_are_taken_over(where):
    model, optimizer = mlp(), nnx.optim.SGD(1e-2)
    step = nnx.capture(train)
    for x, y in batches("mlp", *[8] * 5):
        step(model, optimizer, x, y)
    saved = {name: nnx.to_numpy(array) for name, array in model.arrays().items()}
    ((x, y),) = batches("mlp", 8)
    first = nnx.to_numpy(step(model, optimizer, x, y))
    for _ in range(3):
        step(model, optimizer, x, y)
    model.load(saved)
    same(nnx.to_numpy(step(model, optimizer, x, y)), first)
    model.load(saved)
    same(nnx.to_numpy(step(model, optimizer, x, y)), first)


def test_what_waits_for_the_gpu_is_run_plainly(where):
    def careful(model, optimizer, x, y):
        loss = train(model, optimizer, x, y)
        return loss * 2 if float(loss) > 0 else loss

    model, optimizer = mlp(), nnx.optim.SGD(1e-2)
    step = nnx.capture(careful)
    first, second, third = batches("mlp", 8, 8, 8)
    with nnx.device(where):
        step(model, optimizer, *first)
        with pytest.warns(UserWarning, match=r"nnx.capture runs .*careful plainly: float\(\) of an array"):
            step(model, optimizer, *second)
        step(model, optimizer, *third)
    assert not step.replays


def test_what_a_capture_refuses_is_done_call_by_call(where, launches):
    solve = nnx.capture(lambda a, b: nnx.namespace_of(a, b).linalg.solve(a, b) + 1.0)
    a, b = (nnx.asarray(RNG.standard_normal((3, 3)).astype("float32")) for _ in range(2))
    expected = np.linalg.solve(nnx.to_numpy(a), nnx.to_numpy(b)) + 1
    for i in range(6):
        with nnx.device(where), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            np.testing.assert_allclose(nnx.to_numpy(solve(a, b)), expected, rtol=1e-3, atol=1e-4)
        assert [bool(re.search(r"replays the calls of .* one by one, .*: \w+: .", str(w.message))) for w in caught] == (
            [True] if i == 2 else []
        )
    assert solve.replays == 3
    assert not launches
    x = nnx.asarray([1.0, 2.0])  # and the GPU is usable
    with nnx.device(where):
        np.testing.assert_array_equal(nnx.to_numpy(x * 2), [2, 4])


def test_other_work_between_steps_leaves_a_graph_its_memory(where, launches):
    model, optimizer = mlp(), nnx.optim.SGD(1e-2)
    twin, other = copy.deepcopy(model), nnx.optim.SGD(1e-2)
    step = nnx.capture(train)
    with nnx.device(where):
        for x, y in batches("mlp", *[8] * 8):
            rubbish = [cupy.full((8, n), np.nan, np.float32) for n in range(1, 40)]
            same(nnx.to_numpy(step(model, optimizer, x, y)), nnx.to_numpy(train(twin, other, x, y)))
            del rubbish
            gc.collect()
            cupy.get_default_memory_pool().free_all_blocks()
    assert len(launches) == 6


def test_a_graph_goes_with_its_step(where, launches):
    step = nnx.capture(lambda x: x * 2.0 + 1.0)
    with nnx.device(where):
        for _ in range(4):
            step(nnx.asarray([1.0, 2.0]))
    known = weakref.ref(launches[-1])
    launches.clear()
    del step
    gc.collect()
    assert known() is None


def test_a_graph_gives_its_memory_back(where):
    def free():
        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()
        return cupy.cuda.runtime.memGetInfo()[0]

    def capture_and_forget():
        x, step = nnx.asarray(np.ones(1 << 20, "float32")), nnx.capture(lambda x: (x * 2.0 + 1.0) * 3.0)
        for _ in range(4):
            y = step(x)
        assert step.replays == 1
        return float(nnx.to_numpy(y)[0])

    with nnx.device(where):
        assert capture_and_forget() == 9.0  # kernels and handles stay
        before = free()
        for _ in range(3):
            capture_and_forget()
        assert before - free() < 4 << 20


class Scarce:
    """``cupy.cuda.Memory``, of which there is too little when it is asked for the n-th time, or from then on."""

    def __init__(self, monkeypatch, n, *, for_good):
        self._make, self._n, self._for_good, self.asked = cupy.cuda.Memory, n, for_good, 0
        monkeypatch.setattr(cupy.cuda, "Memory", self)

    def __call__(self, size):
        self.asked += 1
        if self.asked == self._n or (self._for_good and self.asked > self._n):
            raise cupy.cuda.runtime.CUDARuntimeError(2)
        return self._make(size)


def growing(x):
    y = x * 2.0 + 1.0
    for _ in range(3):
        y = nnx.namespace_of(x).concat([y, y + 1.0])
    return y


@pytest.mark.parametrize("for_good", [False, True])
@pytest.mark.parametrize("n", [2, 4, 6])
def test_a_graph_does_not_give_up_memory_while_it_is_captured(monkeypatch, where, launches, n, for_good):
    """A pool that lacks memory gives up what is free in it, which the work that has been captured uses."""
    scarce = Scarce(monkeypatch, n, for_good=for_good)
    step = nnx.capture(growing)
    with nnx.device(where), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(5):
            x = nnx.asarray(np.arange(300.0, dtype="float32") + i)
            np.testing.assert_array_equal(nnx.to_numpy(step(x)), nnx.to_numpy(growing(x)))
    assert scarce.asked >= n
    assert len(launches) == (0 if for_good else 3)
    assert [bool(re.search("one by one, .*OutOfMemoryError", str(w.message))) for w in caught] == [True] * for_good


def test_graphs_stay_within_the_limit_of_the_pool(monkeypatch, where, launches):
    step = nnx.capture(growing)
    x = nnx.asarray(np.ones(300, "float32"))
    with nnx.device(where):
        pool = cupy.get_default_memory_pool()
        pool.free_all_blocks()
        pool.set_limit(size=pool.total_bytes() + (64 << 20))  # and a graph has a workspace of 32 MiB
        try:
            for _ in range(4):
                step(x)
            assert len(launches) == 2
            pool.free_all_blocks()
            pool.set_limit(size=pool.total_bytes() + (1 << 20))
            with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
                Reserve()(1 << 30)
        finally:
            pool.set_limit(size=0)


def test_batches_that_are_not_contiguous(where, launches):
    step = nnx.capture(lambda x: x * 2.0)
    with nnx.device(where):
        for i in range(6):
            x = cupy.arange(12, dtype=np.float32).reshape(3, 4) + i
            np.testing.assert_array_equal(nnx.to_numpy(step(x.T)), 2 * nnx.to_numpy(x).T)
    assert len(launches) == 4


@pytest.mark.skipif(not hasattr(cupy, "twin"), reason="the streams of CuPy cannot be watched")
def test_streams_take_turns(where, monkeypatch):
    """The buffers of a graph are not written to while a launch on another stream reads them."""
    step = nnx.capture(lambda x: x * 2.0)
    waited = []
    kind = cupy.cuda.Stream
    wait = kind.synchronize
    monkeypatch.setattr(kind, "synchronize", lambda self: waited.append(self) or wait(self), raising=False)
    with nnx.device(where):
        x = nnx.asarray([1.0, 2.0])
        for _ in range(5):
            step(x)
        assert not waited
        with cupy.cuda.Stream(non_blocking=True) as other:
            answer = step(x)
            assert waited == [kind.null]
            step(x)
        assert waited == [kind.null]
        step(x)
        assert waited == [kind.null, other]
        np.testing.assert_array_equal(nnx.to_numpy(answer), [2, 4])
