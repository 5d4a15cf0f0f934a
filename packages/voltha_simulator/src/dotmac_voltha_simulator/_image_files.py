"""ONU software over HTTP, as a file server beside VOLTHA has it."""

from __future__ import annotations

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["image_files"]

#: Seconds that a `.big` image takes; bytes of an image, and of the version at its begin (BBSim reads it there).
_LONG: Final = 2.0
_SIZE: Final = 10_000
_VERSION: Final = 16


class _Images(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        """There, or not."""
        self.send_response(404 if "nope" in self.path else 200)
        self.end_headers()

    def do_GET(self) -> None:
        """An image that begins with its name."""
        self.do_HEAD()
        name, _, kind = self.path.strip("/").partition(".")
        if kind == "big":
            time.sleep(_LONG)
        with contextlib.suppress(ConnectionError):  # whoever loads it may have given up
            self.wfile.write(name.encode().ljust(_VERSION, b"\0") + bytes(_SIZE))

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextlib.contextmanager
def image_files() -> Iterator[str]:
    """A server's address: `/VERSION.img` is an image that says this version, `/VERSION.big` one that takes two seconds,
    `/nope.img` is not there.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), _Images) as server:
        thread = threading.Thread(target=server.serve_forever, name="onu images")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
