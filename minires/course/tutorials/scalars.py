"""The exercises of tutorial 1, from scalars to a tape."""

from __future__ import annotations

import math
from typing import Any

from ...core.tensor import tensor
from ...errors import CheckError, GradcheckError
from ...gradcheck import gradcheck
from .exercise import Exercises, OpenError, call, compare

EXERCISES = Exercises()

EXERCISES.predicted(
    "1.1",
    "Two nodes are computed, and x is the third. Using x three times adds edges, not nodes.",
    "the number of nodes",
    3,
    (5, "five counts x once for each use. It is one node, and three edges lead to it."),
    (2, "two counts the computed nodes. x itself is a node, too: a leaf, which no operation computed."),
    (4, "three uses of x and one multiplication make four edges, but the question is about nodes."),
)

EXERCISES.predicted(
    "1.2",
    "Each of the three uses of x contributes: x, x and 1.",
    "the slope",
    7,
    (6, "6 is the slope of x * x alone. The other path from x to y, the + x, adds 1."),
    (4, "4 treats x * x as a product of two different numbers. x is both factors, and each use counts."),
    (3, "3 is what a single use of x contributes. There are three uses, and their contributions add up."),
    (12, "12 is the value of y; the question is how fast y changes with x."),
    (9, "9 multiplies where it should add: factors multiply along one path, and paths add up."),
)


@EXERCISES.judged("1.3", "A node holds its value and its local slope; the chain rule does the rest.")
def a_node_for_tanh(answer: Any) -> None:
    for a in (0.3, -1.2):
        node = call(answer, a)
        if not (hasattr(node, "data") and hasattr(node, "slopes")):
            raise CheckError(f"tanh should return a Value, but it returns {type(node).__name__}.")
        compare(f"the value of tanh({a})", node.data, math.tanh(a))
        if not node.slopes:
            raise OpenError
        step = 1e-6
        slope = (math.tanh(a + step) - math.tanh(a - step)) / (2 * step)
        mistakes = {
            "the local slope is 1 - tanh(a) squared: the square is missing.": [1 - math.tanh(a)],
            "the local slope is 1 - tanh(a)**2, not 1 - a**2: use the result, not the input.": [1 - a * a],
            "the local slope is the value of tanh; it should be its derivative.": [math.tanh(a)],
        }
        compare(f"the local slope of tanh at {a}", node.slopes, [slope], mistakes)


EXERCISES.predicted(
    "1.4",
    "Each doubling doubles the number of paths: after fifty doublings, no computer would ever finish.",
    "the number of visits to x",
    1024,
    (20, "20 counts two visits per doubling. But each visit starts another walk, so the counts multiply."),
    (10, "10 would be one visit per doubling. y + y passes its gradient to y twice, and the walk goes on each time."),
    (512, "512 is for nine doublings."),
    (2048, "2048 counts the visits to all numbers, x included."),
)

EXERCISES.predicted(
    "1.5",
    "With =, only the last contribution is left; with +=, all of them are added up.",
    "x.grad",
    3,
    (7, "7 is right for +=. With =, each contribution overwrites the one before."),
    (1, "1 is what the + contributes first, but the * comes later and overwrites it."),
    (6, "6 would be the sum of what the * contributes. The second of its two edges overwrites the first."),
)


@EXERCISES.judged("1.6", "It passes gradcheck with a random upstream: the chain rule needs nothing else from an op.")
def an_op_of_minires(answer: Any) -> None:
    x = tensor([0.5, -1.5, 2.0], requires_grad=True, dtype="float64")
    compare("the result of your op for 0.5, -1.5 and 2", call(lambda x: answer()(x), x), [0.125, -3.375, 8.0])
    if not answer.backward.__code__.co_names:  # it uses no attribute, so it is not written yet
        raise OpenError
    try:
        gradcheck(lambda x: answer()(x), x, order=2)
    except GradcheckError as error:
        raise CheckError(str(error).removeprefix("gradcheck: ")) from None
    except Exception as error:
        raise CheckError(f"backward raises {type(error).__name__}: {error}.") from error
