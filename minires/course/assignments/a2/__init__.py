"""A2: convolution and pooling. The questions, and the properties of right answers, 100 points."""

from __future__ import annotations

import math
from functools import partial

from ...content import Assignment, Property, Question
from ...trial import MismatchError, Trial, adjoint, clean, equals, has_shape, same, shaped
from . import inputs
from .inputs import LARGE_STRIDES, PADDINGS, POOL_PADDINGS, STRIDES


def variance(trial: Trial) -> None:
    """Check that the mean and the variance of the weights are right, within five standard errors."""
    weight = shaped(trial)
    shape = trial.inputs["weight_shape"]
    found, right = float(weight.var()), 2 / math.prod(shape[1:])
    if not abs(found / right - 1) < 5 * (2 / weight.size) ** 0.5:
        factor = f"It is {found / right:.3g} times what it should be." if math.isfinite(found) else ""
        sentence = f"The variance of weights of shape {shape} is {found:.4g}, but 2 / fan_in is {right:.4g}."
        raise MismatchError(sentence, factor)
    if not abs(weight.mean()) < 5 * (right / weight.size) ** 0.5:
        raise MismatchError(f"The mean of the weights is {weight.mean():.3g}, but should be near 0.")


def seeded(trial: Trial) -> None:
    """Check that the numbers depend on the seed, and on nothing else."""
    variance(trial)
    first = shaped(trial)
    if not same(first, shaped(trial)):
        raise MismatchError("A second call with the same seed gives different numbers.")
    if same(first, shaped(trial, seed=trial.inputs["seed"] + 1)):
        raise MismatchError("A different seed gives the same numbers.")


def cleanness(points: int) -> Property:
    """Return the property that nearly every question ends with."""
    return Property("clean", points, "The arguments are not changed, and a second call returns the same.", check=clean)


QUESTIONS = [
    Question("im2col", "what each output pixel sees, as rows", inputs.image, outputs=("cols",), properties=[
        Property("shape", 2, "cols is (N, OH, OW, C*KH*KW), even if windows do not reach the last rows and columns.",
                 {"strides": STRIDES, "paddings": PADDINGS}, has_shape),
        Property("windows", 4, "Each row holds a window, in the order C, KH, KW."),
        Property("stride", 3, "Windows are SH rows and SW columns apart; what is left over at the end is dropped.",
                 {"strides": LARGE_STRIDES, "leftover": True}),
        Property("padding", 3, "Images get PH rows of zeros above and below, and PW columns on the left and right.",
                 {"paddings": PADDINGS}),
        Property("batch of one", 1, "It works for one image.", {"batch": 1}),
        cleanness(2),
    ]),
    Question("col2im", "the adjoint of im2col: overlaps are added", inputs.columns, outputs=("x",), properties=[
        Property("apart", 3, "Where windows do not overlap, every number returns to its place.", {"apart": True}),
        Property("overlap", 4, "Where windows overlap, their numbers are added."),
        Property("stride", 2, "Windows are SH rows and SW columns apart; pixels that no window sees get zero.",
                 {"strides": LARGE_STRIDES, "leftover": True}),
        Property("padding", 3, "The padding is cut off on all sides.", {"paddings": PADDINGS}),
        Property("adjoint", 2, "The sum of im2col(x) * cols equals the sum of x * col2im(cols), for every x and cols.",
                 {"image": True, "strides": STRIDES, "paddings": PADDINGS}, partial(adjoint, function="im2col")),
        cleanness(1),
    ]),
    Question("conv_forward", "convolution as one matrix product", inputs.convolution, outputs=("y",), properties=[
        Property("filters", 4, "y is the sum of each window times each filter, which is not flipped.", {"bias": False}),
        Property("bias", 2, "Each output channel gets its own bias."),
        Property("stride", 3, "Windows are SH rows and SW columns apart.", {"strides": STRIDES}),
        Property("padding", 2, "PH rows and PW columns of zeros surround each image.", {"paddings": PADDINGS}),
        Property("batch of one", 1, "It works for one image.", {"batch": 1}),
        cleanness(1),
    ]),
    Question("conv_backward", "the three gradients of the convolution", partial(inputs.convolution, backward=True),
             outputs=("dx", "dweight", "dbias"), properties=[
        Property("dx", 4, "dx is the gradient with respect to x for any upstream.", {}, partial(equals, output="dx")),
        Property("dx, stride", 4, "dx is right with strides and padding; pixels that no window sees get zero.",
                 {"strides": LARGE_STRIDES, "paddings": PADDINGS, "leftover": True}, partial(equals, output="dx")),
        Property("dweight", 4, "dweight is the sum over all images and pixels.", {}, partial(equals, output="dweight")),
        Property("dweight, stride", 3, "dweight is right with strides and padding.",
                 {"strides": STRIDES, "paddings": PADDINGS}, partial(equals, output="dweight")),
        Property("dbias", 3, "dbias is the sum of dy over all images and pixels.", {}, partial(equals, output="dbias")),
        Property("batch of one", 1, "It works for one image.", {"batch": 1}),
        cleanness(1),
    ]),
    Question("kaiming_normal", "initial weights that preserve the size of signals", inputs.weight_shape,
             outputs=("weight",), properties=[
        Property("variance", 3, "The mean is 0, and the variance is 2 / fan_in.", {}, variance),
        Property("seed", 1, "The numbers depend on the seed, and on nothing else.", {}, seeded),
    ]),
    Question("max_pool_forward", "the largest number of each window", inputs.image, outputs=("y",), properties=[
        Property("windows", 3, "y is the maximum of each window of each channel.", {"apart": True}),
        Property("stride", 2, "Windows are SH rows and SW columns apart, and may overlap.", {"strides": STRIDES}),
        Property("padding", 2, "The padding never wins, not even over negative numbers.",
                 {"values": "negative", "paddings": POOL_PADDINGS}),
        cleanness(1),
    ]),
    Question("max_pool_backward", "the gradient goes to the winner", inputs.upstream_and_image,
             outputs=("dx",), properties=[
        Property("winners", 2, "Each number of dy goes to the largest pixel of its window.", {"apart": True}),
        Property("overlap", 2, "A pixel that wins several windows gets the sum of their gradients.",
                 {"strides": STRIDES}),
        Property("ties", 2, "If several pixels are largest, the first one, row by row, gets the whole gradient.",
                 {"values": ("ties", "constant"), "strides": STRIDES}),
        Property("padding", 2, "The padding never wins, and is cut off.",
                 {"values": ("negative",), "paddings": POOL_PADDINGS}),
        cleanness(1),
    ]),
    Question("avg_pool_forward", "the mean of each window", inputs.image, outputs=("y",), properties=[
        Property("windows", 2, "y is the mean of each window of each channel.", {"strides": STRIDES}),
        Property("padding", 2, "The zeros of the padding count: every window is divided by KH*KW.",
                 {"paddings": POOL_PADDINGS}),
        cleanness(1),
    ]),
    Question("avg_pool_backward", "every pixel gets an equal share", inputs.upstream_and_shape,
             outputs=("dx",), properties=[
        Property("shares", 2, "Each pixel of a window gets dy / (KH*KW).", {"apart": True}),
        Property("overlap", 2, "A pixel of several windows gets the sum of its shares; the padding is cut off.",
                 {"strides": STRIDES, "paddings": POOL_PADDINGS}),
        cleanness(1),
    ]),
    Question("global_avg_pool_forward", "one mean for each channel", inputs.whole_image, outputs=("y",), properties=[
        Property("means", 1, "y is the mean of each channel of each image."),
        Property("constant", 1, "The mean of a constant image is the constant.", {"values": "constant"}),
        cleanness(1),
    ]),
    Question("global_avg_pool_backward", "equal shares of dy", inputs.global_upstream, outputs=("dx",), properties=[
        Property("shares", 2, "Each pixel of a channel gets dy / (H*W)."),
        cleanness(1),
    ]),
]  # fmt: skip

ASSIGNMENT = Assignment("A2", "convolution and pooling", "conv_pool.py", __name__, QUESTIONS)
