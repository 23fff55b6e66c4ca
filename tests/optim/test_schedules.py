from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.optim.schedules import constant, cosine, warmup

EACH = [constant(0.1), cosine(0.1, 7), cosine(0.1, 7, final=0.02), warmup(3, 0.1), warmup(3, cosine(0.1, 5))]


def by_torch(make, steps, rate=0.4):
    torch = pytest.importorskip("torch", reason="its schedulers are the oracle")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_is_that_of_torch():
    expected = by_torch(lambda lr, o: lr.CosineAnnealingLR(o, T_max=20, eta_min=0.05), 21)
    np.testing.assert_allclose([cosine(0.4, 20, final=0.05)(t) for t in range(21)], expected, rtol=1e-12)


def test_cosine_stays_at_its_end():
    assert [cosine(0.4, 5, final=0.1)(t) for t in (5, 6, 11, 10**9)] == [0.1] * 4


def test_warmup_is_the_linear_schedule_of_torch():
    expected = by_torch(lambda lr, o: lr.LinearLR(o, start_factor=1 / 11, total_iters=10), 15)
    np.testing.assert_allclose([warmup(10, 0.4)(t) for t in range(15)], expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
def test_warmup_then_cosine_is_the_sequence_of_torch():
    def make(lr, o):
        parts = [lr.LinearLR(o, start_factor=1 / 6, total_iters=5), lr.CosineAnnealingLR(o, T_max=12)]
        return lr.SequentialLR(o, parts, milestones=[5])

    schedule = warmup(5, cosine(0.4, 12))
    np.testing.assert_allclose([schedule(t) for t in range(17)], by_torch(make, 17), rtol=1e-12)


@pytest.mark.parametrize("schedule", EACH, ids=repr)
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_steps_may_be_arrays(flag, schedule, dtype):
    for t in (0, 1, 3, 6, 7, 100):
        rate = schedule(nnx.asarray(np.asarray(t, dtype), device=flag))
        expected = schedule(t)
        assert isinstance(expected, float)
        if isinstance(schedule, constant):
            assert rate == expected
            continue
        found = nnx.to_numpy(rate)
        assert found.shape == ()
        assert found.dtype == ("float64" if dtype == "float64" else "float32")
        np.testing.assert_allclose(found, expected, rtol=1e-14 if dtype == "float64" else 2e-6, atol=1e-8)


@given(steps=st.integers(1, 1000), initial=st.floats(1e-6, 1.0), share=st.floats(0, 1), at=st.integers(0, 2000))
def test_rates_stay_between_their_ends(steps, initial, share, at):
    final = share * initial
    assert final * (1 - 1e-12) <= cosine(initial, steps, final=final)(at) <= initial * (1 + 1e-12)
    assert 0 < warmup(steps, initial)(at) <= initial


def test_warmup_reaches_the_whole_rate_when_it_ends():
    assert warmup(4, 0.5)(3) == pytest.approx(0.4)
    assert warmup(4, 0.5)(4) == 0.5
    assert warmup(4, cosine(0.5, 10))(4) == 0.5
    assert warmup(4, cosine(0.5, 10))(14) == pytest.approx(0.0, abs=1e-15)


def test_schedules_compare_print_and_pickle():
    schedule = warmup(3, cosine(0.1, 5, final=0.01))
    assert repr(schedule) == "warmup(steps=3, then=cosine(initial=0.1, steps=5, final=0.01))"
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert schedule != warmup(3, cosine(0.1, 6, final=0.01))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: constant(0.0), "rate must be"),
        (lambda: constant(math.nan), "rate must be"),
        (lambda: cosine(-1.0, 10), "initial must be"),
        (lambda: cosine(1.0, 0), "steps must be"),
        (lambda: cosine(1.0, 2.5), "steps must be"),
        (lambda: cosine(1.0, True), "steps must be"),
        (lambda: cosine(1.0, 10, final=-0.1), "final must be"),
        (lambda: warmup(0, 0.1), "steps must be"),
        (lambda: warmup(3, 0.0), "then.* must be"),
        (lambda: warmup(3, None), "then.* must be"),
    ],
)
def test_bad_arguments(call, match):
    with pytest.raises(nnx.ArgumentError, match=match):
        call()
