"""Streams, events and graphs. Nothing runs beside anything else here: what is launched has been done."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from cupy import _state
from cupy._errors import CUDARuntimeError

if TYPE_CHECKING:
    from cupy._memory import Block

RELAXED = 2
_handles = itertools.count(0x10000, 16)
made: weakref.WeakSet[Stream] = weakref.WeakSet()


class Capture:
    """What is launched between ``begin_capture`` and ``end_capture``."""

    def __init__(self, origin: Stream, mode: int) -> None:
        self.origin, self.relaxed = origin, mode == RELAXED
        self.thread = threading.get_ident() if mode != RELAXED else None
        self.nodes: list[Callable[[], None]] = []
        self.blocks: dict[int, Block] = {}
        self.invalid = ""
        self.joined: list[Stream] = []
        self.recorded: set[int] = set()

    def add(self, run: Callable[[], None], blocks: Iterable[Block]) -> None:
        self.nodes.append(run)
        for block in blocks:
            self.blocks[id(block)] = block
        self.recorded.discard(_state.stream().ptr)


class Stream:
    """``cupy.cuda.Stream``."""

    null: ClassVar[Stream]
    ptds: ClassVar[Stream]

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None
    ) -> None:
        self.ptr = 0 if null else 2 if ptds else next(_handles)
        self.device_id = -1 if null or ptds else _state.local.device
        self.is_non_blocking = non_blocking
        self.priority = priority or 0
        self._capture: Capture | None = None
        self._transfers: list[Any] = []  # that the host does not know to be done
        made.add(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.ptr == self.ptr

    def __hash__(self) -> int:
        return self.ptr

    def __repr__(self) -> str:
        return f"<Stream {self.ptr} (device {self.device_id})>"

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.ptr

    def _check_device(self) -> None:
        if self.device_id not in (-1, _state.local.device):
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) does not match with the current device "
                f"({_state.local.device})"
            )

    def __enter__(self) -> Stream:
        self._check_device()
        _stack.entered.append((_state.local.device, _state.stream()))
        _state.local.streams[_state.local.device] = self
        return self

    def __exit__(self, *exception: Any) -> None:
        device, outer = _stack.entered.pop()
        _state.local.streams[device] = outer

    def use(self) -> Stream:
        self._check_device()
        _state.local.streams[_state.local.device] = self
        return self

    @property
    def done(self) -> bool:
        self._not_capturing("a query of the stream")
        self._finish()
        return True

    def _finish(self) -> None:
        """The host knows that all that was asked of the stream is done."""
        transfers, self._transfers = self._transfers, []
        for transfer in transfers:
            transfer.finish()

    def _not_capturing(self, what: str) -> None:
        if self._capture is not None:
            self._capture.invalid = self._capture.invalid or what
            raise CUDARuntimeError(900, what)

    def synchronize(self) -> None:
        self._not_capturing("Stream.synchronize()")
        if self.ptr == 0 and _state.capturing:
            _state.forbid("Stream.null.synchronize()")
        _state.waited("Stream.synchronize()")
        self._finish()

    def record(self, event: Event | None = None) -> Event:
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        found = event._capture
        if found is not None and found in _state.capturing:
            if self._capture is None:  # a fork: this stream captures, too
                if self.ptr == 0:
                    raise CUDARuntimeError(906)
                self._capture = found
                found.joined.append(self)
            elif self._capture is not found:
                raise CUDARuntimeError(902)
            if self is found.origin:
                found.recorded.add(event._stream)
        elif self._capture is not None and event._at is not None:
            self._capture.invalid = "a wait for an event from outside the capture"
            raise CUDARuntimeError(905)
        self._transfers.extend(event._transfers)

    def launch_host_func(self, callback: Callable[[Any], None], arg: Any) -> None:
        if self._capture is not None:
            self._capture.nodes.append(lambda: callback(arg))
        else:
            callback(arg)

    def add_callback(self, callback: Callable[..., None], arg: Any) -> None:
        self._not_capturing("a callback")
        callback(self, 0, arg)

    def begin_capture(self, mode: int | None = None) -> None:
        if self.ptr in (0, 1):
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if self._capture is not None:
            raise CUDARuntimeError(1, "the stream captures already")
        self._capture = Capture(self, RELAXED if mode is None else mode)
        _state.capturing.append(self._capture)

    def end_capture(self) -> Graph:
        found = self._capture
        if found is None:
            raise CUDARuntimeError(1, "the stream does not capture")
        if found.origin is not self:
            raise CUDARuntimeError(903)
        _state.capturing.remove(found)
        for stream in (self, *found.joined):
            stream._capture = None
        if found.invalid:
            raise CUDARuntimeError(901, f"the capture was invalidated by: {found.invalid}")
        if any(stream.ptr not in found.recorded for stream in found.joined):
            raise CUDARuntimeError(904)
        return Graph._made(found)

    def is_capturing(self) -> bool:
        if self._capture is not None and self._capture.invalid:
            raise CUDARuntimeError(901, f"the capture was invalidated by: {self._capture.invalid}")
        return self._capture is not None


class _Stack(threading.local):
    def __init__(self) -> None:
        self.entered: list[tuple[int, Stream]] = []


_stack = _Stack()
Stream.null = Stream(null=True)
Stream.ptds = Stream(ptds=True)


class ExternalStream(Stream):
    """``cupy.cuda.ExternalStream``: a stream by its address."""

    def __init__(self, ptr: int, device_id: int = -1) -> None:
        super().__init__(null=True)
        self.ptr, self.device_id = ptr, device_id


def get_current_stream(device_id: int = -1) -> Stream:
    """``cupy.cuda.get_current_stream``."""
    return _state.stream() if device_id < 0 else _state.local.streams.get(device_id, Stream.null)


class Event:
    """``cupy.cuda.Event``."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.ptr = next(_handles)
        self._timing = not disable_timing
        self._at: float | None = None
        self._capture: Capture | None = None
        self._stream = 0
        self._transfers: list[Any] = []
        self._asked = 0

    def record(self, stream: Stream | None = None) -> None:
        stream = _state.stream() if stream is None else stream
        self._transfers, self._asked = list(stream._transfers), 0
        self._at, self._capture, self._stream = time.perf_counter(), stream._capture, stream.ptr

    @property
    def done(self) -> bool:
        """Not when it is asked for the first time: who asks must be able to go on without it."""
        self._check()
        self._asked += 1
        if self._at is not None and self._asked == 1:
            return False
        self._finish()
        return True

    def synchronize(self) -> None:
        self._check()
        _state.waited("Event.synchronize()")
        self._finish()

    def _finish(self) -> None:
        self._asked += 1
        transfers, self._transfers = self._transfers, []
        for transfer in transfers:
            transfer.finish()

    def _check(self) -> None:
        if self._capture is not None and self._capture in _state.capturing:
            self._capture.invalid = self._capture.invalid or "a query of an event of the capture"
            raise CUDARuntimeError(907)


def get_elapsed_time(start: Event, end: Event) -> float:
    """``cupy.cuda.get_elapsed_time``: milliseconds between two events."""
    if start._at is None or end._at is None or not (start._timing and end._timing):
        raise CUDARuntimeError(1, "an event that was not recorded, or that keeps no time")
    return (end._at - start._at) * 1e3


class Graph:
    """``cupy.cuda.Graph``: launches what was captured, on the memory it was captured with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "currently this class cannot be initiated by the user and must be created via capture"
        )

    _nodes: list[Callable[[], None]]
    _blocks: dict[int, Block]
    _device: int

    @classmethod
    def _made(cls, capture: Capture) -> Graph:
        graph = object.__new__(cls)
        graph._nodes, graph._blocks = capture.nodes, capture.blocks
        graph._device = capture.origin.device_id
        return graph

    def launch(self, stream: Stream | None = None) -> None:
        stream = _state.stream() if stream is None else stream
        if _state.local.device != self._device:
            raise CUDARuntimeError(1, f"a graph of device {self._device} while device {_state.local.device} is current")
        for block in self._blocks.values():
            if not block.usable:
                raise CUDARuntimeError(700, "the graph uses memory that has been freed since it was captured")
        _state.local.launches += 1
        if stream._capture is not None:  # a child graph
            stream._capture.nodes.extend(self._nodes)
            stream._capture.blocks.update(self._blocks)
            return
        for run in self._nodes:
            run()

    def upload(self, stream: Stream | None = None) -> None:
        """Nothing to bring anywhere."""
