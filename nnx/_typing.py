"""The types that every storey shares.

Python has no type for "an array of any library", so the aliases below are ``Any`` to the type
checker and a statement of intent to the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
        self, training: bool, tracked: Mapping[str, Array]
    ) -> tuple[Model, Callable[[Callable[[Array], Array]], None]]:
        """A shallow copy with tracked parameters, and a function that writes its rebound buffers back."""
