"""The questions of A2 and the properties of right answers, 100 points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...checks import adjoint, clean, equals, has_shape, shaped
from ...comparison import Difference, same
from ...content import Property, Question
from ...draw import Array
from ...trial import MismatchError, Trial
from .inputs import (
    PADDINGS,
    POOL_PADDINGS,
    STRIDES,
    adjoint_pair,
    avg_pool_backward,
    below_zero,
    below_zero_backward,
    col2im,
    constant_image,
    conv_backward,
    conv_forward,
    global_upstream,
    im2col,
    image,
    max_pool_backward,
    pool_forward,
    ties,
    weight_shape,
)


def numbers(trial: Trial, **changed: Any) -> Array:
    """The weights that are returned. Raises MismatchError if they have not even the right shape."""
    return shaped(trial, trial.call(**changed).value).astype(float)


def variance(trial: Trial) -> None:
    """Mean and variance are right, as far as so many numbers can tell: five standard errors."""
    weight = numbers(trial)
    shape = trial.inputs["weight_shape"]
    found, right = weight.var(), 2 / math.prod(shape[1:])
    if not abs(found / right - 1) < 5 * (2 / weight.size) ** 0.5:
        factor = f"It is {found / right:.3g} times what is due." if np.isfinite(found) else ""
        sentence = f"The variance of weights of shape {shape} is {found:.4g}, but 2 / fan_in is {right:.4g}."
        raise MismatchError(Difference(sentence, factor))
    if not abs(weight.mean()) < 5 * (right / weight.size) ** 0.5:
        raise MismatchError(Difference(f"The mean of the weights is {weight.mean():.3g}, but should be near 0."))


def seeded(trial: Trial) -> None:
    """The seed decides the numbers, and nothing else does."""
    variance(trial)
    first = numbers(trial)
    if not same(first, numbers(trial)):
        raise MismatchError(Difference("The same seed gives other numbers when it is called again."))
    if same(first, numbers(trial, seed=trial.inputs["seed"] + 1)):
        raise MismatchError(Difference("Another seed gives the same numbers."))


CLEAN = "The arguments are not changed, and a second call returns the same."

QUESTIONS = [
    Question(
        "im2col",
        "what each output pixel sees, as rows",
        [
            Property(
                "shape",
                2,
                "cols is (N, OH, OW, C*KH*KW), also where windows do not reach the last rows and columns.",
                lambda draw: im2col(draw, strides=STRIDES, paddings=PADDINGS),
                has_shape(),
            ),
            Property("windows", 4, "Each row holds a window, in the order C, KH, KW.", im2col, equals()),
            Property(
                "stride",
                3,
                "Windows are SH rows and SW columns apart; what is left over at the end is dropped.",
                lambda draw: im2col(draw, strides=((2, 3), (3, 2)), leftover=True),
                equals(),
            ),
            Property(
                "padding",
                3,
                "PH rows of zeros lie above and below each image, PW columns on its left and right.",
                lambda draw: im2col(draw, paddings=PADDINGS),
                equals(),
            ),
            Property("batch of one", 1, "It works for one image.", lambda draw: im2col(draw, batch=1), equals()),
            Property("clean", 2, CLEAN, im2col, clean()),
        ],
        outputs=("cols",),
    ),
    Question(
        "col2im",
        "the way back of im2col: overlaps are added",
        [
            Property(
                "apart",
                3,
                "Where windows do not overlap, every number returns to its place.",
                lambda draw: col2im(draw, apart=True),
                equals(),
            ),
            Property("overlap", 4, "Where windows overlap, their numbers are added.", col2im, equals()),
            Property(
                "stride",
                2,
                "Windows are SH rows and SW columns apart; pixels that no window sees get zero.",
                lambda draw: col2im(draw, strides=((2, 3), (3, 2)), leftover=True),
                equals(),
            ),
            Property(
                "padding",
                3,
                "What came from the padding is cut off on all sides.",
                lambda draw: col2im(draw, paddings=PADDINGS),
                equals(),
            ),
            Property(
                "adjoint",
                2,
                "The sum of im2col(x) * cols equals the sum of x * col2im(cols), for every x and cols.",
                adjoint_pair,
                adjoint("im2col", "cols", "x", ("kernel_size", "stride", "padding")),
            ),
            Property("clean", 1, CLEAN, col2im, clean()),
        ],
        outputs=("x",),
    ),
    Question(
        "conv_forward",
        "convolution as one matrix product",
        [
            Property(
                "filters",
                4,
                "y is the sum of each window times each filter, which is not flipped.",
                lambda draw: conv_forward(draw, bias=False),
                equals(),
            ),
            Property("bias", 2, "Each output channel gets its own bias.", conv_forward, equals()),
            Property(
                "stride",
                3,
                "Windows are SH rows and SW columns apart.",
                lambda draw: conv_forward(draw, strides=STRIDES),
                equals(),
            ),
            Property(
                "padding",
                2,
                "PH rows and PW columns of zeros lie around each image.",
                lambda draw: conv_forward(draw, paddings=PADDINGS),
                equals(),
            ),
            Property("batch of one", 1, "It works for one image.", lambda draw: conv_forward(draw, batch=1), equals()),
            Property("clean", 1, CLEAN, conv_forward, clean()),
        ],
        outputs=("y",),
        uses=("im2col",),
    ),
    Question(
        "conv_backward",
        "the three gradients of the convolution",
        [
            Property("dx", 4, "dx is the gradient to x for any upstream.", conv_backward, equals("dx")),
            Property(
                "dx, stride",
                4,
                "dx is right with strides and padding; pixels that no window sees get zero.",
                lambda draw: conv_backward(draw, strides=((2, 3), (3, 2)), paddings=PADDINGS, leftover=True),
                equals("dx"),
            ),
            Property("dweight", 4, "dweight is the sum over all images and pixels.", conv_backward, equals("dweight")),
            Property(
                "dweight, stride",
                3,
                "dweight is right with strides and padding.",
                lambda draw: conv_backward(draw, strides=STRIDES, paddings=PADDINGS),
                equals("dweight"),
            ),
            Property("dbias", 3, "dbias is the sum of dy over all images and pixels.", conv_backward, equals("dbias")),
            Property("batch of one", 1, "It works for one image.", lambda draw: conv_backward(draw, batch=1), equals()),
            Property("clean", 1, CLEAN, conv_backward, clean()),
        ],
        outputs=("dx", "dweight", "dbias"),
        uses=("im2col", "col2im", "conv_forward"),
    ),
    Question(
        "kaiming_normal",
        "first weights that keep the size of signals",
        [
            Property("variance", 3, "The mean is 0, and the variance is 2 / fan_in.", weight_shape, variance),
            Property("seed", 1, "The seed decides the numbers, and nothing else does.", weight_shape, seeded),
        ],
        outputs=("weight",),
    ),
    Question(
        "max_pool_forward",
        "the largest number of each window",
        [
            Property(
                "windows",
                3,
                "y is the maximum of each window of each channel.",
                lambda draw: pool_forward(draw, apart=True),
                equals(),
            ),
            Property(
                "stride",
                2,
                "Windows are SH rows and SW columns apart, and may overlap.",
                lambda draw: pool_forward(draw, strides=STRIDES),
                equals(),
            ),
            Property("padding", 2, "The padding never wins, not even over numbers below zero.", below_zero, equals()),
            Property("clean", 1, CLEAN, pool_forward, clean()),
        ],
        outputs=("y",),
        uses=("im2col",),
    ),
    Question(
        "max_pool_backward",
        "the gradient goes to the winner",
        [
            Property(
                "winners",
                2,
                "Each number of dy goes to the largest pixel of its window.",
                lambda draw: max_pool_backward(draw, apart=True),
                equals(),
            ),
            Property(
                "overlap",
                2,
                "A pixel that wins several windows gets the sum of their gradients.",
                lambda draw: max_pool_backward(draw, strides=STRIDES),
                equals(),
            ),
            Property("ties", 2, "Of equal pixels the first one, row by row, gets all of the gradient.", ties, equals()),
            Property("padding", 2, "The padding wins nothing, and is cut off.", below_zero_backward, equals()),
            Property("clean", 1, CLEAN, max_pool_backward, clean()),
        ],
        outputs=("dx",),
        uses=("im2col", "col2im", "max_pool_forward"),
    ),
    Question(
        "avg_pool_forward",
        "the mean of each window",
        [
            Property(
                "windows",
                2,
                "y is the mean of each window of each channel.",
                lambda draw: pool_forward(draw, strides=STRIDES),
                equals(),
            ),
            Property(
                "padding",
                2,
                "The zeros of the padding count: every window is divided by KH*KW.",
                lambda draw: pool_forward(draw, paddings=POOL_PADDINGS),
                equals(),
            ),
            Property("clean", 1, CLEAN, pool_forward, clean()),
        ],
        outputs=("y",),
        uses=("im2col",),
    ),
    Question(
        "avg_pool_backward",
        "everybody gets an equal share",
        [
            Property(
                "shares",
                2,
                "Each pixel of a window gets dy / (KH*KW).",
                lambda draw: avg_pool_backward(draw, apart=True),
                equals(),
            ),
            Property(
                "overlap",
                2,
                "A pixel of several windows gets the sum of its shares; what came from the padding is cut off.",
                lambda draw: avg_pool_backward(draw, strides=STRIDES, paddings=POOL_PADDINGS),
                equals(),
            ),
            Property("clean", 1, CLEAN, avg_pool_backward, clean()),
        ],
        outputs=("dx",),
        uses=("im2col", "col2im", "avg_pool_forward"),
    ),
    Question(
        "global_avg_pool_forward",
        "one mean for each channel",
        [
            Property("means", 1, "y is the mean of each channel of each image.", image, equals()),
            Property("constant", 1, "The mean of a constant image is the constant.", constant_image, equals()),
            Property("clean", 1, CLEAN, image, clean()),
        ],
        outputs=("y",),
        uses=("avg_pool_forward",),
    ),
    Question(
        "global_avg_pool_backward",
        "and back",
        [
            Property("shares", 2, "Each pixel of a channel gets dy / (H*W).", global_upstream, equals()),
            Property("clean", 1, CLEAN, global_upstream, clean()),
        ],
        outputs=("dx",),
        uses=("avg_pool_backward", "global_avg_pool_forward"),
    ),
]
