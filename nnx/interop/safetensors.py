"""Weights in a file of the safetensors format, which holds arrays and nothing that can run.

The format: 8 bytes with the length of the header, little-endian; the header, which is JSON and says
where each array lies; then the arrays. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from nnx._errors import DTypeError, StateError
from nnx._typing import Array
from nnx.backend import to_numpy

FORMAT = "nnx"
VERSION = 1
"""Of the names and layouts of the arrays; counted up when one of them changes."""

_DTYPES = frozenset("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64".split())


class _HasArrays(Protocol):
    def arrays(self) -> Mapping[str, Array]: ...


def save_weights(path: str | os.PathLike[str], model: _HasArrays) -> None:
    """Write all arrays of a model to a safetensors file: its parameters and its buffers, by name.

    The file is written beside, flushed to the disk and renamed: at every moment ``path`` holds the old
    file or the whole new one.

    Args:
        path: the file; its folder must exist.
        model: a :class:`nnx.Module`, on any device.

    Raises:
        DTypeError: the format, or NumPy, has no such dtype.
        OSError: the file cannot be written.
    """
    import numpy as np
    from safetensors.numpy import save_file

    arrays = {}
    for name, array in model.arrays().items():
        host = to_numpy(array)
        if host.dtype.name not in _DTYPES:
            raise DTypeError(
                f"{name} has dtype {host.dtype}, which a file of weights cannot hold: "
                "cast the model first, e.g. with model.to(dtype='float32')"
            )
        arrays[name] = np.asarray(host, order="C")  # safetensors writes the memory as it lies
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist: make it first")
    beside = target.with_name(f".{target.name}.{os.urandom(4).hex()}.part")
    beside.touch(exist_ok=False)
    try:
        mode = beside.stat().st_mode
        save_file(arrays, beside, metadata={"format": FORMAT, "version": str(VERSION)})
        beside.chmod(mode)  # that of any new file; safetensors makes one for its owner alone
        _flush(beside)
        os.replace(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        _flush(target.parent)  # the new name, too


def load_weights(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a file of :func:`save_weights`.

    >>> import nnx, os, tempfile
    >>> model, other = nnx.Linear(2, 3), nnx.Linear(2, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nnx.save_weights(os.path.join(folder, "model.safetensors"), model)
    ...     _ = other.load(nnx.load_weights(os.path.join(folder, "model.safetensors")))
    >>> bool((other.weight == model.weight).all())
    True

    Returns:
        New NumPy arrays, by name, for ``model.load``.

    Raises:
        FileNotFoundError: there is no such file.
        StateError: the file is truncated or damaged, or was written by something else.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    with path.open("rb") as file:  # safetensors has no such clear errors for what it cannot open
        start = file.read(8)
    try:
        with safe_open(path, framework="np") as opened:
            _check_origin(path, opened.metadata() or {})
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (it is no dict)
    except SafetensorError as error:
        raise StateError(f"{path} {_fault(path, start)} ({error})") from error


def _check_origin(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise StateError(
            f"{path} was not written by nnx.save_weights (its format is {metadata.get('format')!r}), so that names and "
            "layouts of arrays may differ. Read it with safetensors.numpy.load_file, rename and transpose what needs "
            "it, and give the result to model.load"
        )
    version = metadata.get("version", "")
    if not version.isdecimal() or int(version) > VERSION:
        raise StateError(
            f"{path} has version {version!r} of the format, this nnx reads versions up to {VERSION}: update nnx"
        )


def _fault(path: Path, start: bytes) -> str:
    """What is wrong with a file that safetensors refuses."""
    size = path.stat().st_size
    length = int.from_bytes(start, "little")
    if size == 0:
        return "is empty: the program that wrote it did not finish; restore it from a copy"
    with path.open("rb") as file:
        file.seek(8)
        if file.read(1) not in (b"{", b""):
            return "is not a safetensors file: expected one of nnx.save_weights"
        if size < 8 + length:
            return (
                f"is truncated: its header ends at byte {8 + length}, the file at byte {size}; restore it from a copy"
            )
        file.seek(8)
        try:
            header = json.loads(file.read(length))
            end = 8 + length + max((at["data_offsets"][1] for name, at in header.items() if name != "__metadata__"))
        except (ValueError, LookupError, TypeError, AttributeError):
            return "is damaged: its header does not make sense; restore it from a copy"
    if size < end:
        return f"is truncated: its arrays end at byte {end}, the file at byte {size}; restore it from a copy"
    return "is damaged; restore it from a copy"


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
