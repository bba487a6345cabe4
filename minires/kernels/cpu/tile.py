"""Tiles: parts of a result that a core computes in its registers.

To finish two instructions per cycle, a core must keep the sums in registers, since a round trip to memory takes several
times as long, and it must use each loaded number more than once. So a convolution computes *tiles*: PIXELS output
pixels by VECTORS vectors of output channels, with all sums in registers. One step of a tile loads VECTORS vectors of
weights, broadcasts PIXELS numbers, and does PIXELS * VECTORS multiply-adds with them::

                  w[k, 0:8]      w[k, 8:16]
    x[pixel 0, k]  acc 0          acc 1         AVX2 has 16 registers: 6 * 2 sums, 2 weights, 1 broadcast
    x[pixel 1, k]  acc 2          acc 3         AVX-512 has 32 of twice the length, NEON 32 of half
       ...          ...            ...
    x[pixel 5, k]  acc 10         acc 11
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .simd import INDEX, LANES, PIXELS, VECTOR, VECTORS, Address, instruction, maximum, read, repeat, vector, write

BLOCK = VECTORS * LANES  # output channels in a tile

_TILE, _PLACES = types.UniTuple(vector, PIXELS * VECTORS), types.UniTuple(types.int64, PIXELS)


def _row(builder: Any, address: Any) -> list[Any]:
    """Return the BLOCK numbers that begin at ``address``, as VECTORS vectors."""
    return [read(builder, builder.gep(address, [ir.Constant(INDEX, v * LANES)])) for v in range(VECTORS)]


def _multiply_add(builder: Any, tile: Any, numbers: Iterable[Any], row: list[Any]) -> Any:
    """Add ``number * row`` to each pixel of the tile; ``numbers`` are the addresses of PIXELS numbers."""
    sums = iter(cgutils.unpack_tuple(builder, tile))
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    fused = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    result = []
    for address in numbers:
        number = repeat(builder, builder.load(address))
        result += [builder.call(fused, [number, weights, next(sums)]) for weights in row]
    return cgutils.pack_array(builder, result)


@instruction(lambda table, first, last: _PLACES(table, types.int64, types.int64))
def places(builder: Any, table: Address, first: Any, last: Any) -> Any:
    """Return ``table[first : first + PIXELS]`` as a tuple, with ``table[last]`` for each index beyond ``last``."""
    found = []
    for pixel in range(PIXELS):
        index = builder.add(first, ir.Constant(INDEX, pixel))
        found.append(builder.load(table(builder.select(builder.icmp_signed("<", index, last), index, last))))
    return cgutils.pack_array(builder, found)


@instruction(lambda: _PLACES())
def rows_of_tile(builder: Any) -> Any:
    """Return the places of a tile's rows for a tile that is stored one row after another."""
    return cgutils.pack_array(builder, [ir.Constant(INDEX, pixel * BLOCK) for pixel in range(PIXELS)])


@instruction(lambda: _TILE())
def zeros(builder: Any) -> Any:
    """Return a tile of zeros."""
    return cgutils.pack_array(builder, [ir.Constant(VECTOR, [0.0] * LANES)] * (PIXELS * VECTORS))


@instruction(lambda array, index: _TILE(array, types.int64))
def start(builder: Any, array: Address, index: Any) -> Any:
    """Return a tile with ``array[index : index + BLOCK]`` in every pixel."""
    return cgutils.pack_array(builder, _row(builder, array(index)) * PIXELS)


@instruction(lambda tile, x, pixels, j, w, k: tile(tile, x, pixels, types.int64, w, types.int64))
def multiply_add(builder: Any, tile: Any, x: Address, pixels: Any, j: Any, w: Address, k: Any) -> Any:
    """Return ``tile[p, :] + x[pixels[p] + j] * w[k : k + BLOCK]`` for every pixel p."""
    row = _row(builder, w(k))
    numbers = (builder.gep(x(pixel), [j]) for pixel in cgutils.unpack_tuple(builder, pixels))
    return _multiply_add(builder, tile, numbers, row)


@instruction(lambda tile, x, j, y, k: tile(tile, x, types.int64, y, types.int64))
def outer_add(builder: Any, tile: Any, x: Address, j: Any, y: Address, k: Any) -> Any:
    """Return ``tile[p, :] + x[j + p] * y[k : k + BLOCK]`` for every row p of the tile."""
    row, first = _row(builder, y(k)), x(j)
    numbers = (builder.gep(first, [ir.Constant(INDEX, p)]) for p in range(PIXELS))
    return _multiply_add(builder, tile, numbers, row)


@instruction(lambda tile, array, pixels, c: tile(tile, array, pixels, types.int64))
def add_from(builder: Any, tile: Any, array: Address, pixels: Any, c: Any) -> Any:
    """Return ``tile[p, :] + array[pixels[p] + c : ... + BLOCK]`` for every pixel p."""
    sums = iter(cgutils.unpack_tuple(builder, tile))
    rows = (_row(builder, array(builder.add(pixel, c))) for pixel in cgutils.unpack_tuple(builder, pixels))
    return cgutils.pack_array(builder, [builder.fadd(next(sums), numbers) for row in rows for numbers in row])


@instruction(lambda array, pixels, c, tile: types.void(array, pixels, types.int64, tile))
def store(builder: Any, array: Address, pixels: Any, c: Any, tile: Any) -> None:
    """Assign ``array[pixels[p] + c : ... + BLOCK] = tile[p, :]`` for every pixel p."""
    sums = iter(cgutils.unpack_tuple(builder, tile))
    for pixel in cgutils.unpack_tuple(builder, pixels):
        address = array(builder.add(pixel, c))
        for v in range(VECTORS):
            write(builder, next(sums), builder.gep(address, [ir.Constant(INDEX, v * LANES)]))


@instruction(lambda tile: tile(tile))
def rectify(builder: Any, tile: Any) -> Any:
    """Return ``max(tile, 0)``; NaN stays NaN."""
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    return cgutils.pack_array(builder, [maximum(builder, item, zero) for item in cgutils.unpack_tuple(builder, tile)])
