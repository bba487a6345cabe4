"""The profile: what was called and how often, and that no time is counted twice."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import numpy as np
import pytest

import minires as mr
from minires.bench import machine
from minires.bench.machine import Peak
from minires.bench.profiling import Row
from minires.core import dispatch
from minires.core.state import observed, state


class Slow(mr.Op):
    """The forward takes 30 ms; the backward takes 20 ms and calls the forward of another slow op."""

    def forward(self, x):
        time.sleep(0.03)
        return x * 2

    def backward(self, upstream):
        time.sleep(0.02)
        return Slow()(upstream)


def test_rows_count_calls_and_bytes_of_both_directions():
    x = mr.tensor(np.ones((2, 3), "float32"), requires_grad=True)
    with mr.profile() as p:
        y = x * mr.tensor(np.ones(3, "float32"))
        (y + y).sum().backward()
    assert p.rows["mul", "forward"].calls == 2  # the user's call, and one in its own backward
    assert p.rows["mul", "backward"].calls == p.rows["add", "backward"].calls == p.rows["sum", "backward"].calls == 1
    assert p.rows["sum", "forward"].calls == 1
    assert p.rows["sum", "forward"].bytes == 4 * (2 * 3 + 1)
    assert p.rows["sum", "backward"].bytes == 4 * (1 + 2 * 3)
    assert p.rows["mul", "forward"].bytes == 4 * (6 + 3 + 6) * 2


def test_time_of_a_nested_op_is_its_own():
    x = mr.tensor([1.0], requires_grad=True)
    start = time.perf_counter()
    with mr.profile() as p:
        Slow()(x).sum().backward()
    elapsed = time.perf_counter() - start
    assert p.rows["slow", "forward"].calls == 2
    assert p.rows["slow", "forward"].seconds >= 0.06
    assert 0.02 <= p.rows["slow", "backward"].seconds < 0.05  # without the 30 ms of the op inside
    assert 0.08 <= p.seconds <= elapsed


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and a process that has measured nothing yet."""
    monkeypatch.setattr(machine, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(machine, "_measured", {})
    return tmp_path / "cache"


@pytest.fixture
def peak(cache, monkeypatch):
    """A machine of 1 GFLOP/s and 1 GB/s, whatever its number of threads."""
    monkeypatch.setattr(machine, "_measured", {mr.get_num_threads(): Peak(1e9, 1e9)})


def test_the_table_lists_the_slowest_first_and_the_total(peak):
    with mr.profile() as p:
        Slow()(mr.tensor([1.0])).sum()
    header, first, second, total, last = str(p).splitlines()
    assert last.startswith("peak, ") and last.endswith(": 1 GFLOP/s, 1.0 GB/s")
    assert header.split() == ["op", "phase", "calls", "ms", "share", "MB", "GFLOP/s", "GB/s", "of", "peak"]
    assert first.split()[:3] == ["slow", "forward", "1"]
    assert second.split()[:3] == ["sum", "forward", "1"]
    assert total.split()[:2] == ["total", "2"]
    assert len({len(row) for row in (header, first, second)}) == 1


def test_printing_measures_nothing_and_says_who_does(cache, monkeypatch):
    monkeypatch.setattr(machine, "measure_peak", lambda threads=None: pytest.fail("measured"))
    with mr.profile() as p:
        mr.tensor([1.0]) + 1
    header, _, total, last = str(p).splitlines()
    assert header.split()[-1] == "GB/s" and p.peak is None and total.split() == ["total", "1", *total.split()[-1:]]
    assert "minires doctor" in last and not cache.exists()


@pytest.fixture
def measure(monkeypatch):
    """Replaces the measurement, and records the numbers of threads that are measured."""
    if not dispatch.load_kernels("cpu"):
        pytest.skip("no kernels")
    measured = []
    monkeypatch.setattr("minires.kernels.cpu.peak.measure", lambda n: measured.append(n) or (2e9 * n, 1e9))
    monkeypatch.setattr("minires.kernels.threads._setting", 2)
    return measured


def test_a_peak_is_measured_once_and_found_by_later_processes(cache, measure, monkeypatch):
    assert machine.cached_peak() is None
    assert machine.measure_peak() == machine.measure_peak(2) == machine.measure_peak(9) == Peak(4e9, 1e9)
    assert machine.measure_peak(1) == Peak(2e9, 1e9)
    assert measure == [2, 1]
    monkeypatch.setattr(machine, "_measured", {})  # as in another process
    assert machine.cached_peak() == Peak(4e9, 1e9) and machine.cached_peak(1) == Peak(2e9, 1e9)
    assert measure == [2, 1]
    monkeypatch.setattr(machine, "__version__", "another")
    assert machine.cached_peak() is None


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", "{}", '{"a": 1}', '{"operations": 0, "bytes": NaN}', '{"operations": -1, "bytes": 1}',
        '{"operations": "x", "bytes": null}',
    ],
)  # fmt: skip
def test_a_damaged_cache_is_measured_again(cache, measure, content, monkeypatch):
    machine.measure_peak()
    (file,) = cache.iterdir()
    monkeypatch.setattr(machine, "_measured", {})  # as in another process
    file.write_text(content)
    assert machine.cached_peak() is None
    assert machine.measure_peak() == Peak(4e9, 1e9) and json.loads(file.read_text()) == asdict(Peak(4e9, 1e9))


def test_a_cache_that_cannot_be_written_or_read_is_no_error(cache, measure):
    cache.write_text("a file, where a folder is expected")
    assert machine.measure_peak() == machine.cached_peak() == Peak(4e9, 1e9)  # in this process


def test_the_share_is_that_of_the_nearer_limit():
    peak = Peak(operations=100e9, bytes=20e9)
    assert Row(1, 0.5, bytes=2 * 10**9, operations=40 * 10**9).share_of(peak) == (0.8, "compute")
    assert Row(1, 0.5, bytes=9 * 10**9, operations=40 * 10**9).share_of(peak) == (0.9, "memory")
    assert Row(1, 0.5, bytes=5 * 10**9).share_of(peak) == (0.5, "memory")
    assert Row(1, 0.5, bytes=5 * 10**9, operations=10**9, moves=False).share_of(peak) == (0.02, "compute")
    assert Row(1, 0.5, bytes=5 * 10**9, moves=False).share_of(peak) is None


# The products of each output number, counted by hand: 2 operations each.
CONV = 2 * (2 * 5 * 4 * 3) * (3 * 3 * 3)  # (2, 5, 4, 3) numbers, a window of 3x3x3


def profiled(engine, f, *shapes):
    inputs = [mr.tensor(np.ones(shape, "float32"), requires_grad=True) for shape in shapes]
    with mr.engine(engine), mr.profile() as p:
        f(*inputs).sum().backward()
    return p


def use_kernels_of_any_size(monkeypatch):
    if not dispatch.load_kernels("cpu"):
        pytest.skip("no kernels")
    kernels = {key: kernel._replace(smallest=0) for key, kernel in dispatch._kernels.items()}
    monkeypatch.setattr(dispatch, "_kernels", kernels)
    monkeypatch.setattr("minires.kernels.cpu.DEVICE.smallest", 0)


def conv(x, weight, bias):
    return mr.ops.conv2d(x, weight, bias, stride=2, padding=1)


@pytest.mark.parametrize("engine", ["textbook", "fast"])
def test_operations_of_a_convolution_and_its_gradients(engine, monkeypatch):
    if engine == "fast":
        use_kernels_of_any_size(monkeypatch)
    p = profiled(engine, conv, (2, 3, 7, 6), (5, 3, 3, 3), (5,))
    assert p.rows["conv2d", "forward"].operations == CONV
    backward = p.rows["conv2d", "backward"]
    if engine == "fast":  # one kernel does it all
        assert backward.operations == 2 * CONV and backward.moves
    else:  # the ops that it calls do it
        assert backward.operations == 0 and not backward.moves
        assert p.rows["conv_transpose2d", "forward"].operations == CONV
        assert p.rows["conv2d_grad_weight", "forward"].operations == CONV


def test_only_gradients_that_are_wanted_count(monkeypatch):
    use_kernels_of_any_size(monkeypatch)
    weight = mr.tensor(np.ones((5, 3, 3, 3), "float32"), requires_grad=True)
    with mr.profile() as p:
        mr.ops.conv2d(np.ones((2, 3, 7, 6), "float32"), weight, stride=2, padding=1).sum().backward()
    assert p.rows["conv2d", "backward"].operations == CONV


def test_operations_of_a_grouped_and_of_a_transposed_convolution():
    p = profiled("textbook", lambda x, w: mr.ops.conv2d(x, w, groups=2), (1, 4, 3, 5), (6, 2, 2, 1))
    assert p.rows["conv2d", "forward"].operations == 2 * (6 * 2 * 5) * (2 * 2 * 1)
    p = profiled("textbook", mr.ops.conv_transpose2d, (1, 4, 3, 5), (4, 6, 2, 1))
    assert p.rows["conv_transpose2d", "forward"].operations == 2 * (4 * 3 * 5) * (6 * 2 * 1)


def test_operations_of_matrix_products():
    p = profiled("textbook", mr.ops.linear, (2, 3, 4), (5, 4), (5,))
    assert p.rows["linear", "forward"].operations == 2 * (2 * 3 * 5) * 4
    assert p.rows["matmul", "forward"].operations == 2 * 2 * (2 * 3 * 5) * 4  # its backward is two products
    p = profiled("textbook", mr.ops.matmul, (7, 2, 3), (3, 4))
    assert p.rows["matmul", "forward"].operations == 3 * 2 * (7 * 2 * 4) * 3  # and two more, b's before it is summed


def test_operations_of_a_folded_convolution():
    model = mr.nn.Sequential(mr.nn.Conv2d(3, 5, 3, stride=2, padding=1), mr.nn.BatchNorm2d(5))
    with mr.profile() as p:
        mr.nn.fold(model)(mr.tensor(np.ones((2, 3, 7, 6), "float32")))
    assert p.rows["conv2d_act", "forward"].operations == CONV


def test_an_op_of_ones_own_has_no_figure_and_a_view_moves_nothing():
    x = mr.tensor(np.ones((2, 3), "float32"))
    with mr.profile() as p:
        Slow()(x)
        x.reshape(3, 2)
    slow, view = p.rows["slow", "forward"], p.rows["reshape", "forward"]
    assert slow.operations_per_second is None and slow.bytes_per_second == 48 / slow.seconds
    assert view.bytes == 48 and view.bytes_per_second is None


def test_an_op_that_raises_is_counted_and_the_profile_ends_with_its_block():
    class Failing(mr.Op):
        def forward(self, x):
            raise ZeroDivisionError

    x = mr.tensor([1.0])
    with pytest.raises(ZeroDivisionError), mr.profile() as p:
        Failing()(x)
    assert state.observers == ()
    x + 1
    assert [(key, row.calls) for key, row in p.rows.items()] == [(("failing", "forward"), 1)]
    with observed(p):
        x * 2
    assert p.rows["mul", "forward"].seconds > 0


def test_two_profiles_at_once_both_see_every_op():
    with mr.profile() as outer:
        mr.tensor([1.0]) + 1
        with mr.profile() as inner:
            mr.tensor([1.0]) * 2
    assert set(inner.rows) == {("mul", "forward")} and set(outer.rows) == {("add", "forward"), ("mul", "forward")}


def test_an_op_of_ones_own_can_count_its_multiply_adds():
    class Dot(mr.Op):
        def forward(self, a, b):
            return (a * b).sum(axis=-1)

        def backward(self, upstream):
            a, b = self.inputs
            return upstream.reshape(-1, 1) * b, upstream.reshape(-1, 1) * a

        def multiply_adds(self, output, a, b):
            return a[0] * a[1]

    a = mr.tensor([[1.0, 2.0, 3.0]])
    with mr.profile() as p:
        Dot()(a, a)
    assert p.rows["dot", "forward"].operations == 6
