"""Every exception of nnx. A message says what was expected, what came, and what to do.

Each also derives from the built-in exception that Python users would catch for the same mistake.
"""

from __future__ import annotations


class NnxError(Exception):
    """The base of every exception that nnx raises."""


class BackendUnavailableError(NnxError, ImportError):
    """An array library is not installed, or it is and cannot run here."""


class DeviceError(NnxError, ValueError):
    """A device flag or a device that does not exist, or arrays on two devices."""


class MixedLibrariesError(NnxError, TypeError):
    """Arrays of two libraries met in one operation."""


class ShapeError(NnxError, ValueError):
    """An array has the wrong shape."""


class DTypeError(NnxError, TypeError):
    """An array has the wrong dtype."""


class LabelError(NnxError, ValueError):
    """Class labels, or ids of an embedding, are out of range."""


class DifferentiationError(NnxError, TypeError):
    """Something cannot be differentiated, or the value of a tracked array was asked for."""


class MissingRuleError(DifferentiationError, NotImplementedError):
    """The derivative of a function of the standard has not been written yet."""


class OutOfMemoryError(NnxError, MemoryError):
    """A device has too little memory for what was asked of it."""


class UndeclaredStateError(NnxError, AttributeError):
    """A module was given an array in an attribute that it does not declare."""


class StateError(NnxError, ValueError):
    """Arrays do not fit the model, the optimiser or the file that they are meant for."""


class ArgumentError(NnxError, ValueError):
    """An argument is outside the values that make sense."""


class NonFiniteLossError(NnxError, FloatingPointError):
    """The loss became NaN or infinite. ``step`` is the 0-based step at which it did."""

    def __init__(self, message: str, *, step: int) -> None:
        super().__init__(message)
        self.step = step
