"""Class labels as rows of zeros and a one."""

from __future__ import annotations

from typing import Self

from nnx._arguments import count
from nnx._errors import DTypeError, LabelError, ShapeError
from nnx._typing import Array, Namespace
from nnx.backend import (
    HOST,
    activating,
    is_array,
    load_backend,
    load_namespace,
    named_dtype,
    namespace_of,
    native_device,
    to_numpy,
)
from nnx.preprocessing._transform import Transform


@activating
def one_hot(labels: Array, classes: int, *, dtype: str = "float32") -> Array:
    """Rows of zeros with a one at the label: y_ij = 1 where j = label_i, else 0.

    Args:
        labels: integers from 0 to classes - 1, any shape. Waits for the device, to see that they are.
        classes: how many classes there are.
        dtype: of the answer.

    Returns:
        Shape (..., classes), on the device of the labels.

    Raises:
        LabelError: a label is negative, or too large.
        DTypeError: the labels are no integers, or ``dtype`` is none of the standard.

    >>> import nnx
    >>> nnx.preprocessing.one_hot(nnx.asarray([2, 0]), 3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    count("classes", classes)
    xp = _require_integers(labels)
    low, high = _extremes(xp, labels)
    if low < 0 or high >= classes:
        raise LabelError(f"labels from 0 to {classes - 1} were expected, got labels from {low} to {high}")
    if classes - 1 > xp.iinfo(labels.dtype).max:
        labels = xp.astype(labels, xp.int32)
    ids = xp.arange(classes, dtype=labels.dtype, device=native_device(labels))
    return xp.astype(labels[..., None] == ids, named_dtype(xp, dtype))


class OneHot(Transform):
    """One column for each label that the data have: :func:`one_hot` for labels such as 1, 2, 3 or 10, 20.

    Shape: (...) -> (..., classes).

    Args:
        dtype: of the answer.

    Raises:
        LabelError: a label is negative; (when it is called) a label is none of those it was fitted to.
        DTypeError: the labels are no integers, or ``dtype`` is none of the standard.

    >>> import nnx
    >>> encode = nnx.preprocessing.OneHot().fit(nnx.asarray([10, 30, 20, 10]))
    >>> y = encode(nnx.asarray([30, 10]))
    >>> y
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    >>> encode.inverse(y)
    array([30, 10])
    """

    state = ("classes",)

    def __init__(self, *, dtype: str = "float32") -> None:
        super().__init__()
        named_dtype(load_namespace(load_backend(HOST)), dtype)
        self.dtype = dtype

    @property
    def classes(self) -> Array:
        """The labels of the columns, in order."""
        return self._array("classes")

    @activating
    def fit(self, x: Array) -> Self:
        """Learn which labels there are; answers this transform. Waits for the device.

        Args:
            x: integers of 0 or more, any shape.

        Raises:
            LabelError: a label is negative.
            DTypeError: the labels are no integers.
            ShapeError: there is no label.
        """
        xp = _require_integers(x)
        if 0 in x.shape:
            raise ShapeError(f"{self!r} expected at least one label, got shape {tuple(x.shape)}")
        low, high = _extremes(xp, x)
        if low < 0:
            raise LabelError(f"labels of 0 or more were expected, got labels from {low} to {high}")
        self._arrays = {"classes": xp.sort(xp.unique_values(x))}
        return self

    @activating
    def __call__(self, x: Array) -> Array:
        """The rows of zeros and a one. Waits for the device, to see that the labels are known."""
        classes = self.classes
        _require_integers(x)
        xp = namespace_of(x, classes)
        hit = xp.astype(x, classes.dtype)[..., None] == classes
        if not bool(to_numpy(xp.all(xp.any(hit, axis=-1)))):
            low, high = _extremes(xp, x)
            raise LabelError(
                f"{self!r} was fitted to {classes.shape[0]} labels, and got others among labels from {low} to {high}: "
                "fit it to data that have all of them"
            )
        return xp.astype(hit, named_dtype(xp, self.dtype))

    @activating
    def inverse(self, y: Array) -> Array:
        """The label of the largest element of each row."""
        classes = self.classes
        if not y.shape or y.shape[-1] != classes.shape[0]:
            raise ShapeError(f"{self!r} expected an array of shape (..., {classes.shape[0]}), got {tuple(y.shape)}")
        xp = namespace_of(y, classes)
        return xp.reshape(xp.take(classes, xp.reshape(xp.argmax(y, axis=-1), (-1,)), axis=0), y.shape[:-1])

    def _arguments(self) -> str:
        return "" if self.dtype == "float32" else f"dtype={self.dtype!r}"


def _require_integers(labels: Array) -> Namespace:
    if not is_array(labels):
        raise DTypeError(f"labels are an array of integers, got a {type(labels).__name__}: call nnx.asarray(...)")
    xp = namespace_of(labels)
    if not xp.isdtype(labels.dtype, "integral"):
        raise DTypeError(f"labels are integers, got dtype {labels.dtype}: cast them")
    return xp


def _extremes(xp: Namespace, labels: Array) -> tuple[int, int]:
    """The least and the greatest label; 0 and 0 if there is none."""
    return (int(to_numpy(xp.min(labels))), int(to_numpy(xp.max(labels)))) if 0 not in labels.shape else (0, 0)
