"""Every registered kernel against its textbook twin. A kernel without a random problem here fails."""

from __future__ import annotations

import numpy as np
import pytest
from twins import OPS, OPTIMIZERS, TRANSFORMS

import minires as mr
from minires import dispatch
from minires.dispatch import load_kernels
from minires.kernels.cpu import layout

load_kernels("cpu")
KERNELS = {(op, phase) for op, phase, device in dispatch._kernels if device == "cpu"}
OWN = sorted((k for k in KERNELS if k[0].__module__.startswith("minires.")), key=lambda k: (k[0].__name__, k[1]))
TRIALS = 25
TOLERANCE = 1e-5  # of the largest number of the result, against the float64 textbook


@pytest.fixture(autouse=True)
def kernels_of_any_size(monkeypatch):
    """Let kernels take the small arrays of a test as well."""
    monkeypatch.setattr(dispatch, "_smallest", {})


def relative_error(got, expected):
    assert got.shape == expected.shape
    scale = np.abs(expected).max(initial=0)
    return np.abs(got - expected).max(initial=0) / (scale if scale > 0 else 1)


def ids(keys):
    return [f"{op.__name__}-{phase}" for op, phase in keys]


OP_KERNELS = [key for key in OWN if key[1] != "update" and key[0] not in TRANSFORMS]


@pytest.mark.parametrize(("op", "phase"), OP_KERNELS, ids=ids(OP_KERNELS))
@pytest.mark.parametrize("threads", [1, 3])
def test_a_kernel_computes_what_the_textbook_computes(op, phase, threads, rng, monkeypatch):
    monkeypatch.setattr("minires.threads._setting", threads)
    monkeypatch.setattr("minires.threads.WORTH_A_THREAD", 0)
    monkeypatch.setattr("minires.kernels.cpu.correlate.WORTH_A_THREAD", 0)
    kernel = dispatch._kernels[op, phase, "cpu"]
    ran = 0
    for _ in range(TRIALS):
        make, arrays = OPS[op](rng)
        singles = [array.astype(np.float32, order="K") for array in arrays]
        before = [single.copy() for single in singles]
        # the textbook computes in float64 with the numbers that the kernel sees
        inputs = [mr.Tensor.wrap(single.astype(np.float64, order="K")) for single in singles]
        for x in inputs:
            x.requires_grad = True
        with mr.engine("textbook"):
            expected = make()(*inputs)
        upstream = np.empty_like(expected.data, np.float32, order="K" if rng.random() < 0.8 else "C")
        upstream[...] = rng.standard_normal(expected.shape)
        if phase == "forward":
            gradients = ()
        else:
            with mr.engine("textbook"):
                gradients = mr.grad(expected, inputs, mr.Tensor.wrap(upstream.astype(np.float64)))
        tensors = [mr.Tensor.wrap(single) for single in singles]
        for x in tensors:
            x.requires_grad = True
        fast = make()
        result = fast(*tensors)  # by the kernel for forward
        if phase == "forward":
            assert kernel(make(), *singles) is not NotImplemented
            assert relative_error(result.data, expected.data) < TOLERANCE
            again = make()(*tensors)
            assert np.array_equal(again.data, result.data)
        else:
            got = kernel(fast, upstream)
            if got is NotImplemented:
                continue
            for mine, right in zip(got, gradients, strict=True):
                assert mine.dtype == np.float32
                assert relative_error(mine, right.data) < TOLERANCE
        ran += 1
        for single, copy in zip(singles, before, strict=True):
            assert np.array_equal(single, copy)
    assert ran >= TRIALS // 2


@pytest.mark.parametrize("op", OPTIMIZERS, ids=lambda op: op.__name__)
def test_an_optimizers_kernel_takes_the_same_steps(op, rng):
    assert (op, "update") in KERNELS
    for _ in range(TRIALS):
        shape, options = tuple(rng.integers(1, 9, 3)), rng.integers(1 << 30)
        start, grads = rng.standard_normal(shape), rng.standard_normal((3, *shape))
        found = []
        for engine, dtype in (("textbook", "float64"), ("fast", "float32")):
            parameter = mr.nn.Parameter(start.astype(np.float32).astype(dtype))
            optimizer = OPTIMIZERS[op](np.random.default_rng(options), [parameter])
            with mr.engine(engine):
                for grad in grads:
                    parameter.grad = mr.tensor(grad.astype(np.float32).astype(dtype))
                    optimizer.step()
            found.append((parameter.data, *optimizer.state_dict()["arrays"].values()))
        for right, mine in zip(*found, strict=True):
            assert mine.dtype == np.float32
            assert relative_error(mine, right) < TOLERANCE


@pytest.mark.parametrize("op", TRANSFORMS, ids=lambda op: op.__name__)
def test_a_transforms_kernel_gives_the_same_pictures(op, rng):
    assert (op, "forward") in KERNELS
    for trial in range(TRIALS):
        batch = rng.integers(0, 256, (int(rng.integers(1, 7)), 3, *rng.integers(1, 12, 2)), dtype=np.uint8)
        transform = TRANSFORMS[op](rng)
        fast = transform(batch, np.random.default_rng(trial))
        with mr.engine("textbook"):
            slow = transform(batch, np.random.default_rng(trial))
        assert fast.dtype == slow.dtype
        assert fast.shape == slow.shape
        assert np.allclose(fast, slow, rtol=1e-6, atol=1e-6) if slow.dtype.kind == "f" else np.array_equal(fast, slow)


def test_every_kernel_is_tried():
    known = {*OPS, *OPTIMIZERS, *TRANSFORMS}
    assert {op for op, _ in OWN} == known


def test_a_kernel_hands_back_what_it_is_not_made_for():
    x = mr.tensor(np.ones((2, 4, 5, 5)), requires_grad=True)  # float64
    weight = mr.tensor(np.ones((6, 2, 3, 3)), requires_grad=True)
    y = mr.ops.conv2d(x, weight, groups=2)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == np.float64
    single = mr.ops.conv2d(mr.tensor(np.ones((2, 4, 5, 5), "f")), mr.tensor(np.ones((6, 2, 3, 3), "f")), groups=2)
    assert np.array_equal(single.data, y.data)


@pytest.mark.parametrize("shape", [(0, 4, 5, 5), (2, 0, 5, 5)])
def test_empty_batches_are_the_textbooks(shape):
    assert mr.ops.relu(mr.tensor(np.ones(shape, "f"))).shape == shape


def test_read_only_and_strided_inputs(rng):
    """Numba would compile anew for each; they are copied instead."""
    x = rng.standard_normal((4, 8, 12, 12)).astype("f")
    weight = rng.standard_normal((5, 8, 3, 3)).astype("f")
    expected = mr.ops.conv2d(x, weight, padding=1).data
    frozen = x.copy()
    frozen.flags.writeable = False
    assert np.array_equal(mr.ops.conv2d(mr.Tensor.wrap(frozen), weight, padding=1).data, expected)
    wide = np.repeat(x, 2, axis=3)
    assert np.array_equal(mr.ops.conv2d(mr.Tensor.wrap(wide[:, :, :, ::2]), weight, padding=1).data, expected)


def test_nan_goes_through_relu_pooling_and_norm():
    """A NaN that a kernel hides is a training run that never says why it fails."""
    x = np.ones((2, 16, 8, 8), "f")
    x[0, 3, 2, 2] = np.nan
    assert np.isnan(mr.ops.relu(mr.tensor(x)).data[0, 3, 2, 2])
    assert np.isnan(mr.ops.max_pool2d(mr.tensor(x), 2).data[0, 3, 1, 1])
    ones, zeros = np.ones(16, "f"), np.zeros(16, "f")
    y = mr.ops.batch_norm(x, ones, zeros, None, None, training=True, activation="relu")
    assert np.isnan(y.data[:, 3]).all()
    weight = np.ones((32, 16, 3, 3), "f")
    assert np.isnan(mr.ops.conv2d(mr.tensor(x), weight, padding=1).data[0, :, 2, 2]).all()


def test_a_training_step_copies_no_layout(rng):
    """After the first convolution has brought the pictures into order, all ops keep to it."""
    model = mr.models.resnet20()
    x = mr.tensor(rng.standard_normal((4, 3, 32, 32)).astype("f"))
    copies = layout.copies
    mr.ops.cross_entropy(model(x), np.arange(4)).backward()
    assert layout.copies - copies <= 2  # the pictures, in forward and for the first weight's gradient


def block_with_a_shortcut(x, weight, stride=1, padding=1):
    """Two consumers of x besides the convolution, one of them in another layout, and x consumed twice by one op."""
    branch = mr.ops.conv2d(x * 1, weight, stride=stride, padding=padding)
    y = mr.ops.relu(x + 0)
    branch = mr.ops.conv2d(y, weight, stride=stride, padding=padding) * 2 + branch
    return branch.sum(axis=(2, 3)) + y.sum(axis=(2, 3)) ** 2 + (y * y).mean(axis=(2, 3))


@pytest.mark.parametrize(("channels", "size", "options"), [(16, 24, {}), (5, 9, {}), (16, 9, {"stride": 2})])
@pytest.mark.parametrize("passes", [1, 2])
def test_the_gradient_of_a_shortcut_is_added_once(channels, size, options, passes, rng):
    x, weight = rng.standard_normal((3, channels, size, size)), rng.standard_normal((channels, channels, 3, 3))
    grads = {}
    for engine, dtype in (("textbook", np.float64), ("fast", np.float32)):
        leaves = [mr.tensor(array.astype(np.float32).astype(dtype), requires_grad=True) for array in (x, weight)]
        with mr.engine(engine):
            loss = block_with_a_shortcut(*leaves, **options).sum()
            for _ in range(passes):
                loss.backward(retain_graph=True)
        grads[engine] = [leaf.grad.data for leaf in leaves]
    for got, expected in zip(grads["fast"], grads["textbook"], strict=True):
        assert relative_error(got, expected) < TOLERANCE


def test_a_training_step_adds_no_gradients_in_a_walk_of_its_own(rng):
    model = mr.models.resnet8(num_classes=3)
    x = mr.tensor(rng.standard_normal((8, 3, 32, 32)).astype(np.float32))
    loss = mr.ops.cross_entropy(model(x), np.arange(8) % 3)
    with mr.profile() as profile:
        loss.backward()
    assert ("add", "forward") not in profile.rows


def test_two_runs_are_bit_identical(rng):
    x, labels = rng.standard_normal((8, 3, 32, 32)).astype("f"), np.arange(8)
    results = []
    for _ in range(2):
        mr.manual_seed(1)
        model = mr.models.resnet8()
        optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            mr.ops.cross_entropy(model(mr.tensor(x)), labels).backward()
            optimizer.step()
        results.append(model.state_dict())
    for name, value in results[0].items():
        assert np.array_equal(value, results[1][name]), name
