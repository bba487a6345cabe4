"""The inputs of tests and examples."""

import numpy as np
import pytest

from minires.course.draw import Draw, seed_of


def test_sizes_of_a_test_are_all_different_and_in_their_ranges():
    for seed in range(50):
        sizes = Draw(seed).sizes((1, 2, 5), (1, 2, 5), (2, 2, 3), (4, 5, 9))
        assert len(set(sizes)) == 4
        assert all(
            low <= size <= high for size, (low, high) in zip(sizes, [(2, 5), (2, 5), (2, 3), (5, 9)], strict=True)
        )


def test_sizes_that_cannot_be_different_are_an_error():
    with pytest.raises(ValueError, match="do not allow sizes that are all different"):
        Draw(0).sizes((1, 2, 2), (1, 2, 2))


def test_examples_grow():
    assert [Draw(scale=scale).sizes((1, 2, 5), (2, 2, 4), (4, 5, 9)) for scale in range(4)] == [
        (1, 2, 4),
        (1, 3, 4),
        (2, 2, 5),
        (2, 4, 5),
    ]


@pytest.mark.parametrize("draw", [Draw(3), Draw(scale=1)], ids=["test", "example"])
@pytest.mark.parametrize("kind", ["normal", "negative", "ties", "constant", "zeros"])
def test_every_array_is_float64_and_what_its_code_says(draw, kind):
    array = getattr(draw, kind)(2, 3)
    assert array.dtype == np.float64 and array.shape == (2, 3)
    assert np.array_equal(array, eval(draw.code(array), {"np": np}))
    assert (array < 0).all() or kind != "negative"
    assert np.unique(array).size == {"normal": 6, "negative": 6, "constant": 1, "zeros": 1}.get(
        kind, len(np.unique(array))
    )


def test_ties_are_ties():
    assert len(np.unique(Draw(1).ties(5, 6))) == 2


def test_a_seed_depends_on_everything():
    seeds = {seed_of(*words) for words in [("a", "b", 0), ("a", "b", 1), ("a", "c", 0), ("b", "b", 0), ("a", "b0")]}
    assert len(seeds) == 5
