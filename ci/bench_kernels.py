"""Time each compiled kernel of the NumPy backend beside the NumPy kernel, the reference, and torch.

Microseconds a call, from one element to many. `reference` is the function of nnx.ops or nnx.optim in pure Array API
code, `numpy` the kernel that serves without the extra `fast`, `torch, n` the operator of torch with n threads, where it
has the like: for softmax_cross_entropy_forward, which makes loss and gradient at once, loss and gradient. `by numpy`
and `by torch` (all threads) are ratios to the compiled kernel: above 1 it is faster. All figures are the best of some
rounds, as what disturbs a measurement only adds to it. The line below a table says from which size on the compiled
kernel is not slower than what it replaces; 5 % are taken as equal.

The exit status is 1 where a kernel fails, and not where one is slow.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from benchmark.kernels.report import record, text, verdict
from benchmark.kernels.rounds import Rounds
from benchmark.machine import describe, limit_threads


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; answer the exit status."""
    options = _options(arguments)
    limit_threads(options.threads)
    machine = describe(options.threads)
    if not options.json:
        print("; ".join(f"{name}: {value}" for name, value in machine.items() if value))
    results = []
    with Rounds(options.dtype, options.threads, torch=not options.without_torch) as rounds:
        there = rounds.names()
        if not options.json:
            print(f"kernels: {'; '.join(rounds.notes)}; {options.dtype}", end="\n\n")
        if absent := [name for name in options.kernels or () if name not in there]:
            print(f"no compiled kernel is called {', '.join(absent)}; there are {', '.join(there) or 'none'}")
            return 1
        for result in rounds.run(options.kernels or there, options.rounds, options.seconds, options.quick):
            results.append(result)
            if not options.json:
                print(text(result, options.threads), flush=True)
    if options.json:
        print(json.dumps({"machine": machine, "results": [record(result) for result in results]}, indent=2))
    elif not there:
        print("no kernel is compiled here: pip install 'nnx-array[fast]'")
    else:
        width = max(len(result.name) for result in results)
        for result in results:
            print(f"{result.name:<{width}}  {'FAILED' if result.errors else verdict(result)}")
    return int(any(result.errors for result in results))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench.py kernels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--kernels", nargs="+", metavar="NAME", help="such as relu_forward; default: all")
    add("--dtype", choices=("float32", "float64"), default="float32", help="of all arrays (%(default)s)")
    add("--rounds", type=int, default=5, help="turns at each size (%(default)s)")
    add("--seconds", type=float, default=0.02, help="length of a turn (%(default)s)")
    add("--threads", type=int, default=2, help="threads, and CPUs, for every library (%(default)s)")
    add("--without-torch", action="store_true", help="leave torch out where it is installed")
    add("--quick", action="store_true", help="one short turn at the two smallest sizes")
    add("--json", action="store_true", help="print JSON, with the times of every round")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.threads) < 1:
        parser.error("--rounds and --threads must be at least 1")
    if options.quick:
        options.rounds, options.seconds = 1, 0.002
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
