"""What keeps a model usable when its loss is no longer a number."""

from __future__ import annotations

import math
from typing import Any

from nnx._errors import NonFiniteLossError
from nnx._typing import Array
from nnx.backend import dtype_kind, is_array, namespace_of, readable, to_numpy
from nnx.tape.primitive import untracked

PERIOD = 50
"""Where a loss cannot be read without waiting for a device, so many are read at once."""

REMEDY = "Lower the learning rate, clip the gradients with clip_norm=, or look for NaN and infinity in the data"


class Guard:
    """Looks at each loss, and takes the model back to where it was finite.

    A loss that can be read at once is read before the step changes anything. Others stay on their
    device; every ``PERIOD`` steps they are read, and the model and the optimiser are copied there, to
    go back to; the last copy is kept. It is made of finite arrays only, because an infinite gradient
    shows in the parameters one step before it shows in the loss.

    Args:
        model: whose arrays are guarded.
        optimizer: whose state goes with them.
        step: the number of steps done before.
    """

    def __init__(self, model: Any, optimizer: Any, step: int) -> None:
        self._model = model
        self._optimizer = optimizer
        self.step = step
        self._losses: list[Array] = []
        # What is infinite from the start, such as a mask of -inf, may stay so.
        self._watched = [name for name, array in model.arrays().items() if _all_finite([array])]
        self._save()

    def read(self, loss: Any, x: Array) -> float | None:
        """The loss of the step under way, if it can be read at once. Call it before the step ends.

        Raises:
            NonFiniteLossError: it is NaN or infinite.
        """
        loss = untracked(loss)
        if type(loss) is not float and not (is_array(loss) and loss.shape == () and readable(loss)):
            return None
        value = float(loss)
        if math.isfinite(value):
            return value
        if not self._arrays_are_finite():
            raise self._back(f"the loss became {value} at step {self.step}, after an update with an infinite gradient")
        raise NonFiniteLossError(
            f"the loss became {value} at step {self.step}{self._cause(x)}. The model is as before that step. {REMEDY}",
            step=self.step,
        )

    def done(self, loss: Array, value: float | None) -> None:
        """A step is done. ``value`` is what :meth:`read` answered."""
        self.step += 1
        if value is None:
            self._losses.append(untracked(loss))
            if len(self._losses) == PERIOD:
                self.check()

    def check(self) -> None:
        """Look at the steps since the last check, and make this a state to go back to.

        Raises:
            NonFiniteLossError: a loss or an array of the model is NaN or infinite.
        """
        if self._losses:
            losses = to_numpy(namespace_of(*self._losses).stack(self._losses))
            first = self.step - len(self._losses)
            for step, loss in enumerate(map(float, losses), start=first):
                if not math.isfinite(loss):
                    raise self._back(f"the loss became {loss} at step {step}", step)
            self._losses.clear()
        if not self._arrays_are_finite():
            raise self._back(f"the parameters became NaN or infinite by the update of step {self.step - 1} or before")
        self._save()

    def _arrays_are_finite(self) -> bool:
        arrays = self._model.arrays()
        return _all_finite([arrays[name] for name in self._watched if name in arrays])

    def _cause(self, x: Array) -> str:
        if not _all_finite([x]):
            return ": the batch holds NaN or infinity"
        broken = [name for name in self._model.parameters() if name not in self._watched]
        return f": before training, there was NaN or infinity in {', '.join(broken)}" if broken else ""

    def _save(self) -> None:
        self._saved_step = self.step
        self._arrays = {
            name: namespace_of(array).asarray(array, copy=True) for name, array in self._model.arrays().items()
        }
        self._state = self._optimizer.state  # copies, too

    def _back(self, what: str, step: int | None = None) -> NonFiniteLossError:
        self._model._rebind(self._arrays)
        self._optimizer.load(self._state)
        failed, self.step = self.step if step is None else step, self._saved_step
        return NonFiniteLossError(
            f"{what}. The model and the optimiser are as before step {self.step}, when all was last seen to be "
            f"finite. {REMEDY}",
            step=failed,
        )


def _all_finite(arrays: Any) -> bool:
    flags = []
    for array in arrays:
        xp = namespace_of(array)
        if dtype_kind(xp, array.dtype) == "real floating":
            flags.append(xp.all(xp.isfinite(array)))
    return not flags or bool(to_numpy(namespace_of(*flags).stack(flags)).all())
