"""A server that answers each request with the bytes that a test gives it, and scripts of such answers."""

import gzip
import socket
import struct
import threading
from contextlib import contextmanager, suppress

RESET = "reset"


@contextmanager
def answering(script):
    """The address of a server that answers with ``script``: pieces of bytes, seconds to wait, or RESET."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def answer(connection):
        with connection, suppress(OSError):
            connection.settimeout(5)
            request = b""
            while b"\r\n\r\n" not in request and (more := connection.recv(4096)):
                request += more
            for piece in script:
                if piece == RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                if isinstance(piece, bytes):
                    connection.sendall(piece)
                elif over.wait(piece):
                    return

    def listen():
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def head(*lines, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "Connection: close", "", ""]).encode("latin-1")


def with_length(content):
    return [head(f"Content-Length: {len(content)}"), content]


def chunked(content, size=1000):
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def manners(content):
    """Scripts by name, at least 130; ``content`` is the file that is asked for."""
    size = len(content)
    found = {}
    codes = [
        *range(100, 103), 199, *range(201, 208), 226, *range(300, 309), *range(400, 419), 421, 425, 426, 429, 431, 451,
        *range(500, 506), 507, 511, 599, 600, 999, 1000, -1, "abc", "", "2 0 0", "\xb2\xb2",
    ]  # fmt: skip
    for code in codes:
        found[f"status {code}"] = [head("Content-Length: 5", status=f"{code} \x1b[31mWild"), b"hello"]
    places = [
        "http://[::bad", "http://[::1", "http://[::1]:9/", "http://a b/", "//", "?", "", "#", "file:///etc/passwd",
        "ftp://127.0.0.1:9/x", "gopher://x/", "javascript:alert(1)", "data:,x", "http://\x1b[31m/",
        "http://127.0.0.1:99999/", "http://127.0.0.1:-1/", "http://127.0.0.1:port/", "http://:80/", "http:///x", "http://me:secret@127.0.0.1:9/",
        "http://xn--a/", f"http://{'a' * 300}/", "\xff\xfe", "https://127.0.0.1:9/",
        f"http://127.0.0.1:9/{'x' * 60_000}",
        "http://127.0.0.1:9/\x0b", "HTTP://127.0.0.1:9/",
        "http://127.0.0.1:9\\@evil/", "/" * 5000, "..", "unix:/tmp/x",
    ]  # fmt: skip
    for place in places:
        found[f"redirect to {place[:30]}"] = [head(f"Location: {place}", status="302 Found")]
    for length in ("-1", "abc", "1e3", "9" * 30, "0", size - 1, size + 1, f"{size}, {size}", "+5", "\xb2", ""):
        found[f"length {length}"] = [head(f"Content-Length: {length}"), content]
    encoded = head("Transfer-Encoding: chunked")
    whole = chunked(content)
    for name, body in {
        "good": whole,
        "no end": whole[:-5],
        "cut": whole[: size // 2],
        "odd size": b"zz\r\n" + whole,
        "below 0": b"-5\r\n" + whole,
        "huge": b"FFFFFFFFFFFFFFFFF\r\n" + whole,
        "empty size": b"\r\n" + whole,
        "long line": b"1;" + b"x" * 70_000 + b"\r\n" + whole,
        "no line end": whole.replace(b"\r\n", b"\n"),
        "trailers": whole[:-2] + b"X: y\r\n" * 2000 + b"\r\n",
        "nothing": b"",
    }.items():
        found[f"chunks, {name}"] = [encoded, body]
    for name, body in {
        "nothing": b"",
        "half": content[: size // 2],
        "a bit": content[:-9] + b"\1" + content[-8:],
        "twice": content * 2,
        "packed again": gzip.compress(content),
        "zeros": bytes(size),
        "a page": b"<!doctype html><title>Sign in</title>" * 99,
        "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        "json": b'{"error": "\x1b[31m"}',
        "one byte": content[:1],
        "more": content + b"more",
        "backwards": content[::-1],
    }.items():
        found[f"body, {name}"] = with_length(body)
    for name, answer in {
        "none": [b""],
        "reset": [RESET],
        "no head": [content],
        "ICY": [b"ICY 200 OK\r\n\r\n", content],
        "version": [head().replace(b"1.1", b"9.9"), content],
        "half a line": [b"HTTP/1.1 20"],
        "only a line": [b"HTTP/1.1 200 OK\r\n"],
        "many": [head(*[f"X-{i}: y" for i in range(200)]), content],
        "long": [head(f"X: {'y' * 70_000}"), content],
        "no colon": [head("nonsense"), content],
        "folded": [head("X: a\r\n b\r\n\tc"), content],
        "NUL": [head("X: \0"), content],
        "reset in the middle": [head(f"Content-Length: {size}"), content[: size // 2], RESET],
        "nothing comes": [9.0],
        "nothing comes after the head": [head(f"Content-Length: {size}"), 9.0],
        "half comes": [head(f"Content-Length: {size}"), content[: size // 2], 9.0],
        "head drips": [piece for byte in head(f"X: {'y' * 99}") for piece in (bytes([byte]), 0.02)],
        "body drips": [head(), *[piece for byte in content[:99] for piece in (bytes([byte]), 0.02)]],
        "chunk's size drips": [encoded, *[piece for _ in range(99) for piece in (b"0", 0.02)]],
        "packed": [head("Content-Encoding: gzip"), gzip.compress(content)],
        "packed, they say": [head("Content-Encoding: br"), content],
        "range nobody asked for": [head(f"Content-Range: bytes 5-{size}/{size}", status="206 Partial"), content[5:]],
        "range in words": [head("Content-Range: bytes five", status="206 Partial"), content],
        "set-cookie": [head("Set-Cookie: \x1b]0;x\x07=1; Domain=\xff"), content],
        "upgrade": [head("Upgrade: h2c", status="101 S")],
    }.items():
        found[f"head, {name}"] = answer
    return found
