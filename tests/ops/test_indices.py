"""Every kind of index that NumPy takes, drawn at random: reading, the gradient, and assignment.

NumPy's own indexing and ``np.add.at``, in float64, give the expected values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
from minires.errors import OutOfRangeError

SHAPES = [(5,), (4, 3), (3, 1, 4), (2, 3, 2, 4)]


def as_lists(array: Any) -> Any:
    """An array as nested lists and tuples, mixed."""
    return array.tolist() if array.ndim < 2 else [tuple(row.tolist()) for row in array.reshape(len(array), -1)]


def spelled(array: np.ndarray, rng: np.random.Generator) -> Any:
    """An array of integers or booleans in one of the ways to write it."""
    ways = [lambda a: a, mr.tensor]
    if 0 < array.ndim < 3:
        ways += [np.ndarray.tolist, as_lists, lambda a: tuple(a.tolist())]
    if array.ndim == 1 and array.dtype.kind == "i":
        ways += [lambda a: [mr.tensor(n) for n in a], lambda a: [np.int32(n) for n in a], lambda a: a.astype("int8")]
    return ways[rng.integers(len(ways))](array)


def drawn_part(rng: np.random.Generator, sizes: tuple[int, ...], broadcast: tuple[int, ...]) -> tuple[Any, int]:
    """One part of an index for the leading ``sizes``, and the number of axes that it covers."""
    kind, size = rng.integers(9), sizes[0]
    if kind < 2:
        return [int, np.int64, np.array, mr.tensor][rng.integers(4)](int(rng.integers(-size, size))), 1
    if kind < 4:
        start, stop = (None if rng.random() < 0.3 else int(rng.integers(-size - 1, size + 2)) for _ in range(2))
        return slice(start, stop, [None, 1, 2, -1, -2][rng.integers(5)]), 1
    if kind == 4:
        return None, 0
    if kind == 5:
        return (bool(rng.random() < 0.8), np.True_, np.array(True))[rng.integers(3)], 0
    if kind == 6:
        axes = int(rng.integers(1, len(sizes) + 1))
        mask = np.zeros(sizes[:axes], bool)  # as many True as the other arrays have columns
        mask.ravel()[rng.permutation(mask.size)[: broadcast[-1]]] = True
        return spelled(mask, rng), axes
    shape = broadcast[rng.integers(len(broadcast)) :] if rng.random() < 0.8 else (1,)
    return spelled(rng.integers(-size, size, shape), rng), 1


def drawn_index(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    broadcast = [(2,), (3, 2), (1, 2), (2, 1), (0,)][rng.integers(5)]
    parts, axis = [], 0
    while axis < len(shape) and rng.random() < 0.8:
        part, covered = drawn_part(rng, shape[axis:], broadcast)
        parts, axis = [*parts, part], axis + covered
    if rng.random() < 0.3:
        parts.insert(rng.integers(len(parts) + 1), Ellipsis)
    single = len(parts) == 1 and not isinstance(parts[0], tuple) and rng.random() < 0.5
    return parts[0] if single else tuple(parts)


def for_numpy(index: Any) -> Any:
    """The index with arrays for tensors."""
    if isinstance(index, list):
        return [for_numpy(part) for part in index]
    return index.numpy() if isinstance(index, mr.Tensor) else index


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_index_reads_differentiates_and_assigns_as_numpy(shape):
    rng, refused, repeated = np.random.default_rng(sum(shape)), 0, 0
    for _ in range(300):
        index = drawn_index(rng, shape)
        raw = tuple(map(for_numpy, index)) if isinstance(index, tuple) else for_numpy(index)
        array = rng.standard_normal(shape)
        x = mr.tensor(array, requires_grad=True)
        try:
            expected = array[raw]
        except IndexError:
            with pytest.raises(OutOfRangeError):
                x[index]
            refused += 1
            continue
        y = x[index]
        np.testing.assert_array_equal(y.numpy(), expected, err_msg=repr(index))
        upstream, dx = rng.standard_normal(expected.shape), np.zeros(shape)
        np.add.at(dx, raw, upstream)
        (found,) = mr.grad(y, [x], upstream, create_graph=True)
        np.testing.assert_allclose(found.numpy(), dx, rtol=0, atol=1e-14, err_msg=repr(index))
        repeated += expected.size > (dx != 0).sum()
        array[raw] = upstream
        changed = x.detach()
        changed[index] = upstream
        np.testing.assert_array_equal(changed.numpy(), array, err_msg=repr(index))
    assert refused < 200
    assert repeated > 5  # elements that were selected several times


@pytest.mark.parametrize("spelling", [list, tuple, np.array, mr.tensor, lambda i: [mr.tensor(n) for n in i]])
def test_each_repetition_of_an_index_adds_its_gradient(spelling):
    x = mr.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x[(spelling([0, 2, 0]),)].sum().backward()
    assert x.grad.numpy().tolist() == [2.0, 0.0, 1.0]


def test_an_empty_list_selects_nothing():
    x = mr.tensor([[1.0, 2.0]], requires_grad=True)
    x[[]].sum().backward()
    assert x[[]].shape == (0, 2)
    assert x.grad.numpy().tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(("dtype", "count"), [("float16", 5000), ("float32", 20_000_000)])
def test_many_repetitions_keep_their_digits(dtype, count):
    x = mr.tensor([0.0, 0.0], requires_grad=True, dtype=dtype)
    x[np.zeros(count, "int8")].sum().backward()
    assert x.grad.numpy().tolist() == [count, 0.0]  # float16 counts in ones to 2,048, float32 to 16,777,216


WRONG = [3, -4, [3], (0, 2), (slice(None), -3), np.array([0, 9]), (0, 0, 0), [True, False], 1.5, ([0, 1], [0] * 3)]


@pytest.mark.parametrize("index", WRONG, ids=str)
@pytest.mark.parametrize("use", [lambda x, i: x[i], lambda x, i: x.__setitem__(i, 0.0)], ids=["read", "assign"])
def test_an_index_that_does_not_fit_is_an_index_error(use, index):
    with pytest.raises(IndexError, match="3x2") as caught:
        use(mr.tensor(np.zeros((3, 2))), index)
    assert isinstance(caught.value, OutOfRangeError)
