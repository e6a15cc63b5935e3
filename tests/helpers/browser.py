"""Headless Chromium, driven over its debugging pipe: what a page logs, what it loads, and how wide it is."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
)  # fmt: skip
TIMEOUT = 60.0
WIDE_ELEMENTS = """
[...document.querySelectorAll('body *')].filter(element => {
  if (element.parentElement.closest('.scroll')) return false
  const {left, right} = element.getBoundingClientRect()
  return right > innerWidth + 0.5 || left < -0.5
}).map(element => element.outerHTML.slice(0, 100))
"""
"""Elements that reach beyond the window; the inside of a box that scrolls may."""


class Browser:
    """A tab. `messages` are errors of the console, `loaded` the addresses that were requested."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._ids, self._session, self._buffer = itertools.count(1), "", b""
        self.messages: list[str] = []
        self.loaded: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the result of a command of the DevTools protocol."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params} | (
            {"sessionId": self._session} if self._session else {}
        )
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._receive(lambda message: message.get("id") == number)["result"]

    def open(self, page: Path, width: int, height: int = 900, scheme: str = "light") -> None:
        """Open a page at a width in pixels."""
        self.messages.clear()
        self.loaded.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=page.resolve().as_uri())
        self._receive(lambda message: message.get("method") == "Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def screenshot(self, path: Path, *, full: bool = False) -> None:
        """Write what the window shows, or the whole page, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=full)["data"]))

    def _receive(self, is_awaited: Any) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            while b"\0" not in self._buffer:
                chunk = os.read(self._read, 1 << 20)
                assert chunk, "the browser ended"
                self._buffer += chunk
            text, _, self._buffer = self._buffer.partition(b"\0")
            message = json.loads(text)
            method, params = message.get("method"), message.get("params", {})
            if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                self.messages.append(params["entry"]["text"])
            if method == "Runtime.exceptionThrown":
                self.messages.append(str(params["exceptionDetails"]))
            if method == "Network.requestWillBeSent" and not params["request"]["url"].startswith("data:"):
                self.loaded.append(params["request"]["url"])
            if is_awaited(message):
                assert "error" not in message, message
                return dict(message)
        raise AssertionError("the browser does not answer")


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with an empty profile folder; skip the test where there is none."""
    binary = next((path for name in NAMES if (path := shutil.which(name))), None)
    if binary is None:
        pytest.skip("Chromium is not installed")
    to_browser, from_browser = os.pipe(), os.pipe()

    def connect() -> None:
        """Chromium reads commands from descriptor 3 and answers on 4."""
        read, write = (fcntl.fcntl(pipe, fcntl.F_DUPFD, 10) for pipe in (to_browser[0], from_browser[1]))
        os.dup2(read, 3)
        os.dup2(write, 4)

    process = subprocess.Popen(
        [binary, *OPTIONS, f"--user-data-dir={profile}"], preexec_fn=connect, close_fds=False, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(to_browser[0])
    os.close(from_browser[1])
    try:
        yield Browser(to_browser[1], from_browser[0])
    finally:
        process.kill()
        process.wait()
        os.close(to_browser[1])
        os.close(from_browser[0])
