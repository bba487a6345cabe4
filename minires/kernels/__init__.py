"""The engine room: faster twins of some ops.

A kernel computes what its textbook twin in ``minires/ops`` computes, on raw arrays, and is registered for an op and a
device by ``minires.register_kernel``. ``minires.core.dispatch`` loads this room when the first op runs, never before.
"""
