"""Chromium without a window, driven by the DevTools protocol over a pair of pipes.

https://chromedevtools.github.io/devtools-protocol/
"""

import fcntl
import json
import os
import select
import time

from measure import end, start

OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
           "--autoplay-policy=no-user-gesture-required", "--window-size=1440,900", "--remote-debugging-pipe"]
TIMEOUT = 60    # seconds


class BrowserError(Exception):
    """Why the browser or the page in it could not go on."""


class Browser:
    """A browser with one tab. `directory` is where its profile goes and where it saves files."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir(parents=True)
        # The browser reads commands from descriptor 3 and writes to descriptor 4.
        ends = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in (*os.pipe(), *os.pipe())]
        its_input, self.commands, self.answers, its_output = ends
        shell = f'exec "$@" 3<&{its_input} 4>&{its_output} {its_input}<&- {its_output}>&-'
        self.process = start(["bash", "-c", shell, "bash", "chromium", *OPTIONS,
                              f"--user-data-dir={directory / 'profile'}", "about:blank"],
                             pass_fds=(its_input, its_output), env={**os.environ, "HOME": str(directory)},
                             stderr=open(directory / "log", "ab"))
        os.close(its_input)
        os.close(its_output)
        self.received, self.number, self.session = b"", 0, None
        targets = self.command("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attach = {"targetId": page["targetId"], "flatten": True}
        self.session = self.command("Target.attachToTarget", **attach)["sessionId"]
        self.command("Page.enable")
        self.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(directory))

    def command(self, method, **parameters):
        """Sends a command and returns its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT
        while True:
            answer = self.receive(method, deadline)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def receive(self, method, deadline):
        """The next message of the browser."""
        while b"\0" not in self.received:
            if not select.select([self.answers], [], [], max(0, deadline - time.monotonic()))[0]:
                raise BrowserError(f"chromium did not answer {method} within {TIMEOUT} s")
            read = os.read(self.answers, 1 << 16)
            if not read:
                raise BrowserError(f"chromium ended; see {self.directory / 'log'}")
            self.received += read
        message, _, self.received = self.received.partition(b"\0")
        return json.loads(message)

    def open(self, url):
        """Goes to a page and does not wait for it."""
        found = self.command("Page.navigate", url=url)
        if "errorText" in found:
            raise BrowserError(f"{url}: {found['errorText']}")

    def run(self, body):
        """Runs the body of an async function in the page and returns its result."""
        found = self.command("Runtime.evaluate", expression=f"(async () => {{ {body} }})()", awaitPromise=True,
                             returnByValue=True)
        if "exceptionDetails" in found:
            raise BrowserError(f"the page: {found['exceptionDetails']['exception'].get('description')}")
        return found["result"].get("value")

    def press(self, key):
        self.command("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        self.command("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, x, y):
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def wheel(self, x, y, delta):
        self.command("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta)

    def close(self):
        end(self.process)
        os.close(self.commands)
        os.close(self.answers)
