"""Time what it costs to record an operation and to walk back over it, in nnx and in every peer that is installed.

Programs of a hundred small operations on 0-d and 32-element float64 arrays, the same for all. Microseconds an
operation: `plain` is the program without derivatives (NumPy for nnx, autograd and MyGrad; torch under no_grad),
`recorded` the program with its history kept, `gradient` forward and backward, and `overhead` gradient - plain. The
arithmetic of the derivatives is part of it. The gradients must agree to 1e-6, relative, or the exit status is 1.

Each peer has a process of its own. They take turns, in an order that rotates; a ratio divides two overheads of the
same round, and above 1 nnx has less.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from benchmark.machine import describe, limit_threads
from benchmark.overhead import PEERS
from benchmark.overhead.programs import CASES
from benchmark.overhead.report import record, text
from benchmark.overhead.rounds import Rounds

QUICK_PEERS = [name for name in PEERS if name != "jax"]


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; answer the exit status."""
    options = _options(arguments)
    limit_threads(options.threads)
    machine = describe(options.threads)
    if not options.json:
        print("; ".join(f"{name}: {value}" for name, value in machine.items() if value), end="\n\n")
    records = []
    with Rounds(options.peers) as rounds:
        for case in options.cases:
            result = rounds.run(case, options.rounds, options.seconds, options.rtol)
            records.append(record(result, rounds.notes))
            if not options.json:
                print(text(result, rounds.notes), flush=True)
    if options.json:
        print(json.dumps({"machine": machine, "results": records}, indent=2))
    return int(rounds.failed)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench.py overhead", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--cases",
        nargs="+",
        choices=CASES,
        default=list(CASES),
        metavar="CASE",
        help=f"{', '.join(CASES)}; default: all",
    )
    add("--peers", nargs="+", choices=PEERS, metavar="PEER", help=f"{', '.join(PEERS)}; default: all")
    add("--rounds", type=int, default=7, help="turns of each peer (%(default)s)")
    add("--seconds", type=float, default=0.4, help="length of a turn (%(default)s)")
    add("--threads", type=int, default=2, help="threads, and CPUs, for every library (%(default)s)")
    add("--rtol", type=float, default=1e-6, help="relative difference allowed to the gradients (%(default)s)")
    add("--quick", action="store_true", help="two short rounds, without jax")
    add("--json", action="store_true", help="print JSON, with the times of every round")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.threads) < 1:
        parser.error("--rounds and --threads must be at least 1")
    if options.quick:
        options.rounds, options.seconds = 2, 0.03
    options.peers = options.peers or (QUICK_PEERS if options.quick else list(PEERS))
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
