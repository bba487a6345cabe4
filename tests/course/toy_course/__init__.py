"""An assignment of two functions: as small as one can be, and all that is needed for one."""

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
            [
                Property("values", 3, "Every number is doubled.", any_array, equals()),
                Property("clean", 2, "x is not changed.", any_array, clean),
            ],
            outputs=("y",),
        ),
        Question(
            "total",
            "the sum of the doubled numbers of each row, and their largest",
            [
                Property("sums", 3, "The sums are right.", any_array, equals("sums")),
                Property("largest", 2, "The largest are right.", any_array, equals("largest")),
            ],
            outputs=("sums", "largest"),
            uses=("double",),
        ),
    ],
)
