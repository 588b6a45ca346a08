"""A headless Chromium, driven through a pipe by its DevTools protocol: pages opened, drawn on, looked at.

Source: https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import base64
import fcntl
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--window-size=820,760", "--hide-scrollbars",
    "--remote-debugging-pipe",
)  # fmt: skip
PIPED = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"
)


class Chrome:
    """A browser with one page; ``with`` ends it.

    Arguments:
        binary: the program; by default the Chromium that is on the path.
        flags: of its command line, behind its own; of two of one name the last counts.
    """

    def __init__(self, binary: str | None = None, flags: Sequence[str] = ()):
        found = binary or next(filter(None, map(shutil.which, NAMES)), None)
        if found is None:
            raise FileNotFoundError("there is no chromium: on Debian and Ubuntu, apt install chromium")
        self._profile = tempfile.TemporaryDirectory(prefix="phlox-chrome-", ignore_cleanup_errors=True)
        (theirs, self._to), (self._from, answers) = os.pipe(), os.pipe()
        pair = [fcntl.fcntl(n, fcntl.F_DUPFD, 10) for n in (theirs, answers)]
        command = [sys.executable, "-c", PIPED, *map(str, pair), found, *FLAGS, *flags]
        command += [f"--user-data-dir={self._profile.name}"]
        self._process = subprocess.Popen(
            [*command, "about:blank"], pass_fds=pair, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for n in (theirs, answers, *pair):
            os.close(n)
        self._rest, self._number, self._session = b"", 0, None
        self.requests: list[str] = []
        try:
            page = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
            self._session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Chrome:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser, and clear its profile away."""
        try:
            os.write(self._to, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        for n in (self._to, self._from):
            os.close(n)
        self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command; what is requested from a network meanwhile is noted in ``requests``."""
        self._number += 1
        session = {} if self._session is None else {"sessionId": self._session}
        message = {"id": self._number, "method": method, "params": parameters, **session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._answer()
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _answer(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._from, 1 << 16)
            if not part:
                raise RuntimeError("the browser has ended")
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)

    def value(self, expression: str) -> Any:
        """What an expression gives in the page, promises awaited."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:2000])
        return found["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until an expression is true in the page."""
        loop = f"""new Promise((done) => {{
            const end = performance.now() + {1000 * seconds};
            const look = () => {{
                if ({condition}) done(true);
                else if (performance.now() > end) done(false);
                else setTimeout(look, 10);
            }};
            look();
        }})"""
        if not self.value(loop):
            raise TimeoutError(f"{condition}: {self.value('document.body.innerText')}")

    def open(self, address: str) -> None:
        """Go to a page, and wait until it has said that it is ready, or that it failed."""
        self.call("Page.navigate", url=address)
        self.wait('(document.getElementById("state")?.dataset.state ?? "loading") !== "loading"')

    def draw(self, strokes: Sequence[Sequence[tuple[float, float]]], canvas: str = "canvas") -> None:
        """Draw on a canvas with the mouse; points are shares of its width and height."""
        box = self.value(
            f"(() => {{ const b = document.querySelector({canvas!r}).getBoundingClientRect(); "
            "return [b.left, b.top, b.width, b.height]; })()"
        )
        for stroke in strokes:
            points = [(box[0] + x * box[2], box[1] + y * box[3]) for x, y in stroke]
            self._mouse("mousePressed", points[0], 1)
            for point in points[1:]:
                self._mouse("mouseMoved", point, 1)
            self._mouse("mouseReleased", points[-1], 0)

    def choose(self, selector: str, path: Path) -> None:
        """Choose a file, as a person does with a dialog."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({selector!r})")["result"]
        self.call("DOM.setFileInputFiles", files=[str(path)], objectId=found["objectId"])

    def _mouse(self, kind: str, point: tuple[float, float], buttons: int) -> None:
        self.call(
            "Input.dispatchMouseEvent", type=kind, x=point[0], y=point[1], button="left", buttons=buttons, clickCount=1
        )

    def picture(self) -> bytes:
        """The page as a PNG file."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def memory(self) -> float:
        """The most megabytes that the page's process has taken (Linux)."""
        page, self._session = self._session, None
        processes = self.call("SystemInfo.getProcessInfo")["processInfo"]
        self._session = page
        told = [Path(f"/proc/{p['id']}/status").read_text() for p in processes if p["type"] == "renderer"]
        return max(int(text.split("VmHWM:")[1].split()[0]) for text in told) / 1024


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a folder's files are served, on this machine alone."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()
