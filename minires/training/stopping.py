"""Ctrl-C and SIGTERM, as a question that the training loop asks between two batches."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM, which job schedulers send before they kill: Ctrl-C from a program."""


INTERRUPTS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


class StopSignals:
    """Lets Ctrl-C and SIGTERM end :func:`~minires.training.train` with a checkpoint of the very batch.

    A second signal stops at once, and so does a first one that comes before training asks, while data is still being
    read: these raise KeyboardInterrupt wherever the program is. Signals that the program ignores stay ignored. In a
    thread other than the main one, which Python lets handle no signals, they are left alone.

    Parameters
    ----------
    notify : callable, optional
        Called at the first signal that waits for training to ask, which may take as long as a test.

    Attributes
    ----------
    received : signal.Signals or None
        The first signal.

    Examples
    --------
    >>> from minires.training import Config, StopSignals, train
    >>> with StopSignals() as stop:
    ...     metrics = train(Config(), stop=stop)  # doctest: +SKIP
    """

    def __init__(self, notify: Callable[[], None] | None = None) -> None:
        self.notify = notify
        self.received: signal.Signals | None = None
        self._asked = False
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in INTERRUPTS:
                if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None):  # None: not set from Python
                    self._handlers[number] = handler
                    signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def __call__(self) -> bool:
        """Whether to stop."""
        self._asked = True
        return self.received is not None

    def _receive(self, number: int, frame: object) -> None:
        at_once = self.received is not None or not self._asked
        self.received = self.received or signal.Signals(number)
        if at_once:
            raise INTERRUPTS[self.received]
        if self.notify is not None:
            self.notify()

    @property
    def name(self) -> str:
        """Of the signal, as people know it."""
        return "SIGTERM" if self.received == signal.SIGTERM else "Ctrl-C"

    def interrupt(self, sentence: str) -> KeyboardInterrupt:
        """The exception that belongs to the signal received, with ``sentence`` as its message."""
        return INTERRUPTS[self.received or signal.SIGINT](sentence)
