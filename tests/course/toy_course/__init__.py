"""An assignment of two functions: a minimal but complete one."""

from functools import partial

from minires.course.content import Assignment, Property, Question
from minires.course.trial import clean, equals


def any_array(draw):
    return {"x": draw.normal(*draw.sizes((1, 2, 4), (2, 3, 5)))}


ASSIGNMENT = Assignment(
    "TOY",
    "doubling",
    "toy.py",
    __name__,
    [
        Question(
            "double",
            "twice as much",
            any_array,
            outputs=("y",),
            properties=[
                Property("values", 3, "Every number is doubled."),
                Property("clean", 2, "x is not changed.", check=clean),
            ],
        ),
        Question(
            "total",
            "the sum of the doubled numbers of each row, and their largest",
            any_array,
            outputs=("sums", "largest"),
            properties=[
                Property("sums", 3, "The sums are right.", check=partial(equals, output="sums")),
                Property("largest", 2, "The largest are right.", check=partial(equals, output="largest")),
            ],
        ),
    ],
)
