"""Streams, graphs and memory of the stand-in. It has one GPU, which finishes all work immediately."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

_streams = []  # entered, the current one last


def _capturing():
    stream = get_current_stream()
    return stream if stream._recorded is not None else None


def _refuse_in_capture(what):
    if _capturing():
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} while a stream is capturing")


def _do(change):
    """Run a function that changes memory; while a stream is being captured, record it instead."""
    stream = _capturing()
    if stream is None:
        change()
    else:
        stream._recorded.append(change)


def _pure(function):
    """A new array. During a capture, it is created, too, because its shape is needed, and filled at each replay."""
    result = function()
    stream = _capturing()
    if stream is not None:
        stream._recorded.append(lambda: np.copyto(result, function()))
    return result


class Event:
    def __init__(self):
        self.recorded = False

    def record(self, stream=None):
        self.recorded = True

    def synchronize(self):
        assert self.recorded


def get_elapsed_time(start, end):
    assert start.recorded
    assert end.recorded
    return 1.0


class Graph:
    def __init__(self, recorded):
        self._recorded = recorded

    def launch(self, stream=None):
        assert (stream or get_current_stream())._recorded is None
        for change in self._recorded:
            change()


class Stream:
    def __init__(self, non_blocking=False):
        self._non_blocking, self._recorded = non_blocking, None

    def __enter__(self):
        _streams.append(self)
        return self

    def __exit__(self, *_):
        assert _streams.pop() is self

    def record(self):
        event = Event()
        event.record(self)
        return event

    def wait_event(self, event):
        assert event.recorded

    def synchronize(self):
        _refuse_in_capture("cudaStreamSynchronize")

    def begin_capture(self):
        assert self._non_blocking, "the legacy default stream cannot be captured"
        self._recorded = []

    def end_capture(self):
        graph, self._recorded = Graph(self._recorded), None
        return graph

    def is_capturing(self):
        return self._recorded is not None


_default = Stream()


def get_current_stream():
    return _streams[-1] if _streams else _default


class MemoryPool:
    def malloc(self, size):
        raise NotImplementedError

    def used_bytes(self):
        return 3 << 20

    def total_bytes(self):
        return 4 << 20

    def free_all_blocks(self):
        pass


_pool = MemoryPool()


@contextmanager
def using_allocator(allocator):
    yield


def is_available():
    return True


runtime = SimpleNamespace(
    getDeviceCount=lambda: 1,
    memGetInfo=lambda: (6 << 30, 8 << 30),
    runtimeGetVersion=lambda: 13000,
    getDeviceProperties=lambda number: {"name": b"stand-in", "totalGlobalMem": 8 << 30},
)
