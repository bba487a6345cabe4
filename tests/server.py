"""A web server in this process that fails in the ways that a test asks for."""

import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Served:
    """What is served at each address, how the next requests are answered (later ones: well), and which ones came."""

    def __init__(self, files):
        self.files, self.manners, self.requests = files, [], []
        self.address = ""
        self.over = threading.Event()

    def ranges(self):
        return [wanted for _, wanted in self.requests]


@contextmanager
def serving(files):
    """A server of {name: bytes}. ``served.manners`` may hold whole, cut, corrupt, stall, no range, too long, 404,
    drip, drip headers, (redirect, address)."""
    served = Served(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rpartition("/")[2]
            wanted = self.headers.get("Range")
            served.requests.append((name, wanted))
            manner = served.manners.pop(0) if served.manners else "whole"
            content = served.files[name]
            if manner == "404":
                self.send_error(404)
                return
            if manner[0] == "redirect":
                self.send_response(302)
                self.send_header("Location", manner[1])
                self.end_headers()
                return
            if manner == "drip headers":
                with suppress(OSError):
                    for byte in b"HTTP/1.0 200 OK\r\nX-Padding: " + b"x" * 100:
                        self.wfile.write(bytes([byte]))
                        served.over.wait(0.02)
                return
            begin = int(wanted[len("bytes=") : -1]) if wanted and manner != "no range" else 0
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            rest = content[begin:]
            if manner == "corrupt":
                rest = bytes([rest[0] ^ 1]) + rest[1:]
            if manner == "too long":
                rest = rest + b"more"
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if manner == "drip":
                with suppress(OSError):
                    for byte in rest[:200]:
                        self.wfile.write(bytes([byte]))
                        if served.over.wait(0.02):
                            break
                return
            if manner in ("cut", "stall"):
                rest = rest[: len(rest) // 2]
            self.wfile.write(rest)
            self.wfile.flush()
            if manner == "stall":
                served.over.wait(10)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.address = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        served.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
