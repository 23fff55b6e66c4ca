"""Threads for loops: who does what part, errors, forks, and results that do not depend on their number."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.random import Generator
from nnx_numpy import backend

pytest.importorskip("numba")
from nnx_numpy.compiled import _threads

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.fixture
def team(monkeypatch):
    """Sets the number of threads."""

    def team(threads):
        monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        monkeypatch.setattr(_threads, "_team", _threads._Team())

    return team


class TestCount:
    def test_the_variables_are_followed(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
        assert _threads.count() == 1
        monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
        assert _threads.count() == min(2, CPUS)
        monkeypatch.setenv("NUMBA_NUM_THREADS", "1000")  # of no use beyond the processor's own
        assert _threads.count() == CPUS
        monkeypatch.delenv("NUMBA_NUM_THREADS")
        monkeypatch.setenv("OMP_NUM_THREADS", "1,4")  # nested levels
        assert _threads.count() == 1
        monkeypatch.delenv("OMP_NUM_THREADS")
        assert _threads.count() == CPUS

    @pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
    def test_nonsense_is_passed_over(self, monkeypatch, text):
        monkeypatch.setenv("NUMBA_NUM_THREADS", text)
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert _threads.count() == CPUS


class TestSpread:
    @given(size=st.integers(0, 50), part=st.integers(1, 60), threads=st.sampled_from([1, CPUS]))
    def test_every_element_is_in_one_part(self, size, part, threads):
        team = _threads._Team()
        team._size = 0 if threads == 1 else None
        parts = []
        before, _threads._team = _threads._team, team
        try:
            _threads.spread(lambda start, stop: parts.append((start, stop)), size, part)
        finally:
            _threads._team = before
        assert sorted(parts) == [(start, min(start + part, size)) for start in range(0, size, part)]

    @pytest.mark.skipif(CPUS < 2, reason="there is one processor")
    def test_threads_share_the_work(self, team):
        team(CPUS)
        names = set()

        def slow(start, stop):
            names.add(threading.current_thread().name)
            time.sleep(0.05)

        _threads.spread(slow, 4, 1)
        assert len(names) > 1

    @pytest.mark.skipif(CPUS < 2, reason="there is one processor")
    @pytest.mark.parametrize("where", ["main", "helper"])
    def test_an_error_in_any_thread_reaches_the_caller(self, team, where):
        team(CPUS)

        def failing(start, stop):
            time.sleep(0.02)
            if (threading.current_thread().name.startswith("nnx-loop")) == (where == "helper"):
                raise ValueError(where)

        for _ in range(3):  # the threads survive it
            with pytest.raises(ValueError, match=where):
                _threads.spread(failing, 8, 1)

    def test_several_threads_of_the_caller_may_spread_at_once(self, team):
        team(CPUS)
        arrays = [np.zeros(100) for _ in range(8)]

        def fill(a):
            def add(start, stop):
                a[start:stop] += 1

            for _ in range(50):
                _threads.spread(add, a.size, 7)

        callers = [threading.Thread(target=fill, args=(a,)) for a in arrays]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(60)
        assert all((a == 50).all() for a in arrays)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_process_that_forks_after_threads_have_started(tmp_path):
    """The child has none of its parent's threads, and starts its own."""
    code = """
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads, which is what this is about
        import numpy as np
        import nnx
        from nnx_numpy.compiled import _threads
        x = np.ones(1 << 22, "float32")
        key, step = np.zeros(2, "int32"), np.zeros(1, "int32")
        expected = nnx.ops.dropout(x, key, step, rate=0.5)
        parts = []
        _threads.spread(lambda a, b: parts.append(a), 4, 1)
        child = os.fork()
        if child == 0:
            again = nnx.ops.dropout(x, key, step, rate=0.5)
            _threads.spread(lambda a, b: parts.append(a), 4, 1)
            os._exit(0 if (again == expected).all() and len(parts) == 8 else 1)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    environment = os.environ | {"NUMBA_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


LARGE = 3 * (1 << 20) + 5
LONG = LARGE // 16, 16


def large_cases():
    """Arguments of kernels, of several parts."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape, dtype="float32")

    yield "relu_forward", lambda: (draw(LARGE),), {}
    yield "relu_x", lambda: (draw(LARGE), draw(LARGE)), {}
    key = np.asarray(Generator(0).spawn_key(), np.int32)
    yield "dropout_forward", lambda: (draw(LARGE), key, np.asarray([1], np.int32)), {"rate": 0.3}
    yield "gelu_forward", lambda: (draw(LARGE),), {}
    yield "softmax_forward", lambda: (draw(*LONG),), {}
    yield "softmax_cross_entropy_forward", lambda: (draw(*LONG), rng.integers(0, 16, LONG[0])), {"mean": True}
    yield "conv2d_forward", lambda: (draw(40, 28, 28, 8), draw(3, 3, 8, 8), draw(8)), {}
    yield "conv2d_weight", lambda: (draw(40, 26, 26, 8), draw(40, 28, 28, 8), (3, 3, 8, 8)), {}
    yield "conv2d_x", lambda: (draw(40, 26, 26, 8), draw(3, 3, 8, 8), (40, 28, 28, 8)), {}
    yield "max_pool2d_forward", lambda: (draw(40, 40, 40, 32),), {"kernel_size": 2}


@pytest.mark.skipif(CPUS < 2, reason="there is one processor")
@pytest.mark.parametrize(
    ("name", "make", "options"), list(large_cases()), ids=lambda x: x if isinstance(x, str) else ""
)
def test_results_do_not_depend_on_the_number_of_threads(name, make, options, team, monkeypatch):
    kernel, xp = backend.kernels("best")[name], nnx.device("cpu").namespace
    asked = []
    ask = _threads._Team.ask
    monkeypatch.setattr(_threads._Team, "ask", lambda self, *work: asked.append(work) or ask(self, *work))
    arguments = make()
    found = []
    for threads in (1, CPUS):
        team(threads)
        assert not asked
        found.append(flat(kernel(xp, *arguments, **options)))
    assert asked, "one thread has done it all"
    assert len(found[0]) == len(found[1])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def flat(x):
    return [each for item in x for each in flat(item)] if isinstance(x, tuple) else [] if x is None else [x]


def test_more_elements_than_an_index_of_32_bits_counts():
    """2³¹ + 5 elements, of which no more than a page is ever written, so that they take no memory."""
    try:
        x = np.zeros((1 << 31) + 5, "float32")
    except MemoryError:
        pytest.skip("8 GiB cannot even be promised here")
    x[-1], x[1 << 31] = 2, 3
    xp, kernels = nnx.device("cpu").namespace, backend.kernels("best")
    assert kernels["sum_squares_forward"](xp, x) == 13
    assert kernels["squared_norm"](xp, [x[5:]]) == 13
    assert kernels["linear_bias"](xp, x.reshape(-1, 1)[: (1 << 31) + 1]) == 3
