"""Tiles of a sum of products that stay in vector registers: the inner part of the loops of convolution.

LLVM does not make them of scalar code, so that their instructions are written here.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from numba.core import types

from nnx_numpy.compiled._simd import REGISTERS, Vectors, borrowed, cgutils, data, intrinsic

VECTORS = 2
"""Vectors in a row of a tile, at most."""

ROWS = 8 if REGISTERS == 32 else 6
"""Rows of a tile, at most: its sums, two vectors of one factor and one of the other are in registers."""

TERMS = 128
"""Terms added in registers; their sums are added in memory. One after another, many would cost precision."""


@intrinsic
def tile(
    typing: Any,
    rows: Any,
    vectors: Any,
    c: Any,
    c_at: Any,
    c_step: Any,
    s: Any,
    s_at: Any,
    s_step: Any,
    a: Any,
    a_at: Any,
    a_step: Any,
    a_next: Any,
    b: Any,
    b_at: Any,
    b_next: Any,
    b_vector: Any,
    segments: Any,
    count: Any,
    length: Any,
) -> Any:
    """Compute up to ``ROWS`` rows of up to ``VECTORS`` vectors: C[r, :] = S[r, :] + Σ A[r, t] B[t, :].

    All arrays are flat but ``segments``. Row r begins at ``c_at + r·c_step``, and likewise in S and A. The sum is over
    ``count`` segments, of ``length`` terms each: in A they are ``a_next`` apart, in B ``b_next``, and they begin at
    ``segments[0, i]`` beyond ``a_at`` and at ``segments[1, i]`` beyond ``b_at``. Vectors of B are ``b_vector`` apart.
    """
    n = types.intp
    return types.void(n, n, c, n, n, s, n, n, a, n, n, n, b, n, n, n, segments, n, n), _write_tile


def _write_tile(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """A variant for each number of rows and vectors, and a branch to it."""
    vectors = Vectors(context, builder, signature.args[2].dtype)
    shape = context.make_array(signature.args[16])(context, builder, args[16]).shape
    most = cgutils.unpack_tuple(builder, shape, 2)[1]
    rows, some, *numbers = data(context, builder, signature, args)
    done = builder.append_basic_block("done")
    switch = builder.switch(builder.add(builder.mul(some, some.type(ROWS + 1)), rows), done)
    for v in range(1, VECTORS + 1):
        for r in range(1, ROWS + 1):
            block = builder.append_basic_block(f"tile_{r}_{v}")
            switch.add_case(some.type(v * (ROWS + 1) + r), block)
            builder.position_at_end(block)
            _write_variant(builder, vectors, r, v, most, *numbers)
            builder.branch(done)
    builder.position_at_end(done)
    return context.get_dummy_value()


def _write_variant(
    builder: Any,
    vectors: Vectors,
    rows: int,
    some: int,
    most: Any,
    c: Any,
    c_at: Any,
    c_step: Any,
    s: Any,
    s_at: Any,
    s_step: Any,
    a: Any,
    a_at: Any,
    a_step: Any,
    a_next: Any,
    b: Any,
    b_at: Any,
    b_next: Any,
    b_vector: Any,
    segments: Any,
    count: Any,
    length: Any,
) -> None:
    n = count.type

    def line(at: Any, i: Any, step: Any) -> Any:
        return builder.add(at, builder.mul(i, step))

    sums = [[cgutils.alloca_once_value(builder, vectors.zero) for _ in range(some)] for _ in range(rows)]
    terms, base = cgutils.alloca_once(builder, n), [cgutils.alloca_once(builder, x.type) for x in (s, s_at, s_step)]

    def clear() -> None:
        builder.store(n(0), terms)
        for total in chain(*sums):
            builder.store(vectors.zero, total)

    def flush() -> None:
        """Add the sums to what there is: S at first, then C."""
        start, start_at, start_step = map(builder.load, base)
        for r in range(rows):
            for v in range(some):
                at = n(v * vectors.kind.count)
                old = vectors.read(start, builder.add(line(start_at, n(r), start_step), at))
                new = builder.fadd(old, builder.load(sums[r][v]))
                vectors.write(new, c, builder.add(line(c_at, n(r), c_step), at))

    def aim(*place: Any) -> None:
        for value, cell in zip(place, base, strict=True):
            builder.store(value, cell)

    clear()
    aim(s, s_at, s_step)
    with cgutils.for_range(builder, count) as segment:
        from_a = builder.add(a_at, builder.load(builder.gep(segments, [segment.index])))
        from_b = builder.add(b_at, builder.load(builder.gep(segments, [builder.add(most, segment.index)])))
        with cgutils.for_range_slice(builder, n(0), length, n(TERMS), n) as (begin, _):
            left_over = builder.sub(length, begin)
            few = builder.select(builder.icmp_signed("<", left_over, n(TERMS)), left_over, n(TERMS))
            chunk_a, chunk_b = line(from_a, begin, a_next), line(from_b, begin, b_next)
            with cgutils.for_range(builder, few) as t:
                at_a, at_b = line(chunk_a, t.index, a_next), line(chunk_b, t.index, b_next)
                right = [vectors.read(b, line(at_b, n(v), b_vector)) for v in range(some)]
                for r in range(rows):
                    left = vectors.full(builder.load(builder.gep(a, [line(at_a, n(r), a_step)])))
                    for total, factor in zip(sums[r], right, strict=True):
                        builder.store(vectors.multiply_add(left, factor, builder.load(total)), total)
            builder.store(builder.add(builder.load(terms), few), terms)
            with builder.if_then(builder.icmp_signed(">=", builder.load(terms), n(TERMS)), likely=False):
                flush()
                clear()
                aim(c, c_at, c_step)
    flush()


@intrinsic
def copy_vector(typing: Any, into: Any, at: Any, source: Any, source_at: Any) -> Any:
    """Copy a vector between two flat arrays."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vectors = Vectors(context, builder, into.dtype)
        to, at, source, source_at = data(context, builder, signature, args)
        vectors.write(vectors.read(source, source_at), to, at)
        return context.get_dummy_value()

    return types.void(into, types.intp, source, types.intp), write


@intrinsic
def writable(typing: Any, array: Any) -> Any:
    """The same array under the type of those that may be written to, so that a name may stand for either."""
    kind = array.copy(readonly=False)

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return borrowed(context, builder, kind, args[0])

    return kind(array), write
