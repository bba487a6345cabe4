"""The engine room: faster twins of some ops.

A kernel computes on raw arrays what its textbook twin in ``minires/ops`` computes. It is registered for an op and a
device by ``minires.register_kernel``. The kernels of a device are imported when the first op can use them.

Each op has one host file here, for every device (see :mod:`minires.kernels.device`). The code that computes is in
``cpu/`` (Numba) and ``cuda/`` (CUDA C++).
"""
