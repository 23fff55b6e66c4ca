"""The overhead benchmark runs, all peers compute the same, and it fails where gradients disagree."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

CI = Path(__file__).parents[2] / "ci"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CI / "bench.py"), "overhead", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def overhead(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the benchmark, with peers of known gradients and times in place of processes."""
    monkeypatch.syspath_prepend(str(CI))
    import bench_overhead
    from benchmark.overhead import peer, programs, report, rounds, worker

    gradients: dict[str, list[object]] = {}
    gradient_seconds = {"nnx": [3e-6, 5e-6, 2e-6], "torch": [5e-6, 5e-6, 5e-6]}

    class Worker:
        versions = "0"

        def __init__(self, name: str) -> None:
            if name not in gradients:
                raise rounds.WorkerError("no compiler")
            self.name = name
            self.turns = iter(gradient_seconds[name])

        def gradients(self, case: str) -> list[object]:
            return gradients[self.name]

        def turn(self, case: str, seconds: float) -> object:
            return worker.Times(1e-6, 2e-6, next(self.turns))

        def used(self) -> float:
            return 0.0

        def close(self) -> None:
            pass

    monkeypatch.setattr(rounds, "Worker", Worker)
    monkeypatch.setattr(rounds, "missing", lambda name: ["mygrad"] if name == "mygrad" else [])
    monkeypatch.setattr(bench_overhead, "limit_threads", lambda threads: None)
    return SimpleNamespace(
        main=bench_overhead.main, peer=peer, programs=programs, report=report, rounds=rounds, gradients=gradients
    )


def test_quick_form_compares_gradients_and_times() -> None:
    peers = ["nnx", *(name for name in ("torch", "autograd", "mygrad") if find_spec(name))]
    done = bench("--quick", "--json", "--threads", "1", "--peers", *peers)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout)["results"]
    assert [result["case"] for result in results] == ["chain-0d", "chain-32", "shared-0d", "shared-32", "layers-32"]
    for result in results:
        assert result["errors"] == []
        assert set(result["seconds"]) == set(peers)
        assert all(
            len(turns) == 2 and min(map(min, map(dict.values, turns))) > 0 for turns in result["seconds"].values()
        )
        assert set(result["deviation"]) == set(result["ratio"]) == set(peers[1:])
        assert max(result["deviation"].values(), default=0.0) < 1e-12
        times = result["median"]["nnx"]
        assert 0 < times["plain"] < times["gradient"]


@pytest.mark.parametrize("case", ["chain-0d", "chain-32", "shared-0d", "shared-32", "layers-32"])
def test_the_stated_number_of_operations_is_what_a_program_does(overhead: SimpleNamespace, case: str) -> None:
    import nnx
    from nnx.tape.observe import observe

    recorded = []

    class Counter:
        def recorded(self, primitive: object, result: object) -> None:
            recorded.append(primitive)

        def walked(self, node: object, derivative: object, gradient: object) -> None:
            pass

    stated = overhead.programs.CASES[case]
    alone = overhead.peer.of_some(
        lambda *arrays: stated.program(nnx.namespace_of(*arrays), *arrays), stated.arrays(), stated.by
    )
    with observe(Counter()):
        nnx.vjp(alone, *[stated.arrays()[place] for place in stated.by])
    assert len(recorded) == stated.operations


@pytest.mark.parametrize(
    ("torch", "status"),
    [
        ([2.0, 4.0], 0),
        ([2.0, 4.000003], 0),
        ([2.0, 4.000005], 1),
        ([2.000005, 4.0], 1),
        ([np.nan, 4.0], 1),
        ([2.0, np.inf], 1),
        ([2.0], 1),
    ],
)
def test_disagreement_fails(
    overhead: SimpleNamespace, capsys: pytest.CaptureFixture[str], torch: list[float], status: int
) -> None:
    overhead.gradients.update(nnx=[np.asarray([2.0, 4.0])], torch=[np.asarray(torch)])
    assert overhead.main(["--quick", "--cases", "chain-32", "--peers", "nnx", "torch"]) == status
    assert ("FAILED: the gradients of torch and nnx of chain-32 differ by" in capsys.readouterr().out) == status


def test_a_failing_nnx_fails_and_a_failing_peer_does_not(
    overhead: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    overhead.gradients.update(nnx=[np.ones(())])
    assert overhead.main(["--quick", "--cases", "chain-0d", "--peers", "nnx", "torch", "mygrad"]) == 0
    said = capsys.readouterr().out
    assert "failed: no compiler" in said
    assert "not installed: mygrad" in said
    overhead.gradients.clear()
    assert overhead.main(["--quick", "--cases", "chain-0d", "--peers", "nnx"]) == 1


def test_ratios_divide_overheads_of_the_same_round(overhead: SimpleNamespace) -> None:
    overhead.gradients.update(nnx=[np.ones(())], torch=[np.ones(())])
    with overhead.rounds.Rounds(["nnx", "torch"]) as rounds:
        result = rounds.run("chain-0d", 3, 0.0, 1e-6)
    assert overhead.report.overhead_ratios(result)["torch"] == pytest.approx((2.0, 1.0, 4.0))
    assert overhead.report.medians(result)["nnx"] == pytest.approx(
        {"plain": 1e-6, "recorded": 2e-6, "gradient": 3e-6, "overhead": 2e-6}
    )


def test_a_case_that_is_not_there_is_refused(overhead: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        overhead.main(["--cases", "chain"])
    assert "chain-32" in capsys.readouterr().err
