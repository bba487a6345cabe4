"""Memory shared between minires and other libraries, both ways."""

import gc
import sys

import numpy as np
import pytest

import minires as mr
from minires.errors import DeviceError, DTypeError, GraphError, ShapeError

WRITABLE = np.lib.NumpyVersion(np.__version__) >= "2.1.0"  # in older versions, the result of from_dlpack is read-only


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "int32", "uint8", "bool"])
def test_pytorch_looks_at_the_memory_of_a_tensor(torch, dtype):
    t = mr.tensor(np.arange(24).reshape(2, 3, 4), dtype=dtype)
    theirs = torch.from_dlpack(t)
    assert theirs.data_ptr() == t.data.ctypes.data and str(theirs.dtype) == f"torch.{dtype}"
    theirs[0, 1, 2] = 1
    assert t.data[0, 1, 2] == 1
    t[1, 2, 3] = 0
    assert theirs[1, 2, 3] == 0
    np.testing.assert_array_equal(theirs.numpy(), t.numpy())


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "int32", "uint8", "bool"])
def test_a_tensor_looks_at_the_memory_of_pytorch(torch, dtype):
    theirs = torch.arange(24).reshape(2, 3, 4).to(getattr(torch, dtype))
    t = mr.from_dlpack(theirs)
    assert t.data.ctypes.data == theirs.data_ptr() and t.dtype == dtype and not t.requires_grad
    theirs[0, 1, 2] = 1
    assert t.data[0, 1, 2] == 1
    if WRITABLE:
        t[1, 2, 3] = 0
        assert theirs[1, 2, 3] == 0


@pytest.mark.parity
def test_channels_last_and_other_strides_are_kept(torch):
    theirs = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    t = mr.from_dlpack(theirs)
    assert t.shape == (2, 3, 4, 5) and [s // 4 for s in t.data.strides] == list(theirs.stride())
    assert t.data.transpose(0, 2, 3, 1).flags.c_contiguous
    back = torch.from_dlpack(t)
    assert back.is_contiguous(memory_format=torch.channels_last) and back.data_ptr() == theirs.data_ptr()
    view = torch.from_dlpack(t[:, 1:, ::2])
    np.testing.assert_array_equal(view.numpy(), theirs[:, 1:, ::2].numpy())
    assert view.data_ptr() == theirs[:, 1:].data_ptr()


@pytest.mark.parity
def test_the_memory_lives_as_long_as_either_side(torch):
    theirs = torch.from_dlpack(mr.tensor([1.0, 2.0]))
    ours = mr.from_dlpack(torch.tensor([3.0, 4.0]))
    gc.collect()
    np.full(1000, 7.0).sum()
    assert theirs.tolist() == [1, 2] and ours.numpy().tolist() == [3, 4]


@pytest.mark.parity
def test_what_pytorch_cannot_share_is_one_sentence(torch):
    cases = {
        "bfloat16": torch.zeros(2, dtype=torch.bfloat16),
        "complex64": torch.zeros(2, dtype=torch.complex64),
        "require": torch.zeros(2, requires_grad=True),
        "meta": torch.zeros(2, device="meta"),
        "PyCapsule has no __dlpack__": torch.zeros(2).__dlpack__(),
    }
    for word, given in cases.items():
        with pytest.raises(DTypeError, match=word) as error:
            mr.from_dlpack(given)
        assert str(error.value).startswith("from_dlpack: ") and str(error.value).endswith(".")


@pytest.mark.parity
def test_a_step_of_pytorch_on_a_shared_parameter(torch):
    """The purpose of sharing: both libraries optimise the same memory."""
    weight = mr.nn.Parameter(np.ones(3, "f"))
    theirs = torch.from_dlpack(weight.detach()).requires_grad_()
    (theirs * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    torch.optim.SGD([theirs], lr=0.5).step()
    np.testing.assert_allclose(weight.numpy(), [0.5, 0, -0.5])


def test_numpy_both_ways():
    t = mr.tensor([[1.0, 2.0], [3.0, 4.0]])
    array = np.from_dlpack(t.T)
    t[0, 1] = 5
    assert array[1, 0] == 5 and t.__dlpack_device__() == (1, 0)
    source = np.arange(3.0)
    ours = mr.from_dlpack(source)
    source[0] = 9
    assert ours.numpy()[0] == 9 and ours.dtype == "float64"
    assert mr.from_dlpack(mr.tensor(2.0)).shape == ()


def test_a_tensor_that_requires_a_gradient_is_detached_first():
    t = mr.tensor([1.0, 2.0], requires_grad=True)
    for tensor in (t, t * 2):
        with pytest.raises(GraphError, match=r"this tensor \(2\) requires a gradient.*share t\.detach"):
            np.from_dlpack(tensor)
    assert np.shares_memory(np.from_dlpack(t.detach()), t.data)


def test_an_axis_that_runs_backwards_is_copied_first():
    t = mr.tensor([1.0, 2.0, 3.0]).flip()
    with pytest.raises(ShapeError, match="runs backwards"):
        np.from_dlpack(t)
    np.testing.assert_array_equal(np.from_dlpack(mr.tensor(t)), [3, 2, 1])


def test_read_only_memory_stays_so():
    t = mr.tensor([1.0, 2.0]).broadcast_to((3, 2))
    if WRITABLE:
        assert not np.from_dlpack(t).flags.writeable
        assert not mr.from_dlpack(t).data.flags.writeable
    else:
        with pytest.raises(BufferError):
            np.from_dlpack(t)


def test_writes_from_outside_are_noticed_under_detect_anomaly_only():
    shared = np.array([1.0, 2.0])
    for anomaly in (False, True):
        x = mr.from_dlpack(shared)
        x.requires_grad = True
        with mr.detect_anomaly() if anomaly else mr.enable_grad():
            y = (x * x).sum()
        shared += 1
        if anomaly:
            with pytest.raises(GraphError, match="changed in place"):
                y.backward()
        else:
            y.backward()


class Elsewhere:
    def __init__(self, kind):
        self.kind = kind

    def __dlpack__(self, **options):
        raise BufferError("no")

    def __dlpack_device__(self):
        return self.kind, 0


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ([1.0], DTypeError, r"builtins\.list has no __dlpack__; mr\.tensor\(x\) copies x into a tensor\."),
        (3.0, DTypeError, r"builtins\.float has no __dlpack__"),
        (np.array([1j]), DTypeError, r"numpy\.ndarray \(complex128\) cannot be shared: a tensor holds floats"),
        (Elsewhere(1), DTypeError, "Elsewhere cannot be shared: no"),
        (Elsewhere(4), DeviceError, "on DLPack's device 4; move it to the CPU"),
    ],
)
def test_what_cannot_be_shared_is_one_sentence(given, error, sentence):
    with pytest.raises(error, match=sentence):
        mr.from_dlpack(given)


@pytest.mark.parametrize("kind", [2, 13])
def test_memory_of_a_gpu_needs_cupy(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match="needs CuPy"):
        mr.from_dlpack(Elsewhere(kind))
