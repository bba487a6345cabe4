"""Pickles of Python 2, protocol 2, written byte by byte: batches of CIFAR's python version."""

import struct


def string(text):
    return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text


def number(value):
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)


def numbers(values):
    return b"](" + b"".join(map(number, values)) + b"e"


def array(pixels, dtype=b"u1", fortran=b"\x89"):
    """The result of numpy.ndarray.__reduce__: _reconstruct(ndarray, (0,), 'b'), then its state."""
    made = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85" + string(b"b") + b"\x87R"
    kind = b"cnumpy\ndtype\n" + string(dtype) + b"K\x00K\x01\x87R"
    kind += b"(K\x03" + string(b"|") + b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
    shape = number(pixels.shape[0]) + number(pixels.shape[1]) + b"\x86"
    return made + b"(K\x01" + shape + kind + fortran + string(pixels.tobytes()) + b"tb"


def dictionary(entries):
    content = b"".join(string(key) + value for key, value in entries.items())
    return b"\x80\x02}q\x01(" + content + b"u."


def batch(pixels, labels, key=b"labels"):
    names = b"](" + b"".join(string(b"image_%d.png" % i) for i in range(len(labels))) + b"e"
    return dictionary(
        {b"batch_label": string(b"a batch"), key: numbers(labels), b"data": array(pixels), b"filenames": names}
    )
