"""How much memory is free, and the error when it is too little."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import nnx

MIB = 1 << 20


@pytest.fixture
def pool(gpu):
    """CuPy's memory pool, emptied; its limit is lifted at the end."""
    import cupy

    pool = cupy.get_default_memory_pool()
    with gpu:
        pool.free_all_blocks()
        yield pool
        pool.set_limit(size=0)


@pytest.fixture
def leave(gpu, pool):
    """Leave so many bytes to what comes."""
    return lambda size: pool.set_limit(size=pool.used_bytes() + size)


def free(gpu):
    return gpu.backend.memory(gpu.native).free


class TestMemory:
    def test_what_the_pool_holds_unused_is_free(self, gpu, pool):
        before = free(gpu)
        array = nnx.asarray(np.zeros(8 * MIB, np.uint8), device=gpu)
        assert before - free(gpu) == pytest.approx(8 * MIB, abs=2 * MIB)
        del array
        assert free(gpu) == pytest.approx(before, abs=2 * MIB)

    def test_a_limit_of_the_pool_counts(self, gpu, leave):
        leave(3 * MIB)
        assert free(gpu) == 3 * MIB

    def test_it_is_that_of_the_device_which_is_asked_for(self, gpu, pool):
        if len(gpu.backend.devices()) < 2:
            pytest.skip("there is one GPU")
        second = nnx.device("cuda:1")
        before = free(second)
        array = nnx.asarray(np.zeros(8 * MIB, np.uint8), device=gpu)
        assert free(second) == before
        assert gpu.backend.memory(second.native).total >= before
        del array


SAID = (
    r"^cuda:0 has too little memory: \d.*bytes\) were asked for, and .* of .* GiB \(.* bytes\) are free.*; CuPy's pool "
    r"holds .*, of which .* are in use, and may hold no more than .*limit.*\. Make the batches or the model smaller, "
    r"use a lower precision.*`nvidia-smi`"
)


class TestTooLittle:
    def test_it_can_be_caught_as_pythons(self):
        assert issubclass(nnx.OutOfMemoryError, nnx.NnxError)
        assert issubclass(nnx.OutOfMemoryError, MemoryError)
        assert str(pickle.loads(pickle.dumps(nnx.OutOfMemoryError("a")))) == "a"

    def test_an_array(self, gpu, leave):
        leave(MIB)
        with pytest.raises(nnx.OutOfMemoryError, match=SAID) as caught:
            nnx.asarray(np.zeros(MIB, np.float64), device=gpu)
        assert f"{8 * MIB:,} bytes) were asked for" in str(caught.value)
        assert type(caught.value.__cause__).__name__ == "OutOfMemoryError"

    def test_a_model_that_is_made_there(self, gpu, leave):
        leave(MIB)
        with pytest.raises(nnx.OutOfMemoryError, match=SAID):
            nnx.Linear(1000, 1000, device=gpu)

    def test_a_model_that_is_moved_there_stays_where_it_is(self, gpu, leave):
        model = nnx.Sequential(nnx.Linear(10, 10), nnx.Linear(1000, 1000))
        before = model.arrays()
        leave(MIB)
        with pytest.raises(nnx.OutOfMemoryError, match=SAID):
            model.to(gpu)
        assert all(model.arrays()[name] is array for name, array in before.items())

    def test_a_model_that_is_cast(self, gpu, leave):
        model = nnx.Linear(500, 500, device=gpu)
        leave(MIB)
        with pytest.raises(nnx.OutOfMemoryError, match=SAID):
            model.to(dtype="float64")
        assert model.weight.dtype == np.float32

    @pytest.mark.parametrize("where", ["prediction", "gradient"])
    def test_a_step_leaves_the_model_as_it_was(self, gpu, leave, where):
        model = nnx.Sequential(nnx.Linear(8, 300), nnx.BatchNorm(300), nnx.relu, nnx.Linear(300, 300)).to(gpu)
        x = nnx.asarray(np.ones((400, 8), np.float32), device=gpu)
        y = nnx.asarray(np.zeros((400, 300), np.float32), device=gpu)
        f = nnx.value_and_grad(lambda m: nnx.losses.mse(m(x), y))
        before = {name: nnx.to_numpy(array) for name, array in model.arrays().items()}

        leave(100_000)
        with pytest.raises(nnx.OutOfMemoryError, match=SAID):
            {"prediction": lambda: model(x), "gradient": lambda: f(model)}[where]()

        for name, array in model.arrays().items():
            np.testing.assert_array_equal(nnx.to_numpy(array), before[name], err_msg=name)

    @pytest.mark.parametrize("first", [True, False])
    def test_an_update_leaves_model_and_state_as_they_were(self, gpu, pool, leave, first):
        """Wherever memory ends in it."""
        model = nnx.Sequential(nnx.Linear(8, 40), nnx.relu, nnx.Linear(40, 3)).to(gpu)
        optimizer = nnx.optim.Adam(nnx.optim.schedules.cosine(0.1, steps=10), clip_norm=1.0)
        gradients = {name: array * 1.0 for name, array in model.parameters().items()}
        if not first:
            optimizer.update(model, gradients)
        before = {name: nnx.to_numpy(array) for name, array in (model.arrays() | optimizer.state).items()}

        failures = 0
        while True:
            pool.free_all_blocks()
            leave(failures * 512)  # in which the pool counts
            try:
                optimizer.update(model, gradients)
                break
            except nnx.OutOfMemoryError:
                failures += 1
            pool.set_limit(size=0)
            for name, array in (model.arrays() | optimizer.state).items():
                np.testing.assert_array_equal(nnx.to_numpy(array), before.get(name, 0), err_msg=name)

        pool.set_limit(size=0)
        assert failures >= 3
        assert int(nnx.to_numpy(optimizer.state["step"])) == 1 + (not first)

    def test_a_fit(self, gpu, leave):
        model = nnx.Linear(8, 3, device=gpu)
        trainer = nnx.Trainer(model, loss=nnx.losses.mse, optimizer=nnx.optim.SGD(0.1))
        x = np.ones((100_000, 8), np.float32)
        leave(MIB)
        with pytest.raises(nnx.OutOfMemoryError, match=SAID):
            trainer.fit((x, x[:, :3]), batch_size=100_000)

    def test_it_can_be_caught_within_a_block_of_the_device(self, gpu, leave):
        model = nnx.Linear(1000, 10, device=gpu)
        x = nnx.asarray(np.ones((1000, 1000), np.float32), device=gpu)
        leave(1000)
        with gpu, pytest.raises(nnx.OutOfMemoryError, match=SAID):
            model(x)
        with pytest.raises(nnx.OutOfMemoryError, match=SAID), gpu:
            x + x

    def test_other_errors_pass(self, gpu):
        with pytest.raises(ZeroDivisionError), gpu:
            1 / 0  # noqa: B018


def test_a_model_too_large_for_the_card():
    """Of a card of 8 MiB, by CUDA's own refusal: there is no limit of the pool, and the message names none."""
    cupy = pytest.importorskip("cupy")
    if not hasattr(cupy, "twin"):
        pytest.skip("the card's size cannot be chosen")
    code = """
import nnx
model = nnx.Linear(2000, 2000)
try:
    model.to("cuda")
except nnx.OutOfMemoryError as error:
    print(error)
print(model.device)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CUPY_TWIN_MEMORY": str(8 * MIB)},
        capture_output=True,
        text=True,
        check=True,
    )
    said, where = done.stdout.splitlines()
    assert "15.3 MiB (16,000,000 bytes) were asked for" in said
    assert "of 8.0 MiB (8,388,608 bytes) are free" in said
    assert "may hold no more" not in said
    assert where == "cpu"
