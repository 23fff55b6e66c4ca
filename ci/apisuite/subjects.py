"""The namespaces under test: libraries beneath, and nnx over each. Imported by the suite's own process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import nnx
from apisuite.recorded import recorded

LIBRARIES = {
    "numpy": ("array_api_compat.numpy", None),
    "strict": ("array_api_strict", None),
    "strict:device1": ("array_api_strict", "device1"),
}
"""By name: the module, and the device on which arrays are made (``None``: that of the library's choice).

Arrays of ``device1`` refuse to be mixed with those of another device and to be read through NumPy, as
arrays of a GPU do.
"""

CREATION = ("arange", "asarray", "empty", "eye", "from_dlpack", "full", "linspace", "ones", "zeros")
"""The functions of the standard that choose a device, beside those of the extensions."""


ARRAYS = ("raw", "constant", "recorded")
"""What a run is about: arrays of the library beneath; tracked ones without a gradient; those that carry one."""


def namespace(library: str, arrays: str) -> Any:
    """The namespace that makes such arrays.

    The parts of nnx are loaded in any case: hypothesis draws from the constants of the modules that are
    loaded, and all runs are to draw alike.
    """
    module, device = LIBRARIES[library]
    beneath = import_module(module)
    if device is not None:
        beneath = on_device(beneath, beneath.Device(device))
    tracked = nnx.differentiable(beneath)
    if arrays == "recorded":
        return recorded(tracked)
    return beneath if arrays == "raw" else tracked


def on_device(xp: ModuleType, device: Any) -> ModuleType:
    """A copy of a namespace that makes arrays on ``device``, where the caller names none."""
    found = _with_device(xp, CREATION, device)
    found.fft = _with_device(xp.fft, ("fftfreq", "rfftfreq"), device)
    found.linalg = xp.linalg
    return found


def _with_device(module: ModuleType, names: tuple[str, ...], default: Any) -> ModuleType:
    found = ModuleType(module.__name__)
    vars(found).update({name: getattr(module, name) for name in dir(module)})
    vars(found).update({name: _made_on(getattr(module, name), default) for name in names})
    return found


def _made_on(function: Callable[..., Any], default: Any) -> Callable[..., Any]:
    @functools.wraps(function)
    def make(*args: Any, device: Any = None, **options: Any) -> Any:
        return function(*args, device=default if device is None else device, **options)

    return make
