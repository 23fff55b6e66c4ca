"""A process of its own for each peer, which works when it is its turn and sleeps otherwise.

A peer that fails then spoils no other, and no library's objects, threads or settings reach the next.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import perf_counter, process_time
from typing import Any

from benchmark import make
from benchmark.problem import Peer, Problem

CHUNK = 0.005
"""Steps are timed in chunks of about this many seconds: a loop that trains does not wait after each step."""


class WorkerError(RuntimeError):
    """A peer failed; the message is its own, in one line."""


Answers = Mapping[str, Callable[..., Any]]
"""What a process can be asked for."""


class Process:
    """The end of the pipe that asks.

    Args:
        prepare: called in the new process; answers a line for the report, and what it can be asked for. A function of
            a module, as ``arguments`` are sent to the process too.
    """

    def __init__(self, prepare: Callable[..., tuple[str, Answers]], *arguments: Any) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, prepare, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self.versions: str = self._receive()

    def used(self) -> float:
        """CPU seconds that all threads of the process have used so far."""
        return self._ask("used")  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(10)
        self._process.kill()

    def _ask(self, *request: Any) -> Any:
        self._pipe.send(request)
        return self._receive()

    def _receive(self) -> Any:
        try:
            worked, answer = self._pipe.recv()
        except EOFError:
            self._process.join(10)
            raise WorkerError(f"its process ended with exit status {self._process.exitcode}") from None
        if not worked:
            raise WorkerError(answer)
        return answer


class Worker(Process):
    """A peer that trains, in its own process."""

    def __init__(self, name: str, problem: Problem, device: str) -> None:
        super().__init__(_prepare, name, problem, device)

    def losses(self, steps: int) -> list[float]:
        """The first losses from the initial weights."""
        return self._ask("losses", steps)  # type: ignore[no-any-return]

    def turn(self, seconds: float) -> list[float]:
        """Train for about that long; seconds a step of each chunk."""
        return self._ask("turn", seconds)  # type: ignore[no-any-return]

    def profile(self, seconds: float) -> dict[str, float]:
        """Seconds of each part of a step."""
        return self._ask("profile", seconds)  # type: ignore[no-any-return]


def _serve(pipe: Connection, prepare: Callable[..., tuple[str, Answers]], arguments: Sequence[Any]) -> None:
    try:
        line, answers = prepare(*arguments)
        answers = {"used": process_time, **answers}
        pipe.send((True, line))
        while True:
            request, *arguments = pipe.recv()
            pipe.send((True, answers[request](*arguments)))
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception as error:
        line = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        pipe.send((False, line))


def _prepare(name: str, problem: Problem, device: str) -> tuple[str, Answers]:
    peer = make(name, problem, device)
    chunk = _calibrate(peer)
    turn = partial(_turn, peer, chunk)
    return peer.versions(), {"losses": peer.losses, "turn": turn, "profile": peer.profile}


def _calibrate(peer: Peer) -> int:
    """Compile what is to be compiled, and answer how many steps make a chunk."""
    peer.run(peer.stride)
    start = perf_counter()
    peer.run(peer.stride)
    steps = int(CHUNK / (perf_counter() - start) * peer.stride)
    return max(1, steps // peer.stride) * peer.stride


def _turn(peer: Peer, chunk: int, seconds: float) -> list[float]:
    """Begin anew, warm up for one chunk, then time chunks: three at least."""
    peer.reset()
    peer.run(chunk)
    times: list[float] = []
    end = perf_counter() + seconds
    while len(times) < 3 or perf_counter() < end:
        start = perf_counter()
        peer.run(chunk)
        times.append((perf_counter() - start) / chunk)
    return times
