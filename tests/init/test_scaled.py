"""variance_scaling, and the gains and slopes of its cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

import nnx
from nnx import init

SHAPE = (3, 3, 20, 50)  # fan-in 180, fan-out 450
SIZES = {"fan_in": 180, "fan_out": 450, "fan_avg": 315}


@pytest.mark.parametrize("mode", SIZES)
@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_the_variance_is_scale_by_n(mode, distribution, scale, stats):
    options = {"scale": scale, "mode": mode, "distribution": distribution}
    w = init.variance_scaling(SHAPE, dtype="float64", rng=nnx.Generator(0), **options).reshape(-1)
    std = math.sqrt(scale / SIZES[mode])
    law = {
        "normal": stats.norm(scale=std),
        "uniform": stats.uniform(-math.sqrt(3) * std, 2 * math.sqrt(3) * std),
        "truncated_normal": stats.truncnorm(-2, 2, scale=std / stats.truncnorm(-2, 2).std()),
    }[distribution]
    assert law.std() == pytest.approx(std)
    assert w.std() == pytest.approx(std, rel=0.03)
    assert stats.kstest(w, law.cdf).pvalue > 0.01


CASES = [
    (init.glorot_normal, {}, "xavier_normal_", {}),
    (init.glorot_normal, {"gain": 5 / 3}, "xavier_normal_", {"gain": 5 / 3}),
    (init.glorot_uniform, {"gain": 0.5}, "xavier_uniform_", {"gain": 0.5}),
    (init.he_normal, {}, "kaiming_normal_", {}),
    (init.he_normal, {"slope": 0.3}, "kaiming_normal_", {"a": 0.3}),
    (init.he_uniform, {"slope": 2.0}, "kaiming_uniform_", {"a": 2.0}),
    (init.lecun_normal, {}, "kaiming_normal_", {"nonlinearity": "linear"}),
    (init.lecun_uniform, {}, "kaiming_uniform_", {"nonlinearity": "linear"}),
]


@pytest.mark.parametrize(("make", "options", "name", "theirs"), CASES)
def test_statistics_are_those_of_torch(make, options, name, theirs, stats):
    torch = pytest.importorskip("torch")
    weight = torch.empty(50, 20, 3, 3)  # outputs first
    getattr(torch.nn.init, name)(weight, generator=torch.Generator().manual_seed(0), **theirs)
    ours = make(SHAPE, rng=nnx.Generator(0), **options)
    assert ours.std() == pytest.approx(weight.std().item(), rel=0.03)
    assert stats.ks_2samp(ours.reshape(-1), weight.numpy().reshape(-1)).pvalue > 0.01


@pytest.mark.parametrize("make", [init.glorot_normal, init.glorot_uniform])
def test_a_gain_is_a_factor(make):
    w, v = (make((5, 4), gain=gain, dtype="float64", rng=nnx.Generator(0)) for gain in (1.0, 3.0))
    np.testing.assert_allclose(v, 3 * w, rtol=1e-12)


def test_arguments_that_make_no_sense():
    with pytest.raises(nnx.ArgumentError, match="mode is 'fan_in', 'fan_out', 'fan_avg', got 'fan'"):
        init.variance_scaling(SHAPE, mode="fan")
    with pytest.raises(nnx.ArgumentError, match="distribution is 'normal', 'truncated_normal' or 'uniform', got 'cut'"):
        init.variance_scaling(SHAPE, distribution="cut")
    with pytest.raises(nnx.ArgumentError, match="the scale of variance_scaling must be .* greater than 0, got -1"):
        init.variance_scaling(SHAPE, scale=-1)
    with pytest.raises(nnx.ArgumentError, match="the gain must be a finite number greater than 0, got 0"):
        init.glorot_normal(SHAPE, gain=0)
