"""The benchmark of the compiled kernels has a case for each of them, and says what is slow and what fails."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nnx.backend import load_backend

CI = Path(__file__).parents[2] / "ci"
RANDOM = {"dropout_forward"}
UPDATES = {"adam_update", "sgd_update"}


def compiled():
    """The names of the kernels that are compiled here: none where Numba is not installed."""
    backend = load_backend("cpu")
    native = backend.kernels("native")
    return sorted(name for name, kernel in backend.kernels("best").items() if kernel is not native.get(name))


@pytest.fixture(scope="module", autouse=True)
def _path():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(CI))
        yield


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the benchmark, with kernels of known times in place of a process."""
    import bench_kernels
    from benchmark.kernels import cases, report, rounds, workers

    times: dict[str, object] = {}

    class Kernels:
        versions = "numba 0"

        def __init__(self, dtype: str) -> None:
            pass

        def names(self) -> list[str]:
            return list(times)

        def turn(self, name: str, size: tuple[int, ...], seconds: float) -> object:
            found = times[name]
            if isinstance(found, str):
                return found
            return {"numpy": found[cases.CASES[name].sizes.index(size)], "compiled": 1.0}

        def release(self) -> None:
            pass

        def used(self) -> float:
            return 0.0

        def close(self) -> None:
            pass

    monkeypatch.setattr(rounds, "Kernels", Kernels)
    monkeypatch.setattr(bench_kernels, "limit_threads", lambda threads: None)
    return SimpleNamespace(main=bench_kernels.main, cases=cases, report=report, workers=workers, times=times)


@pytest.mark.parametrize("name", compiled())
def test_every_compiled_kernel_has_a_case(kernels: SimpleNamespace, name: str) -> None:
    assert name in kernels.cases.CASES, f"{name} is compiled: give it a line in ci/benchmark/kernels/cases.py"


def test_every_case_is_one_of_a_function_that_can_be_replaced_and_fits_it(kernels: SimpleNamespace) -> None:
    import array_api_compat.numpy as xp

    for name, case in kernels.cases.CASES.items():
        reference = kernels.workers.gathering(kernels.workers.reference(name))
        for size in case.sizes[:2]:
            args, options = case.arguments(kernels.cases.Draw("float64"), *size)
            reference(xp, *args, **options)
        assert len(set(case.sizes)) == len(case.sizes)
        assert list(case.sizes) == sorted(case.sizes, key=len) or case.joint == "×"


def test_what_an_update_answers_is_what_the_next_one_starts_from(kernels: SimpleNamespace) -> None:
    import array_api_compat.numpy as xp

    assert set(kernels.cases.STATE) == UPDATES
    for name, places in kernels.cases.STATE.items():
        args, options = kernels.cases.CASES[name].arguments(kernels.cases.Draw("float32"), 64, 32, 10)
        before = [args[place].copy() for place in places]
        after = kernels.workers.gathering(kernels.workers.reference(name))(xp, *args, **options)
        assert [a.shape for a in after] == [b.shape for b in before]
        assert all((a != b).any() for a, b in zip(after, before, strict=True))


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_torch_computes_the_same(kernels: SimpleNamespace) -> None:
    import array_api_compat.numpy as xp
    import torch
    from benchmark.kernels.torch_calls import CALLS as calls

    assert set(calls) <= set(kernels.cases.CASES)
    for name in sorted(set(calls) - RANDOM - UPDATES):
        case = kernels.cases.CASES[name]
        args, options = case.arguments(kernels.cases.Draw("float64"), *case.sizes[1])
        expected = kernels.workers.reference(name)(xp, *args, **options)
        found = calls[name](*args, **options)()
        if name == "softmax_cross_entropy_forward":  # the gradient; the loss was made on the way
            expected = expected[1]
        if name == "squared_norm":
            found = found**2
        while isinstance(expected, tuple):
            expected = expected[0]
        if isinstance(found, tuple):
            found = next(part for part in found if isinstance(part, torch.Tensor))
        if found.ndim == 4 and name != "conv2d_bias":
            found = found.permute((2, 3, 1, 0) if name == "conv2d_weight" else (0, 2, 3, 1))
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_torch_updates_as_many_elements(kernels: SimpleNamespace) -> None:
    from benchmark.kernels.torch_calls import CALLS

    for name in UPDATES:
        args, options = kernels.cases.CASES[name].arguments(kernels.cases.Draw("float32"), 64, 32, 10)
        step = CALLS[name](*args, **options)
        parameters = step.__self__.param_groups[0]["params"]
        before = [p.detach().clone() for p in parameters]
        step()
        assert sum(p.numel() for p in parameters) == args[0].size
        assert all((p != b).all() for p, b in zip(parameters, before, strict=True))


def test_quick_form_times_all_three(kernels: SimpleNamespace) -> None:
    name = next((name for name in compiled() if name in kernels.cases.CASES), None)
    if name is None:
        pytest.skip("no kernel is compiled here")
    done = subprocess.run(
        [sys.executable, str(CI / "bench.py"), "kernels", "--quick", "--json", "--threads", "1", "--kernels", name],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert (result["kernel"], result["errors"]) == (name, [])
    assert len(result["seconds"]) == 2
    for times in result["seconds"].values():
        assert {"compiled", "reference"} <= set(times)
        assert all(len(rounds) == 1 and rounds[0] > 0 for rounds in times.values())


@pytest.mark.parametrize(
    ("numpy", "said"),
    [
        ([2, 2, 2, 2, 2, 2, 2], "compiled is slower at no size"),
        ([0.96] * 7, "compiled is slower at no size"),
        ([0.5, 2, 2, 2, 2, 2, 2], "compiled is not slower from 32 on"),
        ([2, 2, 0.9, 2, 2, 2, 2], "compiled is not slower from 16,384 on"),
        ([2, 2, 2, 2, 2, 2, 0.9], "compiled is slower at the largest size"),
    ],
)
def test_the_crossover_is_where_the_last_loss_ends(
    kernels: SimpleNamespace, capsys: pytest.CaptureFixture[str], numpy: list[float], said: str
) -> None:
    kernels.times["relu_forward"] = numpy
    assert kernels.main(["--without-torch", "--threads", "1"]) == 0  # slow is no failure
    assert f"  {said}\n" in capsys.readouterr().out


def test_a_failing_kernel_fails_and_the_others_are_timed(
    kernels: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    kernels.times.update(relu_x="TypingError('no such type')", relu_forward=[2] * 7)
    assert kernels.main(["--without-torch", "--threads", "1"]) == 1
    said = capsys.readouterr().out
    assert "FAILED: relu_x at (1,): TypingError('no such type')" in said
    assert "relu_forward  compiled is slower at no size" in said


def test_a_kernel_that_is_not_compiled_is_named(kernels: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    kernels.times["relu_x"] = [1] * 7
    assert kernels.main(["--without-torch", "--kernels", "tanh"]) == 1
    assert "no compiled kernel is called tanh; there are relu_x" in capsys.readouterr().out


def test_without_numba_it_says_so(kernels: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert kernels.main(["--without-torch"]) == 0
    assert "no kernel is compiled here" in capsys.readouterr().out
