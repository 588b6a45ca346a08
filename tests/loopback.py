"""A server of files on the loopback address, which can break off, know nothing of ranges, and lie."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Served:
    """What a server has, and what it was asked for.

    Attributes:
        files: contents by path.
        etags: versions by path; without one, none is told.
        cut: by path, after how many bytes it breaks off, once for each number.
        status: by path, what it answers instead, once for each number.
        ranges: whether it knows ranges.
        asked: each request's path and Range header.
        together: a number of requests to wait for before the first is answered, at most so many seconds.
    """

    def __init__(self):
        self.files, self.etags, self.cut, self.status = {}, {}, {}, {}
        self.ranges, self.asked = True, []
        self.together, self.wait = 1, 0.0
        self.arrived = threading.Condition()
        self.address = ""


def _handler(served):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            path, wanted = self.path, self.headers.get("Range")
            with served.arrived:
                served.asked.append((path, wanted))
                served.arrived.notify_all()
                served.arrived.wait_for(lambda: len(served.asked) >= served.together, served.wait)
            if path not in served.files or served.status.get(path):
                code = served.status[path].pop(0) if served.status.get(path) else 404
                self.send_error(code)
                return
            self._send(path, served.files[path], wanted)

        def _send(self, path, content, wanted):
            etag, start = served.etags.get(path), 0
            same = self.headers.get("If-Range") in (None, etag)
            if wanted and served.ranges and same:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            if etag:
                self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            cut = served.cut[path].pop(0) if served.cut.get(path) else len(content)
            with suppress(ConnectionError):  # whoever asked has gone
                self.wfile.write(content[start : max(start, cut)])

    return Handler


@contextmanager
def serving():
    """A server while the block runs."""
    served = Served()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    served.address = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
