"""Engines: when a registered kernel runs instead of the textbook, and when it does not."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import minires as mr
from minires.core import dispatch
from minires.core.dispatch import _kernels
from minires.core.state import state


class Double(mr.Op):
    def forward(self, x):
        return x * 2

    def backward(self, upstream):
        return upstream * 2


@pytest.fixture
def calls():
    """The toy kernels of ``Double``, and the list of phases in which they ran; they take float32 only."""
    ran = []

    @mr.register_kernel(Double, "forward", "cpu")
    def forward(op, x):
        assert isinstance(op, Double)
        if x.dtype != np.float32:
            return NotImplemented
        ran.append("forward")
        return x + x

    @mr.register_kernel(Double, "backward", "cpu")
    def backward(op, upstream):
        if upstream.dtype != np.float32:
            return NotImplemented
        ran.append("backward")
        return (upstream + upstream,)

    yield ran
    for phase in ("forward", "backward"):
        del _kernels[Double, phase, "cpu"]


def run(dtype="float32", create_graph=False):
    x = mr.tensor([1.0, -3.0], requires_grad=True, dtype=dtype)
    y = Double()(x)
    (dx,) = mr.grad(y, x, [1.0, 10.0], create_graph=create_graph)
    assert y.numpy().tolist() == [2.0, -6.0]
    assert dx.numpy().tolist() == [2.0, 20.0]
    assert (y.dtype, dx.dtype, dx.requires_grad) == (dtype, dtype, False)


def test_the_fast_engine_runs_the_kernels(calls):
    run()
    assert calls == ["forward", "backward"]


def test_a_kernel_hands_a_case_back(calls):
    run("float64")
    assert calls == []


def test_the_textbook_engine_runs_none_and_ends_with_its_block(calls):
    with mr.engine("textbook"):
        assert state.engine == "textbook"
        run()
        with mr.engine("fast"):
            Double()(mr.tensor([1.0]))
    assert calls == ["forward"]
    assert state.engine == "fast"


def test_a_backward_that_is_recorded_is_the_textbooks(calls):
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    Double()(x).sum().backward(create_graph=True)
    assert calls == ["forward"]
    assert x.grad.numpy().tolist() == [2.0, 2.0]


def test_a_kernel_belongs_to_one_op_and_phase(calls):
    class Heir(Double):
        pass

    Heir()(mr.tensor([1.0]))
    assert calls == []


def test_a_kernel_may_give_none_and_is_held_to_the_shapes():
    @mr.register_kernel(Double, "backward", "cpu")
    def backward(op, upstream):
        return (None,) if upstream.size == 1 else (upstream[:1],)

    try:
        x = mr.tensor([1.0, 2.0], requires_grad=True)
        with pytest.raises(mr.errors.ShapeError, match=r"backward of double: .* is 1, but the input is 2"):
            Double()(x).sum().backward()
        one = mr.tensor([1.0], requires_grad=True)
        Double()(one).backward()
        assert one.grad is None
    finally:
        del _kernels[Double, "backward", "cpu"]


@pytest.mark.parametrize(("phase", "device"), [("fwd", "cpu"), ("backward", "gpu"), (None, "cuda")])
def test_a_kernel_that_would_never_run_is_refused(phase, device):
    with pytest.raises(mr.errors.ArgumentError, match="register_kernel: phase"):
        mr.register_kernel(Double, phase, device)


def test_threads_wait_while_another_one_imports_the_kernels(monkeypatch):
    """Otherwise, the textbook would sometimes compute the first steps of a run."""
    importing, others_came = threading.Event(), threading.Event()

    def slow_import(room):
        importing.set()
        others_came.wait(0.2)  # they do not come: they wait until this import ends
        kernel = dispatch.Registered(lambda op, x: "fast", 0, ())
        monkeypatch.setitem(dispatch._kernels, (Double, "forward", "cpu"), kernel)

    monkeypatch.setattr(dispatch, "import_module", slow_import)
    monkeypatch.setitem(dispatch._rooms, "cpu", "a room")
    results = []

    def use():
        results.append(dispatch.run_kernel(Double(), "forward", np.zeros(dispatch.SMALL)))

    def use_later():
        importing.wait()
        use()
        others_came.set()

    threads = [threading.Thread(target=target) for target in (use, use_later)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["fast", "fast"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ModuleNotFoundError("No module named 'numba'", name="numba"), None),  # the textbook computes
        (ImportError("Numba needs NumPy 2.5 or less"), mr.errors.KernelError),
        (SyntaxError("invalid syntax"), mr.errors.KernelError),
        (ModuleNotFoundError("No module 'minires.x'", name="minires.x"), mr.errors.KernelError),
    ],
    ids=["package missing", "package broken", "kernel broken", "module missing"],
)  # fmt: skip
def test_only_a_missing_package_leaves_the_work_to_the_textbook_in_silence(monkeypatch, error, raised):
    def fail(room):
        raise error

    monkeypatch.setattr(dispatch, "import_module", fail)
    monkeypatch.setattr(dispatch, "_rooms", {"cpu": "a room"})
    if raised is None:
        assert dispatch.find_kernel(Double(), "forward", np.zeros(dispatch.SMALL)) is None
        assert dispatch._rooms == {}
        return
    for _ in range(2):  # and again, for the next op
        with pytest.raises(raised, match=r"the kernels of device 'cpu' cannot be imported"):
            dispatch.find_kernel(Double(), "forward", np.zeros(dispatch.SMALL))


@pytest.mark.parametrize("hands_back", [False, True])
def test_a_kernel_may_add_what_has_arrived_from_other_consumers(hands_back):
    seen = []

    class Twice(mr.Op):
        def forward(self, a, b):
            return 2 * a + b

        def backward(self, upstream):
            return upstream * 2, upstream

    @mr.register_kernel(Twice, "backward", "cpu", accumulates=(0,))
    def backward(op, upstream, arrived):
        seen.append([None if gradient is None else gradient.tolist() for gradient in arrived])
        if hands_back:
            return NotImplemented
        return (upstream * 2 if arrived[0] is None else upstream * 2 + arrived[0], upstream)

    a, b = mr.tensor([1.0], requires_grad=True) * 1, mr.tensor([1.0], requires_grad=True) * 1
    y = Twice()(a, b)
    grads = mr.grad(y + (3 * a + 5 * b), [a, b], [1.0])  # the products use a and b, too, and send first
    assert [grad.item() for grad in grads] == [5.0, 6.0]
    assert seen == [[[3.0], None]]
    del _kernels[Twice, "backward", "cpu"]
