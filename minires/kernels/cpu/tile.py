"""Tiles: parts of a result that a core computes in its registers.

To finish two instructions per cycle, a core must keep the sums in registers, since a round trip to memory takes several
times as long, and it must use each loaded number more than once. So a convolution computes *tiles*: some output pixels
by one or two vectors of output channels, a *block*, with all sums in registers. One step of a tile loads the vectors of
weights, broadcasts a number for each pixel, and does a multiply-add for each pair of them::

                  w[k, 0:8]      w[k, 8:16]
    x[pixel 0, k]  acc 0          acc 1         AVX2 has 16 registers: 6 * 2 sums, 2 weights, 1 broadcast
    x[pixel 1, k]  acc 2          acc 3         AVX-512 has 32 of twice the length, NEON 32 of half
       ...          ...            ...
    x[pixel 5, k]  acc 10         acc 11

The gradient with respect to the weights uses the same tiles, with other rows than pixels. A kernel is compiled for each
:class:`Shape` of a tile that it is called with.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .compiler import inlined
from .simd import INDEX, LANES, REGISTERS, VECTOR, Address, instruction, maximum, read, repeat, vector, write


class Shape(NamedTuple):
    """The shape of a tile: ``len(pixels)`` pixels by ``len(vectors)`` vectors.

    When Numba compiles a kernel, it knows the lengths of its tuples, but not the values of its numbers.
    """

    pixels: tuple[int, ...]
    vectors: tuple[int, ...]

    @property
    def block(self) -> int:
        """The number of output channels in a tile."""
        return len(self.vectors) * LANES

    def blocks(self, channels: int) -> int:
        """Return the number of tiles for this many channels."""
        return -(-channels // self.block)

    @property
    def size(self) -> int:
        """The number of sums in a tile."""
        return len(self.pixels) * self.block


WIDE = Shape((0,) * (8 if REGISTERS == 32 else 6), (0, 0))
# Half of a wide tile would be empty. With AVX-512, a tile of 16 pixels was slower than one of 8.
NARROW = Shape((0,) * (8 if REGISTERS == 32 else 12), (0,))
# Networks for 224x224 images have 56, 28, 14 and 7 pixels in a row, so that no tile of 7 pixels is partly empty.
SEVENS = Shape((0,) * 7, (0, 0)) if REGISTERS == 32 else WIDE


def shape_for(channels: int) -> Shape:
    """Return the shape of the tiles for a result of this many channels."""
    return NARROW if channels <= LANES else WIDE


def gather_shape(channels: int) -> Shape:
    """Return the shape of the tiles of gather.py for a result of this many channels."""
    return NARROW if channels <= LANES else SEVENS


@inlined
def sizes(shape):
    """Return the number of pixels and the number of output channels, the block, of a tile."""
    return len(shape.pixels), len(shape.vectors) * LANES


# The shape in Numba's types, and in LLVM's.


def _tile(shape: Any) -> Any:
    pixels, vectors = shape
    return types.UniTuple(vector, len(pixels) * len(vectors))


def _places(shape: Any) -> Any:
    pixels, _ = shape
    return types.UniTuple(types.int64, len(pixels))


def _counts(shape: Any) -> tuple[int, int]:
    pixels, vectors = shape.type.elements
    return pixels.count, vectors.count


def _row(builder: Any, address: Any, vectors: int) -> list[Any]:
    """Return the numbers that begin at ``address`` as vectors."""
    return [read(builder, builder.gep(address, [ir.Constant(INDEX, v * LANES)])) for v in range(vectors)]


def _multiply_add(builder: Any, tile: Any, numbers: Iterable[Any], row: list[Any]) -> Any:
    """Add ``number * row`` to each pixel of the tile; ``numbers`` are the addresses of a number for each pixel."""
    sums = iter(cgutils.unpack_tuple(builder, tile))
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    fused = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    result = []
    for address in numbers:
        number = repeat(builder, builder.load(address))
        result += [builder.call(fused, [number, weights, next(sums)]) for weights in row]
    return cgutils.pack_array(builder, result)


@instruction(lambda shape, table, first, last: _places(shape)(shape, table, types.int64, types.int64))
def places(builder: Any, shape: Any, table: Address, first: Any, last: Any) -> Any:
    """Return ``table[first]``, ``table[first + 1]``, ... for each pixel, with ``table[last]`` beyond ``last``."""
    found = []
    for pixel in range(_counts(shape)[0]):
        index = builder.add(first, ir.Constant(INDEX, pixel))
        found.append(builder.load(table(builder.select(builder.icmp_signed("<", index, last), index, last))))
    return cgutils.pack_array(builder, found)


@instruction(lambda shape: _places(shape)(shape))
def rows_of_tile(builder: Any, shape: Any) -> Any:
    """Return the places of a tile's rows for a tile that is stored one row after another."""
    pixels, vectors = _counts(shape)
    return cgutils.pack_array(builder, [ir.Constant(INDEX, pixel * vectors * LANES) for pixel in range(pixels)])


@instruction(lambda shape: _tile(shape)(shape))
def zeros(builder: Any, shape: Any) -> Any:
    """Return a tile of zeros."""
    pixels, vectors = _counts(shape)
    return cgutils.pack_array(builder, [ir.Constant(VECTOR, [0.0] * LANES)] * (pixels * vectors))


@instruction(lambda shape, array, index: _tile(shape)(shape, array, types.int64))
def start(builder: Any, shape: Any, array: Address, index: Any) -> Any:
    """Return a tile with the numbers that begin at ``array[index]`` in every pixel."""
    pixels, vectors = _counts(shape)
    return cgutils.pack_array(builder, _row(builder, array(index), vectors) * pixels)


@instruction(lambda tile, x, pixels, j, w, k: tile(tile, x, pixels, types.int64, w, types.int64))
def multiply_add(builder: Any, tile: Any, x: Address, pixels: Any, j: Any, w: Address, k: Any) -> Any:
    """Return ``tile[p, :] + x[pixels[p] + j] * w[k : k + block]`` for every pixel p."""
    row = _row(builder, w(k), tile.type.count // pixels.type.count)
    numbers = (builder.gep(x(pixel), [j]) for pixel in cgutils.unpack_tuple(builder, pixels))
    return _multiply_add(builder, tile, numbers, row)


@instruction(lambda shape, tile, x, j, y, k: tile(shape, tile, x, types.int64, y, types.int64))
def outer_add(builder: Any, shape: Any, tile: Any, x: Address, j: Any, y: Address, k: Any) -> Any:
    """Return ``tile[p, :] + x[j + p] * y[k : k + block]`` for every row p of the tile."""
    pixels, vectors = _counts(shape)
    row, first = _row(builder, y(k), vectors), x(j)
    numbers = (builder.gep(first, [ir.Constant(INDEX, p)]) for p in range(pixels))
    return _multiply_add(builder, tile, numbers, row)


@instruction(lambda tile, array, pixels, c: tile(tile, array, pixels, types.int64))
def add_from(builder: Any, tile: Any, array: Address, pixels: Any, c: Any) -> Any:
    """Return ``tile[p, :] + array[pixels[p] + c : ... + block]`` for every pixel p."""
    sums, vectors = iter(cgutils.unpack_tuple(builder, tile)), tile.type.count // pixels.type.count
    rows = (_row(builder, array(builder.add(pixel, c)), vectors) for pixel in cgutils.unpack_tuple(builder, pixels))
    return cgutils.pack_array(builder, [builder.fadd(next(sums), numbers) for row in rows for numbers in row])


@instruction(lambda array, pixels, c, tile: types.void(array, pixels, types.int64, tile))
def store(builder: Any, array: Address, pixels: Any, c: Any, tile: Any) -> None:
    """Assign ``array[pixels[p] + c : ... + block] = tile[p, :]`` for every pixel p."""
    sums, vectors = iter(cgutils.unpack_tuple(builder, tile)), tile.type.count // pixels.type.count
    for pixel in cgutils.unpack_tuple(builder, pixels):
        address = array(builder.add(pixel, c))
        for v in range(vectors):
            write(builder, next(sums), builder.gep(address, [ir.Constant(INDEX, v * LANES)]))


@instruction(lambda tile: tile(tile))
def rectify(builder: Any, tile: Any) -> Any:
    """Return ``max(tile, 0)``; NaN stays NaN."""
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    return cgutils.pack_array(builder, [maximum(builder, item, zero) for item in cgutils.unpack_tuple(builder, tile)])
