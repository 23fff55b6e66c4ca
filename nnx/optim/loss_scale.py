"""The loss scale of training in float16, which keeps small gradients from becoming 0."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from nnx._arguments import count, positive
from nnx._errors import ArgumentError, StateError
from nnx._recording import recorder, recorders
from nnx._typing import Array
from nnx.backend import asarray, device_of, library_of, namespace_of, native_device

LARGEST = 3.4028234e38
"""Of float32. A scale that would grow beyond stays as it is."""


class LossScale:
    """A factor of the loss that grows while gradients are finite, and shrinks when they are not.

    float16 has no numbers between 0 and 6·10⁻⁸, where many gradients are. The walk back therefore starts from the
    scale S in place of 1, and the update divides by S. With gradients g of an update, all parameters together:

        g finite:  good ← good + 1;  where good = interval:  S ← growth · S,  good ← 0
        else:      S ← max(backoff · S, smallest),  good ← 0;  the update changes nothing else

    Micikevicius et al., "Mixed precision training", ICLR 2018, section 3.2, with the rule of
    ``torch.amp.GradScaler``. Departure from torch: the scale does not fall below ``smallest``. S and good lie on
    the device of the model, and nothing waits for them.

    Give it to an optimiser, and the optimiser's to the gradients:

        optimizer = nnx.optim.Adam(1e-3, loss_scale=nnx.optim.LossScale())
        step = nnx.value_and_grad(f, precision="float16", loss_scale=optimizer.loss_scale)

    An optimiser has one of its own: what was multiplied by a scale must be divided by the same.

    Args:
        initial: S at first, greater than 0.
        growth: at least 1.
        backoff: greater than 0, less than 1.
        interval: how many updates with finite gradients, one after another, make the scale grow.
        smallest: greater than 0, at most ``initial``.

    Raises:
        ArgumentError: an argument is outside those values.

    >>> import nnx
    >>> nnx.optim.LossScale().scale
    32768.0
    """

    def __init__(
        self,
        initial: float = 2.0**15,
        *,
        growth: float = 2.0,
        backoff: float = 0.5,
        interval: int = 2000,
        smallest: float = 1.0,
    ) -> None:
        self._initial = positive("the initial loss scale", initial)
        self._growth = positive("growth", growth)
        self._backoff = positive("backoff", backoff)
        self._interval = count("interval", interval)
        self._smallest = positive("smallest", smallest)
        if self._growth < 1 or self._backoff >= 1:
            raise ArgumentError(
                f"a loss scale grows by a factor of at least 1 and shrinks by one less than 1, got growth={growth!r} "
                f"and backoff={backoff!r}"
            )
        if self._smallest > self._initial:
            raise ArgumentError(f"the initial loss scale is at least the smallest, {smallest!r}; got {initial!r}")
        self._scale: Array = None  # float32, 0-d, where the first loss lies
        self._good: Array = None  # int32, 0-d
        self._asked = False  # whether anybody has multiplied by it, or may have
        self._owner: weakref.ref[Any] | None = None  # the optimiser that divides by it

    @property
    def scale(self) -> float | Array:
        """The scale of the next step: a 0-d float32 array, or a float before the first step."""
        self._asked = True
        return self._initial if self._scale is None else self._scale

    @property
    def state(self) -> dict[str, Array]:
        """``"scale"`` and ``"good"``, as new 0-d arrays; empty before the first step."""
        if self._scale is None:
            return {}
        xp, device = namespace_of(self._scale), native_device(self._scale)
        pair = {"scale": self._scale, "good": self._good}
        return {name: xp.asarray(array, device=device, copy=True) for name, array in pair.items()}

    def load(self, state: Mapping[str, Array]) -> None:
        """Go on from a :attr:`state`; from the start for an empty one.

        Raises:
            StateError: names are missing or unknown.
        """
        if state and state.keys() != {"scale", "good"}:
            raise StateError(f"the state of a loss scale has scale and good; got {', '.join(sorted(state))}")
        self._scale, self._good = (state["scale"], state["good"]) if state else (None, None)

    def __getstate__(self) -> dict[str, Any]:
        """A copy is another optimiser's."""
        return self.__dict__ | {"_owner": None}

    def start(self, like: Array) -> Array:
        """What a walk back starts from, where ``like`` lies."""
        self._asked = True
        return self.placed(like)[0]

    def claim(self, optimizer: Any) -> None:
        """Be the scale of this optimiser, which is about to divide by it.

        Raises:
            StateError: it is that of another one, or nothing has ever been multiplied by it.
        """
        if not self._asked:
            raise StateError(
                "the optimiser has a loss scale, and no gradients were made with it, so that they would be divided by "
                "what they were not multiplied by: make them with nnx.value_and_grad(f, ..., "
                "loss_scale=optimizer.loss_scale)"
            )
        if self._owner is None or self._owner() is not optimizer:
            if self._owner is not None and self._owner() is not None:
                raise StateError(
                    "this loss scale is that of another optimiser, whose updates change it between your gradients and "
                    "your update: give each optimiser an nnx.optim.LossScale() of its own"
                )
            self._owner = weakref.ref(optimizer)

    def placed(self, like: Array) -> tuple[Array, Array]:
        """The scale and the number of good updates since it changed, where ``like`` lies."""
        if recorders and (recording := recorder()):
            if self._scale is None:
                recording.require_later("the first use of a loss scale")
            recording.require([self._scale], "a loss scale was not found beforehand")
            return self._scale, self._good
        if self._scale is None:
            xp, device = namespace_of(like), native_device(like)
            self._scale = xp.full((), self._initial, dtype=xp.float32, device=device)
            self._good = xp.zeros((), dtype=xp.int32, device=device)
        elif self._is_elsewhere(like):
            here = device_of(like)
            self._scale = asarray(self._scale, device=here, dtype="float32")
            self._good = asarray(self._good, device=here, dtype="int32")
        return self._scale, self._good

    def _is_elsewhere(self, like: Array) -> bool:
        """Whether the scale was loaded, or the model has moved."""
        if library_of(self._scale).backend is not library_of(like).backend:
            return True
        here, there = native_device(self._scale), native_device(like)
        return here is not None and there is not None and here != there

    def after(self, norm: Array) -> tuple[Array, Array, tuple[Array, Array]]:
        """What an update makes of the scale.

        Args:
            norm: of the gradients, as they came, or anything that is finite if all of them are; 0-d.

        Returns:
            1 / S, whether the gradients are finite, and the next S and good, for :meth:`put`.
        """
        scale, good = self.placed(norm)
        xp = namespace_of(scale, norm)
        finite = xp.isfinite(norm)
        most = LARGEST / self._growth
        enough = good >= self._interval - 1
        grown = xp.where(xp.logical_and(enough, scale <= most), xp.minimum(scale, most) * self._growth, scale)
        smaller = xp.maximum(scale * self._backoff, self._smallest)
        kept = xp.logical_and(finite, xp.logical_not(enough))
        return 1 / scale, finite, (xp.where(finite, grown, smaller), xp.where(kept, good + 1, 0))

    def put(self, pair: tuple[Array, Array]) -> None:
        """Take the next scale and its count."""
        self._scale, self._good = pair

    def excused(self, loss: Array) -> Array:
        """``loss``, with 0 for what is not finite while the scale can still shrink: such a step changes nothing."""
        scale, _ = self.placed(loss)
        xp = namespace_of(loss, scale)
        return xp.where(xp.logical_or(xp.isfinite(loss), scale <= self._smallest), loss, 0.0)

    def __repr__(self) -> str:
        return (
            f"LossScale({self._initial:g}, growth={self._growth:g}, backoff={self._backoff:g}, "
            f"interval={self._interval}, smallest={self._smallest:g})"
        )


def checked(loss_scale: Any) -> LossScale | None:
    """What an optimiser was given as its loss scale.

    Raises:
        ArgumentError: it is neither a :class:`LossScale` nor ``None``.
    """
    if loss_scale is not None and not isinstance(loss_scale, LossScale):
        raise ArgumentError(f"loss_scale is an nnx.optim.LossScale, or None for none; got {loss_scale!r}")
    return loss_scale
