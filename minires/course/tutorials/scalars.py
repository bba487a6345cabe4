"""Tutorial 1, scalars to tape."""

from __future__ import annotations

import math
from typing import Any

from ...core.tensor import tensor
from ...errors import CheckError, GradcheckError
from ...gradcheck import gradcheck
from .check import call, exercise
from .compare import OpenError, compare


@exercise("1.1", "Two numbers were computed, and x is the third; that it is used three times makes edges, not nodes.")
def nodes_of_a_tape(answer: Any) -> None:
    mistakes = {
        "five counts x once for each use. It is one node with three edges that lead to it.": 5,
        "two counts what was computed. x itself is a node, too: a leaf, made by nobody.": 2,
        "three uses of x and one multiplication make four edges, but the question is about nodes.": 4,
    }
    compare("the number of nodes", answer, 3, mistakes)


@exercise("1.2", "Each of the three uses of x gave its part: x, x and 1.")
def slope_of_the_parabola(answer: Any) -> None:
    x = 3.0
    mistakes = {
        "6 is the slope of x * x alone. The other way from x to y, the + x, adds its 1.": 2 * x,
        "4 takes x * x for a product of two different numbers: x is both factors, and each use counts.": x + 1,
        "3 is what a single use of x gives. There are three, and their parts add up.": x,
        "12 is the value of y; the question is how fast y changes with x.": x * x + x,
        "9 multiplies where parts should be added: factors multiply along one path, paths add up.": x * x,
    }
    compare("the slope", answer, 7, mistakes)


@exercise("1.3", "A node holds its value and its local slope; the chain rule does the rest.")
def a_node_for_tanh(answer: Any) -> None:
    for a in (0.3, -1.2):
        node = call(answer, a)
        for attribute in ("data", "slopes"):
            if not hasattr(node, attribute):
                raise CheckError(f"tanh should return a Value, but it returns {type(node).__name__}.")
        compare(f"the value of tanh({a})", node.data, math.tanh(a))
        if not node.slopes:
            raise OpenError
        step = 1e-6
        slope = (math.tanh(a + step) - math.tanh(a - step)) / (2 * step)
        mistakes = {
            "the local slope is 1 - tanh(a) squared: the square is missing.": [1 - math.tanh(a)],
            "the local slope is 1 - tanh(a)**2, and not 1 - a**2: take the result, not the input.": [1 - a * a],
            "the local slope is the value of tanh; it should be its derivative.": [math.tanh(a)],
        }
        compare(f"the local slope of tanh at {a}", node.slopes, [slope], mistakes)


@exercise("1.4", "Each doubling doubles the paths: after fifty, no computer would ever finish.")
def paths_of_a_ladder(answer: Any) -> None:
    mistakes = {
        "20 counts two visits a doubling; but each of them starts a walk of its own, so that they multiply.": 20,
        "10 would be one visit a doubling; y + y hands its gradient to y twice, and each time the walk goes on.": 10,
        "512 is for nine doublings.": 512,
        "2048 counts the visits to all numbers, x included.": 2048,
    }
    compare("the number of visits to x", answer, 1024, mistakes)


@exercise("1.5", "Whoever delivers last wins, and the others are lost; with += nobody is.")
def assigned_instead_of_added(answer: Any) -> None:
    mistakes = {
        "7 is right for +=. With =, what was delivered before is overwritten.": 7,
        "1 is what the + delivers first, but the * comes later and overwrites it.": 1,
        "6 would be the sum of what the * delivers; the second of its two edges overwrites the first.": 6,
    }
    compare("x.grad", answer, 3, mistakes)


@exercise("1.6", "It passed for random numbers and a random upstream: the chain rule needs no more from an op.")
def an_op_of_minires(answer: Any) -> None:
    if answer is None:
        raise OpenError
    x = tensor([0.5, -1.5, 2.0], requires_grad=True, dtype="float64")
    compare("the result of your op for 0.5, -1.5 and 2", call(lambda x: answer()(x), x), [0.125, -3.375, 8.0])
    if not answer.backward.__code__.co_names:  # it looks at nothing: not written yet
        raise OpenError
    try:
        gradcheck(lambda x: answer()(x), x, order=2)
    except GradcheckError as error:
        raise CheckError(str(error).removeprefix("gradcheck: ")) from None
    except Exception as error:
        raise CheckError(f"backward raises {type(error).__name__}: {error}.") from error
