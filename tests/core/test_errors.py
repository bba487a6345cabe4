"""Wrong calls: each raises the named error, with a message of one sentence that names the op and the sizes."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minires as mr
from minires import ops
from minires.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
    GraphError,
    LabelError,
    MiniresError,
    ShapeError,
    listed,
    sizes,
)


def t(*shape, dtype="float32", requires_grad=False):
    """A tensor of ones."""
    return mr.tensor(np.ones(shape, dtype), requires_grad=requires_grad)


INTS, BOOLS, NAN = t(2, 3, dtype="int64"), t(2, 3, dtype="bool"), float("nan")
X, IMAGE, WEIGHT = t(2, 3), t(2, 3, 8, 7), t(4, 3, 3, 2)
BN = (t(3), t(3), t(3), t(3))


def leaf():
    return t(2, 3, requires_grad=True)


# (what is called, the error, words of its sentence)
WRONG = [
    # making tensors
    (lambda: mr.tensor("a"), DTypeError, ["tensor", "str"]),
    (lambda: mr.tensor(None), DTypeError, ["tensor", "NoneType"]),
    (lambda: mr.tensor([1.0, None]), DTypeError, ["tensor", "list"]),
    (lambda: mr.tensor({1.0}), DTypeError, ["tensor", "set"]),
    (lambda: mr.tensor(1j), DTypeError, ["tensor", "complex"]),
    (lambda: mr.tensor(2**80), DTypeError, ["tensor", "int"]),
    (lambda: mr.tensor([[1.0], [1.0, 2.0]]), ShapeError, ["tensor", "regular"]),
    (lambda: mr.tensor([1.0], dtype="float31"), DTypeError, ["float31", "float32"]),
    (lambda: mr.tensor([1.0], dtype=str), DTypeError, ["dtype"]),
    (lambda: mr.tensor([1.0], device="tpu"), ArgumentError, ["device", "tpu", "cuda"]),
    (lambda: mr.tensor([1.0], device=0), ArgumentError, ["device", "0"]),
    (lambda: mr.tensor([1, 2], requires_grad=True), DTypeError, ["int64", "2"]),
    (lambda: mr.Tensor([True], requires_grad=True), DTypeError, ["bool", "1"]),
    # elementwise
    (lambda: ops.add(X, t(2, 4)), ShapeError, ["add", "2x3", "2x4", "sizes 3 and 4"]),
    (lambda: X + t(4, 3), ShapeError, ["add", "2x3", "4x3", "sizes 2 and 4"]),
    (lambda: X - t(3, 2), ShapeError, ["sub", "2x3", "3x2"]),
    (lambda: X * np.ones((5, 1, 4)), ShapeError, ["mul", "2x3", "5x1x4"]),
    (lambda: [1.0, 2.0] / X, ShapeError, ["div", "2 ", "2x3"]),
    (lambda: ops.maximum(X, t(2)), ShapeError, ["maximum", "2x3"]),
    (lambda: ops.minimum(t(7), X), ShapeError, ["minimum", "7", "2x3"]),
    (lambda: X + "a", DTypeError, ["str"]),
    (lambda: X * None, DTypeError, ["NoneType"]),
    (lambda: ops.div(X, X, rounding_mode="up"), ArgumentError, ["div", "rounding_mode", "floor"]),
    (lambda: INTS // 0, ArgumentError, ["floor_divide", "0"]),
    (lambda: INTS % (INTS - 1), ArgumentError, ["remainder", "2x3", "0"]),
    (lambda: BOOLS - BOOLS, DTypeError, ["sub", "2x3", "bool"]),
    (lambda: -BOOLS, DTypeError, ["neg", "2x3", "bool"]),
    (lambda: ops.abs(BOOLS), DTypeError, ["abs", "bool"]),
    (lambda: ops.exp(INTS), DTypeError, ["exp", "2x3", "int64", "float32"]),
    (lambda: ops.log(INTS), DTypeError, ["log", "int64"]),
    (lambda: ops.sqrt(BOOLS), DTypeError, ["sqrt", "bool"]),
    (lambda: ops.tanh(INTS), DTypeError, ["tanh", "int64"]),
    (lambda: ops.sigmoid(INTS), DTypeError, ["sigmoid", "int64"]),
    (lambda: ops.relu(INTS), DTypeError, ["relu", "int64"]),
    (lambda: ops.gelu(INTS), DTypeError, ["gelu", "int64"]),
    (lambda: ops.leaky_relu(INTS), DTypeError, ["leaky_relu", "int64"]),
    (lambda: ops.leaky_relu(X, "steep"), ArgumentError, ["leaky_relu", "negative_slope", "steep"]),
    (lambda: ops.pow(X, "2"), DTypeError, ["str"]),
    (lambda: X**1j, DTypeError, ["complex"]),
    (lambda: ops.pow(X, t(2)), ShapeError, ["pow", "2x3"]),
    (lambda: INTS**-1, DTypeError, ["pow", "2x3", "int64", "negative", "float32"]),
    (lambda: INTS ** (-INTS), DTypeError, ["pow", "2x3", "int64", "negative"]),
    (lambda: X ** t(4), ShapeError, ["2x3", "4"]),
    (lambda: ops.clip(X), ArgumentError, ["clip", "None"]),
    (lambda: ops.clip(X, 2, 1), ArgumentError, ["clip", "2", "1"]),
    (lambda: ops.clip(X, "0"), DTypeError, ["str"]),
    (lambda: ops.clip(X, t(2)), ShapeError, ["clip", "2x3"]),
    (lambda: ops.clip(t(), t(2), t(3)), ShapeError, ["clip", "2 and 3"]),
    (lambda: ops.clip(X, NAN, 1), ArgumentError, ["clip", "nan"]),
    (lambda: ops.clip(X, high=NAN), ArgumentError, ["clip", "nan"]),
    (lambda: ops.where(X, X, X), DTypeError, ["where", "float32", "x > 0"]),
    (lambda: ops.where(BOOLS, X, t(2, 4)), ShapeError, ["where", "2x3", "2x4"]),
    (lambda: X.masked_fill(X, 1), DTypeError, ["masked_fill", "mask", "float32"]),
    (lambda: X.masked_fill(BOOLS, [1.0]), ShapeError, ["masked_fill", "value", "1", "where"]),
    (lambda: ops.where(BOOLS, t(4), t(4)), ShapeError, ["where", "2x3", "4"]),
    (lambda: t(4) > X, ShapeError, ["gt", "4 and 2x3"]),
    (lambda: np.ones((3, 3)) == X, ShapeError, ["eq", "2x3", "3x3"]),
    (lambda: X > "a", DTypeError, ["str"]),
    (lambda: ops.dropout(X, 1.1), ArgumentError, ["dropout", "p is 1.1", "[0, 1]"]),
    (lambda: ops.dropout(X, -0.1), ArgumentError, ["dropout", "-0.1"]),
    (lambda: ops.dropout(X, "half"), ArgumentError, ["dropout", "half"]),
    (lambda: ops.dropout(INTS), DTypeError, ["dropout", "int64"]),
    (lambda: ops.softmax(X, 2), ShapeError, ["softmax", "axis 2", "2x3"]),
    (lambda: ops.softmax(X, (0, 1)), ArgumentError, ["softmax", "(0, 1)"]),
    (lambda: ops.softmax(INTS), DTypeError, ["softmax", "int64"]),
    (lambda: ops.log_softmax(X, -3), ShapeError, ["log_softmax", "-3", "2x3"]),
    (lambda: ops.log_softmax(X, 0.5), ShapeError, ["log_softmax", "0.5"]),
    (lambda: ops.residual_add(X, t(3)), ShapeError, ["residual_add", "2x3", "3", "projection"]),
    (lambda: ops.residual_add(X, X, "gelu"), ArgumentError, ["residual_add", "gelu", "relu"]),
    (lambda: ops.residual_add(INTS, INTS), DTypeError, ["residual_add", "branch", "int64"]),
    # reductions
    (lambda: ops.sum(X, 2), ShapeError, ["sum", "axis 2", "2x3", "2 axes"]),
    (lambda: ops.sum(X, (0, -2)), ArgumentError, ["sum", "twice"]),
    (lambda: ops.sum(X, "rows"), ShapeError, ["sum", "'rows'", "2x3"]),
    (lambda: ops.sum(X, True), ShapeError, ["sum", "True"]),
    (lambda: ops.mean(X, (0, 5)), ShapeError, ["mean", "5", "2x3"]),
    (lambda: ops.mean(INTS), DTypeError, ["mean", "int64"]),
    (lambda: ops.mean(t(0, 3)), ShapeError, ["mean", "0x3"]),
    (lambda: ops.var(t(1, 3), 0), ShapeError, ["var", "1 element ", "1x3", "correction 1"]),
    (lambda: ops.var(X, correction="1"), ArgumentError, ["var", "correction", "'1'"]),
    (lambda: ops.var(INTS), DTypeError, ["var", "int64"]),
    (lambda: ops.max(t(2, 0), 1), ShapeError, ["max", "2x0"]),
    (lambda: ops.min(t(0, 3)), ShapeError, ["min", "0x3"]),
    (lambda: ops.min(X, 7), ShapeError, ["min", "7", "2x3"]),
    (lambda: ops.argmax(X, (0, 1)), ArgumentError, ["argmax", "(0, 1)"]),
    (lambda: ops.std(t(1, 3), 0), ShapeError, ["std", "1 element ", "1x3", "correction 1"]),
    (lambda: ops.sum(X, 0, 1), ArgumentError, ["sum", "keepdims is 1", "axis=(0, 1)"]),
    (lambda: ops.max(X, dim=1), ArgumentError, ["max", "dim", "x.max(axis=...) and x.argmax(axis=...)"]),
    (lambda: ops.min(X, X), ArgumentError, ["min", "mr.ops.minimum(a, b)"]),
    (lambda: ops.broadcast_to(X, (-1, 2, 3)), ShapeError, ["broadcast_to", "2x3", "-1x2x3"]),
    (lambda: ops.argmin(t(0, 2), 0), ShapeError, ["argmin", "0x2"]),
    (lambda: ops.argmax(X, 2), ShapeError, ["argmax", "2x3"]),
    (lambda: ops.argmax(t(0)), ShapeError, ["argmax", "0"]),
    (lambda: ops.logsumexp(INTS), DTypeError, ["logsumexp", "int64"]),
    (lambda: ops.logsumexp(X, 3), ShapeError, ["logsumexp", "3", "2x3"]),
    (lambda: ops.broadcast_to(X, (3, 3)), ShapeError, ["broadcast_to", "2x3", "3x3"]),
    (lambda: ops.broadcast_to(X, (3,)), ShapeError, ["broadcast_to", "2x3", "3"]),
    (lambda: ops.broadcast_to(X, 3), ShapeError, ["broadcast_to", "2x3", "3"]),
    (lambda: ops.broadcast_to(X, (2, -2)), ArgumentError, ["broadcast_to", "-2"]),
    (lambda: ops.broadcast_to(X, None), ArgumentError, ["broadcast_to", "None"]),
    (lambda: ops.sum_to(X, (4, 3)), ShapeError, ["sum_to", "4x3", "2x3"]),
    (lambda: ops.sum_to(X, 4), ShapeError, ["sum_to", "4", "2x3"]),
    (lambda: ops.sum_to(X, ("a",)), ArgumentError, ["sum_to", "'a'"]),
    # shapes
    (lambda: ops.reshape(X, 4, 2), ShapeError, ["reshape", "2x3", "6 elements", "(4, 2)"]),
    (lambda: ops.reshape(X, -1, 4), ShapeError, ["reshape", "2x3", "(-1, 4)"]),
    (lambda: ops.reshape(X, -1, -1), ShapeError, ["reshape", "2x3", "(-1, -1)"]),
    (lambda: ops.reshape(t(0, 3), 0, -1), ShapeError, ["reshape", "0x3"]),
    (lambda: ops.reshape(X, 2.0, 3), ArgumentError, ["reshape", "2.0"]),
    (lambda: ops.reshape(X, -2), ArgumentError, ["reshape", "-2"]),
    (lambda: ops.flatten(X, 2), ShapeError, ["flatten", "2", "2x3"]),
    (lambda: ops.flatten(X, (0, 1)), ArgumentError, ["flatten", "(0, 1)"]),
    (lambda: ops.flatten(X, 1, 0), ArgumentError, ["flatten", "start_axis 1", "end_axis 0", "2x3"]),
    (lambda: ops.squeeze(X, 4), ShapeError, ["squeeze", "4", "2x3"]),
    (lambda: ops.expand_dims(X, 4), ShapeError, ["expand_dims", "4", "2x3"]),
    (lambda: ops.expand_dims(X, (0, 1)), ShapeError, ["expand_dims", "(0, 1)", "2x3"]),
    (lambda: ops.transpose(X, (0, 0)), ArgumentError, ["transpose", "twice"]),
    (lambda: ops.permute(X, 0), ShapeError, ["permute", "2x3", "2 axes"]),
    (lambda: ops.transpose(X, 0), ShapeError, ["transpose", "2x3", "2 axes"]),
    (lambda: ops.transpose(X, 0, 2), ShapeError, ["transpose", "2x3", "2"]),
    (lambda: ops.concatenate([]), ArgumentError, ["concatenate", "at least one"]),
    (lambda: ops.concatenate(X), ArgumentError, ["concatenate", "Tensor"]),
    (lambda: ops.concatenate([X, t(2, 4)]), ShapeError, ["concatenate", "2x4", "2x3", "axis 0"]),
    (lambda: ops.concatenate([X, t(2)]), ShapeError, ["concatenate", "2x3, 2 must"]),
    (lambda: ops.concatenate([X, X], 2), ShapeError, ["concatenate", "2", "2x3"]),
    (lambda: ops.concatenate([X, X], None), ArgumentError, ["concatenate", "None"]),
    (lambda: ops.concatenate([t(), t()]), ShapeError, ["concatenate", "scalar"]),
    (lambda: ops.stack([X, t(3, 2)]), ShapeError, ["stack", "tensor 1", "3x2", "2x3"]),
    (lambda: ops.stack([X, X], 4), ShapeError, ["stack", "4", "2x3"]),
    (lambda: ops.stack(3.0), ArgumentError, ["stack", "float"]),
    (lambda: ops.pad(X, (1, 2, 3)), ArgumentError, ["pad", "(1, 2, 3)", "2x3"]),
    (lambda: ops.pad(X, ((1, 1),)), ArgumentError, ["pad", "2x3", "2 pairs"]),
    (lambda: ops.pad(X, (1,) * 6), ArgumentError, ["pad", "2x3"]),
    (lambda: ops.pad(X, (1, -4)), ShapeError, ["pad", "(1, -4)", "2x3"]),
    (lambda: ops.pad(X, (1, 3), "reflect"), ShapeError, ["pad", "reflect", "3 elements", "axis 1"]),
    (lambda: ops.pad(X, (1, 4), "circular"), ShapeError, ["pad", "circular", "4 elements", "axis 1"]),
    (lambda: ops.pad(X, (1, 1), "edge"), ArgumentError, ["pad", "edge", "replicate"]),
    (lambda: ops.pad(X, (1, 1), "circular", 1.0), ArgumentError, ["pad", "value", "circular"]),
    (lambda: ops.pad(X, 1), ArgumentError, ["pad", "2x3"]),
    (lambda: ops.pad(X, (1, 1), value="zero"), ArgumentError, ["pad", "value", "zero"]),
    (lambda: ops.flip(X, 2), ShapeError, ["flip", "2", "2x3"]),
    (lambda: X[2], ShapeError, ["getitem", "2x3", "index 2"]),
    (lambda: X[0, 0, 0], ShapeError, ["getitem", "2x3", "too many"]),
    (lambda: X[1.5], ShapeError, ["getitem", "2x3"]),
    (lambda: X["a"], ShapeError, ["getitem", "2x3"]),
    (lambda: X["a":], ShapeError, ["getitem", "2x3", "slice"]),
    (lambda: X[[0, 5]], ShapeError, ["getitem", "2x3", "5"]),
    (lambda: X[np.array([True])], ShapeError, ["getitem", "2x3", "boolean"]),
    (lambda: X[[0, 1], [0, 1, 2]], ShapeError, ["getitem", "2x3"]),
    (lambda: X[[[0], [0, 1]]], ShapeError, ["getitem", "2x3"]),
    (lambda: X[X], ShapeError, ["getitem", "2x3"]),
    (lambda: X.astype("text"), DTypeError, ["text"]),
    (lambda: X.to("gpu"), DTypeError, ["gpu", "cuda"]),
    (lambda: X.to(None), DTypeError, ["None"]),
    (lambda: ops.to_device(X, "gpu"), ArgumentError, ["gpu", "cuda"]),
    # products
    (lambda: X @ X, ShapeError, ["matmul", "a is 2x3", "b is 2x3", "transposed"]),
    (lambda: X @ t(4), ShapeError, ["matmul", "2x3", "4"]),
    (lambda: X @ 2.0, ShapeError, ["matmul", "scalar"]),
    (lambda: t(5, 2, 3) @ t(4, 3, 2), ShapeError, ["matmul", "5x2x3", "4x3x2", "5 and 4"]),
    (lambda: INTS @ t(3, 2), DTypeError, ["matmul", "a (2x3)", "int64"]),
    (lambda: ops.linear(X, t(4, 2)), ShapeError, ["linear", "3 features", "2x3", "4x2"]),
    (lambda: ops.linear(t(2, 3, 4), t(5, 12)), ShapeError, ["linear", "2x3x4", "5x12", "flatten"]),
    (lambda: ops.linear(X, t(3)), ShapeError, ["linear", "weight", "3"]),
    (lambda: ops.linear(X, t(4, 3), t(3)), ShapeError, ["linear", "bias is 3", "4 outputs"]),
    (lambda: ops.linear(INTS, t(4, 3)), DTypeError, ["linear", "int64"]),
    (lambda: ops.linear(mr.tensor(1.0), t(4, 3)), ShapeError, ["linear", "no features", "scalar"]),
    # convolution
    (
        lambda: ops.conv2d(t(2, 8, 7, 3), WEIGHT),
        ShapeError,
        ["conv2d", "8 channels", "2x8x7x3", "expects 3", "channels-last"],
    ),
    (lambda: ops.conv2d(t(8, 7), WEIGHT), ShapeError, ["conv2d", "8x7", "(N, C, H, W)"]),
    (lambda: ops.conv2d(IMAGE, t(4, 3, 3)), ShapeError, ["conv2d", "weight", "4x3x3", "(O, C, KH, KW)"]),
    (lambda: ops.conv2d(IMAGE, t(4, 3, 9, 2)), ShapeError, ["conv2d", "kernel covers 9", "along H", "8"]),
    (lambda: ops.conv2d(IMAGE, WEIGHT, dilation=(1, 7)), ShapeError, ["conv2d", "kernel covers 8", "along W", "7"]),
    (lambda: ops.conv2d(IMAGE, WEIGHT, t(3)), ShapeError, ["conv2d", "bias is 3", "4 outputs"]),
    (lambda: ops.conv2d(IMAGE, WEIGHT, stride=0), ArgumentError, ["conv2d", "stride is 0"]),
    (lambda: ops.conv2d(IMAGE, WEIGHT, stride=(1, 2, 3)), ArgumentError, ["conv2d", "stride is (1, 2, 3)"]),
    (lambda: ops.conv2d(IMAGE, WEIGHT, stride=1.0), ArgumentError, ["conv2d", "1.0"]),
    (lambda: ops.conv2d(IMAGE, WEIGHT, stride=True), ArgumentError, ["conv2d", "True"]),
    (lambda: ops.conv2d(IMAGE, WEIGHT, padding=-1), ArgumentError, ["conv2d", "padding is -1"]),
    (lambda: ops.conv2d(IMAGE, WEIGHT, None, 2, "same"), ArgumentError, ["conv2d", "'same' needs stride 1"]),
    (lambda: ops.conv2d(IMAGE, WEIGHT, padding="full"), ArgumentError, ["conv2d", "'full'", "same, valid"]),
    (lambda: ops.conv2d(IMAGE, WEIGHT, dilation=0), ArgumentError, ["conv2d", "dilation is 0"]),
    (lambda: ops.conv2d(IMAGE, WEIGHT, groups=3), ShapeError, ["conv2d", "4 filters", "4x3x3x2", "3 groups"]),
    (lambda: ops.conv2d(IMAGE, WEIGHT, groups=2), ShapeError, ["conv2d", "groups=2 expects 6", "2x3x8x7"]),
    (lambda: ops.conv2d(IMAGE, WEIGHT, groups=0), ArgumentError, ["conv2d", "groups is 0"]),
    (lambda: ops.conv2d(IMAGE, t(4, 3, 0, 2)), ShapeError, ["conv2d", "4x3x0x2", "empty"]),
    (lambda: ops.conv2d(t(2, 3, 8, 7, dtype="uint8"), WEIGHT), DTypeError, ["conv2d", "uint8"]),
    (lambda: ops.conv_transpose2d(IMAGE, WEIGHT), ShapeError, ["conv_transpose2d", "3 channels", "expects 4"]),
    (lambda: ops.conv_transpose2d(t(2, 4, 2, 2), WEIGHT, padding=3), ShapeError, ["conv_transpose2d", "2x4x2x2"]),
    (
        lambda: ops.conv_transpose2d(t(2, 4, 2, 2), WEIGHT, stride=2, output_padding=2),
        ArgumentError,
        ["conv_transpose2d", "output_padding is 2", "(2, 2)"],
    ),
    (
        lambda: ops.conv_transpose2d(t(2, 4, 2, 2), WEIGHT, t(4)),
        ShapeError,
        ["conv_transpose2d", "bias is 4", "3 outputs"],
    ),
    (lambda: ops.conv_transpose2d(t(2, 4, 2, 2), WEIGHT, groups=3), ShapeError, ["conv_transpose2d", "4 filters"]),
    (lambda: ops.im2col(X, 2), ShapeError, ["im2col", "2x3", "4 are needed"]),
    (lambda: ops.im2col(IMAGE, 9), ShapeError, ["im2col", "9", "8"]),
    (lambda: ops.im2col(IMAGE, 0), ArgumentError, ["im2col", "kernel_size is 0"]),
    (lambda: ops.im2col(IMAGE, None), ArgumentError, ["im2col", "None"]),
    (lambda: ops.col2im(t(2, 7, 6, 11), (2, 3, 8, 7), 2), ShapeError, ["col2im", "2x7x6x11", "2x7x6x12", "2x3x8x7"]),
    (lambda: ops.col2im(t(2, 7, 6, 12), (2, 3, 8), 2), ArgumentError, ["col2im", "(2, 3, 8)"]),
    (lambda: ops.col2im(t(2, 7, 6, 12), 5, 2), ArgumentError, ["col2im", "x_shape is 5"]),
    # pooling
    (lambda: ops.max_pool2d(X, 2), ShapeError, ["max_pool2d", "2x3"]),
    (lambda: ops.max_pool2d(IMAGE, 8), ShapeError, ["max_pool2d", "8", "along W", "7"]),
    (lambda: ops.max_pool2d(IMAGE, 3, 1, 2), ArgumentError, ["max_pool2d", "padding is (2, 2)", "(3, 3)"]),
    (lambda: ops.max_pool2d(IMAGE, 2, 0), ArgumentError, ["max_pool2d", "stride is 0"]),
    (lambda: ops.max_pool2d(IMAGE > 0, 2), DTypeError, ["max_pool2d", "bool"]),
    (lambda: ops.avg_pool2d(IMAGE, (2, 9)), ShapeError, ["avg_pool2d", "9"]),
    (lambda: ops.avg_pool2d(IMAGE, "2"), ArgumentError, ["avg_pool2d", "'2'"]),
    (lambda: ops.global_avg_pool2d(X), ShapeError, ["global_avg_pool2d", "2x3"]),
    (lambda: ops.global_avg_pool2d(t(2, 3, 0, 4)), ShapeError, ["global_avg_pool2d", "2x3x0x4"]),
    (lambda: ops.max_pool2d(IMAGE, 2, return_indices=True), ArgumentError, ["max_pool2d", "return_indices", "im2col"]),
    (lambda: ops.avg_pool2d(IMAGE, 2, divisor_override=0), ArgumentError, ["avg_pool2d", "divisor_override is 0"]),
    (
        lambda: ops.interpolate(IMAGE, scale_factor=(2, 2, 2)),
        ArgumentError,
        ["interpolate", "scale_factor is (2, 2, 2)"],
    ),
    (lambda: ops.adaptive_avg_pool2d(IMAGE, 0), ArgumentError, ["adaptive_avg_pool2d", "output_size is"]),
    (lambda: ops.adaptive_avg_pool2d(X, 1), ShapeError, ["adaptive_avg_pool2d", "2x3"]),
    (lambda: ops.interpolate(IMAGE), ArgumentError, ["interpolate", "size or scale_factor"]),
    (lambda: ops.interpolate(IMAGE, 4, mode="bicubic"), ArgumentError, ["interpolate", "mode 'bicubic'", "bilinear"]),
    (lambda: ops.interpolate(IMAGE, 4, align_corners=True), ArgumentError, ["interpolate", "align_corners is True"]),
    (lambda: ops.interpolate(IMAGE, None, 0.1), ShapeError, ["interpolate", "2x3x8x7", "0x0"]),
    # normalisation
    (lambda: ops.batch_norm(IMAGE, t(4), *BN[1:], True), ShapeError, ["batch_norm", "gamma is 4", "needs 3"]),
    (lambda: ops.batch_norm(IMAGE, t(3), t(3), t(2), t(3), True), ShapeError, ["batch_norm", "running_mean is 2"]),
    (lambda: ops.batch_norm(t(3), *BN, True), ShapeError, ["batch_norm", "1 axes", "x: 3"]),
    (lambda: ops.batch_norm(t(1, 3), *BN, True), ShapeError, ["batch_norm", "1x3", "more than one", "eval"]),
    (lambda: ops.batch_norm(X, t(3), t(3), None, None, False), ArgumentError, ["batch_norm", "running_mean"]),
    (lambda: ops.batch_norm(X, *BN, True, momentum=1.5), ArgumentError, ["batch_norm", "momentum is 1.5"]),
    (lambda: ops.batch_norm(X, *BN, True, eps=0), ArgumentError, ["batch_norm", "eps is 0"]),
    (lambda: ops.batch_norm(X, *BN, True, eps=NAN), ArgumentError, ["batch_norm", "eps is nan"]),
    (lambda: ops.batch_norm(INTS, *BN, True), DTypeError, ["batch_norm", "int64"]),
    (
        lambda: ops.batch_norm(X, t(3), t(3), t(3, dtype="int64"), t(3), True),
        DTypeError,
        ["batch_norm", "running_mean", "int64"],
    ),
    (
        lambda: ops.batch_norm(X, None, None, t(3), [1.0, np.inf, NAN], False),
        ArgumentError,
        ["batch_norm", "running_var is not finite"],
    ),
    (lambda: ops.group_norm(IMAGE, 2), ShapeError, ["group_norm", "2x3x8x7", "2 groups"]),
    (lambda: ops.group_norm(IMAGE, 3, t(2)), ShapeError, ["group_norm", "weight is 2", "needs 3"]),
    (lambda: ops.layer_norm(X, t(3), t(3)), ArgumentError, ["layer_norm", "normalized_shape", "(5,), weight, bias"]),
    (lambda: ops.layer_norm(X, 3, t(2)), ShapeError, ["layer_norm", "weight is 2", "2x3"]),
    (lambda: ops.layer_norm(X, (3,), t(3), t(2, 3)), ShapeError, ["layer_norm", "bias is 2x3", "2x3"]),
    (lambda: ops.layer_norm(t(3), (2, 3)), ShapeError, ["layer_norm", "normalized_shape, 2x3"]),
    (lambda: ops.layer_norm(X, eps=-1), ArgumentError, ["layer_norm", "eps is -1"]),
    (lambda: ops.layer_norm(t(2, 0)), ShapeError, ["layer_norm", "2x0"]),
    (lambda: ops.layer_norm(INTS), DTypeError, ["layer_norm", "int64"]),
    # losses
    (lambda: ops.cross_entropy(X, [0, 3]), LabelError, ["cross_entropy", "from 0 to 3", "3 classes", "2x3"]),
    (lambda: ops.cross_entropy(X, [-1, 0]), LabelError, ["cross_entropy", "from -1 to 0"]),
    (lambda: ops.cross_entropy(X, [0.0, 1.0]), LabelError, ["cross_entropy", "float32", "int64"]),
    (lambda: ops.cross_entropy(X, [True, False]), LabelError, ["cross_entropy", "bool"]),
    (lambda: ops.cross_entropy(X, [0]), ShapeError, ["cross_entropy", "labels are 1", "2x3"]),
    (lambda: ops.cross_entropy(X, INTS), ShapeError, ["cross_entropy", "2x3", "argmax"]),
    (lambda: ops.cross_entropy(X, [[0], [1]]), ShapeError, ["cross_entropy", "2x1", "labels.squeeze(1)"]),
    (lambda: ops.cross_entropy(t(2, 3, 5, 4), t(2, 1, 5, 4, dtype="int64")), ShapeError, ["2x5x4", "squeeze(1)"]),
    (lambda: ops.cross_entropy(X, [0, 1], t(2)), ShapeError, ["cross_entropy", "weight is 2", "classes is 3"]),
    (lambda: ops.cross_entropy(X, [0, 1], 0.1), ShapeError, ["cross_entropy", "weight is scalar", "label_smoothing"]),
    (lambda: ops.cross_entropy(X, [0, 1], ignore_index=None), ArgumentError, ["cross_entropy", "ignore_index", "None"]),
    (lambda: ops.cross_entropy(X, X, ignore_index=1), ArgumentError, ["cross_entropy", "ignore_index", "1"]),
    (lambda: ops.cross_entropy(X, [0, 1], reduction="avg"), ArgumentError, ["cross_entropy", "reduction", "'avg'"]),
    (lambda: ops.mse_loss(X, X, "sum"), ArgumentError, ["mse_loss", "reduction"]),
    (lambda: ops.mse_loss(X, X, size_average=True), ArgumentError, ["mse_loss", "reduction='mean'"]),
    (lambda: ops.relu(X, inplace=True), ArgumentError, ["relu", "inplace", "x = relu(x)"]),
    (lambda: ops.add(X, X, alpha=2), ArgumentError, ["add", "alpha * b"]),
    (lambda: ops.silu(INTS), DTypeError, ["silu", "2x3", "int64"]),
    (lambda: ops.gelu(X, approximate="erf"), ArgumentError, ["gelu", "'erf'", "tanh"]),
    (lambda: ops.cross_entropy(X, 1), ShapeError, ["cross_entropy", "scalar"]),
    (lambda: ops.cross_entropy(t(3), [0, 1, 2]), ShapeError, ["cross_entropy", "logits", "3"]),
    (lambda: ops.cross_entropy(t(0, 3), np.zeros(0, int)), ShapeError, ["cross_entropy", "0x3"]),
    (lambda: ops.cross_entropy(t(2, 0), [0, 0]), ShapeError, ["cross_entropy", "2x0", "empty"]),
    (
        lambda: ops.cross_entropy(X, [0, 1], label_smoothing=1.1),
        ArgumentError,
        ["cross_entropy", "_smoothing is 1.1"],
    ),
    (lambda: ops.cross_entropy(INTS, [0, 1]), DTypeError, ["cross_entropy", "logits", "int64"]),
    (lambda: ops.mse_loss(X, t(2, 1)), ShapeError, ["mse_loss", "2x3", "2x1"]),
    (lambda: ops.mse_loss(INTS, X), DTypeError, ["mse_loss", "prediction", "int64"]),
    (lambda: ops.mse_loss(t(0, 3), t(0, 3)), ShapeError, ["mse_loss", "0x3"]),
    (
        lambda: ops.binary_cross_entropy_with_logits(X, t(3)),
        ShapeError,
        ["binary_cross_entropy_with_logits", "2x3", "3"],
    ),
    (
        lambda: ops.binary_cross_entropy_with_logits(X, X * 2),
        LabelError,
        ["binary_cross_entropy_with_logits", "2", "[0, 1]"],
    ),
    (lambda: ops.binary_cross_entropy_with_logits(X, X * NAN), LabelError, ["binary_cross_entropy_with_logits", "nan"]),
    (lambda: ops.binary_cross_entropy_with_logits(t(0), t(0)), ShapeError, ["binary_cross_entropy_with_logits", "0"]),
    (lambda: ops.binary_cross_entropy_with_logits(INTS, X), DTypeError, ["binary_cross_entropy_with_logits", "int64"]),
    (lambda: ops.sigmoid_focal_loss(X, t(3)), ShapeError, ["sigmoid_focal_loss", "2x3", "3"]),
    (lambda: ops.sigmoid_focal_loss(X, X * 2), LabelError, ["sigmoid_focal_loss", "2", "[0, 1]"]),
    (lambda: ops.sigmoid_focal_loss(X, BOOLS, 1.5), ArgumentError, ["sigmoid_focal_loss", "alpha", "1.5"]),
    (lambda: ops.sigmoid_focal_loss(X, BOOLS, gamma=-1), ArgumentError, ["sigmoid_focal_loss", "gamma", "-1"]),
    (lambda: ops.sigmoid_focal_loss(INTS, X), DTypeError, ["sigmoid_focal_loss", "inputs", "int64"]),
    (lambda: ops.giou_loss(t(2, 4), t(4)), ShapeError, ["giou_loss", "2x4", "4"]),
    (lambda: ops.giou_loss(X, X), ShapeError, ["giou_loss", "2x3", "(..., 4)"]),
    (lambda: ops.giou_loss(t(2, 4), t(2, 4), "most"), ArgumentError, ["giou_loss", "reduction", "most"]),
    (lambda: ops.giou_loss(t(2, 4), t(2, 4), eps=0), ArgumentError, ["giou_loss", "eps", "0"]),
    # the tape
    (lambda: X.sum().backward(), GraphError, ["backward", "requires_grad", "scalar"]),
    (lambda: X.backward(X), GraphError, ["backward", "2x3"]),
    (lambda: leaf().backward(), ShapeError, ["backward", "2x3", "6 elements"]),
    (lambda: leaf().backward(t(3)), ShapeError, ["backward", "grad is 3", "2x3"]),
    (lambda: leaf().backward("up"), DTypeError, ["str"]),
    (lambda: mr.grad(X.sum(), X), GraphError, ["requires_grad"]),
    (lambda: mr.grad(leaf().sum(), X), GraphError, ["grad", "input 0"]),
    (lambda: mr.grad(leaf(), X), ShapeError, ["2x3"]),
    (lambda: mr.grad(leaf().sum(), 3.0), DTypeError, ["grad", "float"]),
    (lambda: mr.grad(leaf().sum(), [leaf(), np.ones(3)]), DTypeError, ["grad", "ndarray"]),
    (lambda: mr.grad(3.0, leaf()), DTypeError, ["grad", "float"]),
    (lambda: X.register_hook(print), GraphError, ["register_hook"]),
    (lambda: leaf().register_hook("print"), ArgumentError, ["register_hook", "'print'"]),
    (lambda: X.retain_grad(), GraphError, ["retain_grad"]),
    (lambda: setattr(INTS, "requires_grad", True), DTypeError, ["2x3", "int64"]),
    (lambda: setattr(leaf() * 2, "requires_grad", False), GraphError, ["mul", "detach"]),
    # Python's and NumPy's protocols
    (lambda: X.item(), ShapeError, ["item", "2x3", "6 elements"]),
    (lambda: float(X), ShapeError, ["2x3"]),
    (lambda: bool(X), ShapeError, ["bool", "2x3"]),
    (lambda: len(mr.tensor(1.0)), ShapeError, ["len", "scalar"]),
    (lambda: setattr(t(3), "data", [1.0]), DTypeError, ["raw array", "list"]),
    (lambda: t(2, 3).__setitem__(2, 0.0), ShapeError, ["2x3", "index 2"]),
    (lambda: t(2, 3).__setitem__(0, t(2)), ShapeError, ["2x3", "value (2)"]),
    (lambda: t(2, 3).__setitem__(0, "a"), DTypeError, ["str"]),
    (lambda: leaf().__setitem__(0, 1.0), GraphError, ["no_grad"]),
    (lambda: leaf().__iadd__(1.0), GraphError, ["iadd", "no_grad"]),
    (lambda: t(3).__isub__(X), ShapeError, ["isub", "2x3", "3"]),
    (lambda: t(2, 3, dtype="int64").__itruediv__(2), DTypeError, ["itruediv", "int64"]),
    # the switches
    (lambda: mr.engine("slow"), ArgumentError, ["engine", "slow", "textbook"]),
    (lambda: mr.engine(None), ArgumentError, ["engine", "None"]),
    (lambda: mr.manual_seed(-1), ArgumentError, ["manual_seed", "-1"]),
    (lambda: mr.manual_seed(1.0), ArgumentError, ["manual_seed", "1.0"]),
    (lambda: mr.manual_seed("0"), ArgumentError, ["manual_seed", "'0'"]),
    (lambda: mr.manual_seed(True), ArgumentError, ["manual_seed", "True"]),
    (lambda: mr.register_kernel(mr.Op, "forwards", "cpu"), ArgumentError, ["register_kernel", "forwards"]),
]


def check(call, error, words):
    with pytest.raises(MiniresError) as raised:
        call()
    message = str(raised.value)
    assert isinstance(raised.value, error), message
    for word in words:
        assert word in message
    assert "\n" not in message
    assert len(message) <= 400
    assert re.search(r"[^.][.?]\)?$", message), message


@pytest.mark.parametrize(
    ("call", "error", "words"), WRONG, ids=[f"{i}-{words[0]}" for i, (*_, words) in enumerate(WRONG)]
)
def test_a_wrong_call_raises_the_named_error_in_one_sentence(call, error, words):
    check(call, error, words)


def test_there_are_enough_of_them_and_every_op_is_among_them():
    named = {word for *_, words in WRONG for word in words}
    assert len(WRONG) >= 120
    assert set(ops.__all__) - named <= {"argmax", "astype", "to_device"}


@pytest.mark.parametrize("error", MiniresError.__subclasses__())
def test_errors_are_also_the_exceptions_that_python_programmers_expect(error):
    expected = {"DTypeError": TypeError, "GraphError": RuntimeError, "AnomalyError": ArithmeticError,
                "GradcheckError": AssertionError, "DeviceError": RuntimeError, "RunError": RuntimeError,
                "CourseError": AssertionError, "CheckError": AssertionError,
                "StoppedError": RuntimeError, "KernelError": ImportError}  # fmt: skip
    assert issubclass(error, MiniresError)
    assert issubclass(error, expected.get(error.__name__, ValueError))


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    check(lambda: mr.tensor([1.0]).to("cuda"), DeviceError, ["cuda", "CuPy"])


@pytest.mark.parametrize(
    "odd", [[], {}, object(), "x", b"x", 1j, [None], lambda: 0], ids=lambda odd: type(odd).__name__
)
@pytest.mark.parametrize("name", sorted(set(ops.__all__) - {"concatenate", "stack"}))
def test_no_op_answers_nonsense_with_an_error_of_numpys(name, odd):
    """Every op with an odd value for each argument: the outcome is a named error or a result, never another error."""
    plain = {
        "conv2d": [IMAGE, WEIGHT], "conv_transpose2d": [t(2, 4, 3, 2), WEIGHT], "im2col": [IMAGE, 2],
        "col2im": [t(2, 7, 6, 12), (2, 3, 8, 7), 2], "max_pool2d": [IMAGE, 2], "avg_pool2d": [IMAGE, 2],
        "global_avg_pool2d": [IMAGE], "adaptive_avg_pool2d": [IMAGE, 2], "interpolate": [IMAGE, 3],
        "group_norm": [IMAGE, 3, t(3), t(3)],
        "batch_norm": [X, *BN, True], "layer_norm": [X, 3, t(3), t(3)],
        "cross_entropy": [X, [0, 1]], "linear": [X, t(4, 3), t(4)], "where": [BOOLS, X, X],
        "masked_fill": [X, BOOLS, 0], "getitem": [X, 0],
        "pad": [X, (1, 1)], "reshape": [X, 3, 2], "transpose": [X, 1, 0], "permute": [X, 1, 0],
        "broadcast_to": [X, (2, 3)], "sum_to": [X, (1, 3)], "expand_dims": [X, 0], "clip": [X, 0.0, 1.0],
        "astype": [X, "float64"], "to_device": [X, "cpu"], "matmul": [X, t(3, 2)], "pow": [X, 2],
        "leaky_relu": [X, 0.1], "dropout": [X, 0.1], "sigmoid_focal_loss": [X, BOOLS], "giou_loss": [t(2, 4), t(2, 4)],
    }.get(name, [X, X] if name in TWO else [X, 0] if name in AXIS else [X])  # fmt: skip
    for place in range(len(plain)):
        arguments = [*plain[:place], odd, *plain[place + 1 :]]
        try:
            getattr(ops, name)(*arguments)
        except MiniresError as error:
            assert "\n" not in str(error)
            assert len(str(error)) <= 400


TWO = {"add", "sub", "mul", "div", "maximum", "minimum", "residual_add", "mse_loss", "binary_cross_entropy_with_logits"}
AXIS = {
    "sum",
    "mean",
    "var",
    "max",
    "min",
    "argmax",
    "logsumexp",
    "softmax",
    "log_softmax",
    "flatten",
    "squeeze",
    "flip",
}

SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@given(SHAPES, SHAPES, st.sampled_from(["add", "sub", "mul", "div", "maximum", "minimum"]))
def test_shapes_broadcast_as_numpys_do_or_raise_with_both(a, b, name):
    x, y = np.ones(a, "float32"), np.ones(b, "float32")
    try:
        expected = np.broadcast_shapes(a, b)
    except ValueError:
        check(lambda: getattr(ops, name)(x, y), ShapeError, [name, sizes(a), sizes(b)])
    else:
        assert getattr(ops, name)(x, y).shape == expected


@given(SHAPES, SHAPES)
def test_matrices_multiply_as_numpys_do_or_raise_with_both(a, b):
    x, y = np.ones(a, "float32"), np.ones(b, "float32")
    try:
        expected = (x @ y).shape
    except ValueError:
        check(lambda: ops.matmul(x, y), ShapeError, ["matmul", sizes(a), sizes(b)])
    else:
        assert ops.matmul(x, y).shape == expected


@given(SHAPES, st.lists(st.integers(-1, 6), max_size=4).map(tuple))
def test_reshape_follows_numpy_or_raises_with_the_sizes(a, target):
    x = np.ones(a, "float32")
    try:
        expected = x.reshape(target).shape
    except ValueError:
        check(lambda: ops.reshape(x, target), ShapeError, ["reshape", sizes(a), str(target)])
    else:
        assert ops.reshape(x, target).shape == expected


@given(
    st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 3),
)  # fmt: skip
def test_conv2d_computes_or_names_what_does_not_fit(x, w, stride, padding, dilation, groups):
    try:
        y = ops.conv2d(np.ones(x, "f"), np.ones(w, "f"), None, stride, padding, dilation, groups)
    except MiniresError as error:
        assert str(error).startswith("conv2d: ")
        assert len(str(error)) <= 400
        fits = min(stride, dilation, groups) > 0 and w[0] % groups == 0 and x[1] == w[1] * groups
        assert not fits or any(s + 2 * padding < dilation * (k - 1) + 1 for s, k in zip(x[2:], w[2:], strict=True))
    else:
        assert y.shape[:2] == (x[0], w[0])


def test_sizes_and_names_in_sentences():
    assert (sizes((2, 3)), sizes([5]), sizes(())) == ("2x3", "5", "scalar")
    assert (listed([]), listed(["a", "b"]), listed(list("abc"), 1)) == ("none", "a, b", "a and 2 more")
