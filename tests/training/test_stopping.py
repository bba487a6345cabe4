"""StopSignals: a signal stops a run after the current batch; a second one, or one before training, stops at once."""

import signal
import threading

import pytest

from minires.errors import StoppedError
from minires.training import Progress, StopSignals, train
from minires.training.checkpoint import HungUp, Terminated

KINDS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
if hasattr(signal, "SIGHUP"):  # not on Windows
    KINDS[signal.SIGHUP] = HungUp
NUMBERS = tuple(KINDS)


@pytest.fixture(autouse=True)
def handlers():
    """The handlers of a program in the foreground, which are restored after each test."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in NUMBERS[1:]:
        signal.signal(number, signal.SIG_DFL)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert all(signal.getsignal(number) is signal.SIG_DFL for number in NUMBERS[1:])
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_an_answer(number):
    told = []
    with StopSignals(notify=lambda: told.append("stopping")) as stop:
        assert not stop() and not told
        signal.raise_signal(number)
        assert told == ["stopping"]
        assert stop() and stop.received == number
        name = {signal.SIGINT: "Ctrl-C"}.get(number, number.name)
        assert str(stop.interrupt(" and saved")) == f"stopped by {name} and saved"


@pytest.mark.parametrize(("number", "kind"), KINDS.items())
def test_the_second_signal_and_one_before_training_stop_at_once(number, kind):
    with pytest.raises(KeyboardInterrupt) as caught, StopSignals():
        signal.raise_signal(number)
    assert caught.type is kind
    with StopSignals() as stop:
        stop()
        signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        interrupt = stop.interrupt("")
    assert type(interrupt) is kind and str(interrupt).startswith("stopped by ")


def test_a_signal_that_is_ignored_stays_ignored():
    """As in a program that a shell started in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert not stop()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_in_another_thread_it_does_nothing(config, no_figures):
    """Python would raise ValueError; training there works as usual."""
    results = []

    def run():
        with StopSignals() as stop:
            results.append(train(config, stop=stop)["epochs"])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results == [2]


def test_ctrl_c_in_a_notebook_saves(config, tmp_path, no_figures):
    class Press(Progress):
        def batch(self, epoch, done, *told):
            if (epoch, done) == (1, 3):
                signal.raise_signal(signal.SIGINT)

    with StopSignals() as stop, pytest.raises(StoppedError):
        train(config, progress=Press(), stop=stop)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.json", "checkpoint.safetensors"}
    assert train(config, resume=True)["epochs"] == 2
