"""Every op against loops and formulas that are too simple to be wrong, and the promises that all ops keep."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from op_cases import CASES, IMAGES, X

import minires as mr
from minires import ops

# ------------------------------------------------------------------------------------------- what all ops promise


def test_the_table_holds_every_op():
    assert {case.op for case in CASES} == set(ops.__all__)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_inputs_are_unchanged_and_a_second_call_gives_the_same(case, rng):
    arrays = case.inputs(rng)
    inputs = [mr.tensor(a, requires_grad=True) for a in arrays]
    results = []
    for _ in range(2):
        y = case.ours(*inputs)
        upstream = np.random.default_rng(1).standard_normal(y.shape)
        kept = upstream.copy()
        grads = mr.grad(y, inputs, upstream)
        np.testing.assert_array_equal(upstream, kept)
        results.append([y.numpy(), *(g.numpy() for g in grads)])
    for x, a in zip(inputs, arrays, strict=True):
        np.testing.assert_array_equal(x.numpy(), a)
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_small_floats_stay_small(case, dtype, rng):
    """float32 in, float32 out, and float32 gradients, although upstream and Python's numbers are float64."""
    inputs = [mr.tensor(a, requires_grad=True) for a in case.inputs(rng, dtype)]
    y = case.ours(*inputs)
    assert y.dtype == dtype
    y.backward(rng.standard_normal(y.shape))
    assert [x.grad.dtype for x in inputs] == [dtype] * len(inputs)
    assert [x.grad.shape for x in inputs] == [x.shape for x in inputs]


@pytest.mark.parametrize(
    "f",
    [
        lambda x, n: ops.clip(x, -n, n),
        lambda x, n: ops.leaky_relu(x, n),
        lambda x, n: ops.dropout(x, n),
        lambda x, n: ops.pow(ops.abs(x), n),
        lambda x, n: ops.var(x, correction=n),
        lambda x, n: ops.pad(x, (1, 1), value=n),
        lambda x, n: ops.layer_norm(x, eps=n),
        lambda x, n: ops.batch_norm(x, np.ones(3, "f"), np.ones(3, "f"), None, None, True, n, n),
        lambda x, n: ops.batch_norm(x, *[np.ones(3, "f")] * 4, False, n, n),
        lambda x, n: ops.cross_entropy(x[0], [0, 1, 2], label_smoothing=n),
        lambda x, n: ops.where(x > n, x, n),
        lambda x, n: ops.maximum(x, n) + n - n * x / n,
    ],
)
def test_numpys_numbers_do_not_widen_float32(f, rng):
    x = mr.tensor(rng.standard_normal((2, 3, 4)).astype("float32"), requires_grad=True)
    y = f(x, np.float64(0.5))
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad.dtype == np.float32


# ------------------------------------------------------------------------------------------- elementwise


@pytest.mark.parametrize(
    ("f", "reference"),
    [
        (lambda x: ops.exp(x), math.exp),
        (lambda x: ops.log(ops.abs(x)), lambda x: math.log(abs(x))),
        (lambda x: ops.sqrt(ops.abs(x)), lambda x: math.sqrt(abs(x))),
        (lambda x: ops.tanh(x), math.tanh),
        (lambda x: ops.sigmoid(x), lambda x: 1 / (1 + math.exp(-x))),
        (lambda x: ops.relu(x), lambda x: x if x > 0 else 0.0),
        (lambda x: ops.leaky_relu(x, 0.2), lambda x: x if x > 0 else 0.2 * x),
        (lambda x: ops.gelu(x), lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2))),
        (lambda x: ops.abs(x), abs),
        (lambda x: ops.neg(x), lambda x: -x),
        (lambda x: ops.pow(x, 3), lambda x: x * x * x),
        (lambda x: ops.clip(x, -0.5, 0.7), lambda x: sorted((-0.5, x, 0.7))[1]),
        (lambda x: 1 / x, lambda x: 1 / x),
    ],
)
def test_elementwise_values(f, reference, rng):
    x = rng.standard_normal(X)
    expected = [reference(float(v)) for v in x.ravel()]
    np.testing.assert_allclose(f(mr.tensor(x)).numpy().ravel(), expected, rtol=1e-13)


def test_sigmoid_never_overflows_and_keeps_small_numbers():
    x = mr.tensor([-1000.0, -50.0, 0.0, 50.0, 1000.0], requires_grad=True)
    y = ops.sigmoid(x)
    np.testing.assert_allclose(y.numpy(), [0.0, math.exp(-50), 0.5, 1.0, 1.0], rtol=1e-6)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0.0, math.exp(-50), 0.25, 0.0, 0.0], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_maximum_minimum_and_their_reductions_of_any_numbers(dtype, rng):
    a, b = rng.integers(0, 200, (2, 3, 4)).astype(dtype)
    for op, reduction, pick in ((ops.maximum, ops.max, max), (ops.minimum, ops.min, min)):
        expected = [pick(p, q) for p, q in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)]
        assert op(a, b).numpy().ravel().tolist() == expected
        assert reduction(a).item() == pick(a.ravel().tolist())
        assert reduction(a).dtype == dtype


@pytest.mark.parametrize(("op", "sign"), [(ops.max, 1), (ops.min, -1)])
@pytest.mark.parametrize("axis", [None, 1, (0, 2), (-1, 0)])
def test_of_equal_elements_the_first_gets_the_gradient(op, sign, axis):
    x = mr.tensor(np.full((2, 3, 4), 5.0), requires_grad=True)
    op(x, axis).sum().backward()
    expected = np.zeros((2, 3, 4))
    expected[{None: (0, 0, 0), 1: (slice(None), 0)}.get(axis, (0, slice(None), 0))] = 1
    np.testing.assert_array_equal(x.grad.numpy(), expected)
    y = mr.tensor([sign * 1.0, sign * 3.0, sign * 3.0 - sign * 1e-6], requires_grad=True, dtype="float64")
    op(y).backward()  # nearly equal is not equal
    assert y.grad.numpy().tolist() == [0.0, 1.0, 0.0]


def test_dropout_zeroes_a_fraction_and_keeps_the_mean():
    p, n = 0.3, 200_000
    x = mr.tensor(np.ones(n, "float32"), requires_grad=True)
    y = ops.dropout(x, p)
    zeros = int((y.numpy() == 0).sum())
    assert abs(zeros - p * n) < 5 * math.sqrt(n * p * (1 - p))
    np.testing.assert_allclose(np.unique(y.numpy()), [0, 1 / (1 - p)], rtol=1e-6)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())  # the same elements, the same scale
    assert not np.array_equal(ops.dropout(x, p).numpy(), y.numpy())
    mr.manual_seed(0)
    np.testing.assert_array_equal(ops.dropout(x, p).numpy(), y.numpy())


# ------------------------------------------------------------------------------------------- reductions


def test_logsumexp_of_huge_and_of_impossible_numbers():
    inf = math.inf
    x = mr.tensor([[1e4, 1e4 + 1], [-inf, -inf], [-inf, 3.0], [-1e4, -1e4], [inf, 1.0]], dtype="float64")
    expected = [1e4 + 1 + math.log(1 + math.exp(-1)), -inf, 3.0, -1e4 + math.log(2), inf]
    np.testing.assert_allclose(ops.logsumexp(x, 1).numpy(), expected, rtol=1e-14)
    y = mr.tensor([-inf, 3.0, 4.0], requires_grad=True)
    ops.logsumexp(y).backward()
    np.testing.assert_allclose(y.grad.numpy(), [0, 1 / (1 + math.e), math.e / (1 + math.e)], rtol=1e-6)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_sum_and_broadcast_are_each_others_adjoint(small, data):
    """<broadcast x, y> = <x, sum y> for all shapes that broadcast to another."""
    target = [data.draw(st.integers(1, 4)) for _ in range(data.draw(st.integers(0, 2)))]
    target += [data.draw(st.integers(1, 5)) if size == 1 else size for size in small]
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(small), rng.standard_normal(target)
    wide, narrow = ops.broadcast_to(x, tuple(target)), ops.sum_to(y, tuple(small))
    assert (wide.shape, narrow.shape) == (tuple(target), tuple(small))
    np.testing.assert_allclose((wide.numpy() * y).sum(), (x * narrow.numpy()).sum(), rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------------------------- convolution


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def windows(draw, pool=False):
    """Kernel, stride, padding and dilation for height and width, and an image that they fit into."""
    kernel, stride, spare = draw(pairs(1, 3)), draw(pairs(1, 3)), draw(pairs(0, 6))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel) if pool else draw(pairs(0, 2))
    dilation = (1, 1) if pool else draw(pairs(1, 2))
    size = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + s for k, p, d, s in zip(kernel, padding, dilation, spare, strict=True)
    )
    return kernel, stride, padding, dilation, size


def naive_conv2d(x, weight, bias, stride, padding, dilation, groups):
    (n, _, h, w), (o, per_group, kh, kw) = x.shape, weight.shape
    oh, ow = (
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip((h, w), (kh, kw), stride, padding, dilation, strict=True)
    )
    y = np.zeros((n, o, oh, ow))
    for i, f, p, q in np.ndindex(n, o, oh, ow):
        y[i, f, p, q] = bias[f]
        for channel, a, b in np.ndindex(per_group, kh, kw):
            row, column = p * stride[0] + a * dilation[0] - padding[0], q * stride[1] + b * dilation[1] - padding[1]
            if 0 <= row < h and 0 <= column < w:
                source = f // (o // groups) * per_group + channel
                y[i, f, p, q] += x[i, source, row, column] * weight[f, channel, a, b]
    return y


@given(windows(), st.sampled_from([(1, 1, 3, 2), (2, 1, 2, 3), (1, 2, 2, 1), (3, 3, 1, 2)]))
def test_conv2d_against_seven_loops(window, sizes):
    kernel, stride, padding, dilation, size = window
    n, groups, per_group, filters = sizes
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, groups * per_group, *size))
    weight, bias = rng.standard_normal((groups * filters, per_group, *kernel)), rng.standard_normal(groups * filters)
    expected = naive_conv2d(x, weight, bias, stride, padding, dilation, groups)
    found = ops.conv2d(x, weight, bias, stride, padding, dilation, groups)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-10)


@given(windows(), st.sampled_from([(1, 1, 3, 2), (2, 2, 2, 1)]), st.data())
def test_conv_transpose2d_scatters_what_conv2d_gathers(window, sizes, data):
    kernel, stride, padding, dilation, size = window
    n, groups, per_group, filters = sizes
    extra = tuple(data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    rng = np.random.default_rng(0)
    x, weight = (
        rng.standard_normal((n, groups * per_group, *size)),
        rng.standard_normal((groups * per_group, filters, *kernel)),
    )
    bias = rng.standard_normal(groups * filters)
    image = tuple(
        (size - 1) * s - 2 * p + d * (k - 1) + e + 1
        for size, k, s, p, d, e in zip(size, kernel, stride, padding, dilation, extra, strict=True)
    )
    assume(min(image) > 0)
    expected = np.zeros((n, groups * filters, *image)) + bias[:, None, None]
    for i, c, p, q in np.ndindex(x.shape):
        for f, a, b in np.ndindex(filters, *kernel):
            row, column = p * stride[0] + a * dilation[0] - padding[0], q * stride[1] + b * dilation[1] - padding[1]
            if 0 <= row < image[0] and 0 <= column < image[1]:
                expected[i, c // per_group * filters + f, row, column] += x[i, c, p, q] * weight[c, f, a, b]
    found = ops.conv_transpose2d(x, weight, bias, stride, padding, extra, groups, dilation)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-10)


@given(windows())
def test_im2col_is_the_windows_as_rows_and_col2im_its_adjoint(window):
    kernel, stride, padding, dilation, size = window
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, *size))
    cols = ops.im2col(x, *window[:4])
    padded = np.zeros((2, 3, size[0] + 2 * padding[0], size[1] + 2 * padding[1]))
    padded[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]] = x
    for n, p, q in np.ndindex(cols.shape[:3]):
        top, left = p * stride[0], q * stride[1]
        row = [
            padded[n, c, top + a * dilation[0], left + b * dilation[1]]
            for c, a, b in itertools.product(range(3), range(kernel[0]), range(kernel[1]))
        ]
        np.testing.assert_array_equal(cols.numpy()[n, p, q], row)
    y = rng.standard_normal(cols.shape)
    back = ops.col2im(y, x.shape, *window[:4])
    np.testing.assert_allclose((cols.numpy() * y).sum(), (x * back.numpy()).sum(), rtol=1e-9, atol=1e-9)


def test_the_weight_gradient_sums_over_all_examples_and_positions():
    x, w = mr.tensor(np.ones((3, 2, 4, 5))), mr.tensor(np.zeros((2, 2, 3, 2)), requires_grad=True)
    ops.conv2d(x, w).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), np.full((2, 2, 3, 2), 3 * 2 * 4.0))


def test_an_empty_batch_goes_through():
    x = mr.tensor(np.zeros((0, 3, 5, 4)), requires_grad=True)
    w = mr.tensor(np.ones((2, 3, 3, 2)), requires_grad=True)
    y = ops.max_pool2d(ops.conv2d(x, w, padding=1), 2)
    assert y.shape == (0, 2, 2, 2)
    y.sum().backward()
    assert not w.grad.numpy().any()
    assert x.grad.shape == x.shape


# ------------------------------------------------------------------------------------------- pooling


@given(windows(pool=True), st.booleans())
def test_pooling_against_loops(window, ties):
    kernel, stride, padding, _, size = window
    rng = np.random.default_rng(0)
    x = rng.integers(-5, -1, (2, 3, *size)).astype("float64") if ties else rng.standard_normal((2, 3, *size))
    oh, ow = ((size[a] + 2 * padding[a] - kernel[a]) // stride[a] + 1 for a in (0, 1))
    largest, average, upstream = np.zeros((2, 3, oh, ow)), np.zeros((2, 3, oh, ow)), rng.standard_normal((2, 3, oh, ow))
    to_largest, to_average = np.zeros(x.shape), np.zeros(x.shape)
    for n, c, p, q in np.ndindex(2, 3, oh, ow):
        rows = range(p * stride[0] - padding[0], p * stride[0] - padding[0] + kernel[0])
        columns = range(q * stride[1] - padding[1], q * stride[1] - padding[1] + kernel[1])
        inside = [(n, c, i, j) for i in rows for j in columns if 0 <= i < size[0] and 0 <= j < size[1]]
        winner = inside[0]
        for place in inside:
            average[n, c, p, q] += x[place] / math.prod(kernel)  # the padding counts as zeros
            to_average[place] += upstream[n, c, p, q] / math.prod(kernel)
            winner = place if x[place] > x[winner] else winner  # the first of equal ones
        largest[n, c, p, q] = x[winner]
        to_largest[winner] += upstream[n, c, p, q]
    for op, y, dx in ((ops.max_pool2d, largest, to_largest), (ops.avg_pool2d, average, to_average)):
        leaf = mr.tensor(x, requires_grad=True)
        found = op(leaf, kernel, stride, padding)
        np.testing.assert_allclose(found.numpy(), y, rtol=1e-12, atol=1e-12)
        found.backward(upstream)
        np.testing.assert_allclose(leaf.grad.numpy(), dx, rtol=1e-12, atol=1e-12)


def test_max_pooling_a_constant_image_sends_each_gradient_to_the_first_pixel():
    x = mr.tensor(np.full((1, 2, 4, 6), 7.0), requires_grad=True)
    ops.max_pool2d(x, 2, 2).sum().backward()
    expected = np.zeros((4, 6))
    expected[::2, ::2] = 1
    np.testing.assert_array_equal(x.grad.numpy(), [[expected, expected]])


def test_the_padding_of_max_pooling_never_wins():
    x = mr.tensor(np.full((1, 1, 3, 4), -9.0), requires_grad=True)
    y = ops.max_pool2d(x, 3, 1, 1)
    assert (y.numpy() == -9.0).all()
    y.sum().backward()
    assert x.grad.numpy().sum() == y.size  # no gradient is lost in the padding


def test_global_average_pooling_is_the_mean_of_each_image(rng):
    x = mr.tensor(rng.standard_normal(IMAGES), requires_grad=True)
    y = ops.global_avg_pool2d(x)
    for n, c in np.ndindex(2, 3):
        np.testing.assert_allclose(y.numpy()[n, c], sum(x.numpy()[n, c].ravel()) / 35)
    upstream = rng.standard_normal((2, 3))
    y.backward(upstream)
    np.testing.assert_allclose(x.grad.numpy(), np.einsum("nc,hw->nchw", upstream / 35, np.ones((7, 5))))


# ------------------------------------------------------------------------------------------- normalisation


def channel_statistics(x):
    """Mean, biased and unbiased variance of each channel, computed with Python's sums."""
    out = []
    for c in range(x.shape[1]):
        values = [float(v) for v in x[:, c].ravel()]
        mean = math.fsum(values) / len(values)
        squares = math.fsum((v - mean) ** 2 for v in values)
        out.append((mean, squares / len(values), squares / (len(values) - 1)))
    return np.array(out).T


@pytest.mark.parametrize("shape", [IMAGES, (4, 3), (2, 3, 5), (1, 3, 2, 1)], ids=str)
def test_batch_norm_in_training_then_in_evaluation(shape, rng):
    gamma, beta = rng.standard_normal((2, 3))
    running = mean, var = mr.tensor(np.zeros(3)), mr.tensor(np.ones(3))
    per_channel = (1, 3, *(1,) * (len(shape) - 2))
    momentum, expected_mean, expected_var = 0.3, np.zeros(3), np.ones(3)
    for _ in range(2):
        x = 3 + 2 * rng.standard_normal(shape)
        y = ops.batch_norm(x, gamma, beta, *running, True, momentum, 1e-3)
        centre, biased, unbiased = channel_statistics(x)
        normalised = (x - centre.reshape(per_channel)) / np.sqrt(biased.reshape(per_channel) + 1e-3)
        expected = gamma.reshape(per_channel) * normalised + beta.reshape(per_channel)
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-9, atol=1e-9)
        expected_mean = 0.7 * expected_mean + 0.3 * centre
        expected_var = 0.7 * expected_var + 0.3 * unbiased
    np.testing.assert_allclose(mean.numpy(), expected_mean, rtol=1e-12)
    np.testing.assert_allclose(var.numpy(), expected_var, rtol=1e-12)
    before = mean.numpy().copy()
    y = ops.batch_norm(x, gamma, beta, *running, False, momentum, 1e-3)
    normalised = (x - expected_mean.reshape(per_channel)) / np.sqrt(expected_var.reshape(per_channel) + 1e-3)
    expected = gamma.reshape(per_channel) * normalised + beta.reshape(per_channel)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(mean.numpy(), before)  # evaluation changes nothing


def test_batch_norm_updates_arrays_in_place_and_does_without_them(rng):
    x, mean, var = rng.standard_normal(IMAGES), np.zeros(3), np.ones(3)
    kept = mean
    with mr.no_grad():
        y = ops.batch_norm(x, np.ones(3), np.zeros(3), mean, var, True, momentum=1.0)
    centre, _, unbiased = channel_statistics(x)
    np.testing.assert_allclose(kept, centre, rtol=1e-5)
    np.testing.assert_allclose(var, unbiased, rtol=1e-5)
    np.testing.assert_array_equal(ops.batch_norm(x, np.ones(3), np.zeros(3), None, None, True).numpy(), y.numpy())


def test_a_training_batch_after_evaluation_does_not_change_a_pending_backward(rng):
    x, running = mr.tensor(rng.standard_normal(IMAGES), requires_grad=True), (np.zeros(3), np.full(3, 4.0))
    y = ops.batch_norm(x, np.ones(3), np.zeros(3), *running, False)
    ops.batch_norm(x, np.ones(3), np.zeros(3), *running, True, momentum=1.0)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.full(IMAGES, 1 / np.sqrt(4 + 1e-5)))


@pytest.mark.parametrize("features", [(4,), (3, 4), (2, 3, 4)], ids=str)
def test_layer_norm_normalises_each_example(features, rng):
    x, gamma, beta = rng.standard_normal(X), rng.standard_normal(features), rng.standard_normal(features)
    y = ops.layer_norm(x, features, gamma, beta, eps=1e-3).numpy()
    for index in np.ndindex(X[: 3 - len(features)]):
        values = x[index]
        mean = math.fsum(values.ravel()) / values.size
        var = math.fsum((v - mean) ** 2 for v in values.ravel()) / values.size
        np.testing.assert_allclose(y[index], (values - mean) / math.sqrt(var + 1e-3) * gamma + beta, rtol=1e-10)


# ------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("smoothing", [0.0, 0.2, 1.0])
def test_cross_entropy_by_its_definition(smoothing, rng):
    logits, labels = rng.standard_normal((4, 3)), np.array([2, 0, 0, 1])
    expected = 0.0
    for row, label in zip(logits, labels, strict=True):
        total = sum(math.exp(v) for v in row)
        for k, v in enumerate(row):
            target = smoothing / 3 + (1 - smoothing) * (k == label)
            expected -= target * math.log(math.exp(v) / total) / 4
    assert ops.cross_entropy(logits, labels, label_smoothing=smoothing).item() == pytest.approx(expected, rel=1e-12)


def test_cross_entropy_of_huge_and_of_impossible_logits():
    rows = [[1e4, 0.0, -1e4], [0.0, 1e4, 0.0], [-1e4, -1e4, -2e4], [-2e4, -1e4, -3e4]]
    logits = mr.tensor(rows, requires_grad=True, dtype="float64")
    loss = ops.cross_entropy(logits, [1, 1, 0, 1])
    assert loss.item() == (1e4 + 0 + math.log(2) + 0) / 4  # the first row misses by 1e4, the second and last are right
    loss.backward()
    expected = np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0], [-0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]) / 4
    np.testing.assert_array_equal(logits.grad.numpy(), expected)
    found = ops.log_softmax(logits).numpy()
    np.testing.assert_allclose(found[[0, 2]], [[0, -1e4, -2e4], [-math.log(2), -math.log(2), -1e4 - math.log(2)]])
    masked = mr.tensor([[-math.inf, 1.0, 1.0]], requires_grad=True)
    loss = ops.cross_entropy(masked, [1])
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    np.testing.assert_allclose(masked.grad.numpy(), [[0.0, -0.5, 0.5]], atol=1e-7)


@pytest.mark.parametrize("n", [1, 8])
def test_losses_are_means_over_the_batch(n):
    """n equal examples cost what one does."""
    logits, labels, numbers = np.array([[0.3, -1.0, 2.0]] * n), [2] * n, np.array([[0.25, 1.0]] * n)
    total = sum(math.exp(v) for v in (0.3, -1.0, 2.0))
    assert ops.cross_entropy(logits, labels).item() == pytest.approx(math.log(total) - 2.0)
    assert ops.mse_loss(numbers, numbers + 3).item() == pytest.approx(9.0)
    p = 1 / (1 + math.exp(-0.25)), 1 / (1 + math.exp(-1.0))
    expected = (-math.log(p[0]) - math.log(1 - p[1])) / 2
    found = ops.binary_cross_entropy_with_logits(numbers, [[True, False]] * n)
    assert found.item() == pytest.approx(expected)


def test_binary_cross_entropy_of_huge_logits():
    x = mr.tensor([1e4, -1e4, 1e4], requires_grad=True)
    loss = ops.binary_cross_entropy_with_logits(x, [1.0, 0.0, 0.0])
    loss.backward()
    assert loss.item() == pytest.approx(1e4 / 3)
    np.testing.assert_allclose(x.grad.numpy(), [0, 0, 1 / 3], rtol=1e-6)


def test_integer_targets_do_not_widen_a_loss():
    assert ops.mse_loss(mr.tensor([1.0, 2.0]), np.array([1, 4])).dtype == np.float32
    assert ops.binary_cross_entropy_with_logits(mr.tensor([1.0, 2.0]), np.array([1, 0])).dtype == np.float32
