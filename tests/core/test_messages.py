"""Messages: whatever text they quote, they are printable and of a bounded length; a wrong name gets the right one."""

import pickle

import pytest

from minires.core import checks
from minires.errors import LONGEST, ArgumentError, DataError, MiniresError, RunError


@pytest.mark.parametrize("kind", [MiniresError, DataError, RunError, ArgumentError])
@pytest.mark.parametrize("wild", ["\x1b[31m", "\r", "a\nb", "\x9b1m", "\u202e", "\u2028", "\0", "\udcff"])
def test_wild_text_is_escaped(kind, wild):
    error = kind(f"file {wild}.png is damaged.")
    assert str(error).isprintable() and str(error).endswith(".png is damaged.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_long_message_keeps_both_ends():
    error = DataError(f"folder: begin {'x' * 5000} and the hint.")
    assert len(str(error)) <= LONGEST and str(error).startswith("folder: begin x") and "x and the hint." in str(error)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("CIFAR10", "cifar10"), ("cifar-100", "cifar100"), ("Fashion-MNIST", "fashion_mnist"), ("minst", "mnist"),
     ("digit", "digits"), ("cifar", None), ("cifar11", None), ("imagenet", None), (7, None), ("", None)],
)  # fmt: skip
def test_did_you_mean(name, meant):
    known = ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100"]
    with pytest.raises(ArgumentError) as caught:
        checks.choice("load", name, "data set", known)
    hint = f"did you mean {meant}? Choose" if meant else "choose"
    assert str(caught.value) == f"load: there is no data set {name!r}; {hint} one of {', '.join(known)}."
