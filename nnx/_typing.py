"""The types that every storey shares.

Python has no type for "an array of any library", so the aliases below are ``Any`` to the type
checker and a statement of intent to the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeAlias

Array: TypeAlias = Any
"""An array of a library that implements the Array API standard."""

Namespace: TypeAlias = Any
"""The standard's functions for one library, e.g. ``array_api_compat.numpy``."""

DType: TypeAlias = Any
"""A dtype of a namespace, e.g. ``xp.float32``."""

NativeDevice: TypeAlias = Any
"""A device as its own library knows it, e.g. ``torch.device("cpu")``."""

Tree: TypeAlias = Any
"""Arrays and models in nested lists, tuples and dicts."""

Kernel: TypeAlias = Callable[..., Any]
"""``kernel(xp, *arrays, **options)``: the numbers of one function of ``nnx.ops``."""


class Memory(NamedTuple):
    """Memory of a device, in bytes."""

    free: int
    total: int


class Precision(NamedTuple):
    """How a library computes in a precision that is lower than float32.

    Attributes:
        dtype: what parameters and activations are of; ``None`` for float32.
        context: makes what a step is computed in; ``None`` where there is nothing to be made.
    """

    dtype: DType | None
    context: Callable[[], AbstractContextManager[Any]] | None


class Backend(Protocol):
    """What ``nnx`` asks of an array library. ``backends/README.md`` shows how to write one.

    A backend module must be light to import: it imports its array library in :meth:`load`, so that
    listing the backends costs nothing.
    """

    name: str
    """The library, as messages and tables call it, e.g. ``"torch"``."""

    flag: str
    """The flag that devices are printed with, e.g. ``"cuda"``; an entry point of the backend."""

    extra: str
    """What ``pip install 'nnx-array[...]'`` installs the library with; empty where none is needed."""

    views: bool
    """Whether a slice shares memory with its array, so that writing to one changes the other."""

    one_device: bool
    """Whether all its arrays lie on one device, so that there is nothing to compare."""

    defers: bool
    """Whether its operators leave a right operand that they do not know to that operand's own."""

    @property
    def capture(self) -> Any:
        """How a step is captured by ``nnx.capture``.

        ``None``: not at all. ``"replay"``: its calls are written down and made again. A function or a method: it
        is given a function from a list of arrays to a list of arrays, and answers one that computes the same,
        quicker; it may call the given one with arrays that have a shape and a dtype and no values, and only once
        for arrays of the same shapes and dtypes.
        """

    @property
    def activate(self) -> Any:
        """How a device is made current, for a library that computes on one whatever device its arrays lie on.

        ``None``: the library computes where the arrays lie, and nothing has to be done. Otherwise a function or a
        method: it is given a device, or an array that lies on it, and answers a context manager, in which the device
        is current in this thread, and which raises a lack of memory as ``OutOfMemoryError``. On leaving it the device
        is current that was before. It may answer ``None`` within a context that was made for an array of the
        same device.
        """

    @property
    def prefetch(self) -> Any:
        """How batches of host arrays are brought to a device ahead of their use.

        ``None``: they are not, and :meth:`from_host` copies each when it is wanted. Otherwise a function or a method
        ``prefetch(wanted, device)``: ``wanted`` is an iterator over batches, each a sequence of pairs (NumPy array,
        rows), with the rows a slice or a NumPy array of indices; it answers an iterator over lists of
        ``array[rows]`` on ``device``. It reads ``wanted`` at most one batch ahead, and each batch may change as soon as
        the next one is asked for. Where there is such a function, data that takes a small part of a device's free
        memory is moved there whole.
        """

    @property
    def graph(self) -> Any:
        """How the calls of a replayed step become one piece of work for the device; ``None``: they do not.

        A function or a class: ``graph(function, arrays, fed)`` records what ``function(arrays)`` gives the device,
        without doing it, and answers what does it: a function of as many arrays, which answers new arrays with
        what ``function`` answered. Those of ``arrays`` at the places ``fed`` are copied from where they lie at each
        call, and the others are used, and changed, where they lay. It raises where that cannot be.
        """

    def kernels(self, which: str) -> Mapping[str, Kernel]:
        """Functions that replace those of ``nnx.ops`` of the same name; none are needed.

        ``which`` is ``"native"``, for what is made of the array library's own functions, or ``"best"``, for the best
        that can run here. Called once, when the first of them is wanted; the mapping may change later.
        """

    def kernels_from(self, which: str) -> str:
        """What they are made with, for the eyes of people, e.g. ``"numba 0.68.1"``; empty if there are none."""

    def load(self) -> Namespace:
        """Import the library and answer its namespace; ``ImportError`` where it is missing.

        Called often: what is slow about it must be slow only once.
        """

    def version(self) -> str:
        """The version of the array library."""

    def owns(self, array: Any) -> bool:
        """Whether ``array`` is an array of this library. Must not import the library."""

    def devices(self) -> Sequence[str]:
        """The devices at hand, by the names that :meth:`device` takes; the first is the default.

        Raises ``BackendUnavailableError``, which says why, where the library cannot run.
        """

    def device(self, name: str | None) -> NativeDevice:
        """The device of that name, the default one for ``None``; ``DeviceError`` if there is none."""

    def device_of(self, array: Array) -> NativeDevice | None:
        """Where ``array`` lies; ``None`` if it cannot be told (an array under a compiler)."""

    def device_name(self, device: NativeDevice) -> str:
        """The name by which :meth:`device` finds that device again; ``flag`` if there is but one."""

    def from_host(self, array: Any, device: NativeDevice) -> Array:
        """A NumPy array, copied to ``device`` (or shared, where that is the same memory)."""

    def to_host(self, array: Array) -> Any:
        """A new NumPy array of the same values and dtype, which shares no memory with ``array``."""

    def readable(self, array: Array) -> bool:
        """Whether a value can be read at once: no device to wait for, no compiler tracing."""

    def precision(self, name: str) -> Precision | None:
        """How the library computes in ``"tf32"``, ``"bfloat16"`` or ``"float16"``; ``None`` where it does not.

        ``"tf32"`` is leave to round the factors of float32 products to TF32: ``context`` gives it, for as long as it
        lasts, and a device without such products may make no use of it. The context of the others silences what the
        library says of overflow, which a loss scale counts on.
        """

    def synchronize(self, device: NativeDevice) -> None:
        """Wait until ``device`` has done all that was asked of it."""

    def memory(self, device: NativeDevice) -> Memory | None:
        """Free and total memory of ``device``; ``None`` where the library does not tell."""


class Model(Protocol):
    """What gradients and optimisers ask of a model; ``nnx.Module`` is one."""

    def parameters(self) -> dict[str, Array]:
        """The arrays that are trained, by dotted path."""

    def arrays(self) -> dict[str, Array]:
        """All arrays, by dotted path: parameters, frozen or not, and buffers."""

    def _rebind(self, arrays: Mapping[str, Array]) -> None:
        """Replace arrays by name. They are known to fit: no checks and no copies."""

    def _twin(
        self, training: bool, tracked: Mapping[str, Array], given: Mapping[str, Array] | None = None
    ) -> tuple[Model, Callable[..., None]]:
        """A shallow copy with tracked parameters, and a function that writes its rebound buffers back.

        ``given`` are the parameters that ``tracked`` was made of, where that is of another dtype.
        """
