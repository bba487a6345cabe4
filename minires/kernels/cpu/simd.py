"""Vectors for Numba: eight (or sixteen, or four) numbers that one instruction processes at once.

A core computes only in a few *registers*. Each of them holds a short row of floats, a *vector*. One instruction
multiplies two vectors and adds a third, lane by lane, and a core finishes two such instructions in each cycle::

    acc  [ a0  a1  a2  a3  a4  a5  a6  a7 ]
     +=  [ s   s   s   s   s   s   s   s  ]   one number of the image, repeated in every lane (a *broadcast*)
     *   [ w0  w1  w2  w3  w4  w5  w6  w7 ]   its weights for eight output channels

Numba does not have vectors, and LLVM, the compiler below it, never keeps an array in registers. So this file adds a
vector type to Numba, and functions that emit the LLVM instructions themselves. The Python loops in these functions run
while a kernel is compiled, so the compiled loops are unrolled. Arrays are flat, and indices are not checked.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, overload, register_model

# Parts of LLVM's names for CPUs with AVX-512. With NUMBA_CPU_NAME=haswell, even such a CPU must not use AVX-512.
NAMES_WITH_AVX512 = ("avx512", "icelake", "lake-server", "cooperlake", "rapids", "knl", "knm", "znver4", "znver5")


def _vectors() -> tuple[int, int]:
    """Return the lanes of a vector and the number of registers of the CPU that Numba compiles for."""
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    enabled = features.split(",")
    if "+avx512f" in enabled and (config.CPU_NAME is None or any(name in cpu for name in NAMES_WITH_AVX512)):
        return 16, 32
    if "+avx2" in enabled and "+fma" in enabled:
        return 8, 16
    if "aarch64" in triple or "arm64" in triple:
        return 4, 32
    return 4, 16


LANES, REGISTERS = _vectors()
SPAN = 4 * LANES  # numbers in a span: four vectors, so that a loop of additions need not wait for the previous one
LINE = 16  # floats in a cache line

# The types of the LLVM instructions below.
INDEX, VECTOR = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)


class VectorType(types.Type):  # type: ignore[misc]
    """Numba's type of a vector. LLVM cuts a vector that is longer than a register into several registers."""

    def __init__(self, lanes: int) -> None:
        super().__init__(name=f"float32x{lanes}")
        self.lanes = lanes


vector, span = VectorType(LANES), VectorType(SPAN)


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, front_end_type: Any) -> None:
        super().__init__(manager, front_end_type, ir.VectorType(ir.FloatType(), front_end_type.lanes))


Address = Callable[[Any], Any]  # an array, as an instruction receives it: a function from an index to an address


def instruction(typed: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Decorator that lets kernels call a function that emits LLVM instructions.

    ``typed`` returns the signature, given the types of the arguments. The decorated function is called with LLVM's
    builder and the arguments (for each array, an :data:`Address`), and returns a value or None.
    """

    def decorate(compute: Callable[..., Any]) -> Any:
        def define(typing_context: Any, *kinds: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                pairs = zip(signature.args, arguments, strict=True)
                value = compute(builder, *(_argument(context, builder, kind, given) for kind, given in pairs))
                return context.get_dummy_value() if value is None else value

            return typed(*kinds), generate

        return intrinsic(update_wrapper(define, compute, ("__name__", "__doc__"), ()))

    return decorate


def _argument(context: Any, builder: Any, kind: Any, given: Any) -> Any:
    """Convert an array to an :data:`Address`; return other arguments unchanged."""
    if not isinstance(kind, types.Array):
        return given
    data = context.make_array(kind)(context, builder, given).data
    return lambda index: builder.gep(data, [index])


def read(builder: Any, address: Any, kind: Any = VECTOR) -> Any:
    """Load the vector at an address."""
    value = builder.load(builder.bitcast(address, kind.as_pointer()))
    value.align = 4  # a vector may begin at any float
    return value


def write(builder: Any, value: Any, address: Any) -> None:
    """Store a vector at an address."""
    builder.store(value, builder.bitcast(address, value.type.as_pointer())).align = 4


def repeat(builder: Any, number: Any, kind: Any = VECTOR) -> Any:
    """Return a vector with the number in every lane; the number itself if ``kind`` is not a vector."""
    if kind == number.type:
        return number
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    first = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), first)


def maximum(builder: Any, numbers: Any, floor: Any) -> Any:
    """Return the maximum of two vectors, lane by lane; a NaN in the first vector stays NaN."""
    return builder.select(builder.fcmp_ordered("<", numbers, floor), floor, numbers)


@instruction(lambda array, index: array.dtype(array, types.int64))
def at(builder: Any, array: Address, index: Any) -> Any:
    """Return ``array[index]``. Numba's indexing checks for negative indices, which prevents vectorised loops."""
    return builder.load(array(index))


@instruction(lambda array, index, number: types.void(array, types.int64, array.dtype))
def put(builder: Any, array: Address, index: Any, number: Any) -> None:
    """Assign ``array[index] = number``, also without that check."""
    builder.store(number, array(index))


@instruction(lambda array, index: vector(array, types.int64))
def load(builder: Any, array: Address, index: Any) -> Any:
    """Return ``array[index : index + LANES]`` as one vector."""
    return read(builder, array(index))


@instruction(lambda array, index, numbers: types.void(array, types.int64, numbers))
def save(builder: Any, array: Address, index: Any, numbers: Any) -> None:
    """Assign ``array[index : index + LANES] = numbers``, where ``numbers`` is a vector."""
    write(builder, numbers, array(index))


@instruction(lambda array, index, like: like(array, types.int64, like))
def load_like(builder: Any, array: Address, index: Any, like: Any) -> Any:
    """Return the numbers from ``array[index]`` on, as many as ``like`` has: a vector of any length, or a number."""
    return read(builder, array(index), like.type)


@instruction(lambda: span())
def zero_span(builder: Any) -> Any:
    """Return a span of zeros."""
    return ir.Constant(ir.VectorType(ir.FloatType(), SPAN), None)


def _loader(count: int) -> Any:
    @instruction(lambda array, index, step: types.UniTuple(vector, count)(array, types.int64, types.int64))
    def load_several(builder: Any, array: Address, index: Any, step: Any) -> Any:
        """Return ``count`` vectors that begin ``step`` numbers apart."""
        return cgutils.pack_array(builder, [read(builder, array(i)) for i in _indices(builder, index, step, count)])

    return load_several


load3, load4, load6 = _loader(3), _loader(4), _loader(6)


@instruction(lambda array, index, step, several: types.void(array, types.int64, types.int64, several))
def save_all(builder: Any, array: Address, index: Any, step: Any, several: Any) -> None:
    """Store several vectors, which begin ``step`` numbers apart."""
    vectors = cgutils.unpack_tuple(builder, several)
    for i, numbers in zip(_indices(builder, index, step, len(vectors)), vectors, strict=True):
        write(builder, numbers, array(i))


def _indices(builder: Any, index: Any, step: Any, count: int) -> list[Any]:
    rows = (builder.mul(step, ir.Constant(INDEX, i), flags=["nsw"]) for i in range(count))
    return [builder.add(index, row, flags=["nsw"]) for row in rows]


def _prefetch(builder: Any, address: Any, to_write: int, keep: int) -> None:
    pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    function = builder.module.declare_intrinsic(
        "llvm.prefetch", [pointer], ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
    )
    data = 1
    builder.call(function, [builder.bitcast(address, pointer), *map(number, (to_write, keep, data))])


@instruction(lambda array, index: types.void(array, types.int64))
def prefetch(builder: Any, array: Address, index: Any) -> None:
    """Start to load the cache line of ``array[index]``, for reading, while the core continues to compute."""
    _prefetch(builder, array(index), 0, 3)


@instruction(lambda array, index: types.void(array, types.int64))
def prefetch_to_write(builder: Any, array: Address, index: Any) -> None:
    """Start to load a cache line that this core will change: other cores lose it."""
    _prefetch(builder, array(index), 1, 3)


@instruction(lambda array, index: types.void(array, types.int64))
def prefetch_span(builder: Any, array: Address, index: Any) -> None:
    """Start to load a span, for reading. The index may be outside of the array."""
    for i in range(0, SPAN, LINE):
        _prefetch(builder, array(builder.add(index, ir.Constant(INDEX, i))), 0, 2)


@instruction(lambda a, floor: a(a, types.float32))
def at_least(builder: Any, a: Any, floor: Any) -> Any:
    """Return ``max(a, floor)`` for a vector and a number; NaN stays NaN, and a floor of NaN changes nothing."""
    return maximum(builder, a, repeat(builder, floor, a.type))


@instruction(lambda a, floor, b: b(a, types.float32, b))
def where_above(builder: Any, a: Any, floor: Any, b: Any) -> Any:
    """Return b where a > floor, and 0 elsewhere. If one of them is NaN, return b."""
    too_low = builder.fcmp_ordered("<=", a, repeat(builder, floor, a.type))
    return builder.select(too_low, ir.Constant(b.type, None), b)


@instruction(lambda totals, index, a, b: types.void(totals, types.int64, a, b))
def measure(builder: Any, totals: Address, index: Any, a: Any, b: Any) -> Any:
    """Update the two vectors at ``totals[index]``: the largest absolute value so far, and the sum of the smaller of
    |a| and |b|. If a number is infinite or NaN, the sum becomes NaN.
    """
    absolute = f"llvm.fabs.v{LANES}f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(VECTOR, [VECTOR]), absolute)
    sizes = [builder.call(function, [numbers]) for numbers in (a, b)]
    smaller = builder.select(builder.fcmp_ordered("<", *sizes), *sizes)
    zero = builder.fmul(builder.fadd(a, b), ir.Constant(VECTOR, [0.0] * LANES))
    at_largest, at_sum = totals(index), totals(builder.add(index, ir.Constant(INDEX, LANES)))
    write(builder, maximum(builder, maximum(builder, read(builder, at_largest), sizes[0]), sizes[1]), at_largest)
    write(builder, builder.fadd(read(builder, at_sum), builder.fadd(smaller, zero)), at_sum)


def _teach(operation: Callable[[Any, Any], Any], name: str) -> None:
    """Let kernels apply an operator to two vectors, or to a number (repeated in every lane) and a vector."""

    @instruction(lambda a, b: b(a, b))
    def compute(builder: Any, a: Any, b: Any) -> Any:
        # "contract": a product and a sum may become one multiply-add
        return getattr(builder, name)(repeat(builder, a, b.type), b, flags=("contract",))

    @overload(operation)
    def on_vectors(a, b):
        return (lambda a, b: compute(a, b)) if isinstance(b, VectorType) and a in (b, types.float32) else None


for _operation, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _teach(_operation, _name)
