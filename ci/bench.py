"""Time a training step of nnx and of every peer that is installed.

The same multi-layer perceptron (ReLU, softmax cross-entropy, Adam, float32) starts everywhere from the
same weights and sees the same batches. The first losses must agree, or the exit status is 1.

Each peer has a process of its own. They take turns, in an order that rotates, so that whatever else
happens on the machine hits all alike; a ratio divides two times of the same round.

`python ci/bench.py import` times `import nnx` instead, `overhead` a single operation and its derivative, `mnist` whole
training runs, and `kernels` each compiled kernel.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import bench_import
import bench_kernels
import bench_mnist
import bench_overhead
from benchmark import PEERS, report
from benchmark.machine import describe, limit_threads
from benchmark.problem import SIZES, parse
from benchmark.rounds import REFERENCE, Rounds

OTHERS = {
    "import": bench_import.main,
    "kernels": bench_kernels.main,
    "mnist": bench_mnist.main,
    "overhead": bench_overhead.main,
}
"""What the first argument may ask for instead."""

DEFAULT_PEERS = [name for name in PEERS if name != "nnx-trainer"]
QUICK_PEERS = [name for name in DEFAULT_PEERS if name != "torch-compile"]


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; answer the exit status."""
    if arguments and arguments[0] in OTHERS:
        return OTHERS[arguments[0]](arguments[1:])
    options = _options(arguments)
    limit_threads(options.threads)
    machine = describe(options.threads)
    if not options.json:
        print("; ".join(f"{name}: {value}" for name, value in machine.items() if value), end="\n\n")
    records, failed = [], False
    for problem in options.sizes:
        with Rounds(problem, options.peers, options.device) as rounds:
            if options.profile:
                seconds = rounds.profile(options.rounds * options.seconds)
                records.append({"problem": str(problem), "seconds": seconds})
                said = report.parts(rounds.result, seconds)
            else:
                rounds.compare(options.steps, options.rtol)
                rounds.run(options.rounds, options.seconds, options.rest)
                records.append(report.record(rounds.result))
                said = report.text(rounds.result)
        failed |= bool(rounds.result.errors)
        if not options.json:
            print(said, flush=True)
    if options.json:
        print(json.dumps({"machine": machine, "results": records}, indent=2))
    return int(failed)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", nargs="+", type=_problem, metavar="WIDTHS@BATCH", help=f"default: {' '.join(SIZES)}")
    add("--peers", nargs="+", choices=PEERS, metavar="PEER", help=f"{', '.join(PEERS)}; default: all but nnx-trainer")
    add("--rounds", type=int, default=7, help="turns of each peer (%(default)s)")
    add("--seconds", type=float, default=0.4, help="length of a turn (%(default)s)")
    add("--rest", type=float, default=0.1, help="seconds between two turns, in which idle threads stop (%(default)s)")
    add("--threads", type=int, default=2, help="threads, and CPUs, for every library (%(default)s)")
    add(
        "--device",
        default="cpu",
        metavar="FLAG",
        help="device of nnx; a GPU is that of torch and jax too (%(default)s)",
    )
    add("--steps", type=int, default=20, help="losses that must agree (%(default)s)")
    add("--rtol", type=float, help="relative difference allowed to the losses (default: as benchmark.PEERS says)")
    add("--quick", action="store_true", help="two short rounds on the smallest size, without torch-compile")
    add("--profile", action="store_true", help="print where the time of nnx goes, instead of comparing")
    add("--json", action="store_true", help="print JSON, with the times of every round")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.threads, options.steps) < 1:
        parser.error("--rounds, --threads and --steps must be at least 1")
    if options.quick:
        options.rounds, options.seconds, options.rest = 2, 0.05, 0.0
    options.sizes = options.sizes or [parse(size) for size in (SIZES[:1] if options.quick else SIZES)]
    options.peers = options.peers or (QUICK_PEERS if options.quick else DEFAULT_PEERS)
    if options.profile:
        options.peers = [REFERENCE]
    return options


def _problem(text: str) -> object:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
