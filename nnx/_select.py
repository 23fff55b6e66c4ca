"""Parameters picked by name: what regularisers and constraints act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from nnx._errors import ArgumentError
from nnx._typing import Array

Pattern = str | Sequence[str] | None
"""Names with ``*`` and ``?``, one or several; ``None`` for the parameters of two axes or more."""


def as_patterns(pattern: Pattern) -> tuple[str, ...] | None:
    """``pattern`` as a tuple of patterns, or ``None``.

    Raises:
        ArgumentError: it is no string, and no sequence of strings.
    """
    if pattern is None:
        return None
    patterns = (pattern,) if isinstance(pattern, str) else pattern
    if not isinstance(patterns, Sequence) or not patterns or not all(isinstance(each, str) for each in patterns):
        raise ArgumentError(f"a pattern is a name such as '0.weight' or '*.weight', or a list of them, got {pattern!r}")
    return tuple(patterns)


def select(parameters: Mapping[str, Array], patterns: tuple[str, ...] | None) -> dict[str, Array]:
    """The parameters whose names match a pattern; for ``None``, those of two axes or more.

    Those are the weights: biases, and the scales of normalisation layers, have one.

    Raises:
        ArgumentError: a pattern matches no parameter, or there is none of two axes.
    """
    if patterns is None:
        chosen = {name: array for name, array in parameters.items() if len(array.shape) > 1}
        if not chosen:
            raise ArgumentError(
                f"no parameter that is trained has two axes or more; name those that are meant with pattern=, from "
                f"{_listed(parameters)}"
            )
        return chosen
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in parameters):
            raise ArgumentError(f"no parameter that is trained matches {pattern!r}; there are {_listed(parameters)}")
    return {name: a for name, a in parameters.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}


def described(name: str, *args: object, **options: object) -> str:
    """The text form of what was made with these arguments; options that are ``None`` were left out.

    >>> described("l2", 0.1, pattern=None), described("max_norm", 3.0, axis=0)
    ('l2(0.1)', 'max_norm(3.0, axis=0)')
    """
    given = [f"{key}={value!r}" for key, value in options.items() if value is not None]
    return f"{name}({', '.join([*map(repr, args), *given])})"


def _listed(parameters: Mapping[str, Array]) -> str:
    return ", ".join(parameters) or "none"
