"""Every registered kernel against its textbook twin. A kernel without a random problem fails the test."""

from __future__ import annotations

import numpy as np
import pytest
from twins import OPS, OPTIMIZERS, TRANSFORMS

import minires as mr
from minires.core import dispatch
from minires.core.backend import to_device
from minires.core.dispatch import load_kernels
from minires.kernels import cpu
from minires.nn.folding import Replay
from minires.ops.norm import GroupNorm
from minires.ops.resize import Resize
from minires.optim import RMSprop

for name in ("cpu", "cuda"):
    load_kernels(name)
KERNELS = {key for key in dispatch._kernels if key[0].__module__.startswith("minires.")}
TRIALS = 25
TOLERANCE = 1e-5  # of the largest number of the result, against the float64 textbook


@pytest.fixture(autouse=True)
def kernels_of_any_size(monkeypatch):
    """Let kernels take the small arrays of a test, too."""
    kernels = {key: kernel._replace(smallest=0) for key, kernel in dispatch._kernels.items()}
    monkeypatch.setattr(dispatch, "_kernels", kernels)
    monkeypatch.setattr(cpu.DEVICE, "smallest", 0)


def relative_error(got, expected):
    assert got.shape == expected.shape
    scale = np.abs(expected).max(initial=0)
    return np.abs(got - expected).max(initial=0) / (scale if scale > 0 else 1)


def to_host(array):
    return to_device(array, "cpu")


def moved(array, device):
    """A copy on the device; images keep their memory order."""
    if array.ndim < 3 or array.flags.c_contiguous:
        return to_device(np.array(array, order="C"), device)
    block = np.ascontiguousarray(array.transpose(0, *range(2, array.ndim), 1))
    return to_device(block, device).transpose(0, array.ndim - 1, *range(1, array.ndim - 1))


def made(make, device):
    """The op, with its arrays on the device."""
    op = make()
    for name in {"labels", "condition"} & set(vars(op)):
        setattr(op, name, moved(getattr(op, name), device))
    return op


def op_kernels(device):
    keys = ((op, phase) for op, phase, where in KERNELS if where == device and op not in {*OPTIMIZERS, *TRANSFORMS})
    return sorted(keys, key=lambda key: (key[0].__name__, key[1]))


def ids(keys):
    return [f"{op.__name__}-{phase}" for op, phase in keys]


@pytest.mark.parametrize(("op", "phase"), op_kernels("cpu"), ids=ids(op_kernels("cpu")))
@pytest.mark.parametrize("threads", [1, 3])
def test_a_kernel_computes_what_the_textbook_computes(op, phase, threads, rng, monkeypatch):
    monkeypatch.setattr("minires.kernels.threads._setting", threads)
    monkeypatch.setattr("minires.kernels.threads.WORTH_A_THREAD", 0)
    compare_with_the_textbook(op, phase, "cpu", rng)


@pytest.mark.skipif(not op_kernels("cuda"), reason="CuPy is not installed")
@pytest.mark.parametrize(("op", "phase"), op_kernels("cuda"), ids=ids(op_kernels("cuda")))
def test_a_cuda_kernel_computes_what_the_textbook_computes(op, phase, rng, cuda):
    compare_with_the_textbook(op, phase, "cuda", rng)


def compare_with_the_textbook(op, phase, device, rng):
    kernel = dispatch._kernels[op, phase, device]
    ran = 0
    for _ in range(TRIALS):
        make, arrays = OPS[op](rng)
        singles = [array.astype(np.float32, order="K") for array in arrays]
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
        tensors = [mr.Tensor.wrap(moved(single, device)) for single in singles]
        for x in tensors:
            x.requires_grad = True
        fast = made(make, device)
        result = fast(*tensors)  # by the kernel for forward
        if phase == "forward":
            assert kernel.run(made(make, device), *(x.data for x in tensors)) is not NotImplemented
            assert relative_error(result.numpy(), expected.data) < TOLERANCE
            again = made(make, device)(*tensors)
            assert np.array_equal(again.numpy(), result.numpy())
        else:
            arrived = [(None,) * len(arrays)] if kernel.accumulates else []
            got = kernel.run(fast, moved(upstream, device), *arrived)
            if got is NotImplemented:
                continue
            for mine, right in zip(got, gradients, strict=True):
                assert mine.dtype == np.float32
                assert relative_error(to_host(mine), right.data) < TOLERANCE
        ran += 1
        for x, array in zip(tensors, arrays, strict=True):
            assert np.array_equal(x.numpy(), array.astype(np.float32))
    assert ran >= TRIALS // 2


@pytest.mark.parametrize("op", OPTIMIZERS, ids=lambda op: op.__name__)
def test_an_optimizers_kernel_takes_the_same_steps(op, device, rng, monkeypatch):
    if (op, "step", device) not in KERNELS:
        pytest.skip("only the CPU has this kernel")
    kernel, ran = dispatch._kernels[op, "step", device], []
    counted = kernel._replace(run=lambda *args: ran.append(kernel.run(*args)) or ran[-1])
    monkeypatch.setitem(dispatch._kernels, (op, "step", device), counted)
    for _ in range(TRIALS):
        shapes, options = rng.integers(1, 9, (3, 3)).tolist(), rng.integers(1 << 30)
        starts = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
        steps = [[rng.standard_normal(shape).astype(np.float32) for shape in shapes] for _ in range(3)]
        found = []
        for engine, dtype, where in (("textbook", "float64", "cpu"), ("fast", "float32", device)):
            parameters = [mr.nn.Parameter(mr.tensor(start, dtype=dtype, device=where).data) for start in starts]
            optimizer = OPTIMIZERS[op](np.random.default_rng(options), parameters)
            with mr.engine(engine):
                for grads in steps:
                    for parameter, grad in zip(parameters, grads, strict=True):
                        parameter.grad = mr.tensor(grad, dtype=dtype, device=where)
                    optimizer.step()
            found.append((*(p.numpy() for p in parameters), *optimizer.state_dict()["arrays"].values()))
        for right, mine in zip(*found, strict=True):
            assert mine.dtype == np.float32
            assert relative_error(mine, right) < TOLERANCE
    assert ran.count(None) >= TRIALS // 2


@pytest.mark.parametrize("optimizer_class", [mr.optim.SGD, mr.optim.Adam])
def test_one_parameter_that_a_kernel_does_not_take_leaves_it_the_others(optimizer_class, device, rng):
    """The first is float64, and the second was first updated later than the third; the textbook takes all of them."""
    steps = []
    options = {"momentum": 0.9} if optimizer_class is mr.optim.SGD else {}
    for engine in ("textbook", "fast"):
        dtypes = "float64", "float32", "float32"
        parameters = [mr.nn.Parameter(mr.tensor([1.0, 2.0, 3.0], dtype=d, device=device).data) for d in dtypes]
        optimizer = optimizer_class(parameters, lr=0.1, weight_decay=0.01, **options)
        with mr.engine(engine):
            for moved in (parameters[::2], parameters, parameters):
                optimizer.zero_grad()
                for parameter in moved:
                    parameter.grad = mr.tensor([0.5, -1.0, 2.0], dtype=parameter.dtype, device=device)
                optimizer.step()
        steps.append([parameter.numpy() for parameter in parameters])
    for right, mine in zip(*steps, strict=True):
        assert mine.dtype == right.dtype
        np.testing.assert_allclose(mine, right, rtol=1e-6)


@pytest.mark.parametrize("op", TRANSFORMS, ids=lambda op: op.__name__)
def test_a_transforms_kernel_gives_the_same_images(op, device, rng):
    assert (op, "forward", device) in KERNELS
    for trial in range(TRIALS):
        batch = rng.integers(0, 256, (int(rng.integers(1, 7)), 3, *rng.integers(1, 12, 2)), dtype=np.uint8)
        transform, there = TRANSFORMS[op](rng), to_device(batch, device)
        with mr.engine("textbook"):
            right = transform(batch, np.random.default_rng(trial))
            slow = to_host(transform(there, np.random.default_rng(trial)))
        fast = to_host(transform(there, np.random.default_rng(trial)))
        for got in (slow, fast):
            assert got.dtype == right.dtype
            assert got.shape == right.shape
            exact = right.dtype.kind != "f"
            assert np.array_equal(got, right) if exact else np.allclose(got, right, rtol=1e-6, atol=1e-6)


def test_every_kernel_is_tried(device):
    known = {*OPS, *OPTIMIZERS, *TRANSFORMS} - ({GroupNorm, Replay, Resize, RMSprop} if device == "cuda" else set())
    assert {op for op, _, where in KERNELS if where == device} == known


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
    """Numba would compile a new kernel for each of them; they are copied instead."""
    x = rng.standard_normal((4, 8, 12, 12)).astype("f")
    weight = rng.standard_normal((5, 8, 3, 3)).astype("f")
    expected = mr.ops.conv2d(x, weight, padding=1).data
    frozen = x.copy()
    frozen.flags.writeable = False
    assert np.array_equal(mr.ops.conv2d(mr.Tensor.wrap(frozen), weight, padding=1).data, expected)
    wide = np.repeat(x, 2, axis=3)
    assert np.array_equal(mr.ops.conv2d(mr.Tensor.wrap(wide[:, :, :, ::2]), weight, padding=1).data, expected)


def test_nan_goes_through_relu_pooling_and_norm():
    """If a kernel hid a NaN, a training run would never say why it fails."""
    x = np.ones((2, 16, 8, 8), "f")
    x[0, 3, 2, 2] = np.nan
    assert np.isnan(mr.ops.relu(mr.tensor(x)).data[0, 3, 2, 2])
    assert np.isnan(mr.ops.max_pool2d(mr.tensor(x), 2).data[0, 3, 1, 1])
    ones, zeros = np.ones(16, "f"), np.zeros(16, "f")
    y = mr.ops.batch_norm(x, ones, zeros, None, None, training=True, activation="relu")
    assert np.isnan(y.data[:, 3]).all()
    weight = np.ones((32, 16, 3, 3), "f")
    assert np.isnan(mr.ops.conv2d(mr.tensor(x), weight, padding=1).data[0, :, 2, 2]).all()


@pytest.mark.parametrize("window", [(2,), (3, 1, 1), ((2, 3), (4, 3))], ids=str)
def test_where_the_largest_of_a_window_is_nan_or_one_of_several_both_engines_choose_the_first(window, rng):
    x = rng.integers(0, 3, (3, 9, 7, 8)).astype("f")
    x[rng.random(x.shape) < 0.2] = np.nan
    x[0, 0, :4] = -np.inf
    found = []
    for engine in ("textbook", "fast"):
        with mr.engine(engine):
            leaf = mr.tensor(x, requires_grad=True)
            y = mr.ops.max_pool2d(leaf, *window)
            y.backward(mr.tensor(1.0 + np.arange(y.size, dtype="f").reshape(y.shape)))
            found.append((y.numpy(), leaf.grad.numpy()))
    for expected, got in zip(*found, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert np.isnan(found[0][0]).any() and np.isinf(found[0][0]).any()


def test_a_training_step_copies_no_layout(rng):
    """After the first convolution has changed the layout of the images, all ops keep it."""
    model = mr.models.resnet20()
    x = mr.tensor(rng.standard_normal((4, 3, 32, 32)).astype("f"))
    copies = cpu.DEVICE.copies
    mr.ops.cross_entropy(model(x), np.arange(4)).backward()
    assert cpu.DEVICE.copies - copies <= 2  # the images, in forward and for the first weight's gradient


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


def test_a_bias_may_be_a_column_of_a_matrix(device, rng):
    columns = mr.tensor(rng.standard_normal((16, 5)).astype("float32"), device=device)
    x, weight = (
        mr.tensor(rng.standard_normal(s).astype("float32"), device=device) for s in ((2, 8, 12, 12), (16, 8, 3, 3))
    )
    calls = [
        lambda: mr.ops.conv2d(x, weight, columns[:, 0], padding=1),
        lambda: mr.ops.conv_transpose2d(x, weight.transpose(1, 0, 2, 3), columns[:, 1], padding=1),
        lambda: mr.ops.linear(x.transpose(0, 2, 3, 1), weight[:, :, 0, 0], columns[:, 2]),
    ]
    for call in calls:
        with mr.engine("textbook"):
            right = call().numpy()
        assert relative_error(call().numpy(), right) < TOLERANCE
