"""A process of its own for each peer, which works when it is its turn and sleeps otherwise.

A peer that fails then spoils no other, and no library's objects, threads or settings reach the next.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import perf_counter, process_time
from typing import Any

from benchmark import load, make
from benchmark.card import Meter
from benchmark.problem import Peer, Problem

CHUNK = 0.005
"""Steps are timed in chunks of about this many seconds: a loop that trains does not wait after each step."""


WARM = 6
"""Steps that are not timed after each new beginning, at least: captured ones are recorded and proved first."""


class WorkerError(RuntimeError):
    """A peer failed; the message is its own, in one line."""


Answers = Mapping[str, Callable[..., Any]]
"""What a process can be asked for."""


class Process:
    """The end of the pipe that asks. The process starts at once, and prepares itself when its versions are asked for.

    Args:
        prepare: called in the new process; answers a line for the report, and what it can be asked for. A function of
            a module, as ``arguments`` are sent to the process too.
        ahead: called with the same arguments at once, beside other processes, for what takes long and disturbs nobody;
            what it raises, ``prepare`` will raise.
        patience: seconds after which a process that does not answer is ended; ``None`` for never.
    """

    def __init__(
        self,
        prepare: Callable[..., tuple[str, Answers]],
        *arguments: Any,
        ahead: Callable[..., object] | None = None,
        patience: float | None = None,
    ) -> None:
        context = get_context("spawn")
        self._patience = patience
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, ahead, prepare, arguments), daemon=True)
        self._process.start()
        theirs.close()

    @cached_property
    def versions(self) -> str:
        """The line for the report, when the process is ready.

        Raises:
            WorkerError: it failed.
        """
        return self._ask("prepare")  # type: ignore[no-any-return]

    def used(self) -> float:
        """CPU seconds that all threads of the process have used so far."""
        return self._ask("used")  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(10)
        self._process.kill()

    def _ask(self, *request: Any) -> Any:
        if request[0] != "prepare":
            _ = self.versions  # it is ready
        try:
            self._pipe.send(request)
        except OSError:
            raise WorkerError(f"its process ended with exit status {self._exit_status()}") from None
        return self._receive()

    def _receive(self) -> Any:
        try:
            if not self._pipe.poll(self._patience):
                self._process.kill()
                raise WorkerError(f"its process did not answer within {self._patience:.0f} s")
            worked, answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise WorkerError(f"its process ended with exit status {self._exit_status()}") from None
        if not worked:
            raise WorkerError(answer)
        return answer

    def _exit_status(self) -> int | None:
        self._process.join(10)
        return self._process.exitcode


class Worker(Process):
    """A peer that trains, in its own process."""

    def __init__(self, name: str, problem: Problem, device: str, patience: float | None = None) -> None:
        super().__init__(_prepare, name, problem, device, ahead=_ahead, patience=patience)

    def losses(self, steps: int) -> list[float]:
        """The first losses from the initial weights."""
        return self._ask("losses", steps)  # type: ignore[no-any-return]

    def turn(self, seconds: float) -> list[float]:
        """Train for about that long; seconds a step of each chunk."""
        return self._ask("turn", seconds)  # type: ignore[no-any-return]

    def memory(self) -> int:
        """Bytes that it has taken for its work, at most: of the GPU, or of the host where there is none."""
        return self._ask("memory")  # type: ignore[no-any-return]

    def profile(self, seconds: float) -> dict[str, float]:
        """Seconds of each part of a step."""
        return self._ask("profile", seconds)  # type: ignore[no-any-return]


def _serve(
    pipe: Connection,
    ahead: Callable[..., object] | None,
    prepare: Callable[..., tuple[str, Answers]],
    arguments: Sequence[Any],
) -> None:
    answers: dict[str, Callable[..., Any]] = {"used": process_time}

    def prepared() -> str:
        line, found = prepare(*arguments)
        answers.update(found)
        return line

    answers["prepare"] = prepared
    try:
        if ahead is not None:
            with suppress(Exception):
                ahead(*arguments)
        while True:
            request, *given = pipe.recv()
            pipe.send((True, answers[request](*given)))
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception as error:
        line = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        pipe.send((False, line))


def _ahead(name: str, problem: Problem, device: str) -> None:
    """Import the library and draw the numbers, both of which are kept."""
    del device
    load(name)
    problem.weights()
    problem.batches()


def _prepare(name: str, problem: Problem, device: str) -> tuple[str, Answers]:
    meter = Meter(device)
    peer: Peer = meter.watched(make)(name, problem, device)
    turn = meter.watched(_Turn(peer))
    losses = meter.watched(peer.losses)
    return peer.versions(), {"losses": losses, "turn": turn, "profile": peer.profile, "memory": meter.bytes}


class _Turn:
    """Times steps in chunks, whose length is found at the first turn."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._chunk = 0

    def __call__(self, seconds: float) -> list[float]:
        """Begin anew, warm up for a chunk or more, then time chunks: three at least."""
        peer, chunk = self._peer, self._chunk
        if not chunk:
            chunk = self._chunk = _calibrate(peer)
        peer.reset()
        for _ in range(-(-WARM // chunk)):
            peer.run(chunk)
        times: list[float] = []
        end = perf_counter() + seconds
        while len(times) < 3 or perf_counter() < end:
            start = perf_counter()
            peer.run(chunk)
            times.append((perf_counter() - start) / chunk)
        return times


def _calibrate(peer: Peer) -> int:
    """Compile what is to be compiled, and answer how many steps make a chunk."""
    for _ in range(-(-WARM // peer.stride)):
        peer.run(peer.stride)
    start = perf_counter()
    peer.run(peer.stride)
    steps = int(CHUNK / (perf_counter() - start) * peer.stride)
    return max(1, steps // peer.stride) * peer.stride
