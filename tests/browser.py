"""A headless Chromium, driven over its DevTools protocol by a pipe: pages as a person sees them.

Protocol: https://chromedevtools.github.io/devtools-protocol; messages are JSON, each ended by a zero byte.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--remote-debugging-pipe", "--disable-quic"),
)


class Tab:
    """A page in the browser; what it writes to the console and what it requests is kept."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive, self._rest, self._number = send, receive, b"", 0
        self.session = ""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = os.read(self._receive, 1 << 20)
            assert read, "the browser has ended"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        answer = dict(json.loads(message))
        if "id" not in answer:
            self.events.append(answer)
        return answer

    def look(self, page: Path | str, width: int = 1280, dark: bool = False, media: str = "") -> None:
        """Open a file or an address in a window of this width, and wait until it is loaded."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.call("Page.navigate", url=page if isinstance(page, str) else page.absolute().as_uri())
        self.wait()

    def choose(self, selector: str, file: Path) -> None:
        """Give a file to an input, as a person does who drops it there."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.events.clear()
        self.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)

    def wait(self) -> None:
        """Wait until a page is loaded."""
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._next()

    def value(self, script: str) -> Any:
        """Return the value of an expression; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def key(self, name: str) -> None:
        """Press a key."""
        text = {"text": "\r"} if name == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, code=name, windowsVirtualKeyCode=13, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name, code=name)

    def errors(self) -> list[str]:
        """Return what the console has of errors, warnings and violations of the content security policy."""
        kinds = {"Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"}
        return [json.dumps(event["params"]) for event in self.events if event["method"] in kinds]

    def requested(self) -> list[str]:
        """Return the addresses that were requested, but the page itself and data within it."""
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        addresses = [params["request"]["url"] for params in sent if params.get("type") != "Document"]
        return [address for address in addresses if not address.startswith("data:")]

    def picture(self, file: Path, most: int = 12_000) -> None:
        """Write the whole page as a PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], most), "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    """Start a browser with an empty profile and give its tab; it ends with the block."""
    assert CHROMIUM is not None
    (theirs_in, send), (receive, theirs_out) = os.pipe(), os.pipe()

    def numbered() -> None:
        # The browser reads from 3 and writes to 4; the pipes may have these numbers the other way round.
        one, two = os.dup(theirs_in), os.dup(theirs_out)
        high_in, high_out = 100, 101
        os.dup2(one, high_in)
        os.dup2(two, high_out)
        os.dup2(high_in, 3)
        os.dup2(high_out, 4)

    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=numbered,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    tab = Tab(send, receive)
    try:
        (target,) = [t for t in tab.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        tab.session = tab.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        yield tab
    finally:
        tab.session = ""
        with suppress(AssertionError, OSError):
            tab.call("Browser.close")
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        os.close(send)
        os.close(receive)
