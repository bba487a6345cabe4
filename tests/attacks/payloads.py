"""Pickles that would run code, crash, hang, or take all memory in Python's own reader."""

import functools
import pickle

from python2_pickle import array, batch, dictionary, number, numbers, string


class Calls:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def payloads(pixels, labels):
    """Yield at least sixty payloads."""
    import builtins
    import importlib
    import os
    import subprocess

    touch = "touch pwned"
    for protocol in range(6):
        for function, *arguments in (
            (os.system, touch), (subprocess.check_output, ["touch", "pwned"]), (builtins.exec, "open('pwned', 'w')"),
            (builtins.eval, "open('pwned', 'w')"), (importlib.import_module, "antigravity"), (open, "pwned", "w"),
        ):  # fmt: skip
            yield pickle.dumps({"data": Calls(function, *arguments), "labels": labels}, protocol)
    head = b"\x80\x02}"
    doubled = b"q\x00h\x00\x86" * 40
    yield head + b")" + b"\x85" * 200_000 + b"K\x01s."  # a key whose hash needs a deep stack
    yield head + b")" + b"\x85" * 500 + b"K\x01s."
    yield head + b")" + doubled + b"K\x01s."  # a key whose hash takes years
    yield head + string(b"data") + b")" + doubled + b"s."  # the same as a value
    yield head + string(b"data") + b"(" + b"(" * 200_000 + b"."
    yield head + string(b"data") + b"]" * 200_000 + b"a" * 199_999 + b"s."
    yield head + string(b"data") + b"](h\x00h\x00e" * 1000 + b"s."
    yield head + b"]q\x00h\x00as."  # a list in itself
    yield head + b"q\x00U\x01ah\x00s."  # a dictionary in itself
    yield head + b"q\x00h\x00K\x01s."  # as its own key
    yield head + b"r\xff\xff\xff\x7fK\x01s."  # a long memo
    yield head + b"B\xff\xff\xff\xff" + bytes(1000)
    yield head + b"\x8e" + b"\xff" * 8 + bytes(1000)
    yield head + b"\x8d" + b"\x7f" * 8 + bytes(1000)
    yield head + b"\x8b\xff\xff\xff\x7f" + bytes(1000)
    yield head + b"U\x01aI" + b"9" * 1_000_000 + b"\ns."
    yield head + b"U\x01aL" + b"9" * 1_000_000 + b"L\ns."
    yield head + b"U\x01aF" + b"1" * 1_000_000 + b"\ns."
    yield head + b"U\x01aV" + b"\\U0001f600" * 50_000 + b"\ns."
    yield head + b"U\x01aX\xa0\x86\x01\x00" + "\U0001f600".encode() * 25_000 + b"s."
    yield head + b"U\x01aS'" + b"\\x" * 50_000 + b"'\ns."
    yield head + b"cos\nsystem\nU\x0btouch pwned\x85Rs."
    yield head + b"(ios\nsystem\nK\x01s."
    yield head + b"(cos\nsystem\nU\x0btouch pwnedos."
    yield b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0btouch pwned\x85R."
    yield b"\x80\x04)" + doubled + b"\x8c\x01x\x93."  # as the name of a module
    yield b"\x80\x02c_codecs\nencode\n)" + doubled + b"X\x06\0\0\0latin1\x86R."
    yield head + b"P1\nK\x01s."  # a persistent id
    yield head + b"\x82\x01K\x01s."  # an extension
    yield head + b"\x97\x98K\x01s."  # a buffer
    yield dictionary({b"data": b"cnumpy\nload\n" + string(b"x") + b"\x85R"})
    yield dictionary({b"data": array(pixels).replace(b"K\x05J\x00\x0c\x00\x00\x86", b"(" + 9000 * number(255) + b"t")})
    yield dictionary({b"data": array(pixels, b"O8"), b"labels": numbers(labels)})
    yield dictionary({b"data": array(pixels, b"f8"), b"labels": numbers(labels)})
    yield batch(pixels, labels)[:-1] * 2
    yield batch(pixels, labels)[:-1]
    yield batch(pixels, labels) * 9
    yield functools.reduce(lambda inner, _: string(b"a") + dictionary({b"x": inner})[2:-1], range(300), b"K\x01")
