"""The matrix product: cuBLAS, and a kernel of our own inside of a CUDA graph, where CuPy refuses to call cuBLAS."""

from __future__ import annotations

from ...core.backend import Array
from ...core.state import state
from .launch import for_each, launch
from .layout import empty

TILE = 64
WANTED = 512  # blocks that keep every multiprocessor busy


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a (M, K) @ b (K, N), in C order. Either may be a transposed view."""
    out = empty(a.shape[0], b.shape[1]) if out is None else out
    if state.capture is None:
        a.dot(b, out=out)
    else:
        own_product(a, b, out)
    return out


def own_product(a: Array, b: Array, out: Array) -> None:
    """The same by our kernel. A long inner axis, as in the gradient to a weight, is cut into parts for more blocks."""
    (m, k), n = a.shape, b.shape[1]
    tiles = -(-m // TILE), -(-n // TILE)
    parts = max(1, min(WANTED // (tiles[0] * tiles[1]), k // TILE, 65535))
    depth = -(-k // parts)
    parts = -(-k // depth)
    c = out if parts == 1 else empty(parts, m, n)
    strides = (stride // a.itemsize for stride in (*a.strides, *b.strides))
    launch("product", "product", (*tiles, parts), 256, a, b, c, m, n, k, depth, *strides)
    if parts > 1:
        for_each("product", "add_parts", out.size, c, out, parts)
