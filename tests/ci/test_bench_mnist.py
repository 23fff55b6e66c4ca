"""The benchmark of whole training runs runs, trains what the example trains, and fails where accuracies are apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

import nnx

CI = Path(__file__).parents[2] / "ci"


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the benchmark, with peers of known times and accuracies in place of processes."""
    monkeypatch.syspath_prepend(str(CI))
    import bench_mnist
    from benchmark.mnist import report, rounds, task, worker

    outcomes: dict[str, list[tuple[float, float]]] = {}

    class Worker:
        versions = "0"

        def __init__(self, name: str, _: object) -> None:
            if name not in outcomes:
                raise rounds.WorkerError("no such library")
            self.turns = iter([outcomes[name][0], *outcomes[name]])  # the first does not count

        def turn(self) -> object:
            seconds, accuracy = next(self.turns)
            return worker.Turn(seconds, task.Scores(0.1, accuracy))

        def used(self) -> float:
            return 0.0

        def close(self) -> None:
            pass

    monkeypatch.setattr(rounds, "Worker", Worker)
    monkeypatch.setattr(rounds, "missing", lambda name: [])
    monkeypatch.setattr(bench_mnist, "limit_threads", lambda threads: None)
    return SimpleNamespace(main=bench_mnist.main, report=report, task=task, worker=worker, outcomes=outcomes)


def test_quick_form_trains_all_peers() -> None:
    peers = ["nnx", *(["torch-loader", "torch-slices"] if find_spec("torch") else [])]
    done = subprocess.run(
        [sys.executable, str(CI / "bench.py"), *"mnist --quick --json --threads 1 --hidden 64 --peers".split(), *peers],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["errors"] == []
    assert set(result["seconds"]) == set(peers)
    assert all(0.5 < accuracy < 1 for (accuracy,) in result["accuracy"].values())
    assert set(result["ratio"]) == set(peers[1:])


@pytest.mark.parametrize(("torch", "status"), [(0.95, 0), (0.931, 0), (0.929, 1), (0.971, 1), (float("nan"), 1)])
def test_accuracies_that_are_apart_fail(
    mnist: SimpleNamespace, capsys: pytest.CaptureFixture[str], torch: float, status: int
) -> None:
    mnist.outcomes.update({"nnx": [(1.0, 0.95)], "torch-loader": [(3.0, torch)]})
    assert mnist.main(["--rounds", "1", "--rest", "0", "--peers", "nnx", "torch-loader"]) == status
    assert ("FAILED: torch-loader has an accuracy of" in capsys.readouterr().out) == status


def test_ratios_divide_runs_of_the_same_round(mnist: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    mnist.outcomes.update(
        {"nnx": [(1.0, 0.9), (2.0, 0.9), (4.0, 0.9)], "torch-slices": [(3.0, 0.9), (4.0, 0.9), (4.0, 0.9)]}
    )
    assert mnist.main(["--rounds", "3", "--rest", "0", "--peers", "nnx", "torch-slices"]) == 0
    said = capsys.readouterr().out
    assert "2.00  (1.00 .. 3.00)" in said
    assert "3.00  2.00  1.00" in said


def test_a_failing_nnx_fails_and_a_failing_peer_does_not(
    mnist: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    mnist.outcomes["nnx"] = [(1.0, 0.9)]
    assert mnist.main(["--rounds", "1", "--rest", "0", "--peers", "nnx", "torch-slices"]) == 0
    assert "failed: no such library" in capsys.readouterr().out
    mnist.outcomes.clear()
    assert mnist.main(["--rounds", "1", "--rest", "0", "--peers", "nnx"]) == 1


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--hidden", "0"], ["--images", "9"], ["--threads", "0"]])
def test_bad_arguments_are_refused(mnist: SimpleNamespace, arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        mnist.main(arguments)


@pytest.mark.parametrize("dropout", [True, False])
def test_nnx_trains_the_network_of_the_example(
    mnist: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, dropout: bool
) -> None:
    from benchmark.mnist.nnx_peer import Fit

    peer = Fit(mnist.task.Task((32, 16), 64, 1, images=100, dropout=dropout))
    peer.prepare()
    monkeypatch.syspath_prepend(str(mnist.task.EXAMPLES))
    import mnist as example

    theirs = example.network([32, 16], nnx.device("cpu"))
    shapes = [p.shape for p in theirs.parameters().values()]
    assert [p.shape for p in peer.model.parameters().values()] == shapes
    kinds = [repr(layer) for layer in theirs if dropout or not isinstance(layer, nnx.Dropout)]
    assert [repr(layer) for layer in peer.model] == kinds


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_torch_starts_from_the_same_weights_and_follows_the_same_schedule(mnist: SimpleNamespace) -> None:
    from benchmark.mnist.nnx_peer import Fit
    from benchmark.mnist.torch_peer import Slices

    task = mnist.task.Task((32, 16), 64, 3, images=1000)
    ours, theirs = Fit(task), Slices(task)
    ours.prepare()
    theirs.prepare()
    x = ours.test[0][:5]
    import torch

    with torch.no_grad():
        expected = theirs.model.eval()(torch.from_numpy(x)).numpy()
    assert abs(ours.model(x) - expected).max() < 1e-4
    steps = task.steps(900)
    assert steps == 45
    schedule = ours.trainer.optimizer._rate
    for step in range(steps + 1):
        assert schedule(step) == pytest.approx(mnist.task.RATE * mnist.task.rate_factor(step, steps), abs=1e-12)
    dropouts = [layer.p for layer in theirs.model if isinstance(layer, torch.nn.Dropout)]
    assert dropouts == [layer.rate for layer in ours.model if isinstance(layer, nnx.Dropout)]


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
@pytest.mark.parametrize("shuffle", [False, True])
def test_both_ways_to_feed_torch_give_each_example_once(mnist: SimpleNamespace, shuffle: bool) -> None:
    import torch
    from benchmark.mnist.torch_peer import Loader, Slices

    task = mnist.task.Task((8,), 64, 1, images=100)
    for kind in (Loader, Slices):
        peer = kind(task)
        x, y = torch.arange(90.0).reshape(90, 1), torch.arange(90)
        batches = peer.batches([x, y], 64, shuffle)
        found = list(batches)
        assert [len(y) for _, y in found] == [64, 26]
        assert len(batches) == 2
        labels = torch.cat([y for _, y in found])
        assert sorted(labels.tolist()) == list(range(90))
        assert (labels.tolist() == list(range(90))) != shuffle
        assert (torch.cat([x for x, _ in found])[:, 0] == labels).all()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="the system has no such terminals")
def test_standard_error_is_a_terminal_within(mnist: SimpleNamespace) -> None:
    before = sys.stderr
    with mnist.worker.terminal():
        assert sys.stderr.isatty()
        assert os.get_terminal_size(sys.stderr.fileno()).columns == 120
        print("x" * 100_000, file=sys.stderr)  # more than it holds: somebody reads it
    assert sys.stderr is before
