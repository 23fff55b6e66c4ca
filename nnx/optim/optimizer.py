"""What all optimisers share: the layout of the parameters, the step count, the rate and clipping."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from nnx._arguments import positive
from nnx._errors import DTypeError, StateError
from nnx._recording import recorder, recorders
from nnx._typing import Array, Model
from nnx.backend import activators, asarray, device_of, dtype_kind, due, library_of, namespace_of, native_device
from nnx.optim.clip import clip_scale, global_norm
from nnx.optim.flat import FlatParameters, gather
from nnx.optim.loss_scale import LossScale, checked
from nnx.optim.schedules import Schedule, as_schedule

_SCALE = "loss_scale."
"""Before the names of what the loss scale has, in the state of an optimiser."""


class Optimizer:
    """The base of the optimisers. A subclass names its state and writes :meth:`_advance`.

    At the first update the model's parameters are laid out in one buffer for each dtype, and, where the
    library has views, bound to views of it; updates then change those arrays in place. Copy an array
    of which you need the value of today. Arrays that are replaced between updates, as by
    ``model.load``, are taken over with their new values.

    Args:
        rate: a number greater than 0, or a schedule: see :mod:`nnx.optim.schedules`.
        clip_norm: the largest norm of all gradients together, as in :func:`nnx.optim.clip_by_norm`;
            ``None`` for no limit.
        loss_scale: what the gradients come multiplied by, see :class:`nnx.optim.LossScale`; ``None`` for 1. An
            update by gradients that are not all finite then changes nothing but the scale, and is not counted.

    Attributes:
        loss_scale: as given; :func:`nnx.value_and_grad` is to have the same.

    Raises:
        ArgumentError: an argument is outside the values that make sense.
    """

    slots: tuple[str, ...] = ()
    """Names of the state that has an element for each element of a parameter."""

    def __init__(
        self, rate: float | Schedule, *, clip_norm: float | None = None, loss_scale: LossScale | None = None
    ) -> None:
        self._rate = as_schedule(rate)
        self.loss_scale = checked(loss_scale)
        self._clip_norm = None if clip_norm is None else positive("clip_norm", clip_norm)
        self._loaded: dict[str, Array] = {}  # waits for the next update, which has the model
        self._model: Model | None = None
        self._names: frozenset[str] = frozenset()
        self._groups: list[FlatParameters] = []
        self._step: Array = 0  # updates done; int32, 0-d, on the device once there is a model

    def _advance(
        self, group: FlatParameters, gradients: Sequence[Array], step: Array, rate: Array, scale: Array | None
    ) -> tuple[Array, Sequence[Array]]:
        """The new flat parameters and state of a group; both may be the old ones, changed in place.

        Args:
            group: 1-D parameters ``flat`` and ``state``, in the order of ``slots``.
            gradients: as :func:`nnx.optim.flat.gather_gradients` answers them.
            step: number of this update, from 1: a 0-d int32 array.
            rate: a Python float, or a 0-d array of the dtype of the group.
            scale: what the gradients are to be multiplied by, 0-d; ``None`` for 1. Where it is negative, the
                gradients are not finite, and parameters and state must stay as they are.
        """
        raise NotImplementedError(f"{type(self).__name__} has no update rule: write _advance")

    def update(self, model: Model, grads: Mapping[str, Array]) -> None:
        """Take one step: change the model's parameters by their gradients.

        Args:
            model: the model; at later updates the same one.
            grads: the gradient of each of ``model.parameters()``, by name, as
                :func:`nnx.value_and_grad` answers them.

        Raises:
            StateError: gradients are missing or unknown, or this is not the model of the first update,
                or its parameters were frozen, unfrozen, cast or moved to another device since; or the loss scale
                is that of another optimiser, or was not used for the gradients.
            ShapeError, DTypeError: a gradient does not fit its parameter.
            MixedLibrariesError, DeviceError: a gradient lies elsewhere than its parameter.

        Whatever it raises, model and state are as they were.
        """
        if activators and (context := due((model.parameters(),))) is not None:
            with context:
                self.update(model, grads)
            return
        parameters = model.parameters()
        if self.loss_scale is not None:
            self.loss_scale.claim(self)
        if self._model is not model:
            self._bind(model, parameters)
        if recorders and (recording := recorder()):
            recording.require([group.flat for group in self._groups], "an optimiser was not found beforehand")
        groups = self._groups
        self._check_names(parameters, grads)
        foreign = [group.foreign(parameters) for group in groups]
        found = [group.gradients(grads) for group in groups]
        for group, which in zip(groups, foreign, strict=True):
            if which:
                model._rebind(group.adopt(parameters, which))

        xp = groups[0].xp
        gradients = [gather(xp, group.flat, each) for group, each in zip(groups, found, strict=True)]
        rate, step = self.rate, self._step + 1
        if self.loss_scale is None:
            scale = None if self._clip_norm is None else clip_scale(xp, global_norm(xp, gradients), self._clip_norm)
            done, following = step, None
        else:
            norm = global_norm(xp, gradients)
            scale, finite, following = self.loss_scale.after(norm)
            if self._clip_norm is not None:
                scale = scale * clip_scale(xp, norm * scale, self._clip_norm)
            scale = xp.where(finite, scale, -1.0)
            done = self._step + xp.astype(finite, xp.int32)
        bound: dict[str, Array] = {}
        for group, each in zip(groups, gradients, strict=True):
            flat, state = self._advance(group, each, step, _cast(group, rate), _cast(group, scale))
            bound |= group.replace(flat, state)
        self._step = done
        if following is not None:
            self.loss_scale.put(following)  # type: ignore[union-attr]
        if bound:
            model._rebind(bound)

    @property
    def rate(self) -> float | Array:
        """The rate of the next update: a float, or what the schedule answers, a 0-d array."""
        if not callable(self._rate):
            return self._rate
        if not self._groups:
            return self._rate(float(self._loaded.get("step", 0)))
        if activators and (context := due((self._step,))) is not None:
            with context:
                return self.rate
        xp = self._groups[0].xp
        dtypes = [group.dtype for group in self._groups]
        rate = self._rate(xp.astype(self._step, xp.result_type(*dtypes) if len(dtypes) > 1 else dtypes[0]))
        return float(rate) if isinstance(rate, (int, float)) else rate

    # --- state --------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Array]:
        """All that a checkpoint needs beside the model and the arguments, as new arrays by name.

        ``"step"`` is the number of updates done, int32 of shape ``()``; the others are named
        ``<slot>.<dtype>`` and have one element for each element of the parameters of that dtype, in
        the order of ``model.parameters()``. Empty before the first update. With a loss scale there are
        ``"loss_scale.scale"`` and ``"loss_scale.good"`` besides.
        """
        scale = {} if self.loss_scale is None else self.loss_scale.state
        scaled = {_SCALE + name: array for name, array in scale.items()}
        if not self._groups:
            return self._loaded | scaled
        xp = self._groups[0].xp
        device = native_device(self._groups[0].flat)
        arrays = {"step": self._step}
        for group in self._groups:
            arrays |= {_key(group, slot): array for slot, array in zip(self.slots, group.state, strict=True)}
        return {name: xp.asarray(array, device=device, copy=True) for name, array in arrays.items()} | scaled

    def load(self, state: Mapping[str, Array]) -> None:
        """Go on from the :attr:`state` of an optimiser of the same kind.

        The next update may be that of another model or device: the arrays, which may be of any
        library, are copied to where its parameters lie. An empty mapping starts anew, and so does a loss scale of
        which the state says nothing.

        Raises:
            StateError: names are missing or unknown. Sizes are checked at the next update.
        """
        scale = {name.removeprefix(_SCALE): array for name, array in state.items() if name.startswith(_SCALE)}
        state = {name: array for name, array in state.items() if not name.startswith(_SCALE)}
        if scale and self.loss_scale is None:
            raise StateError(
                f"the state has a loss scale, and this {type(self).__name__} has none: make it with "
                "loss_scale=nnx.optim.LossScale()"
            )
        names = {name.partition(".")[0] for name in state}
        if state and names != {"step", *self.slots}:
            raise StateError(
                f"the state of {type(self).__name__} has {', '.join(('step', *self.slots))}; "
                f"got {', '.join(sorted(names))}: load it into an optimiser of the kind that it was saved from"
            )
        if self.loss_scale is not None:
            self.loss_scale.load(scale)
        self._loaded, self._model, self._groups, self._step = dict(state), None, [], 0

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles have the state, and lay the parameters out anew at their first update."""
        loaded = {name: array for name, array in self.state.items() if not name.startswith(_SCALE)}
        unbound: dict[str, Any] = {"_loaded": loaded, "_model": None, "_groups": [], "_step": 0}
        return self.__dict__ | unbound | {"loss_scale": copy.copy(self.loss_scale)}

    def _bind(self, model: Model, parameters: Mapping[str, Array]) -> None:
        """Lay out the model's parameters and make the state, or take the loaded one."""
        if recorders and (recording := recorder()):
            recording.require_later("the first update of an optimiser")
        if self._model is not None:
            raise StateError(
                f"this {type(self).__name__} holds the state of another model: make one optimiser for each model, "
                "or hand its state on with optimizer.load(optimizer.state)"
            )
        if not parameters:
            raise StateError("the model has no parameters to train: all are frozen, or it has none")
        groups, step = _lay_out(parameters), self._loaded.get("step", 0)
        known = {"step", *(_key(group, slot) for group in groups for slot in self.slots)}
        if self._loaded and self._loaded.keys() != known:
            raise StateError(
                f"the loaded state does not fit the model, for which it needs {', '.join(sorted(known))}; "
                f"got {', '.join(sorted(self._loaded))}"
            )
        for group in groups:
            group.state = [self._slot(group, _key(group, slot)) for slot in self.slots]
        xp, first = groups[0].xp, groups[0].flat
        if self._loaded:
            step = xp.astype(_moved(step, first), xp.int32)
        else:
            step = xp.zeros((), dtype=xp.int32, device=native_device(first))
        self._model, self._names = model, frozenset(parameters)
        self._groups, self._step, self._loaded = groups, step, {}

    def _slot(self, group: FlatParameters, key: str) -> Array:
        if not self._loaded:
            return group.xp.zeros_like(group.flat)
        array = _moved(self._loaded[key], group.flat)
        if array.shape != group.flat.shape or array.dtype != group.dtype:
            raise StateError(
                f"the loaded state does not fit the model: {key} should have shape {tuple(group.flat.shape)} and "
                f"dtype {group.dtype}, as many elements as the parameters of that dtype; "
                f"got {tuple(array.shape)} and {array.dtype}"
            )
        return group.xp.asarray(array, device=native_device(array), copy=True)

    def _check_names(self, parameters: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        known = self._names
        if parameters.keys() != known:
            gone, new = sorted(known - parameters.keys()), sorted(parameters.keys() - known)
            raise StateError(
                f"the model's parameters are not those of the first update ({_listed(gone=gone, new=new)}): make a "
                "new optimiser after freeze, unfreeze or a change of layers"
            )
        if grads.keys() != known:
            missing, unknown = sorted(known - grads.keys()), sorted(grads.keys() - known)
            raise StateError(
                f"the gradients do not fit the model ({_listed(missing=missing, unknown=unknown)}): one was expected "
                "for each of model.parameters(), as nnx.value_and_grad(f)(model, ...) answers them"
            )


def _lay_out(parameters: Mapping[str, Array]) -> list[FlatParameters]:
    xp = namespace_of(*parameters.values())
    by_dtype: dict[str, dict[str, Array]] = {}
    for name, array in parameters.items():
        if dtype_kind(xp, array.dtype) != "real floating":
            raise DTypeError(
                f"{name} has dtype {array.dtype}, and only parameters of a real floating-point dtype can be trained: "
                "cast it, or declare it nnx.Buffer"
            )
        by_dtype.setdefault(str(array.dtype), {})[name] = array
    backend = library_of(next(iter(parameters.values()))).backend
    views = backend is not None and backend.views
    return [FlatParameters(xp, arrays, views=views) for arrays in by_dtype.values()]


def _key(group: FlatParameters, slot: str) -> str:
    """``<slot>.<dtype>``; libraries that print ``library.float32`` agree with those that print ``float32``."""
    return f"{slot}.{str(group.dtype).rpartition('.')[2]}"


def _moved(array: Array, like: Array) -> Array:
    """``array``, of any library, where ``like`` lies."""
    return asarray(array, device=device_of(like))


def _cast(group: FlatParameters, scalar: Array) -> Array:
    """A 0-d array in the dtype of the group; ``None`` and Python numbers as they are."""
    if scalar is None or isinstance(scalar, float) or scalar.dtype == group.dtype:
        return scalar
    return group.xp.astype(scalar, group.dtype)


def _listed(**names: list[str]) -> str:
    return "; ".join(f"{what}: {', '.join(each)}" for what, each in names.items() if each)
