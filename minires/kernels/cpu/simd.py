"""Vectors for Numba: eight (or sixteen, or four) numbers that one instruction multiplies and adds together.

A core owns a few *registers*, the only places where it computes. Each holds a short row of floats, a *vector*; one
instruction multiplies two vectors and adds a third, lane by lane, and a core finishes two of those in each cycle::

    acc  [ a0  a1  a2  a3  a4  a5  a6  a7 ]
     +=  [ s   s   s   s   s   s   s   s  ]   one number of the image, repeated in every lane (a *broadcast*)
     *   [ w0  w1  w2  w3  w4  w5  w6  w7 ]   its weights towards eight output channels

For two instructions in each cycle, sums must stay in registers, since going to memory and back takes several times as
long, and each number that is loaded must be used more than once. So convolution computes a *tile*: PIXELS output pixels
by VECTORS vectors of output channels, with all sums in registers. One step of it loads VECTORS vectors of weights,
broadcasts PIXELS numbers, and does PIXELS * VECTORS multiply-adds with them::

                  w[k, 0:8]      w[k, 8:16]
    x[pixel 0, k]  acc 0          acc 1         AVX2 has 16 registers: 6 * 2 sums, 2 weights, 1 broadcast
    x[pixel 1, k]  acc 2          acc 3         AVX-512 has 32 of twice the length, NEON 32 of half
       ...          ...            ...
    x[pixel 5, k]  acc 10         acc 11

Numba has no vectors, and LLVM, the compiler below it, never keeps an array in registers. So this file teaches Numba one
type, and functions that write the LLVM instructions themselves. Their Python loops run while a kernel is compiled, and
leave straight code behind. Arrays are flat float32, and indices are not checked.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import update_wrapper
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
    """Numba's type of one vector register."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


vector = VectorType()
_TILE, _PLACES = types.UniTuple(vector, PIXELS * VECTORS), types.UniTuple(types.int64, PIXELS)


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, front_end_type: Any) -> None:
        super().__init__(manager, front_end_type, _VECTOR)


Address = Callable[[Any], Any]  # what an instruction gets for an array: the address of the number at an index


def instruction(typed: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Let kernels call a function that writes LLVM instructions; a decorator.

    ``typed`` gives the signature from the types of the arguments. The function is called with LLVM's builder and
    the arguments, arrays as an :data:`Address` each, and returns a value, or None.
    """

    def decorate(write: Callable[..., Any]) -> Any:
        def define(typing_context: Any, *kinds: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                pairs = zip(signature.args, arguments, strict=True)
                found = [
                    _address(context, builder, kind, v) if isinstance(kind, types.Array) else v for kind, v in pairs
                ]
                value = write(builder, *found)
                return context.get_dummy_value() if value is None else value

            return typed(*kinds), generate

        return intrinsic(update_wrapper(define, write, ("__name__", "__doc__"), ()))

    return decorate


def _address(context: Any, builder: Any, kind: Any, array: Any) -> Address:
    data = context.make_array(kind)(context, builder, array).data
    return lambda index: builder.gep(data, [index])


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


def _row(builder: Any, address: Any) -> list[Any]:
    """BLOCK numbers from ``address`` on, as VECTORS vectors."""
    return [_load(builder, builder.gep(address, [ir.Constant(_INDEX, v * LANES)])) for v in range(VECTORS)]


def _multiply_add(builder: Any, tile: Any, numbers: Iterable[Any], row: list[Any]) -> Any:
    """The tile with ``number * row`` added to each of its pixels, from the addresses of PIXELS numbers."""
    sums = iter(cgutils.unpack_tuple(builder, tile))
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    fused = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    result = []
    for address in numbers:
        number = _repeat(builder, builder.load(address))
        result += [builder.call(fused, [number, weights, next(sums)]) for weights in row]
    return cgutils.pack_array(builder, result)


def _maximum(builder: Any, numbers: Any, floor: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", numbers, floor), floor, numbers)


@instruction(lambda array, index: array.dtype(array, types.int64))
def at(builder: Any, array: Address, index: Any) -> Any:
    """``array[index]``; Numba's own indexing checks for a negative index each time, and loops stay scalar."""
    return builder.load(array(index))


@instruction(lambda array, index, number: types.void(array, types.int64, array.dtype))
def put(builder: Any, array: Address, index: Any, number: Any) -> None:
    """``array[index] = number``, likewise."""
    builder.store(number, array(index))


@instruction(lambda array, index: vector(array, types.int64))
def load(builder: Any, array: Address, index: Any) -> Any:
    """``array[index : index + LANES]`` as one vector."""
    return _load(builder, array(index))


@instruction(lambda array, index, numbers: types.void(array, types.int64, numbers))
def save(builder: Any, array: Address, index: Any, numbers: Any) -> None:
    """``array[index : index + LANES] = numbers``, one vector."""
    _store(builder, numbers, array(index))


@instruction(lambda array, index: types.void(array, types.int64))
def prefetch(builder: Any, array: Address, index: Any) -> None:
    """Ask memory for the line of ``array[index]``, to write to it. It arrives while the core goes on computing."""
    pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    function = builder.module.declare_intrinsic(
        "llvm.prefetch", [pointer], ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
    )
    to_write, keep, data = number(1), number(3), number(1)
    builder.call(function, [builder.bitcast(array(index), pointer), to_write, keep, data])


@instruction(lambda table, first, last: _PLACES(table, types.int64, types.int64))
def places(builder: Any, table: Address, first: Any, last: Any) -> Any:
    """``table[first : first + PIXELS]`` as PIXELS numbers; beyond ``last``, the last one again."""
    found = []
    for pixel in range(PIXELS):
        index = builder.add(first, ir.Constant(_INDEX, pixel))
        found.append(builder.load(table(builder.select(builder.icmp_signed("<", index, last), index, last))))
    return cgutils.pack_array(builder, found)


@instruction(lambda array, index: _TILE(array, types.int64))
def start(builder: Any, array: Address, index: Any) -> Any:
    """A tile whose every pixel begins with ``array[index : index + BLOCK]``."""
    return cgutils.pack_array(builder, _row(builder, array(index)) * PIXELS)


@instruction(lambda tile, x, pixels, j, w, k: tile(tile, x, pixels, types.int64, w, types.int64))
def multiply_add(builder: Any, tile: Any, x: Address, pixels: Any, j: Any, w: Address, k: Any) -> Any:
    """``tile[p, :] + x[pixels[p] + j] * w[k : k + BLOCK]`` for every pixel p."""
    row = _row(builder, w(k))
    numbers = (builder.gep(x(pixel), [j]) for pixel in cgutils.unpack_tuple(builder, pixels))
    return _multiply_add(builder, tile, numbers, row)


@instruction(lambda tile, x, j, y, k: tile(tile, x, types.int64, y, types.int64))
def outer_add(builder: Any, tile: Any, x: Address, j: Any, y: Address, k: Any) -> Any:
    """``tile[p, :] + x[j + p] * y[k : k + BLOCK]`` for every row p of the tile."""
    row, first = _row(builder, y(k)), x(j)
    numbers = (builder.gep(first, [ir.Constant(_INDEX, p)]) for p in range(PIXELS))
    return _multiply_add(builder, tile, numbers, row)


@instruction(lambda tile, array, pixels, c: tile(tile, array, pixels, types.int64))
def add_from(builder: Any, tile: Any, array: Address, pixels: Any, c: Any) -> Any:
    """``tile[p, :] + array[pixels[p] + c : ... + BLOCK]`` for every pixel p."""
    sums = iter(cgutils.unpack_tuple(builder, tile))
    rows = (_row(builder, array(builder.add(pixel, c))) for pixel in cgutils.unpack_tuple(builder, pixels))
    return cgutils.pack_array(builder, [builder.fadd(next(sums), numbers) for row in rows for numbers in row])


@instruction(lambda array, pixels, c, tile: types.void(array, pixels, types.int64, tile))
def store(builder: Any, array: Address, pixels: Any, c: Any, tile: Any) -> None:
    """``array[pixels[p] + c : ... + BLOCK] = tile[p, :]`` for every pixel p."""
    sums = iter(cgutils.unpack_tuple(builder, tile))
    for pixel in cgutils.unpack_tuple(builder, pixels):
        address = array(builder.add(pixel, c))
        for v in range(VECTORS):
            _store(builder, next(sums), builder.gep(address, [ir.Constant(_INDEX, v * LANES)]))


@instruction(lambda tile: tile(tile))
def rectify(builder: Any, tile: Any) -> Any:
    """``max(tile, 0)``; NaN stays NaN."""
    zero = ir.Constant(_VECTOR, [0.0] * LANES)
    return cgutils.pack_array(builder, [_maximum(builder, item, zero) for item in cgutils.unpack_tuple(builder, tile)])


@instruction(lambda a, floor: a(a, types.float32))
def at_least(builder: Any, a: Any, floor: Any) -> Any:
    """``max(a, floor)`` of one vector and one number; NaN stays NaN."""
    return _maximum(builder, a, _repeat(builder, floor))


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
