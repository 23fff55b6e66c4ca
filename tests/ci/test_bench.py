"""The benchmark runs, and it fails where losses disagree."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

CI = Path(__file__).parents[2] / "ci"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CI / "bench.py"), *arguments], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the benchmark, with peers of known losses in place of processes."""
    monkeypatch.syspath_prepend(str(CI))
    import bench
    from benchmark import problem, report, rounds

    losses: dict[str, list[float]] = {}

    class Worker:
        versions = "0"

        def __init__(self, name: str, *_: object) -> None:
            if name not in losses:
                raise rounds.WorkerError("no compiler")
            self.name = name

        def losses(self, steps: int) -> list[float]:
            return losses[self.name][:steps]

        def turn(self, seconds: float) -> list[float]:
            return {"nnx": [2e-6, 1e-6, 9e-6], "torch": [3e-6]}[self.name]

        def memory(self) -> int:
            return 4096

        def used(self) -> float:
            return 0.0

        def close(self) -> None:
            pass

    monkeypatch.setattr(rounds, "Worker", Worker)
    monkeypatch.setattr(rounds, "missing", lambda name: ["thinc"] if name == "thinc" else [])
    monkeypatch.setattr(bench, "limit_threads", lambda threads: None)
    return SimpleNamespace(main=bench.main, problem=problem, report=report, rounds=rounds, losses=losses)


def test_quick_form_compares_losses_and_times() -> None:
    peers = ["nnx", "nnx-trainer", *(["torch"] if find_spec("torch") else [])]
    done = bench("--quick", "--json", "--threads", "1", "--peers", *peers)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert (result["widths"], result["batch"]) == ([64, 32, 10], 32)
    assert result["errors"] == []
    assert list(result["seconds"]) == peers
    assert all(len(times) == 2 and min(times) > 0 for times in result["seconds"].values())
    assert set(result["deviation"]) == set(result["ratio"]) == set(peers[1:])
    assert max(result["deviation"].values()) < 1e-4


def test_profile_names_the_parts_of_a_step() -> None:
    done = bench("--quick", "--json", "--threads", "1", "--profile")
    assert done.returncode == 0, done.stdout + done.stderr
    seconds = json.loads(done.stdout)["results"][0]["seconds"]
    parts = {name.strip(): value for name, value in seconds.items()}
    assert set(parts) == {"step", "forward", "backward", "update", "matrix products", "prediction"}
    assert all(value > 0 for value in parts.values())


def test_import_form() -> None:
    done = bench("import", "--runs", "2", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["runs"] == 2
    assert found["numpy, nnx"] > 0


@pytest.mark.parametrize(
    ("torch", "status"),
    [([2.0, 1.0], 0), ([2.0, 1.00009], 0), ([2.0, 1.0002], 1), ([2.0, math.nan], 1), ([math.inf, 1.0], 1)],
)
def test_disagreement_fails(
    benchmark: SimpleNamespace, capsys: pytest.CaptureFixture[str], torch: list[float], status: int
) -> None:
    benchmark.losses.update(nnx=[2.0, 1.0], torch=torch)
    assert benchmark.main(["--quick", "--peers", "nnx", "torch"]) == status
    assert ("FAILED: the losses of torch and nnx on 64-32-10, batch 32 differ by" in capsys.readouterr().out) == status


def test_a_failing_nnx_fails_and_a_failing_peer_does_not(
    benchmark: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark.losses.update(nnx=[2.0])
    assert benchmark.main(["--quick", "--peers", "nnx", "torch", "thinc"]) == 0
    said = capsys.readouterr().out
    assert "failed: no compiler" in said
    assert "not installed: thinc" in said
    benchmark.losses.clear()
    assert benchmark.main(["--quick", "--peers", "nnx"]) == 1


def test_ratios_divide_times_of_the_same_round(benchmark: SimpleNamespace) -> None:
    found = benchmark.report.ratios({"nnx": [1.0, 2.0, 4.0], "torch": [3.0, 4.0, 4.0]})
    assert found == {"torch": (2.0, 1.0, 3.0)}


def test_median_of_a_turn_counts(benchmark: SimpleNamespace) -> None:
    benchmark.losses.update(nnx=[1.0], torch=[1.0])
    with benchmark.rounds.Rounds(benchmark.problem.parse("4-2@2"), ["nnx", "torch"], "cpu") as rounds:
        rounds.run(3, 0.0, 0.0)
    assert rounds.result.rounds == {"nnx": [2e-6] * 3, "torch": [3e-6] * 3}
    assert rounds.result.memory == {"nnx": 4096, "torch": 4096}


def test_a_peer_that_does_not_answer_is_dropped(benchmark: SimpleNamespace) -> None:
    from benchmark.worker import Process, WorkerError

    process = Process(time.sleep, 60, patience=1.0)
    with pytest.raises(WorkerError, match="did not answer within 1 s"):
        _ = process.versions
    process.close()


def test_a_peer_that_fails_says_why_whenever_it_is_asked(benchmark: SimpleNamespace) -> None:
    from benchmark.worker import Process, WorkerError

    process = Process(math.sqrt, -1)
    with pytest.raises(WorkerError, match="ValueError"):
        process.used()
    with pytest.raises(WorkerError, match="its process ended with exit status 0"):
        process.used()
    process.close()


@pytest.mark.parametrize("text", ["64", "64-@2", "64-10@1", "64-10@3", "0-10@2", "64-1@2", "a-b@2"])
def test_bad_sizes_are_refused(benchmark: SimpleNamespace, text: str) -> None:
    with pytest.raises(ValueError, match="expected WIDTHS@BATCH"):
        benchmark.problem.parse(text)
