"""JAX without ``jit``, which is not how it is meant to be used: for information."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmark.overhead.peer import Differentiator, Runs, of_some
from benchmark.overhead.programs import Case


class Jax(Differentiator):
    packages = ("jax",)

    def __init__(self) -> None:
        jax.config.update("jax_enable_x64", True)

    def runs(self, case: Case) -> Runs:
        arrays = [jnp.asarray(a) for a in case.arrays()]

        def program(*arguments: Any) -> Any:
            return case.program(jnp, *arguments)

        by = [arrays[place] for place in case.by]
        alone = of_some(program, arrays, case.by)
        gradient = jax.grad(program, case.by)
        return Runs(
            lambda: jax.block_until_ready(program(*arrays)),
            lambda: jax.block_until_ready(jax.vjp(alone, *by)[0]),
            lambda: jax.block_until_ready(gradient(*arrays)),
        )
