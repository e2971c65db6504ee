"""A small client of the WebDriver protocol (https://www.w3.org/TR/webdriver2/) for chromedriver: the standard library
is enough for what the tests need, so they need no package beside the browser."""
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request


def find_browser():
    """Paths of a Chromium and its driver, or None when either is missing."""
    browser = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))),
                   None)
    driver = shutil.which("chromedriver") or shutil.which("chromium.chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """One headless window. offline: every request but file:// and data: fails."""

    def __init__(self, browser, driver, width=1280, height=900, offline=True):
        self.profile = tempfile.mkdtemp(prefix="qx-browser-")
        self.log_file = open(os.path.join(self.profile, "driver.log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen([driver, "--port=0"], stdout=self.log_file, stderr=subprocess.STDOUT)
        try:
            self.url = f"http://127.0.0.1:{self._port()}"
            options = {"binary": browser, "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                f"--window-size={width},{height}", f"--user-data-dir={self.profile}/profile", "--no-first-run"]}
            answer = self._request("POST", "/session", {"capabilities": {"alwaysMatch": {
                "browserName": "chrome", "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}}})
            self.session = f"/session/{answer['sessionId']}"
        except BaseException:
            self.close()
            raise
        self.cdp("Network.enable")
        self.cdp("Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1,
                 uploadThroughput=-1)

    def _port(self):
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            with open(self.log_file.name, encoding="utf-8") as log:
                text = log.read()
            mark = "started successfully on port "
            if mark in text:
                return int(text.split(mark)[1].split(".")[0])
            if self.process.poll() is not None:
                raise RuntimeError(f"chromedriver ended: {text}")
            time.sleep(0.05)
        raise RuntimeError("chromedriver did not say on which port it listens")

    def _request(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode("utf-8")
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=600) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from error

    def cdp(self, command, **params):
        """A command of the DevTools protocol."""
        return self._request("POST", f"{self.session}/goog/cdp/execute", {"cmd": command, "params": params})

    def open(self, url):
        self._request("POST", f"{self.session}/url", {"url": url})

    def run(self, script, *arguments):
        """The value that the script returns; arguments[0] .. in it."""
        return self._request("POST", f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def log(self, kind="browser"):
        """What was logged since the last call."""
        return self._request("POST", f"{self.session}/se/log", {"type": kind})

    def requests(self):
        """Addresses that the page asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def press(self, key, shift=False):
        """A key by its name in the DevTools protocol ("Tab", "Enter")."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.cdp("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key],
                     modifiers=8 if shift else 0, **(text if kind == "keyDown" else {}))

    def type(self, text):
        """Into the element that has the focus."""
        self.cdp("Input.insertText", text=text)

    def point(self, x, y, click=False):
        """Moves the pointer there; coordinates are the window's."""
        self.cdp("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            self.cdp("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def size(self, width, height, scale=1, mobile=False):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                 mobile=mobile)

    def prefer(self, scheme="light", media="", motion="no-preference"):
        self.cdp("Emulation.setEmulatedMedia", media=media,
                 features=[{"name": "prefers-color-scheme", "value": scheme},
                           {"name": "prefers-reduced-motion", "value": motion}])

    def screenshot(self, path, whole=True):
        """whole: of the whole page, not of the window."""
        shot = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def print_pdf(self, path):
        pdf = base64.b64decode(self.cdp("Page.printToPDF", printBackground=False, preferCSSPageSize=True)["data"])
        with open(path, "wb") as file:
            file.write(pdf)
        return len(pdf)

    def close(self):
        if getattr(self, "session", None):
            try:
                self._request("DELETE", self.session)
            except (RuntimeError, OSError):
                pass
        self.process.terminate()
        try:
            self.process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log_file.close()
        shutil.rmtree(self.profile, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
