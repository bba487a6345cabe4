"""Vectors for Numba: eight (or sixteen, or four) numbers that one instruction multiplies and adds at once.

A core owns a few *registers*, the only places where it computes. Each holds a short row of floats, a *vector*; one
instruction multiplies two vectors and adds a third, lane by lane, and a core finishes two of those in each cycle::

    acc  [ a0  a1  a2  a3  a4  a5  a6  a7 ]
     +=  [ s   s   s   s   s   s   s   s  ]   one number of the image, repeated in every lane (a *broadcast*)
     *   [ w0  w1  w2  w3  w4  w5  w6  w7 ]   its weights towards eight output channels

To keep two a cycle going, two things are needed. Sums must stay in registers, since going to memory and back takes
several times as long; and what is loaded must be used more than once. So convolution computes a *tile*: PIXELS output
pixels by VECTORS vectors of output channels, all sums in registers. One step of it loads VECTORS vectors of weights
and broadcasts PIXELS numbers, and does PIXELS * VECTORS multiply-adds with them::

                  w[k, 0:8]      w[k, 8:16]
    x[pixel 0, k]  acc 0          acc 1         AVX2 has 16 registers: 6 * 2 sums, 2 weights, 1 broadcast
    x[pixel 1, k]  acc 2          acc 3         AVX-512 has 32 of twice the length, NEON 32 of half
       ...          ...            ...
    x[pixel 5, k]  acc 10         acc 11

Numba has no vectors, and LLVM, the compiler below it, never keeps an array in registers. So this file teaches Numba one
type, and functions that write the LLVM instructions themselves: their Python loops run while a kernel is compiled, and
leave straight code behind. Arrays are flat float32 and indices are not checked.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, overload, register_model

# CPUs with AVX-512 by LLVM's names: NUMBA_CPU_NAME=haswell, on such a CPU, must not use it.
NAMES_WITH_AVX512 = ("avx512", "icelake", "lake-server", "cooperlake", "rapids", "knl", "knm", "znver4", "znver5")


def _shape_of_tile() -> tuple[int, int, int]:
    """(lanes of a vector, pixels, vectors) for the CPU that Numba compiles for."""
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    enabled = features.split(",")
    if "+avx512f" in enabled and (config.CPU_NAME is None or any(name in cpu for name in NAMES_WITH_AVX512)):
        return 16, 8, 2
    if "+avx2" in enabled and "+fma" in enabled:
        return 8, 6, 2
    if "aarch64" in triple or "arm64" in triple:
        return 4, 8, 2
    return 4, 6, 2


LANES, PIXELS, VECTORS = _shape_of_tile()
BLOCK = VECTORS * LANES  # the output channels of a tile
LINE = 16  # floats that come from memory together

_FLOAT, _INDEX = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)


class VectorType(types.Type):  # type: ignore[misc]
    """Numba's name for one vector register."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


vector = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, front_end_type: Any) -> None:
        super().__init__(manager, front_end_type, _VECTOR)


def address_of(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def _load(builder: Any, address: Any) -> Any:
    value = builder.load(builder.bitcast(address, _VECTOR.as_pointer()))
    value.align = 4  # a vector may begin at any float
    return value


def _store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, builder.bitcast(address, _VECTOR.as_pointer())).align = 4


def _repeat(builder: Any, number: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), first)


def _call(builder: Any, name: str, *operands: Any) -> Any:
    """Call LLVM's intrinsic function ``name`` on vectors."""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * len(operands)), f"llvm.{name}.v{LANES}f32"
    )
    return builder.call(function, operands)


def _row(builder: Any, address: Any) -> list[Any]:
    """BLOCK numbers from ``address`` on, as VECTORS vectors."""
    return [_load(builder, builder.gep(address, [ir.Constant(_INDEX, v * LANES)])) for v in range(VECTORS)]


def _maximum(builder: Any, numbers: Any, floor: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", numbers, floor), floor, numbers)


def _items(builder: Any, group: Any) -> list[Any]:
    return cgutils.unpack_tuple(builder, group)


def _group(builder: Any, items: Any) -> Any:
    return cgutils.pack_array(builder, items)


@intrinsic
def at(typing_context: Any, array: Any, index: Any) -> Any:
    """``array[index]``; Numba's own indexing asks each time whether the index is negative, and loops stay scalar."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(address_of(context, builder, signature.args[0], *arguments))

    return array.dtype(array, types.int64), generate


@intrinsic
def put(typing_context: Any, array: Any, index: Any, number: Any) -> Any:
    """``array[index] = number``, likewise."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, index, number = arguments
        builder.store(number, address_of(context, builder, signature.args[0], array, index))
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), generate


@intrinsic
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Ask memory for the line of ``array[index]``, to write to it: it comes while the core goes on computing."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [pointer], ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        )
        address = builder.bitcast(address_of(context, builder, signature.args[0], *arguments), pointer)
        to_write, keep, data = number(1), number(3), number(1)
        builder.call(function, [address, to_write, keep, data])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@intrinsic
def places(typing_context: Any, table: Any, first: Any, last: Any) -> Any:
    """``table[first : first + PIXELS]`` as PIXELS numbers; beyond ``last``, the last one again."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, first, last = arguments
        found = []
        for pixel in range(PIXELS):
            index = builder.add(first, ir.Constant(_INDEX, pixel))
            index = builder.select(builder.icmp_signed("<", index, last), index, last)
            found.append(builder.load(address_of(context, builder, signature.args[0], array, index)))
        return _group(builder, found)

    return types.UniTuple(types.int64, PIXELS)(table, types.int64, types.int64), generate


@intrinsic
def start(typing_context: Any, array: Any, index: Any) -> Any:
    """A tile whose every pixel begins with ``array[index : index + BLOCK]``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _group(builder, _row(builder, address_of(context, builder, signature.args[0], *arguments)) * PIXELS)

    return types.UniTuple(vector, PIXELS * VECTORS)(array, types.int64), generate


@intrinsic
def multiply_add(typing_context: Any, tile: Any, x: Any, pixels: Any, j: Any, w: Any, k: Any) -> Any:
    """``tile[p, :] + x[pixels[p] + j] * w[k : k + BLOCK]`` for every pixel p."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tile, x, pixels, j, w, k = arguments
        sums = _items(builder, tile)
        row = _row(builder, address_of(context, builder, signature.args[4], w, k))
        data = context.make_array(signature.args[1])(context, builder, x).data
        for p, pixel in enumerate(_items(builder, pixels)):
            number = _repeat(builder, builder.load(builder.gep(builder.gep(data, [pixel]), [j])))
            for v in range(VECTORS):
                sums[p * VECTORS + v] = _call(builder, "fmuladd", number, row[v], sums[p * VECTORS + v])
        return _group(builder, sums)

    return tile(tile, x, pixels, types.int64, w, types.int64), generate


@intrinsic
def outer_add(typing_context: Any, tile: Any, x: Any, j: Any, y: Any, k: Any) -> Any:
    """``tile[p, :] + x[j + p] * y[k : k + BLOCK]`` for every row p of the tile."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tile, x, j, y, k = arguments
        sums = _items(builder, tile)
        row = _row(builder, address_of(context, builder, signature.args[3], y, k))
        numbers = address_of(context, builder, signature.args[1], x, j)
        for p in range(PIXELS):
            number = _repeat(builder, builder.load(builder.gep(numbers, [ir.Constant(_INDEX, p)])))
            for v in range(VECTORS):
                sums[p * VECTORS + v] = _call(builder, "fmuladd", number, row[v], sums[p * VECTORS + v])
        return _group(builder, sums)

    return tile(tile, x, types.int64, y, types.int64), generate


@intrinsic
def add_from(typing_context: Any, tile: Any, array: Any, pixels: Any, c: Any) -> Any:
    """``tile[p, :] + array[pixels[p] + c : ... + BLOCK]`` for every pixel p."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tile, array, pixels, c = arguments
        sums = _items(builder, tile)
        for p, pixel in enumerate(_items(builder, pixels)):
            row = _row(builder, address_of(context, builder, signature.args[1], array, builder.add(pixel, c)))
            for v in range(VECTORS):
                sums[p * VECTORS + v] = builder.fadd(sums[p * VECTORS + v], row[v])
        return _group(builder, sums)

    return tile(tile, array, pixels, types.int64), generate


@intrinsic
def rectify(typing_context: Any, tile: Any) -> Any:
    """``max(tile, 0)``; NaN stays NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero = ir.Constant(_VECTOR, [0.0] * LANES)
        return _group(builder, [_maximum(builder, item, zero) for item in _items(builder, arguments[0])])

    return tile(tile), generate


@intrinsic
def store(typing_context: Any, array: Any, pixels: Any, c: Any, tile: Any) -> Any:
    """``array[pixels[p] + c : ... + BLOCK] = tile[p, :]`` for every pixel p."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, pixels, c, tile = arguments
        sums = _items(builder, tile)
        for p, pixel in enumerate(_items(builder, pixels)):
            address = address_of(context, builder, signature.args[0], array, builder.add(pixel, c))
            for v in range(VECTORS):
                _store(builder, sums[p * VECTORS + v], builder.gep(address, [ir.Constant(_INDEX, v * LANES)]))
        return context.get_dummy_value()

    return types.void(array, pixels, types.int64, tile), generate


@intrinsic
def add_to(typing_context: Any, array: Any, pixels: Any, c: Any, tile: Any) -> Any:
    """``array[pixels[p] + c : ... + BLOCK] += tile[p, :]`` for every pixel p."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, pixels, c, tile = arguments
        sums = _items(builder, tile)
        for p, pixel in enumerate(_items(builder, pixels)):
            address = address_of(context, builder, signature.args[0], array, builder.add(pixel, c))
            for v, old in enumerate(_row(builder, address)):
                new = builder.fadd(old, sums[p * VECTORS + v])
                _store(builder, new, builder.gep(address, [ir.Constant(_INDEX, v * LANES)]))
        return context.get_dummy_value()

    return types.void(array, pixels, types.int64, tile), generate


@intrinsic
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """``array[index : index + LANES]`` as one vector."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load(builder, address_of(context, builder, signature.args[0], *arguments))

    return vector(array, types.int64), generate


@intrinsic
def save(typing_context: Any, array: Any, index: Any, numbers: Any) -> Any:
    """``array[index : index + LANES] = numbers``, one vector."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, index, numbers = arguments
        _store(builder, numbers, address_of(context, builder, signature.args[0], array, index))
        return context.get_dummy_value()

    return types.void(array, types.int64, numbers), generate


def _arithmetic(instruction: str) -> Any:
    """An instruction of LLVM on two vectors, or on a number, which is repeated, and a vector."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pairs = zip(signature.args, arguments, strict=True)
        a, b = (value if kind is vector else _repeat(builder, value) for kind, value in pairs)
        # "contract": a product that is added becomes one multiply-add
        return getattr(builder, instruction)(a, b, flags=("contract",))

    return intrinsic(lambda typing_context, a, b: (vector(a, b), generate))


_plus, _minus, _times = _arithmetic("fadd"), _arithmetic("fsub"), _arithmetic("fmul")


@overload(operator.add)
def _add(a, b):
    return (lambda a, b: _plus(a, b)) if a is vector and b is vector else None


@overload(operator.sub)
def _subtract(a, b):
    return (lambda a, b: _minus(a, b)) if a is vector and b is vector else None


@overload(operator.mul)
def _multiply(a, b):
    return (lambda a, b: _times(a, b)) if a == types.float32 and b is vector else None


@intrinsic
def at_least(typing_context: Any, a: Any, floor: Any) -> Any:
    """``max(a, floor)`` of one vector and one number; NaN stays NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _maximum(builder, arguments[0], _repeat(builder, arguments[1]))

    return a(a, types.float32), generate
