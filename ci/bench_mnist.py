"""Time whole training runs on MNIST: shuffling, batches, steps, scores, progress bar and evaluation.

The network, optimiser and schedule of examples/mnist.py, in nnx and in torch: torch-loader takes its batches from
a DataLoader over a TensorDataset, torch-slices gathers them by slices of a permutation, both with the fused AdamW;
torch-default is torch-loader with the AdamW that torch takes where none is asked for. All start from the same
weights, with the data in memory; standard error is a terminal, so that bars are drawn. Accuracies on the test
images must be near one another, or the exit status is 1.

Each peer has a process of its own. They take turns, in an order that rotates; a ratio divides two runs of the same
round, and above 1 nnx is faster.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from benchmark.machine import describe, limit_threads
from benchmark.mnist import PEERS
from benchmark.mnist.report import record, text
from benchmark.mnist.rounds import run
from benchmark.mnist.task import Task


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; answer the exit status."""
    options = _options(arguments)
    limit_threads(options.threads)
    machine = describe(options.threads)
    if not options.json:
        print("; ".join(f"{name}: {value}" for name, value in machine.items() if value), end="\n\n")
    task = Task(
        tuple(options.hidden), options.batch_size, options.epochs, options.full, options.images, not options.no_dropout
    )
    result = run(task, options.peers, options.rounds, options.rest, options.apart)
    if options.json:
        print(json.dumps({"machine": machine, "results": [record(result)]}, indent=2))
    else:
        print(text(result), flush=True)
    return int(bool(result.errors))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench.py mnist", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--hidden", type=int, nargs="+", default=[512, 256], metavar="N", help="hidden units (default: 512 256)")
    add("--batch-size", type=int, default=128, metavar="N", help="images a step (%(default)s)")
    add("--epochs", type=int, default=5, metavar="N", help="epochs of a run (%(default)s)")
    add("--no-dropout", action="store_true", help="leave dropout out of the network")
    add("--full", action="store_true", help="all 60,000 training images, from NNX_DATA_DIR or the network")
    add("--images", type=int, metavar="N", help="at most so many of them")
    add("--peers", nargs="+", choices=PEERS, metavar="PEER", default=list(PEERS), help=f"{', '.join(PEERS)}")
    add("--rounds", type=int, default=7, help="runs of each peer (%(default)s)")
    add("--rest", type=float, default=0.2, help="seconds between two runs, in which idle threads stop (%(default)s)")
    add("--threads", type=int, default=2, help="threads, and CPUs, for every library (%(default)s)")
    add("--apart", type=float, default=0.02, help="by how much accuracies may differ (%(default)s)")
    add("--quick", action="store_true", help="one run of two epochs on 1,280 images")
    add("--json", action="store_true", help="print JSON, with the times of every run")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.epochs, options.images, options.rest = 1, 2, 1280, 0.0
        options.apart = max(options.apart, 0.1)  # after twenty steps they have not come to the same place
    least = {"--hidden": min(options.hidden), "--batch-size": options.batch_size, "--epochs": options.epochs}
    least |= {"--rounds": options.rounds, "--threads": options.threads}
    if options.images is not None:
        least["--images"] = options.images // 10  # a tenth is held out
    for name, value in least.items():
        if value < 1:
            parser.error(f"{name} must be at least {10 if name == '--images' else 1}")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
