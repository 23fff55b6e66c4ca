"""How a NumPy function is done on arrays of the twin: now, or recorded in a capture and done at each launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cupy import _memory, _state
from cupy._array import ndarray


def operate(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function`` of the NumPy arrays beneath; what it answers is wrapped, and lies on the current device.

    A result that shares memory with an argument is a view of it, others get memory of the current allocator.
    """
    arrays: list[ndarray] = []
    hosts, keywords = _bare(args, arrays), _bare(kwargs, arrays)
    _state.check(arrays)
    capture = _state.capture()
    results = _state.quietly(function, *hosts, **keywords)
    fresh: list[tuple[int, ndarray]] = []
    flat: list[Any] = []
    made = _wrapped(results, arrays, flat, fresh)
    _state.local.launches += bool(fresh)  # a view needs none
    if capture is not None and fresh:
        targets = [(i, array._host) for i, array in fresh]  # not the arrays: a graph does not keep memory alive

        def run() -> None:
            again: list[Any] = []
            _leaves(_state.quietly(function, *hosts, **keywords), again)
            for i, host in targets:
                np.copyto(host, again[i], casting="unsafe")

        for _, host in targets:
            _memory.spoil(host)
        capture.add(run, [array._lease.block for array in (*arrays, *(array for _, array in fresh))])
    return made


def change(function: Callable[..., Any], target: ndarray, *args: Any, **kwargs: Any) -> None:
    """``function`` of the NumPy arrays beneath, which writes to the first of them."""
    arrays = [target]
    host = target._host
    hosts, keywords = _bare(args, arrays), _bare(kwargs, arrays)
    if _state.capture() is not None:  # what it complains of, it must complain of now
        _state.quietly(function, host.copy(), *hosts, **keywords)
    _state.launch(lambda: _state.quietly(function, host, *hosts, **keywords), arrays)


def _bare(tree: Any, arrays: list[ndarray]) -> Any:
    """A tree of arguments with the NumPy arrays beneath, whose wrappers are added to ``arrays``."""
    if isinstance(tree, ndarray):
        arrays.append(tree)
        return tree._host
    if isinstance(tree, np.ndarray):
        raise TypeError(f"Unsupported type {type(tree)}")
    if isinstance(tree, tuple | list):
        return type(tree)(_bare(x, arrays) for x in tree) if type(tree) in (tuple, list) else tree
    if isinstance(tree, dict):
        return {name: _bare(x, arrays) for name, x in tree.items()}
    return tree


def _leaves(tree: Any, flat: list[Any]) -> None:
    if isinstance(tree, tuple | list):
        for x in tree:
            _leaves(x, flat)
    else:
        flat.append(tree)


def _wrapped(tree: Any, arrays: list[ndarray], flat: list[Any], fresh: list[tuple[int, ndarray]]) -> Any:
    """Results as arrays of the twin; those with memory of their own go to ``fresh``, with their place."""
    if isinstance(tree, tuple | list):
        values = [_wrapped(x, arrays, flat, fresh) for x in tree]
        return values if isinstance(tree, list) else tuple(values)  # CuPy's results have no names
    flat.append(tree)
    if isinstance(tree, np.generic):
        tree = np.asarray(tree)
    elif not isinstance(tree, np.ndarray):
        return tree
    for array in arrays:
        if tree is array._host:
            return array
    if tree.base is not None:
        for array in arrays:
            if np.may_share_memory(tree, array._host) or _memory.root_of(tree) is array._lease.block.root:
                return ndarray._over(_writable(tree), array._lease)
    made = fresh_array(tree)
    fresh.append((len(flat) - 1, made))
    return made


def fresh_array(host: np.ndarray) -> ndarray:
    """An array with memory of the current allocator, of these values."""
    if _memory.current_pool() is None:
        return ndarray._over(host, _memory.adopt(host))
    mine, lease = _memory.allocate(host.shape, host.dtype)
    mine[...] = host
    return ndarray._over(mine, lease)


def _writable(view: np.ndarray) -> np.ndarray:
    """NumPy protects some views (broadcast_to, diagonal); CuPy does not."""
    if view.flags.writeable:
        return view
    root = _memory.root_of(view)
    start = view.ctypes.data - root.ctypes.data
    return np.ndarray(view.shape, view.dtype, _memory.in_order(root), start, view.strides)
