"""A headless Chromium, driven over the pipe of its DevTools protocol."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

FOUND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECONDS = 60  # far more than an idle machine needs
MODIFIERS = {"Control": 2, "Shift": 8}


class Browser:
    """One process; a context manager.  folder: for its profile."""

    def __init__(self, folder: Path) -> None:
        theirs, self._write = os.pipe()
        self._read, answers = os.pipe()
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        options += ["--remote-debugging-pipe", "--window-size=1024,855", f"--user-data-dir={folder}", "about:blank"]
        command = ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{answers}', "bash", str(FOUND), *options]
        self._process = subprocess.Popen(command, pass_fds=(theirs, answers), stderr=subprocess.DEVNULL)
        os.close(theirs)
        os.close(answers)
        self._number, self._unread = 0, b""

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(SECONDS)
        os.close(self._read)
        os.close(self._write)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One call of the protocol and its result; events are left unread."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        os.write(self._write, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            assert select.select([self._read], [], [], SECONDS)[0], "Chromium does not answer"
            more = os.read(self._read, 2**20)
            assert more, "Chromium has ended"
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\0")
        return json.loads(line)

    def open(self, url: str) -> "Page":
        """A window of its own."""
        target = self.call("Target.createTarget", url=url, newWindow=True)["targetId"]
        return Page(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])


class Page:
    """One window; places are pixels of the canvas's picture."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def value(self, expression: str) -> Any:
        """A JavaScript expression's value, of a promise what it gives."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, (expression, found["exceptionDetails"])
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + SECONDS
        while not self.value(f"Boolean(({condition}))"):
            assert time.monotonic() < end, f"never came true: {condition}"
            time.sleep(0.05)

    def press(self, key: str, *modifiers: str) -> None:
        held = sum(MODIFIERS[name] for name in modifiers)
        about = {"key": key, "modifiers": held, "code": f"Key{key.upper()}" if key.isalpha() and len(key) == 1 else key}
        text = {"text": " " if key == " " else key} if len(key) == 1 and not held else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def drag(self, canvas: str, *places: tuple[float, float]) -> None:
        """Press at the first place, move through the others, release; with one place, a click."""
        across = "c.getBoundingClientRect().width / n * view.zoom"
        spot = f"(c => [c.getBoundingClientRect().left, c.getBoundingClientRect().top, {across}])($('{canvas}'))"
        left, top, scale = self.value(spot)
        kinds = ["mousePressed", *["mouseMoved"] * (len(places) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, (*places, places[-1]), strict=True):
            spot = {"x": left + (x + 0.5) * scale, "y": top + (y + 0.5) * scale}
            self.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **spot)

    def choose_file(self, field: str, path: Path) -> None:
        node = self.call("Runtime.evaluate", expression=f"$('{field}')")["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], objectId=node)

    def reload(self) -> None:
        self.value("window.stale = true")
        self.call("Page.reload")
        self.wait("window.stale !== true && document.readyState === 'complete'")

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
