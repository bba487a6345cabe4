"""How many multiply-adds the large ops take, for ``minires.profile()``.

Counted is the sum as it is written down, "done directly": each output of a 3x3 convolution takes 9 products for each
input channel, whether a kernel saves some of them (Winograd) or not, and whether they meet padding or not. So figures
of two implementations can be compared: they are times, turned over. Ops that do a few operations a number are limited
by memory, and are not counted.

Each function gets the shape of the output and those of the inputs. The gradient to either factor of a product takes
as many multiply-adds as the product (see :func:`minires.core.profiling.multiply_adds_of`).
"""

from __future__ import annotations

import math
from typing import Any

from .core.profiling import Shape, multiply_adds_of
from .nn.folding import Conv2dAct
from .ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d
from .ops.linalg import Linear, MatMul


@multiply_adds_of(Conv2d)
@multiply_adds_of(Conv2dAct)
def conv2d(output: Shape, x: Shape, weight: Shape, *others: Any) -> int:
    return math.prod(output) * math.prod(weight[1:])  # N*O*OH*OW outputs, a window of C/G*KH*KW each


@multiply_adds_of(ConvTranspose2d)
def conv_transpose2d(output: Shape, x: Shape, weight: Shape, *others: Any) -> int:
    return math.prod(x) * math.prod(weight[1:])  # each number goes to a window


@multiply_adds_of(Conv2dGradWeight)
def conv2d_grad_weight(output: Shape, x: Shape, upstream: Shape) -> int:
    return math.prod(upstream) * math.prod(output[1:])


@multiply_adds_of(MatMul)
def matmul(output: Shape, a: Shape, b: Shape) -> int:
    return math.prod(output) * a[-1]


@multiply_adds_of(Linear)
def linear(output: Shape, x: Shape, weight: Shape, *bias: Any) -> int:
    return math.prod(output) * weight[1]
