"""Checks of gradients and of backends, for the tests of nnx and for those of its users.

Both raise ``AssertionError`` with a message that says what disagrees, so they are a whole test each.
"""

from nnx.testing.gradients import check_gradients
from nnx.testing.parity import available_backends, check_backends

__all__ = ["available_backends", "check_backends", "check_gradients"]
